// Bytes that the disk has changed are never given back.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "../src/checked_file.h"
#include "check.h"

using namespace ovfsd;

namespace {

class TemporaryFile {
 public:
  TemporaryFile() {
    char name[] = "/tmp/ovfsd-checked-XXXXXX";
    file_ = mkstemp(name);
    unlink(name);
  }
  ~TemporaryFile() { close(file_); }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;

  int get() const { return file_; }

 private:
  int file_ = -1;
};

const uint8_t* bytes(const char* text) { return reinterpret_cast<const uint8_t*>(text); }

}  // namespace

TEST("checked file: the checksum is the one of Castagnoli") {
  // RFC 3720, B.4, and the check value of the catalogues.
  CHECK_EQ(crc32c(bytes("123456789"), 9), 0xe3069283u);
  const std::vector<uint8_t> zeros(32, 0);
  CHECK_EQ(crc32c(zeros.data(), zeros.size()), 0x8a9136aau);
  CHECK_EQ(crc32c(nullptr, 0), 0u);
}

TEST("checked file: what was written is read, and what was changed is not") {
  const TemporaryFile file;
  std::vector<uint8_t> data(3 * kCheckedChunkBytes + 17);
  for (size_t i = 0; i < data.size(); i++) data[i] = static_cast<uint8_t>(i * 31 + i / 256);
  std::vector<uint32_t> checksums(4);
  CHECK_EQ(write_checked(file.get(), data.data(), data.size(), 4096, checksums.data()), 0);
  std::vector<uint8_t> got(data.size());
  CHECK_EQ(read_checked(file.get(), got.data(), got.size(), 4096, checksums.data()), 0);
  CHECK(got == data);
  for (size_t at : {size_t{0}, kCheckedChunkBytes - 1, kCheckedChunkBytes, data.size() - 1}) {
    const uint8_t wrong = data[at] ^ 1;
    CHECK_EQ(pwrite(file.get(), &wrong, 1, static_cast<off_t>(4096 + at)), 1);
    CHECK_EQ(read_checked(file.get(), got.data(), got.size(), 4096, checksums.data()), EIO);
    CHECK_EQ(pwrite(file.get(), &data[at], 1, static_cast<off_t>(4096 + at)), 1);
  }
  CHECK_EQ(read_checked(file.get(), got.data(), got.size(), 4096, checksums.data()), 0);
  CHECK_EQ(ftruncate(file.get(), static_cast<off_t>(4096 + data.size() - 1)), 0);
  CHECK_EQ(read_checked(file.get(), got.data(), got.size(), 4096, checksums.data()), EIO);
  CHECK_EQ(read_checked(-1, got.data(), got.size(), 0, checksums.data()), EBADF);
}
