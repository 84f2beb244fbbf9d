// Buffers in guest memory, each with a guard behind it that tells when the device wrote too far.
#pragma once

#include <cstdint>
#include <map>
#include <optional>

#include "guest_memory.h"

namespace ovfs_frontend {

// First fit over a map of free extents. The guard also keeps two buffers from being neighbours, so that a device which
// treats the segments of a chain as one contiguous piece is wrong at once.
class BufferAllocator {
 public:
  // Buffers start at multiples of this: what a kernel's slab gives.
  static constexpr uint64_t kAlignBytes = 64;
  static constexpr uint64_t kGuardBytes = 16;
  static constexpr uint8_t kGuardByte = 0xA5;

  // Manages [begin, end) of the guest's memory.
  BufferAllocator(GuestMemory& memory, uint64_t begin, uint64_t end);

  // Offset of `bytes` bytes within one region, or nullopt when no extent is large enough. The contents are left over
  // from earlier use.
  std::optional<uint64_t> allocate(uint64_t bytes);
  // False when something wrote behind the buffer.
  [[nodiscard]] bool guard_intact(uint64_t offset, uint64_t bytes) const;
  void release(uint64_t offset, uint64_t bytes);

 private:
  [[nodiscard]] static uint64_t extent_bytes(uint64_t bytes) {
    return (bytes + kGuardBytes + kAlignBytes - 1) / kAlignBytes * kAlignBytes;
  }

  GuestMemory& memory_;
  std::map<uint64_t, uint64_t> free_;  // offset -> bytes
};

}  // namespace ovfs_frontend
