// The pool: anonymous memory, mapped once, in huge pages where the host gives them. A memfd could be mapped into a guest by a
// DAX window, but has pages of 4 KiB on most hosts, and copying from and to those costs a sixth more.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ovfsd {

class SlabMemory {
 public:
  /// @param size_bytes at least 1. Pages are taken when first written.
  /// @throws std::system_error
  explicit SlabMemory(uint64_t size_bytes);
  ~SlabMemory();
  SlabMemory(const SlabMemory&) = delete;
  SlabMemory& operator=(const SlabMemory&) = delete;

  uint8_t* data() const noexcept { return data_; }
  uint64_t size_bytes() const noexcept { return size_bytes_; }

  /// The range lies within the pool.
  bool holds(uint64_t offset, uint64_t length_bytes) const noexcept {
    return offset <= size_bytes_ && length_bytes <= size_bytes_ - offset;
  }

 private:
  uint8_t* data_ = nullptr;
  uint64_t size_bytes_;
};

}  // namespace ovfsd
