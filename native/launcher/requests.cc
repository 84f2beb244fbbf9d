#include "requests.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <sstream>
#include <stdexcept>
#include <string_view>
#include <vector>

#include "../src/system_call_filter.h"
#include "fault.h"

namespace ovfsd::launcher {
namespace {

/// Paths of a thousand stores.
constexpr size_t kRequestBytesMax = size_t{4} << 20;
/// A line of some fifty numbers.
constexpr size_t kStatBytes = 4096;
constexpr size_t kReadBytes = 64 << 10;

/// Two NULs: the last item's end, and an empty item.
constexpr std::string_view kEnd("\0\0", 2);

void limit_open_files(pid_t process, std::string_view text) {
  rlim_t limit = 0;
  if (std::from_chars(text.data(), text.data() + text.size(), limit).ec != std::errc()) {
    throw std::invalid_argument("not a limit of open files");
  }
  rlimit current = {};
  must(::prlimit(process, RLIMIT_NOFILE, nullptr, &current), "RLIMIT_NOFILE");
  const rlimit wanted = {limit, std::max(limit, current.rlim_max)};
  if (::prlimit(process, RLIMIT_NOFILE, &wanted, nullptr) == 0) return;
  // Who is not root gets as much as it may.
  const rlimit allowed = {std::min(limit, current.rlim_max), current.rlim_max};
  must(::prlimit(process, RLIMIT_NOFILE, &allowed, nullptr), "RLIMIT_NOFILE");
}

bool is_gone(const UniqueFd& processes, const std::string& process) {
  const size_t space = process.find(' ');
  if (space == std::string::npos || process.find_first_not_of("0123456789 ") != std::string::npos) {
    throw std::invalid_argument("not a process");
  }
  const std::string began = start_time_of(processes, process.substr(0, space));
  return began.empty() || began != process.substr(space + 1);
}

}  // namespace

std::string start_time_of(const UniqueFd& processes, const std::string& process) {
  const UniqueFd file(::openat(processes.get(), (process + "/stat").c_str(), O_RDONLY | O_CLOEXEC));
  char buffer[kStatBytes];
  const ssize_t length = file ? ::read(file.get(), buffer, sizeof buffer) : 0;
  if (length <= 0) return "";
  // The name, in brackets, may hold anything.
  const std::string text(buffer, static_cast<size_t>(length));
  std::istringstream fields(text.substr(std::min(text.rfind(')') + 1, text.size())));
  constexpr int kStartTime = 20;
  std::string field;
  for (int number = 0; number < kStartTime; number++) fields >> field;
  return fields ? field : "";
}

Requests::Requests(UniqueFd socket, Root& root, Daemon& daemon)
    : socket_(std::move(socket)),
      root_(root),
      daemon_(daemon),
      processes_(must(::open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC), "/proc")) {}

void Requests::read_some() noexcept {
  try {
    char buffer[kReadBytes];
    const ssize_t got = ::read(socket_.get(), buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) return;
    if (got <= 0) return socket_.reset();
    received_.append(buffer, static_cast<size_t>(got));
    if (received_.size() > kRequestBytesMax) return socket_.reset();
    for (size_t end; (end = received_.find(kEnd)) != std::string::npos;) {
      const std::string request = received_.substr(0, end + 1);
      received_.erase(0, end + kEnd.size());
      std::string reply;
      try {
        reply = answer(request);
      } catch (const std::exception& error) {
        reply = error.what();
      }
      if (reply.empty()) continue;
      // Shorter than the buffer of any socket, and the daemon waits for it.
      if (::send(socket_.get(), reply.c_str(), reply.size() + 1, MSG_NOSIGNAL) < 0) return socket_.reset();
    }
  } catch (const std::exception&) {
    // Out of memory: the daemon sees the end, and says so.
    socket_.reset();
  }
}

std::string Requests::answer(const std::string& request) {
  if (request.starts_with("g")) return is_gone(processes_, request.c_str() + 1) ? "gone" : "there";
  if (sealed_) throw std::invalid_argument("the sandbox is sealed");
  std::vector<Place> places;
  for (size_t start = 0; start < request.size();) {
    const std::string_view item(request.c_str() + start);
    start += item.size() + 1;
    if (item == "seal") {
      sealed_ = true;
    } else if (item == "oown" || item == "ohost") {
      UniqueFd socket = daemon_.start_again(item == "oown" ? Network::kOwn : Network::kHost);
      received_.clear();
      socket_ = std::move(socket);
      return "";
    } else if (item.starts_with("f")) {
      filter_ = item.substr(1);
    } else if (item.starts_with("n")) {
      limit_open_files(daemon_.pid(), item.substr(1));
    } else if (item.starts_with("r/") || item.starts_with("w/") || item.starts_with("m/")) {
      const std::string path(item.substr(1));
      if (item[0] == 'm') std::filesystem::create_directories(path);
      places.push_back({path, item[0] == 'r' ? Access::kRead : Access::kWrite});
    } else {
      throw std::invalid_argument("not a request");
    }
  }
  if (!places.empty()) root_.add(places);
  if (sealed_) seal();
  return "ok";
}

void Requests::join_network() {
  const std::string path = std::to_string(daemon_.pid()) + "/ns/net";
  const UniqueFd network(must(::openat(processes_.get(), path.c_str(), O_RDONLY | O_CLOEXEC), path));
  must(::setns(network.get(), CLONE_NEWNET), "the daemon's network");
}

void Requests::seal() {
  // The host's is ours already, and in a user namespace nobody may enter it.
  if (daemon_.network() == Network::kOwn) join_network();
  root_.seal();
  keep_capabilities(daemon_.capabilities());
  if (filter_ == "none") return;
  filter_system_calls(filter_ == "log"    ? Denied::kLog
                      : filter_ == "trap" ? Denied::kTrap
                                          : Denied::kKill,
                      Sockets::kNone);
}

}  // namespace ovfsd::launcher
