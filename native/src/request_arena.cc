#include "request_arena.h"

#include <new>

namespace ovfsd {
namespace {

// A cache line: parts that different sides write do not share one.
constexpr size_t kPartAlignment = 64;

// A 1 MiB transfer of 4 KiB pages with its headers is ~258 segments. A list that grew beyond this is given back, so
// that a guest that sends longer chains can't make every slot keep the largest: 16384 slots * 2 lists * 320 * 16 bytes
// = 160 MiB would be the end of it, and a daemon with the usual 1024 slots stays below 10 MiB.
constexpr size_t kKeptSegments = 320;

size_t align_up(size_t value) { return (value + kPartAlignment - 1) / kPartAlignment * kPartAlignment; }

void empty(Segments& segments) noexcept {
  if (segments.capacity() > kKeptSegments) {
    Segments().swap(segments);
  } else {
    segments.clear();
  }
}

std::shared_ptr<uint8_t[]> allocate(size_t bytes) {
  void* memory = ::operator new(bytes, std::align_val_t{kPartAlignment});
  std::memset(memory, 0, bytes);
  return std::shared_ptr<uint8_t[]>(static_cast<uint8_t*>(memory),
                                    [](uint8_t* p) { ::operator delete(p, std::align_val_t{kPartAlignment}); });
}

}  // namespace

ArenaLayout::ArenaLayout(uint32_t slots) noexcept {
  size_t at = 0;
  const auto part = [&at](size_t bytes) {
    const size_t start = at;
    at = align_up(at + bytes);
    return start;
  };
  request = part(size_t{slots} * kRequestStrideBytes);
  reply = part(size_t{slots} * kReplyStrideBytes);
  meta = part(size_t{slots} * kMetaStrideWords * sizeof(uint32_t));
  ready = part(size_t{slots} * sizeof(uint32_t));
  done = part(size_t{slots} * sizeof(uint32_t));
  burst = part(sizeof(BurstReport) + size_t{slots} * sizeof(BurstRun));
  total_bytes = at;
}

RequestArena::RequestArena(uint32_t slots) : layout_(slots), memory_(allocate(layout_.total_bytes)), slots_(slots) {
  free_.reserve(slots);
  for (uint32_t i = slots; i > 0; --i) free_.push_back(i - 1);
}

uint32_t RequestArena::take() noexcept {
  const uint32_t index = free_.back();
  free_.pop_back();
  RequestSlot& slot = slots_[index];
  slot.read_cursor = {};
  slot.write_cursor = {};
  slot.unique = 0;
  slot.pushed_bytes = 0;
  slot.state = RequestSlot::State::kPopped;
  return index;
}

void RequestArena::release(uint32_t index) noexcept {
  RequestSlot& slot = slots_[index];
  slot.state = RequestSlot::State::kFree;
  slot.memory.reset();
  empty(slot.readable);
  empty(slot.writable);
  free_.push_back(index);
}

}  // namespace ovfsd
