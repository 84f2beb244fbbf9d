#include "vring.h"

#include <unistd.h>

#include <cerrno>
#include <utility>

namespace ovfsd {
namespace {

bool aligned(const void* p, uintptr_t alignment) { return reinterpret_cast<uintptr_t>(p) % alignment == 0; }

void write_eventfd(int fd) noexcept {
  const uint64_t one = 1;
  ssize_t rc;
  do rc = ::write(fd, &one, sizeof one);
  while (rc < 0 && errno == EINTR);
  // EAGAIN: the counter is full, so the other side has a notification waiting already. Nothing else can be done here.
}

}  // namespace

const char* Vring::resolve(GuestMemory::Snapshot memory) noexcept {
  if (size == 0) return "the ring has no size";
  if (!has_addresses) return "the ring has no addresses";
  uint8_t* desc = memory->at_user_addr(addresses.desc_user_addr, desc_table_bytes(size));
  uint8_t* avail = memory->at_user_addr(addresses.avail_user_addr, avail_ring_bytes(size));
  uint8_t* used = memory->at_user_addr(addresses.used_user_addr, used_ring_bytes(size));
  if (desc == nullptr) return "the descriptor table is not in one memory region";
  if (avail == nullptr) return "the avail ring is not in one memory region";
  if (used == nullptr) return "the used ring is not in one memory region";
  // Of the host addresses, because those are accessed: a region may begin anywhere.
  if (!aligned(desc, kDescAlignment) || !aligned(avail, kAvailAlignment) || !aligned(used, kUsedAlignment)) {
    return "a part of the ring is not aligned";
  }
  desc_ = reinterpret_cast<VringDesc*>(desc);
  avail_ = reinterpret_cast<VringAvail*>(avail);
  used_ = reinterpret_cast<VringUsed*>(used);
  memory_ = std::move(memory);
  return nullptr;
}

const char* Vring::start(bool event_idx, bool indirect_desc) noexcept {
  event_idx_ = event_idx;
  indirect_desc_ = indirect_desc;
  broken_reason_ = unreported_reason_ = nullptr;
  used_idx_ = load_relaxed(&used_->idx);
  avail_limit_ = next_avail_;
  signalled_valid_ = false;
  has_unpublished_ = false;
  kicks_enabled_ = false;
  started_ = true;
  // Popped and unanswered requests of an earlier life may lie between the two, but never more than the ring holds.
  if (static_cast<uint16_t>(next_avail_ - used_idx_) > size)
    return "the used index does not fit the avail index set by SET_VRING_BASE";
  return nullptr;
}

void Vring::stop() noexcept {
  started_ = false;
  draining_ = false;
  has_unpublished_ = false;
  kick.reset();
  unresolve();
}

void Vring::unresolve() noexcept {
  desc_ = nullptr;
  avail_ = nullptr;
  used_ = nullptr;
  memory_.reset();
}

void Vring::mark_broken(const char* reason) noexcept {
  broken_reason_ = unreported_reason_ = reason;
  has_unpublished_ = false;
}

Vring::Pop Vring::pop(uint16_t& head) noexcept {
  if (avail_limit_ == next_avail_) {
    // Acquire: the ring entries and descriptors that the driver wrote before it moved the index must be seen by the
    // reads that follow.
    const uint16_t avail_idx = load_acquire(&avail_->idx);
    if (avail_idx == next_avail_) return Pop::kEmpty;
    // Against the used index: the driver may not offer more chains than the ring has room to give back.
    if (static_cast<uint16_t>(avail_idx - used_idx_) > size || static_cast<uint16_t>(avail_idx - next_avail_) > size) {
      mark_broken("the avail index is further ahead than the ring is long");
      return Pop::kBroken;
    }
    avail_limit_ = avail_idx;
  }
  head = load_relaxed(&avail_->ring[next_avail_ & (size - 1)]);
  if (head >= size) {
    mark_broken("a head index is beyond the descriptor table");
    return Pop::kBroken;
  }
  ++next_avail_;
  return Pop::kHead;
}

void Vring::push_used(uint16_t head, uint32_t written_bytes) noexcept {
  VringUsedElem& element = used_->ring[used_idx_ & (size - 1)];
  element.id = head;
  element.len = written_bytes;
  ++used_idx_;
  has_unpublished_ = true;
}

bool Vring::publish_used() noexcept {
  has_unpublished_ = false;
  // Release: the used elements and the data in the buffers must be visible before the index that announces them.
  __atomic_store_n(&used_->idx, used_idx_, __ATOMIC_RELEASE);
  // Full fence between our store of the used index and our load of the driver's wish: the driver stores its wish and
  // then loads the used index, and without a store-load fence on both sides each could miss the other's, and a call be
  // lost.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (!event_idx_) return (load_relaxed(&avail_->flags) & kAvailFNoInterrupt) == 0;

  const uint16_t used_event = load_relaxed(&avail_->ring[size]);
  const uint16_t old = std::exchange(signalled_used_, used_idx_);
  if (!std::exchange(signalled_valid_, true)) return true;
  return passed_event(used_event, used_idx_, old);
}

bool Vring::signal_call() const noexcept {
  if (!call) return false;
  write_eventfd(call.get());
  return true;
}

void Vring::signal_err() const noexcept {
  if (err) write_eventfd(err.get());
}

void Vring::suppress_kicks() noexcept {
  if (!std::exchange(kicks_enabled_, false)) return;
  // With EVENT_IDX there is nothing to write: an avail_event that stays behind asks for no further kick.
  if (!event_idx_) __atomic_store_n(&used_->flags, uint16_t{kUsedFNoNotify}, __ATOMIC_RELAXED);
}

bool Vring::enable_kicks() noexcept {
  kicks_enabled_ = true;
  if (event_idx_) {
    // avail_event lies behind the used ring's last element.
    auto* avail_event = reinterpret_cast<uint16_t*>(&used_->ring[size]);
    __atomic_store_n(avail_event, next_avail_, __ATOMIC_RELAXED);
  } else {
    __atomic_store_n(&used_->flags, uint16_t{0}, __ATOMIC_RELAXED);
  }
  // Full fence: our wish for a kick must be visible before we look at the avail index for the last time; the driver
  // does the two in the opposite order. Otherwise a chain could arrive unannounced and unseen.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  return has_available();
}

}  // namespace ovfsd
