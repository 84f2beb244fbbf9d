// A vhost-user connection: framed messages with attached fds over a Unix stream socket.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "unique_fd.h"
#include "vhost_user_protocol.h"

namespace ovfs_frontend {

struct Message {
  vhost_user::Header header{};
  std::vector<uint8_t> payload;
  std::vector<UniqueFd> fds;
};

class Connection {
 public:
  // Connects without waiting: a listener whose backlog is full is an error. Throws std::system_error.
  explicit Connection(const std::string& socket_path);

  [[nodiscard]] int fd() const { return fd_.get(); }

  // Sends the bytes as they are, with the fds attached. Returns the bytes that the socket took (a full socket takes
  // fewer). Throws std::system_error, EPIPE when the back-end is gone.
  size_t send_bytes(std::span<const uint8_t> bytes, std::span<const int> fds);

  // Sends one well-formed message whole.
  void send(vhost_user::Request request, uint32_t flags, std::span<const uint8_t> payload,
            std::span<const int> fds = {});

  // Waits up to `timeout_ms` for one message. nullopt when the back-end closed the connection; throws when the time
  // is over or the header is nonsense.
  std::optional<Message> receive(int timeout_ms);

  // Unblocks a receive in another thread and tells the back-end; the fd itself lives as long as this object.
  void shutdown();

 private:
  UniqueFd fd_;
};

}  // namespace ovfs_frontend
