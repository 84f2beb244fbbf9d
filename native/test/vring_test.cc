// A Vring alone: the moments between two instructions that no driver on a thread hits reliably.
#include <cstring>

#include "check.h"
#include "mock_driver.h"

using namespace ovfsd;
using namespace ovfsd::test;

namespace {

struct RingBed {
  static constexpr uint32_t kSize = 8;
  static constexpr uint64_t kAvail = 4096;
  static constexpr uint64_t kUsed = 8192;

  explicit RingBed(bool event_idx) {
    vring.size = kSize;
    vring.addresses = {MockMemory::kUserAddr, MockMemory::kUserAddr + kUsed, MockMemory::kUserAddr + kAvail};
    vring.has_addresses = vring.enabled = true;
    const VhostUserMemoryRegion region = file.region();
    const RegionDescription description = {region.guest_phys_addr, region.memory_size, region.userspace_addr, 0};
    const auto memory = GuestMemory::of({std::make_shared<const MappedRegion>(description, file.fd())});
    CHECK(vring.resolve(memory) == nullptr);
    CHECK(vring.start(event_idx, true) == nullptr);
  }

  void offer() {
    avail->ring[avail->idx % kSize] = 0;
    ++avail->idx;
  }

  MockMemory file;
  VringAvail* avail = reinterpret_cast<VringAvail*>(file.at(kAvail));
  VringUsed* used = reinterpret_cast<VringUsed*>(file.at(kUsed));
  uint16_t& avail_event = *reinterpret_cast<uint16_t*>(&used->ring[kSize]);
  Vring vring;
};

}  // namespace

TEST("vring: a chain that comes between the last look and the wish for kicks is seen") {
  for (const bool event_idx : {true, false}) {
    RingBed bed(event_idx);
    uint16_t head;
    CHECK(bed.vring.pop(head) == Vring::Pop::kEmpty);
    bed.offer();  // the driver does not kick: it has not been asked to
    CHECK(bed.vring.enable_kicks());
    bed.vring.suppress_kicks();
    CHECK(bed.vring.pop(head) == Vring::Pop::kHead);
    CHECK(!bed.vring.enable_kicks());
  }
}

TEST("vring: kicks are asked for and put off as the driver understands it") {
  RingBed flags(false);
  flags.vring.enable_kicks();
  CHECK_EQ(flags.used->flags, 0u);
  flags.vring.suppress_kicks();
  CHECK_EQ(flags.used->flags, kUsedFNoNotify);
  RingBed events(true);
  uint16_t head;
  for (uint16_t i = 1; i <= 20; ++i) {
    events.offer();
    CHECK(events.vring.pop(head) == Vring::Pop::kHead);
    events.vring.suppress_kicks();
    CHECK(events.avail_event != i);  // stays behind: no kick for what follows
    events.vring.push_used(head, 0);
    events.vring.publish_used();
    CHECK(!events.vring.enable_kicks());
    CHECK_EQ(events.avail_event, i);
  }
}

TEST("vring: event_idx is compared on 16 bits") {
  CHECK(passed_event(0, 1, 0));
  CHECK(!passed_event(1, 1, 0));
  CHECK(passed_event(0xffff, 0, 0xffff));
  CHECK(passed_event(0xfffe, 3, 0xfff0));
  CHECK(!passed_event(3, 3, 0xfff0));
  CHECK(!passed_event(0xfff0 - 1, 3, 0xfff0));
}
