// The requests in flight: what JavaScript sees of them (the arena) and what it does not (the slots).
//
//   arena, one block of memory, seen from JavaScript as one ArrayBuffer; every part starts at a multiple of 64 bytes
//   +----------------------+----------------+-------------+-----------+-----------+------------------+
//   | request copies       | reply args     | metadata    | ready     | done      | burst            |
//   | slots * 640          | slots * 320    | slots * 32  | slots * 4 | slots * 4 | 64 + slots * 40  |
//   +----------------------+----------------+-------------+-----------+-----------+------------------+
//     written by the addon   by JavaScript    both          addon       JavaScript  addon
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "guest_memory.h"
#include "segment.h"

namespace ovfsd {

// The same numbers as in src/virtio/native.ts, which explains them.
constexpr uint32_t kRequestStrideBytes = 640;
constexpr uint32_t kReplyStrideBytes = 320;
constexpr uint32_t kMetaStrideWords = 8;
enum MetaWord : uint32_t {
  kMetaReadableBytes = 0,
  kMetaWritableBytes = 1,
  kMetaCounters = 2,
  kMetaError = 3,
  kMetaReplyBytes = 4,
  kMetaFlags = 5,
  kMetaDataLow = 6,
  kMetaDataHigh = 7,
};
/// What JavaScript counts requests by: of the last burst, in lines of the processor's cache of their own.
struct BurstReport {
  double arrived_ns;   ///< by CLOCK_MONOTONIC
  double answered_ns;  ///< the same
  double runs;
  double counters;  ///< written by JavaScript: whose counters the whole burst goes into; 0: what kMetaCounters says
  double unused[4];
};
static_assert(sizeof(BurstReport) == 64);

/// Requests of one kind that the burst answered one after the other; they follow the report.
struct BurstRun {
  double counters;
  double opcode;
  double error_number;  ///< positive; 0: they succeeded
  double count;
  double data_bytes;  ///< READ: what the guest got; WRITE, COPY_FILE_RANGE: what was taken
};
constexpr uint32_t kReplyFlagNone = 1;
constexpr uint32_t kReplyFlagData = 2;
constexpr uint32_t kFlagWaited = 4;

/// A request in flight, the part that is the addon's own: nothing JavaScript or the guest writes can change it.
struct RequestSlot {
  enum class State : uint8_t {
    kFree,
    kPopped,    ///< taken from a ring, not yet shown to the host
    kInFlight,  ///< in the host's hands
    kOrphaned,  ///< the front-end is gone: JavaScript still holds the slot, there is nobody to answer
  };

  GuestMemory::Snapshot memory;  ///< keeps the segments mapped
  Segments readable;
  Segments writable;
  SegmentCursor read_cursor;
  SegmentCursor write_cursor;
  uint64_t unique = 0;  ///< from our copy of the fuse_in_header
  uint32_t readable_bytes = 0;
  uint32_t writable_bytes = 0;
  uint32_t pushed_bytes = 0;  ///< reply data behind the fuse_out_header
  uint32_t vring = 0;
  uint16_t head = 0;
  State state = State::kFree;
};

/// Byte offsets from the arena's start.
struct ArenaLayout {
  size_t request;
  size_t reply;
  size_t meta;
  size_t ready;
  size_t done;
  size_t burst;
  size_t total_bytes;

  explicit ArenaLayout(uint32_t slots) noexcept;
};

class RequestArena {
 public:
  /// @param slots 16..16384
  explicit RequestArena(uint32_t slots);

  const ArenaLayout& layout() const noexcept { return layout_; }
  /// Shared, because JavaScript's ArrayBuffer may outlive the device.
  const std::shared_ptr<uint8_t[]>& memory() const noexcept { return memory_; }

  uint32_t slot_count() const noexcept { return static_cast<uint32_t>(slots_.size()); }
  bool has_free() const noexcept { return !free_.empty(); }
  uint32_t in_flight() const noexcept { return slot_count() - static_cast<uint32_t>(free_.size()); }

  RequestSlot& slot(uint32_t index) noexcept { return slots_[index]; }
  const RequestSlot& slot(uint32_t index) const noexcept { return slots_[index]; }
  uint8_t* request(uint32_t index) noexcept {
    return memory_.get() + layout_.request + size_t{index} * kRequestStrideBytes;
  }
  uint8_t* reply(uint32_t index) noexcept { return memory_.get() + layout_.reply + size_t{index} * kReplyStrideBytes; }
  uint32_t* meta(uint32_t index) noexcept { return words(layout_.meta) + size_t{index} * kMetaStrideWords; }
  uint32_t* ready() noexcept { return words(layout_.ready); }
  BurstReport& burst() noexcept { return *reinterpret_cast<BurstReport*>(memory_.get() + layout_.burst); }
  BurstRun* runs() noexcept { return reinterpret_cast<BurstRun*>(memory_.get() + layout_.burst + sizeof(BurstReport)); }
  const uint32_t* done() noexcept { return words(layout_.done); }

  /// Take a free slot (there must be one), emptied, in state kPopped. @return its index.
  uint32_t take() noexcept;
  void release(uint32_t index) noexcept;

 private:
  uint32_t* words(size_t offset) noexcept { return reinterpret_cast<uint32_t*>(memory_.get() + offset); }

  ArenaLayout layout_;
  std::shared_ptr<uint8_t[]> memory_;
  std::vector<RequestSlot> slots_;
  std::vector<uint32_t> free_;  // a stack: the slot used last is the one in the processor's cache
};

}  // namespace ovfsd
