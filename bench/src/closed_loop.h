// The generator: N lanes, each with one request in flight at any time, for a bounded time.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "request_slot.h"
#include "target.h"

namespace ovfs_bench {

// What a lane does over and over: one operation of one or more requests (steps). Nothing here may allocate or wait
// once the loop runs.
class Work {
 public:
  static constexpr int kOperationDone = -1;

  virtual ~Work() = default;

  // The shape of every step's request.
  [[nodiscard]] virtual std::vector<SlotShape> shapes() const = 0;
  // Called once before the loop, with the number of lanes.
  virtual void begin(unsigned lanes) { static_cast<void>(lanes); }
  // Write the arguments of this step; returns the nodeid the request is for, 0 when there is nothing left to do (only
  // asked for at step 0).
  virtual uint64_t fill(unsigned lane, unsigned step, RequestSlot& slot) = 0;
  // The step's reply is there, and it is no error. Returns the next step or kOperationDone.
  virtual int completed(unsigned lane, unsigned step, const RequestSlot& slot, uint32_t used_bytes) {
    static_cast<void>(lane);
    static_cast<void>(step);
    static_cast<void>(slot);
    static_cast<void>(used_bytes);
    return kOperationDone;
  }
  // True when the step may fail with `error` (positive): its reply counts as completed then.
  [[nodiscard]] virtual bool expects_error(unsigned step, int error) const {
    static_cast<void>(step);
    static_cast<void>(error);
    return false;
  }
  // How many things (entries of a directory) one operation stands for in the rate.
  [[nodiscard]] virtual uint64_t items_per_operation() const { return 1; }
  [[nodiscard]] virtual uint64_t bytes_per_operation() const { return 0; }
};

struct Measurement {
  uint64_t operations = 0;
  double seconds = 0;
  // Of whole operations, first submission to last reply; 0 unless there was one lane.
  double p50_us = 0;
  double p99_us = 0;
};

// With several lanes the loop looks at the used ring for this long before it sleeps, as a halted vCPU does under KVM
// (guest haltpoll and kvm.halt_poll_ns: 200 us by default); with one lane it sleeps at once, so that the latency has its
// wake-ups. Without it, a quick daemon is measured by how fast the generator falls asleep and wakes.
struct LoopOptions {
  double seconds = 1;
  uint32_t halt_poll_us = 50;
};

// Runs until `seconds` have passed (the operations begun by then are finished) or the work has run out. Throws
// FuseFailure when a reply carries an error, std::runtime_error when it is another wrong one; nothing is in flight then.
Measurement run_closed_loop(Target& target, Work& work, unsigned lanes, const LoopOptions& options);

}  // namespace ovfs_bench
