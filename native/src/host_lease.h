// Keeping others from opening a file for a moment, where the host can.
#pragma once

#include <fcntl.h>

#include <csignal>

namespace ovfsd {

// A write lease (F_SETLEASE), for as long as it lives: whoever opens the file waits that long. Not had where somebody has the file open
// by another descriptor, of file systems without leases, and of files of others without CAP_LEASE.
class WriteLease {
 public:
  explicit WriteLease(int fd) noexcept : fd_(fd) {
    // Who waits for the lease is told to us by a signal; the one it is by default (SIGIO) would end the process, this one is ignored.
    is_held_ = ::fcntl(fd, F_SETSIG, SIGURG) == 0 && ::fcntl(fd, F_SETLEASE, F_WRLCK) == 0;
  }
  ~WriteLease() {
    if (is_held_) ::fcntl(fd_, F_SETLEASE, F_UNLCK);
  }
  WriteLease(const WriteLease&) = delete;
  WriteLease& operator=(const WriteLease&) = delete;

 private:
  int fd_;
  bool is_held_;
};

}  // namespace ovfsd
