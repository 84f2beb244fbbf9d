// Data between files of the host and guest memory, without a copy of ours.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "../src/fd.h"
#include "check.h"
#include "test_bed.h"

using namespace ovfsd;
using namespace ovfsd::test;

namespace {

constexpr uint64_t kRequest = MockDriver::kDataOffset;
constexpr uint64_t kReply = MockDriver::kDataOffset + (1 << 20);
constexpr uint32_t kHeaderBytes = 16;

/// A file with `size` bytes that are in the page cache, where every page differs.
UniqueFd cached_file(size_t size) {
  char name[] = "/tmp/ovfsd-file-data-XXXXXX";
  UniqueFd fd(mkstemp(name));
  unlink(name);
  std::vector<uint8_t> bytes(size);
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<uint8_t>(i / 4096 * 7 + i);
  CHECK_EQ(pwrite(fd.get(), bytes.data(), size, 0), static_cast<ssize_t>(size));
  return fd;
}

/// Whether reads of this file system can say that they would wait: where not, there is nothing to test.
bool reads_at_once(int fd) {
  uint8_t byte;
  const iovec piece{&byte, 1};
  return preadv2(fd, &piece, 1, 0, RWF_NOWAIT) == 1;
}

/// A request whose reply has room for the header and `pieces` of guest memory.
uint32_t hold_request(TestBed& bed, MockDriver& driver, const std::vector<Buffer>& pieces, uint32_t payload = 16) {
  bed.host.hold = true;
  bed.host.held.clear();
  const uint32_t length = write_request(driver.memory(), kRequest, FUSE_READ, 1, std::vector<uint8_t>(payload, 0x5a));
  std::vector<Buffer> writable = {{kReply, kHeaderBytes}};
  writable.insert(writable.end(), pieces.begin(), pieces.end());
  driver.add_chain(1, {{kRequest, length}}, writable);
  driver.publish(1);
  driver.pump();
  return bed.host.held.at(0);
}

}  // namespace

TEST("file data: a read goes to all pieces of a chain, up to the end of the file or of the room") {
  constexpr size_t kSize = 300'000;
  const UniqueFd fd = cached_file(kSize);
  if (!reads_at_once(fd.get())) return;
  TestBed bed;
  MockDriver driver = bed.connect();
  driver.set_up();
  std::vector<Buffer> pieces;
  constexpr uint32_t kPiece = 400;
  constexpr uint32_t kPieces = 500;
  for (uint32_t i = 0; i < kPieces; ++i) pieces.push_back({kReply + 4096 + uint64_t{i} * 2 * kPiece, kPiece});
  const uint32_t slot = hold_request(bed, driver, pieces);
  RequestPath& requests = bed.device->requests();
  CHECK_EQ(requests.read_file(slot, fd.get(), 1000, 150'000), int64_t{150'000});
  CHECK_EQ(requests.pushed_bytes(slot), 150'000u);
  CHECK_EQ(requests.read_file(slot, fd.get(), kSize - 10, 1000), int64_t{10});
  CHECK_EQ(requests.read_file(slot, fd.get(), kSize, 1000), int64_t{0});
  CHECK_EQ(requests.read_file(slot, fd.get(), 0, UINT32_MAX), int64_t{kPieces * kPiece - 150'010});
  CHECK_EQ(requests.read_file(slot, fd.get(), 0, 1), int64_t{0});
  std::vector<uint8_t> expected(150'000);
  CHECK_EQ(pread(fd.get(), expected.data(), expected.size(), 1000), ssize_t{150'000});
  for (size_t i = 0; i < expected.size() / kPiece; ++i)
    CHECK(std::memcmp(driver.memory().at(pieces[i].offset), expected.data() + i * kPiece, kPiece) == 0);
  put_done(*bed.device, {slot});
  bed.device->complete(1);
  CHECK_EQ(driver.take_used(1).at(0).len, kHeaderBytes + kPieces * kPiece);
}

TEST("file data: errors are errnos, and what is not in flight moves nothing") {
  TestBed bed;
  MockDriver driver = bed.connect();
  driver.set_up();
  const uint32_t slot = hold_request(bed, driver, {{kReply + 4096, 4096}});
  RequestPath& requests = bed.device->requests();
  CHECK_EQ(requests.read_file(slot, -1, 0, 10), int64_t{-EBADF});
  CHECK_EQ(requests.write_file(slot, 40, -1, 0, 10, false, false), int64_t{-EBADF});
  const UniqueFd fd = cached_file(4096);
  CHECK_EQ(requests.read_file(slot, fd.get(), UINT64_MAX, 10), int64_t{-EINVAL});
  CHECK_EQ(requests.write_file(slot, 40, fd.get(), UINT64_MAX, 10, false, false), int64_t{-EINVAL});
  CHECK_EQ(requests.read_file(slot + 1, fd.get(), 0, 10), int64_t{-EIO});
  CHECK_EQ(requests.write_file(slot + 1, 40, fd.get(), 0, 10, false, false), int64_t{-EIO});
  put_done(*bed.device, {slot});
  bed.device->complete(1);
}

TEST("file data: a payload is written from where the guest has it, at an offset or at the end") {
  TestBed bed;
  MockDriver driver = bed.connect();
  driver.set_up();
  // A file system that can write without waiting: those of disks often can't.
  const UniqueFd fd(memfd_create("file-data", MFD_CLOEXEC));
  const uint32_t slot = hold_request(bed, driver, {}, 5000);
  RequestPath& requests = bed.device->requests();
  const int64_t written = requests.write_file(slot, 40, fd.get(), 100, 5000, false, false);
  if (written != -EOPNOTSUPP) {
    CHECK_EQ(written, int64_t{5000});
    CHECK_EQ(requests.write_file(slot, 40 + 4990, fd.get(), 0, 1000, true, false), int64_t{10});
    struct stat found;
    CHECK_EQ(fstat(fd.get(), &found), 0);
    CHECK_EQ(found.st_size, off_t{5110});
  }
  put_done(*bed.device, {slot});
  bed.device->complete(1);
}

TEST("file data: guest memory that has vanished is an error, and no zeros reach a file") {
  const UniqueFd fd = cached_file(8192);
  if (!reads_at_once(fd.get())) return;
  TestBed bed;
  MockDriver driver = bed.connect();
  driver.set_up();
  const uint32_t slot = hold_request(bed, driver, {{kReply + 4096, 8192}}, 5000);
  CHECK_EQ(::ftruncate(driver.memory().fd(), kRequest), 0);
  RequestPath& requests = bed.device->requests();
  CHECK_EQ(requests.read_file(slot, fd.get(), 0, 8192), int64_t{-EFAULT});
  CHECK(requests.write_file(slot, 40, fd.get(), 0, 5000, false, false) < 0);
  // The kernel reports it; our own access trips the guard, after which there are zero pages.
  CHECK_EQ(requests.pull(slot, 40, bed.pool->data(), 100), 0u);
  CHECK_EQ(requests.write_file(slot, 40, fd.get(), 0, 5000, false, false), int64_t{-EIO});
  uint8_t first[2];
  CHECK_EQ(pread(fd.get(), first, 2, 0), ssize_t{2});
  CHECK_EQ(first[1], uint8_t{1});
  bed.host.held.clear();
  put_done(*bed.device, {slot});
  bed.device->complete(1);
}
