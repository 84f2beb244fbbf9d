#include "vhost_user_backend.h"

#include <fcntl.h>
#include <unistd.h>

#include <bit>
#include <cstring>
#include <string>
#include <utility>

#include "refusal.h"
#include "virtqueue_layout.h"

namespace ovfsd {
namespace {

constexpr uint64_t bit(uint64_t number) { return uint64_t{1} << number; }

constexpr uint64_t kOfferedFeatures = bit(kVirtioFVersion1) | bit(kVirtioRingFIndirectDesc) |
                                      bit(kVirtioRingFEventIdx) | bit(kVhostUserFProtocolFeatures);

// Not STATUS: QEMU then asks GET_STATUS and some versions wait for ever. Not CONFIG: the front-end supplies the tag,
// and QEMU 7.1 to 8.0 crash with it. Not INFLIGHT_SHMFD: no front-end sends it for a file system.
constexpr uint64_t kOfferedProtocolFeatures = bit(kProtocolFeatureMq) | bit(kProtocolFeatureReplyAck) |
                                              bit(kProtocolFeatureBackendReq) | bit(kProtocolFeatureResetDevice) |
                                              bit(kProtocolFeatureConfigureMemSlots);

template <typename T>
T payload_as(const VhostUserMessage& message) {
  T value;
  std::memcpy(&value, message.payload.data(), sizeof value);
  return value;
}

/// Reading or writing anything but an eventfd could block the whole event loop, so nothing else is taken.
void require_eventfd(int fd) {
  char link[64];
  char path[32];
  std::snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  const ssize_t length = ::readlink(path, link, sizeof link - 1);
  if (length < 0) return;  // no /proc in this sandbox: trust the front-end
  link[length] = '\0';
  if (std::strcmp(link, "anon_inode:[eventfd]") != 0) throw Refusal("the file descriptor is not an eventfd");
  // The flag is shared with the front-end; its own notifiers are non-blocking in every front-end that we know.
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0 || ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
    throw Refusal("the eventfd can't be made non-blocking");
}

/// The descriptor of SET_VRING_KICK, CALL or ERR; none with the NOFD bit.
UniqueFd take_vring_fd(VhostUserMessage& message, uint64_t value) {
  const bool no_fd = (value & kVringNoFd) != 0;
  if (no_fd != (message.fd_count == 0)) throw Refusal("the NOFD bit and the number of file descriptors disagree");
  if (no_fd) return {};
  require_eventfd(message.fds[0].get());
  return std::move(message.fds[0]);
}

}  // namespace

/// One line a message: what it carries and who handles it.
struct VhostUserBackend::Handler {
  static constexpr uint32_t kAnySize = UINT32_MAX;

  VhostUserRequest request;
  uint32_t payload_bytes;
  uint32_t min_fds;
  uint32_t max_fds;
  bool replies;  ///< has an answer of its own, so REPLY_ACK adds none
  void (VhostUserBackend::*handle)(VhostUserMessage&, VhostUserConnection&);  ///< nullptr: not supported
};

const VhostUserBackend::Handler* VhostUserBackend::find_handler(uint32_t request) noexcept {
  using R = VhostUserRequest;
  using B = VhostUserBackend;
  static constexpr Handler kHandlers[] = {
      // clang-format off
      // request                  payload bytes                  fds                 replies
      {R::kGetFeatures,           0,                              0, 0,                true,  &B::get_features},
      {R::kSetFeatures,           sizeof(uint64_t),               0, 0,                false, &B::set_features},
      {R::kSetOwner,              0,                              0, 0,                false, &B::set_owner},
      {R::kResetOwner,            0,                              0, 0,                false, &B::reset_device},
      {R::kResetDevice,           0,                              0, 0,                false, &B::reset_device},
      {R::kGetProtocolFeatures,   0,                              0, 0,                true,  &B::get_protocol_features},
      {R::kSetProtocolFeatures,   sizeof(uint64_t),               0, 0,                false, &B::set_protocol_features},
      {R::kGetQueueNum,           0,                              0, 0,                true,  &B::get_queue_num},
      {R::kSetBackendReqFd,       0,                              1, 1,                false, &B::set_backend_req_fd},
      {R::kSetMemTable,           Handler::kAnySize,              0, kMaxMessageFds,   false, &B::set_mem_table},
      {R::kGetMaxMemSlots,        0,                              0, 0,                true,  &B::get_max_mem_slots},
      {R::kAddMemReg,             sizeof(VhostUserSingleRegion),  1, 1,                false, &B::add_mem_reg},
      {R::kRemMemReg,             sizeof(VhostUserSingleRegion),  0, 1,                false, &B::rem_mem_reg},
      {R::kSetVringNum,           sizeof(VhostUserVringState),    0, 0,                false, &B::set_vring_num},
      {R::kSetVringAddr,          sizeof(VhostUserVringAddr),     0, 0,                false, &B::set_vring_addr},
      {R::kSetVringBase,          sizeof(VhostUserVringState),    0, 0,                false, &B::set_vring_base},
      {R::kGetVringBase,          sizeof(VhostUserVringState),    0, 0,                true,  &B::get_vring_base},
      {R::kSetVringKick,          sizeof(uint64_t),               0, 1,                false, &B::set_vring_kick},
      {R::kSetVringCall,          sizeof(uint64_t),               0, 1,                false, &B::set_vring_call},
      {R::kSetVringErr,           sizeof(uint64_t),               0, 1,                false, &B::set_vring_err},
      {R::kSetVringEnable,        sizeof(VhostUserVringState),    0, 0,                false, &B::set_vring_enable},
      // Not supported, and the front-end would wait for an answer that we can't give.
      {R::kGetConfig,             Handler::kAnySize,              0, kMaxMessageFds,   true,  nullptr},
      {R::kPostcopyAdvise,        Handler::kAnySize,              0, kMaxMessageFds,   true,  nullptr},
      {R::kPostcopyEnd,           Handler::kAnySize,              0, kMaxMessageFds,   true,  nullptr},
      {R::kGetInflightFd,         Handler::kAnySize,              0, kMaxMessageFds,   true,  nullptr},
      {R::kGetStatus,             Handler::kAnySize,              0, kMaxMessageFds,   true,  nullptr},
      {R::kGetSharedObject,       Handler::kAnySize,              0, kMaxMessageFds,   true,  nullptr},
      {R::kSetDeviceStateFd,      Handler::kAnySize,              0, kMaxMessageFds,   true,  nullptr},
      {R::kCheckDeviceState,      Handler::kAnySize,              0, kMaxMessageFds,   true,  nullptr},
      // clang-format on
  };
  for (const Handler& handler : kHandlers) {
    if (static_cast<uint32_t>(handler.request) == request) return &handler;
  }
  return nullptr;
}

VhostUserBackend::VhostUserBackend(uint32_t vring_count, VhostUserBackendOwner& owner)
    : owner_(owner), vrings_(vring_count), memory_(GuestMemory::empty()) {}

VhostUserBackend::~VhostUserBackend() {
  // The front-end holds the same eventfds, so closing ours would not take them out of the epoll set.
  for (Vring& vring : vrings_) {
    if (vring.kick) owner_.unwatch_kick(vring.kick.get());
  }
}

void VhostUserBackend::handle(VhostUserMessage& message, VhostUserConnection& connection) {
  const Handler* handler = find_handler(message.header.request);
  const bool replies = handler != nullptr && handler->replies;
  const bool acknowledges = message.needs_reply() && !replies && has_protocol_feature(kProtocolFeatureReplyAck);
  try {
    if (handler == nullptr || handler->handle == nullptr) throw Refusal("not supported");
    if (handler->payload_bytes != Handler::kAnySize && message.header.size != handler->payload_bytes) {
      throw Refusal("a payload of " + std::to_string(message.header.size) + " bytes in place of " +
                    std::to_string(handler->payload_bytes));
    }
    if (message.fd_count < handler->min_fds || message.fd_count > handler->max_fds) {
      throw Refusal("it came with " + std::to_string(message.fd_count) + " file descriptors");
    }
    (this->*handler->handle)(message, connection);
  } catch (const Refusal& refusal) {
    // A front-end that waits for an answer which never comes would hang: better to drop it.
    const auto severity = replies ? Refusal::Severity::kConnection : refusal.severity();
    if (acknowledges && severity == Refusal::Severity::kMessage) reply_u64(message, connection, 1);
    throw Refusal(std::string(request_name(message.header.request)) + " (" + std::to_string(message.header.request) +
                      "): " + refusal.what(),
                  severity);
  }
  if (acknowledges) reply_u64(message, connection, 0);
}

void VhostUserBackend::reply_u64(const VhostUserMessage& message, VhostUserConnection& connection, uint64_t value) {
  connection.reply(message.request(), &value, sizeof value);
}

// ---- features -----------------------------------------------------------------------------------------------------

void VhostUserBackend::get_features(VhostUserMessage& message, VhostUserConnection& connection) {
  reply_u64(message, connection, kOfferedFeatures);
}

void VhostUserBackend::set_features(VhostUserMessage& message, VhostUserConnection&) {
  const auto features = payload_as<uint64_t>(message);
  if ((features & ~kOfferedFeatures) != 0) throw Refusal("features that were not offered");
  features_ = features;
  // Without the protocol features there is no SET_VRING_ENABLE: every ring is enabled from the start.
  if (!has_feature(kVhostUserFProtocolFeatures)) {
    for (Vring& vring : vrings_) vring.enabled = true;
  }
}

void VhostUserBackend::set_owner(VhostUserMessage&, VhostUserConnection&) {}

void VhostUserBackend::reset_device(VhostUserMessage&, VhostUserConnection&) {
  // Also for the deprecated RESET_OWNER: Cloud Hypervisor sends it to disable all rings when the guest reboots.
  for (Vring& vring : vrings_) {
    if (vring.in_flight > 0) owner_.abandon_requests(index_of(vring));
    vring.in_flight = 0;
    if (vring.started()) stop(vring);
    vring.enabled = false;
    vring.has_addresses = false;
    vring.set_next_avail(0);
  }
}

void VhostUserBackend::get_protocol_features(VhostUserMessage& message, VhostUserConnection& connection) {
  reply_u64(message, connection, kOfferedProtocolFeatures);
}

void VhostUserBackend::set_protocol_features(VhostUserMessage& message, VhostUserConnection&) {
  const auto features = payload_as<uint64_t>(message);
  if ((features & ~kOfferedProtocolFeatures) != 0) throw Refusal("protocol features that were not offered");
  protocol_features_ = features;
}

void VhostUserBackend::get_queue_num(VhostUserMessage& message, VhostUserConnection& connection) {
  reply_u64(message, connection, vrings_.size());
}

void VhostUserBackend::set_backend_req_fd(VhostUserMessage& message, VhostUserConnection&) {
  if (!has_protocol_feature(kProtocolFeatureBackendReq)) throw Refusal("BACKEND_REQ is not negotiated");
  backend_req_ = std::move(message.fds[0]);
}

// ---- memory -------------------------------------------------------------------------------------------------------

namespace {

GuestMemory::Region map_region(const VhostUserMemoryRegion& wire, const UniqueFd& fd) {
  const RegionDescription description = {wire.guest_phys_addr, wire.memory_size, wire.userspace_addr, wire.mmap_offset};
  return std::make_shared<const MappedRegion>(description, fd.get());
}

}  // namespace

void VhostUserBackend::set_mem_table(VhostUserMessage& message, VhostUserConnection&) {
  if (message.header.size < kMemoryTableHeadBytes || message.header.size > sizeof(VhostUserMemoryTable)) {
    throw Refusal("a payload of " + std::to_string(message.header.size) + " bytes");
  }
  const auto table = payload_as<VhostUserMemoryTable>(message);
  if (table.region_count > kMaxMessageFds || table.region_count != message.fd_count ||
      message.header.size != kMemoryTableHeadBytes + table.region_count * sizeof(VhostUserMemoryRegion)) {
    throw Refusal(std::to_string(table.region_count) + " regions, " + std::to_string(message.fd_count) +
                  " file descriptors and " + std::to_string(message.header.size) + " bytes do not fit together");
  }
  std::vector<GuestMemory::Region> regions;
  for (uint32_t i = 0; i < table.region_count; ++i) regions.push_back(map_region(table.regions[i], message.fds[i]));
  use_memory(GuestMemory::of(std::move(regions)));
}

void VhostUserBackend::get_max_mem_slots(VhostUserMessage& message, VhostUserConnection& connection) {
  reply_u64(message, connection, GuestMemory::kMaxRegions);
}

void VhostUserBackend::add_mem_reg(VhostUserMessage& message, VhostUserConnection&) {
  if (!has_protocol_feature(kProtocolFeatureConfigureMemSlots)) throw Refusal("CONFIGURE_MEM_SLOTS is not negotiated");
  use_memory(memory_->with(map_region(payload_as<VhostUserSingleRegion>(message).region, message.fds[0])));
}

void VhostUserBackend::rem_mem_reg(VhostUserMessage& message, VhostUserConnection&) {
  if (!has_protocol_feature(kProtocolFeatureConfigureMemSlots)) throw Refusal("CONFIGURE_MEM_SLOTS is not negotiated");
  const VhostUserMemoryRegion wire = payload_as<VhostUserSingleRegion>(message).region;
  use_memory(memory_->without({wire.guest_phys_addr, wire.memory_size, wire.userspace_addr, wire.mmap_offset}));
}

void VhostUserBackend::use_memory(GuestMemory::Snapshot memory) {
  memory_ = std::move(memory);
  // Running rings move to the new snapshot; one that is not in it any more can't be worked on.
  for (Vring& vring : vrings_) {
    if (!vring.started() || vring.broken()) continue;
    if (const char* reason = vring.resolve(memory_)) vring.mark_broken(reason);
  }
}

// ---- vrings -------------------------------------------------------------------------------------------------------

Vring& VhostUserBackend::vring_at(uint64_t index) {
  if (index >= vrings_.size())
    throw Refusal("vring " + std::to_string(index) + " of " + std::to_string(vrings_.size()));
  return vrings_[index];
}

Vring& VhostUserBackend::stopped_vring_at(uint64_t index) {
  Vring& vring = vring_at(index);
  if (vring.started()) throw Refusal("vring " + std::to_string(index) + " is running");
  return vring;
}

void VhostUserBackend::set_vring_num(VhostUserMessage& message, VhostUserConnection&) {
  const auto state = payload_as<VhostUserVringState>(message);
  Vring& vring = stopped_vring_at(state.index);
  if (state.num > Vring::kMaxSize || !std::has_single_bit(state.num)) {
    throw Refusal("a size of " + std::to_string(state.num) + " is not a power of two from 1 to 32768");
  }
  vring.size = state.num;
}

void VhostUserBackend::set_vring_addr(VhostUserMessage& message, VhostUserConnection&) {
  const auto addr = payload_as<VhostUserVringAddr>(message);
  if (addr.flags != 0) throw Refusal("logging is not offered");
  Vring& vring = vring_at(addr.index);
  const VringAddresses before = vring.addresses;
  const bool had_addresses = vring.has_addresses;
  vring.addresses = {addr.desc_user_addr, addr.used_user_addr, addr.avail_user_addr};
  vring.has_addresses = true;
  // The order of NUM, ADDR and the memory messages is the front-end's; without a size SET_VRING_KICK does the check.
  if (vring.size == 0) return;
  if (const char* reason = vring.resolve(memory_)) {
    vring.addresses = before;
    vring.has_addresses = had_addresses;
    throw Refusal(reason);
  }
  if (!vring.started()) vring.unresolve();
}

void VhostUserBackend::set_vring_base(VhostUserMessage& message, VhostUserConnection&) {
  const auto state = payload_as<VhostUserVringState>(message);
  Vring& vring = stopped_vring_at(state.index);
  if (state.num > UINT16_MAX) throw Refusal("an avail index of " + std::to_string(state.num));
  vring.set_next_avail(static_cast<uint16_t>(state.num));
}

void VhostUserBackend::get_vring_base(VhostUserMessage& message, VhostUserConnection& connection) {
  Vring& vring = vring_at(payload_as<VhostUserVringState>(message).index);
  draining_ = static_cast<int32_t>(index_of(vring));
  vring.begin_drain();
  continue_drain(connection);
}

void VhostUserBackend::continue_drain(VhostUserConnection& connection) {
  if (draining_ < 0) return;
  Vring& vring = vrings_[static_cast<size_t>(draining_)];
  if (vring.in_flight > 0) return;
  const VhostUserVringState state = {static_cast<uint32_t>(draining_), vring.next_avail()};
  draining_ = -1;
  // Also on a ring that is not running: it clears what begin_drain set.
  if (vring.started())
    stop(vring);
  else
    vring.stop();
  connection.reply(VhostUserRequest::kGetVringBase, &state, sizeof state);
}

void VhostUserBackend::set_vring_kick(VhostUserMessage& message, VhostUserConnection&) {
  const auto value = payload_as<uint64_t>(message);
  Vring& vring = vring_at(value & kVringIndexMask);
  UniqueFd fd = take_vring_fd(message, value);
  if (fd) owner_.watch_kick(fd.get());
  if (vring.kick) owner_.unwatch_kick(vring.kick.get());
  vring.kick = std::move(fd);
  if (!vring.started()) start(vring);
}

void VhostUserBackend::set_vring_call(VhostUserMessage& message, VhostUserConnection&) {
  const auto value = payload_as<uint64_t>(message);
  Vring& vring = vring_at(value & kVringIndexMask);
  vring.call = take_vring_fd(message, value);
  // A call may have gone to the old descriptor while the front-end switched: one too many is harmless, one too few
  // hangs.
  if (vring.started()) vring.signal_call();
}

void VhostUserBackend::set_vring_err(VhostUserMessage& message, VhostUserConnection&) {
  const auto value = payload_as<uint64_t>(message);
  vring_at(value & kVringIndexMask).err = take_vring_fd(message, value);
}

void VhostUserBackend::set_vring_enable(VhostUserMessage& message, VhostUserConnection&) {
  const auto state = payload_as<VhostUserVringState>(message);
  Vring& vring = vring_at(state.index);
  if (state.num > 1) throw Refusal("a value of " + std::to_string(state.num));
  vring.enabled = state.num == 1;
}

void VhostUserBackend::start(Vring& vring) {
  const char* reason = vring.resolve(memory_);
  if (reason == nullptr) {
    reason = vring.start(has_feature(kVirtioRingFEventIdx), has_feature(kVirtioRingFIndirectDesc));
  }
  if (reason != nullptr) {
    if (vring.kick) owner_.unwatch_kick(vring.kick.get());
    vring.stop();
    vring.signal_err();
    throw Refusal(reason);
  }
  owner_.vring_started(index_of(vring));
}

void VhostUserBackend::stop(Vring& vring) {
  if (vring.kick) owner_.unwatch_kick(vring.kick.get());
  vring.stop();
  owner_.vring_stopped(index_of(vring));
}

bool VhostUserBackend::has_vring_to_poll() const noexcept {
  for (const Vring& vring : vrings_) {
    if (vring.runs() && !vring.kick) return true;
  }
  return false;
}

}  // namespace ovfsd
