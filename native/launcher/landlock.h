// Landlock: which parts of the tree of files a process may reach, whatever descriptors it comes by. The sandbox's
// mounts say what has a path; this holds for what is reached otherwise.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "../src/fd.h"

namespace ovfsd::launcher {

/// Bits of linux/landlock.h, which may be older than the kernel that runs.
using LandlockRights = uint64_t;

/// What a version of the kernel's interface can restrict: what is not in it stays allowed.
struct LandlockAbility {
  /// Of files; 0: nothing can be restricted without refusing what a guest may do.
  LandlockRights files = 0;
  /// Abstract Unix sockets and processes of others.
  uint64_t scopes = 0;
};

/// `abi` <= 0: the kernel has none.
LandlockAbility landlock_ability(int abi);

/// Whether a process can be confined on this kernel. One that opens files by handles (name_to_handle_at) finds some of
/// them in no directory, and only kernels of late 2025 on let it open those.
bool can_confine(bool opens_by_handle);

/// From now on this process, and what it starts, executes nothing but what is below `programs`, and does all else with
/// what lies below `tree` and with the files that it has open, and nowhere else. Only where it can be confined.
/// @throws std::system_error
void confine_to(const UniqueFd& tree, const std::vector<std::string>& programs);

}  // namespace ovfsd::launcher
