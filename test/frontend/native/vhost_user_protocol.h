// The vhost-user protocol as the specification writes it (https://qemu-project.gitlab.io/qemu/interop/vhost-user.html).
// The front-end's own copy: a constant that is wrong in the daemon is caught by the two disagreeing.
#pragma once

#include <cstdint>

namespace ovfs_frontend::vhost_user {

enum class Request : uint32_t {
  kGetFeatures = 1,
  kSetFeatures = 2,
  kSetOwner = 3,
  kSetMemTable = 5,
  kSetVringNum = 8,
  kSetVringAddr = 9,
  kSetVringBase = 10,
  kGetVringBase = 11,
  kSetVringKick = 12,
  kSetVringCall = 13,
  kSetVringErr = 14,
  kGetProtocolFeatures = 15,
  kSetProtocolFeatures = 16,
  kGetQueueNum = 17,
  kSetVringEnable = 18,
  kSetBackendReqFd = 21,
  kResetDevice = 34,
  kGetMaxMemSlots = 36,
  kAddMemReg = 37,
  kRemMemReg = 38,
};

// Header flags.
inline constexpr uint32_t kVersion = 0x1;
inline constexpr uint32_t kFlagReply = 0x4;
inline constexpr uint32_t kFlagNeedReply = 0x8;

// Bit numbers of the device features we use.
inline constexpr unsigned kFeatureIndirectDesc = 28;
inline constexpr unsigned kFeatureEventIdx = 29;
inline constexpr unsigned kFeatureProtocolFeatures = 30;
inline constexpr unsigned kFeatureVersion1 = 32;

// Bit numbers of protocol features.
inline constexpr unsigned kProtocolMq = 0;
inline constexpr unsigned kProtocolReplyAck = 3;
inline constexpr unsigned kProtocolBackendReq = 5;
inline constexpr unsigned kProtocolBackendSendFd = 10;
inline constexpr unsigned kProtocolResetDevice = 13;
inline constexpr unsigned kProtocolConfigureMemSlots = 15;

// A kick, call or err message carries the vring's index in the low byte; this bit says that no fd is attached.
inline constexpr uint64_t kVringNoFd = 0x100;

// The specification's limit on regions in one SET_MEM_TABLE.
inline constexpr uint32_t kMaxMemTableRegions = 8;
// Fds one message may carry.
inline constexpr uint32_t kMaxFds = 8;
// No reply is longer than a config space (256) plus its header; anything larger is garbage.
inline constexpr uint32_t kMaxPayloadBytes = 4096;

struct Header {
  uint32_t request;
  uint32_t flags;
  uint32_t size;
};
static_assert(sizeof(Header) == 12);

struct VringState {
  uint32_t index;
  uint32_t num;
};
static_assert(sizeof(VringState) == 8);

struct VringAddr {
  uint32_t index;
  uint32_t flags;
  uint64_t descriptor_user_addr;
  uint64_t used_user_addr;
  uint64_t avail_user_addr;
  uint64_t log_guest_addr;
};
static_assert(sizeof(VringAddr) == 40);

struct MemRegion {
  uint64_t guest_phys_addr;
  uint64_t memory_size;
  uint64_t userspace_addr;
  uint64_t mmap_offset;
};
static_assert(sizeof(MemRegion) == 32);

// Payload of SET_MEM_TABLE: `regions` entries follow the two words.
struct MemTable {
  uint32_t regions;
  uint32_t padding;
  MemRegion region[kMaxMemTableRegions];
};
static_assert(sizeof(MemTable) == 8 + 8 * 32);

// Payload of ADD_MEM_REG and REM_MEM_REG.
struct SingleMemRegion {
  uint64_t padding;
  MemRegion region;
};
static_assert(sizeof(SingleMemRegion) == 40);

}  // namespace ovfs_frontend::vhost_user
