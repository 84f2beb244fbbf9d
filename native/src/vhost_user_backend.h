// The vhost-user protocol's state for one connection: features, memory, vrings; one handler a message.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "guest_memory.h"
#include "vhost_user_connection.h"
#include "vhost_user_message.h"
#include "vring.h"

namespace ovfsd {

/// What the protocol needs from the device around it. After every message the device looks at all vrings: chains may
/// have been made available before a ring was started or enabled, and a new memory table can break a ring.
class VhostUserBackendOwner {
 public:
  virtual ~VhostUserBackendOwner() = default;
  /// A kick eventfd is to be watched, or no longer (it is closed right after).
  /// @throws Refusal from `watch_kick` when the descriptor can't be watched.
  virtual void watch_kick(int fd) = 0;
  virtual void unwatch_kick(int fd) noexcept = 0;
  virtual void vring_started(uint32_t index) = 0;
  virtual void vring_stopped(uint32_t index) = 0;
  /// The device was reset: answers to what is in flight on this vring would land in memory that the guest uses anew.
  virtual void abandon_requests(uint32_t vring) = 0;
};

class VhostUserBackend {
 public:
  VhostUserBackend(uint32_t vring_count, VhostUserBackendOwner& owner);
  ~VhostUserBackend();
  VhostUserBackend(const VhostUserBackend&) = delete;
  VhostUserBackend& operator=(const VhostUserBackend&) = delete;

  /// Carry out one message and answer it.
  /// @throws Refusal: severity message, after the front-end has been told if it asked; severity connection: drop it.
  void handle(VhostUserMessage& message, VhostUserConnection& connection);

  /// GET_VRING_BASE waits for the vring's requests to end; until then no further message may be handled.
  bool draining() const noexcept { return draining_ >= 0; }
  /// To be called when a request has ended. Answers GET_VRING_BASE once the last one has. @throws as `handle`.
  void continue_drain(VhostUserConnection& connection);

  std::vector<Vring>& vrings() noexcept { return vrings_; }
  const GuestMemory& memory() const noexcept { return *memory_; }
  /// A started vring without a kick descriptor (NOFD) must be looked at by a timer.
  bool has_vring_to_poll() const noexcept;

 private:
  struct Handler;
  static const Handler* find_handler(uint32_t request) noexcept;

  void get_features(VhostUserMessage&, VhostUserConnection&);
  void set_features(VhostUserMessage&, VhostUserConnection&);
  void set_owner(VhostUserMessage&, VhostUserConnection&);
  void reset_device(VhostUserMessage&, VhostUserConnection&);
  void get_protocol_features(VhostUserMessage&, VhostUserConnection&);
  void set_protocol_features(VhostUserMessage&, VhostUserConnection&);
  void get_queue_num(VhostUserMessage&, VhostUserConnection&);
  void set_backend_req_fd(VhostUserMessage&, VhostUserConnection&);
  void set_mem_table(VhostUserMessage&, VhostUserConnection&);
  void get_max_mem_slots(VhostUserMessage&, VhostUserConnection&);
  void add_mem_reg(VhostUserMessage&, VhostUserConnection&);
  void rem_mem_reg(VhostUserMessage&, VhostUserConnection&);
  void set_vring_num(VhostUserMessage&, VhostUserConnection&);
  void set_vring_addr(VhostUserMessage&, VhostUserConnection&);
  void set_vring_base(VhostUserMessage&, VhostUserConnection&);
  void get_vring_base(VhostUserMessage&, VhostUserConnection&);
  void set_vring_kick(VhostUserMessage&, VhostUserConnection&);
  void set_vring_call(VhostUserMessage&, VhostUserConnection&);
  void set_vring_err(VhostUserMessage&, VhostUserConnection&);
  void set_vring_enable(VhostUserMessage&, VhostUserConnection&);

  bool has_feature(uint64_t bit) const noexcept { return (features_ >> bit & 1) != 0; }
  bool has_protocol_feature(uint32_t bit) const noexcept { return (protocol_features_ >> bit & 1) != 0; }
  Vring& vring_at(uint64_t index);
  Vring& stopped_vring_at(uint64_t index);
  uint32_t index_of(const Vring& vring) const noexcept { return static_cast<uint32_t>(&vring - vrings_.data()); }
  void use_memory(GuestMemory::Snapshot memory);
  void start(Vring& vring);
  void stop(Vring& vring);
  void reply_u64(const VhostUserMessage& message, VhostUserConnection& connection, uint64_t value);
  void reply_vring_base(VhostUserConnection& connection, Vring& vring);

  VhostUserBackendOwner& owner_;
  std::vector<Vring> vrings_;
  GuestMemory::Snapshot memory_;
  uint64_t features_ = 0;
  uint64_t protocol_features_ = 0;
  UniqueFd backend_req_;
  int32_t draining_ = -1;  // the vring that GET_VRING_BASE waits for
};

}  // namespace ovfsd
