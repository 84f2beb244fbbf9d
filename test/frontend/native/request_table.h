// The requests in flight on one vring: their buffers in guest memory, and what came back.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "buffer_allocator.h"
#include "driver_vring.h"

namespace ovfs_frontend {

struct Completion {
  uint64_t id = 0;
  // used_elem.len as the device gave it.
  uint32_t used_bytes = 0;
  // The first `used_bytes` bytes of the writable part (all of it where the device claims more).
  std::vector<uint8_t> data;
  // Empty, or what the device did wrong with this chain.
  std::string violation;
};

class RequestTable {
 public:
  // Bytes that fill the writable part before the device sees it: what it leaves out shows.
  static constexpr uint8_t kPoison = 0xDB;

  RequestTable(GuestMemory& memory, BufferAllocator& allocator, DriverVring& vring, bool indirect)
      : memory_(memory), allocator_(allocator), vring_(vring), indirect_(indirect), in_flight_(vring.size()) {}

  // Lays `readable` out over segments of `readable_sizes` bytes (their sum is its length), adds writable segments, and
  // puts the chain into the avail ring, unpublished. False when descriptors or memory are short for now. Throws
  // std::invalid_argument when the sizes do not fit each other.
  bool submit(uint64_t id, std::span<const uint8_t> readable, std::span<const uint32_t> readable_sizes,
              std::span<const uint32_t> writable_sizes);

  // The next completed request. Throws when the device broke the ring.
  std::optional<Completion> reap();

 private:
  struct Segment {
    uint64_t offset;
    uint32_t bytes;
  };
  struct InFlight {
    uint64_t id = 0;
    std::vector<Segment> readable;
    std::vector<Segment> writable;
    std::optional<Segment> table;
    // The device may not change the readable part.
    std::vector<uint8_t> sent;
  };

  bool allocate(InFlight& request, std::span<const uint32_t> readable_sizes, std::span<const uint32_t> writable_sizes);
  void release(const InFlight& request);
  [[nodiscard]] std::vector<vring_desc> descriptors(const InFlight& request) const;
  std::optional<uint16_t> add(InFlight& request);
  [[nodiscard]] std::string violation_of(const InFlight& request, uint32_t used_bytes) const;

  GuestMemory& memory_;
  BufferAllocator& allocator_;
  DriverVring& vring_;
  bool indirect_;
  std::vector<InFlight> in_flight_;  // by head
};

}  // namespace ovfs_frontend
