// The vhost-user-fs device: everything together, without Node.
//
// The device owns one epoll descriptor that holds the listening socket, the connection and the kick eventfds. Whoever
// runs it waits until that descriptor is readable and calls `turn`; no thread, no callback from elsewhere. The kick
// eventfds are edge-triggered and never read: an edge says all, a read would cost a system call a kick and could block
// on a descriptor whose flags the front-end shares.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "epoll.h"
#include "poll_window.h"
#include "request_path.h"
#include "slab_memory.h"
#include "socket_peer.h"
#include "unix_listener.h"
#include "vhost_user_backend.h"
#include "vhost_user_connection.h"

namespace ovfsd {

class Device;

enum class DeviceEvent {
  kConnect,
  kDisconnect,
  kVringStart,
  kVringStop,
  kVringBroken,
  kProtocolError,
  kPeerRefused
};
const char* event_name(DeviceEvent event) noexcept;

/// Who answers the requests: JavaScript through the N-API glue, or a test.
class DeviceHost {
 public:
  virtual ~DeviceHost() = default;
  /// `ready_count` slots are in the arena's ready list. The host answers what it can at once, puts those slots into the
  /// done list and calls `device.finish_burst(done_count)` before any other code runs. May call `close`.
  virtual void on_requests(Device& device, uint32_t ready_count) = 0;
  virtual void on_event(DeviceEvent event, const std::string& detail, uint32_t value) = 0;
};

struct DeviceConfig {
  uint32_t request_queues;  ///< besides the hiprio queue, 1..64
  uint32_t slots;           ///< requests in flight, a power of two, 16..16384
  uint32_t poll_window_us;  ///< 0..1000, 0 = never poll
};

class Device final : private VhostUserBackendOwner {
 public:
  static constexpr uint32_t kMaxRequestQueues = 64;
  static constexpr uint32_t kMinSlots = 16;
  static constexpr uint32_t kMaxSlots = 16384;
  static constexpr uint32_t kMaxPollWindowUs = 1000;

  /// @param config within the ranges above. @throws std::system_error
  Device(const DeviceConfig& config, std::shared_ptr<SlabMemory> pool, DeviceHost& host);
  ~Device() override;
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  // ---- the event loop's side ----------------------------------------------------------------------------------
  /// Readable when `turn(true)` has something to do.
  int poll_fd() const noexcept { return epoll_.fd(); }
  /// Handle what is ready. @param descriptors_ready false when called only because `wants_turn` said so.
  void turn(bool descriptors_ready);
  /// `turn` is to be called again soon, though no descriptor may become readable.
  bool wants_turn() const noexcept { return wants_turn_ && !closed_; }

  // ---- the host's side ----------------------------------------------------------------------------------------
  /// @throws std::system_error, also EALREADY when it listens already.
  void listen(const std::string& path, mode_t mode);
  void listen(int inherited_fd);
  /// Whoever else connects is refused. Before `listen`; without it nobody is.
  void allow_only(AllowedPeers peers) { allowed_peers_ = std::move(peers); }
  bool listening() const noexcept { return listener_.has_value(); }

  /// Within on_requests, once. @return false when called from elsewhere.
  bool finish_burst(uint32_t done_count);
  /// Complete slots of the done list. @return false within on_requests.
  bool complete(uint32_t done_count);

  /// Slots, arena and data movement.
  RequestPath& requests() noexcept { return requests_; }
  /// nullptr once closed: a closed device that JavaScript still refers to keeps no pool mapped.
  const SlabMemory* pool() const noexcept { return pool_.get(); }

  /// Drop everything; what is asked afterwards does nothing or answers 0. No event is reported.
  void close() noexcept;
  bool closed() const noexcept { return closed_; }

  uint64_t bursts() const noexcept { return bursts_; }
  size_t mapped_regions() const noexcept { return backend_ ? backend_->memory().region_count() : 0; }

 private:
  struct QueuedEvent {
    DeviceEvent event;
    std::string detail;
    uint32_t value;
  };

  // VhostUserBackendOwner
  void watch_kick(int fd) override;
  void unwatch_kick(int fd) noexcept override;
  void vring_started(uint32_t index) override;
  void vring_stopped(uint32_t index) override;
  void abandon_requests(uint32_t vring) override;

  // connection
  void start_listening(UnixListener listener);
  void handle_descriptors();
  void accept_connection();
  bool is_allowed(const UniqueFd& socket);
  void refuse_others();
  void handle_messages();
  void update_socket_interest();
  void update_poll_timer();
  void begin_silence();
  void end_silence() noexcept;
  void disconnect(const std::string& reason, bool report);
  void check_guest_memory();

  // requests
  void serve();
  bool serve_burst(bool slept);
  bool may_spin() const noexcept;
  bool spin(uint64_t until_ns) noexcept;
  bool enable_kicks() noexcept;
  void after_completion();
  void report_broken_vrings();

  void report(DeviceEvent event, std::string detail, uint32_t value);
  void deliver_events();
  template <typename Step>
  void guarded(Step&& step);

  const DeviceConfig config_;
  DeviceHost& host_;
  std::shared_ptr<SlabMemory> pool_;
  RequestPath requests_;
  Epoll epoll_;
  PollWindow poll_window_;
  uint64_t bursts_ = 0;

  std::optional<UnixListener> listener_;
  std::optional<AllowedPeers> allowed_peers_;
  std::optional<VhostUserConnection> connection_;
  std::optional<VhostUserBackend> backend_;
  UniqueFd silence_timer_;  // until a front-end that has connected has to have spoken
  UniqueFd poll_timer_;  // ticks while a vring without a kick descriptor runs
  std::vector<QueuedEvent> events_;
  uint64_t seen_trips_;  // SigbusGuard::trip_count() when last looked at
  uint32_t refused_messages_ = 0;
  uint32_t socket_interest_ = 0;  // epoll events asked for
  bool accept_due_ = false;       // somebody may wait in the backlog
  bool messages_due_ = false;     // the socket is readable, or messages were put off
  bool announced_ = false;        // 'connect' has been reported
  bool in_burst_ = false;
  bool slept_ = true;  // the loop has slept since the last burst
  bool wants_turn_ = false;
  bool closed_ = false;
};

}  // namespace ovfsd
