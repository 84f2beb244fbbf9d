#include "request_path.h"

#include <linux/fuse.h>
#include <sys/resource.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>
#include <climits>

#include "host_caller.h"
#include "descriptor_chain.h"
#include "fuse_framing.h"

namespace ovfsd {

namespace {

// Copied data after which the driver is told of what is complete, not only at the end of the burst: it goes on with the first reads
// while the next are copied. Measured with reads of 1 MiB, four at a time: the device waited 9 % of the time for a driver that had waited
// for all four.
constexpr uint32_t kPublishBytes = 512 << 10;

}  // namespace

RequestPath::Collected RequestPath::collect(std::vector<Vring>& vrings) {
  Collected collected;
  starved_ = false;
  collect_from(vrings, 0, collected);  // hiprio: FORGETs free memory, so never behind the others
  const auto request_queues = static_cast<uint32_t>(vrings.size()) - 1;
  for (uint32_t i = 0; i < request_queues; ++i) collect_from(vrings, 1 + (turn_ + i) % request_queues, collected);
  // When there are fewer slots than requests, another queue is first next time.
  if (starved_) ++turn_;
  return collected;
}

void RequestPath::collect_from(std::vector<Vring>& vrings, uint32_t vring_index, Collected& collected) {
  Vring& vring = vrings[vring_index];
  // One ring's worth at most: a driver that refills the ring while we empty it must not keep us here.
  for (uint32_t left = vring.size; left > 0 && vring.runs(); --left) {
    if (!arena_.has_free()) {
      starved_ = starved_ || vring.has_available();
      return;
    }
    uint16_t head;
    const Vring::Pop popped = vring.pop(head);
    if (popped == Vring::Pop::kEmpty) return;
    collected.any_popped = true;
    vring.suppress_kicks();
    if (popped == Vring::Pop::kHead) {
      const uint32_t slot_index = arena_.take();
      if (fill_slot(vring, vring_index, slot_index, head)) arena_.ready()[collected.ready++] = slot_index;
    }
    if (vring.broken()) collected.any_broken = true;
  }
}

/// @return false when the request does not go to the host: its slot has been released.
bool RequestPath::fill_slot(Vring& vring, uint32_t vring_index, uint32_t slot_index, uint16_t head) {
  RequestSlot& slot = arena_.slot(slot_index);
  slot.memory = vring.memory();
  slot.vring = vring_index;
  slot.head = head;
  ++vring.in_flight;

  ChainTotals totals;
  const ChainError error =
      walk_descriptor_chain(*slot.memory, vring.descriptors(), head, slot.readable, slot.writable, totals);
  if (error != ChainError::kNone) {
    // Not answered with an error or an empty used element: Linux takes a reply whose memory was not written for
    // success.
    vring.mark_broken(describe(error));
    end_request(vring, slot_index, 0);
    return false;
  }
  slot.readable_bytes = totals.readable_bytes;
  slot.writable_bytes = totals.writable_bytes;

  // Copy once, then look only at the copy: the guest may change its memory at any time.
  uint8_t* copy = arena_.request(slot_index);
  gather(slot.readable, slot.read_cursor, 0, copy, std::min(totals.readable_bytes, kRequestStrideBytes));
  if (!accept_request(slot, copy)) {
    ++counters_.refused_requests;
    end_request(vring, slot_index, write_reply(slot, {-EINVAL, nullptr, 0}));
    return false;
  }
  uint32_t* meta = arena_.meta(slot_index);
  meta[kMetaReadableBytes] = totals.readable_bytes;
  meta[kMetaWritableBytes] = totals.writable_bytes;
  meta[kMetaCounters] = meta[kMetaError] = meta[kMetaReplyBytes] = meta[kMetaFlags] = 0;
  return true;
}

void RequestPath::hand_over(uint32_t ready_count) noexcept {
  counters_.requests += ready_count;
  for (uint32_t i = 0; i < ready_count; ++i) arena_.slot(arena_.ready()[i]).state = RequestSlot::State::kInFlight;
}

void RequestPath::complete(uint32_t done_count, std::vector<Vring>* vrings) noexcept {
  complete_slots(done_count, vrings);
}

void RequestPath::complete_burst(uint32_t done_count, std::vector<Vring>* vrings) noexcept {
  BurstReport& report = arena_.burst();
  counting_ = true;
  burst_counters_ = static_cast<uint32_t>(report.counters);
  runs_ = 0;
  complete_slots(done_count, vrings);
  report.counters = 0;
  report.runs = runs_;
  counting_ = false;
}

void RequestPath::complete_slots(uint32_t done_count, std::vector<Vring>* vrings) noexcept {
  const uint32_t count = std::min(done_count, arena_.slot_count());
  counters_.ignored_completions += done_count - count;
  uint32_t unpublished_bytes = 0;
  for (uint32_t i = 0; i < count; ++i) {
    unpublished_bytes += complete_slot(arena_.done()[i], vrings);
    if (unpublished_bytes < kPublishBytes || vrings == nullptr) continue;
    publish(*vrings);
    unpublished_bytes = 0;
  }
  if (vrings != nullptr) publish(*vrings);
}

/// @return bytes that the driver is given.
uint32_t RequestPath::complete_slot(uint32_t index, std::vector<Vring>* vrings) noexcept {
  if (!holds(index)) {
    ++counters_.ignored_completions;
    return 0;
  }
  RequestSlot& slot = arena_.slot(index);
  if (slot.state == RequestSlot::State::kOrphaned || vrings == nullptr) {
    arena_.release(index);
    return 0;
  }
  push_reply_data(index);
  const uint32_t* meta = arena_.meta(index);
  uint32_t written = 0;
  if ((meta[kMetaFlags] & kReplyFlagNone) == 0) {
    written = write_reply(slot, {static_cast<int32_t>(meta[kMetaError]), arena_.reply(index), meta[kMetaReplyBytes]});
  }
  if (counting_) count(index, written);
  end_request((*vrings)[slot.vring], index, written);
  return written;
}

/// One request more in the last run, or in one of its own. JavaScript, where each look at the arena is checked, takes several times as
/// long for it.
void RequestPath::count(uint32_t index, uint32_t written_bytes) noexcept {
  const uint32_t* meta = arena_.meta(index);
  const uint32_t counters = burst_counters_ != 0 ? burst_counters_ : meta[kMetaCounters];
  if (counters == 0) return;
  const uint32_t opcode = reinterpret_cast<const fuse_in_header*>(arena_.request(index))->opcode;
  const uint32_t error_number = 0 - meta[kMetaError];
  BurstRun* run = runs_ == 0 ? nullptr : &arena_.runs()[runs_ - 1];
  if (run == nullptr || run->counters != counters || run->opcode != opcode || run->error_number != error_number) {
    // There are as many places as slots, and each slot is completed once.
    run = &arena_.runs()[runs_++];
    *run = {double(counters), double(opcode), double(error_number), 0, 0};
  }
  ++run->count;
  if (error_number != 0) return;
  if (opcode == FUSE_READ) {
    run->data_bytes += written_bytes - std::min(written_bytes, uint32_t{sizeof(fuse_out_header)});
  } else if (opcode == FUSE_WRITE || opcode == FUSE_COPY_FILE_RANGE) {
    run->data_bytes += reinterpret_cast<const fuse_write_out*>(arena_.reply(index))->size;
  }
}

/// Data that JavaScript has only named: copied here, it costs no call.
void RequestPath::push_reply_data(uint32_t index) noexcept {
  uint32_t* meta = arena_.meta(index);
  if ((meta[kMetaFlags] & kReplyFlagData) == 0) return;
  const uint64_t offset = (uint64_t{meta[kMetaDataHigh]} << 32) | meta[kMetaDataLow];
  const uint32_t length = meta[kMetaReplyBytes];
  meta[kMetaReplyBytes] = 0;
  if (static_cast<int32_t>(meta[kMetaError]) != 0) return;
  if (pool_->holds(offset, length)) {
    push(index, pool_->data() + offset, length);
  } else {
    meta[kMetaError] = static_cast<uint32_t>(-EIO);  // a defect of the host's
  }
}

void RequestPath::end_request(Vring& vring, uint32_t index, uint32_t written_bytes) noexcept {
  // Always a used element, for FORGET too: it gives the descriptors back.
  if (vring.started() && !vring.broken()) vring.push_used(arena_.slot(index).head, written_bytes);
  --vring.in_flight;
  arena_.release(index);
}

void RequestPath::publish(std::vector<Vring>& vrings) noexcept {
  for (Vring& vring : vrings) {
    if (vring.has_unpublished() && vring.publish_used() && vring.signal_call()) ++counters_.calls;
  }
}

void RequestPath::orphan(uint32_t vring) noexcept {
  for (uint32_t i = 0; i < arena_.slot_count(); ++i) {
    RequestSlot& slot = arena_.slot(i);
    if (slot.state != RequestSlot::State::kInFlight || slot.vring != vring) continue;
    slot.state = RequestSlot::State::kOrphaned;
    slot.memory.reset();
  }
}

void RequestPath::orphan_all() noexcept {
  starved_ = false;
  for (uint32_t i = 0; i < arena_.slot_count(); ++i) {
    RequestSlot& slot = arena_.slot(i);
    if (slot.state == RequestSlot::State::kPopped) arena_.release(i);  // the host never heard of it
    if (slot.state != RequestSlot::State::kInFlight) continue;
    slot.state = RequestSlot::State::kOrphaned;
    slot.memory.reset();
  }
}

// ---- data movement ------------------------------------------------------------------------------------------------

bool RequestPath::holds(uint32_t slot) const noexcept {
  if (slot >= arena_.slot_count()) return false;
  const RequestSlot::State state = arena_.slot(slot).state;
  return state == RequestSlot::State::kInFlight || state == RequestSlot::State::kOrphaned;
}

/// What was copied from a file that shrank is zeros: never let them be written to a file of the user.
bool RequestPath::is_broken(const RequestSlot& slot) const noexcept {
  return SigbusGuard::trip_count() != first_trips_ && slot.memory->broken_region() != nullptr;
}

uint32_t RequestPath::pull(uint32_t index, uint64_t payload_offset, uint8_t* target, uint32_t length_bytes) noexcept {
  RequestSlot& slot = arena_.slot(index);
  if (slot.state != RequestSlot::State::kInFlight) return 0;
  const uint32_t copied = gather(slot.readable, slot.read_cursor, payload_offset, target, length_bytes);
  return is_broken(slot) ? 0 : copied;
}

uint32_t RequestPath::push(uint32_t index, const uint8_t* source, uint32_t length_bytes) noexcept {
  RequestSlot& slot = arena_.slot(index);
  if (slot.state != RequestSlot::State::kInFlight) return 0;
  const uint64_t offset = uint64_t{sizeof(fuse_out_header)} + slot.pushed_bytes;
  const uint32_t copied = scatter(slot.writable, slot.write_cursor, offset, source, length_bytes);
  slot.pushed_bytes += copied;
  return copied;
}

uint32_t RequestPath::push_zeros(uint32_t index, uint32_t length_bytes) noexcept {
  RequestSlot& slot = arena_.slot(index);
  if (slot.state != RequestSlot::State::kInFlight) return 0;
  const uint64_t offset = uint64_t{sizeof(fuse_out_header)} + slot.pushed_bytes;
  const uint32_t written = scatter_zeros(slot.writable, slot.write_cursor, offset, length_bytes);
  slot.pushed_bytes += written;
  return written;
}

namespace {

/// Beyond, an offset would be negative: -1 stands for the descriptor's own position.
constexpr uint64_t kMaxOffset = INT64_MAX - UINT32_MAX;

/// What one system call takes; the rest is left to the next one.
struct Pieces {
  iovec vectors[IOV_MAX];
  int count = 0;

  Pieces(const Segments& segments, SegmentCursor& cursor, uint64_t offset, uint32_t length_bytes) noexcept {
    for_each_piece(segments, cursor, offset, length_bytes, [this](uint8_t* base, uint32_t part, uint32_t) {
      if (count < IOV_MAX) vectors[count++] = {base, part};
    });
  }
};

}  // namespace

int64_t RequestPath::read_file(uint32_t index, int fd, uint64_t offset, uint32_t length_bytes) noexcept {
  RequestSlot& slot = arena_.slot(index);
  if (slot.state != RequestSlot::State::kInFlight) return -EIO;
  if (offset > kMaxOffset) return -EINVAL;
  const uint32_t before = slot.pushed_bytes;
  for (;;) {
    const uint32_t done = slot.pushed_bytes - before;
    const Pieces pieces(slot.writable, slot.write_cursor, uint64_t{sizeof(fuse_out_header)} + slot.pushed_bytes,
                        length_bytes - done);
    if (pieces.count == 0) return done;  // all of it, or no room for more
    const ssize_t got = preadv2(fd, pieces.vectors, pieces.count, static_cast<off_t>(offset + done), RWF_NOWAIT);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return -errno;
    if (got == 0) return done;
    slot.pushed_bytes += static_cast<uint32_t>(got);
  }
}

namespace {

/// How often this thread has slept: unlike the time that a call takes, it tells waiting from having lost the processor.
long times_slept() noexcept {
  rusage usage;
  return getrusage(RUSAGE_THREAD, &usage) == 0 ? usage.ru_nvcsw : 0;
}

}  // namespace

int64_t RequestPath::write_file(uint32_t index, uint64_t payload_offset, int fd, uint64_t offset, uint32_t length_bytes,
                                bool append, bool may_wait, bool kill_ids) noexcept {
  RequestSlot& slot = arena_.slot(index);
  if (slot.state != RequestSlot::State::kInFlight || is_broken(slot)) return -EIO;
  if (offset > kMaxOffset) return -EINVAL;
  const Pieces pieces(slot.readable, slot.read_cursor, payload_offset, length_bytes);
  const int flags = (may_wait ? 0 : RWF_NOWAIT) | (append ? RWF_APPEND : 0);
  const host_tree::UnprivilegedWrite unprivileged(kill_ids);
  if (unprivileged.error() != 0) return -unprivileged.error();
  const long sleeps = may_wait ? times_slept() : 0;
  const ssize_t put = pwritev2(fd, pieces.vectors, pieces.count, static_cast<off_t>(offset), flags);
  const int64_t result = put < 0 ? -errno : put;
  if (may_wait && times_slept() != sleeps) arena_.meta(index)[kMetaFlags] |= kFlagWaited;
  return result;
}

}  // namespace ovfsd
