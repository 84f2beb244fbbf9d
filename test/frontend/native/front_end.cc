#include "front_end.h"

#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <system_error>

namespace ovfs_frontend {

using vhost_user::Request;

namespace {

constexpr uint64_t bit(unsigned number) { return uint64_t{1} << number; }

template <typename T>
std::span<const uint8_t> bytes_of(const T& value) {
  return {reinterpret_cast<const uint8_t*>(&value), sizeof(value)};
}

std::string name_of(Request request) { return "vhost-user request " + std::to_string(static_cast<uint32_t>(request)); }

}  // namespace

FrontEnd::FrontEnd(FrontEndOptions options)
    : options_(std::move(options)),
      connection_(options_.socket_path),
      memory_(options_.memory_bytes, options_.regions) {
  uint64_t offset = 0;
  for (uint32_t i = 0; i < options_.queues; ++i) {
    const DriverVring::Layout layout = DriverVring::layout_at(offset, options_.queue_size);
    vrings_.push_back(std::make_unique<DriverVring>(memory_, layout, options_.queue_size));
    offset = layout.end;
  }
  buffers_offset_ = offset;
}

Message FrontEnd::receive_reply(Request request) {
  std::optional<Message> reply = connection_.receive(options_.reply_timeout_ms);
  if (!reply) throw std::runtime_error("the back-end closed the connection at " + name_of(request));
  const bool matches = reply->header.request == static_cast<uint32_t>(request) &&
                       (reply->header.flags & vhost_user::kFlagReply) != 0;
  if (!matches) {
    throw std::runtime_error("the back-end answered " + name_of(request) + " with request " +
                             std::to_string(reply->header.request) + ", flags " +
                             std::to_string(reply->header.flags));
  }
  return std::move(*reply);
}

uint64_t FrontEnd::get_u64(Request request) {
  connection_.send(request, 0, {});
  const Message reply = receive_reply(request);
  uint64_t value = 0;
  if (reply.payload.size() != sizeof(value)) {
    throw std::runtime_error("the reply to " + name_of(request) + " is not 8 bytes");
  }
  std::memcpy(&value, reply.payload.data(), sizeof(value));
  return value;
}

void FrontEnd::send_plain(Request request, const void* payload, size_t bytes, std::vector<int> fds) {
  if (options_.ack_all) {
    send_acked(request, payload, bytes, std::move(fds));
  } else {
    connection_.send(request, 0, {static_cast<const uint8_t*>(payload), bytes}, fds);
  }
}

void FrontEnd::send_acked(Request request, const void* payload, size_t bytes, std::vector<int> fds) {
  const bool ack = has_protocol(vhost_user::kProtocolReplyAck);
  connection_.send(request, ack ? vhost_user::kFlagNeedReply : 0, {static_cast<const uint8_t*>(payload), bytes}, fds);
  if (!ack) return;
  const Message reply = receive_reply(request);
  uint64_t status = 0;
  if (reply.payload.size() != sizeof(status)) {
    throw std::runtime_error("the acknowledgement of " + name_of(request) + " is not 8 bytes");
  }
  std::memcpy(&status, reply.payload.data(), sizeof(status));
  if (status != 0) throw std::runtime_error("the back-end refused " + name_of(request));
}

void FrontEnd::negotiate_protocol_features() {
  const uint64_t wanted = bit(vhost_user::kProtocolMq) | bit(vhost_user::kProtocolReplyAck) |
                          bit(vhost_user::kProtocolBackendReq) | bit(vhost_user::kProtocolBackendSendFd) |
                          bit(vhost_user::kProtocolResetDevice) | bit(vhost_user::kProtocolConfigureMemSlots);
  protocol_features_ = get_u64(Request::kGetProtocolFeatures) & wanted;
  // Not acknowledged: the agreement on acknowledgements is what this message makes.
  connection_.send(Request::kSetProtocolFeatures, 0, bytes_of(protocol_features_));
  if (has_protocol(vhost_user::kProtocolMq)) max_queues_ = get_u64(Request::kGetQueueNum);
  check_queue_count();
  if (has_protocol(vhost_user::kProtocolConfigureMemSlots)) get_u64(Request::kGetMaxMemSlots);
  if (!has_protocol(vhost_user::kProtocolBackendReq)) return;
  int pair[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
    throw std::system_error(errno, std::generic_category(), "socketpair");
  }
  backend_channel_ = UniqueFd(pair[0]);
  const UniqueFd theirs(pair[1]);
  send_acked(Request::kSetBackendReqFd, nullptr, 0, {theirs.get()});
}

void FrontEnd::check_queue_count() const {
  if (max_queues_ == 0 || max_queues_ >= options_.queues) return;
  throw std::runtime_error("the back-end has " + std::to_string(max_queues_) + " queues, " +
                           std::to_string(options_.queues) + " are wanted");
}

void FrontEnd::negotiate_features() {
  const std::lock_guard<std::mutex> lock(exchange_);
  device_features_ = get_u64(Request::kGetFeatures);
  if ((device_features_ & bit(vhost_user::kFeatureVersion1)) == 0) {
    throw std::runtime_error("the back-end does not offer VIRTIO_F_VERSION_1");
  }
  if ((device_features_ & bit(vhost_user::kFeatureProtocolFeatures)) != 0) negotiate_protocol_features();
  send_plain(Request::kSetOwner, nullptr, 0);
  const uint64_t offered = get_u64(Request::kGetFeatures);
  for (uint32_t i = 0; i < options_.queues; ++i) {
    const uint64_t number = i;
    send_call(i);
    send_plain(Request::kSetVringErr, &number, sizeof(number), {vring(i).err_fd()});
  }
  uint64_t wanted = bit(vhost_user::kFeatureVersion1) | bit(vhost_user::kFeatureProtocolFeatures);
  if (options_.indirect_desc) wanted |= bit(vhost_user::kFeatureIndirectDesc);
  if (options_.event_idx) wanted |= bit(vhost_user::kFeatureEventIdx);
  features_ = offered & wanted;
  send_plain(Request::kSetFeatures, &features_, sizeof(features_));
  for (auto& vring : vrings_) vring->use_event_idx((features_ & bit(vhost_user::kFeatureEventIdx)) != 0);
}

void FrontEnd::share_memory() {
  const std::lock_guard<std::mutex> lock(exchange_);
  if (options_.add_mem_reg && has_protocol(vhost_user::kProtocolConfigureMemSlots)) {
    for (const vhost_user::MemRegion& region : memory_.regions()) {
      const vhost_user::SingleMemRegion payload{0, region};
      send_acked(Request::kAddMemReg, &payload, sizeof(payload), {memory_.fd()});
    }
    return;
  }
  vhost_user::MemTable table{};
  std::vector<int> fds;
  for (const vhost_user::MemRegion& region : memory_.regions()) {
    table.region[table.regions++] = region;
    fds.push_back(memory_.fd());
  }
  send_acked(Request::kSetMemTable, &table, 8 + table.regions * sizeof(vhost_user::MemRegion), fds);
}

void FrontEnd::send_call(uint32_t index) {
  const uint64_t number = index;
  send_plain(Request::kSetVringCall, &number, sizeof(number), {vring(index).call_fd()});
}

void FrontEnd::configure_vring(uint32_t index, uint16_t base) {
  DriverVring& ring = vring(index);
  const DriverVring::Layout& layout = ring.layout();
  const vhost_user::VringState num{index, ring.size()};
  send_plain(Request::kSetVringNum, &num, sizeof(num));
  const vhost_user::VringState first{index, base};
  send_plain(Request::kSetVringBase, &first, sizeof(first));
  const vhost_user::VringAddr addr{index,
                                   0,
                                   memory_.user_addr(layout.desc_table),
                                   memory_.user_addr(layout.used_ring),
                                   memory_.user_addr(layout.avail_ring),
                                   0};
  send_plain(Request::kSetVringAddr, &addr, sizeof(addr));
  const uint64_t number = index;
  send_plain(Request::kSetVringKick, &number, sizeof(number), {ring.kick_fd()});
}

// Without protocol features a vring is enabled from the start.
void FrontEnd::enable_vring(uint32_t index, bool on) {
  if ((features_ & bit(vhost_user::kFeatureProtocolFeatures)) == 0) return;
  const vhost_user::VringState state{index, on ? 1u : 0u};
  send_plain(Request::kSetVringEnable, &state, sizeof(state));
}

void FrontEnd::start_vring(uint32_t index, uint16_t base) {
  const std::lock_guard<std::mutex> lock(exchange_);
  configure_vring(index, base);
  enable_vring(index, true);
  send_call(index);
}

uint16_t FrontEnd::stop_vring(uint32_t index) {
  const std::lock_guard<std::mutex> lock(exchange_);
  enable_vring(index, false);
  connection_.send(Request::kGetVringBase, 0, bytes_of(vhost_user::VringState{index, 0}));
  const Message reply = receive_reply(Request::kGetVringBase);
  vhost_user::VringState state{};
  if (reply.payload.size() != sizeof(state)) throw std::runtime_error("the reply to GET_VRING_BASE is not 8 bytes");
  std::memcpy(&state, reply.payload.data(), sizeof(state));
  if (state.index != index) throw std::runtime_error("GET_VRING_BASE was answered for another vring");
  return static_cast<uint16_t>(state.num);
}

void FrontEnd::negotiate() {
  negotiate_features();
  share_memory();
  const std::lock_guard<std::mutex> lock(exchange_);
  for (uint32_t i = 0; i < options_.queues; ++i) configure_vring(i, 0);
  for (uint32_t i = 0; i < options_.queues; ++i) enable_vring(i, true);
  for (uint32_t i = 0; i < options_.queues; ++i) send_call(i);
}

}  // namespace ovfs_frontend
