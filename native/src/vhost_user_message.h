// The vhost-user wire format: what goes over the socket. Names are the specification's (QEMU docs/interop/vhost-user).
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "fd.h"

namespace ovfsd {

enum class VhostUserRequest : uint32_t {
  kGetFeatures = 1,
  kSetFeatures = 2,
  kSetOwner = 3,
  kResetOwner = 4,
  kSetMemTable = 5,
  kSetLogBase = 6,
  kSetLogFd = 7,
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
  kGetConfig = 24,
  kPostcopyAdvise = 28,
  kPostcopyEnd = 30,
  kGetInflightFd = 31,
  kResetDevice = 34,
  kGetMaxMemSlots = 36,
  kAddMemReg = 37,
  kRemMemReg = 38,
  kGetStatus = 40,
  kGetSharedObject = 41,
  kSetDeviceStateFd = 42,
  kCheckDeviceState = 43,
};

/// Feature bit by which back-end and front-end agree to negotiate protocol features.
constexpr uint64_t kVhostUserFProtocolFeatures = 30;

/// Bits of GET/SET_PROTOCOL_FEATURES.
enum VhostUserProtocolFeature : uint32_t {
  kProtocolFeatureMq = 0,
  kProtocolFeatureReplyAck = 3,
  kProtocolFeatureBackendReq = 5,
  kProtocolFeatureResetDevice = 13,
  kProtocolFeatureConfigureMemSlots = 15,
};

/// Bits of VhostUserHeader::flags.
constexpr uint32_t kVersionMask = 0x3;
constexpr uint32_t kVersion = 0x1;
constexpr uint32_t kFlagReply = 1u << 2;
constexpr uint32_t kFlagNeedReply = 1u << 3;

/// SET_VRING_KICK, CALL, ERR: the vring index is in the low 8 bits, bit 8 says that no fd comes along.
constexpr uint64_t kVringIndexMask = 0xff;
constexpr uint64_t kVringNoFd = 1u << 8;

struct VhostUserHeader {
  uint32_t request;
  uint32_t flags;
  uint32_t size;  ///< of the payload, in bytes
};
static_assert(sizeof(VhostUserHeader) == 12);

struct VhostUserVringState {
  uint32_t index;
  uint32_t num;
};
static_assert(sizeof(VhostUserVringState) == 8);

struct VhostUserVringAddr {
  uint32_t index;
  uint32_t flags;
  uint64_t desc_user_addr;
  uint64_t used_user_addr;
  uint64_t avail_user_addr;
  uint64_t log_guest_addr;
};
static_assert(sizeof(VhostUserVringAddr) == 40);

struct VhostUserMemoryRegion {
  uint64_t guest_phys_addr;
  uint64_t memory_size;
  uint64_t userspace_addr;
  uint64_t mmap_offset;
};
static_assert(sizeof(VhostUserMemoryRegion) == 32);

/// VHOST_MEMORY_BASELINE_NREGIONS: regions, and so fds, that one message carries at most.
constexpr size_t kMaxMessageFds = 8;

struct VhostUserMemoryTable {
  uint32_t region_count;
  uint32_t padding;
  VhostUserMemoryRegion regions[kMaxMessageFds];
};
static_assert(sizeof(VhostUserMemoryTable) == 264);
constexpr size_t kMemoryTableHeadBytes = offsetof(VhostUserMemoryTable, regions);
static_assert(kMemoryTableHeadBytes == 8);

struct VhostUserSingleRegion {
  uint64_t padding;
  VhostUserMemoryRegion region;
};
static_assert(sizeof(VhostUserSingleRegion) == 40);

/// The longest payload of any message in the specification is SET_CONFIG's (12 + 256); rounded up. What claims to be
/// longer is not vhost-user, and the connection is dropped.
constexpr size_t kMaxPayloadBytes = 512;
static_assert(kMaxPayloadBytes >= sizeof(VhostUserMemoryTable));

/// A message as received.
struct VhostUserMessage {
  VhostUserHeader header{};
  alignas(8) std::array<uint8_t, kMaxPayloadBytes> payload{};
  std::array<UniqueFd, kMaxMessageFds> fds;
  size_t fd_count = 0;

  VhostUserRequest request() const noexcept { return static_cast<VhostUserRequest>(header.request); }
  bool needs_reply() const noexcept { return (header.flags & kFlagNeedReply) != 0; }
};

/// The specification's name of a request, for messages and logs.
const char* request_name(uint32_t request) noexcept;

}  // namespace ovfsd
