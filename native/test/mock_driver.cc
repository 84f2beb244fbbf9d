#include "mock_driver.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <atomic>
#include <cstring>

#include "check.h"

namespace ovfsd::test {

MockMemory::MockMemory() : fd_(::memfd_create("ovfsd-test-guest", MFD_CLOEXEC)) {
  CHECK_EQ(::ftruncate(fd_.get(), kBytes), 0);
  void* mapped = ::mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd_.get(), 0);
  CHECK(mapped != MAP_FAILED);
  base_ = static_cast<uint8_t*>(mapped);
}

MockMemory::~MockMemory() { ::munmap(base_, kBytes); }

uint64_t Reply::u64() const {
  CHECK_EQ(payload.size(), sizeof(uint64_t));
  uint64_t value;
  std::memcpy(&value, payload.data(), sizeof value);
  return value;
}

void pump(Device& device) {
  for (;;) {
    pollfd ready = {device.poll_fd(), POLLIN, 0};
    const bool descriptors = ::poll(&ready, 1, 0) > 0;
    if (!descriptors && !device.wants_turn()) return;
    device.turn(descriptors);
  }
}

MockDriver::MockDriver(Device& device, const std::string& path)
    : device_(device), socket_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
  CHECK_EQ(::connect(socket_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
}

void MockDriver::pump() { ovfsd::test::pump(device_); }

// ---- front-end ----------------------------------------------------------------------------------------------------

bool MockDriver::send_raw(const void* bytes, size_t size, const std::vector<int>& fds) {
  iovec piece = {const_cast<void*>(bytes), size};
  std::vector<uint8_t> control(CMSG_SPACE(fds.size() * sizeof(int)));
  msghdr message = {};
  message.msg_iov = &piece;
  message.msg_iovlen = 1;
  if (!fds.empty()) {
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* entry = CMSG_FIRSTHDR(&message);
    entry->cmsg_level = SOL_SOCKET;
    entry->cmsg_type = SCM_RIGHTS;
    entry->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
    std::memcpy(CMSG_DATA(entry), fds.data(), fds.size() * sizeof(int));
  }
  // A device that has hung up is for the caller to notice.
  return ::sendmsg(socket_.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT) == static_cast<ssize_t>(size);
}

void MockDriver::send(VhostUserRequest request, const void* payload, size_t size, const std::vector<int>& fds,
                      uint32_t flags) {
  std::vector<uint8_t> bytes(sizeof(VhostUserHeader) + size);
  const VhostUserHeader header = {static_cast<uint32_t>(request), flags, static_cast<uint32_t>(size)};
  std::memcpy(bytes.data(), &header, sizeof header);
  if (size > 0) std::memcpy(bytes.data() + sizeof header, payload, size);
  send_raw(bytes.data(), bytes.size(), fds);
}

bool MockDriver::reply_waits() {
  pump();
  pollfd ready = {socket_.get(), POLLIN, 0};
  return ::poll(&ready, 1, 0) > 0;
}

Reply MockDriver::receive() {
  pump();
  Reply reply;
  if (::recv(socket_.get(), &reply.header, sizeof reply.header, MSG_DONTWAIT) != sizeof reply.header) {
    throw CheckFailed("the device did not reply");
  }
  reply.payload.resize(reply.header.size);
  if (!reply.payload.empty()) {
    CHECK_EQ(::recv(socket_.get(), reply.payload.data(), reply.payload.size(), MSG_DONTWAIT),
             static_cast<ssize_t>(reply.payload.size()));
  }
  CHECK_EQ(reply.header.flags, kVersion | kFlagReply);
  return reply;
}

bool MockDriver::dropped() {
  pump();
  for (;;) {
    char bytes[256];
    const ssize_t rc = ::recv(socket_.get(), bytes, sizeof bytes, MSG_DONTWAIT);
    if (rc > 0) continue;
    return rc == 0 || (errno != EAGAIN && errno != EINTR);
  }
}

void MockDriver::negotiate(const RingOptions& options) {
  const uint64_t protocol = ask(VhostUserRequest::kGetProtocolFeatures).u64();
  send(VhostUserRequest::kSetProtocolFeatures, protocol);
  uint64_t features = kFeatures;
  if (options.event_idx) features |= uint64_t{1} << kVirtioRingFEventIdx;
  if (options.indirect) features |= uint64_t{1} << kVirtioRingFIndirectDesc;
  send(VhostUserRequest::kSetOwner);
  CHECK(acknowledged(VhostUserRequest::kSetFeatures, features));
}

void MockDriver::share_memory(bool two_regions) {
  VhostUserMemoryTable table = {};
  std::vector<int> fds = {memory_->fd()};
  if (two_regions) {
    table.region_count = 2;
    table.regions[0] = memory_->region(0, MockMemory::kSplit);
    table.regions[1] = memory_->region(MockMemory::kSplit);
    fds.push_back(memory_->fd());
  } else {
    table.region_count = 1;
    table.regions[0] = memory_->region();
  }
  const size_t size = kMemoryTableHeadBytes + table.region_count * sizeof(VhostUserMemoryRegion);
  send(VhostUserRequest::kSetMemTable, &table, size, fds, kVersion | kFlagNeedReply);
  CHECK_EQ(receive().u64(), 0u);
}

void MockDriver::start_vring(uint32_t index, const RingOptions& options) {
  if (vrings_.size() <= index) vrings_.resize(index + 1);
  MockVring& vring = vrings_[index];
  vring = MockVring{};
  vring.size = options.size;
  vring.event_idx = options.event_idx;
  vring.indirect = options.indirect;
  vring.offset = index * kRingAreaBytes;
  const uint64_t avail = vring.offset + desc_table_bytes(options.size);
  const uint64_t used = (avail + avail_ring_bytes(options.size) + 63) / 64 * 64;
  std::memset(memory_->at(vring.offset), 0, used + used_ring_bytes(options.size) - vring.offset);
  vring.desc = reinterpret_cast<VringDesc*>(memory_->at(vring.offset));
  vring.avail = reinterpret_cast<VringAvail*>(memory_->at(avail));
  vring.used = reinterpret_cast<VringUsed*>(memory_->at(used));
  vring.avail->idx = vring.used->idx = vring.next_avail = vring.seen_used = options.base;
  vring.used_event() = options.base;
  vring.kick.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  vring.call.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  vring.err.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));

  CHECK(acknowledged(VhostUserRequest::kSetVringNum, VhostUserVringState{index, options.size}));
  CHECK(acknowledged(VhostUserRequest::kSetVringBase, VhostUserVringState{index, options.base}));
  const VhostUserVringAddr addr = {
      index, 0, MockMemory::kUserAddr + vring.offset, MockMemory::kUserAddr + used, MockMemory::kUserAddr + avail, 0};
  CHECK(acknowledged(VhostUserRequest::kSetVringAddr, addr));
  CHECK(acknowledged(VhostUserRequest::kSetVringCall, uint64_t{index}, {vring.call.get()}));
  CHECK(acknowledged(VhostUserRequest::kSetVringErr, uint64_t{index}, {vring.err.get()}));
  CHECK(acknowledged(VhostUserRequest::kSetVringKick, uint64_t{index}, {vring.kick.get()}));
  CHECK(acknowledged(VhostUserRequest::kSetVringEnable, VhostUserVringState{index, 1}));
}

uint32_t MockDriver::stop_vring(uint32_t index) {
  const Reply reply = ask(VhostUserRequest::kGetVringBase, VhostUserVringState{index, 0});
  VhostUserVringState state;
  CHECK_EQ(reply.payload.size(), sizeof state);
  std::memcpy(&state, reply.payload.data(), sizeof state);
  CHECK_EQ(state.index, index);
  return state.num;
}

void MockDriver::set_up(const RingOptions& options) {
  negotiate(options);
  share_memory();
  for (uint32_t i = 0; i < options.vrings; ++i) start_vring(i, options);
}

// ---- driver -------------------------------------------------------------------------------------------------------

uint16_t MockDriver::add_chain(uint32_t index, const std::vector<Buffer>& readable,
                               const std::vector<Buffer>& writable) {
  MockVring& ring = vrings_.at(index);
  std::vector<VringDesc> chain;
  for (const Buffer& buffer : readable) chain.push_back({MockMemory::kGpa + buffer.offset, buffer.length, 0, 0});
  for (const Buffer& buffer : writable)
    chain.push_back({MockMemory::kGpa + buffer.offset, buffer.length, kDescFWrite, 0});
  const uint16_t head = ring.next_desc;
  if (ring.indirect) {
    // The tables lie behind the ring's parts, one place a head.
    constexpr uint64_t kTableBytes = 512 * sizeof(VringDesc);
    CHECK(chain.size() <= 512);
    const uint64_t place = ring.offset + kRingAreaBytes / 2 + (head % 32) * kTableBytes;
    auto* table = reinterpret_cast<VringDesc*>(memory_->at(place));
    for (size_t i = 0; i < chain.size(); ++i) {
      table[i] = chain[i];
      if (i + 1 < chain.size()) {
        table[i].flags |= kDescFNext;
        table[i].next = static_cast<uint16_t>(i + 1);
      }
    }
    ring.desc[head] = {MockMemory::kGpa + place, static_cast<uint32_t>(chain.size() * sizeof(VringDesc)),
                       kDescFIndirect, 0};
    ring.next_desc = static_cast<uint16_t>((head + 1) % ring.size);
  } else {
    for (size_t i = 0; i < chain.size(); ++i) {
      const auto at = static_cast<uint16_t>((head + i) % ring.size);
      ring.desc[at] = chain[i];
      if (i + 1 < chain.size()) {
        ring.desc[at].flags |= kDescFNext;
        ring.desc[at].next = static_cast<uint16_t>((at + 1) % ring.size);
      }
    }
    ring.next_desc = static_cast<uint16_t>((head + chain.size()) % ring.size);
  }
  add_head(index, head);
  return head;
}

void MockDriver::add_head(uint32_t index, uint16_t head) {
  MockVring& ring = vrings_.at(index);
  ring.avail->ring[ring.next_avail % ring.size] = head;
  ++ring.next_avail;
}

bool MockDriver::publish(uint32_t index, bool always) {
  MockVring& ring = vrings_.at(index);
  const uint16_t before = ring.avail->idx;
  __atomic_store_n(&ring.avail->idx, ring.next_avail, __ATOMIC_RELEASE);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  const bool wanted = ring.event_idx ? passed_event(ring.avail_event(), ring.next_avail, before)
                                     : (ring.used->flags & kUsedFNoNotify) == 0;
  if (!wanted && !always) return false;
  CHECK_EQ(::eventfd_write(ring.kick.get(), 1), 0);
  return true;
}

std::vector<VringUsedElem> MockDriver::take_used(uint32_t index) {
  MockVring& ring = vrings_.at(index);
  std::vector<VringUsedElem> elements;
  const uint16_t idx = __atomic_load_n(&ring.used->idx, __ATOMIC_ACQUIRE);
  while (ring.seen_used != idx) elements.push_back(ring.used->ring[ring.seen_used++ % ring.size]);
  ring.used_event() = ring.seen_used;
  return elements;
}

namespace {
uint64_t take_count(const UniqueFd& fd) {
  eventfd_t value = 0;
  return ::eventfd_read(fd.get(), &value) == 0 ? value : 0;
}
}  // namespace

uint64_t MockDriver::take_calls(uint32_t index) { return take_count(vrings_.at(index).call); }

uint64_t MockDriver::take_errors(uint32_t index) { return take_count(vrings_.at(index).err); }

bool MockDriver::probe(uint32_t index) {
  constexpr uint64_t kRequest = kDataOffset;
  constexpr uint64_t kReply = kDataOffset + 4096;
  const uint64_t unique = ++unique_;
  const uint32_t length = write_request(*memory_, kRequest, FUSE_GETATTR, unique, std::vector<uint8_t>(16));
  std::memset(memory_->at(kReply), 0xee, 256);
  take_used(index);
  const uint16_t head = add_chain(index, {{kRequest, length}}, {{kReply, 16 + 104}});
  publish(index, true);
  pump();
  const std::vector<VringUsedElem> used = take_used(index);
  if (used.size() != 1 || used[0].id != head || used[0].len != 16 + 104) return false;
  const fuse_out_header header = read_reply(*memory_, kReply);
  return header.unique == unique && header.error == 0 && header.len == 16 + 104;
}

uint32_t write_request(MockMemory& memory, uint64_t offset, uint32_t opcode, uint64_t unique,
                       const std::vector<uint8_t>& body) {
  fuse_in_header header = {};
  header.len = static_cast<uint32_t>(sizeof header + body.size());
  header.opcode = opcode;
  header.unique = unique;
  header.nodeid = 1;
  std::memcpy(memory.at(offset), &header, sizeof header);
  if (!body.empty()) std::memcpy(memory.at(offset) + sizeof header, body.data(), body.size());
  return header.len;
}

fuse_out_header read_reply(const MockMemory& memory, uint64_t offset) {
  fuse_out_header header;
  std::memcpy(&header, memory.at(offset), sizeof header);
  return header;
}

}  // namespace ovfsd::test
