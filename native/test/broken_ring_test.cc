// Every way in which a guest can break a ring, one by one: marked once, told by name, and the others go on.
#include <cstring>
#include <functional>

#include "check.h"
#include "test_bed.h"

using namespace ovfsd;
using namespace ovfsd::test;

namespace {

using R = VhostUserRequest;
constexpr uint32_t kSize = 64;
constexpr uint64_t kRequest = MockDriver::kDataOffset;
constexpr uint64_t kReply = MockDriver::kDataOffset + 4096;
constexpr uint64_t kTable = MockDriver::kDataOffset + 8192;
constexpr uint64_t kEnd = MockMemory::kGpa + MockMemory::kBytes;

VringDesc readable(uint16_t next) { return {MockMemory::kGpa + kRequest, 56, kDescFNext, next}; }
VringDesc writable() { return {MockMemory::kGpa + kReply, 120, kDescFWrite, 0}; }
VringDesc indirect(uint32_t entries) { return {MockMemory::kGpa + kTable, entries * 16, kDescFIndirect, 0}; }

struct Case {
  const char* reason;
  std::function<void(MockDriver&, VringDesc* desc, VringDesc* table)> set_up;
};

const std::vector<Case> kChains = {
    {"a descriptor's index is beyond its table",
     [](MockDriver&, VringDesc* desc, VringDesc*) {
       // What lies behind the table would be a perfect descriptor.
       desc[0] = readable(kSize);
       desc[kSize] = writable();
     }},
    {"a descriptor's index is beyond its table",
     [](MockDriver&, VringDesc* desc, VringDesc* table) {
       desc[0] = indirect(2);
       table[0] = readable(2);
       table[2] = writable();
     }},
    {"a descriptor chain loops or is too long",
     [](MockDriver&, VringDesc* desc, VringDesc*) { desc[0] = readable(0); }},
    {"a descriptor chain loops or is too long",
     [](MockDriver&, VringDesc* desc, VringDesc* table) {
       desc[0] = indirect(kMinChainLimit + 1);
       for (uint16_t i = 0; i <= kMinChainLimit; ++i) {
         table[i] = {MockMemory::kGpa + kReply, 1, kDescFNext, static_cast<uint16_t>(i + 1)};
       }
       table[kMinChainLimit].flags = 0;
     }},
    {"a descriptor points outside the guest's memory",
     [](MockDriver&, VringDesc* desc, VringDesc*) {
       desc[0] = readable(1);
       desc[1] = {kEnd - 100, 101, kDescFWrite, 0};
     }},
    {"a descriptor points outside the guest's memory",
     [](MockDriver&, VringDesc* desc, VringDesc*) { desc[0] = {MockMemory::kGpa - 1, 56, 0, 0}; }},
    {"a descriptor points outside the guest's memory",
     [](MockDriver&, VringDesc* desc, VringDesc*) { desc[0] = {UINT64_MAX - 10, 56, 0, 0}; }},
    {"a descriptor points outside the guest's memory",
     [](MockDriver&, VringDesc* desc, VringDesc*) { desc[0] = {kEnd - 16, 32, kDescFIndirect, 0}; }},
    {"a readable descriptor follows a writable one",
     [](MockDriver&, VringDesc* desc, VringDesc*) {
       desc[0] = writable();
       desc[0].flags |= kDescFNext;
       desc[0].next = 1;
       desc[1] = readable(0);
       desc[1].flags = 0;
     }},
    {"a descriptor chain describes more than 4 GiB",
     [](MockDriver&, VringDesc* desc, VringDesc* table) {
       // 257 times 16 MiB, all of it there.
       desc[0] = indirect(257);
       for (uint16_t i = 0; i < 257; ++i) {
         table[i] = {MockMemory::kGpa, static_cast<uint32_t>(MockMemory::kBytes), kDescFNext,
                     static_cast<uint16_t>(i + 1)};
       }
       table[256].flags = 0;
     }},
    {"an indirect descriptor with a next one",
     [](MockDriver&, VringDesc* desc, VringDesc* table) {
       desc[0] = indirect(2);
       desc[0].flags |= kDescFNext;
       desc[0].next = 1;
       desc[1] = writable();
       table[0] = readable(1);
       table[1] = writable();
     }},
    {"an indirect descriptor within an indirect table",
     [](MockDriver&, VringDesc* desc, VringDesc* table) {
       desc[0] = indirect(2);
       table[0] = readable(1);
       table[1] = {MockMemory::kGpa + kTable + 64, 16, kDescFIndirect, 0};
       table[4] = writable();
     }},
    {"an indirect table's length is not a positive multiple of 16",
     [](MockDriver&, VringDesc* desc, VringDesc* table) {
       desc[0] = {MockMemory::kGpa + kTable, 40, kDescFIndirect, 0};
       table[0] = readable(1);
       table[1] = writable();
     }},
    {"an indirect table's length is not a positive multiple of 16",
     [](MockDriver&, VringDesc* desc, VringDesc*) { desc[0] = {MockMemory::kGpa + kTable, 0, kDescFIndirect, 0}; }},
};

void check_broken(TestBed& bed, MockDriver& driver, const char* reason) {
  CHECK_EQ(bed.host.count_events("vring-broken"), 1u);
  CHECK_EQ(bed.host.last_detail, std::string(reason));
  CHECK_EQ(driver.take_errors(1), 1u);
  CHECK_EQ(driver.take_used(1).size(), 0u);
  // Ignored from now on, and not told again; the other ring goes on.
  for (int i = 0; i < 3; ++i) {
    driver.publish(1, true);
    driver.pump();
  }
  CHECK_EQ(bed.host.count_events("vring-broken"), 1u);
  CHECK(driver.probe(0));
  CHECK_EQ(bed.device->requests().arena().in_flight(), 0u);
  // Until it is set up anew.
  driver.stop_vring(1);
  driver.start_vring(1, {.size = kSize});
  CHECK(driver.probe(1));
}

}  // namespace

TEST("broken ring: malformed chains") {
  for (const Case& c : kChains) {
    TestBed bed;
    MockDriver driver = bed.connect();
    driver.set_up({.size = kSize});
    write_request(driver.memory(), kRequest, FUSE_GETATTR, 1, std::vector<uint8_t>(16));
    c.set_up(driver, driver.vring(1).desc, reinterpret_cast<VringDesc*>(driver.memory().at(kTable)));
    driver.add_head(1, 0);
    driver.publish(1);
    driver.pump();
    check_broken(bed, driver, c.reason);
    CHECK(bed.host.bursts.size() == 2);  // the two probes: nothing of the chain reached the host
  }
}

TEST("broken ring: an indirect table that was not negotiated") {
  TestBed bed;
  MockDriver driver = bed.connect();
  driver.set_up({.size = kSize, .indirect = false});
  driver.vring(1).desc[0] = indirect(2);
  driver.add_head(1, 0);
  driver.publish(1);
  driver.pump();
  CHECK_EQ(bed.host.count_events("vring-broken"), 1u);
  CHECK_EQ(bed.host.last_detail, "an indirect descriptor without VIRTIO_RING_F_INDIRECT_DESC");
}

TEST("broken ring: head and avail indices") {
  for (const uint32_t jump : {kSize + 1, 2 * kSize, 0x8000u, 0xffffu}) {
    TestBed bed;
    MockDriver driver = bed.connect();
    driver.set_up({.size = kSize});
    driver.vring(1).next_avail = static_cast<uint16_t>(jump);
    driver.publish(1, true);
    driver.pump();
    check_broken(bed, driver, "the avail index is further ahead than the ring is long");
  }
  TestBed bed;
  MockDriver driver = bed.connect();
  driver.set_up({.size = kSize});
  driver.add_head(1, kSize);
  driver.publish(1);
  driver.pump();
  check_broken(bed, driver, "a head index is beyond the descriptor table");
}

TEST("broken ring: more chains offered than the ring can give back") {
  TestBed bed({1, 256, 0});
  bed.host.hold = true;
  MockDriver driver = bed.connect();
  driver.set_up({.size = kSize, .indirect = false});
  const uint32_t length = write_request(driver.memory(), kRequest, FUSE_GETATTR, 1, std::vector<uint8_t>(16));
  driver.vring(1).desc[0] = {MockMemory::kGpa + kRequest, length, 0, 0};
  // One head over and over: the ring is full after 64, whatever the driver says.
  for (uint32_t i = 0; i < kSize; ++i) driver.add_head(1, 0);
  driver.publish(1);
  driver.pump();
  CHECK_EQ(bed.host.held.size(), kSize);
  driver.add_head(1, 0);
  driver.publish(1, true);
  driver.pump();
  CHECK_EQ(bed.host.held.size(), kSize);
  CHECK_EQ(bed.host.count_events("vring-broken"), 1u);
  // The answers of a broken ring go nowhere.
  bed.host.complete_held(*bed.device);
  CHECK_EQ(driver.take_used(1).size(), 0u);
  CHECK_EQ(bed.device->requests().arena().in_flight(), 0u);
}

TEST("broken ring: a base that does not fit the used index is refused") {
  TestBed bed;
  MockDriver driver = bed.connect();
  driver.set_up({.size = kSize});
  MockVring& ring = driver.vring(1);
  CHECK_EQ(driver.stop_vring(1), 0u);
  ring.used->idx = 100;
  CHECK(driver.acknowledged(R::kSetVringBase, VhostUserVringState{1, 1000}));
  const auto offset_of = [&](const void* p) {
    return MockMemory::kUserAddr + static_cast<uint64_t>(static_cast<const uint8_t*>(p) - driver.memory().at(0));
  };
  const VhostUserVringAddr addr = {1, 0, offset_of(ring.desc), offset_of(ring.used), offset_of(ring.avail), 0};
  CHECK(driver.acknowledged(R::kSetVringAddr, addr));
  CHECK(!driver.acknowledged(R::kSetVringKick, uint64_t{1}, {ring.kick.get()}));
  CHECK_EQ(driver.take_errors(1), 1u);
  // Requests that were lost with an earlier daemon lie between the two: that is fine.
  CHECK(driver.acknowledged(R::kSetVringBase, VhostUserVringState{1, 100 + kSize}));
  CHECK(driver.acknowledged(R::kSetVringKick, uint64_t{1}, {ring.kick.get()}));
}
