#include "device.h"

#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <system_error>
#include <utility>

#include "refusal.h"

namespace ovfsd {
namespace {

enum Tag : uint64_t {
  kListenTag,
  kSocketTag,
  kKickTag,
  kTimerTag,
  kSilenceTag
};

// Messages handled in one turn. Set-up of 65 vrings is ~400 messages, so a few turns; a front-end that floods us gets
// no more than this before requests and timers have their turn.
constexpr int kMessagesPerTurn = 64;
// A working front-end has none; one that goes on after this many is not worth another log line.
constexpr uint32_t kMaxRefusedMessages = 64;
// As many as wait in the backlog.
constexpr int kRefusedPeersPerTurn = 8;
// A front-end speaks as soon as it is connected; one that is silent for so long keeps others out.
constexpr time_t kSilenceSeconds = 2;
// A turn ends after this many poll windows, or the least time, so that the loop's timers and I/O wait no longer.
constexpr uint64_t kWindowsPerTurn = 4;
constexpr uint64_t kMinTurnNs = 200'000;
// Reading the clock costs ~20 ns, as much as a few looks at the rings.
constexpr int kLooksPerClockRead = 16;
// A vring without a kick descriptor must be polled; nobody uses one for speed.
constexpr long kNoKickPollIntervalNs = 1'000'000;

uint64_t now_ns() noexcept {
  timespec now;
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(now.tv_nsec);
}

/// Tell the processor that this is a waiting loop: it leaves the core to its sibling and saves power.
void relax() noexcept {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

const char* event_name(DeviceEvent event) noexcept {
  switch (event) {
    case DeviceEvent::kConnect:
      return "connect";
    case DeviceEvent::kDisconnect:
      return "disconnect";
    case DeviceEvent::kVringStart:
      return "vring-start";
    case DeviceEvent::kVringStop:
      return "vring-stop";
    case DeviceEvent::kVringBroken:
      return "vring-broken";
    case DeviceEvent::kProtocolError:
      return "protocol-error";
    case DeviceEvent::kPeerRefused:
      return "peer-refused";
  }
  return "unknown";
}

Device::Device(const DeviceConfig& config, std::shared_ptr<SlabMemory> pool, DeviceHost& host)
    : config_(config),
      host_(host),
      pool_(std::move(pool)),
      requests_(config.slots, pool_.get()),
      poll_window_(config.poll_window_us),
      seen_trips_(SigbusGuard::trip_count()) {}

Device::~Device() { close(); }

void Device::close() noexcept {
  if (closed_) return;
  closed_ = true;
  disconnect("closed", false);
  if (listener_) epoll_.remove(listener_->fd());
  listener_.reset();
  if (poll_timer_) epoll_.remove(poll_timer_.get());
  poll_timer_.reset();
  events_.clear();
  pool_.reset();
}

// ---- the event loop's side ----------------------------------------------------------------------------------------

/// Nothing that a front-end or a guest does may get out of a turn: what goes wrong costs the connection.
template <typename Step>
void Device::guarded(Step&& step) {
  try {
    step();
  } catch (const std::exception& error) {
    disconnect(error.what(), true);
  }
}

void Device::turn(bool descriptors_ready) {
  if (closed_) return;
  wants_turn_ = false;
  guarded([&] {
    if (descriptors_ready) handle_descriptors();
    if (accept_due_ && !connection_) accept_connection();
    if (connection_ && messages_due_) handle_messages();
    // Not before all that has arrived was read: the front-end may have gone and come again.
    if (accept_due_ && connection_ && announced_ && !messages_due_) refuse_others();
    if (backend_) report_broken_vrings();
    check_guest_memory();
    deliver_events();
    if (backend_ && !closed_) serve();
    check_guest_memory();
  });
  if (!closed_) guarded([&] { update_poll_timer(); });
  deliver_events();
}

void Device::handle_descriptors() {
  // One listener, one socket, one timer and the kicks; what does not fit comes with the next call.
  epoll_event events[16];
  const int count = epoll_.ready(events, 16);
  for (int i = 0; i < count; ++i) {
    switch (events[i].data.u64) {
      case kListenTag:
        accept_due_ = true;
        break;
      case kSocketTag:
        if (!connection_) break;
        messages_due_ = true;
        if ((events[i].events & EPOLLOUT) != 0) connection_->flush();
        // While messages are held up nobody reads the end of file.
        if ((events[i].events & (EPOLLHUP | EPOLLERR | EPOLLRDHUP)) != 0 &&
            (backend_->draining() || connection_->send_blocked())) {
          throw Refusal("the front-end closed the connection", Refusal::Severity::kConnection);
        }
        break;
      case kSilenceTag: {
        uint64_t ticks;
        // Of a front-end that has gone or spoken since the event came.
        if (::read(silence_timer_.get(), &ticks, sizeof ticks) != sizeof ticks) break;
        // What has arrived in the meantime counts.
        if (connection_ && !announced_) handle_messages();
        if (connection_ && !announced_) disconnect("it said nothing", true);
        break;
      }
      case kTimerTag: {
        uint64_t ticks;
        [[maybe_unused]] const ssize_t rc = ::read(poll_timer_.get(), &ticks, sizeof ticks);
        break;
      }
      default:
        break;  // a kick: `serve` looks at every vring
    }
  }
}

// ---- connection ---------------------------------------------------------------------------------------------------

void Device::listen(const std::string& path, mode_t mode) { start_listening(UnixListener::bind(path, mode)); }

void Device::listen(int inherited_fd) { start_listening(UnixListener::adopt(inherited_fd)); }

void Device::start_listening(UnixListener listener) {
  // Edge-triggered: connections that have to wait, for the one before or for descriptors, must not make the loop spin.
  epoll_.add(listener.fd(), EPOLLIN | EPOLLET, kListenTag);
  listener_.emplace(std::move(listener));
}

void Device::accept_connection() {
  accept_due_ = false;
  UniqueFd socket;
  for (int refused = 0; !socket || !is_allowed(socket); refused++) {
    // Others are due, too.
    if (refused == kRefusedPeersPerTurn) {
      accept_due_ = wants_turn_ = true;
      return;
    }
    try {
      socket = listener_->accept();
    } catch (const std::system_error& error) {
      report(DeviceEvent::kProtocolError, error.what(), 0);
      return;
    }
    if (!socket) return;
  }
  // One front-end at a time. Before it has spoken it may be somebody who looks whether the socket is alive, and the next one
  // waits in the backlog until `disconnect` looks there again; afterwards others are refused.
  connection_.emplace(std::move(socket));
  backend_.emplace(1 + config_.request_queues, static_cast<VhostUserBackendOwner&>(*this));
  refused_messages_ = 0;
  announced_ = false;
  socket_interest_ = EPOLLIN | EPOLLRDHUP;
  epoll_.add(connection_->fd(), socket_interest_, kSocketTag);
  messages_due_ = true;
  begin_silence();
}

/// Tells of one that is not.
bool Device::is_allowed(const UniqueFd& socket) {
  if (!allowed_peers_) return true;
  try {
    const SocketPeer peer = peer_of(socket.get());
    if (allowed_peers_->allow(peer)) return true;
    report(DeviceEvent::kPeerRefused, peer.text(), 0);
  } catch (const std::system_error& error) {
    // Who can't be known is nobody who may.
    report(DeviceEvent::kPeerRefused, error.what(), 0);
  }
  return false;
}

/// Whoever connects and says nothing must not keep the next one out.
void Device::begin_silence() {
  UniqueFd timer(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
  if (!timer) throw std::system_error(errno, std::generic_category(), "timerfd_create");
  epoll_.add(timer.get(), EPOLLIN, kSilenceTag);
  silence_timer_ = std::move(timer);
  itimerspec once = {};
  once.it_value.tv_sec = kSilenceSeconds;
  ::timerfd_settime(silence_timer_.get(), 0, &once, nullptr);
}

void Device::end_silence() noexcept {
  if (silence_timer_) epoll_.remove(silence_timer_.get());
  silence_timer_.reset();
}

void Device::refuse_others() {
  accept_due_ = false;
  for (;;) {
    UniqueFd other;
    try {
      other = listener_->accept();
    } catch (const std::system_error& error) {
      report(DeviceEvent::kProtocolError, error.what(), 0);
      return;
    }
    if (!other) return;
    report(DeviceEvent::kProtocolError, "a second front-end was refused: one is connected already", 0);
  }
}

void Device::handle_messages() {
  messages_due_ = false;
  VhostUserMessage message;
  for (int i = 0; i < kMessagesPerTurn; ++i) {
    if (backend_->draining() || connection_->send_blocked()) break;
    message = VhostUserMessage{};
    if (!connection_->receive(message)) break;
    if (!std::exchange(announced_, true)) {
      end_silence();
      report(DeviceEvent::kConnect, "", 0);
    }
    try {
      backend_->handle(message, *connection_);
    } catch (const Refusal& refusal) {
      report(DeviceEvent::kProtocolError, refusal.what(), message.header.request);
      if (refusal.severity() == Refusal::Severity::kConnection) throw;
      if (++refused_messages_ == kMaxRefusedMessages) {
        throw Refusal("too many messages had to be refused", Refusal::Severity::kConnection);
      }
    }
    if (i + 1 == kMessagesPerTurn) messages_due_ = wants_turn_ = true;
  }
  update_socket_interest();
}

void Device::update_socket_interest() {
  if (!connection_) return;
  uint32_t events = EPOLLRDHUP;
  if (connection_->send_blocked()) {
    events |= EPOLLOUT;
  } else if (!backend_->draining()) {
    events |= EPOLLIN;
  }
  if (events == socket_interest_) return;
  epoll_.modify(connection_->fd(), events, kSocketTag);
  socket_interest_ = events;
}

void Device::update_poll_timer() {
  const bool wanted = backend_ && backend_->has_vring_to_poll();
  if (wanted == static_cast<bool>(poll_timer_)) return;
  if (!wanted) {
    epoll_.remove(poll_timer_.get());
    poll_timer_.reset();
    return;
  }
  UniqueFd timer(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
  if (!timer) throw std::system_error(errno, std::generic_category(), "timerfd_create");
  itimerspec interval = {};
  interval.it_interval.tv_nsec = interval.it_value.tv_nsec = kNoKickPollIntervalNs;
  ::timerfd_settime(timer.get(), 0, &interval, nullptr);
  epoll_.add(timer.get(), EPOLLIN, kTimerTag);
  poll_timer_ = std::move(timer);
}

void Device::disconnect(const std::string& reason, bool report_it) {
  if (!connection_) return;
  end_silence();
  requests_.orphan_all();
  backend_.reset();
  epoll_.remove(connection_->fd());
  connection_.reset();
  slept_ = true;
  if (report_it && announced_) report(DeviceEvent::kDisconnect, reason, 0);
  accept_due_ = wants_turn_ = true;
}

void Device::check_guest_memory() {
  const uint64_t trips = SigbusGuard::trip_count();
  if (trips == seen_trips_) return;
  seen_trips_ = trips;
  if (!backend_) return;
  // A running vring may still use a region that the newest table no longer has.
  bool broken = backend_->memory().broken_region() != nullptr;
  for (const Vring& vring : backend_->vrings()) {
    broken = broken || (vring.memory() && vring.memory()->broken_region() != nullptr);
  }
  if (!broken) return;
  throw Refusal("the file behind a guest memory region was truncated", Refusal::Severity::kConnection);
}

// ---- what the protocol tells --------------------------------------------------------------------------------------

void Device::watch_kick(int fd) {
  try {
    epoll_.add(fd, EPOLLIN | EPOLLET, kKickTag);
  } catch (const std::system_error& error) {
    throw Refusal(std::string("the kick descriptor can't be watched: ") + error.what());
  }
}

void Device::unwatch_kick(int fd) noexcept { epoll_.remove(fd); }

void Device::vring_started(uint32_t index) { report(DeviceEvent::kVringStart, "", index); }

void Device::vring_stopped(uint32_t index) { report(DeviceEvent::kVringStop, "", index); }

void Device::abandon_requests(uint32_t vring) { requests_.orphan(vring); }

void Device::report_broken_vrings() {
  std::vector<Vring>& vrings = backend_->vrings();
  for (uint32_t i = 0; i < vrings.size(); ++i) {
    const char* reason = vrings[i].take_broken_report();
    if (reason == nullptr) continue;
    vrings[i].signal_err();
    report(DeviceEvent::kVringBroken, reason, i);
  }
}

// ---- requests -----------------------------------------------------------------------------------------------------

void Device::serve() {
  const uint64_t deadline = now_ns() + std::max(kWindowsPerTurn * poll_window_.window_ns(), kMinTurnNs);
  while (!closed_ && backend_) {
    if (serve_burst(std::exchange(slept_, false))) {
      check_guest_memory();
      if (now_ns() < deadline) continue;
      wants_turn_ = true;
      return;
    }
    if (requests_.starved()) return;  // the kicks stay off: completing a request wakes us
    if (may_spin()) {
      const uint64_t until = std::min(poll_window_.poll_until_ns(), deadline);
      if (spin(until)) continue;
      if (until == deadline) {
        wants_turn_ = true;
        return;
      }
    }
    if (!enable_kicks()) {
      slept_ = true;
      return;
    }
  }
}

/// @return false when there was nothing to do.
bool Device::serve_burst(bool slept) {
  const RequestPath::Collected collected = requests_.collect(backend_->vrings());
  if (collected.any_broken) report_broken_vrings();
  if (collected.ready == 0) {
    requests_.publish(backend_->vrings());
    return collected.any_popped;
  }
  const uint64_t arrived_ns = now_ns();
  poll_window_.note_arrival(arrived_ns, slept);
  check_guest_memory();  // before the host sees requests that may be zeros out of thin air
  deliver_events();
  if (closed_) return true;
  ++bursts_;
  requests_.hand_over(collected.ready);
  in_burst_ = true;
  host_.on_requests(*this, collected.ready);
  in_burst_ = false;
  const uint64_t answered_ns = now_ns();
  poll_window_.note_answered(answered_ns);
  BurstReport& report = requests_.arena().burst();
  report.arrived_ns = static_cast<double>(arrived_ns);
  report.answered_ns = static_cast<double>(answered_ns);
  return true;
}

bool Device::may_spin() const noexcept {
  // While JavaScript waits for a backend, the backend needs the processor and the loop more than the guest does.
  return requests_.arena().in_flight() == 0 && poll_window_.worth_polling();
}

bool Device::spin(uint64_t until_ns) noexcept {
  do {
    for (int look = 0; look < kLooksPerClockRead; ++look) {
      for (const Vring& vring : backend_->vrings()) {
        if (vring.runs() && vring.has_available()) return true;
      }
      relax();
    }
  } while (now_ns() < until_ns);
  return false;
}

bool Device::enable_kicks() noexcept {
  bool raced = false;
  for (Vring& vring : backend_->vrings()) {
    if (vring.runs() && vring.enable_kicks()) raced = true;
  }
  return raced;
}

bool Device::finish_burst(uint32_t done_count) {
  if (!std::exchange(in_burst_, false)) return false;
  requests_.complete_burst(done_count, backend_ ? &backend_->vrings() : nullptr);
  after_completion();
  return true;
}

bool Device::complete(uint32_t done_count) {
  if (in_burst_) return false;
  requests_.complete(done_count, backend_ ? &backend_->vrings() : nullptr);
  after_completion();
  return true;
}

void Device::after_completion() {
  if (!backend_) return;
  if (backend_->draining()) {
    guarded([&] {
      backend_->continue_drain(*connection_);
      if (backend_->draining()) return;
      update_socket_interest();
      messages_due_ = wants_turn_ = true;  // for the messages that waited
    });
  }
  if (requests_.starved() || !events_.empty() || SigbusGuard::trip_count() != seen_trips_) wants_turn_ = true;
}

// ---- events -------------------------------------------------------------------------------------------------------

void Device::report(DeviceEvent event, std::string detail, uint32_t value) {
  events_.push_back({event, std::move(detail), value});
}

void Device::deliver_events() {
  // By index and from a copy: the host may call `close`, which empties the list.
  while (!events_.empty() && !closed_) {
    std::vector<QueuedEvent> events = std::exchange(events_, {});
    for (const QueuedEvent& event : events) {
      if (closed_) return;
      host_.on_event(event.event, event.detail, event.value);
    }
  }
}

}  // namespace ovfsd
