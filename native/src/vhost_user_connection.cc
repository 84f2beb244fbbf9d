#include "vhost_user_connection.h"

#include <sys/socket.h>
#include <sys/uio.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

#include "refusal.h"

namespace ovfsd {
namespace {

[[noreturn]] void drop(const std::string& reason) { throw Refusal(reason, Refusal::Severity::kConnection); }

}  // namespace

bool VhostUserConnection::receive(VhostUserMessage& message) {
  if (header_filled_ < sizeof(VhostUserHeader)) {
    if (!read_some(reinterpret_cast<uint8_t*>(&incoming_.header), sizeof(VhostUserHeader), header_filled_))
      return false;
    if ((incoming_.header.flags & kVersionMask) != kVersion) drop("a message has an unknown vhost-user version");
    if ((incoming_.header.flags & kFlagReply) != 0) drop("a reply came where a request belongs");
    if (incoming_.header.size > kMaxPayloadBytes) {
      drop("a message claims a payload of " + std::to_string(incoming_.header.size) + " bytes");
    }
  }
  if (payload_filled_ < incoming_.header.size &&
      !read_some(incoming_.payload.data(), incoming_.header.size, payload_filled_)) {
    return false;
  }
  message = std::exchange(incoming_, VhostUserMessage{});
  header_filled_ = payload_filled_ = 0;
  has_spoken_ = true;
  return true;
}

bool VhostUserConnection::read_some(uint8_t* target, size_t wanted, size_t& filled) {
  while (filled < wanted) {
    iovec piece = {target + filled, wanted - filled};
    alignas(cmsghdr) char control[CMSG_SPACE(kMaxMessageFds * sizeof(int))];
    msghdr header = {};
    header.msg_iov = &piece;
    header.msg_iovlen = 1;
    header.msg_control = control;
    header.msg_controllen = sizeof control;
    const ssize_t received = ::recvmsg(socket_.get(), &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (received < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN || errno == EWOULDBLOCK) return false;
      drop(std::string("receive: ") + std::strerror(errno));
    }
    take_control(header);
    if (received == 0)
      drop(filled == 0 ? "the front-end closed the connection"
                       : "the front-end closed the connection within a message");
    filled += static_cast<size_t>(received);
  }
  return true;
}

void VhostUserConnection::take_control(msghdr& header) {
  // Every descriptor is owned before anything can throw: whatever is not wanted gets closed.
  bool too_many = false;
  for (cmsghdr* entry = CMSG_FIRSTHDR(&header); entry != nullptr; entry = CMSG_NXTHDR(&header, entry)) {
    if (entry->cmsg_level != SOL_SOCKET || entry->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (entry->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int raw;
      std::memcpy(&raw, CMSG_DATA(entry) + i * sizeof(int), sizeof raw);
      UniqueFd fd(raw);
      if (incoming_.fd_count == kMaxMessageFds) {
        too_many = true;
      } else {
        incoming_.fds[incoming_.fd_count++] = std::move(fd);
      }
    }
  }
  // MSG_CTRUNC: the kernel closed those that did not fit, or this process is out of descriptors.
  if (too_many || (header.msg_flags & MSG_CTRUNC) != 0) drop("a message carries too many file descriptors");
}

void VhostUserConnection::reply(VhostUserRequest request, const void* payload, uint32_t size) {
  const VhostUserHeader header = {static_cast<uint32_t>(request), kVersion | kFlagReply, size};
  const auto* head = reinterpret_cast<const uint8_t*>(&header);
  const auto* body = static_cast<const uint8_t*>(payload);
  unsent_.insert(unsent_.end(), head, head + sizeof header);
  unsent_.insert(unsent_.end(), body, body + size);
  flush();
}

void VhostUserConnection::flush() {
  size_t sent = 0;
  while (sent < unsent_.size()) {
    // NOSIGNAL: a front-end that is gone is an error here and not a SIGPIPE for the process.
    const ssize_t rc = ::send(socket_.get(), unsent_.data() + sent, unsent_.size() - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (rc < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN || errno == EWOULDBLOCK) break;
      drop(std::string("send: ") + std::strerror(errno));
    }
    sent += static_cast<size_t>(rc);
  }
  unsent_.erase(unsent_.begin(), unsent_.begin() + static_cast<std::ptrdiff_t>(sent));
}

}  // namespace ovfsd
