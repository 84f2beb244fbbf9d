#include "connection.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <stdexcept>
#include <system_error>

namespace ovfs_frontend {

namespace {

[[noreturn]] void throw_errno(const std::string& what) {
  throw std::system_error(errno, std::generic_category(), what);
}

using Clock = std::chrono::steady_clock;

// Waits until the fd is readable or hung up. Throws when the deadline has passed.
void wait_readable(int fd, Clock::time_point deadline) {
  for (;;) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
    pollfd entry{fd, POLLIN, 0};
    const int ready = ::poll(&entry, 1, left > 0 ? static_cast<int>(left) : 0);
    if (ready > 0) return;
    if (ready == 0) throw std::runtime_error("the back-end did not answer in time");
    if (errno != EINTR) throw_errno("poll");
  }
}

void collect_fds(msghdr& message, std::vector<UniqueFd>& fds) {
  for (cmsghdr* entry = CMSG_FIRSTHDR(&message); entry != nullptr; entry = CMSG_NXTHDR(&message, entry)) {
    if (entry->cmsg_level != SOL_SOCKET || entry->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (entry->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(entry) + i * sizeof(int), sizeof(int));
      fds.emplace_back(fd);
    }
  }
}

// Reads exactly `bytes`, gathering fds. False when the connection ended first.
bool receive_exactly(int fd, std::span<uint8_t> bytes, std::vector<UniqueFd>& fds, Clock::time_point deadline) {
  size_t done = 0;
  while (done < bytes.size()) {
    alignas(cmsghdr) uint8_t control[CMSG_SPACE(sizeof(int) * vhost_user::kMaxFds)];
    iovec vector{bytes.data() + done, bytes.size() - done};
    msghdr message{};
    message.msg_iov = &vector;
    message.msg_iovlen = 1;
    message.msg_control = control;
    message.msg_controllen = sizeof(control);
    wait_readable(fd, deadline);
    const ssize_t count = ::recvmsg(fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (count > 0) {
      collect_fds(message, fds);
      done += static_cast<size_t>(count);
    } else if (count == 0 || errno == ECONNRESET) {
      return false;
    } else if (errno != EINTR && errno != EAGAIN) {
      throw_errno("recvmsg");
    }
  }
  return true;
}

}  // namespace

Connection::Connection(const std::string& socket_path)
    : fd_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) {
  if (!fd_.valid()) throw_errno("socket");
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (socket_path.size() >= sizeof(address.sun_path)) {
    throw std::runtime_error("socket path is longer than 107 bytes: " + socket_path);
  }
  std::memcpy(address.sun_path, socket_path.c_str(), socket_path.size() + 1);
  if (::connect(fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0) {
    throw_errno("connect " + socket_path);
  }
}

size_t Connection::send_bytes(std::span<const uint8_t> bytes, std::span<const int> fds) {
  alignas(cmsghdr) uint8_t control[CMSG_SPACE(sizeof(int) * 253)];  // 253 = the kernel's SCM_MAX_FD
  if (fds.size() > 253) throw std::runtime_error("a message carries at most 253 fds");
  iovec vector{const_cast<uint8_t*>(bytes.data()), bytes.size()};
  msghdr message{};
  message.msg_iov = &vector;
  message.msg_iovlen = 1;
  if (!fds.empty()) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(fds.size_bytes());
    cmsghdr* entry = CMSG_FIRSTHDR(&message);
    entry->cmsg_level = SOL_SOCKET;
    entry->cmsg_type = SCM_RIGHTS;
    entry->cmsg_len = CMSG_LEN(fds.size_bytes());
    std::memcpy(CMSG_DATA(entry), fds.data(), fds.size_bytes());
  }
  for (;;) {
    const ssize_t count = ::sendmsg(fd_.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (count >= 0) return static_cast<size_t>(count);
    if (errno == EAGAIN) return 0;
    if (errno != EINTR) throw_errno("sendmsg");
  }
}

void Connection::send(vhost_user::Request request, uint32_t flags, std::span<const uint8_t> payload,
                      std::span<const int> fds) {
  const vhost_user::Header header{static_cast<uint32_t>(request), vhost_user::kVersion | flags,
                                  static_cast<uint32_t>(payload.size())};
  std::vector<uint8_t> bytes(sizeof(header) + payload.size());
  std::memcpy(bytes.data(), &header, sizeof(header));
  if (!payload.empty()) std::memcpy(bytes.data() + sizeof(header), payload.data(), payload.size());
  // Messages are a few hundred bytes: a socket that takes only a part is full because nobody reads it.
  if (send_bytes(bytes, fds) != bytes.size()) throw std::runtime_error("the back-end does not read its socket");
}

std::optional<Message> Connection::receive(int timeout_ms) {
  const auto deadline = Clock::now() + std::chrono::milliseconds(timeout_ms);
  Message message;
  uint8_t header[sizeof(vhost_user::Header)];
  if (!receive_exactly(fd_.get(), header, message.fds, deadline)) return std::nullopt;
  std::memcpy(&message.header, header, sizeof(header));
  if (message.header.size > vhost_user::kMaxPayloadBytes) {
    throw std::runtime_error("the back-end announced a payload of " + std::to_string(message.header.size) + " bytes");
  }
  message.payload.resize(message.header.size);
  if (!receive_exactly(fd_.get(), message.payload, message.fds, deadline)) return std::nullopt;
  return message;
}

void Connection::shutdown() { ::shutdown(fd_.get(), SHUT_RDWR); }

}  // namespace ovfs_frontend
