// Bytes in a file of the host, with checksums that tell whether the disk gives back what it was given.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <cstdint>

namespace ovfsd {

/// What one checksum is over: CHUNK_BYTES of src/cache/disk-tier.ts.
constexpr size_t kCheckedChunkBytes = 64 << 10;

/// CRC-32C, by the processor's own instruction where it has one.
uint32_t crc32c(const uint8_t* data, size_t size) noexcept;

/// One checksum for each chunk of the data; `checksums` has room for them.
void checksum_chunks(const uint8_t* data, size_t size, uint32_t* checksums) noexcept;

/// Write all of it at `offset`, and tell its checksums. 0, or an errno.
int write_checked(int file, const uint8_t* data, size_t size, off_t offset, uint32_t* checksums) noexcept;

/// Read exactly so much at `offset`. 0; EIO where it has not these checksums or ends before; or another errno.
int read_checked(int file, uint8_t* data, size_t size, off_t offset, const uint32_t* checksums) noexcept;

}  // namespace ovfsd
