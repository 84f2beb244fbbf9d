#include "host_caller.h"

#include <linux/capability.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>

namespace ovfsd::host_tree {
namespace {

struct Capabilities {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};  // of this thread
  __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3]{};

  bool get() noexcept { return syscall(SYS_capget, &header, data) == 0; }
  bool set() noexcept { return syscall(SYS_capset, &header, data) == 0; }
};

/// As the thread had them before it took on a caller. Asked for once: nothing else in the daemon changes them.
const Capabilities& own_capabilities() noexcept {
  static const Capabilities own = [] {
    Capabilities capabilities;
    if (!capabilities.get()) capabilities.data[0].effective = capabilities.data[1].effective = 0;
    return capabilities;
  }();
  return own;
}

// Not glibc's functions of other names: those that change all threads would be wrong here. An invalid id only asks.
bool set_fsgid(uint32_t gid) noexcept {
  syscall(SYS_setfsgid, gid);
  return static_cast<uint32_t>(syscall(SYS_setfsgid, -1)) == gid;
}
bool set_fsuid(uint32_t uid) noexcept {
  syscall(SYS_setfsuid, uid);
  return static_cast<uint32_t>(syscall(SYS_setfsuid, -1)) == uid;
}

constexpr uint32_t kPassPermissions = (1u << CAP_DAC_OVERRIDE) | (1u << CAP_DAC_READ_SEARCH);

/// The umask of all threads. It can only be read by setting it, so it is asked for once; what another thread makes in that moment
/// is its owner's alone, never open to more than it should be.
mode_t shared_umask() noexcept {
  static const mode_t shared = [] {
    constexpr mode_t kOwnerAlone = 077;
    const mode_t before = umask(kOwnerAlone);
    umask(before);
    return before;
  }();
  return shared;
}

/// Of what a change of the file-system user takes away, what we had and need.
bool keep_capabilities(uint32_t wanted) noexcept {
  Capabilities capabilities;
  if (!capabilities.get()) return false;
  capabilities.data[0].effective |= wanted & own_capabilities().data[0].effective;
  return capabilities.set();
}

}  // namespace

CallerScope::CallerScope(const Caller& caller) noexcept {
  take_umask(static_cast<mode_t>(caller.umask));
  if (error_ == 0) error_ = take(caller);
}

void CallerScope::take_umask(mode_t wanted) noexcept {
  // The umask is shared with the other threads, which make files of their own, unless it is unshared. That costs nothing when
  // it is done already; but threads that were started since share it again.
  if (unshare(CLONE_FS) == 0) {
    umask_ = umask(wanted);
    has_umask_ = true;
    return;
  }
  // Some containers forbid it. Then the umask stays what it is, and only a process that has none can do without: what is taken off
  // the mode here comes to the same, but for a directory's default access list, in place of which the umask would not count.
  const int refusal = errno;
  const mode_t shared = shared_umask();
  if (shared == 0) {
    withheld_ = wanted & ACCESSPERMS;
  } else if (shared != wanted) {
    error_ = refusal;
  }
}

int CallerScope::take(const Caller& caller) noexcept {
  if (geteuid() != 0 || (caller.uid == 0 && caller.gid == 0)) return 0;
  own_capabilities();
  is_other_ = true;
  // The group first: a user who is not root may not change it.
  if (!set_fsgid(caller.gid) || !set_fsuid(caller.uid)) return EPERM;
  const uint32_t kept = kPassPermissions | (caller.is_in_group ? 1u << CAP_FSETID : 0);
  if (caller.uid != 0 && !keep_capabilities(kept)) return EPERM;
  return 0;
}

UnprivilegedWrite::UnprivilegedWrite(bool wanted) noexcept {
  if (!wanted) return;
  Capabilities capabilities;
  if (!capabilities.get()) {
    error_ = EPERM;
    return;
  }
  constexpr uint32_t kMaySetIds = 1u << CAP_FSETID;
  if ((capabilities.data[0].effective & kMaySetIds) == 0) return;
  capabilities.data[0].effective &= ~kMaySetIds;
  is_dropped_ = capabilities.set();
  if (!is_dropped_) error_ = EPERM;
}

UnprivilegedWrite::~UnprivilegedWrite() {
  if (!is_dropped_) return;
  const int saved_errno = errno;
  Capabilities capabilities;
  if (capabilities.get()) {
    capabilities.data[0].effective |= 1u << CAP_FSETID;
    // Without it the daemon could not keep the bits of files that the guest's root writes; nothing of the guest's is at risk.
    capabilities.set();
  }
  errno = saved_errno;
}

CallerScope::~CallerScope() {
  const int saved_errno = errno;
  if (is_other_) {
    Capabilities own = own_capabilities();
    if (!set_fsuid(0) || !set_fsgid(0) || !own.set()) {
      std::fputs("ovfsd: can't take back the daemon's own user\n", stderr);
      std::abort();  // whatever came next would be done in the name of a guest's user
    }
  }
  if (has_umask_) umask(umask_);
  errno = saved_errno;
}

}  // namespace ovfsd::host_tree
