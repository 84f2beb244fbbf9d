#include "driver_vring.h"

#include <sys/eventfd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <string>
#include <system_error>

namespace ovfs_frontend {

namespace {

uint64_t page_align(uint64_t value) {
  return (value + GuestMemory::kPageBytes - 1) / GuestMemory::kPageBytes * GuestMemory::kPageBytes;
}

UniqueFd make_eventfd() {
  UniqueFd fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!fd.valid()) throw std::system_error(errno, std::generic_category(), "eventfd");
  return fd;
}

}  // namespace

DriverVring::Layout DriverVring::layout_at(uint64_t start, uint16_t size) {
  Layout layout{};
  layout.desc_table = page_align(start);
  layout.avail_ring = page_align(layout.desc_table + sizeof(vring_desc) * size);
  // flags, idx, ring[size], used_event
  layout.used_ring = page_align(layout.avail_ring + 2 * (3u + size));
  // flags, idx, ring[size], avail_event
  layout.end = page_align(layout.used_ring + 2 * 3 + sizeof(vring_used_elem) * size);
  return layout;
}

DriverVring::DriverVring(GuestMemory& memory, const Layout& layout, uint16_t size)
    : memory_(memory),
      layout_(layout),
      size_(size),
      kick_fd_(make_eventfd()),
      call_fd_(make_eventfd()),
      err_fd_(make_eventfd()),
      next_(size),
      chain_length_(size) {
  if (size == 0 || (size & (size - 1)) != 0) throw std::invalid_argument("queue size must be a power of two");
  if (layout.end > memory.size()) throw std::invalid_argument("guest memory is too small for the vrings");
  reset(0);
}

vring_desc* DriverVring::desc_table() const {
  return reinterpret_cast<vring_desc*>(memory_.data() + layout_.desc_table);
}
vring_avail* DriverVring::avail() const {
  return reinterpret_cast<vring_avail*>(memory_.data() + layout_.avail_ring);
}
vring_used* DriverVring::used() const { return reinterpret_cast<vring_used*>(memory_.data() + layout_.used_ring); }
uint16_t* DriverVring::used_event() const { return &avail()->ring[size_]; }
uint16_t* DriverVring::avail_event() const { return reinterpret_cast<uint16_t*>(&used()->ring[size_]); }

void DriverVring::reset(uint16_t base) {
  std::memset(memory_.data() + layout_.desc_table, 0, layout_.end - layout_.desc_table);
  for (uint32_t i = 0; i < size_; ++i) next_[i] = static_cast<uint16_t>(i + 1);
  chain_length_.assign(size_, 0);
  free_head_ = 0;
  free_count_ = size_;
  in_flight_ = 0;
  avail_idx_ = published_idx_ = kicked_idx_ = last_used_idx_ = base;
  avail()->idx = base;
  used()->idx = base;
  *used_event() = base;
}

std::optional<uint16_t> DriverVring::add_chain(std::span<const vring_desc> chain) {
  if (chain.empty()) throw std::invalid_argument("a chain has at least one descriptor");
  if (chain.size() > size_) throw std::invalid_argument("the chain is longer than the queue");
  if (chain.size() > free_count_) return std::nullopt;
  const uint16_t head = free_head_;
  uint16_t index = head;
  for (size_t i = 0; i < chain.size(); ++i) {
    const bool last = i + 1 == chain.size();
    vring_desc& desc = desc_table()[index];
    desc.addr = chain[i].addr;
    desc.len = chain[i].len;
    desc.flags = static_cast<uint16_t>(chain[i].flags | (last ? 0 : VRING_DESC_F_NEXT));
    desc.next = last ? 0 : next_[index];
    index = next_[index];
  }
  free_head_ = index;
  push_avail(head, static_cast<uint16_t>(chain.size()));
  return head;
}

std::optional<uint16_t> DriverVring::add_indirect(uint64_t table_gpa, uint32_t entries) {
  if (free_count_ == 0) return std::nullopt;
  const uint16_t head = free_head_;
  desc_table()[head] = {table_gpa, entries * static_cast<uint32_t>(sizeof(vring_desc)), VRING_DESC_F_INDIRECT, 0};
  free_head_ = next_[head];
  push_avail(head, 1);
  return head;
}

void DriverVring::push_avail(uint16_t head, uint16_t chain_length) {
  avail()->ring[avail_idx_ & (size_ - 1)] = head;
  ++avail_idx_;
  ++in_flight_;
  chain_length_[head] = chain_length;
  free_count_ = static_cast<uint16_t>(free_count_ - chain_length);
}

void DriverVring::publish() {
  // Release: the descriptors and ring entries are visible before the index that announces them.
  std::atomic_ref<uint16_t>(avail()->idx).store(avail_idx_, std::memory_order_release);
  published_idx_ = avail_idx_;
}

bool DriverVring::kick_needed() {
  // The index must be visible before we look whether the device sleeps, or both sides could miss each other.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  const uint16_t old = kicked_idx_;
  kicked_idx_ = published_idx_;
  if (old == published_idx_) return false;
  if (event_idx_) {
    const uint16_t event = std::atomic_ref<uint16_t>(*avail_event()).load(std::memory_order_relaxed);
    return vring_need_event(event, published_idx_, old) != 0;
  }
  return (std::atomic_ref<uint16_t>(used()->flags).load(std::memory_order_relaxed) & VRING_USED_F_NO_NOTIFY) == 0;
}

void DriverVring::kick() {
  const uint64_t one = 1;
  if (::write(kick_fd_.get(), &one, sizeof(one)) != sizeof(one) && errno != EAGAIN) {
    throw std::system_error(errno, std::generic_category(), "kick");
  }
}

std::optional<vring_used_elem> DriverVring::pop_used() {
  // Acquire: what the device wrote before it moved the index is visible after we have seen the index.
  const uint16_t idx = std::atomic_ref<uint16_t>(used()->idx).load(std::memory_order_acquire);
  if (idx == last_used_idx_) return std::nullopt;
  if (static_cast<uint16_t>(idx - last_used_idx_) > in_flight_) {
    throw std::runtime_error("used ring index " + std::to_string(idx) + " is ahead of the " +
                             std::to_string(in_flight_) + " chains in flight from " + std::to_string(last_used_idx_));
  }
  const vring_used_elem element = used()->ring[last_used_idx_ & (size_ - 1)];
  if (element.id >= size_ || chain_length_[element.id] == 0) {
    throw std::runtime_error("used element names descriptor " + std::to_string(element.id) +
                             ", which is not the head of a chain in flight");
  }
  ++last_used_idx_;
  --in_flight_;
  const uint16_t head = static_cast<uint16_t>(element.id);
  uint16_t last = head;
  for (uint16_t i = 1; i < chain_length_[head]; ++i) last = next_[last];
  next_[last] = free_head_;
  free_head_ = head;
  free_count_ = static_cast<uint16_t>(free_count_ + chain_length_[head]);
  chain_length_[head] = 0;
  return element;
}

bool DriverVring::enable_call() {
  if (event_idx_) {
    std::atomic_ref<uint16_t>(*used_event()).store(last_used_idx_, std::memory_order_relaxed);
  } else {
    std::atomic_ref<uint16_t>(avail()->flags).store(0, std::memory_order_relaxed);
  }
  // The wish must be visible before we look again, or the last completion could go by without a call.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  return std::atomic_ref<uint16_t>(used()->idx).load(std::memory_order_acquire) != last_used_idx_;
}

void DriverVring::disable_call() {
  // With EVENT_IDX nothing is needed: used_event stays behind, so no call comes until the index wraps.
  if (!event_idx_) {
    std::atomic_ref<uint16_t>(avail()->flags).store(VRING_AVAIL_F_NO_INTERRUPT, std::memory_order_relaxed);
  }
}

}  // namespace ovfs_frontend
