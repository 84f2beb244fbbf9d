#include "closed_loop.h"

#include <algorithm>
#include <chrono>
#include <stdexcept>

namespace ovfs_bench {

namespace {

// 1 M operations: 10 s of one lane at 10 us each. What comes later is not sampled.
constexpr size_t kMaxSamples = 1u << 20;

uint64_t now_ns() {
  return static_cast<uint64_t>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
          .count());
}

struct Lane {
  std::vector<RequestSlot> slots;
  unsigned step = 0;
};

class Loop {
 public:
  Loop(Target& target, Work& work, unsigned lanes, const LoopOptions& options)
      : target_(target), work_(work), vring_(target.requests()), options_(options) {
    target.slot_memory().rewind();
    const std::vector<SlotShape> shapes = work.shapes();
    lanes_.resize(lanes);
    for (Lane& lane : lanes_) {
      for (const SlotShape& shape : shapes) lane.slots.emplace_back(target.slot_memory(), shape);
    }
    owner_.resize(vring_.size());
    // Written through now: no page is faulted in while the clock runs.
    if (lanes == 1) samples_.assign(kMaxSamples, 0);
    work.begin(lanes);
  }

  Measurement run() {
    const uint64_t start = now_ns();
    const uint64_t deadline = start + static_cast<uint64_t>(options_.seconds * 1e9);
    operation_start_ = start;
    for (unsigned lane = 0; lane < lanes_.size(); ++lane) start_operation(lane);
    send();
    while (active_ > 0) {
      if (!reap() && !poll()) {
        if (!vring_.enable_call()) target_.wait_call();
        vring_.disable_call();
        continue;
      }
      if (now_ns() >= deadline) over_ = true;
      send();
    }
    Measurement result;
    result.operations = operations_;
    result.seconds = static_cast<double>(now_ns() - start) / 1e9;
    if (sample_count_ > 0) {
      result.p50_us = percentile(0.50);
      result.p99_us = percentile(0.99);
    }
    return result;
  }

  // Let what is in flight end, unlooked at.
  void drain() {
    send();
    while (vring_.in_flight() > 0) {
      if (!vring_.pop_used() && !vring_.enable_call()) target_.wait_call();
    }
  }

 private:
  // Handles what is in the used ring. False when it was empty.
  bool reap() {
    bool any = false;
    while (const auto element = vring_.pop_used()) {
      any = true;
      const unsigned lane = owner_[element->id];
      Lane& state = lanes_[lane];
      const RequestSlot& slot = state.slots[state.step];
      check(state.step, slot, element->len);
      const int next = work_.completed(lane, state.step, slot, element->len);
      if (next == Work::kOperationDone) {
        finish_operation();
        --active_;
        if (!over_) start_operation(lane);
      } else {
        state.step = static_cast<unsigned>(next);
        submit(lane, work_.fill(lane, state.step, state.slots[state.step]));
      }
    }
    return any;
  }

  void check(unsigned step, const RequestSlot& slot, uint32_t used_bytes) {
    try {
      check_reply(slot, used_bytes);
    } catch (const FuseFailure& failure) {
      if (!work_.expects_error(step, failure.error())) throw;
    }
  }

  // Halt polling. False when the time was over and nothing had come.
  bool poll() {
    if (lanes_.size() == 1 || options_.halt_poll_us == 0) return false;
    const uint64_t end = now_ns() + options_.halt_poll_us * uint64_t{1000};
    do {
      if (reap()) return true;
    } while (now_ns() < end);
    return false;
  }

  void start_operation(unsigned lane) {
    Lane& state = lanes_[lane];
    state.step = 0;
    const uint64_t nodeid = work_.fill(lane, 0, state.slots[0]);
    if (nodeid == 0) return;
    ++active_;
    submit(lane, nodeid);
  }

  void finish_operation() {
    ++operations_;
    if (lanes_.size() != 1) return;
    const uint64_t now = now_ns();
    if (sample_count_ < samples_.size()) samples_[sample_count_++] = static_cast<uint32_t>(now - operation_start_);
    operation_start_ = now;
  }

  void submit(unsigned lane, uint64_t nodeid) {
    RequestSlot& slot = lanes_[lane].slots[lanes_[lane].step];
    slot.address(target_.next_unique(), nodeid);
    const auto head = vring_.add_indirect(slot.table_gpa(), slot.entries());
    if (!head) throw std::runtime_error("the ring is full");
    owner_[*head] = lane;
  }

  void send() {
    vring_.publish();
    if (vring_.kick_needed()) vring_.kick();
  }

  double percentile(double fraction) {
    const auto index = static_cast<size_t>(fraction * static_cast<double>(sample_count_ - 1));
    const auto begin = samples_.begin();
    std::nth_element(begin, begin + static_cast<ptrdiff_t>(index), begin + static_cast<ptrdiff_t>(sample_count_));
    return static_cast<double>(samples_[index]) / 1e3;
  }

  Target& target_;
  Work& work_;
  DriverVring& vring_;
  LoopOptions options_;
  std::vector<Lane> lanes_;
  std::vector<unsigned> owner_;  // by head index
  std::vector<uint32_t> samples_;
  size_t sample_count_ = 0;
  uint64_t operations_ = 0;
  uint64_t operation_start_ = 0;
  unsigned active_ = 0;
  bool over_ = false;
};

}  // namespace

Measurement run_closed_loop(Target& target, Work& work, unsigned lanes, const LoopOptions& options) {
  Loop loop(target, work, lanes, options);
  try {
    return loop.run();
  } catch (const std::runtime_error&) {
    loop.drain();
    throw;
  }
}

}  // namespace ovfs_bench
