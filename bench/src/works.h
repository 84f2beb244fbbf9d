// The operations that are measured.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "closed_loop.h"

namespace ovfs_bench {

// A small generator of its own, so that every daemon sees the same offsets in the same order.
class Random {
 public:
  uint64_t below(uint64_t bound) {
    state_ ^= state_ << 13;
    state_ ^= state_ >> 7;
    state_ ^= state_ << 17;
    return state_ % bound;
  }

 private:
  uint64_t state_ = 88172645463325252ull;
};

// Names of one length, so that a slot's shape does not depend on the number: PREFIX-0000042.
inline constexpr uint32_t kNumberDigits = 7;
std::string numbered(const std::string& prefix, uint64_t number);

// "f-0000042" with its NUL: the files of the works that make, read and remove many.
inline constexpr uint32_t kFileNameBytes = 2 + kNumberDigits + 1;
// Without allocating.
void put_file_name(uint8_t* where, uint64_t number);

SlotShape read_shape(uint32_t opcode, uint32_t bytes);
SlotShape flush_shape();
SlotShape release_shape(uint32_t opcode);
// Throws when a transfer moved fewer or more bytes than it had to.
void check_whole(uint32_t wanted, uint32_t got);

class GetattrWork : public Work {
 public:
  explicit GetattrWork(std::vector<uint64_t> nodeids) : nodeids_(std::move(nodeids)) {}
  [[nodiscard]] std::vector<SlotShape> shapes() const override;
  uint64_t fill(unsigned lane, unsigned step, RequestSlot& slot) override;

 private:
  std::vector<uint64_t> nodeids_;
  size_t next_ = 0;
};

// Looks up the same names in turn. The lookups must be forgotten afterwards: `lookups` counts them.
class LookupWork : public Work {
 public:
  LookupWork(uint64_t directory, std::vector<std::string> names)
      : directory_(directory), names_(std::move(names)), lookups_(names_.size(), 0) {}
  [[nodiscard]] std::vector<SlotShape> shapes() const override;
  uint64_t fill(unsigned lane, unsigned step, RequestSlot& slot) override;
  // By index of the name.
  [[nodiscard]] const std::vector<uint64_t>& lookups() const { return lookups_; }

 private:
  uint64_t directory_;
  std::vector<std::string> names_;
  std::vector<uint64_t> lookups_;
  size_t next_ = 0;
};

// Reads or writes blocks of one file, at random or in order (round and round).
class TransferWork : public Work {
 public:
  struct File {
    uint64_t nodeid;
    uint64_t fh;
    uint64_t size_bytes;
  };
  // `max_operations` 0 = no limit.
  TransferWork(const File& file, bool write, uint32_t block_bytes, bool random, uint64_t max_operations = 0)
      : file_(file), write_(write), block_bytes_(block_bytes), random_(random), max_operations_(max_operations) {}
  [[nodiscard]] std::vector<SlotShape> shapes() const override;
  uint64_t fill(unsigned lane, unsigned step, RequestSlot& slot) override;
  int completed(unsigned lane, unsigned step, const RequestSlot& slot, uint32_t used_bytes) override;
  [[nodiscard]] uint64_t bytes_per_operation() const override { return block_bytes_; }

 private:
  File file_;
  bool write_;
  uint32_t block_bytes_;
  bool random_;
  uint64_t max_operations_;
  Random random_source_;
  uint64_t begun_ = 0;
};

// CREATE, WRITE 4 KiB, FLUSH, RELEASE: a new file each time.
class CreateWork : public Work {
 public:
  // Starts at file `first`; at most `max_files` files.
  CreateWork(uint64_t directory, uint64_t first, uint64_t max_files);
  [[nodiscard]] std::vector<SlotShape> shapes() const override;
  void begin(unsigned lanes) override { lanes_.resize(lanes); }
  uint64_t fill(unsigned lane, unsigned step, RequestSlot& slot) override;
  int completed(unsigned lane, unsigned step, const RequestSlot& slot, uint32_t used_bytes) override;
  [[nodiscard]] uint64_t bytes_per_operation() const override { return GuestMemory::kPageBytes; }
  // The nodeids of the files made, in no order.
  [[nodiscard]] const std::vector<uint64_t>& nodeids() const { return nodeids_; }
  // One behind the last file's number.
  [[nodiscard]] uint64_t end() const { return next_; }

 private:
  struct State {
    uint64_t nodeid = 0;
    uint64_t fh = 0;
  };
  uint64_t directory_;
  uint64_t next_;
  uint64_t limit_;
  std::vector<State> lanes_;
  std::vector<uint64_t> nodeids_;
};

// UNLINK of the files [first, end) of a CreateWork.
class UnlinkWork : public Work {
 public:
  UnlinkWork(uint64_t directory, uint64_t first, uint64_t end) : directory_(directory), next_(first), end_(end) {}
  [[nodiscard]] std::vector<SlotShape> shapes() const override;
  uint64_t fill(unsigned lane, unsigned step, RequestSlot& slot) override;

 private:
  uint64_t directory_;
  uint64_t next_;
  uint64_t end_;
};

// OPEN, READ 4 KiB, FLUSH, RELEASE of existing small files in turn.
class OpenReadWork : public Work {
 public:
  // `max_operations` 0 = no limit.
  explicit OpenReadWork(std::vector<uint64_t> nodeids, uint64_t max_operations = 0)
      : nodeids_(std::move(nodeids)), max_operations_(max_operations) {}
  [[nodiscard]] std::vector<SlotShape> shapes() const override;
  void begin(unsigned lanes) override { lanes_.resize(lanes); }
  uint64_t fill(unsigned lane, unsigned step, RequestSlot& slot) override;
  int completed(unsigned lane, unsigned step, const RequestSlot& slot, uint32_t used_bytes) override;
  [[nodiscard]] uint64_t bytes_per_operation() const override { return GuestMemory::kPageBytes; }

 private:
  struct State {
    uint64_t nodeid = 0;
    uint64_t fh = 0;
  };
  std::vector<uint64_t> nodeids_;
  uint64_t max_operations_;
  size_t next_ = 0;
  std::vector<State> lanes_;
};

// OPENDIR, READDIRPLUS a page at a time as the kernel reads, RELEASEDIR. One lane.
class ListWork : public Work {
 public:
  // `max_operations` 0 = no limit.
  ListWork(uint64_t directory, uint64_t entries, uint64_t max_operations = 0);
  [[nodiscard]] std::vector<SlotShape> shapes() const override;
  uint64_t fill(unsigned lane, unsigned step, RequestSlot& slot) override;
  int completed(unsigned lane, unsigned step, const RequestSlot& slot, uint32_t used_bytes) override;
  [[nodiscard]] uint64_t items_per_operation() const override { return entries_; }
  // Every nodeid listed, once for each time: to be forgotten.
  [[nodiscard]] const std::vector<uint64_t>& looked_up() const { return looked_up_; }

 private:
  uint64_t directory_;
  uint64_t entries_;
  uint64_t max_operations_;
  uint64_t begun_ = 0;
  uint64_t fh_ = 0;
  uint64_t offset_ = 0;
  uint64_t seen_ = 0;
  std::vector<uint64_t> looked_up_;
};

}  // namespace ovfs_bench
