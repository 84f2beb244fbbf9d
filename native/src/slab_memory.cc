#include "slab_memory.h"

#include <fcntl.h>
#include <sys/mman.h>

#include <cerrno>
#include <system_error>

namespace ovfsd {
namespace {

[[noreturn]] void fail(const char* what) { throw std::system_error(errno, std::generic_category(), what); }

}  // namespace

SlabMemory::SlabMemory(uint64_t size_bytes)
    : fd_(::memfd_create("ovfsd-slabs", MFD_CLOEXEC | MFD_ALLOW_SEALING)), size_bytes_(size_bytes) {
  if (!fd_) fail("memfd_create");
  if (size_bytes == 0 || size_bytes > static_cast<uint64_t>(INT64_MAX)) {
    throw std::system_error(EINVAL, std::generic_category(), "pool size");
  }
  int rc;
  do rc = ::ftruncate(fd_.get(), static_cast<off_t>(size_bytes));
  while (rc != 0 && errno == EINTR);
  if (rc != 0) fail("ftruncate of the pool");
  // Whoever gets this descriptor one day must not be able to take pages away under our mapping.
  if (::fcntl(fd_.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0) fail("sealing of the pool");
  void* mapping = ::mmap(nullptr, size_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd_.get(), 0);
  if (mapping == MAP_FAILED) fail("mmap of the pool");
  data_ = static_cast<uint8_t*>(mapping);
  ::madvise(mapping, size_bytes, MADV_DONTDUMP);  // cached file contents do not belong into a core dump
}

SlabMemory::~SlabMemory() {
  if (data_ != nullptr) ::munmap(data_, size_bytes_);
}

}  // namespace ovfsd
