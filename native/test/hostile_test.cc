// Hostile input, seeded: after every case a well-behaved request must be answered, and nothing may be left behind.
//   OVFSD_FUZZ_SEED=n   another seed (it is printed)
//   OVFSD_FUZZ_CASES=n  more or fewer cases
#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <thread>

#include "check.h"
#include "test_bed.h"

using namespace ovfsd;
using namespace ovfsd::test;

namespace {

using R = VhostUserRequest;
constexpr uint64_t kRequest = MockDriver::kDataOffset + (2 << 20);
constexpr uint64_t kReply = MockDriver::kDataOffset + (3 << 20);

uint64_t environment(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 0);
}

class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}
  uint64_t next() { return engine_(); }
  uint64_t below(uint64_t limit) { return engine_() % limit; }
  bool one_in(uint64_t n) { return below(n) == 0; }
  template <typename T>
  T pick(std::initializer_list<T> values) {
    return values.begin()[below(values.size())];
  }

 private:
  std::mt19937_64 engine_;
};

/// One front-end and guest that misbehave, and the means to start over.
class Attacker {
 public:
  Attacker(TestBed& bed, uint64_t seed) : bed_(bed), random_(seed) { reconnect(); }

  void one_case() {
    const uint64_t kind = random_.below(20);
    last_ = kind;
    switch (kind) {
      case 0:
      case 1:
      case 2:
        random_chains(false);
        break;
      case 3:
      case 4:
      case 5:
        random_chains(true);
        break;
      case 6:
        loop();
        break;
      case 7:
        nested_indirect();
        break;
      case 8:
        bad_indirect_table();
        break;
      case 9:
        avail_jump();
        break;
      case 10:
        head_out_of_range();
        break;
      case 11:
        lying_header();
        break;
      case 12:
        random_ring_bytes();
        break;
      case 13:
        huge_lengths();
        break;
      case 14:
      case 15:
        random_message();
        break;
      case 16:
        malformed_message();
        break;
      case 17:
        random_bytes();
        break;
      case 18:
        wrong_descriptors();
        break;
      case 19:
        in_flight_mischief();
        break;
    }
  }

  /// A request must be answered: on this ring, or once it is set up anew, or on a new connection.
  void check_alive() {
    bed_.host.hold = false;
    bed_.host.complete_held(*bed_.device);
    driver_->pump();
    if (driver_->dropped()) {  // also reads away the replies that nobody waits for
      ++reconnects;
      reconnect();
    } else if (ring_needs_restart()) {
      ++restarts;
      restart();
    }
    for (uint32_t ring = 0; ring < 2; ++ring) {
      if (!driver_->probe(ring))
        fail(__FILE__, __LINE__,
             "after case kind " + std::to_string(last_) + " vring " + std::to_string(ring) +
                 " does not answer: " + bed_.host.last_detail);
    }
    CHECK_EQ(bed_.device->requests().arena().in_flight(), 0u);
    bed_.host.events.clear();
    bed_.host.bursts.clear();
    bed_.host.queues.clear();
  }

  void disconnect() {
    driver_.reset();
    pump(*bed_.device);
    bed_.host.complete_held(*bed_.device);
  }

  uint64_t kind() const { return last_; }

  uint64_t reconnects = 0;
  uint64_t restarts = 0;

 private:
  void reconnect() {
    driver_.reset();
    driver_ = std::make_unique<MockDriver>(*bed_.device, bed_.path);
    options_.event_idx = random_.one_in(2);
    options_.indirect = random_.one_in(2);
    options_.size = random_.pick({4u, 64u, 256u});
    options_.base = static_cast<uint16_t>(random_.next());
    driver_->set_up(options_);
    dirty_ = false;
  }

  bool ring_needs_restart() {
    const bool needed =
        dirty_ || bed_.host.count_events("vring-broken") > 0 || bed_.host.count_events("vring-stop") > 0;
    return std::exchange(dirty_, false) || needed;
  }

  /// What a guest reboot does, on the same connection.
  void restart() {
    // The messages may have left anything behind: other memory, features, disabled rings.
    if (driver_->ask(R::kGetProtocolFeatures).payload.size() != 8) throw CheckFailed("no protocol features");
    driver_->send(R::kResetDevice);
    options_.base = static_cast<uint16_t>(random_.next());
    driver_->set_up(options_);
  }

  MockVring& ring() { return driver_->vring(ring_index_); }

  uint64_t some_address() {
    switch (random_.below(8)) {
      case 0:
        return random_.next();
      case 1:
        return 0;
      case 2:
        return UINT64_MAX - random_.below(4096);
      case 3:
        return MockMemory::kGpa - random_.below(16);
      case 4:
        return MockMemory::kGpa + MockMemory::kBytes - random_.below(64);
      case 5:
        return MockMemory::kGpa + random_.below(MockMemory::kBytes + 4096);
      default:
        return MockMemory::kGpa + kRequest + random_.below(1 << 20);
    }
  }

  uint32_t some_length() {
    switch (random_.below(6)) {
      case 0:
        return 0;
      case 1:
        return static_cast<uint32_t>(random_.next());
      case 2:
        return UINT32_MAX - static_cast<uint32_t>(random_.below(16));
      case 3:
        return static_cast<uint32_t>(16 * random_.below(64));
      default:
        return static_cast<uint32_t>(random_.below(5000));
    }
  }

  VringDesc some_descriptor(uint32_t table_size) {
    VringDesc descriptor;
    descriptor.addr = some_address();
    descriptor.len = some_length();
    descriptor.flags = random_.one_in(8) ? static_cast<uint16_t>(random_.next())
                                         : static_cast<uint16_t>(random_.below(random_.one_in(4) ? 8 : 4));
    descriptor.next = static_cast<uint16_t>(random_.one_in(8) ? random_.next() : random_.below(table_size + 1));
    return descriptor;
  }

  void finish_ring_case() {
    driver_->publish(ring_index_, true);
    driver_->pump();
    dirty_ = true;  // even if the device took it: the mock's idea of free descriptors is void
  }

  void choose_ring() { ring_index_ = static_cast<uint32_t>(random_.below(2)); }

  void random_chains(bool plausible) {
    choose_ring();
    for (uint32_t i = 0; i < ring().size; ++i) {
      ring().desc[i] = some_descriptor(ring().size);
      if (plausible) {  // in memory, so that the walk gets further
        ring().desc[i].addr = MockMemory::kGpa + kRequest + random_.below(1 << 20);
        ring().desc[i].len = static_cast<uint32_t>(random_.below(5000));
      }
    }
    // Requests that look like some, here and there.
    for (int i = 0; i < 64; ++i) {
      write_request(driver_->memory(), kRequest + random_.below((1 << 20) - 64),
                    static_cast<uint32_t>(random_.below(60)), random_.next());
    }
    const uint64_t count = 1 + random_.below(ring().size);
    for (uint64_t i = 0; i < count; ++i)
      driver_->add_head(ring_index_, static_cast<uint16_t>(random_.below(ring().size)));
    finish_ring_case();
  }

  void loop() {
    choose_ring();
    const uint64_t length = 1 + random_.below(ring().size);
    for (uint64_t i = 0; i < length; ++i) {
      ring().desc[i] = {MockMemory::kGpa + kRequest, 16, kDescFNext, static_cast<uint16_t>((i + 1) % length)};
    }
    driver_->add_head(ring_index_, 0);
    finish_ring_case();
  }

  void nested_indirect() {
    choose_ring();
    auto* table = reinterpret_cast<VringDesc*>(driver_->memory().at(kRequest));
    const uint16_t flags = kDescFIndirect | (random_.one_in(2) ? kDescFNext : 0);
    for (int i = 0; i < 64; ++i) table[i] = {MockMemory::kGpa + kRequest, 64 * 16, flags, static_cast<uint16_t>(i)};
    ring().desc[0] = {MockMemory::kGpa + kRequest, 64 * 16, kDescFIndirect, 0};
    driver_->add_head(ring_index_, 0);
    finish_ring_case();
  }

  void bad_indirect_table() {
    choose_ring();
    // A table of any length and place; its contents are a chain that goes on to its end, or a loop.
    auto* table = reinterpret_cast<VringDesc*>(driver_->memory().at(kRequest));
    const uint32_t entries = random_.pick({1u, 2u, 16u, 1024u, 1025u, 4096u, 32768u});
    const bool loops = random_.one_in(2);
    for (uint32_t i = 0; i < entries; ++i) {
      table[i] = {MockMemory::kGpa + kReply + 32 * uint64_t{i % 1000}, 16, kDescFNext | kDescFWrite,
                  static_cast<uint16_t>(loops ? i & ~7u : i + 1)};
    }
    const uint32_t length = entries * 16 + static_cast<uint32_t>(random_.one_in(3) ? random_.below(16) : 0);
    ring().desc[0] = {random_.one_in(4) ? some_address() : MockMemory::kGpa + kRequest + random_.below(2), length,
                      kDescFIndirect, 0};
    driver_->add_head(ring_index_, 0);
    finish_ring_case();
  }

  void avail_jump() {
    choose_ring();
    ring().next_avail =
        static_cast<uint16_t>(ring().next_avail + random_.pick({ring().size + 1, 0x8000u, 0xffffu, ring().size * 2}));
    finish_ring_case();
    dirty_ = true;
  }

  void head_out_of_range() {
    choose_ring();
    driver_->add_head(ring_index_, static_cast<uint16_t>(ring().size + random_.below(65536 - ring().size)));
    finish_ring_case();
  }

  void lying_header() {
    choose_ring();
    const uint32_t readable = static_cast<uint32_t>(random_.below(100));
    write_request(driver_->memory(), kRequest, FUSE_WRITE, random_.next());
    const uint32_t claimed = some_length();
    std::memcpy(driver_->memory().at(kRequest), &claimed, sizeof claimed);
    const auto writable = static_cast<uint32_t>(random_.below(40));
    std::vector<Buffer> read_list;
    std::vector<Buffer> write_list;
    if (readable > 0 || writable == 0) read_list.push_back({kRequest, readable});
    if (writable > 0) write_list.push_back({kReply, writable});
    driver_->add_chain(ring_index_, read_list, write_list);
    driver_->publish(ring_index_, true);
    driver_->pump();
    // No reason to give up the ring.
    CHECK_EQ(bed_.host.count_events("vring-broken"), 0u);
    CHECK_EQ(driver_->take_used(ring_index_).size(), 1u);
  }

  void random_ring_bytes() {
    choose_ring();
    const uint64_t area =
        desc_table_bytes(ring().size) + avail_ring_bytes(ring().size) + used_ring_bytes(ring().size) + 64;
    const uint64_t count = 1 + random_.below(area);
    for (uint64_t i = 0; i < count; ++i)
      *driver_->memory().at(ring().offset + random_.below(area)) = static_cast<uint8_t>(random_.next());
    CHECK_EQ(::eventfd_write(ring().kick.get(), 1), 0);
    driver_->pump();
    dirty_ = true;
  }

  void huge_lengths() {
    choose_ring();
    // Sums that overflow 32 bits, over buffers that are all there.
    const uint16_t flags = random_.one_in(2) ? kDescFWrite : 0;
    for (uint16_t i = 0; i < ring().size; ++i) {
      const bool last = i + 1u == ring().size;
      ring().desc[i] = {MockMemory::kGpa, random_.one_in(2) ? static_cast<uint32_t>(MockMemory::kBytes) : UINT32_MAX,
                        static_cast<uint16_t>(flags | (last ? 0 : kDescFNext)), static_cast<uint16_t>(i + 1)};
    }
    driver_->add_head(ring_index_, 0);
    finish_ring_case();
  }

  void random_message() {
    VhostUserHeader header = {static_cast<uint32_t>(random_.below(46)), kVersion, 0};
    if (random_.one_in(3)) header.flags |= kFlagNeedReply;
    std::vector<uint8_t> payload;
    switch (random_.below(4)) {
      case 0: {
        const VhostUserVringState state = {
            static_cast<uint32_t>(random_.below(4)),
            random_.one_in(2) ? static_cast<uint32_t>(random_.below(300)) : static_cast<uint32_t>(random_.next())};
        payload.assign(reinterpret_cast<const uint8_t*>(&state), reinterpret_cast<const uint8_t*>(&state + 1));
        break;
      }
      case 1: {
        const VhostUserVringAddr addr = {
            static_cast<uint32_t>(random_.below(3)), 0, some_user_addr(), some_user_addr(), some_user_addr(), 0};
        payload.assign(reinterpret_cast<const uint8_t*>(&addr), reinterpret_cast<const uint8_t*>(&addr + 1));
        break;
      }
      case 2: {
        const VhostUserSingleRegion single = {
            0, {some_address(), some_size(), some_user_addr(), random_.one_in(2) ? 0 : random_.next()}};
        payload.assign(reinterpret_cast<const uint8_t*>(&single), reinterpret_cast<const uint8_t*>(&single + 1));
        break;
      }
      default: {
        payload.resize(random_.pick({size_t{0}, size_t{4}, size_t{8}, size_t{40}, size_t{264}, size_t{512}}));
        for (uint8_t& byte : payload) byte = static_cast<uint8_t>(random_.one_in(3) ? random_.next() : 0);
      }
    }
    header.size = static_cast<uint32_t>(payload.size());
    std::vector<uint8_t> bytes(reinterpret_cast<const uint8_t*>(&header),
                               reinterpret_cast<const uint8_t*>(&header + 1));
    bytes.insert(bytes.end(), payload.begin(), payload.end());
    std::vector<int> fds;
    for (uint64_t i = random_.below(3); i > 0; --i) fds.push_back(some_fd());
    driver_->send_raw(bytes.data(), bytes.size(), fds);
    after_message();
  }

  void malformed_message() {
    VhostUserHeader header = {static_cast<uint32_t>(random_.next()), static_cast<uint32_t>(random_.next()),
                              static_cast<uint32_t>(random_.next())};
    if (random_.one_in(2))
      header = {static_cast<uint32_t>(random_.below(44)), kVersion, static_cast<uint32_t>(random_.below(600))};
    // Less than promised; the rest never comes, or the connection ends there.
    driver_->send_raw(&header, 1 + random_.below(sizeof header));
    driver_->pump();
    replace_connection();
  }

  void random_bytes() {
    std::vector<uint8_t> bytes(1 + random_.below(2000));
    for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random_.next());
    driver_->send_raw(bytes.data(), bytes.size());
    driver_->pump();
    replace_connection();
  }

  void wrong_descriptors() {
    const R request = random_.pick(
        {R::kSetVringKick, R::kSetVringCall, R::kSetVringErr, R::kSetMemTable, R::kAddMemReg, R::kSetBackendReqFd});
    std::vector<int> fds(random_.below(12), some_fd());
    if (request == R::kSetMemTable) {
      VhostUserMemoryTable table = {};
      table.region_count = static_cast<uint32_t>(random_.below(10));
      for (VhostUserMemoryRegion& region : table.regions)
        region = {some_address(), some_size(), some_user_addr(), random_.next() % 8192};
      driver_->send(request, table, fds);
    } else if (request == R::kAddMemReg) {
      driver_->send(request, VhostUserSingleRegion{0, {some_address(), some_size(), some_user_addr(), 0}}, fds);
    } else {
      driver_->send(request, random_.below(600), fds);
    }
    after_message();
  }

  /// The front-end changes its mind while requests are in the host's hands.
  void in_flight_mischief() {
    bed_.host.hold = true;
    choose_ring();
    for (int i = 0; i < 2; ++i) {
      const uint32_t length =
          write_request(driver_->memory(), kRequest, random_.pick({FUSE_READ, FUSE_WRITE, FUSE_GETATTR}), 1,
                        std::vector<uint8_t>(200));
      driver_->add_chain(ring_index_, {{kRequest, length}}, {{kReply, 4096}});
    }
    driver_->publish(ring_index_, true);
    driver_->pump();
    switch (random_.below(6)) {
      case 0:
        driver_->replace_memory();
        driver_->share_memory();
        break;
      case 1:
        driver_->send(R::kResetDevice);
        break;
      case 2:
        driver_->send(R::kGetVringBase, VhostUserVringState{ring_index_, 0});
        break;
      case 3:
        CHECK_EQ(::ftruncate(driver_->memory().fd(), 0), 0);
        break;
      case 4:
        replace_connection();
        break;
      case 5: {
        VhostUserMemoryTable none = {};
        driver_->send(R::kSetMemTable, &none, kMemoryTableHeadBytes);
        break;
      }
    }
    driver_->pump();
    bed_.host.complete_held(*bed_.device, random_.one_in(2));
    driver_->pump();
    dirty_ = true;
  }

  uint64_t some_user_addr() {
    return random_.one_in(2) ? MockMemory::kUserAddr + 16 * random_.below(MockMemory::kBytes / 16) : some_address();
  }
  uint64_t some_size() {
    return random_.pick({uint64_t{0}, uint64_t{4096}, MockMemory::kBytes, MockMemory::kBytes + 1, random_.next()});
  }
  int some_fd() { return random_.pick({driver_->memory().fd(), spare_event_.get(), null_.get(), pipe_.get()}); }

  void after_message() {
    driver_->pump();
    dirty_ = true;
  }

  void replace_connection() {
    driver_.reset();
    pump(*bed_.device);
    reconnect();
  }

  static UniqueFd a_pipe() {
    int fds[2];
    CHECK_EQ(::pipe2(fds, O_CLOEXEC), 0);
    ::close(fds[1]);
    return UniqueFd(fds[0]);
  }

  TestBed& bed_;
  Random random_;
  RingOptions options_;
  std::unique_ptr<MockDriver> driver_;
  uint32_t ring_index_ = 0;
  uint64_t last_ = 0;
  bool dirty_ = false;
  UniqueFd spare_event_{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  UniqueFd null_{::open("/dev/null", O_RDWR | O_CLOEXEC)};
  UniqueFd pipe_ = a_pipe();
};

}  // namespace

TEST("hostile: thousands of cases, and the device answers after each") {
  const uint64_t seed = environment("OVFSD_FUZZ_SEED", std::random_device()());
  const uint64_t cases = environment("OVFSD_FUZZ_CASES", 6000);
  std::printf("        OVFSD_FUZZ_SEED=%llu OVFSD_FUZZ_CASES=%llu\n", static_cast<unsigned long long>(seed),
              static_cast<unsigned long long>(cases));
  TestBed bed({1, 64, 20});
  pump(*bed.device);
  const size_t fds_before = open_fds();
  const size_t maps_before = guest_mappings();
  {
    Attacker attacker(bed, seed);
    for (uint64_t i = 0; i < cases; ++i) {
      try {
        attacker.one_case();
        attacker.check_alive();
      } catch (const CheckFailed& failure) {
        throw CheckFailed("case " + std::to_string(i) + " of kind " + std::to_string(attacker.kind()) + ": " +
                          failure.what() + " [" + bed.host.last_detail + "]");
      }
    }
    std::printf("        %llu restarts of the rings, %llu new connections\n",
                static_cast<unsigned long long>(attacker.restarts),
                static_cast<unsigned long long>(attacker.reconnects));
    attacker.disconnect();
  }
  CHECK_EQ(open_fds(), fds_before);
  CHECK_EQ(guest_mappings(), maps_before);
  CHECK_EQ(bed.device->requests().arena().in_flight(), 0u);
  CHECK_EQ(bed.device->mapped_regions(), 0u);
  CHECK_EQ(bed.device->requests().counters().ignored_completions, 0u);
}

TEST("hostile: a guest that rewrites its memory while the device reads it") {
  const uint64_t seed = environment("OVFSD_FUZZ_SEED", std::random_device()());
  std::printf("        OVFSD_FUZZ_SEED=%llu\n", static_cast<unsigned long long>(seed));
  TestBed bed;
  MockDriver driver = bed.connect();
  const RingOptions options = {.size = 64};
  driver.set_up(options);
  MockVring& ring = driver.vring(1);
  uint8_t* const requests = driver.memory().at(kRequest);
  for (uint32_t i = 0; i < 64; ++i) {
    ring.desc[i] = {MockMemory::kGpa + kRequest + i * 256, 56, kDescFNext, static_cast<uint16_t>((i + 1) % 64)};
    if (i % 2 == 1) ring.desc[i] = {MockMemory::kGpa + kReply + i * 256, 120, kDescFWrite, 0};
    write_request(driver.memory(), kRequest + i * 256, FUSE_GETATTR, i, std::vector<uint8_t>(16));
  }
  std::atomic<bool> stop = false;
  std::thread guest([&] {
    Random random(seed);
    const auto scribble = [&](void* target, uint64_t value) {
      __atomic_store_n(static_cast<uint32_t*>(target), static_cast<uint32_t>(value), __ATOMIC_RELAXED);
    };
    while (!stop.load(std::memory_order_relaxed)) {
      auto* words = reinterpret_cast<uint32_t*>(&ring.desc[random.below(64)]);
      const uint32_t saved = words[2];
      scribble(&words[2], random.pick({uint64_t{0}, uint64_t{56}, uint64_t{UINT32_MAX}, random.next()}));
      scribble(requests + random.below(64) * 256, random.pick({uint64_t{56}, uint64_t{0}, random.next()}));
      scribble(&words[2], saved);
    }
  });
  uint32_t restarts = 0;
  for (int round = 0; round < 20000; ++round) {
    driver.add_head(1, static_cast<uint16_t>(2 * (round % 32)));
    if (round % 8 == 7) {
      driver.publish(1, true);
      driver.pump();
      driver.take_used(1);
      driver.take_used(0);
    }
    if (bed.host.count_events("vring-broken") > 0) {
      bed.host.events.clear();
      driver.stop_vring(1);
      CHECK(driver.acknowledged(R::kSetVringBase, VhostUserVringState{1, ring.used->idx}));
      ring.next_avail = ring.avail->idx = ring.seen_used = ring.used->idx;
      const auto offset_of = [&](const void* p) {
        return MockMemory::kUserAddr + static_cast<uint64_t>(static_cast<const uint8_t*>(p) - driver.memory().at(0));
      };
      CHECK(driver.acknowledged(R::kSetVringAddr, VhostUserVringAddr{1, 0, offset_of(ring.desc), offset_of(ring.used),
                                                                     offset_of(ring.avail), 0}));
      CHECK(driver.acknowledged(R::kSetVringKick, uint64_t{1}, {ring.kick.get()}));
      ++restarts;
    }
  }
  stop = true;
  guest.join();
  CHECK(driver.probe(0));
  driver.stop_vring(1);
  driver.start_vring(1, options);
  CHECK(driver.probe(1));
  CHECK_EQ(bed.device->requests().arena().in_flight(), 0u);
  std::printf("        %u restarts of the ring\n", restarts);
}
