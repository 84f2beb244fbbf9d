// The listening Unix socket.
#pragma once

#include <sys/types.h>

#include <string>

#include "fd.h"

namespace ovfsd {

class UnixListener {
 public:
  /// Create and listen. The socket has exactly `mode`, whatever the umask. A socket file that nobody listens on is
  /// replaced.
  /// @throws std::system_error: EADDRINUSE when somebody listens there, EEXIST when another kind of file is there,
  /// ENAMETOOLONG, EACCES...
  static UnixListener bind(const std::string& path, mode_t mode);

  /// Use a socket that the parent process opened (Kata's --fd=3, libvirt). The device owns it from then on.
  /// @throws std::system_error: EBADF, ENOTSOCK, EINVAL when it is not a listening AF_UNIX stream socket.
  static UnixListener adopt(int fd);

  UnixListener(UnixListener&&) noexcept = default;
  UnixListener& operator=(UnixListener&&) = delete;
  /// Stop listening; removes the socket file if `bind` made it and it is still the same file.
  ~UnixListener();

  int fd() const noexcept { return fd_.get(); }

  /// The next waiting connection, non-blocking; empty when there is none.
  /// @throws std::system_error when the process can't take one (EMFILE...).
  UniqueFd accept();

 private:
  explicit UnixListener(UniqueFd fd) noexcept : fd_(std::move(fd)) {}

  UniqueFd fd_;
  std::string path_;  // empty = not ours to remove
  dev_t device_ = 0;
  ino_t inode_ = 0;
};

}  // namespace ovfsd
