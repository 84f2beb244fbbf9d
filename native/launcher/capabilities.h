// What of root's power the daemon keeps.
#pragma once

#include <cstdint>
#include <string_view>

namespace ovfsd::launcher {

/// A bit for each capability, by its number in linux/capability.h.
using CapabilitySet = uint64_t;

/// As virtiofsd's: what making and changing files in the name of a guest's users takes.
extern const CapabilitySet kDaemonCapabilities;

/// `kDaemonCapabilities` with `modcaps` ("+sys_admin:-chown", as virtiofsd's --modcaps).
/// @throws std::invalid_argument saying what is wrong
CapabilitySet capabilities_of(std::string_view modcaps);

bool has_capability(CapabilitySet set, int capability) noexcept;

/// Whether this process may mount.
bool can_make_namespaces();

/// Cut all sets of this process, also for what it executes, to `kept`; and it gains nothing by executing a file any
/// more. Who is not root keeps them when it executes a file only by sets that are passed on.
/// @throws std::system_error
void keep_capabilities(CapabilitySet kept);

}  // namespace ovfsd::launcher
