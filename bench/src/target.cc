#include "target.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <stdexcept>
#include <system_error>

namespace ovfs_bench {

namespace {

constexpr uint32_t kMaxIoBytes = 1 << 20;
// Queue numbers double as epoll data; this one marks the socket.
constexpr uint64_t kSocketMark = UINT64_MAX;

// Slots for single requests are made afresh in memory that no measurement uses at the same time.
ovfs_frontend::FrontEndOptions options_for(const std::string& socket_path) {
  ovfs_frontend::FrontEndOptions options;
  options.socket_path = socket_path;
  return options;
}

}  // namespace

FuseFailure::FuseFailure(uint32_t opcode, int error)
    : std::runtime_error("opcode " + std::to_string(opcode) + ": " + std::strerror(error)), error_(error) {}

void check_reply(const RequestSlot& slot, uint32_t used_bytes) {
  if (!slot.has_reply()) return;
  const fuse_out_header& out = slot.out();
  if (out.unique != slot.unique() || out.len != used_bytes || used_bytes < sizeof(out)) {
    throw std::runtime_error("the reply to opcode " + std::to_string(slot.opcode()) + " is not its own");
  }
  if (out.error != 0) throw FuseFailure(slot.opcode(), -out.error);
}

Target::Target(std::string name, const std::string& socket_path)
    : name_(std::move(name)),
      front_end_(options_for(socket_path)),
      slot_memory_(front_end_.memory(), front_end_.buffers_offset()),
      epoll_(::epoll_create1(EPOLL_CLOEXEC)) {
  front_end_.negotiate();
  // Edge-triggered: one epoll_wait per sleep and no read to reset the eventfd.
  for (uint32_t queue = 0; queue < 2; ++queue) {
    epoll_event event{EPOLLIN | EPOLLET, {.u64 = queue}};
    ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, front_end_.vring(queue).call_fd(), &event);
  }
  epoll_event event{EPOLLRDHUP, {.u64 = kSocketMark}};
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, front_end_.connection().fd(), &event);
  init();
}

Target::~Target() = default;

void Target::wait_call_of(uint32_t queue) {
  for (;;) {
    epoll_event event{};
    const int count = ::epoll_wait(epoll_.get(), &event, 1, silence_limit_ms_);
    if (count == 0) {
      throw std::runtime_error(name_ + " did not answer for " + std::to_string(silence_limit_ms_ / 1000) + " s");
    }
    if (count < 0 && errno != EINTR) throw std::system_error(errno, std::generic_category(), "epoll_wait");
    if (count < 0) continue;
    if (event.data.u64 == kSocketMark) throw std::runtime_error(name_ + " closed the connection");
    if (event.data.u64 == queue) return;
  }
}

void Target::wait_call() { wait_call_of(1); }

uint32_t Target::exchange(uint32_t queue, RequestSlot& slot) {
  DriverVring& vring = front_end_.vring(queue);
  vring.add_indirect(slot.table_gpa(), slot.entries());
  vring.publish();
  if (vring.kick_needed()) vring.kick();
  for (;;) {
    if (const auto element = vring.pop_used()) return element->len;
    if (!vring.enable_call()) wait_call_of(queue);
  }
}

std::vector<uint8_t> Target::call(uint32_t opcode, uint64_t nodeid, std::span<const uint8_t> args,
                                  uint32_t reply_bytes, std::span<const uint8_t> data) {
  slot_memory_.rewind();
  RequestSlot slot(slot_memory_, {.opcode = opcode,
                                  .args_bytes = static_cast<uint32_t>(args.size()),
                                  .data_in_bytes = static_cast<uint32_t>(data.size()),
                                  .reply_bytes = reply_bytes});
  slot.address(next_unique(), nodeid);
  if (!args.empty()) std::memcpy(slot.args_bytes(), args.data(), args.size());
  for (size_t page = 0; page < slot.data_in().size(); ++page) {
    const size_t offset = page * GuestMemory::kPageBytes;
    std::memcpy(slot.data_in()[page], data.data() + offset, std::min(data.size() - offset, GuestMemory::kPageBytes));
  }
  const uint32_t used = exchange(1, slot);
  check_reply(slot, used);
  if (used != sizeof(fuse_out_header) + reply_bytes) {
    throw std::runtime_error("opcode " + std::to_string(opcode) + " answered with " + std::to_string(used) + " bytes");
  }
  if (reply_bytes == 0) return {};
  const uint8_t* reply = &slot.reply<uint8_t>();
  return {reply, reply + reply_bytes};
}

namespace {

template <typename T>
T unpack(const std::vector<uint8_t>& bytes, size_t offset = 0) {
  T value;
  std::memcpy(&value, bytes.data() + offset, sizeof(T));
  return value;
}

}  // namespace

std::vector<uint8_t> pack_name(const std::string& name) {
  std::vector<uint8_t> bytes(name.begin(), name.end());
  bytes.push_back(0);
  return bytes;
}

void Target::init() {
  fuse_init_in args{};
  args.major = FUSE_KERNEL_VERSION;
  args.minor = FUSE_KERNEL_MINOR_VERSION;
  args.max_readahead = 128 << 10;
  // What Linux 6.1 offers and a daemon's speed may depend on.
  args.flags = FUSE_ASYNC_READ | FUSE_POSIX_LOCKS | FUSE_ATOMIC_O_TRUNC | FUSE_EXPORT_SUPPORT | FUSE_BIG_WRITES |
               FUSE_DONT_MASK | FUSE_FLOCK_LOCKS | FUSE_HAS_IOCTL_DIR | FUSE_AUTO_INVAL_DATA | FUSE_DO_READDIRPLUS |
               FUSE_READDIRPLUS_AUTO | FUSE_ASYNC_DIO | FUSE_WRITEBACK_CACHE | FUSE_NO_OPEN_SUPPORT |
               FUSE_PARALLEL_DIROPS | FUSE_HANDLE_KILLPRIV | FUSE_POSIX_ACL | FUSE_ABORT_ERROR | FUSE_MAX_PAGES |
               FUSE_CACHE_SYMLINKS | FUSE_NO_OPENDIR_SUPPORT | FUSE_EXPLICIT_INVAL_DATA | FUSE_SUBMOUNTS |
               FUSE_HANDLE_KILLPRIV_V2 | FUSE_SETXATTR_EXT | FUSE_INIT_EXT;
  const auto reply = unpack<fuse_init_out>(call(FUSE_INIT, 0, pack(args), sizeof(fuse_init_out)));
  if (reply.major != FUSE_KERNEL_VERSION) throw std::runtime_error(name_ + " speaks another major version of FUSE");
  max_io_bytes_ = std::min(reply.max_write, kMaxIoBytes);
}

uint64_t Target::lookup(uint64_t parent, const std::string& name) {
  const auto entry = unpack<fuse_entry_out>(call(FUSE_LOOKUP, parent, pack_name(name), sizeof(fuse_entry_out)));
  if (entry.nodeid == 0) throw FuseFailure(FUSE_LOOKUP, ENOENT);
  return entry.nodeid;
}

uint64_t Target::make_directory(uint64_t parent, const std::string& name) {
  try {
    return lookup(parent, name);
  } catch (const FuseFailure& failure) {
    if (failure.error() != ENOENT) throw;
  }
  const auto args = pack(fuse_mkdir_in{0755, 0}, {name});
  return unpack<fuse_entry_out>(call(FUSE_MKDIR, parent, args, sizeof(fuse_entry_out))).nodeid;
}

Target::CreatedFile Target::create(uint64_t parent, const std::string& name) {
  const auto args = pack(fuse_create_in{O_CREAT | O_WRONLY | O_TRUNC, S_IFREG | 0644, 0, 0}, {name});
  const auto reply = call(FUSE_CREATE, parent, args, sizeof(fuse_entry_out) + sizeof(fuse_open_out));
  return {unpack<fuse_entry_out>(reply).nodeid, unpack<fuse_open_out>(reply, sizeof(fuse_entry_out)).fh};
}

uint64_t Target::make_file(uint64_t parent, const std::string& name, uint64_t bytes) {
  const auto [nodeid, fh] = create(parent, name);
  std::vector<uint8_t> data(std::min<uint64_t>(bytes, max_io_bytes_));
  // Not zeros: a daemon that detects holes shall have none.
  for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<uint8_t>(i * 31 + (i >> 12) + 1);
  for (uint64_t offset = 0; offset < bytes; offset += data.size()) {
    const auto part = static_cast<uint32_t>(std::min<uint64_t>(bytes - offset, data.size()));
    fuse_write_in write{};
    write.fh = fh;
    write.offset = offset;
    write.size = part;
    const auto written = unpack<fuse_write_out>(
        call(FUSE_WRITE, nodeid, pack(write), sizeof(fuse_write_out), std::span(data).first(part)));
    if (written.size != part) throw std::runtime_error("short write while preparing " + name);
  }
  flush(nodeid, fh);
  release(nodeid, fh);
  return nodeid;
}

uint64_t Target::open(uint64_t nodeid, uint32_t flags) {
  return unpack<fuse_open_out>(call(FUSE_OPEN, nodeid, pack(fuse_open_in{flags, 0}), sizeof(fuse_open_out))).fh;
}

void Target::flush(uint64_t nodeid, uint64_t fh) {
  fuse_flush_in args{};
  args.fh = fh;
  call(FUSE_FLUSH, nodeid, pack(args), 0);
}

void Target::fsync(uint64_t nodeid, uint64_t fh) {
  fuse_fsync_in args{};
  args.fh = fh;
  call(FUSE_FSYNC, nodeid, pack(args), 0);
}

void Target::syncfs() { call(FUSE_SYNCFS, FUSE_ROOT_ID, pack(fuse_syncfs_in{}), 0); }

void Target::release(uint64_t nodeid, uint64_t fh) {
  fuse_release_in args{};
  args.fh = fh;
  call(FUSE_RELEASE, nodeid, pack(args), 0);
}

void Target::unlink(uint64_t parent, const std::string& name) { call(FUSE_UNLINK, parent, pack_name(name), 0); }
void Target::rmdir(uint64_t parent, const std::string& name) { call(FUSE_RMDIR, parent, pack_name(name), 0); }

void Target::forget(std::span<const fuse_forget_one> items) {
  // Fits a page with its header, as a kernel's does.
  constexpr size_t kBatch = (GuestMemory::kPageBytes - sizeof(fuse_batch_forget_in)) / sizeof(fuse_forget_one);
  for (size_t done = 0; done < items.size(); done += kBatch) {
    const auto part = items.subspan(done, std::min(kBatch, items.size() - done));
    slot_memory_.rewind();
    RequestSlot slot(slot_memory_,
                     {.opcode = FUSE_BATCH_FORGET,
                      .args_bytes = static_cast<uint32_t>(sizeof(fuse_batch_forget_in) + part.size_bytes()),
                      .has_reply = false});
    slot.address(next_unique(), 0);
    slot.args<fuse_batch_forget_in>() = {static_cast<uint32_t>(part.size()), 0};
    std::memcpy(slot.args_bytes() + sizeof(fuse_batch_forget_in), part.data(), part.size_bytes());
    exchange(0, slot);
  }
}

}  // namespace ovfs_bench
