#include "request_table.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <stdexcept>

namespace ovfs_frontend {

bool RequestTable::allocate(InFlight& request, std::span<const uint32_t> readable_sizes,
                            std::span<const uint32_t> writable_sizes) {
  const auto take = [this](uint32_t bytes, std::vector<Segment>& into) {
    const std::optional<uint64_t> offset = allocator_.allocate(bytes);
    if (offset) into.push_back({*offset, bytes});
    return offset.has_value();
  };
  for (const uint32_t bytes : readable_sizes) {
    if (!take(bytes, request.readable)) return false;
  }
  for (const uint32_t bytes : writable_sizes) {
    if (!take(bytes, request.writable)) return false;
  }
  const size_t count = readable_sizes.size() + writable_sizes.size();
  if (!indirect_ || count < 2) return true;
  const uint32_t table_bytes = static_cast<uint32_t>(count * sizeof(vring_desc));
  const std::optional<uint64_t> offset = allocator_.allocate(table_bytes);
  if (offset) request.table = Segment{*offset, table_bytes};
  return offset.has_value();
}

void RequestTable::release(const InFlight& request) {
  for (const Segment& segment : request.readable) allocator_.release(segment.offset, segment.bytes);
  for (const Segment& segment : request.writable) allocator_.release(segment.offset, segment.bytes);
  if (request.table) allocator_.release(request.table->offset, request.table->bytes);
}

std::vector<vring_desc> RequestTable::descriptors(const InFlight& request) const {
  std::vector<vring_desc> chain;
  for (const Segment& segment : request.readable) chain.push_back({memory_.gpa(segment.offset), segment.bytes, 0, 0});
  for (const Segment& segment : request.writable) {
    chain.push_back({memory_.gpa(segment.offset), segment.bytes, VRING_DESC_F_WRITE, 0});
  }
  return chain;
}

std::optional<uint16_t> RequestTable::add(InFlight& request) {
  std::vector<vring_desc> chain = descriptors(request);
  if (!request.table) return vring_.add_chain(chain);
  for (size_t i = 0; i + 1 < chain.size(); ++i) {
    chain[i].flags |= VRING_DESC_F_NEXT;
    chain[i].next = static_cast<uint16_t>(i + 1);
  }
  std::memcpy(memory_.data() + request.table->offset, chain.data(), request.table->bytes);
  return vring_.add_indirect(memory_.gpa(request.table->offset), static_cast<uint32_t>(chain.size()));
}

bool RequestTable::submit(uint64_t id, std::span<const uint8_t> readable, std::span<const uint32_t> readable_sizes,
                          std::span<const uint32_t> writable_sizes) {
  if (std::accumulate(readable_sizes.begin(), readable_sizes.end(), uint64_t{0}) != readable.size()) {
    throw std::invalid_argument("the readable segments do not add up to the readable bytes");
  }
  if (readable_sizes.size() + writable_sizes.size() > vring_.size()) {
    throw std::invalid_argument("the chain has more segments than the queue has entries");
  }
  InFlight request;
  request.id = id;
  if (!allocate(request, readable_sizes, writable_sizes)) {
    release(request);
    return false;
  }
  size_t done = 0;
  for (const Segment& segment : request.readable) {
    std::memcpy(memory_.data() + segment.offset, readable.data() + done, segment.bytes);
    done += segment.bytes;
  }
  for (const Segment& segment : request.writable) {
    std::memset(memory_.data() + segment.offset, kPoison, segment.bytes);
  }
  const std::optional<uint16_t> head = add(request);
  if (!head) {
    release(request);
    return false;
  }
  request.sent.assign(readable.begin(), readable.end());
  in_flight_[*head] = std::move(request);
  return true;
}

std::string RequestTable::violation_of(const InFlight& request, uint32_t used_bytes) const {
  uint64_t writable_bytes = 0;
  for (const Segment& segment : request.writable) writable_bytes += segment.bytes;
  if (used_bytes > writable_bytes) {
    return "the device claims " + std::to_string(used_bytes) + " bytes written into " +
           std::to_string(writable_bytes);
  }
  const auto intact = [this](const Segment& segment) { return allocator_.guard_intact(segment.offset, segment.bytes); };
  const bool guards = std::all_of(request.readable.begin(), request.readable.end(), intact) &&
                      std::all_of(request.writable.begin(), request.writable.end(), intact) &&
                      (!request.table || intact(*request.table));
  if (!guards) return "the device wrote behind a descriptor";
  size_t done = 0;
  for (const Segment& segment : request.readable) {
    if (std::memcmp(memory_.data() + segment.offset, request.sent.data() + done, segment.bytes) != 0) {
      return "the device wrote into a readable descriptor";
    }
    done += segment.bytes;
  }
  return {};
}

std::optional<Completion> RequestTable::reap() {
  const std::optional<vring_used_elem> element = vring_.pop_used();
  if (!element) return std::nullopt;
  const InFlight request = std::move(in_flight_[element->id]);
  Completion completion;
  completion.id = request.id;
  completion.used_bytes = element->len;
  completion.violation = violation_of(request, element->len);
  for (const Segment& segment : request.writable) {
    const size_t left = element->len > completion.data.size() ? element->len - completion.data.size() : 0;
    const uint8_t* start = memory_.data() + segment.offset;
    completion.data.insert(completion.data.end(), start, start + std::min<size_t>(left, segment.bytes));
  }
  release(request);
  return completion;
}

}  // namespace ovfs_frontend
