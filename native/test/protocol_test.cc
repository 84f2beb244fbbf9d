// vhost-user messages, well-formed and not.
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <memory>
#include <system_error>

#include "check.h"
#include "test_bed.h"

using namespace ovfsd;
using namespace ovfsd::test;

namespace {

using R = VhostUserRequest;
constexpr uint64_t kRequest = MockDriver::kDataOffset;
constexpr uint64_t kReply = MockDriver::kDataOffset + (1 << 20);

void submit(MockDriver& driver, uint32_t ring) {
  const uint32_t length = write_request(driver.memory(), kRequest, FUSE_GETATTR, 1, std::vector<uint8_t>(16));
  driver.add_chain(ring, {{kRequest, length}}, {{kReply, 120}});
  driver.publish(ring);
  driver.pump();
}

}  // namespace

TEST("protocol: what is offered") {
  TestBed bed({3, 64, 0});
  MockDriver driver = bed.connect();
  CHECK_EQ(driver.ask(R::kGetFeatures).u64(), 0x170000000ull);
  CHECK_EQ(driver.ask(R::kGetProtocolFeatures).u64(), (1ull << 0 | 1ull << 3 | 1ull << 5 | 1ull << 13 | 1ull << 15));
  CHECK_EQ(driver.ask(R::kGetQueueNum).u64(), 4u);
  CHECK_EQ(driver.ask(R::kGetMaxMemSlots).u64(), 509u);
  CHECK_EQ(bed.host.events.at(0), "connect 0");
}

TEST("protocol: connect is announced with the first message only") {
  TestBed bed;
  {
    MockDriver driver = bed.connect();
    bed.host.events.clear();
    pump(*bed.device);
  }
  pump(*bed.device);
  CHECK(bed.host.events.empty());  // somebody looked whether the socket is alive
  {
    MockDriver driver = bed.connect();
    driver.ask(R::kGetFeatures);
  }
  pump(*bed.device);
  CHECK_EQ(bed.host.count_events("connect"), 1u);
  CHECK_EQ(bed.host.count_events("disconnect"), 1u);
}

TEST("protocol: messages in pieces") {
  TestBed bed;
  MockDriver driver = bed.connect();
  const VhostUserHeader header = {static_cast<uint32_t>(R::kGetFeatures), kVersion, 0};
  for (size_t i = 0; i < sizeof header; ++i) {
    driver.send_raw(reinterpret_cast<const uint8_t*>(&header) + i, 1);
    driver.pump();
  }
  CHECK_EQ(driver.receive().u64(), 0x170000000ull);
  // Header and payload apart, several messages at once.
  std::vector<uint8_t> stream;
  const uint64_t features = 0;
  for (int i = 0; i < 100; ++i) {
    const VhostUserHeader set = {static_cast<uint32_t>(R::kSetFeatures), kVersion, sizeof features};
    stream.insert(stream.end(), reinterpret_cast<const uint8_t*>(&set),
                  reinterpret_cast<const uint8_t*>(&set) + sizeof set);
    stream.insert(stream.end(), reinterpret_cast<const uint8_t*>(&features),
                  reinterpret_cast<const uint8_t*>(&features) + sizeof features);
  }
  for (size_t at = 0; at < stream.size(); at += 37) {
    driver.send_raw(stream.data() + at, std::min<size_t>(37, stream.size() - at));
    driver.pump();
  }
  CHECK_EQ(driver.ask(R::kGetQueueNum).u64(), 2u);
}

TEST("protocol: a front-end that does not read its replies is not buffered for without end") {
  TestBed bed;
  MockDriver driver = bed.connect();
  const VhostUserHeader header = {static_cast<uint32_t>(R::kGetFeatures), kVersion, 0};
  // Until the device stops reading, because it can't answer, and the socket is full.
  int sent = 0;
  while (sent < 100000 && driver.send_raw(&header, sizeof header)) {
    if (++sent % 50 == 0) driver.pump();
  }
  CHECK(sent < 100000);
  for (int i = 0; i < sent; ++i) CHECK_EQ(driver.receive().u64(), 0x170000000ull);
  CHECK(!driver.reply_waits());
}

TEST("protocol: refusals are told and the connection goes on") {
  TestBed bed;
  MockDriver driver = bed.connect();
  driver.set_up();
  const auto refused = [&](R request, const auto& payload, const std::vector<int>& fds = {}) {
    const uint32_t before = bed.host.count_events("protocol-error");
    CHECK(!driver.acknowledged(request, payload, fds));
    CHECK_EQ(bed.host.count_events("protocol-error"), before + 1);
  };
  refused(R::kSetFeatures, uint64_t{1} << 40);
  refused(R::kSetProtocolFeatures, uint64_t{1} << 16);
  refused(R::kSetVringNum, VhostUserVringState{1, 64});  // running
  refused(R::kSetVringBase, VhostUserVringState{1, 0});  // running
  CHECK_EQ(driver.stop_vring(1), 0u);
  for (const uint32_t num : {0u, 3u, 65536u, 0x80000000u}) refused(R::kSetVringNum, VhostUserVringState{1, num});
  refused(R::kSetVringNum, VhostUserVringState{2, 64});
  refused(R::kSetVringNum, VhostUserVringState{UINT32_MAX, 64});
  refused(R::kSetVringBase, VhostUserVringState{1, 65536});
  refused(R::kSetVringEnable, VhostUserVringState{1, 2});
  refused(R::kSetVringEnable, VhostUserVringState{7, 1});
  refused(R::kSetVringKick, uint64_t{1});  // no descriptor
  refused(R::kSetVringCall, uint64_t{9} | kVringNoFd);
  refused(R::kSetLogBase, uint64_t{0}, {driver.memory().fd()});
  refused(R::kSetMemTable, VhostUserMemoryTable{});
  refused(static_cast<R>(4711), uint64_t{0});
  const VhostUserVringAddr good = {
      1, 0, MockMemory::kUserAddr, MockMemory::kUserAddr + 4096, MockMemory::kUserAddr + 8192, 0};
  CHECK(driver.acknowledged(R::kSetVringAddr, good));
  for (int field = 0; field < 9; ++field) {
    VhostUserVringAddr addr = good;
    switch (field) {
      case 0:
        addr.desc_user_addr += 8;
        break;
      case 1:
        addr.avail_user_addr += 1;
        break;
      case 2:
        addr.used_user_addr += 2;
        break;
      case 3:
        addr.desc_user_addr = MockMemory::kUserAddr + MockMemory::kBytes - 1023 * 16;
        addr.desc_user_addr &= ~15ull;
        addr.desc_user_addr += 1023 * 16 - 512;
        break;
      case 4:
        addr.used_user_addr = MockMemory::kUserAddr + MockMemory::kBytes - 4;
        break;
      case 5:
        addr.avail_user_addr = UINT64_MAX - 1;
        break;
      case 6:
        addr.desc_user_addr = 0;
        break;
      case 7:
        addr.flags = 1;
        break;
      case 8:
        addr.index = 2;
        break;
    }
    refused(R::kSetVringAddr, addr);
  }
  // The refusals changed nothing.
  driver.start_vring(1, {});
  CHECK(driver.probe(1));
}

TEST("protocol: only eventfds are taken for kick, call and err") {
  TestBed bed;
  MockDriver driver = bed.connect();
  driver.set_up();
  int pipe_fds[2];
  CHECK_EQ(::pipe2(pipe_fds, O_CLOEXEC), 0);
  const UniqueFd read_end(pipe_fds[0]);
  const UniqueFd write_end(pipe_fds[1]);
  const UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  for (const int fd : {read_end.get(), write_end.get(), null.get(), driver.memory().fd()}) {
    for (const R request : {R::kSetVringKick, R::kSetVringCall, R::kSetVringErr}) {
      CHECK(!driver.acknowledged(request, uint64_t{1}, {fd}));
    }
  }
  const UniqueFd a(::eventfd(0, EFD_CLOEXEC));
  CHECK(!driver.acknowledged(R::kSetVringCall, uint64_t{1}, {a.get(), a.get()}));  // two
  CHECK(!driver.acknowledged(R::kSetVringCall, uint64_t{1} | kVringNoFd, {a.get()}));
  CHECK(!driver.acknowledged(R::kSetFeatures, uint64_t{0x170000000}, {a.get()}));
  CHECK(driver.probe(1));
}

TEST("protocol: what can't go on drops the connection and the next one works") {
  TestBed bed;
  struct Case {
    const char* why;
    VhostUserHeader header;
  };
  const Case cases[] = {
      {"no version", {1, 0, 0}},
      {"version 2", {1, 2, 0}},
      {"a reply", {1, kVersion | kFlagReply, 0}},
      {"oversized", {5, kVersion, 513}},
      {"huge", {5, kVersion, UINT32_MAX}},
      {"GET_CONFIG", {24, kVersion, 0}},
      {"GET_INFLIGHT_FD", {31, kVersion, 0}},
      {"GET_STATUS", {40, kVersion, 0}},
      {"GET_VRING_BASE without payload", {11, kVersion, 0}},
  };
  for (const Case& c : cases) {
    MockDriver driver = bed.connect();
    driver.set_up();
    driver.send_raw(&c.header, sizeof c.header);
    if (!driver.dropped()) fail(__FILE__, __LINE__, c.why);
    MockDriver next = bed.connect();
    next.set_up();
    CHECK(next.probe(1));
  }
  {
    MockDriver driver = bed.connect();
    driver.set_up();
    for (int i = 0; i < 64; ++i) driver.send(R::kSetFeatures, uint64_t{1});
    CHECK(driver.dropped());  // too many refusals
  }
}

TEST("protocol: too many descriptors drop the connection, and none leaks") {
  TestBed bed;
  const UniqueFd extra(::eventfd(0, EFD_CLOEXEC));
  for (const int count : {9, 20, 253}) {
    const size_t before = open_fds();
    {
      MockDriver driver = bed.connect();
      driver.ask(R::kGetFeatures);
      const std::vector<int> fds(static_cast<size_t>(count), extra.get());
      driver.send(R::kSetFeatures, uint64_t{0}, fds);
      CHECK(driver.dropped());
    }
    pump(*bed.device);
    CHECK_EQ(open_fds(), before);
  }
  {
    // Over several pieces of one message.
    MockDriver driver = bed.connect();
    const VhostUserHeader header = {static_cast<uint32_t>(R::kSetFeatures), kVersion, 8};
    for (size_t i = 0; i < sizeof header; ++i) {
      driver.send_raw(reinterpret_cast<const uint8_t*>(&header) + i, 1, {extra.get()});
      driver.pump();
    }
    CHECK(driver.dropped());
  }
  // Unexpected ones on a message that takes none are closed with it.
  MockDriver driver = bed.connect();
  driver.set_up();
  const size_t before = open_fds();
  for (int i = 0; i < 50; ++i)
    CHECK(!driver.acknowledged(R::kSetFeatures, uint64_t{0x170000000}, {extra.get(), extra.get()}));
  CHECK_EQ(open_fds(), before);
}

TEST("protocol: NOFD vrings are polled and never called") {
  TestBed bed;
  pump(*bed.device);
  const size_t fds_before = open_fds();
  auto connected = std::make_unique<MockDriver>(*bed.device, bed.path);
  MockDriver& driver = *connected;
  driver.set_up();
  CHECK(driver.acknowledged(R::kSetVringKick, uint64_t{1} | kVringNoFd));
  CHECK(driver.acknowledged(R::kSetVringCall, uint64_t{1} | kVringNoFd));
  submit(driver, 1);
  for (int i = 0; i < 2000 && driver.vring(1).used->idx == 0; ++i) {
    ::usleep(500);  // the device looks once a millisecond
    driver.pump();
  }
  CHECK_EQ(driver.take_used(1).size(), 1u);
  CHECK_EQ(driver.take_calls(1), 0u);
  connected.reset();
  pump(*bed.device);
  CHECK_EQ(open_fds(), fds_before);  // the timer too
}

TEST("protocol: without protocol features the rings are enabled from the start") {
  TestBed bed;
  MockDriver driver = bed.connect();
  const RingOptions options;
  driver.negotiate(options);
  driver.share_memory();
  CHECK(driver.acknowledged(R::kSetFeatures, uint64_t{1} << kVirtioFVersion1));
  driver.start_vring(1, {.event_idx = false, .indirect = false});
  CHECK(driver.probe(1));
}

TEST("drain: GET_VRING_BASE answers when the last request has ended") {
  TestBed bed;
  bed.host.hold = true;
  MockDriver driver = bed.connect();
  driver.set_up();
  for (int i = 0; i < 3; ++i) submit(driver, 1);
  CHECK_EQ(bed.host.held.size(), 3u);
  driver.send(R::kGetVringBase, VhostUserVringState{1, 0});
  driver.send(R::kGetQueueNum);  // waits behind it
  CHECK(!driver.reply_waits());
  submit(driver, 1);  // not popped any more
  CHECK_EQ(bed.host.held.size(), 3u);
  const std::vector<uint32_t> held = std::exchange(bed.host.held, {});
  for (size_t i = 0; i < held.size(); ++i) {
    bed.host.answer(*bed.device, held[i]);
    put_done(*bed.device, {held[i]});
    bed.device->complete(1);
    CHECK_EQ(driver.reply_waits(), i + 1 == held.size());
  }
  CHECK_EQ(driver.take_used(1).size(), 3u);
  const Reply base = driver.receive();
  uint32_t index;
  std::memcpy(&index, base.payload.data() + 4, sizeof index);
  CHECK_EQ(index, 3u);
  CHECK_EQ(driver.receive().u64(), 2u);
  // Go on from there: the fourth request is still in the ring.
  bed.host.hold = false;
  MockVring& ring = driver.vring(1);
  CHECK(driver.acknowledged(R::kSetVringBase, VhostUserVringState{1, index}));
  CHECK(driver.acknowledged(
      R::kSetVringAddr,
      VhostUserVringAddr{
          1, 0, MockMemory::kUserAddr + ring.offset,
          MockMemory::kUserAddr + static_cast<uint64_t>(reinterpret_cast<uint8_t*>(ring.used) - driver.memory().at(0)),
          MockMemory::kUserAddr + static_cast<uint64_t>(reinterpret_cast<uint8_t*>(ring.avail) - driver.memory().at(0)),
          0}));
  CHECK(driver.acknowledged(R::kSetVringKick, uint64_t{1}, {ring.kick.get()}));
  driver.pump();
  CHECK_EQ(driver.take_used(1).size(), 1u);
  CHECK(driver.probe(1));
}

TEST("drain: a front-end that goes away while it waits is noticed") {
  TestBed bed;
  bed.host.hold = true;
  {
    MockDriver driver = bed.connect();
    driver.set_up();
    submit(driver, 1);
    driver.send(R::kGetVringBase, VhostUserVringState{1, 0});
    driver.pump();
  }
  pump(*bed.device);
  CHECK_EQ(bed.host.count_events("disconnect"), 1u);
  CHECK_EQ(bed.device->requests().arena().in_flight(), 1u);
  bed.host.complete_held(*bed.device);
  CHECK_EQ(bed.device->requests().arena().in_flight(), 0u);
}

TEST("disconnect: requests in flight become orphans, and everything is released") {
  TestBed bed;
  pump(*bed.device);
  const size_t fds_before = open_fds();
  const size_t maps_before = guest_mappings();
  bed.host.hold = true;
  for (int round = 0; round < 50; ++round) {
    {
      MockDriver driver = bed.connect();
      driver.set_up();
      submit(driver, 0);
      submit(driver, 1);
      CHECK(bed.device->mapped_regions() == 1);
    }
    pump(*bed.device);
    CHECK_EQ(open_fds(), fds_before);
    CHECK_EQ(guest_mappings(), maps_before);
    uint8_t byte;
    for (const uint32_t slot : bed.host.held) {
      CHECK(bed.device->requests().holds(slot));
      CHECK_EQ(bed.device->requests().pull(slot, 0, &byte, 1), 0u);
      CHECK_EQ(bed.device->requests().push(slot, &byte, 1), 0u);
      CHECK_EQ(bed.device->requests().push_zeros(slot, 1), 0u);
    }
    CHECK_EQ(bed.host.held.size(), 2u);
    if (round % 2 == 0) {
      // Completed while the next front-end is there: it must not see them.
      MockDriver next = bed.connect();
      next.set_up();
      bed.host.complete_held(*bed.device);
      CHECK_EQ(next.take_used(0).size() + next.take_used(1).size(), 0u);
      bed.host.hold = false;
      CHECK(next.probe(1));
      bed.host.hold = true;
    } else {
      bed.host.complete_held(*bed.device);
    }
    pump(*bed.device);
    CHECK_EQ(bed.device->requests().arena().in_flight(), 0u);
  }
}

TEST("connect: a second front-end is refused at once while one is served") {
  TestBed bed;
  auto first = std::make_unique<MockDriver>(*bed.device, bed.path);
  first->set_up();
  {
    MockDriver second = bed.connect();
    CHECK(second.dropped());
    CHECK_EQ(bed.host.count_events("protocol-error 0"), 1u);
  }
  CHECK(first->probe(1));
  first.reset();
  MockDriver third = bed.connect();
  third.set_up();
  CHECK(third.probe(1));
}

TEST("connect: a front-end waits behind one that has not spoken, and is served when that has gone") {
  TestBed bed;
  auto silent = std::make_unique<MockDriver>(*bed.device, bed.path);
  silent->pump();
  MockDriver second = bed.connect();
  second.send(R::kGetFeatures);
  CHECK(!second.reply_waits());
  silent.reset();
  CHECK_EQ(second.receive().u64(), 0x170000000ull);
  second.set_up();
  CHECK(second.probe(1));
}

TEST("connect: a front-end that goes and comes again at once is served") {
  TestBed bed;
  auto first = std::make_unique<MockDriver>(*bed.device, bed.path);
  first->set_up();
  first.reset();
  MockDriver second = bed.connect();
  second.set_up();
  CHECK(second.probe(1));
}

TEST("reset: RESET_DEVICE and RESET_OWNER abandon what is in flight and start anew") {
  for (const R reset : {R::kResetDevice, R::kResetOwner}) {
    for (const bool restart_first : {false, true}) {
      TestBed bed;
      bed.host.hold = true;
      MockDriver driver = bed.connect();
      driver.set_up();
      submit(driver, 1);
      driver.send(reset);
      driver.pump();
      CHECK_EQ(bed.host.count_events("vring-stop"), 2u);
      const auto start_again = [&] {
        for (uint32_t i = 0; i < 2; ++i) driver.start_vring(i, {});
      };
      if (restart_first) start_again();
      bed.host.complete_held(*bed.device);
      if (!restart_first) start_again();
      CHECK_EQ(driver.take_used(1).size(), 0u);  // the answer of the life before is nowhere
      bed.host.hold = false;
      CHECK(driver.probe(0));
      CHECK(driver.probe(1));
      CHECK_EQ(driver.stop_vring(1), 1u);
    }
  }
}

TEST("reset: a guest reboot by GET_VRING_BASE and set-up from index 0") {
  TestBed bed;
  MockDriver driver = bed.connect();
  driver.set_up();
  for (int boot = 0; boot < 10; ++boot) {
    for (int i = 0; i < 10; ++i) CHECK(driver.probe(1));
    CHECK_EQ(driver.stop_vring(0), 0u);
    CHECK_EQ(driver.stop_vring(1), 10u);
    for (uint32_t i = 0; i < 2; ++i) driver.start_vring(i, {.event_idx = boot % 2 == 0});
  }
}

TEST("call: a new descriptor is signalled at once") {
  TestBed bed;
  MockDriver driver = bed.connect();
  driver.set_up();
  MockVring& ring = driver.vring(1);
  ring.call.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  CHECK(driver.acknowledged(R::kSetVringCall, uint64_t{1}, {ring.call.get()}));
  CHECK_EQ(driver.take_calls(1), 1u);
  CHECK(driver.probe(1));
  CHECK_EQ(driver.take_calls(1), 1u);
}

TEST("listen: the socket has the mode asked for, whatever the umask") {
  for (const mode_t mask : {0u, 022u, 0777u}) {
    const mode_t before = ::umask(mask);
    {
      TestBed bed;
      struct stat info;
      CHECK_EQ(::stat(bed.path.c_str(), &info), 0);
      CHECK_EQ(info.st_mode & 0777, 0600u);
    }
    ::umask(before);
  }
}

TEST("listen: stale sockets are replaced, live ones and other files are not") {
  TestBed bed;
  const auto listen_code = [&](const std::string& path) {
    Device other({1, 16, 0}, bed.pool, bed.host);
    try {
      other.listen(path, 0600);
    } catch (const std::system_error& error) {
      return error.code().value();
    }
    return 0;
  };
  CHECK_EQ(listen_code(bed.path), EADDRINUSE);
  bed.host.events.clear();
  pump(*bed.device);
  CHECK(bed.host.events.empty());  // the probe was no front-end

  const std::string stale = bed.directory + "/stale";
  {
    const UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address = {};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, stale.c_str(), sizeof address.sun_path - 1);
    CHECK_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  }
  CHECK_EQ(listen_code(stale), 0);
  CHECK_EQ(::access(stale.c_str(), F_OK), -1);  // removed at close

  const std::string file = bed.directory + "/file";
  ::close(::open(file.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
  CHECK_EQ(listen_code(file), EEXIST);
  CHECK_EQ(::unlink(file.c_str()), 0);
  CHECK_EQ(listen_code(bed.directory + "/none/sock"), ENOENT);
  CHECK_EQ(listen_code(bed.directory + "/" + std::string(120, 'x')), ENAMETOOLONG);
  CHECK_EQ(listen_code(""), EINVAL);
}

TEST("listen: close leaves a socket alone that took the place of ours") {
  TestBed bed;
  const std::string other = bed.directory + "/other";
  Device second({1, 16, 0}, bed.pool, bed.host);
  second.listen(other, 0600);
  CHECK_EQ(::rename(other.c_str(), bed.path.c_str()), 0);
  bed.device->close();
  CHECK_EQ(::access(bed.path.c_str(), F_OK), 0);
  MockDriver driver(second, bed.path);
  driver.set_up();
  CHECK(driver.probe(1));
}

TEST("listen: an inherited descriptor must be a listening Unix stream socket") {
  TestBed bed;
  const auto adopt_code = [&](int fd) {
    Device device({1, 16, 0}, bed.pool, bed.host);
    try {
      device.listen(fd);
    } catch (const std::system_error& error) {
      return error.code().value();
    }
    return 0;
  };
  const UniqueFd plain(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  const UniqueFd datagram(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  const UniqueFd event(::eventfd(0, EFD_CLOEXEC));
  CHECK_EQ(adopt_code(plain.get()), EINVAL);
  CHECK_EQ(adopt_code(datagram.get()), EINVAL);
  CHECK_EQ(adopt_code(event.get()), ENOTSOCK);
  CHECK_EQ(adopt_code(1000), EBADF);

  const std::string path = bed.directory + "/inherited";
  UniqueFd listening(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
  CHECK_EQ(::bind(listening.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  CHECK_EQ(::listen(listening.get(), 4), 0);
  {
    Device device({1, 16, 0}, bed.pool, bed.host);
    device.listen(listening.release());
    MockDriver driver(device, path);
    driver.set_up();
    CHECK(driver.probe(1));
  }
  CHECK_EQ(::access(path.c_str(), F_OK), 0);  // not ours to remove
  ::unlink(path.c_str());
}
