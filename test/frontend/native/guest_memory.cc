#include "guest_memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <stdexcept>
#include <system_error>

namespace ovfs_frontend {

GuestMemory::GuestMemory(uint64_t bytes, uint32_t regions) : fd_(::memfd_create("guest-memory", MFD_CLOEXEC)) {
  if (!fd_.valid()) throw std::system_error(errno, std::generic_category(), "memfd_create");
  if (regions == 0 || regions > vhost_user::kMaxMemTableRegions) {
    throw std::invalid_argument("regions must be 1..8");
  }
  region_bytes_ = (bytes / regions + kPageBytes - 1) / kPageBytes * kPageBytes;
  if (region_bytes_ == 0) throw std::invalid_argument("guest memory must not be empty");
  size_ = region_bytes_ * regions;
  if (::ftruncate(fd_.get(), static_cast<off_t>(size_)) != 0) {
    throw std::system_error(errno, std::generic_category(), "ftruncate guest memory");
  }
  void* mapped = ::mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_SHARED, fd_.get(), 0);
  if (mapped == MAP_FAILED) throw std::system_error(errno, std::generic_category(), "mmap guest memory");
  data_ = static_cast<uint8_t*>(mapped);
  for (uint32_t i = 0; i < regions; ++i) {
    const uint64_t offset = i * region_bytes_;
    regions_.push_back({gpa(offset), region_bytes_, user_addr(offset), offset});
  }
}

GuestMemory::~GuestMemory() { ::munmap(data_, size_); }

}  // namespace ovfs_frontend
