// Work that ends by itself: a file from front to back, and a number of files one at a time, as a guest's programs do it.
#pragma once

#include <cstdint>
#include <vector>

#include "works.h"

namespace ovfs_bench {

// Every page of such a file begins with its own offset plus one, little-endian: what arrives elsewhere is noticed.
constexpr uint64_t page_stamp(uint64_t offset) { return offset + 1; }

// Each block of a file once, in order.
class SequentialWork : public Work {
 public:
  // `file.size_bytes` must be a multiple of `block_bytes`, and that of a page.
  SequentialWork(const TransferWork::File& file, bool write, uint32_t block_bytes)
      : file_(file), write_(write), block_bytes_(block_bytes) {}
  [[nodiscard]] std::vector<SlotShape> shapes() const override;
  uint64_t fill(unsigned lane, unsigned step, RequestSlot& slot) override;
  // Throws std::runtime_error when a read has other data than was stored.
  int completed(unsigned lane, unsigned step, const RequestSlot& slot, uint32_t used_bytes) override;

 private:
  TransferWork::File file_;
  bool write_;
  uint32_t block_bytes_;
  uint64_t next_offset_ = 0;
};

// The files f-0000000 and so on of one directory, with what both works below have in common. One lane.
class FilesWork : public Work {
 public:
  // The nodeids looked up, once for each time: to be forgotten.
  [[nodiscard]] const std::vector<uint64_t>& nodeids() const { return nodeids_; }

 protected:
  FilesWork(uint64_t directory, uint64_t count, uint32_t file_bytes);

  uint64_t directory_;
  uint64_t count_;
  uint32_t file_bytes_;
  uint64_t next_ = 0;
  uint64_t nodeid_ = 0;
  uint64_t fh_ = 0;
  std::vector<uint64_t> nodeids_;
};

// LOOKUP (which finds nothing), CREATE, WRITE, FLUSH, RELEASE, as Linux does for a program that makes a file.
class CreateFilesWork : public FilesWork {
 public:
  CreateFilesWork(uint64_t directory, uint64_t count, uint32_t file_bytes)
      : FilesWork(directory, count, file_bytes) {}
  [[nodiscard]] std::vector<SlotShape> shapes() const override;
  uint64_t fill(unsigned lane, unsigned step, RequestSlot& slot) override;
  int completed(unsigned lane, unsigned step, const RequestSlot& slot, uint32_t used_bytes) override;
  [[nodiscard]] bool expects_error(unsigned step, int error) const override;
};

// LOOKUP, OPEN, READ of whole pages, FLUSH, RELEASE.
class ReadFilesWork : public FilesWork {
 public:
  ReadFilesWork(uint64_t directory, uint64_t count, uint32_t file_bytes) : FilesWork(directory, count, file_bytes) {}
  [[nodiscard]] std::vector<SlotShape> shapes() const override;
  uint64_t fill(unsigned lane, unsigned step, RequestSlot& slot) override;
  int completed(unsigned lane, unsigned step, const RequestSlot& slot, uint32_t used_bytes) override;
};

}  // namespace ovfs_bench
