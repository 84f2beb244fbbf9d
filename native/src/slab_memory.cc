#include "slab_memory.h"

#include <sys/mman.h>

#include <cerrno>
#include <system_error>

namespace ovfsd {

SlabMemory::SlabMemory(uint64_t size_bytes) : size_bytes_(size_bytes) {
  if (size_bytes == 0 || size_bytes > static_cast<uint64_t>(INT64_MAX)) {
    throw std::system_error(EINVAL, std::generic_category(), "pool size");
  }
  constexpr int kFlags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
  void* mapping = ::mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE, kFlags, -1, 0);
  if (mapping == MAP_FAILED) throw std::system_error(errno, std::generic_category(), "mmap of the pool");
  data_ = static_cast<uint8_t*>(mapping);
  ::madvise(mapping, size_bytes, MADV_HUGEPAGE);
  ::madvise(mapping, size_bytes, MADV_DONTDUMP);  // cached file contents do not belong into a core dump
}

SlabMemory::~SlabMemory() {
  if (data_ != nullptr) ::munmap(data_, size_bytes_);
}

}  // namespace ovfsd
