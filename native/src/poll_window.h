// Whether it is worth polling the avail rings before going to sleep.
//
// A sleep and a wake-up cost the guest 40 to 60 us, a request that is in the cache 1 us. So as long as bursts follow
// each other closely, looking at the ring for a while beats sleeping (measured: two to three times the operations/s at
// depth 16); on a quiet ring it would only burn the processor. The decision is a running mean of the gaps between
// bursts.
#pragma once

#include <algorithm>
#include <cstdint>

namespace ovfsd {

class PollWindow {
 public:
  /// @param window_us longest time to poll without an arrival; 0 = never poll.
  explicit PollWindow(uint32_t window_us) noexcept
      : window_ns_(uint64_t{window_us} * 1000), mean_gap_ns_(kGapCap * window_ns_) {}

  /// A burst arrived. @param slept the loop slept before it, so the gap holds a wake-up too.
  void note_arrival(uint64_t now_ns, bool slept) noexcept {
    uint64_t gap = now_ns - last_end_ns_;
    if (slept) gap -= std::min(gap, kWakeUpNs);
    gap = std::min(gap, kGapCap * window_ns_);
    mean_gap_ns_ = (mean_gap_ns_ * (kMeanWeight - 1) + gap) / kMeanWeight;
  }

  /// The burst has been answered; polling may go on until a window after this.
  void note_answered(uint64_t now_ns) noexcept { last_end_ns_ = now_ns; }

  bool worth_polling() const noexcept { return mean_gap_ns_ < window_ns_; }
  uint64_t poll_until_ns() const noexcept { return last_end_ns_ + window_ns_; }
  uint64_t window_ns() const noexcept { return window_ns_; }

 private:
  // What the guest's kick and the kernel's wake-up take of a measured gap; without the allowance a guest with one
  // request in flight would never look quick enough to be polled for.
  static constexpr uint64_t kWakeUpNs = 50'000;
  // Longer gaps count as this many windows: five close arrivals bring the mean below one window again, and one long
  // pause after steady traffic brings it just above.
  static constexpr uint64_t kGapCap = 4;
  static constexpr uint64_t kMeanWeight = 4;

  uint64_t window_ns_;
  uint64_t mean_gap_ns_;
  uint64_t last_end_ns_ = 0;
};

}  // namespace ovfsd
