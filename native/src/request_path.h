// The way of a request through the addon: avail ring -> slot -> host -> used ring.
#pragma once

#include <cstdint>
#include <vector>

#include "request_arena.h"
#include "slab_memory.h"
#include "sigbus_guard.h"
#include "vring.h"

namespace ovfsd {

struct RequestCounters {
  uint64_t requests = 0;             ///< handed to the host
  uint64_t calls = 0;                ///< signals to the guest
  uint64_t refused_requests = 0;     ///< answered here, because their header lied
  uint64_t ignored_completions = 0;  ///< entries of the done list that named no request in flight: a fault in the host
};

/// Vring 0 is the hiprio queue, the others are request queues.
class RequestPath {
 public:
  /// @param pool where replies' data may lie; the owner keeps it as long as `complete` gets vrings.
  RequestPath(uint32_t slots, const SlabMemory* pool) : arena_(slots), pool_(pool) {}

  RequestArena& arena() noexcept { return arena_; }
  const RequestArena& arena() const noexcept { return arena_; }
  const RequestCounters& counters() const noexcept { return counters_; }

  struct Collected {
    uint32_t ready = 0;       ///< entries in the arena's ready list; not the host's before `hand_over`
    bool any_popped = false;  ///< also true when all of them were answered here
    bool any_broken = false;  ///< a vring was marked broken
  };

  /// Pop what is available into slots, each request's start copied once. Refused ones are pushed, not yet published.
  Collected collect(std::vector<Vring>& vrings);
  /// The ready list is now in the host's hands.
  void hand_over(uint32_t ready_count) noexcept;
  /// Chains wait in a ring because every slot is taken.
  bool starved() const noexcept { return starved_; }

  /// Answer the first `done_count` entries of the done list and signal each vring at the end, or now and then where much is copied.
  /// @param vrings nullptr when the front-end is gone.
  void complete(uint32_t done_count, std::vector<Vring>* vrings) noexcept;
  /// The same at the end of a burst, whose requests are counted in the arena's runs where they have counters.
  void complete_burst(uint32_t done_count, std::vector<Vring>* vrings) noexcept;
  /// Make pushed used elements visible and call the guest where it wants to be called.
  void publish(std::vector<Vring>& vrings) noexcept;

  /// The vring's requests can't be answered any more; the host keeps the slots until it completes them.
  void orphan(uint32_t vring) noexcept;
  void orphan_all() noexcept;

  /// The slot is in the host's hands.
  bool holds(uint32_t slot) const noexcept;
  /// Data movement on a slot that the host holds. @return bytes moved; 0 when the front-end or its memory is gone.
  uint32_t pull(uint32_t slot, uint64_t payload_offset, uint8_t* target, uint32_t length_bytes) noexcept;
  uint32_t push(uint32_t slot, const uint8_t* source, uint32_t length_bytes) noexcept;
  uint32_t push_zeros(uint32_t slot, uint32_t length_bytes) noexcept;

  /// Between a file of the host and guest memory, without a copy of ours, as far as nothing has to be waited for. Pages that
  /// the guest takes away are EFAULT.
  /// @return bytes, or an errno below 0: EAGAIN, EOPNOTSUPP where a thread has to go on.
  /// Reading appends to the reply's data; all of `length_bytes`, or up to the end of the file, or an error: what was read
  /// before it counts (`pushed_bytes`).
  int64_t read_file(uint32_t slot, int fd, uint64_t offset, uint32_t length_bytes) noexcept;
  /// May write less than asked for.
  /// @param may_wait it is no error to have to
  /// @param kill_ids the file's set-user-ID and set-group-ID bits go
  int64_t write_file(uint32_t slot, uint64_t payload_offset, int fd, uint64_t offset, uint32_t length_bytes,
                     bool append, bool may_wait, bool kill_ids = false) noexcept;
  /// Of the reply's data so far.
  uint32_t pushed_bytes(uint32_t slot) const noexcept { return arena_.slot(slot).pushed_bytes; }

 private:
  void push_reply_data(uint32_t index) noexcept;
  bool is_broken(const RequestSlot& slot) const noexcept;
  void collect_from(std::vector<Vring>& vrings, uint32_t vring_index, Collected& collected);
  bool fill_slot(Vring& vring, uint32_t vring_index, uint32_t slot_index, uint16_t head);
  void complete_slots(uint32_t done_count, std::vector<Vring>* vrings) noexcept;
  uint32_t complete_slot(uint32_t index, std::vector<Vring>* vrings) noexcept;
  void count(uint32_t index, uint32_t written_bytes) noexcept;
  void end_request(Vring& vring, uint32_t index, uint32_t written_bytes) noexcept;

  RequestArena arena_;
  const SlabMemory* pool_;
  RequestCounters counters_;
  const uint64_t first_trips_ = SigbusGuard::trip_count();
  uint32_t turn_ = 0;  // rotates the request queues when slots are short
  bool starved_ = false;
  bool counting_ = false;        // a burst is being completed
  uint32_t runs_ = 0;            // of it
  uint32_t burst_counters_ = 0;  // BurstReport::counters
};

}  // namespace ovfsd
