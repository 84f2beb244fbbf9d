#include "socket_peer.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <system_error>

#ifndef SO_PEERGROUPS
#define SO_PEERGROUPS 59
#endif

namespace ovfsd {
namespace {

/// As many as Linux gives to anybody: NGROUPS_MAX of linux/limits.h.
constexpr size_t kGroupsMax = 65536;
/// Most processes have fewer.
constexpr size_t kGroupsAtFirst = 64;

std::vector<gid_t> groups_of(int socket) {
  std::vector<gid_t> groups(kGroupsAtFirst);
  for (;;) {
    socklen_t bytes = static_cast<socklen_t>(groups.size() * sizeof(gid_t));
    if (::getsockopt(socket, SOL_SOCKET, SO_PEERGROUPS, groups.data(), &bytes) == 0) {
      groups.resize(bytes / sizeof(gid_t));
      return groups;
    }
    // Linux before 4.13 does not tell, and the primary group has to do.
    if (errno == ENOPROTOOPT) return {};
    if (errno != ERANGE || groups.size() >= kGroupsMax)
      throw std::system_error(errno, std::generic_category(), "SO_PEERGROUPS");
    groups.resize(kGroupsMax);
  }
}

template <class Id>
bool has(const std::vector<Id>& ids, Id id) noexcept {
  return std::ranges::find(ids, id) != ids.end();
}

}  // namespace

std::string SocketPeer::text() const {
  return "user " + std::to_string(user) + ", group " + std::to_string(group) + ", process " + std::to_string(process);
}

SocketPeer peer_of(int socket) {
  ucred credentials = {};
  socklen_t bytes = sizeof credentials;
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &bytes) != 0) {
    throw std::system_error(errno, std::generic_category(), "SO_PEERCRED");
  }
  return {credentials.uid, credentials.gid, credentials.pid, groups_of(socket)};
}

bool AllowedPeers::allow(const SocketPeer& peer) const noexcept {
  if (has(users, peer.user) || has(groups, peer.group)) return true;
  return std::ranges::any_of(peer.groups, [this](gid_t group) { return has(groups, group); });
}

}  // namespace ovfsd
