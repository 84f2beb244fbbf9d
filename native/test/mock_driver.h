// Plays the front-end and the guest's driver against a Device in the same thread: owns the memory and the rings.
#pragma once

#include <linux/fuse.h>

#include <cstdint>
#include <string>
#include <vector>

#include "../src/device.h"
#include "../src/fd.h"
#include "../src/vhost_user_message.h"
#include "../src/virtqueue_layout.h"

namespace ovfsd::test {

/// Guest memory: a memfd mapped here, given to the device as one region or as two that touch.
class MockMemory {
 public:
  static constexpr uint64_t kBytes = 16 << 20;
  static constexpr uint64_t kGpa = 0x100000000;  // above 4 GiB, where guests have most of their memory
  static constexpr uint64_t kUserAddr = 0x7f1234500000;
  static constexpr uint64_t kSplit = 12 << 20;  // where the second region begins

  MockMemory();
  ~MockMemory();
  MockMemory(const MockMemory&) = delete;
  MockMemory& operator=(const MockMemory&) = delete;

  int fd() const { return fd_.get(); }
  uint8_t* at(uint64_t offset) const { return base_ + offset; }
  VhostUserMemoryRegion region(uint64_t from = 0, uint64_t to = kBytes) const {
    return {kGpa + from, to - from, kUserAddr + from, from};
  }

 private:
  UniqueFd fd_;
  uint8_t* base_;
};

/// A piece of guest memory in a descriptor, by its offset from the memory's start.
struct Buffer {
  uint64_t offset;
  uint32_t length;
};

/// The driver's half of one virtqueue.
struct MockVring {
  uint32_t size = 0;
  bool event_idx = false;
  bool indirect = false;
  uint64_t offset = 0;  // of the ring's area in the memory
  VringDesc* desc = nullptr;
  VringAvail* avail = nullptr;
  VringUsed* used = nullptr;
  uint16_t next_avail = 0;
  uint16_t seen_used = 0;
  uint16_t next_desc = 0;  // descriptors are used round robin: tests keep fewer chains in flight than the ring holds
  UniqueFd kick;
  UniqueFd call;
  UniqueFd err;

  uint16_t& used_event() const { return avail->ring[size]; }
  uint16_t& avail_event() const { return *reinterpret_cast<uint16_t*>(&used->ring[size]); }
};

struct Reply {
  VhostUserHeader header{};
  std::vector<uint8_t> payload;
  uint64_t u64() const;
};

struct RingOptions {
  uint32_t size = 64;
  bool event_idx = true;
  bool indirect = true;
  uint16_t base = 0;
  uint32_t vrings = 2;
  uint64_t extra_protocol_features = 0;
};

class MockDriver {
 public:
  static constexpr uint64_t kRingAreaBytes = 1 << 20;  // holds the parts of a ring of 32768
  static constexpr uint64_t kDataOffset = 8 << 20;
  static constexpr uint64_t kFeatures = uint64_t{1} << kVirtioFVersion1 | uint64_t{1} << kVhostUserFProtocolFeatures;

  /// Connects; the device accepts it in its next turn.
  MockDriver(Device& device, const std::string& path);

  // ---- front-end ------------------------------------------------------------------------------------------------
  void send(VhostUserRequest request, const void* payload, size_t size, const std::vector<int>& fds = {},
            uint32_t flags = kVersion);
  void send(VhostUserRequest request) { send(request, nullptr, 0); }
  template <typename T>
  void send(VhostUserRequest request, const T& payload, const std::vector<int>& fds = {}) {
    send(request, &payload, sizeof payload, fds);
  }
  /// @return whether the socket took all of it.
  bool send_raw(const void* bytes, size_t size, const std::vector<int>& fds = {});
  /// Send with need_reply; true when the device said 0.
  template <typename T>
  bool acknowledged(VhostUserRequest request, const T& payload, const std::vector<int>& fds = {}) {
    send(request, &payload, sizeof payload, fds, kVersion | kFlagNeedReply);
    return receive().u64() == 0;
  }
  template <typename T>
  Reply ask(VhostUserRequest request, const T& payload) {
    send(request, payload);
    return receive();
  }
  Reply ask(VhostUserRequest request) {
    send(request);
    return receive();
  }
  /// Run the device until a reply is there. Throws when there is none.
  Reply receive();
  bool reply_waits();
  /// The device has closed its end.
  bool dropped();

  void negotiate(const RingOptions& options);
  void share_memory(bool two_regions = false);
  void start_vring(uint32_t index, const RingOptions& options);
  /// GET_VRING_BASE; returns the avail index.
  uint32_t stop_vring(uint32_t index);
  /// negotiate + share_memory + start all vrings.
  void set_up(const RingOptions& options = {});

  // ---- driver ---------------------------------------------------------------------------------------------------
  MockVring& vring(uint32_t index) { return vrings_.at(index); }
  MockMemory& memory() { return *memory_; }
  void replace_memory() { memory_ = std::make_unique<MockMemory>(); }
  /// Put a chain into the avail ring without telling anybody.
  uint16_t add_chain(uint32_t vring, const std::vector<Buffer>& readable, const std::vector<Buffer>& writable);
  /// Offer descriptor `head` as it stands.
  void add_head(uint32_t vring, uint16_t head);
  /// Make what was added available; kick if the device wants it (or `always`). @return whether it was kicked.
  bool publish(uint32_t vring, bool always = false);
  std::vector<VringUsedElem> take_used(uint32_t vring);
  /// Calls since the last look.
  uint64_t take_calls(uint32_t vring);
  uint64_t take_errors(uint32_t vring);

  /// Run the device until it would sleep.
  void pump();

  /// A GETATTR at `offset` of the data area, answered? Checks the reply.
  bool probe(uint32_t vring);

 private:
  Device& device_;
  UniqueFd socket_;
  std::unique_ptr<MockMemory> memory_ = std::make_unique<MockMemory>();
  std::vector<MockVring> vrings_;
  uint64_t unique_ = 1000;
};

/// Run the device until nothing is ready and it wants no turn.
void pump(Device& device);

/// A fuse_in_header followed by `body`, written at `offset` of the memory.
uint32_t write_request(MockMemory& memory, uint64_t offset, uint32_t opcode, uint64_t unique,
                       const std::vector<uint8_t>& body = {});
fuse_out_header read_reply(const MockMemory& memory, uint64_t offset);

}  // namespace ovfsd::test
