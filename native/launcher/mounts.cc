#include "mounts.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>

#include "fault.h"

namespace ovfsd::launcher {
namespace {

// As in linux/mount.h, which can't be included beside sys/mount.h; the numbers are the same for all architectures.
constexpr long kOpenTree = 428;
constexpr long kMoveMount = 429;
constexpr long kFsOpen = 430;
constexpr long kFsConfig = 431;
constexpr long kFsMount = 432;
constexpr long kMountSetattr = 442;
constexpr unsigned kOpenTreeClone = 1;
constexpr unsigned kRecursive = 0x8000;
constexpr unsigned kMoveFromEmptyPath = 0x04;
constexpr unsigned kFsOpenCloexec = 1;
constexpr unsigned kFsConfigSetString = 1;
constexpr unsigned kFsConfigCreate = 6;
constexpr unsigned kFsMountCloexec = 1;
constexpr uint64_t kReadOnly = 0x1;
constexpr uint64_t kNoSuid = 0x2;
constexpr uint64_t kNoDev = 0x4;

struct MountAttributes {
  uint64_t set;
  uint64_t clear;
  uint64_t propagation;
  uint64_t user_namespace;
};

/// What the sandbox itself may hold: directories and empty files for mounts to lie on.
constexpr const char* kRootBytes = "1m";
constexpr const char* kRootMode = "0755";

void set_attributes(int fd, unsigned flags, const MountAttributes& attributes, const std::string& what) {
  must(::syscall(kMountSetattr, fd, "", AT_EMPTY_PATH | flags, &attributes, sizeof attributes), what);
}

}  // namespace

bool can_clone_trees() {
  // The latest of them; wrong in any case.
  return ::syscall(kMountSetattr, -1, "", 0, nullptr, 0) == 0 || errno != ENOSYS;
}

UniqueFd clone_tree(const std::string& path, Access access) {
  UniqueFd tree(static_cast<int>(
      must(::syscall(kOpenTree, AT_FDCWD, path.c_str(), kOpenTreeClone | O_CLOEXEC | kRecursive), path)));
  MountAttributes attributes{};
  attributes.set = kNoSuid | (access == Access::kDevice ? 0 : kNoDev) | (access == Access::kRead ? kReadOnly : 0);
  attributes.propagation = MS_SLAVE;
  set_attributes(tree.get(), kRecursive, attributes, path);
  return tree;
}

void attach_tree(const UniqueFd& tree, const std::string& path) {
  must(::syscall(kMoveMount, tree.get(), "", AT_FDCWD, path.c_str(), kMoveFromEmptyPath), path);
}

UniqueFd empty_tree() {
  const UniqueFd context(static_cast<int>(must(::syscall(kFsOpen, "tmpfs", kFsOpenCloexec), "tmpfs")));
  must(::syscall(kFsConfig, context.get(), kFsConfigSetString, "size", kRootBytes, 0), "tmpfs: size");
  must(::syscall(kFsConfig, context.get(), kFsConfigSetString, "mode", kRootMode, 0), "tmpfs: mode");
  must(::syscall(kFsConfig, context.get(), kFsConfigCreate, nullptr, nullptr, 0), "tmpfs");
  const uint64_t attributes = kNoSuid | kNoDev;
  return UniqueFd(static_cast<int>(must(::syscall(kFsMount, context.get(), kFsMountCloexec, attributes), "tmpfs")));
}

void make_read_only(const std::string& path) {
  const UniqueFd fd(must(::open(path.c_str(), O_PATH | O_CLOEXEC), path));
  MountAttributes attributes{};
  attributes.set = kReadOnly;
  set_attributes(fd.get(), 0, attributes, path);
}

}  // namespace ovfsd::launcher
