#include "guest_memory.h"

#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>

#include "refusal.h"

namespace ovfsd {
namespace {

std::string hex(uint64_t value) {
  char text[24];
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(value));
  return text;
}

/// Offsets and lengths of a mapping must be multiples of this: the page size, or the huge page size on hugetlbfs.
uint64_t mapping_granule(int fd) {
  const auto page = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  struct statfs info = {};
  int rc;
  do rc = ::fstatfs(fd, &info);
  while (rc != 0 && errno == EINTR);
  if (rc == 0 && info.f_type == HUGETLBFS_MAGIC) return static_cast<uint64_t>(info.f_bsize);
  return page;
}

void check_file_holds(const RegionDescription& region, int fd) {
  struct stat info = {};
  if (::fstat(fd, &info) != 0) throw Refusal(std::string("memory region: fstat: ") + std::strerror(errno));
  // memfd, tmpfs, hugetlbfs and plain files all are regular files; anything else has no size to check against.
  if (!S_ISREG(info.st_mode)) throw Refusal("memory region: the file descriptor is not a regular file");
  const auto file_bytes = static_cast<uint64_t>(info.st_size);
  if (region.mmap_offset > file_bytes || region.memory_size > file_bytes - region.mmap_offset) {
    throw Refusal("memory region: offset " + hex(region.mmap_offset) + " + size " + hex(region.memory_size) +
                  " is beyond the file's " + hex(file_bytes) + " bytes");
  }
}

bool overlap(uint64_t a, uint64_t a_size, uint64_t b, uint64_t b_size) {
  return a < b ? b - a < a_size : a - b < b_size;
}

}  // namespace

MappedRegion::MappedRegion(const RegionDescription& description, int fd) : description_(description) {
  const uint64_t size = description.memory_size;
  if (size == 0) throw Refusal("memory region: size 0");
  if (description.guest_phys_addr > UINT64_MAX - size || description.userspace_addr > UINT64_MAX - size) {
    throw Refusal("memory region: address + size overflows");
  }
  check_file_holds(description, fd);

  // The specification does not promise an aligned mmap_offset: map from the granule below.
  const uint64_t granule = mapping_granule(fd);
  const uint64_t lead = description.mmap_offset % granule;
  // Cannot overflow: offset + size is at most the file's size, which is below 2^63.
  const uint64_t length = (lead + size + granule - 1) / granule * granule;
  void* mapping = ::mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd,
                         static_cast<off_t>(description.mmap_offset - lead));
  if (mapping == MAP_FAILED) throw Refusal(std::string("memory region: mmap: ") + std::strerror(errno));
  mapping_ = mapping;
  mapping_bytes_ = length;
  host_ = static_cast<uint8_t*>(mapping) + lead;
  try {
    guard_.emplace(mapping, length);
  } catch (...) {
    ::munmap(mapping_, mapping_bytes_);
    throw;
  }
  // A core dump of the daemon must hold no guest's memory, and dumping it would take minutes.
  ::madvise(mapping_, mapping_bytes_, MADV_DONTDUMP);
}

MappedRegion::~MappedRegion() {
  guard_.reset();  // before the addresses can be given to somebody else
  ::munmap(mapping_, mapping_bytes_);
}

GuestMemory::GuestMemory(std::vector<Region> regions) : regions_(std::move(regions)) {
  ranges_.reserve(regions_.size());
  for (const Region& region : regions_) {
    ranges_.push_back({region->description().guest_phys_addr, region->description().memory_size, region->host()});
  }
}

GuestMemory::Snapshot GuestMemory::empty() { return Snapshot(new GuestMemory({})); }

GuestMemory::Snapshot GuestMemory::of(std::vector<Region> regions) {
  if (regions.size() > kMaxRegions) throw Refusal("more than " + std::to_string(kMaxRegions) + " memory regions");
  std::sort(regions.begin(), regions.end(), [](const Region& a, const Region& b) {
    return a->description().guest_phys_addr < b->description().guest_phys_addr;
  });
  for (size_t i = 0; i < regions.size(); ++i) {
    const RegionDescription& a = regions[i]->description();
    for (size_t j = i + 1; j < regions.size(); ++j) {
      const RegionDescription& b = regions[j]->description();
      if (overlap(a.guest_phys_addr, a.memory_size, b.guest_phys_addr, b.memory_size) ||
          overlap(a.userspace_addr, a.memory_size, b.userspace_addr, b.memory_size)) {
        throw Refusal("memory regions at guest physical " + hex(a.guest_phys_addr) + " and " + hex(b.guest_phys_addr) +
                      " overlap");
      }
    }
  }
  return Snapshot(new GuestMemory(std::move(regions)));
}

GuestMemory::Snapshot GuestMemory::with(Region region) const {
  std::vector<Region> regions = regions_;
  regions.push_back(std::move(region));
  return of(std::move(regions));
}

GuestMemory::Snapshot GuestMemory::without(const RegionDescription& description) const {
  std::vector<Region> regions = regions_;
  const auto found = std::find_if(regions.begin(), regions.end(), [&](const Region& region) {
    const RegionDescription& candidate = region->description();
    return candidate.guest_phys_addr == description.guest_phys_addr &&
           candidate.memory_size == description.memory_size && candidate.userspace_addr == description.userspace_addr;
  });
  if (found == regions.end()) throw Refusal("no memory region at guest physical " + hex(description.guest_phys_addr));
  regions.erase(found);
  return Snapshot(new GuestMemory(std::move(regions)));
}

HostSpan GuestMemory::at_gpa(uint64_t gpa, uint64_t length_bytes) const noexcept {
  // Guests have one to three regions as a rule: the search is one or two comparisons.
  auto next = std::upper_bound(ranges_.begin(), ranges_.end(), gpa,
                               [](uint64_t address, const Range& range) { return address < range.gpa; });
  if (next == ranges_.begin()) return {nullptr, 0};
  const Range& range = *--next;
  const uint64_t offset = gpa - range.gpa;
  if (offset >= range.size) return {nullptr, 0};
  return {range.host + offset, std::min(length_bytes, range.size - offset)};
}

uint8_t* GuestMemory::at_user_addr(uint64_t user_addr, uint64_t length_bytes) const noexcept {
  for (const Region& region : regions_) {
    const RegionDescription& d = region->description();
    if (user_addr < d.userspace_addr) continue;
    const uint64_t offset = user_addr - d.userspace_addr;
    if (offset < d.memory_size && length_bytes <= d.memory_size - offset) return region->host() + offset;
  }
  return nullptr;
}

const MappedRegion* GuestMemory::broken_region() const noexcept {
  for (const Region& region : regions_) {
    if (region->broken()) return region.get();
  }
  return nullptr;
}

}  // namespace ovfsd
