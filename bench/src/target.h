// One daemon under measurement: a front-end, its ring, and FUSE requests one at a time for what is not timed.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "../../test/frontend/native/front_end.h"
#include "request_slot.h"

namespace ovfs_bench {

using ovfs_frontend::DriverVring;

// A reply with an errno where the benchmark needs success; `error` is positive.
class FuseFailure : public std::runtime_error {
 public:
  FuseFailure(uint32_t opcode, int error);
  [[nodiscard]] int error() const { return error_; }

 private:
  int error_;
};

// Throws FuseFailure, or std::runtime_error when the reply is not the answer to this request.
void check_reply(const RequestSlot& slot, uint32_t used_bytes);

class Target {
 public:
  // Connects, negotiates, FUSE_INIT.
  Target(std::string name, const std::string& socket_path);
  ~Target();
  Target(const Target&) = delete;
  Target& operator=(const Target&) = delete;

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] SlotMemory& slot_memory() { return slot_memory_; }
  [[nodiscard]] DriverVring& requests() { return front_end_.vring(1); }
  // From FUSE_INIT; at most 1 MiB, the largest request of a kernel.
  [[nodiscard]] uint32_t max_io_bytes() const { return max_io_bytes_; }
  uint64_t next_unique() { return unique_ += 2; }

  // A daemon that does not answer for longer is taken for broken; 10 s unless set.
  void set_silence_limit_ms(int limit_ms) { silence_limit_ms_ = limit_ms; }
  // Sleeps until the request ring's call eventfd fires. Throws when the daemon is gone or silent for too long.
  void wait_call();

  // One request, for set-up: sends `args`, returns the reply's arguments (exactly `reply_bytes`).
  std::vector<uint8_t> call(uint32_t opcode, uint64_t nodeid, std::span<const uint8_t> args, uint32_t reply_bytes,
                            std::span<const uint8_t> data = {});
  uint64_t lookup(uint64_t parent, const std::string& name);
  // Returns the nodeid of the directory, made where it is missing.
  uint64_t make_directory(uint64_t parent, const std::string& name);
  struct CreatedFile {
    uint64_t nodeid;
    uint64_t fh;
  };
  // Open for writing.
  CreatedFile create(uint64_t parent, const std::string& name);
  // A file of `bytes` bytes; returns its nodeid.
  uint64_t make_file(uint64_t parent, const std::string& name, uint64_t bytes);
  uint64_t open(uint64_t nodeid, uint32_t flags);
  void flush(uint64_t nodeid, uint64_t fh);
  void release(uint64_t nodeid, uint64_t fh);
  void unlink(uint64_t parent, const std::string& name);
  void fsync(uint64_t nodeid, uint64_t fh);
  // Everything that is not stored yet, of the whole file system.
  void syncfs();
  void rmdir(uint64_t parent, const std::string& name);
  // In batches on the hiprio queue.
  void forget(std::span<const fuse_forget_one> items);

 private:
  // Submits on `queue` and waits. Returns the used length.
  uint32_t exchange(uint32_t queue, RequestSlot& slot);
  void init();
  void wait_call_of(uint32_t queue);

  std::string name_;
  ovfs_frontend::FrontEnd front_end_;
  SlotMemory slot_memory_;
  ovfs_frontend::UniqueFd epoll_;
  uint64_t unique_ = 0;
  int silence_limit_ms_ = 10000;
  uint32_t max_io_bytes_ = 0;
};

// The argument struct and names behind it, as bytes.
template <typename T>
std::vector<uint8_t> pack(const T& args, std::initializer_list<std::string> names = {}) {
  std::vector<uint8_t> bytes(sizeof(T));
  std::memcpy(bytes.data(), &args, sizeof(T));
  for (const std::string& name : names) {
    bytes.insert(bytes.end(), name.begin(), name.end());
    bytes.push_back(0);
  }
  return bytes;
}
std::vector<uint8_t> pack_name(const std::string& name);

}  // namespace ovfs_bench
