// One front-end's socket: whole messages in, replies out, never blocking.
#pragma once

#include <sys/socket.h>

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "fd.h"
#include "vhost_user_message.h"

namespace ovfsd {

class VhostUserConnection {
 public:
  explicit VhostUserConnection(UniqueFd socket) noexcept : socket_(std::move(socket)) {}

  int fd() const noexcept { return socket_.get(); }

  /// Read on until a message is whole. What arrives in pieces is kept between calls.
  /// @return false when the socket has no more for now.
  /// @throws Refusal (severity connection) at end of file, on an error, and when the bytes can't be vhost-user.
  bool receive(VhostUserMessage& message);

  /// Answer `request`. The front-end must read its replies: while one can't be sent, no further message may be handled.
  /// @throws Refusal (severity connection) when the socket is gone.
  void reply(VhostUserRequest request, const void* payload, uint32_t size);

  /// Send what is left of a reply. @throws as `reply`.
  void flush();

  /// A reply is waiting for room in the socket.
  bool send_blocked() const noexcept { return !unsent_.empty(); }

  /// A message has arrived whole: so it is a front-end, and not somebody who looks whether the socket is alive.
  bool has_spoken() const noexcept { return has_spoken_; }

 private:
  bool read_some(uint8_t* target, size_t wanted, size_t& filled);
  void take_control(msghdr& header);

  UniqueFd socket_;
  VhostUserMessage incoming_;
  size_t header_filled_ = 0;
  size_t payload_filled_ = 0;
  bool has_spoken_ = false;
  std::vector<uint8_t> unsent_;
};

}  // namespace ovfsd
