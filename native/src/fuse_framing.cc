#include "fuse_framing.h"

#include <cerrno>
#include <cstddef>
#include <cstring>

namespace ovfsd {
namespace {

// The kernel takes an error outside (-512, 0] for a broken reply (fs/fuse/dev.c): from 512 on they are its internal
// codes.
constexpr int32_t kErrnoLimit = 512;

void write_header(RequestSlot& slot, uint32_t length, int32_t error) noexcept {
  fuse_out_header header = {};
  header.len = length;
  header.error = error;
  header.unique = slot.unique;
  SegmentCursor start;
  scatter(slot.writable, start, 0, reinterpret_cast<const uint8_t*>(&header), sizeof header);
}

}  // namespace

bool accept_request(RequestSlot& slot, const uint8_t* copy) noexcept {
  fuse_in_header header = {};
  if (slot.readable_bytes < sizeof header) {
    // Even of half a header the number is of use: the guest can match our -EINVAL to it.
    constexpr size_t kUniqueEnd = offsetof(fuse_in_header, unique) + sizeof header.unique;
    if (slot.readable_bytes >= kUniqueEnd) {
      std::memcpy(&slot.unique, copy + offsetof(fuse_in_header, unique), sizeof slot.unique);
    }
    return false;
  }
  std::memcpy(&header, copy, sizeof header);
  slot.unique = header.unique;
  return header.len == slot.readable_bytes;
}

uint32_t write_reply(RequestSlot& slot, const FuseReply& reply) noexcept {
  constexpr uint32_t kHeaderBytes = sizeof(fuse_out_header);
  if (slot.writable_bytes < kHeaderBytes) return 0;

  int32_t error = reply.error;
  if (error > 0 || error <= -kErrnoLimit) error = -EIO;
  const bool both =
      slot.pushed_bytes > 0 && reply.args_bytes > 0;  // arguments and data: which comes first is undefined
  const bool fits = reply.args_bytes <= kReplyStrideBytes && reply.args_bytes <= slot.writable_bytes - kHeaderBytes;
  if (error == 0 && (both || !fits)) error = -EIO;
  if (error != 0) {
    write_header(slot, kHeaderBytes, error);
    return kHeaderBytes;
  }

  const uint32_t length = kHeaderBytes + slot.pushed_bytes + reply.args_bytes;
  if (reply.args_bytes > 0) {
    SegmentCursor start;
    scatter(slot.writable, start, kHeaderBytes, reply.args, reply.args_bytes);
  }
  write_header(slot, length, 0);
  return length;
}

}  // namespace ovfsd
