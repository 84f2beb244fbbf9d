#include "test_bed.h"

#include <dirent.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>

#include "check.h"

namespace ovfsd::test {

void TestHost::on_requests(Device& device, uint32_t ready_count) {
  RequestArena& arena = device.requests().arena();
  bursts.push_back(ready_count);
  std::vector<uint32_t> done;
  for (uint32_t i = 0; i < ready_count; ++i) {
    const uint32_t slot = arena.ready()[i];
    queues.push_back(arena.slot(slot).vring);
    for (const uint32_t word : {kMetaCounters, kMetaError, kMetaReplyBytes, kMetaFlags}) {
      CHECK_EQ(arena.meta(slot)[word], 0u);
    }
    if (counters.size() > 1) arena.meta(slot)[kMetaCounters] = counters[i % counters.size()];
    if (hold) {
      held.push_back(slot);
    } else {
      answer(device, slot);
      done.push_back(slot);
    }
  }
  put_done(device, done);
  if (counters.size() == 1) arena.burst().counters = counters[0];
  device.finish_burst(static_cast<uint32_t>(done.size()));
}

void TestHost::answer(Device& device, uint32_t slot) {
  RequestPath& requests = device.requests();
  RequestArena& arena = requests.arena();
  fuse_in_header header;
  std::memcpy(&header, arena.request(slot), sizeof header);
  uint32_t* meta = arena.meta(slot);
  CHECK_EQ(meta[kMetaReadableBytes], header.len);
  switch (header.opcode) {
    case FUSE_GETATTR:
      std::memset(arena.reply(slot), 0x5a, 104);
      meta[kMetaReplyBytes] = 104;
      break;
    case FUSE_READ: {
      // In two steps, so that a push goes on where the one before stopped.
      const uint32_t wanted = meta[kMetaWritableBytes] > 16 ? meta[kMetaWritableBytes] - 16 : 0;
      const uint32_t length = static_cast<uint32_t>(std::min<uint64_t>(wanted, pool_->size_bytes()));
      requests.push(slot, pool_->data(), length / 3);
      requests.push(slot, pool_->data() + length / 3, length - length / 3);
      break;
    }
    case FUSE_WRITE: {
      const uint32_t room = static_cast<uint32_t>(pool_->size_bytes());
      pulled_bytes = requests.pull(slot, sizeof(fuse_in_header) + sizeof(fuse_write_in), pool_->data(), room);
      meta[kMetaReplyBytes] = sizeof(fuse_write_out);
      break;
    }
    case FUSE_FORGET:
    case FUSE_BATCH_FORGET:
      meta[kMetaFlags] = kReplyFlagNone;
      break;
    default:
      meta[kMetaError] = static_cast<uint32_t>(-ENOSYS);
  }
}

void TestHost::complete_held(Device& device, bool reversed) {
  std::vector<uint32_t> slots = std::exchange(held, {});
  if (reversed) std::reverse(slots.begin(), slots.end());
  for (const uint32_t slot : slots) answer(device, slot);
  put_done(device, slots);
  CHECK(device.complete(static_cast<uint32_t>(slots.size())));
}

void TestHost::on_event(DeviceEvent event, const std::string& detail, uint32_t value) {
  events.push_back(std::string(event_name(event)) + " " + std::to_string(value));
  last_detail = detail;
}

uint32_t TestHost::count_events(const std::string& name) const {
  return static_cast<uint32_t>(
      std::count_if(events.begin(), events.end(), [&](const std::string& event) { return event.rfind(name, 0) == 0; }));
}

void put_done(Device& device, const std::vector<uint32_t>& slots) {
  auto* done = const_cast<uint32_t*>(device.requests().arena().done());
  std::copy(slots.begin(), slots.end(), done);
}

TestBed::TestBed(DeviceConfig config) : pool(std::make_shared<SlabMemory>(4 << 20)), host(pool) {
  char name[] = "/tmp/ovfsd-native-test-XXXXXX";
  CHECK(::mkdtemp(name) != nullptr);
  directory = name;
  path = directory + "/sock";
  for (size_t i = 0; i < pool->size_bytes(); ++i) pool->data()[i] = static_cast<uint8_t>(i * 7 + (i >> 8));
  device = std::make_unique<Device>(config, pool, host);
  device->listen(path, 0600);
}

TestBed::~TestBed() {
  device.reset();
  ::unlink(path.c_str());
  ::rmdir(directory.c_str());
}

size_t open_fds() {
  size_t count = 0;
  DIR* directory = ::opendir("/proc/self/fd");
  while (::readdir(directory) != nullptr) ++count;
  ::closedir(directory);
  return count;
}

size_t guest_mappings() {
  std::ifstream maps("/proc/self/maps");
  size_t count = 0;
  for (std::string line; std::getline(maps, line);) {
    if (line.find("ovfsd-test-guest") != std::string::npos) ++count;
  }
  return count;
}

}  // namespace ovfsd::test
