// The guest's memory as the front-end describes it: regions of files, mapped.
//
// A GuestMemory never changes. A new table, an added or a removed region make a new snapshot that shares the mappings
// it keeps; requests in flight hold the snapshot they were popped from, so their addresses stay mapped until they are
// done.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "sigbus_guard.h"

namespace ovfsd {

/// One region as in VhostUserMemoryRegion of the vhost-user specification. All in bytes.
struct RegionDescription {
  uint64_t guest_phys_addr;
  uint64_t memory_size;
  uint64_t userspace_addr;  ///< in the front-end's address space; ring addresses are given in it
  uint64_t mmap_offset;     ///< of the region's first byte in the file
};

/// A mapped region. Unmapped when the last snapshot that holds it goes.
class MappedRegion {
 public:
  /// Map `description` from `fd` (not kept).
  /// @throws Refusal when sizes overflow, the file is not a regular one or too short, or mmap fails.
  MappedRegion(const RegionDescription& description, int fd);
  ~MappedRegion();
  MappedRegion(const MappedRegion&) = delete;
  MappedRegion& operator=(const MappedRegion&) = delete;

  const RegionDescription& description() const noexcept { return description_; }
  uint8_t* host() const noexcept { return host_; }
  /// The file shrank under the mapping; its contents are gone.
  bool broken() const noexcept { return guard_.has_value() && guard_->tripped(); }

 private:
  RegionDescription description_;
  void* mapping_ = nullptr;
  size_t mapping_bytes_ = 0;
  uint8_t* host_ = nullptr;
  std::optional<SigbusGuard> guard_;
};

/// A piece of host memory. `length_bytes` 0 = nothing is there.
struct HostSpan {
  uint8_t* data;
  uint64_t length_bytes;
};

class GuestMemory {
 public:
  using Snapshot = std::shared_ptr<const GuestMemory>;
  using Region = std::shared_ptr<const MappedRegion>;

  /// Reported by GET_MAX_MEM_SLOTS: the user memory slots that KVM offers, so no front-end can need more.
  static constexpr size_t kMaxRegions = 509;

  /// A table without regions.
  static Snapshot empty();
  /// @throws Refusal when regions overlap or are too many.
  static Snapshot of(std::vector<Region> regions);

  /// @throws Refusal as `of`.
  Snapshot with(Region region) const;
  /// The region is known by its guest physical address, size and user address (the file offset is not compared, as
  /// front-ends leave it out).
  /// @throws Refusal when there is none such.
  Snapshot without(const RegionDescription& description) const;

  /// Host memory from `gpa` on: up to `length_bytes`, less where the region ends. Never overflows.
  HostSpan at_gpa(uint64_t gpa, uint64_t length_bytes) const noexcept;
  /// All of [user_addr, user_addr + length_bytes) in one region, or nullptr.
  uint8_t* at_user_addr(uint64_t user_addr, uint64_t length_bytes) const noexcept;

  size_t region_count() const noexcept { return regions_.size(); }
  /// A region whose file shrank, or nullptr.
  const MappedRegion* broken_region() const noexcept;

 private:
  explicit GuestMemory(std::vector<Region> regions);

  // What translation needs, side by side: a lookup touches one or two cache lines.
  struct Range {
    uint64_t gpa;
    uint64_t size;
    uint8_t* host;
  };

  std::vector<Region> regions_;  // sorted by guest physical address
  std::vector<Range> ranges_;    // the same order
};

}  // namespace ovfsd
