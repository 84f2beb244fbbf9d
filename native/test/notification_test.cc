// A driver on its own thread that kicks and sleeps exactly as it is told: a notification lost by either side is a hang.
#include <poll.h>
#include <sys/eventfd.h>

#include <atomic>
#include <random>
#include <thread>

#include "check.h"
#include "test_bed.h"

using namespace ovfsd;
using namespace ovfsd::test;

namespace {

constexpr int kRounds = 8000;
// Only a lost notification takes this long.
constexpr int kLostMs = 10000;

/// Waits for calls as the guest's interrupt handler does: ask, look again, sleep.
bool wait_for_used(MockDriver& driver, uint16_t target) {
  MockVring& ring = driver.vring(1);
  for (;;) {
    driver.take_used(1);  // sets used_event
    std::atomic_thread_fence(std::memory_order_seq_cst);
    if (__atomic_load_n(&ring.used->idx, __ATOMIC_ACQUIRE) == target) return true;
    if (__atomic_load_n(&ring.used->idx, __ATOMIC_ACQUIRE) != ring.seen_used) continue;
    pollfd call = {ring.call.get(), POLLIN, 0};
    if (::poll(&call, 1, kLostMs) <= 0) return false;
    driver.take_calls(1);
  }
}

void play(bool event_idx, uint32_t poll_window_us) {
  TestBed bed({1, 64, poll_window_us});
  MockDriver driver = bed.connect();
  driver.set_up({.event_idx = event_idx});
  for (uint32_t i = 0; i < 4; ++i) {
    write_request(driver.memory(), MockDriver::kDataOffset + i * 8192, FUSE_GETATTR, i, std::vector<uint8_t>(16));
  }
  std::atomic<bool> done = false;
  std::atomic<bool> lost = false;
  const UniqueFd finished(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  std::thread guest([&] {
    std::mt19937 random(1);
    for (int round = 0; round < kRounds && !lost; ++round) {
      const uint32_t count = 1 + random() % 4;
      for (uint32_t i = 0; i < count; ++i) {
        const uint64_t at = MockDriver::kDataOffset + i * 8192;
        driver.add_chain(1, {{at, 56}}, {{at + 4096, 120}});
        driver.publish(1);
      }
      if (!wait_for_used(driver, driver.vring(1).next_avail)) lost = true;
    }
    done = true;
    ::eventfd_write(finished.get(), 1);
  });
  while (!done) {
    pollfd ready[2] = {{bed.device->poll_fd(), POLLIN, 0}, {finished.get(), POLLIN, 0}};
    const int timeout = bed.device->wants_turn() ? 0 : -1;
    ::poll(ready, 2, timeout);
    if ((ready[0].revents & POLLIN) != 0 || bed.device->wants_turn())
      bed.device->turn((ready[0].revents & POLLIN) != 0);
  }
  guest.join();
  CHECK(!lost);
  CHECK_EQ(bed.device->requests().arena().in_flight(), 0u);
}

}  // namespace

TEST("notifications: none is lost with EVENT_IDX") { play(true, 0); }
TEST("notifications: none is lost with flags") { play(false, 0); }
TEST("notifications: none is lost while the ring is polled") {
  play(true, 20);
  play(false, 20);
}
