// A listening Device with a host that answers, and what it left behind.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "../src/device.h"
#include "mock_driver.h"

namespace ovfsd::test {

/// Plays JavaScript. Answers GETATTR with 104 bytes, READ by pushing pool bytes, WRITE by pulling into the pool, FORGET
/// with no reply, everything else with -ENOSYS; or holds the slots for later.
class TestHost final : public DeviceHost {
 public:
  explicit TestHost(std::shared_ptr<SlabMemory> pool) : pool_(std::move(pool)) {}

  void on_requests(Device& device, uint32_t ready_count) override;
  void on_event(DeviceEvent event, const std::string& detail, uint32_t value) override;

  /// Write the slot's answer into the arena.
  void answer(Device& device, uint32_t slot);
  /// Complete everything that is held, in the order of arrival or reversed.
  void complete_held(Device& device, bool reversed = false);

  bool hold = false;
  /// Whose counters bursts go into; by request, when there are several.
  std::vector<uint32_t> counters;
  std::vector<uint32_t> held;
  std::vector<uint32_t> bursts;     ///< sizes
  std::vector<uint32_t> queues;     ///< of every request, in order
  std::vector<std::string> events;  ///< "vring-start 1"
  std::string last_detail;
  uint64_t pulled_bytes = 0;

  uint32_t count_events(const std::string& name) const;

 private:
  std::shared_ptr<SlabMemory> pool_;
};

struct TestBed {
  explicit TestBed(DeviceConfig config = {1, 64, 0});
  ~TestBed();

  MockDriver connect() { return MockDriver(*device, path); }

  std::string directory;
  std::string path;
  std::shared_ptr<SlabMemory> pool;
  TestHost host;
  std::unique_ptr<Device> device;
};

/// Open descriptors of this process.
size_t open_fds();
/// Mappings of the guest memory files, the tests' own included.
size_t guest_mappings();

void put_done(Device& device, const std::vector<uint32_t>& slots);

}  // namespace ovfsd::test
