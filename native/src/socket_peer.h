// Who is at the other end of a Unix socket, and who may be.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

namespace ovfsd {

/// As the kernel has noted it when the peer connected; what it has become since does not matter.
struct SocketPeer {
  uid_t user = 0;
  gid_t group = 0;
  pid_t process = 0;
  /// The supplementary ones.
  std::vector<gid_t> groups;

  /// For a log.
  std::string text() const;
};

/// @throws std::system_error
SocketPeer peer_of(int socket);

/// A peer is allowed that is one of the users, or in one of the groups.
struct AllowedPeers {
  std::vector<uid_t> users;
  std::vector<gid_t> groups;

  bool allow(const SocketPeer& peer) const noexcept;
};

}  // namespace ovfsd
