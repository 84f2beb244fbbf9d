#include "descriptor_chain.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace ovfsd {
namespace {

/// Copy a descriptor out of guest memory. The empty asm tells the compiler that the copy may have changed, so it cannot
/// read the guest's version a second time after we have checked the first. In two registers: through memory, loads of the fields would wait
/// for the store of the whole.
VringDesc load_descriptor(const uint8_t* source) noexcept {
  static_assert(sizeof(VringDesc) == 2 * sizeof(uint64_t));
  uint64_t halves[2];
  std::memcpy(halves, source, sizeof halves);
  asm volatile("" : "+r"(halves[0]), "+r"(halves[1]));
  return std::bit_cast<VringDesc>(halves);
}

class Walk {
 public:
  Walk(const GuestMemory& memory, Segments& readable, Segments& writable)
      : memory_(memory), readable_(readable), writable_(writable) {}

  ChainError add(const VringDesc& descriptor) {
    const bool writes = (descriptor.flags & kDescFWrite) != 0;
    if (!writes && writable_bytes_ > 0) return ChainError::kReadableAfterWritable;
    uint64_t& total = writes ? writable_bytes_ : readable_bytes_;
    total += descriptor.len;
    // virtio 1.2, 2.7.5: a chain describes at most 2^32 bytes. It also keeps every later sum in 32 bits.
    if (readable_bytes_ + writable_bytes_ > UINT32_MAX) return ChainError::kTooManyBytes;

    uint64_t address = descriptor.addr;
    uint64_t left = descriptor.len;
    while (left > 0) {
      // A buffer may span regions that touch in guest physical space, so one descriptor may be several segments.
      const HostSpan span = memory_.at_gpa(address, left);
      if (span.length_bytes == 0) return ChainError::kOutsideMemory;
      append(writes ? writable_ : readable_, span);
      left -= span.length_bytes;
      address += span.length_bytes;
    }
    return ChainError::kNone;
  }

  ChainTotals totals() const noexcept {
    return {static_cast<uint32_t>(readable_bytes_), static_cast<uint32_t>(writable_bytes_)};
  }

 private:
  static void append(Segments& segments, const HostSpan& span) {
    const auto length = static_cast<uint32_t>(span.length_bytes);
    if (!segments.empty()) {
      // Neighbouring guest pages are often neighbours here: one memcpy in place of several.
      Segment& last = segments.back();
      if (last.base + last.length_bytes == span.data) {
        last.length_bytes += length;
        return;
      }
    }
    segments.push_back({span.data, length});
  }

  const GuestMemory& memory_;
  Segments& readable_;
  Segments& writable_;
  uint64_t readable_bytes_ = 0;
  uint64_t writable_bytes_ = 0;
};

/// Follow the `next` links within one table; stops at an indirect descriptor and hands it out.
ChainError follow(Walk& walk, const uint8_t* table, uint32_t table_size, uint32_t first, uint32_t limit,
                  VringDesc& indirect, bool& found_indirect) {
  uint32_t index = first;
  for (uint32_t visited = 0; visited < limit; ++visited) {
    if (index >= table_size) return ChainError::kIndexOutOfRange;
    const VringDesc descriptor = load_descriptor(table + size_t{index} * sizeof(VringDesc));
    if ((descriptor.flags & kDescFIndirect) != 0) {
      indirect = descriptor;
      found_indirect = true;
      return ChainError::kNone;
    }
    if (const ChainError error = walk.add(descriptor); error != ChainError::kNone) return error;
    if ((descriptor.flags & kDescFNext) == 0) return ChainError::kNone;
    index = descriptor.next;
  }
  // More steps than there are descriptors: a loop.
  return ChainError::kTooLong;
}

}  // namespace

const char* describe(ChainError error) noexcept {
  switch (error) {
    case ChainError::kNone:
      return "no error";
    case ChainError::kIndexOutOfRange:
      return "a descriptor's index is beyond its table";
    case ChainError::kTooLong:
      return "a descriptor chain loops or is too long";
    case ChainError::kOutsideMemory:
      return "a descriptor points outside the guest's memory";
    case ChainError::kReadableAfterWritable:
      return "a readable descriptor follows a writable one";
    case ChainError::kTooManyBytes:
      return "a descriptor chain describes more than 4 GiB";
    case ChainError::kIndirectNotNegotiated:
      return "an indirect descriptor without VIRTIO_RING_F_INDIRECT_DESC";
    case ChainError::kIndirectWithNext:
      return "an indirect descriptor with a next one";
    case ChainError::kIndirectNested:
      return "an indirect descriptor within an indirect table";
    case ChainError::kIndirectSize:
      return "an indirect table's length is not a positive multiple of 16";
  }
  return "unknown";
}

ChainError walk_descriptor_chain(const GuestMemory& memory, const DescriptorTable& descriptors, uint16_t head,
                                 Segments& readable, Segments& writable, ChainTotals& totals) {
  Walk walk(memory, readable, writable);
  VringDesc indirect{};
  bool found_indirect = false;
  ChainError error = follow(walk, reinterpret_cast<const uint8_t*>(descriptors.table), descriptors.size, head,
                            descriptors.size, indirect, found_indirect);
  if (error != ChainError::kNone) return error;

  if (found_indirect) {
    // virtio 1.2, 2.7.5.3: the table is the last of the chain, and its own WRITE flag is to be ignored.
    if (!descriptors.indirect_allowed) return ChainError::kIndirectNotNegotiated;
    if ((indirect.flags & kDescFNext) != 0) return ChainError::kIndirectWithNext;
    if (indirect.len == 0 || indirect.len % sizeof(VringDesc) != 0) return ChainError::kIndirectSize;
    const HostSpan table = memory.at_gpa(indirect.addr, indirect.len);
    if (table.length_bytes != indirect.len) return ChainError::kOutsideMemory;
    const uint32_t table_size = indirect.len / sizeof(VringDesc);
    const uint32_t limit = std::min(table_size, std::max(descriptors.size, kMinChainLimit));
    bool nested = false;
    error = follow(walk, table.data, table_size, 0, limit, indirect, nested);
    if (error != ChainError::kNone) return error;
    if (nested) return ChainError::kIndirectNested;
  }
  totals = walk.totals();
  return ChainError::kNone;
}

}  // namespace ovfsd
