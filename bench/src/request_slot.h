// A FUSE request laid out in guest memory once and sent many times.
#pragma once

#include <linux/fuse.h>

#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

#include "../../test/frontend/native/guest_memory.h"

namespace ovfs_bench {

using ovfs_frontend::GuestMemory;

// Hands out guest memory from the end of the vrings on: small pieces, and pages in shuffled order, as the pages behind
// a guest's page cache lie.
class SlotMemory {
 public:
  SlotMemory(GuestMemory& memory, uint64_t begin);

  // `bytes` up to a page, 64-byte aligned. Throws std::bad_alloc when all is taken.
  uint64_t small(uint64_t bytes);
  // Contiguous memory for an indirect table.
  uint64_t table(uint64_t bytes);
  uint64_t page();
  // Everything is free again; slots made before must not be used any more.
  void rewind();

  [[nodiscard]] GuestMemory& memory() { return memory_; }

 private:
  GuestMemory& memory_;
  uint64_t small_begin_;
  uint64_t small_end_;
  uint64_t small_next_;
  std::vector<uint64_t> pages_;
  size_t page_next_ = 0;
};

struct SlotShape {
  uint32_t opcode;
  uint32_t args_bytes;
  uint32_t data_in_bytes = 0;
  uint32_t reply_bytes = 0;
  uint32_t data_out_bytes = 0;
  // FORGET and its kin have no fuse_out_header.
  bool has_reply = true;
};

// Laid out as Linux's virtiofs does: fuse_in_header, arguments, pages of data, fuse_out_header, reply arguments, pages
// of reply data, each a descriptor of an indirect table of its own.
class RequestSlot {
 public:
  RequestSlot(SlotMemory& memory, const SlotShape& shape);

  [[nodiscard]] uint64_t table_gpa() const { return table_gpa_; }
  [[nodiscard]] uint32_t entries() const { return entries_; }

  // Set before every submission.
  void address(uint64_t unique, uint64_t nodeid) {
    in_->unique = unique;
    in_->nodeid = nodeid;
  }
  // The arguments as struct T. May be followed by names: see `put_name`.
  template <typename T>
  [[nodiscard]] T& args() {
    return *reinterpret_cast<T*>(args_);
  }
  template <typename T>
  [[nodiscard]] const T& args() const {
    return *reinterpret_cast<const T*>(args_);
  }
  // Writes a name with its NUL into the arguments at `offset`.
  void put_name(uint32_t offset, std::string_view name) {
    std::memcpy(args_ + offset, name.data(), name.size());
    args_[offset + name.size()] = 0;
  }
  [[nodiscard]] uint8_t* args_bytes() { return args_; }

  [[nodiscard]] uint32_t opcode() const { return in_->opcode; }
  [[nodiscard]] uint64_t unique() const { return in_->unique; }
  [[nodiscard]] const fuse_out_header& out() const { return *out_; }
  [[nodiscard]] bool has_reply() const { return out_ != nullptr; }
  template <typename T>
  [[nodiscard]] const T& reply(uint32_t offset = 0) const {
    return *reinterpret_cast<const T*>(reply_ + offset);
  }
  [[nodiscard]] const std::vector<uint8_t*>& data_in() const { return data_in_; }
  [[nodiscard]] const std::vector<uint8_t*>& data_out() const { return data_out_; }

 private:
  uint64_t table_gpa_ = 0;
  uint32_t entries_ = 0;
  fuse_in_header* in_ = nullptr;
  uint8_t* args_ = nullptr;
  std::vector<uint8_t*> data_in_;
  fuse_out_header* out_ = nullptr;
  uint8_t* reply_ = nullptr;
  std::vector<uint8_t*> data_out_;
};

}  // namespace ovfs_bench
