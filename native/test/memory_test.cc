// Guest memory: translation, the memory table's messages, files that shrink.
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>

#include "../src/refusal.h"
#include "check.h"
#include "test_bed.h"

using namespace ovfsd;
using namespace ovfsd::test;

namespace {

using R = VhostUserRequest;
constexpr uint64_t kRequest = MockDriver::kDataOffset;
constexpr uint64_t kReply = MockDriver::kDataOffset + (1 << 20);

GuestMemory::Region region(const MockMemory& memory, RegionDescription description) {
  return std::make_shared<const MappedRegion>(description, memory.fd());
}

bool refused(const MockMemory& memory, RegionDescription description) {
  try {
    region(memory, description);
  } catch (const Refusal&) {
    return true;
  }
  return false;
}

void submit(MockDriver& driver) {
  const uint32_t length = write_request(driver.memory(), kRequest, FUSE_WRITE, 1, std::vector<uint8_t>(4096, 0x77));
  driver.add_chain(1, {{kRequest, length}}, {{kReply, 120}});
  driver.publish(1);
  driver.pump();
}

}  // namespace

TEST("memory: translation at every border") {
  const MockMemory file;
  // Two that touch, a hole, one at the end of the address space.
  const uint64_t top = UINT64_MAX - 0x1000;
  const auto memory =
      GuestMemory::of({region(file, {top, 0x1000, 0x900000, 0x3000}), region(file, {0x1000, 0x1000, 0x500000, 0}),
                       region(file, {0x2000, 0x800, 0x700000, 0x2000})});
  const auto length_at = [&](uint64_t gpa, uint64_t length) { return memory->at_gpa(gpa, length).length_bytes; };
  CHECK_EQ(length_at(0, 1), 0u);
  CHECK_EQ(length_at(0xfff, 2), 0u);
  CHECK_EQ(length_at(0x1000, 1), 1u);
  CHECK_EQ(length_at(0x1fff, 100), 1u);
  CHECK_EQ(length_at(0x1000, UINT64_MAX), 0x1000u);
  CHECK_EQ(length_at(0x2000, 0x800), 0x800u);
  CHECK_EQ(length_at(0x27ff, 0x800), 1u);
  CHECK_EQ(length_at(0x2800, 1), 0u);
  CHECK_EQ(length_at(top - 1, 1), 0u);
  CHECK_EQ(length_at(top, UINT64_MAX), 0x1000u);
  CHECK_EQ(length_at(UINT64_MAX, 1), 0u);
  *file.at(0x2004) = 0xab;
  CHECK_EQ(*memory->at_gpa(0x2004, 1).data, 0xabu);

  CHECK(memory->at_user_addr(0x500000, 0x1000) != nullptr);
  CHECK(memory->at_user_addr(0x500000, 0x1001) == nullptr);
  CHECK(memory->at_user_addr(0x500fff, 1) != nullptr);
  CHECK(memory->at_user_addr(0x501000, 1) == nullptr);
  CHECK(memory->at_user_addr(0x500001, UINT64_MAX) == nullptr);
  CHECK(memory->at_user_addr(UINT64_MAX, 1) == nullptr);
  CHECK(memory->at_user_addr(0, 0) == nullptr);
}

TEST("memory: regions that can't be") {
  const MockMemory file;
  constexpr uint64_t kBytes = MockMemory::kBytes;
  CHECK(refused(file, {0, 0, 0, 0}));
  CHECK(refused(file, {0, kBytes + 1, 0, 0}));
  CHECK(refused(file, {0, kBytes, 0, 1}));
  CHECK(refused(file, {0, 4096, 0, kBytes}));
  CHECK(refused(file, {0, 4096, 0, UINT64_MAX - 4095}));
  CHECK(refused(file, {0, 4096, 0, UINT64_MAX}));
  CHECK(refused(file, {UINT64_MAX - 4094, 4096, 0, 0}));
  CHECK(refused(file, {0, 4096, UINT64_MAX - 4094, 0}));
  CHECK(!refused(file, {0, kBytes, 0, 0}));
  // An offset that is not a page's.
  *file.at(12345) = 0x42;
  const auto odd = region(file, {0, 100, 0, 12345});
  CHECK_EQ(*odd->host(), 0x42u);
}

TEST("memory: regions may not overlap and are limited in number") {
  const MockMemory file;
  const auto a = region(file, {0x10000, 0x1000, 0x10000, 0});
  const auto snapshot = GuestMemory::of({a});
  const auto overlaps = [&](RegionDescription description) {
    try {
      snapshot->with(region(file, description));
    } catch (const Refusal&) {
      return true;
    }
    return false;
  };
  CHECK(overlaps({0x10fff, 0x1000, 0x90000, 0}));
  CHECK(overlaps({0xf001, 0x1000, 0x90000, 0}));
  CHECK(overlaps({0x90000, 0x1000, 0x10fff, 0}));
  CHECK(!overlaps({0x11000, 0x1000, 0x11000, 0}));
  std::vector<GuestMemory::Region> many;
  for (uint64_t i = 0; i < GuestMemory::kMaxRegions; ++i)
    many.push_back(region(file, {i * 0x1000, 0x1000, i * 0x1000, 0}));
  const auto full = GuestMemory::of(many);
  bool full_refuses = false;
  try {
    full->with(region(file, {0x10000000, 0x1000, 0x10000000, 0}));
  } catch (const Refusal&) {
    full_refuses = true;
  }
  CHECK(full_refuses);
}

TEST("memory: slots are added and removed while the rings run") {
  TestBed bed;
  MockDriver driver = bed.connect();
  const RingOptions options;
  driver.negotiate(options);
  const VhostUserSingleRegion low = {0, driver.memory().region(0, MockMemory::kSplit)};
  const VhostUserSingleRegion high = {0, driver.memory().region(MockMemory::kSplit)};
  CHECK(driver.acknowledged(R::kAddMemReg, low, {driver.memory().fd()}));
  for (uint32_t i = 0; i < 2; ++i) driver.start_vring(i, options);
  CHECK(driver.probe(1));
  const size_t mappings = guest_mappings();
  const size_t fds = open_fds();
  for (int i = 0; i < 20; ++i) {
    CHECK(driver.acknowledged(R::kAddMemReg, high, {driver.memory().fd()}));
    CHECK_EQ(bed.device->mapped_regions(), 2u);
    CHECK_EQ(guest_mappings(), mappings + 1);
    CHECK(!driver.acknowledged(R::kAddMemReg, high, {driver.memory().fd()}));
    CHECK(driver.probe(1));
    // Some front-ends send the descriptor again.
    CHECK(driver.acknowledged(R::kRemMemReg, high,
                              i % 2 == 0 ? std::vector<int>{} : std::vector<int>{driver.memory().fd()}));
    CHECK(!driver.acknowledged(R::kRemMemReg, high));
    CHECK_EQ(guest_mappings(), mappings);
    CHECK(driver.probe(1));
  }
  CHECK_EQ(open_fds(), fds);
  // The region under the rings: they can't go on, the device can.
  CHECK(driver.acknowledged(R::kRemMemReg, low));
  CHECK_EQ(bed.host.count_events("vring-broken"), 2u);
  CHECK_EQ(driver.take_errors(1), 1u);
  CHECK_EQ(guest_mappings(), mappings);  // still held by the rings that have not been stopped
  driver.stop_vring(0);
  driver.stop_vring(1);
  CHECK_EQ(guest_mappings(), mappings - 1);
  CHECK(driver.acknowledged(R::kAddMemReg, low, {driver.memory().fd()}));
  for (uint32_t i = 0; i < 2; ++i) driver.start_vring(i, options);
  CHECK(driver.probe(1));
}

TEST("memory: a request in flight keeps the table that it came with") {
  TestBed bed;
  bed.host.hold = true;
  MockDriver driver = bed.connect();
  const RingOptions options;
  driver.negotiate(options);
  const VhostUserSingleRegion low = {0, driver.memory().region(0, MockMemory::kSplit)};
  const VhostUserSingleRegion high = {0, driver.memory().region(MockMemory::kSplit)};
  CHECK(driver.acknowledged(R::kAddMemReg, low, {driver.memory().fd()}));
  CHECK(driver.acknowledged(R::kAddMemReg, high, {driver.memory().fd()}));
  for (uint32_t i = 0; i < 2; ++i) driver.start_vring(i, options);
  const uint64_t at = MockMemory::kSplit + 4096;
  const uint32_t length = write_request(driver.memory(), at, FUSE_GETATTR, 8, std::vector<uint8_t>(16));
  driver.add_chain(1, {{at, length}}, {{at + 4096, 120}});
  driver.publish(1);
  driver.pump();
  const size_t mappings = guest_mappings();
  CHECK(driver.acknowledged(R::kRemMemReg, high));
  CHECK_EQ(guest_mappings(), mappings);
  bed.host.complete_held(*bed.device);
  CHECK_EQ(read_reply(driver.memory(), at + 4096).unique, 8u);
  CHECK_EQ(driver.take_used(1).size(), 1u);
  CHECK_EQ(guest_mappings(), mappings - 1);
  // The next one into the removed region breaks the ring.
  driver.add_chain(1, {{at, length}}, {{at + 4096, 120}});
  driver.publish(1);
  driver.pump();
  CHECK_EQ(bed.host.count_events("vring-broken"), 1u);
}

TEST("memory: a new table replaces the old one") {
  TestBed bed;
  MockDriver driver = bed.connect();
  driver.set_up();
  const size_t mappings = guest_mappings();
  for (int i = 0; i < 20; ++i) {
    driver.share_memory(i % 2 == 0);
    CHECK(driver.probe(1));
    CHECK_EQ(guest_mappings(), mappings + (i % 2 == 0 ? 1u : 0u));
  }
}

TEST("memory: a file that shrinks under the device costs the connection, not the daemon") {
  for (int stage = 0; stage < 4; ++stage) {
    TestBed bed;
    MockDriver driver = bed.connect();
    driver.set_up();
    CHECK(driver.probe(1));
    // From here on only the device touches this memory: the mock's own mapping would fault without a guard.
    switch (stage) {
      case 0: {  // the rings are gone
        CHECK_EQ(::ftruncate(driver.memory().fd(), 0), 0);
        const uint64_t one = 1;
        CHECK_EQ(::write(driver.vring(1).kick.get(), &one, sizeof one), 8);
        break;
      }
      case 1: {  // the request is gone, the rings are not
        const uint32_t length = write_request(driver.memory(), kRequest, FUSE_GETATTR, 1, std::vector<uint8_t>(16));
        driver.add_chain(1, {{kRequest, length}}, {{kReply, 120}});
        CHECK_EQ(::ftruncate(driver.memory().fd(), kRequest), 0);
        bed.host.bursts.clear();
        driver.publish(1, true);
        break;
      }
      case 2: {  // between the request and the pull of its payload
        bed.host.hold = true;
        submit(driver);
        const uint32_t slot = bed.host.held.at(0);
        CHECK_EQ(::ftruncate(driver.memory().fd(), kRequest), 0);
        std::memset(bed.pool->data(), 0x11, 4096);
        CHECK_EQ(bed.device->requests().pull(slot, 80, bed.pool->data(), 4000), 0u);
        bed.host.held.clear();
        put_done(*bed.device, {slot});
        bed.device->complete(1);
        break;
      }
      case 3: {  // the reply's place is gone
        bed.host.hold = true;
        submit(driver);
        CHECK_EQ(::ftruncate(driver.memory().fd(), kReply), 0);
        bed.host.complete_held(*bed.device);
        break;
      }
    }
    CHECK(driver.dropped());
    CHECK(bed.host.last_detail.find("truncated") != std::string::npos);
    CHECK(bed.host.bursts.size() <= 1 + (stage == 2 || stage == 3 ? 1u : 0u));
    CHECK_EQ(bed.device->requests().arena().in_flight(), 0u);
    bed.host.hold = false;
    MockDriver next = bed.connect();
    next.set_up();
    CHECK(next.probe(1));
  }
}

TEST("memory: a trip of one device does not disturb another") {
  TestBed first;
  TestBed second;
  second.host.hold = true;
  MockDriver bad = first.connect();
  MockDriver good = second.connect();
  bad.set_up();
  good.set_up();
  submit(good);
  CHECK_EQ(::ftruncate(bad.memory().fd(), 0), 0);
  const uint64_t one = 1;
  CHECK_EQ(::write(bad.vring(1).kick.get(), &one, sizeof one), 8);
  CHECK(bad.dropped());
  second.host.complete_held(*second.device);
  CHECK_EQ(second.host.pulled_bytes, 4096u - sizeof(fuse_write_in));
  CHECK_EQ(good.take_used(1).size(), 1u);
  second.host.hold = false;
  CHECK(good.probe(1));
}
