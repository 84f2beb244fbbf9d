// Walking a descriptor chain of a split virtqueue (virtio 1.2, 2.7.5).
#pragma once

#include <cstdint>

#include "guest_memory.h"
#include "segment.h"
#include "virtqueue_layout.h"

namespace ovfsd {

/// A chain may be as long as the ring; with an indirect table drivers go beyond that (a 1 MiB read is ~258 descriptors
/// whatever the ring's size), so short rings get this limit. It also bounds the segment lists' memory.
constexpr uint32_t kMinChainLimit = 1024;

/// What is wrong with a chain. All of them mean a broken driver: the ring is given up.
enum class ChainError {
  kNone,
  kIndexOutOfRange,
  kTooLong,
  kOutsideMemory,
  kReadableAfterWritable,
  kTooManyBytes,
  kIndirectNotNegotiated,
  kIndirectWithNext,
  kIndirectNested,
  kIndirectSize,
};

/// A sentence for the log.
const char* describe(ChainError error) noexcept;

struct DescriptorTable {
  const VringDesc* table;  ///< in guest memory, checked to hold `size` descriptors
  uint32_t size;
  bool indirect_allowed;  ///< VIRTIO_RING_F_INDIRECT_DESC was negotiated
};

struct ChainTotals {
  uint32_t readable_bytes;
  uint32_t writable_bytes;
};

/// Resolve the chain that starts at `head` into segments, appending to the two (empty) lists.
/// Every descriptor is copied out of guest memory once, and only the copy is looked at.
/// Zero-length descriptors are passed over. On an error the lists' contents are meaningless.
ChainError walk_descriptor_chain(const GuestMemory& memory, const DescriptorTable& descriptors, uint16_t head,
                                 Segments& readable, Segments& writable, ChainTotals& totals);

}  // namespace ovfsd
