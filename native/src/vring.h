// One split virtqueue as the device sees it (virtio 1.2, 2.7; names as there and in vhost-user).
#pragma once

#include <atomic>
#include <cstdint>
#include <utility>

#include "descriptor_chain.h"
#include "fd.h"
#include "guest_memory.h"
#include "virtqueue_layout.h"

namespace ovfsd {

/// Where the front-end says the ring's parts are: addresses in ITS address space, resolved by GuestMemory.
struct VringAddresses {
  uint64_t desc_user_addr = 0;
  uint64_t used_user_addr = 0;
  uint64_t avail_user_addr = 0;
};

/// Set-up state and the running ring. Indices are 16 bits and wrap; every comparison is on the 16-bit difference.
class Vring {
 public:
  /// virtio 1.2, 2.7: the largest split queue.
  static constexpr uint32_t kMaxSize = 32768;

  enum class Pop {
    kEmpty,
    kHead,
    kBroken
  };

  // ---- set-up, by vhost-user messages -------------------------------------------------------------------------
  uint32_t size = 0;
  VringAddresses addresses;
  bool has_addresses = false;
  bool enabled = false;
  UniqueFd kick;
  UniqueFd call;
  UniqueFd err;

  /// Find desc table, avail ring and used ring in `memory`. Keeps the snapshot.
  /// @return nullptr, or what is wrong.
  const char* resolve(GuestMemory::Snapshot memory) noexcept;

  /// Start after `resolve`: take the used index from the ring, forget what was suppressed.
  /// @return nullptr, or what is wrong.
  const char* start(bool event_idx, bool indirect_desc) noexcept;
  void stop() noexcept;
  /// GET_VRING_BASE has come: no more chains are popped, what is in flight is still answered.
  void begin_drain() noexcept { draining_ = true; }
  /// Forget what `resolve` found, so that a stopped ring keeps no memory mapped.
  void unresolve() noexcept;
  /// The ring is ignored until it is stopped and started anew. @param reason a literal.
  void mark_broken(const char* reason) noexcept;

  bool started() const noexcept { return started_; }
  bool broken() const noexcept { return broken_reason_ != nullptr; }
  /// The reason, once after each `mark_broken`; nullptr otherwise.
  const char* take_broken_report() noexcept { return std::exchange(unreported_reason_, nullptr); }
  /// Chains may be popped.
  bool runs() const noexcept { return started_ && enabled && !draining_ && broken_reason_ == nullptr; }

  uint16_t next_avail() const noexcept { return next_avail_; }
  void set_next_avail(uint16_t index) noexcept { next_avail_ = avail_limit_ = index; }
  const GuestMemory::Snapshot& memory() const noexcept { return memory_; }
  DescriptorTable descriptors() const noexcept { return {desc_, size, indirect_desc_}; }

  /// Requests popped and not yet completed.
  uint32_t in_flight = 0;

  // ---- the data path ------------------------------------------------------------------------------------------
  /// Is there a chain to pop? One load of the avail index: what a polling loop asks.
  bool has_available() const noexcept {
    return avail_limit_ != next_avail_ || load_acquire(&avail_->idx) != next_avail_;
  }

  /// Take the next head index. On kBroken the ring has been marked.
  Pop pop(uint16_t& head) noexcept;

  /// Write a used element; the driver sees it only after `publish_used`.
  void push_used(uint16_t head, uint32_t written_bytes) noexcept;
  /// Make the pushed elements visible. @return whether the driver wants a call for them.
  bool publish_used() noexcept;
  bool has_unpublished() const noexcept { return has_unpublished_; }
  /// Signal the call eventfd, if there is one. @return whether there was.
  bool signal_call() const noexcept;
  void signal_err() const noexcept;

  /// Ask the driver not to kick while the ring is being worked on.
  void suppress_kicks() noexcept;
  /// Ask for kicks again. @return true when chains became available meanwhile: their kick may have been left out, so
  /// the caller must look at the ring once more before it sleeps.
  bool enable_kicks() noexcept;

 private:
  static uint16_t load_acquire(const uint16_t* p) noexcept { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
  static uint16_t load_relaxed(const uint16_t* p) noexcept { return __atomic_load_n(p, __ATOMIC_RELAXED); }

  GuestMemory::Snapshot memory_;
  VringDesc* desc_ = nullptr;
  VringAvail* avail_ = nullptr;
  VringUsed* used_ = nullptr;

  const char* broken_reason_ = nullptr;
  const char* unreported_reason_ = nullptr;
  uint16_t next_avail_ = 0;       // the next avail entry to pop
  uint16_t avail_limit_ = 0;      // entries below this one are known to be available
  uint16_t used_idx_ = 0;         // ours; the copy in guest memory is written and never read back
  uint16_t signalled_used_ = 0;   // used_idx_ when we last decided about a call
  bool signalled_valid_ = false;  // false: call whatever the driver's event index says
  bool has_unpublished_ = false;
  bool kicks_enabled_ = false;
  bool started_ = false;
  bool draining_ = false;
  bool event_idx_ = false;
  bool indirect_desc_ = false;
};

}  // namespace ovfsd
