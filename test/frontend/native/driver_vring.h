// The driver's side of a split virtqueue (virtio 1.2, section 2.7), as a guest kernel keeps it.
#pragma once

// Leaves out vring_init, which is not C++.
#define VIRTIO_RING_NO_LEGACY
#include <linux/virtio_ring.h>

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "guest_memory.h"
#include "unique_fd.h"

namespace ovfs_frontend {

// Not thread-safe. The free list and the chain lengths are the driver's private copy: what a hostile test writes into
// the shared rings never confuses the driver itself.
class DriverVring {
 public:
  // Offsets in guest memory.
  struct Layout {
    uint64_t desc_table;
    uint64_t avail_ring;
    uint64_t used_ring;
    uint64_t end;
  };
  // Where a vring of `size` entries lies when it starts at `start`; each part on a page of its own.
  static Layout layout_at(uint64_t start, uint16_t size);

  // `size` is a power of two, 1..32768. Creates the kick, call and err eventfds.
  DriverVring(GuestMemory& memory, const Layout& layout, uint16_t size);

  [[nodiscard]] uint16_t size() const { return size_; }
  [[nodiscard]] const Layout& layout() const { return layout_; }
  [[nodiscard]] int kick_fd() const { return kick_fd_.get(); }
  [[nodiscard]] int call_fd() const { return call_fd_.get(); }
  // Where the device says that the ring is broken.
  [[nodiscard]] int err_fd() const { return err_fd_.get(); }
  [[nodiscard]] uint16_t free_descriptors() const { return free_count_; }
  [[nodiscard]] uint16_t in_flight() const { return in_flight_; }

  void use_event_idx(bool on) { event_idx_ = on; }

  // Forget everything and zero the rings; the next index is `base` (SET_VRING_BASE). Nothing may be in flight.
  void reset(uint16_t base);

  // Put a chain of descriptors (addr, len, flags WRITE or 0; `next` is filled in here) into the table and its head
  // into the avail ring, unpublished. nullopt when too few descriptors are free.
  std::optional<uint16_t> add_chain(std::span<const vring_desc> chain);
  // The same for one descriptor that names an indirect table of `entries` descriptors.
  std::optional<uint16_t> add_indirect(uint64_t table_gpa, uint32_t entries);

  // Let the device see the heads added so far.
  void publish();
  // True when the device asked to be kicked for what was published since the last question.
  bool kick_needed();
  void kick();

  // The next used element whose head is in flight; its descriptors are free again. nullopt when there is none.
  // Throws std::runtime_error when the device named a head that is not in flight or ran ahead of the avail ring.
  std::optional<vring_used_elem> pop_used();

  // Ask for a call at the next used element. Returns true when one is there already.
  bool enable_call();
  // Tell the device that calls are not needed for now (a hint).
  void disable_call();

 private:
  [[nodiscard]] vring_desc* desc_table() const;
  [[nodiscard]] vring_avail* avail() const;
  [[nodiscard]] vring_used* used() const;
  [[nodiscard]] uint16_t* used_event() const;
  [[nodiscard]] uint16_t* avail_event() const;
  void push_avail(uint16_t head, uint16_t chain_length);

  GuestMemory& memory_;
  Layout layout_;
  uint16_t size_;
  bool event_idx_ = false;
  UniqueFd kick_fd_;
  UniqueFd call_fd_;
  UniqueFd err_fd_;

  std::vector<uint16_t> next_;          // free list, and the links of chains in flight
  std::vector<uint16_t> chain_length_;  // by head; 0 = not in flight
  uint16_t free_head_ = 0;
  uint16_t free_count_ = 0;
  uint16_t in_flight_ = 0;
  uint16_t avail_idx_ = 0;      // next to write
  uint16_t published_idx_ = 0;  // what the device may see
  uint16_t kicked_idx_ = 0;     // what kick_needed was last asked about
  uint16_t last_used_idx_ = 0;  // next to read
};

}  // namespace ovfs_frontend
