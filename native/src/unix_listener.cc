#include "unix_listener.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <system_error>

namespace ovfsd {
namespace {

// Front-ends come one at a time; a few more may wait for their turn.
constexpr int kBacklog = 8;

[[noreturn]] void fail(int error, const std::string& what) {
  throw std::system_error(error, std::generic_category(), what);
}

sockaddr_un address_of(const std::string& path) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.find('\0') != std::string::npos) fail(EINVAL, "socket path");
  if (path.size() >= sizeof address.sun_path) fail(ENAMETOOLONG, path);
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

UniqueFd stream_socket() {
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) fail(errno, "socket");
  return fd;
}

/// Remove the file at `path` if it is a socket that nobody listens on.
void remove_stale(const std::string& path, const sockaddr_un& address) {
  struct stat info = {};
  if (::lstat(path.c_str(), &info) != 0) {
    if (errno == ENOENT) return;
    fail(errno, path);
  }
  if (!S_ISSOCK(info.st_mode)) fail(EEXIST, path + " exists and is not a socket");
  const UniqueFd probe = stream_socket();
  int rc;
  do rc = ::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
  while (rc != 0 && errno == EINTR);
  // EAGAIN: the backlog of whoever listens is full. Only a refusal says that nobody is there.
  if (rc == 0 || errno == EAGAIN) fail(EADDRINUSE, "another process listens on " + path);
  if (errno == ENOENT) return;
  if (errno != ECONNREFUSED) fail(errno, path);
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) fail(errno, path);
}

int socket_option(int fd, int option) {
  int value = 0;
  socklen_t size = sizeof value;
  if (::getsockopt(fd, SOL_SOCKET, option, &value, &size) != 0) fail(errno, "inherited socket " + std::to_string(fd));
  return value;
}

}  // namespace

UnixListener UnixListener::bind(const std::string& path, mode_t mode) {
  const sockaddr_un address = address_of(path);
  remove_stale(path, address);

  UnixListener listener(stream_socket());
  // Linux gives the file the socket's own mode less the umask, so with fchmod first it is never more open than asked
  // for; chmod afterwards adds what the umask took. Nobody can connect before listen().
  if (::fchmod(listener.fd(), mode) != 0) fail(errno, path);
  if (::bind(listener.fd(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) fail(errno, path);
  struct stat info = {};
  if (::lstat(path.c_str(), &info) != 0) fail(errno, path);
  listener.path_ = path;
  listener.device_ = info.st_dev;
  listener.inode_ = info.st_ino;
  if ((info.st_mode & 07777) != mode && ::chmod(path.c_str(), mode) != 0) fail(errno, path);
  if (::listen(listener.fd(), kBacklog) != 0) fail(errno, path);
  return listener;
}

UnixListener UnixListener::adopt(int fd) {
  if (socket_option(fd, SO_DOMAIN) != AF_UNIX || socket_option(fd, SO_TYPE) != SOCK_STREAM ||
      socket_option(fd, SO_ACCEPTCONN) != 1) {
    fail(EINVAL, "descriptor " + std::to_string(fd) + " is not a listening Unix stream socket");
  }
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0 || ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 || ::fcntl(fd, F_SETFD, FD_CLOEXEC) < 0) {
    fail(errno, "inherited socket " + std::to_string(fd));
  }
  return UnixListener(UniqueFd(fd));
}

UnixListener::~UnixListener() {
  if (!fd_ || path_.empty()) return;
  // Somebody may have put a new socket in our place; that one stays.
  struct stat info = {};
  if (::lstat(path_.c_str(), &info) == 0 && info.st_dev == device_ && info.st_ino == inode_) ::unlink(path_.c_str());
}

UniqueFd UnixListener::accept() {
  for (;;) {
    UniqueFd connection(::accept4(fd(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (connection) return connection;
    if (errno == EINTR || errno == ECONNABORTED) continue;
    if (errno == EAGAIN || errno == EWOULDBLOCK) return {};
    fail(errno, "accept");
  }
}

}  // namespace ovfsd
