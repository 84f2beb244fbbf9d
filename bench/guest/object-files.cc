// Many small files as of an object store's client, that goes on where a call fails: `guest-object-files DIR FILES BYTES`.
// FILES files of BYTES bytes are made in DIR, listed, read back, compared and removed; each phase prints a line
// {"work":"create","operations":N,"failed":N,"wrong":N,"seconds":S,"errors":["..."]}. `wrong`: calls that said nothing of an error, with
// other bytes or entries than there should be.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <set>
#include <string>
#include <vector>

namespace {

enum class Outcome { kDone, kWrong, kFailed };

struct Result {
  Outcome outcome;
  // Of a call that failed.
  int error = 0;
};

const Result kDone{Outcome::kDone};
const Result kWrong{Outcome::kWrong};

Result failed() { return {Outcome::kFailed, errno}; }

struct Files {
  std::string directory;
  unsigned count;
  size_t bytes;
  // Those that were made without an error: the others need not be there.
  std::set<unsigned> made = {};

  std::string path(unsigned i) const { return directory + "/" + name(i); }
  static std::string name(unsigned i) { return "object-" + std::to_string(i); }
  // Of each file its own.
  std::vector<char> content(unsigned i) const { return std::vector<char>(bytes, static_cast<char>('a' + i % 26)); }
};

Result create(Files& files, unsigned i) {
  const int fd = open(files.path(i).c_str(), O_WRONLY | O_CREAT | O_EXCL, 0644);
  if (fd < 0) return failed();
  const std::vector<char> content = files.content(i);
  Result result = kDone;
  for (size_t done = 0; done < content.size() && result.error == 0;) {
    const ssize_t written = write(fd, content.data() + done, content.size() - done);
    if (written < 0) result = failed();
    if (written > 0) done += static_cast<size_t>(written);
  }
  // Its result is the store's.
  if (close(fd) != 0 && result.error == 0) result = failed();
  if (result.error == 0) files.made.insert(i);
  return result;
}

Result list(const Files& files) {
  DIR* directory = opendir(files.directory.c_str());
  if (directory == nullptr) return failed();
  std::set<std::string> names;
  errno = 0;
  while (const dirent* entry = readdir(directory)) names.insert(entry->d_name);
  const Result result = errno == 0 ? kDone : failed();
  closedir(directory);
  if (result.error != 0) return result;
  for (const unsigned i : files.made) {
    if (!names.contains(Files::name(i))) return kWrong;
  }
  return kDone;
}

Result read_back(const Files& files, unsigned i) {
  const int fd = open(files.path(i).c_str(), O_RDONLY);
  if (fd < 0) return failed();
  std::vector<char> content(files.bytes + 1);
  size_t done = 0;
  ssize_t got = 1;
  while (done < content.size() && (got = read(fd, content.data() + done, content.size() - done)) > 0) done += static_cast<size_t>(got);
  const Result result = got < 0 ? failed() : kDone;
  close(fd);
  if (result.error != 0) return result;
  content.resize(done);
  return content == files.content(i) ? kDone : kWrong;
}

void phase(const char* name, const std::vector<std::function<Result()>>& calls) {
  unsigned failed_calls = 0;
  unsigned wrong = 0;
  std::set<int> errors;
  const auto start = std::chrono::steady_clock::now();
  for (const auto& call : calls) {
    const Result result = call();
    failed_calls += result.outcome == Outcome::kFailed;
    wrong += result.outcome == Outcome::kWrong;
    if (result.outcome == Outcome::kFailed) errors.insert(result.error);
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  std::string messages;
  for (const int error : errors) messages += (messages.empty() ? "\"" : ",\"") + std::string(std::strerror(error)) + "\"";
  std::printf("{\"work\":\"%s\",\"operations\":%zu,\"failed\":%u,\"wrong\":%u,\"seconds\":%.6f,\"errors\":[%s]}\n", name, calls.size(),
              failed_calls, wrong, seconds.count(), messages.c_str());
}

// The guest's kernel forgets names, attributes and pages: what follows asks the daemon.
void drop_guest_caches() {
  sync();
  const int fd = open("/proc/sys/vm/drop_caches", O_WRONLY);
  if (fd < 0 || write(fd, "3\n", 2) != 2) std::perror("drop_caches");
  if (fd >= 0) close(fd);
}

}  // namespace

int main(int argc, char** argv) {
  Files files{argc == 4 ? argv[1] : "", argc == 4 ? static_cast<unsigned>(std::strtoul(argv[2], nullptr, 10)) : 0,
              argc == 4 ? std::strtoul(argv[3], nullptr, 10) : 0};
  if (files.count == 0 || files.bytes == 0) {
    std::fprintf(stderr, "usage: guest-object-files DIR FILES BYTES\n");
    return 2;
  }
  std::vector<std::function<Result()>> creations;
  for (unsigned i = 0; i < files.count; ++i) creations.push_back([&files, i] { return create(files, i); });
  phase("create", creations);
  drop_guest_caches();
  phase("list", {[&files] { return list(files); }});
  std::vector<std::function<Result()>> reads;
  for (const unsigned i : files.made) reads.push_back([&files, i] { return read_back(files, i); });
  phase("read", reads);
  std::vector<std::function<Result()>> removals;
  for (const unsigned i : files.made) {
    removals.push_back([&files, i] { return unlink(files.path(i).c_str()) == 0 ? kDone : failed(); });
  }
  phase("remove", removals);
  return 0;
}
