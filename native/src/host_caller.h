// Making files in a guest's user's name.
#pragma once

#include <sys/types.h>

#include <cstdint>

#include "host_tree.h"

namespace ovfsd::host_tree {

/// For as long as it lives, this thread makes files with the caller's umask and, when the daemon is root,
/// with the caller's owner and group. The guest's kernel has checked the permissions, with groups that we don't know, so
/// the right to pass them (CAP_DAC_OVERRIDE) stays. Other threads are not touched.
class CallerScope {
 public:
  explicit CallerScope(const Caller& caller) noexcept;
  ~CallerScope();
  CallerScope(const CallerScope&) = delete;
  CallerScope& operator=(const CallerScope&) = delete;

  /// 0, or an errno: then nothing may be made.
  int error() const noexcept { return error_; }

  /// The mode to ask for so that what is made has `wanted` less the caller's umask.
  mode_t mode(mode_t wanted) const noexcept { return wanted & ~withheld_; }

 private:
  void take_umask(mode_t wanted) noexcept;
  int take(const Caller& caller) noexcept;

  int error_ = 0;
  /// The thread's own umask is another one for now.
  bool has_umask_ = false;
  mode_t umask_ = 0;
  mode_t withheld_ = 0;
  bool is_other_ = false;
};

/// For as long as it lives, what this thread writes takes the set-user-ID and set-group-ID bits of the file away, as it does for
/// every process that may not set them on files of others (CAP_FSETID): FUSE_WRITE_KILL_SUIDGID.
class UnprivilegedWrite {
 public:
  explicit UnprivilegedWrite(bool wanted) noexcept;
  ~UnprivilegedWrite();
  UnprivilegedWrite(const UnprivilegedWrite&) = delete;
  UnprivilegedWrite& operator=(const UnprivilegedWrite&) = delete;

  /// 0, or an errno: then nothing may be written.
  int error() const noexcept { return error_; }

 private:
  int error_ = 0;
  bool is_dropped_ = false;
};

}  // namespace ovfsd::host_tree
