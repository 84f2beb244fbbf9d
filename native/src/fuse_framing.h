// The two headers that frame every FUSE message: all that the addon knows of FUSE.
#pragma once

#include <linux/fuse.h>

#include <cstdint>

#include "request_arena.h"

namespace ovfsd {

static_assert(sizeof(fuse_in_header) == 40);
static_assert(sizeof(fuse_out_header) == 16);

/// Is the request's header whole, and does its length tell the truth about the readable part? Sets `slot.unique` as far
/// as the header goes.
/// @param copy the start of the readable part, in the arena.
bool accept_request(RequestSlot& slot, const uint8_t* copy) noexcept;

/// What JavaScript (or the addon itself) answers.
struct FuseReply {
  int32_t error;        ///< 0 or a negative errno; with an error only the header counts
  const uint8_t* args;  ///< reply arguments, unless data was pushed
  uint32_t args_bytes;
};

/// Write the fuse_out_header and the arguments into the writable part; pushed data is there already.
/// A reply that the writable part can't hold becomes -EIO, and nothing where even a header does not fit.
/// @return the used element's length.
uint32_t write_reply(RequestSlot& slot, const FuseReply& reply) noexcept;

}  // namespace ovfsd
