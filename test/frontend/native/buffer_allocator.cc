#include "buffer_allocator.h"

#include <algorithm>
#include <cstring>
#include <iterator>

namespace ovfs_frontend {

BufferAllocator::BufferAllocator(GuestMemory& memory, uint64_t begin, uint64_t end) : memory_(memory) {
  begin = (begin + kAlignBytes - 1) / kAlignBytes * kAlignBytes;
  // A buffer must not straddle two regions: they are not neighbours in guest-physical space.
  for (uint64_t offset = begin; offset < end;) {
    const uint64_t region_end = (offset / memory.region_bytes() + 1) * memory.region_bytes();
    const uint64_t stop = std::min(end, region_end);
    free_.emplace(offset, stop - offset);
    offset = stop;
  }
}

std::optional<uint64_t> BufferAllocator::allocate(uint64_t bytes) {
  const uint64_t need = extent_bytes(bytes);
  for (auto entry = free_.begin(); entry != free_.end(); ++entry) {
    const auto [offset, extent] = *entry;
    if (extent < need) continue;
    free_.erase(entry);
    if (extent > need) free_.emplace(offset + need, extent - need);
    std::memset(memory_.data() + offset + bytes, kGuardByte, kGuardBytes);
    return offset;
  }
  return std::nullopt;
}

bool BufferAllocator::guard_intact(uint64_t offset, uint64_t bytes) const {
  const uint8_t* guard = memory_.data() + offset + bytes;
  return std::all_of(guard, guard + kGuardBytes, [](uint8_t byte) { return byte == kGuardByte; });
}

void BufferAllocator::release(uint64_t offset, uint64_t bytes) {
  auto entry = free_.emplace(offset, extent_bytes(bytes)).first;
  const auto same_region = [this](uint64_t a, uint64_t b) {
    return a / memory_.region_bytes() == b / memory_.region_bytes();
  };
  if (const auto next = std::next(entry); next != free_.end() && entry->first + entry->second == next->first &&
                                          same_region(entry->first, next->first)) {
    entry->second += next->second;
    free_.erase(next);
  }
  if (entry == free_.begin()) return;
  const auto previous = std::prev(entry);
  if (previous->first + previous->second == entry->first && same_region(previous->first, entry->first)) {
    previous->second += entry->second;
    free_.erase(entry);
  }
}

}  // namespace ovfs_frontend
