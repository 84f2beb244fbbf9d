#include "checked_file.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

namespace ovfsd {
namespace {

/// Castagnoli's polynomial, reversed.
constexpr uint32_t kPolynomial = 0x82f63b78;

constexpr std::array<uint32_t, 256> make_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t byte = 0; byte < 256; byte++) {
    uint32_t remainder = byte;
    for (int bit = 0; bit < 8; bit++) remainder = (remainder & 1) == 0 ? remainder >> 1 : (remainder >> 1) ^ kPolynomial;
    table[byte] = remainder;
  }
  return table;
}

uint32_t crc32c_by_table(const uint8_t* data, size_t size) noexcept {
  static constexpr std::array<uint32_t, 256> kTable = make_table();
  uint32_t crc = 0xffffffff;
  for (size_t i = 0; i < size; i++) crc = (crc >> 8) ^ kTable[(crc ^ data[i]) & 0xff];
  return ~crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) uint32_t crc32c_by_processor(const uint8_t* data, size_t size) noexcept {
  uint64_t crc = 0xffffffff;
  for (; size >= sizeof(uint64_t); data += sizeof(uint64_t), size -= sizeof(uint64_t)) {
    uint64_t word = 0;
    std::memcpy(&word, data, sizeof word);
    crc = _mm_crc32_u64(crc, word);
  }
  auto rest = static_cast<uint32_t>(crc);
  for (; size > 0; data++, size--) rest = _mm_crc32_u8(rest, *data);
  return ~rest;
}
#endif

/// Data and checksums of one chunk after the other.
template <typename Visit>
void for_each_chunk(size_t size, Visit visit) {
  for (size_t start = 0, index = 0; start < size; start += kCheckedChunkBytes, index++) {
    visit(index, start, std::min(kCheckedChunkBytes, size - start));
  }
}

}  // namespace

uint32_t crc32c(const uint8_t* data, size_t size) noexcept {
#if defined(__x86_64__)
  static const bool has_instruction = __builtin_cpu_supports("sse4.2") != 0;
  if (has_instruction) return crc32c_by_processor(data, size);
#endif
  return crc32c_by_table(data, size);
}

void checksum_chunks(const uint8_t* data, size_t size, uint32_t* checksums) noexcept {
  for_each_chunk(size, [&](size_t index, size_t start, size_t bytes) { checksums[index] = crc32c(data + start, bytes); });
}

int write_checked(int file, const uint8_t* data, size_t size, off_t offset, uint32_t* checksums) noexcept {
  checksum_chunks(data, size, checksums);
  for (size_t done = 0; done < size;) {
    const ssize_t written = pwrite(file, data + done, size - done, offset + static_cast<off_t>(done));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return errno;
    if (written == 0) return ENOSPC;
    done += static_cast<size_t>(written);
  }
  return 0;
}

int read_checked(int file, uint8_t* data, size_t size, off_t offset, const uint32_t* checksums) noexcept {
  for (size_t done = 0; done < size;) {
    const ssize_t got = pread(file, data + done, size - done, offset + static_cast<off_t>(done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno;
    if (got == 0) return EIO;
    done += static_cast<size_t>(got);
  }
  bool is_right = true;
  for_each_chunk(size, [&](size_t index, size_t start, size_t bytes) {
    is_right = is_right && crc32c(data + start, bytes) == checksums[index];
  });
  return is_right ? 0 : EIO;
}

}  // namespace ovfsd
