// Requests through a well-behaved driver.
#include <cerrno>
#include <cstring>

#include "check.h"
#include "test_bed.h"

using namespace ovfsd;
using namespace ovfsd::test;

namespace {

constexpr uint64_t kRequest = MockDriver::kDataOffset;
constexpr uint64_t kReply = MockDriver::kDataOffset + (1 << 20);

/// The variants of a ring that every driver may choose from.
const std::vector<RingOptions> kVariants = {
    {.size = 64, .event_idx = true, .indirect = true},
    {.size = 64, .event_idx = true, .indirect = false},
    {.size = 64, .event_idx = false, .indirect = true},
    {.size = 64, .event_idx = false, .indirect = false},
};

void check_read(MockDriver& driver, const SlabMemory& pool, const std::vector<Buffer>& writable, uint32_t data_bytes) {
  const uint32_t length = write_request(driver.memory(), kRequest, FUSE_READ, 77, std::vector<uint8_t>(40));
  std::memset(driver.memory().at(kReply), 0xee, 2 << 20);
  driver.add_chain(1, {{kRequest, length}}, writable);
  driver.publish(1);
  driver.pump();
  const auto used = driver.take_used(1);
  CHECK_EQ(used.size(), 1u);
  CHECK_EQ(used[0].len, 16 + data_bytes);
  std::vector<uint8_t> bytes;
  for (const Buffer& buffer : writable) {
    bytes.insert(bytes.end(), driver.memory().at(buffer.offset), driver.memory().at(buffer.offset) + buffer.length);
  }
  fuse_out_header header;
  std::memcpy(&header, bytes.data(), sizeof header);
  CHECK_EQ(header.unique, 77u);
  CHECK_EQ(header.error, 0);
  CHECK_EQ(header.len, 16 + data_bytes);
  CHECK(std::memcmp(bytes.data() + 16, pool.data(), data_bytes) == 0);
}

}  // namespace

TEST("requests: every ring variant answers and counts") {
  for (const RingOptions& options : kVariants) {
    TestBed bed;
    MockDriver driver = bed.connect();
    driver.set_up(options);
    for (int i = 0; i < 500; ++i) CHECK(driver.probe(static_cast<uint32_t>(i % 2)));
    CHECK_EQ(bed.device->requests().counters().requests, 500u);
    CHECK_EQ(bed.device->requests().arena().in_flight(), 0u);
    CHECK_EQ(driver.stop_vring(0), 250u);
    CHECK_EQ(driver.stop_vring(1), 250u);
    CHECK_EQ(bed.host.count_events("vring-broken"), 0u);
  }
}

TEST("requests: a burst tells whose requests it answered, of which kind, with how much data") {
  constexpr uint64_t kDistance = 8192;
  TestBed bed;
  MockDriver driver = bed.connect();
  driver.set_up({.size = 64, .event_idx = true, .indirect = true});
  const auto burst = [&](const std::vector<uint32_t>& opcodes) {
    for (uint32_t i = 0; i < opcodes.size(); ++i) {
      const uint64_t at = kRequest + i * kDistance;
      const uint32_t length = write_request(driver.memory(), at, opcodes[i], 1 + i, std::vector<uint8_t>(40));
      driver.add_chain(1, {{at, length}}, {{kReply + i * kDistance, 16 + 4096}});
    }
    driver.publish(1);
    driver.pump();
    CHECK_EQ(driver.take_used(1).size(), opcodes.size());
  };
  using Run = std::vector<double>;
  const auto runs = [&] {
    RequestArena& arena = bed.device->requests().arena();
    std::vector<Run> all;
    for (uint32_t i = 0; i < arena.burst().runs; ++i) {
      const BurstRun& run = arena.runs()[i];
      all.push_back({run.counters, run.opcode, run.error_number, run.count, run.data_bytes});
    }
    return all;
  };
  burst({FUSE_GETATTR});
  CHECK(runs().empty());  // nobody's

  bed.host.counters = {7};
  burst({FUSE_READ, FUSE_READ, FUSE_READ});
  CHECK((runs() == std::vector<Run>{{7, FUSE_READ, 0, 3, 3 * 4096}}));
  burst({FUSE_GETATTR, FUSE_READ, FUSE_RENAME, FUSE_RENAME});
  CHECK((runs() ==
         std::vector<Run>{{7, FUSE_GETATTR, 0, 1, 0}, {7, FUSE_READ, 0, 1, 4096}, {7, FUSE_RENAME, ENOSYS, 2, 0}}));

  bed.host.counters = {7, 9};
  burst({FUSE_READ, FUSE_READ, FUSE_GETATTR});
  CHECK((runs() ==
         std::vector<Run>{{7, FUSE_READ, 0, 1, 4096}, {9, FUSE_READ, 0, 1, 4096}, {7, FUSE_GETATTR, 0, 1, 0}}));

  // What is answered later is no part of a burst.
  bed.host.counters = {7};
  bed.host.hold = true;
  const uint32_t length = write_request(driver.memory(), kRequest, FUSE_GETATTR, 1, {});
  driver.add_chain(1, {{kRequest, length}}, {{kReply, 4096}});
  driver.publish(1);
  driver.pump();
  CHECK(runs().empty());
  bed.host.complete_held(*bed.device);
  CHECK(runs().empty());
}

TEST("requests: indices wrap at 65536 in every ring variant") {
  for (RingOptions options : kVariants) {
    options.base = 65500;
    TestBed bed;
    MockDriver driver = bed.connect();
    driver.set_up(options);
    for (int i = 0; i < 100; ++i) {
      CHECK(driver.probe(1));
      CHECK(driver.take_calls(1) >= 1);
    }
    CHECK_EQ(driver.stop_vring(1), 64u);  // 65500 + 100 modulo 65536
  }
}

TEST("requests: the smallest and the largest ring") {
  for (const uint32_t size : {2u, 32768u}) {
    TestBed bed;
    MockDriver driver = bed.connect();
    driver.set_up({.size = size, .indirect = false});
    for (int i = 0; i < 50; ++i) CHECK(driver.probe(1));
  }
}

TEST("requests: one burst is one crossing, one call and answers every chain") {
  for (const RingOptions& options : kVariants) {
    TestBed bed;
    MockDriver driver = bed.connect();
    driver.set_up(options);
    constexpr uint32_t kDepth = 16;
    for (int round = 0; round < 20; ++round) {
      bed.host.bursts.clear();
      driver.take_calls(1);
      for (uint32_t i = 0; i < kDepth; ++i) {
        const uint64_t at = kRequest + i * 8192;
        driver.add_chain(1, {{at, write_request(driver.memory(), at, FUSE_GETATTR, 100 + i, std::vector<uint8_t>(16))}},
                         {{at + 4096, 120}});
      }
      // With EVENT_IDX the driver asks to be called for the last one.
      if (options.event_idx) driver.vring(1).used_event() = static_cast<uint16_t>(driver.vring(1).next_avail - 1);
      CHECK(driver.publish(1));
      driver.pump();
      CHECK_EQ(bed.host.bursts.size(), 1u);
      CHECK_EQ(bed.host.bursts[0], kDepth);
      CHECK_EQ(driver.take_calls(1), 1u);
      const auto used = driver.take_used(1);
      CHECK_EQ(used.size(), kDepth);
      for (uint32_t i = 0; i < kDepth; ++i) {
        CHECK_EQ(used[i].len, 120u);
        CHECK_EQ(read_reply(driver.memory(), kRequest + i * 8192 + 4096).unique, 100u + i);
      }
    }
  }
}

TEST("requests: the driver's wish not to be called is honoured") {
  for (const bool event_idx : {true, false}) {
    TestBed bed;
    MockDriver driver = bed.connect();
    driver.set_up({.event_idx = event_idx});
    CHECK(driver.probe(1));  // the first one is always called for
    driver.take_calls(1);
    MockVring& ring = driver.vring(1);
    if (event_idx) {
      ring.used_event() = static_cast<uint16_t>(ring.next_avail + 100);
    } else {
      ring.avail->flags = kAvailFNoInterrupt;
    }
    const uint32_t length = write_request(driver.memory(), kRequest, FUSE_GETATTR, 1, std::vector<uint8_t>(16));
    driver.add_chain(1, {{kRequest, length}}, {{kReply, 120}});
    driver.publish(1);
    driver.pump();
    CHECK_EQ(driver.take_calls(1), 0u);
    CHECK_EQ(driver.take_used(1).size(), 1u);
  }
}

TEST("requests: kicks are wanted again before the device sleeps") {
  for (const bool event_idx : {true, false}) {
    TestBed bed;
    MockDriver driver = bed.connect();
    driver.set_up({.event_idx = event_idx});
    const uint32_t length = write_request(driver.memory(), kRequest, FUSE_GETATTR, 1, std::vector<uint8_t>(16));
    for (int i = 0; i < 200; ++i) {
      driver.add_chain(1, {{kRequest, length}}, {{kReply, 120}});
      CHECK(driver.publish(1));
      driver.pump();
      CHECK_EQ(driver.take_used(1).size(), 1u);
    }
  }
}

TEST("requests: chains that were there before the start are answered without a kick") {
  TestBed bed;
  MockDriver driver = bed.connect();
  const RingOptions options;
  driver.set_up(options);
  driver.send(VhostUserRequest::kSetVringEnable, VhostUserVringState{1, 0});
  driver.pump();
  const uint32_t length = write_request(driver.memory(), kRequest, FUSE_GETATTR, 1, std::vector<uint8_t>(16));
  driver.add_chain(1, {{kRequest, length}}, {{kReply, 120}});
  driver.publish(1, true);
  driver.pump();
  CHECK_EQ(driver.take_used(1).size(), 0u);  // disabled
  driver.send(VhostUserRequest::kSetVringEnable, VhostUserVringState{1, 1});
  driver.pump();
  CHECK_EQ(driver.take_used(1).size(), 1u);
}

TEST("requests: data is scattered over many descriptors and regions") {
  for (const bool indirect : {true, false}) {
    TestBed bed;
    MockDriver driver = bed.connect();
    const RingOptions options = {.size = 512, .indirect = indirect};
    driver.negotiate(options);
    driver.share_memory(true);
    for (uint32_t i = 0; i < 2; ++i) driver.start_vring(i, options);
    check_read(driver, *bed.pool, {{kReply, 16}, {kReply + 4096, 4096}}, 4096);
    check_read(driver, *bed.pool, {{kReply, 7}, {kReply + 64, 5}, {kReply + 128, 100}},
               96);  // a header over two segments
    // One descriptor over the border of two regions that touch.
    check_read(driver, *bed.pool, {{kReply, 16}, {MockMemory::kSplit - 5000, 10000}}, 10000);
    // 1 MiB as Linux sends it: a header and 256 pages, here backwards so that they are no neighbours.
    std::vector<Buffer> pages = {{kReply, 16}};
    for (uint64_t i = 0; i < 256; ++i) pages.push_back({kReply + 4096 * (257 - i), 4096});
    check_read(driver, *bed.pool, pages, 1 << 20);
  }
}

TEST("requests: a write's payload arrives whole") {
  TestBed bed;
  MockDriver driver = bed.connect();
  driver.set_up({.size = 512});
  std::vector<uint8_t> payload(300000);
  for (size_t i = 0; i < payload.size(); ++i) payload[i] = static_cast<uint8_t>(i * 31 + (i >> 9));
  std::vector<uint8_t> body(sizeof(fuse_write_in));
  body.insert(body.end(), payload.begin(), payload.end());
  const uint32_t length = write_request(driver.memory(), kRequest, FUSE_WRITE, 5, body);
  // The same bytes, cut at odd places.
  std::vector<Buffer> pieces = {{kRequest, 40}, {kRequest + 40, 40}};
  for (uint32_t at = 80; at < length; at += 4099) pieces.push_back({kRequest + at, std::min(4099u, length - at)});
  driver.add_chain(1, pieces, {{kReply, 24}});
  driver.publish(1);
  driver.pump();
  CHECK_EQ(driver.take_used(1).size(), 1u);
  CHECK_EQ(bed.host.pulled_bytes, payload.size());
  CHECK(std::memcmp(bed.pool->data(), payload.data(), payload.size()) == 0);
}

TEST("requests: pull and push keep within the chain, whatever is asked for") {
  TestBed bed;
  bed.host.hold = true;
  MockDriver driver = bed.connect();
  driver.set_up();
  const uint32_t length = write_request(driver.memory(), kRequest, FUSE_WRITE, 5, std::vector<uint8_t>(1000));
  driver.add_chain(1, {{kRequest, 500}, {kRequest + 500, length - 500}}, {{kReply, 10}, {kReply + 100, 50}});
  driver.publish(1);
  driver.pump();
  const uint32_t slot = bed.host.held.at(0);
  RequestPath& requests = bed.device->requests();
  std::vector<uint8_t> bytes(4096);
  CHECK_EQ(requests.pull(slot, 0, bytes.data(), 4096), length);
  CHECK_EQ(requests.pull(slot, 600, bytes.data(), 4096), length - 600);
  CHECK_EQ(requests.pull(slot, 10, bytes.data(), 20), 20u);  // backwards
  CHECK(std::memcmp(bytes.data(), driver.memory().at(kRequest + 10), 20) == 0);
  CHECK_EQ(requests.pull(slot, length, bytes.data(), 1), 0u);
  CHECK_EQ(requests.pull(slot, UINT64_MAX, bytes.data(), 4096), 0u);
  CHECK_EQ(requests.pull(slot, UINT64_MAX - 100, bytes.data(), 4096), 0u);
  std::memset(driver.memory().at(kReply), 0xee, 200);
  CHECK_EQ(requests.push(slot, bytes.data(), 4), 4u);
  CHECK_EQ(requests.push_zeros(slot, 10), 10u);
  CHECK_EQ(requests.push_zeros(slot, UINT32_MAX), 60u - 16 - 14);
  CHECK_EQ(requests.push(slot, bytes.data(), 4096), 0u);
  CHECK_EQ(*driver.memory().at(kReply + 150), 0xeeu);
  put_done(*bed.device, {slot});
  bed.device->complete(1);
  CHECK_EQ(driver.take_used(1).at(0).len, 60u);
}

TEST("requests: data that is only named is copied when its slot is completed") {
  struct Case {
    uint64_t offset;
    uint32_t length;
    int32_t error;
    uint32_t used_length;
    int32_t seen;
  };
  const uint64_t end = TestBed().pool->size_bytes();
  for (const Case& c : {Case{100, 4000, 0, 16 + 8 + 4000, 0}, Case{end - 10, 10, 0, 16 + 8 + 10, 0},
                        Case{0, 100'000, 0, 8192, 0}, Case{100, 4000, -ENOENT, 16, -ENOENT},
                        Case{end - 10, 11, 0, 16, -EIO}, Case{UINT64_MAX, 1, 0, 16, -EIO}}) {
    TestBed bed;
    bed.host.hold = true;
    MockDriver driver = bed.connect();
    driver.set_up();
    const uint32_t length = write_request(driver.memory(), kRequest, FUSE_READ, 3, std::vector<uint8_t>(40));
    driver.add_chain(1, {{kRequest, length}}, {{kReply, 8192}});
    driver.publish(1);
    driver.pump();
    const uint32_t slot = bed.host.held.at(0);
    bed.device->requests().push_zeros(slot, 8);  // it comes behind what was pushed
    uint32_t* meta = bed.device->requests().arena().meta(slot);
    meta[kMetaFlags] = kReplyFlagData;
    meta[kMetaReplyBytes] = c.length;
    meta[kMetaDataLow] = static_cast<uint32_t>(c.offset);
    meta[kMetaDataHigh] = static_cast<uint32_t>(c.offset >> 32);
    meta[kMetaError] = static_cast<uint32_t>(c.error);
    if (bed.pool->holds(c.offset, 1)) std::memset(bed.pool->data() + c.offset, 0x5a, 10);
    put_done(*bed.device, {slot});
    bed.device->complete(1);
    CHECK_EQ(driver.take_used(1).at(0).len, c.used_length);
    CHECK_EQ(read_reply(driver.memory(), kReply).error, c.seen);
    if (c.seen == 0) CHECK_EQ(*driver.memory().at(kReply + 16 + 8), 0x5au);
  }
}

TEST("requests: the driver is told of large reads while the next are copied") {
  for (const auto& [length, calls] : {std::pair{uint32_t{4096}, 1u}, std::pair{uint32_t{600 << 10}, 3u}}) {
    TestBed bed;
    bed.host.hold = true;
    MockDriver driver = bed.connect();
    driver.set_up({.event_idx = false});
    constexpr uint32_t kReads = 3;
    for (uint32_t i = 0; i < kReads; ++i) {
      const uint64_t at = kRequest + i * 256;
      const uint32_t request = write_request(driver.memory(), at, FUSE_READ, 3 + i, std::vector<uint8_t>(40));
      driver.add_chain(1, {{at, request}}, {{kReply, 16 + length}});
    }
    driver.publish(1);
    driver.pump();
    CHECK_EQ(bed.host.held.size(), size_t{kReads});
    driver.take_calls(1);
    for (const uint32_t slot : bed.host.held) {
      uint32_t* meta = bed.device->requests().arena().meta(slot);
      meta[kMetaFlags] = kReplyFlagData;
      meta[kMetaReplyBytes] = length;
    }
    put_done(*bed.device, bed.host.held);
    bed.device->complete(kReads);
    CHECK_EQ(driver.take_calls(1), calls);
    const auto used = driver.take_used(1);
    CHECK_EQ(used.size(), kReads);
    for (const auto& element : used) CHECK_EQ(element.len, 16 + length);
  }
}

TEST("requests: a reply that does not fit becomes EIO, or nothing") {
  struct Case {
    uint32_t writable;
    uint32_t used_length;
  };
  for (const Case& c : {Case{120, 120}, Case{119, 16}, Case{16, 16}, Case{15, 0}, Case{0, 0}}) {
    TestBed bed;
    MockDriver driver = bed.connect();
    driver.set_up();
    std::memset(driver.memory().at(kReply), 0, 200);
    const uint32_t length = write_request(driver.memory(), kRequest, FUSE_GETATTR, 9, std::vector<uint8_t>(16));
    std::vector<Buffer> writable;
    if (c.writable > 0) writable.push_back({kReply, c.writable});
    driver.add_chain(1, {{kRequest, length}}, writable);
    driver.publish(1);
    driver.pump();
    CHECK_EQ(driver.take_used(1).at(0).len, c.used_length);
    const fuse_out_header header = read_reply(driver.memory(), kReply);
    if (c.used_length == 16) CHECK_EQ(header.error, -EIO);
    if (c.used_length >= 16) CHECK_EQ(header.unique, 9u);
    if (c.used_length == 0) CHECK_EQ(header.unique, 0u);
  }
}

TEST("requests: errors are framed alone, and only errnos that the kernel takes") {
  TestBed bed;
  bed.host.hold = true;
  MockDriver driver = bed.connect();
  driver.set_up();
  RequestArena& arena = bed.device->requests().arena();
  struct Case {
    int32_t error;
    int32_t seen;
  };
  for (const Case& c :
       {Case{-ENOENT, -ENOENT}, Case{5, -EIO}, Case{-512, -EIO}, Case{INT32_MIN, -EIO}, Case{-511, -511}}) {
    const uint32_t length = write_request(driver.memory(), kRequest, FUSE_READ, 3, std::vector<uint8_t>(40));
    driver.add_chain(1, {{kRequest, length}}, {{kReply, 4096}});
    driver.publish(1);
    driver.pump();
    const uint32_t slot = bed.host.held.at(0);
    bed.host.held.clear();
    bed.device->requests().push(slot, bed.pool->data(), 1000);  // ignored with an error
    arena.meta(slot)[kMetaError] = static_cast<uint32_t>(c.error);
    put_done(*bed.device, {slot});
    bed.device->complete(1);
    CHECK_EQ(driver.take_used(1).at(0).len, 16u);
    CHECK_EQ(read_reply(driver.memory(), kReply).error, c.seen);
    CHECK_EQ(read_reply(driver.memory(), kReply).len, 16u);
  }
}

TEST("requests: FORGET on the hiprio queue gets a used element of length 0") {
  TestBed bed;
  MockDriver driver = bed.connect();
  driver.set_up();
  const uint32_t length = write_request(driver.memory(), kRequest, FUSE_FORGET, 0, std::vector<uint8_t>(8));
  driver.add_chain(0, {{kRequest, length}}, {});
  driver.publish(0);
  driver.pump();
  const auto used = driver.take_used(0);
  CHECK_EQ(used.size(), 1u);
  CHECK_EQ(used[0].len, 0u);
}

TEST("requests: hiprio comes first in a burst") {
  TestBed bed({3, 64, 0});
  MockDriver driver = bed.connect();
  driver.set_up({.vrings = 4});
  for (const uint32_t ring : {3u, 1u, 0u, 2u}) {
    const uint64_t at = kRequest + ring * 8192;
    const uint32_t length = write_request(driver.memory(), at, FUSE_GETATTR, ring, std::vector<uint8_t>(16));
    driver.add_chain(ring, {{at, length}}, {{at + 4096, 120}});
  }
  for (const uint32_t ring : {3u, 1u, 2u, 0u}) driver.publish(ring);
  driver.pump();
  CHECK_EQ(bed.host.bursts.size(), 1u);
  CHECK(bed.host.queues == (std::vector<uint32_t>{0, 1, 2, 3}));
}

TEST("requests: headers that lie are answered here and never reach the host") {
  TestBed bed;
  MockDriver driver = bed.connect();
  driver.set_up();
  struct Case {
    uint32_t readable;
    int64_t length_lie;
    uint64_t unique_seen;
  };
  for (const Case& c : {Case{56, 1, 42}, Case{56, -1, 42}, Case{56, 1 << 20, 42}, Case{40, 16, 42}, Case{39, -1, 42},
                        Case{16, 0, 42}, Case{15, 0, 0}, Case{1, 0, 0}}) {
    write_request(driver.memory(), kRequest, FUSE_GETATTR, 42, std::vector<uint8_t>(16));
    const auto length = static_cast<uint32_t>(static_cast<int64_t>(c.readable) + c.length_lie);
    std::memcpy(driver.memory().at(kRequest), &length, sizeof length);
    driver.add_chain(1, {{kRequest, c.readable}}, {{kReply, 120}});
    driver.publish(1);
    driver.pump();
    CHECK_EQ(driver.take_used(1).at(0).len, 16u);
    CHECK(driver.take_calls(1) >= 1);
    CHECK_EQ(read_reply(driver.memory(), kReply).error, -EINVAL);
    CHECK_EQ(read_reply(driver.memory(), kReply).unique, c.unique_seen);
  }
  // Nothing to read, nothing to write: only the descriptor goes back.
  driver.add_chain(1, {}, {{kReply, 4}});
  driver.publish(1);
  driver.pump();
  CHECK_EQ(driver.take_used(1).at(0).len, 0u);
  CHECK(bed.host.bursts.empty());
  CHECK_EQ(bed.device->requests().counters().refused_requests, 9u);
  CHECK(driver.probe(1));
}

TEST("requests: more requests than slots wait in the ring and lose nothing") {
  TestBed bed({2, 16, 0});
  bed.host.hold = true;
  MockDriver driver = bed.connect();
  driver.set_up({.size = 128, .vrings = 3});
  for (uint32_t ring = 1; ring <= 2; ++ring) {
    for (uint32_t i = 0; i < 30; ++i) {
      const uint64_t at = kRequest + (ring * 64 + i) * 8192;
      driver.add_chain(ring, {{at, write_request(driver.memory(), at, FUSE_GETATTR, i, std::vector<uint8_t>(16))}},
                       {{at + 4096, 120}});
    }
    driver.publish(ring);
  }
  size_t answered = 0;
  for (int round = 0; round < 60 && answered < 60; ++round) {
    driver.pump();
    CHECK(bed.host.held.size() <= 16);
    CHECK(!bed.host.held.empty());
    bed.host.complete_held(*bed.device, round % 2 == 0);
    answered += driver.take_used(1).size() + driver.take_used(2).size();
  }
  CHECK_EQ(answered, 60u);
  bed.host.hold = false;
  CHECK(driver.probe(0));
}

TEST("requests: when slots are short every queue gets its turn") {
  TestBed bed({2, 16, 0});
  bed.host.hold = true;
  MockDriver driver = bed.connect();
  driver.set_up({.size = 128, .vrings = 3});
  for (int i = 0; i < 60; ++i) {
    for (uint32_t ring = 1; ring <= 2; ++ring) {
      const uint64_t at = kRequest + ring * 8192;
      driver.add_chain(ring, {{at, write_request(driver.memory(), at, FUSE_GETATTR, 1, std::vector<uint8_t>(16))}},
                       {{at + 4096, 120}});
    }
  }
  driver.publish(1);
  driver.publish(2);
  for (int round = 0; round < 4; ++round) {
    driver.pump();
    bed.host.complete_held(*bed.device);
  }
  CHECK(driver.take_used(1).size() >= 16);
  CHECK(driver.take_used(2).size() >= 16);
}

TEST("requests: the done list is not trusted") {
  TestBed bed;
  bed.host.hold = true;
  MockDriver driver = bed.connect();
  driver.set_up();
  const uint32_t length = write_request(driver.memory(), kRequest, FUSE_GETATTR, 1, std::vector<uint8_t>(16));
  driver.add_chain(1, {{kRequest, length}}, {{kReply, 120}});
  driver.publish(1);
  driver.pump();
  const uint32_t slot = bed.host.held.at(0);
  put_done(*bed.device, {slot, slot, 64, UINT32_MAX, slot + 1, slot});
  CHECK(bed.device->complete(6));
  CHECK_EQ(driver.take_used(1).size(), 1u);
  CHECK_EQ(bed.device->requests().counters().ignored_completions, 5u);
  CHECK(bed.device->complete(UINT32_MAX));
  CHECK_EQ(bed.device->requests().arena().in_flight(), 0u);
  bed.host.hold = false;
  CHECK(driver.probe(1));
}

TEST("requests: polling the ring answers without a kick and does not hold the loop") {
  TestBed bed({1, 64, 1000});
  MockDriver driver = bed.connect();
  driver.set_up();
  // Close arrivals make polling worth while; then a turn ends with a wish for another and the kicks still off.
  bool polled = false;
  for (int i = 0; i < 100 && !polled; ++i) {
    const uint32_t length = write_request(driver.memory(), kRequest, FUSE_GETATTR, 1, std::vector<uint8_t>(16));
    driver.add_chain(1, {{kRequest, length}}, {{kReply, 120}});
    polled = !driver.publish(1);
    bed.device->turn(true);
    CHECK_EQ(driver.take_used(1).size(), 1u);
  }
  pump(*bed.device);  // ends: polling stops by itself
  CHECK(driver.probe(1));
}
