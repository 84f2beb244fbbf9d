// The split virtqueue's layout in guest memory (virtio 1.2, 2.7). Linux' <linux/virtio_ring.h> says the same but is not
// C++.
#pragma once

#include <bit>
#include <cstdint>

namespace ovfsd {

static_assert(std::endian::native == std::endian::little, "virtio 1.x is little-endian and read here without swapping");

// Feature bits.
constexpr uint64_t kVirtioRingFIndirectDesc = 28;
constexpr uint64_t kVirtioRingFEventIdx = 29;
constexpr uint64_t kVirtioFVersion1 = 32;

// Descriptor flags.
constexpr uint16_t kDescFNext = 1;
constexpr uint16_t kDescFWrite = 2;
constexpr uint16_t kDescFIndirect = 4;

constexpr uint16_t kAvailFNoInterrupt = 1;
constexpr uint16_t kUsedFNoNotify = 1;

struct VringDesc {
  uint64_t addr;  ///< guest physical
  uint32_t len;
  uint16_t flags;
  uint16_t next;
};
static_assert(sizeof(VringDesc) == 16);
constexpr uintptr_t kDescAlignment = 16;

struct VringAvail {
  uint16_t flags;
  uint16_t idx;
  uint16_t ring[];  ///< queue size entries, then used_event
};
static_assert(sizeof(VringAvail) == 4);
constexpr uintptr_t kAvailAlignment = 2;

struct VringUsedElem {
  uint32_t id;
  uint32_t len;
};
static_assert(sizeof(VringUsedElem) == 8);

struct VringUsed {
  uint16_t flags;
  uint16_t idx;
  VringUsedElem ring[];  ///< queue size entries, then a 16-bit avail_event
};
static_assert(sizeof(VringUsed) == 4);
constexpr uintptr_t kUsedAlignment = 4;

// Sizes of the areas. The event index behind each ring is reserved whether or not EVENT_IDX is negotiated.
constexpr uint64_t desc_table_bytes(uint32_t queue_size) { return uint64_t{queue_size} * sizeof(VringDesc); }
constexpr uint64_t avail_ring_bytes(uint32_t queue_size) { return sizeof(VringAvail) + uint64_t{queue_size} * 2 + 2; }
constexpr uint64_t used_ring_bytes(uint32_t queue_size) {
  return sizeof(VringUsed) + uint64_t{queue_size} * sizeof(VringUsedElem) + 2;
}

/// virtio 1.2, 2.7.7.1: has the index passed `event` on its way from `before` to `now`? All modulo 2^16.
constexpr bool passed_event(uint16_t event, uint16_t now, uint16_t before) {
  return static_cast<uint16_t>(now - event - 1) < static_cast<uint16_t>(now - before);
}

}  // namespace ovfsd
