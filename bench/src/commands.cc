#include "commands.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <sstream>
#include <stdexcept>
#include <utility>

#include "file_works.h"

namespace ovfs_bench {

namespace {

// A FLUSH may upload a whole file.
constexpr int kSilenceLimitMs = 300000;
constexpr double kNoLimitSeconds = 3600;

class Clock {
 public:
  [[nodiscard]] double seconds() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

uint64_t number(const std::string& text) {
  size_t end = 0;
  const uint64_t value = std::stoull(text, &end);
  if (end != text.size()) throw std::invalid_argument("not a number: " + text);
  return value;
}

}  // namespace

CommandedTarget::CommandedTarget(const std::string& name, const std::string& socket_path, const std::string& base)
    : target_(name, socket_path), base_(FUSE_ROOT_ID) {
  target_.set_silence_limit_ms(kSilenceLimitMs);
  base_ = resolve(base);
}

uint64_t CommandedTarget::resolve(const std::string& path) {
  uint64_t nodeid = base_;
  std::istringstream parts(path);
  for (std::string part; std::getline(parts, part, '/');) {
    if (!part.empty()) nodeid = target_.lookup(nodeid, part);
  }
  return nodeid;
}

std::pair<uint64_t, std::string> CommandedTarget::split(const std::string& path) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos) throw std::invalid_argument("a file in a directory, not " + path);
  return {resolve(path.substr(0, slash)), path.substr(slash + 1)};
}

// With nothing in flight but what a slow store holds up, looking at the ring would only take the daemon's CPU.
Measurement CommandedTarget::loop(Work& work, unsigned depth) {
  return run_closed_loop(target_, work, depth, {.seconds = kNoLimitSeconds, .halt_poll_us = 0});
}

void CommandedTarget::forget(const std::vector<uint64_t>& nodeids) {
  std::vector<fuse_forget_one> items;
  for (const uint64_t nodeid : nodeids) items.push_back({nodeid, 1});
  target_.forget(items);
}

Measurement CommandedTarget::read(const std::string& path, uint64_t bytes, unsigned depth) {
  const auto [directory, name] = split(path);
  const Clock clock;
  const uint64_t nodeid = target_.lookup(directory, name);
  const TransferWork::File file{nodeid, target_.open(nodeid, O_RDONLY), bytes};
  SequentialWork work(file, false, target_.max_io_bytes());
  Measurement result = loop(work, depth);
  result.seconds = clock.seconds();
  target_.flush(nodeid, file.fh);
  target_.release(nodeid, file.fh);
  forget({nodeid});
  return result;
}

Measurement CommandedTarget::write(const std::string& path, uint64_t bytes, unsigned depth) {
  const auto [directory, name] = split(path);
  const Clock clock;
  const auto [nodeid, fh] = target_.create(directory, name);
  SequentialWork work({nodeid, fh, bytes}, true, target_.max_io_bytes());
  Measurement result = loop(work, depth);
  target_.fsync(nodeid, fh);
  target_.flush(nodeid, fh);
  target_.release(nodeid, fh);
  result.seconds = clock.seconds();
  forget({nodeid});
  return result;
}

Measurement CommandedTarget::create(const std::string& directory, uint64_t count, uint32_t bytes, bool sync) {
  CreateFilesWork work(resolve(directory), count, bytes);
  const Clock clock;
  Measurement result = loop(work, 1);
  if (sync) target_.syncfs();
  result.seconds = clock.seconds();
  // A guest knows the files that it made. virtiofsd for one unlinks no other.
  created_[directory] = work.nodeids();
  return result;
}

Measurement CommandedTarget::unlink(const std::string& directory, uint64_t count) {
  UnlinkWork work(resolve(directory), 0, count);
  const Measurement result = loop(work, 1);
  forget(std::exchange(created_[directory], {}));
  return result;
}

Measurement CommandedTarget::run(const std::vector<std::string>& words) {
  const std::string& command = words.at(0);
  const auto count = [&](size_t index) { return number(words.at(index)); };
  const auto count32 = [&](size_t index) { return static_cast<uint32_t>(number(words.at(index))); };
  if (command == "read") return read(words.at(1), count(2), count32(3));
  if (command == "write") return write(words.at(1), count(2), count32(3));
  if (command == "create") return create(words.at(1), count(2), count32(3), false);
  if (command == "create+sync") return create(words.at(1), count(2), count32(3), true);
  if (command == "list") {
    ListWork work(resolve(words.at(1)), count(2), 1);
    const Measurement result = loop(work, 1);
    forget(work.looked_up());
    return result;
  }
  if (command == "read-files") {
    ReadFilesWork work(resolve(words.at(1)), count(2), count32(3));
    const Measurement result = loop(work, 1);
    forget(work.nodeids());
    return result;
  }
  if (command == "unlink") return unlink(words.at(1), count(2));
  throw std::invalid_argument("no such command: " + command);
}

void run_commands(std::istream& input, std::map<std::string, std::unique_ptr<CommandedTarget>>& targets) {
  for (std::string line; std::getline(input, line);) {
    std::istringstream stream(line);
    std::vector<std::string> words;
    for (std::string word; stream >> word;) words.push_back(word);
    try {
      if (words.size() < 2) throw std::invalid_argument("a command and a target, not: " + line);
      const auto target = targets.find(words[1]);
      if (target == targets.end()) throw std::invalid_argument("no such target: " + words[1]);
      words.erase(words.begin() + 1);
      const Measurement result = target->second->run(words);
      std::printf("{\"operations\":%llu,\"seconds\":%.6f,\"p50Us\":%.2f,\"p99Us\":%.2f}\n",
                  static_cast<unsigned long long>(result.operations), result.seconds, result.p50_us, result.p99_us);
    } catch (const std::exception& error) {
      std::printf("{\"error\":%s}\n", json_string(error.what()).c_str());
    }
    std::fflush(stdout);
  }
}

std::string json_string(const std::string& text) {
  std::string result = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') result += '\\';
    result += static_cast<unsigned char>(c) < 0x20 ? ' ' : c;
  }
  return result + "\"";
}

}  // namespace ovfs_bench
