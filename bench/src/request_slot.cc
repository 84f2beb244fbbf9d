#include "request_slot.h"

// Leaves out vring_init, which is not C++.
#define VIRTIO_RING_NO_LEGACY
#include <linux/virtio_ring.h>

#include <algorithm>
#include <new>
#include <random>
#include <stdexcept>

namespace ovfs_bench {

namespace {

// Headers, arguments and tables of the largest set of slots (16 lanes of 4 steps, or 4 lanes of 1 MiB) take some
// 100 KiB; this leaves room.
constexpr uint64_t kSmallBytes = 4 << 20;
constexpr uint64_t kSmallAlignBytes = 64;

}  // namespace

SlotMemory::SlotMemory(GuestMemory& memory, uint64_t begin)
    : memory_(memory), small_begin_(begin), small_end_(begin + kSmallBytes), small_next_(begin) {
  if (small_end_ > memory.region_bytes()) throw std::invalid_argument("guest memory is too small");
  for (uint64_t offset = small_end_; offset + GuestMemory::kPageBytes <= memory.size();
       offset += GuestMemory::kPageBytes) {
    pages_.push_back(offset);
  }
  // The same order for every daemon and every run.
  std::shuffle(pages_.begin(), pages_.end(), std::mt19937(1));
}

uint64_t SlotMemory::small(uint64_t bytes) {
  const uint64_t offset = small_next_;
  small_next_ += (bytes + kSmallAlignBytes - 1) / kSmallAlignBytes * kSmallAlignBytes;
  if (small_next_ > small_end_) throw std::bad_alloc();
  return offset;
}

uint64_t SlotMemory::table(uint64_t bytes) { return small(bytes); }

uint64_t SlotMemory::page() {
  if (page_next_ == pages_.size()) throw std::bad_alloc();
  return pages_[page_next_++];
}

void SlotMemory::rewind() {
  small_next_ = small_begin_;
  page_next_ = 0;
}

RequestSlot::RequestSlot(SlotMemory& memory, const SlotShape& shape) {
  GuestMemory& guest = memory.memory();
  std::vector<vring_desc> table;
  const auto add = [&](uint64_t offset, uint32_t bytes, bool writable) {
    const uint16_t flags = static_cast<uint16_t>(VRING_DESC_F_NEXT | (writable ? VRING_DESC_F_WRITE : 0));
    table.push_back({guest.gpa(offset), bytes, flags, static_cast<uint16_t>(table.size() + 1)});
    return guest.data() + offset;
  };
  const auto add_pages = [&](uint32_t bytes, bool writable, std::vector<uint8_t*>& pages) {
    for (uint32_t done = 0; done < bytes; done += GuestMemory::kPageBytes) {
      const uint32_t part = std::min<uint32_t>(bytes - done, GuestMemory::kPageBytes);
      pages.push_back(add(memory.page(), part, writable));
    }
  };

  in_ = reinterpret_cast<fuse_in_header*>(add(memory.small(sizeof(fuse_in_header)), sizeof(fuse_in_header), false));
  *in_ = {};
  in_->len = static_cast<uint32_t>(sizeof(fuse_in_header)) + shape.args_bytes + shape.data_in_bytes;
  in_->opcode = shape.opcode;
  in_->pid = 1;
  if (shape.args_bytes > 0) {
    args_ = add(memory.small(shape.args_bytes), shape.args_bytes, false);
    std::memset(args_, 0, shape.args_bytes);
  }
  add_pages(shape.data_in_bytes, false, data_in_);
  if (shape.has_reply) {
    const auto bytes = static_cast<uint32_t>(sizeof(fuse_out_header));
    out_ = reinterpret_cast<fuse_out_header*>(add(memory.small(bytes), bytes, true));
    if (shape.reply_bytes > 0) reply_ = add(memory.small(shape.reply_bytes), shape.reply_bytes, true);
    add_pages(shape.data_out_bytes, true, data_out_);
  }

  table.back().flags = static_cast<uint16_t>(table.back().flags & ~VRING_DESC_F_NEXT);
  table.back().next = 0;
  const uint64_t table_offset = memory.table(table.size() * sizeof(vring_desc));
  std::memcpy(guest.data() + table_offset, table.data(), table.size() * sizeof(vring_desc));
  table_gpa_ = guest.gpa(table_offset);
  entries_ = static_cast<uint32_t>(table.size());
}

}  // namespace ovfs_bench
