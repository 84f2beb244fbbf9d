// Scattered guest memory and copying to and from it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

namespace ovfsd {

/// A contiguous piece of guest memory, as the host sees it.
struct Segment {
  uint8_t* base;
  uint32_t length_bytes;
};

using Segments = std::vector<Segment>;

/// Where a copy stopped, so that the next one does not walk the list from its start again: a 1 MiB request is ~258
/// segments and may be moved in many steps.
struct SegmentCursor {
  uint32_t index = 0;         ///< of the segment
  uint64_t start_offset = 0;  ///< of that segment's first byte from the list's start
};

/// Call `piece(base, length, done)` for the contiguous pieces of [offset, offset + length) as far as the segments
/// reach.
/// @return bytes covered.
template <typename Piece>
uint32_t for_each_piece(const Segments& segments, SegmentCursor& cursor, uint64_t offset, uint32_t length,
                        Piece&& piece) {
  if (offset < cursor.start_offset) cursor = {};
  uint32_t done = 0;
  while (done < length && cursor.index < segments.size()) {
    const Segment& segment = segments[cursor.index];
    const uint64_t within = offset + done - cursor.start_offset;
    if (within >= segment.length_bytes) {
      cursor.start_offset += segment.length_bytes;
      ++cursor.index;
      continue;
    }
    const uint32_t part = std::min(segment.length_bytes - static_cast<uint32_t>(within), length - done);
    piece(segment.base + within, part, done);
    done += part;
  }
  return done;
}

/// Copy out of the segments. @return bytes copied.
inline uint32_t gather(const Segments& segments, SegmentCursor& cursor, uint64_t offset, uint8_t* target,
                       uint32_t length) {
  return for_each_piece(segments, cursor, offset, length, [target](uint8_t* base, uint32_t part, uint32_t done) {
    std::memcpy(target + done, base, part);
  });
}

/// Copy into the segments. @return bytes copied.
inline uint32_t scatter(const Segments& segments, SegmentCursor& cursor, uint64_t offset, const uint8_t* source,
                        uint32_t length) {
  return for_each_piece(segments, cursor, offset, length, [source](uint8_t* base, uint32_t part, uint32_t done) {
    std::memcpy(base, source + done, part);
  });
}

/// Write zeros into the segments. @return bytes written.
inline uint32_t scatter_zeros(const Segments& segments, SegmentCursor& cursor, uint64_t offset, uint32_t length) {
  return for_each_piece(segments, cursor, offset, length,
                        [](uint8_t* base, uint32_t part, uint32_t) { std::memset(base, 0, part); });
}

}  // namespace ovfsd
