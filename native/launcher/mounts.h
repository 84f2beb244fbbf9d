// The system calls for mounts that a C library may not have yet (Linux 5.12): a tree is cloned, changed while nobody
// sees it, and then attached.
#pragma once

#include <string>

#include "../src/fd.h"

namespace ovfsd::launcher {

enum class Access {
  kRead,
  kWrite,
  kDevice
};

/// Whether this kernel has these system calls.
bool can_clone_trees();

/// What `path` leads to, with all that is mounted below it, detached. What is mounted there on the host later arrives
/// here, and nothing goes back.
/// @throws std::system_error
UniqueFd clone_tree(const std::string& path, Access access);

/// Attach `tree` at `path`, which is there.
/// @throws std::system_error
void attach_tree(const UniqueFd& tree, const std::string& path);

/// An empty file system in memory, detached.
/// @throws std::system_error
UniqueFd empty_tree();

/// Nothing can be made or changed in the mount at `path` itself any more.
/// @throws std::system_error
void make_read_only(const std::string& path);

}  // namespace ovfsd::launcher
