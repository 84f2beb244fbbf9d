// The one descriptor under which the device's other descriptors are watched.
#pragma once

#include <sys/epoll.h>

#include <cerrno>
#include <cstdint>
#include <system_error>

#include "fd.h"

namespace ovfsd {

class Epoll {
 public:
  /// @throws std::system_error
  Epoll() : fd_(::epoll_create1(EPOLL_CLOEXEC)) {
    if (!fd_) throw std::system_error(errno, std::generic_category(), "epoll_create1");
  }

  int fd() const noexcept { return fd_.get(); }

  /// @throws std::system_error (EPERM: the file can't be watched).
  void add(int fd, uint32_t events, uint64_t tag) { control(EPOLL_CTL_ADD, fd, events, tag); }
  void modify(int fd, uint32_t events, uint64_t tag) { control(EPOLL_CTL_MOD, fd, events, tag); }
  /// Needed before a close: a file that others hold open too would stay in the set.
  void remove(int fd) noexcept {
    if (fd_) ::epoll_ctl(fd_.get(), EPOLL_CTL_DEL, fd, nullptr);
  }

  /// What is ready now, without waiting. @return the number of events.
  int ready(epoll_event* events, int capacity) noexcept {
    int count;
    do count = ::epoll_wait(fd_.get(), events, capacity, 0);
    while (count < 0 && errno == EINTR);
    return count < 0 ? 0 : count;
  }

 private:
  void control(int operation, int fd, uint32_t events, uint64_t tag) {
    epoll_event event = {};
    event.events = events;
    event.data.u64 = tag;
    if (::epoll_ctl(fd_.get(), operation, fd, &event) != 0) {
      throw std::system_error(errno, std::generic_category(), "epoll_ctl");
    }
  }

  UniqueFd fd_;
};

}  // namespace ovfsd
