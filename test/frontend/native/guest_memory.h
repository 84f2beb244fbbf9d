// The memory of the guest that does not exist: one memfd, mapped once, shown to the back-end as one or more regions.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "unique_fd.h"
#include "vhost_user_protocol.h"

namespace ovfs_frontend {

// Everything in the front-end names guest memory by its offset in the memfd; only what the back-end sees is an address.
// Regions lie apart in guest-physical space (as around a PC's hole below 4 GiB), so that a back-end which mixes up
// offsets, user addresses and guest-physical addresses is wrong at once.
class GuestMemory {
 public:
  static constexpr uint64_t kPageBytes = 4096;
  static constexpr uint64_t kFirstGpa = 0x10000000;
  static constexpr uint64_t kRegionGapBytes = 0x40000000;

  // `bytes` is rounded up so that every region is whole pages. Throws std::system_error.
  GuestMemory(uint64_t bytes, uint32_t regions);
  ~GuestMemory();
  GuestMemory(const GuestMemory&) = delete;
  GuestMemory& operator=(const GuestMemory&) = delete;

  [[nodiscard]] uint8_t* data() const { return data_; }
  [[nodiscard]] uint64_t size() const { return size_; }
  [[nodiscard]] int fd() const { return fd_.get(); }
  [[nodiscard]] uint64_t region_bytes() const { return region_bytes_; }
  [[nodiscard]] std::span<const vhost_user::MemRegion> regions() const { return regions_; }

  [[nodiscard]] uint64_t gpa(uint64_t offset) const {
    const uint64_t region = offset / region_bytes_;
    return kFirstGpa + region * (region_bytes_ + kRegionGapBytes) + offset % region_bytes_;
  }
  [[nodiscard]] uint64_t user_addr(uint64_t offset) const { return reinterpret_cast<uint64_t>(data_) + offset; }

 private:
  UniqueFd fd_;
  uint64_t region_bytes_ = 0;
  uint64_t size_ = 0;
  uint8_t* data_ = nullptr;
  std::vector<vhost_user::MemRegion> regions_;
};

}  // namespace ovfs_frontend
