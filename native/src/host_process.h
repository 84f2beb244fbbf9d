// What Node lacks of the process's own affairs.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <vector>

#include "fd.h"

namespace ovfsd {

/// A non-blocking datagram socket, connected to the Unix socket at `path`.
/// @throws std::system_error: ENOENT, ECONNREFUSED, EPROTOTYPE when it is a stream socket, ENAMETOOLONG...
UniqueFd connect_datagram(const std::string& path);

/// Set the soft RLIMIT_NOFILE, and the hard limit with it where `limit` is above that.
/// @throws std::system_error: EPERM
void limit_open_files(uint64_t limit);

/// Become the program at `path`, which gets these descriptors. Node.js has kept all of them from it. Returns only by an exception.
/// @throws std::system_error
[[noreturn]] void execute(const std::string& path, const std::vector<std::string>& args,
                          const std::vector<int>& descriptors);

}  // namespace ovfsd
