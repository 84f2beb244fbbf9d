// Contents and times of files of the host: in one version, in one place, and never in somebody else's file.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <thread>
#include <vector>

#include "../src/host_data.h"
#include "check.h"

using namespace ovfsd;

namespace {

class Folder {
 public:
  Folder() {
    char name[] = "/tmp/ovfsd-host-data-XXXXXX";
    path_ = mkdtemp(name);
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  std::string at(const std::string& name) const { return path_ + "/" + name; }
  HostPlace place(const std::string& name) const { return {path_, name}; }
  void write(const std::string& name, const std::string& text) const { std::ofstream(at(name)) << text; }
  std::string text(const std::string& name) const {
    std::ifstream file(at(name));
    return {std::istreambuf_iterator<char>(file), {}};
  }
  HostStat stat(const std::string& name) const {
    HostStat result;
    CHECK_EQ(stat_host_name(place(name), &result), 0);
    return result;
  }
  int read(const std::string& name, const std::string& version, int64_t offset, std::string* data) const {
    return read_host_file(place(name), version, offset, reinterpret_cast<uint8_t*>(data->data()), data->size());
  }
  int append(const std::string& name, const HostStat& base, const std::string& data, HostAppend* result) const {
    return append_host_file(place(name), base.version, base.size, reinterpret_cast<const uint8_t*>(data.data()),
                            data.size(), result);
  }

 private:
  std::string path_;
};

}  // namespace

TEST("host data: a part of a version is read, and of no other") {
  const Folder folder;
  folder.write("file", "0123456789");
  const std::string version = folder.stat("file").version;
  std::string data(4, ' ');
  CHECK_EQ(folder.read("file", version, 3, &data), 0);
  CHECK_EQ(data, std::string("3456"));
  CHECK_EQ(folder.read("file", version, 8, &data), ESTALE);
  folder.write("file", "01234567890");
  CHECK_EQ(folder.read("file", version, 3, &data), ESTALE);
}

TEST("host data: what is no file is none, and keeps nobody waiting") {
  const Folder folder;
  std::string data(1, ' ');
  CHECK_EQ(::mkfifo(folder.at("fifo").c_str(), 0600), 0);
  CHECK_EQ(folder.read("fifo", "", 0, &data), ENOENT);
  HostAppend appended;
  CHECK_EQ(folder.append("fifo", {}, "x", &appended), ENOENT);
  CHECK_EQ(folder.read("", "", 0, &data), EISDIR);
  CHECK_EQ(folder.read("missing", "", 0, &data), ENOENT);
}

TEST("host data: an append tells what it has made") {
  const Folder folder;
  folder.write("file", "base ");
  HostAppend appended;
  CHECK_EQ(folder.append("file", folder.stat("file"), "more", &appended), 0);
  CHECK_EQ(folder.text("file"), std::string("base more"));
  CHECK_EQ(appended.stat.version, folder.stat("file").version);
  CHECK(!appended.is_torn);
}

TEST("host data: an append to another version leaves it as it is") {
  const Folder folder;
  folder.write("file", "base");
  const HostStat base = folder.stat("file");
  folder.write("file", "theirs");
  HostAppend appended;
  CHECK_EQ(folder.append("file", base, "ours", &appended), ESTALE);
  CHECK_EQ(folder.text("file"), std::string("theirs"));
  CHECK(!appended.is_torn);
}

TEST("host data: appends beside a program that has the file open are there once if they were done, and else not") {
  const Folder folder;
  folder.write("file", "");
  constexpr int kPieces = 2000;
  // The lease is not had while this is open, so that both append at the same time.
  std::thread other([&] {
    const int fd = ::open(folder.at("file").c_str(), O_WRONLY | O_APPEND);
    for (int piece = 0; piece < kPieces; ++piece) CHECK_EQ(::write(fd, "t", 1), ssize_t{1});
    ::close(fd);
  });
  std::string ours;
  size_t torn = 0;
  for (int tries = 0; tries < kPieces; ++tries) {
    HostAppend appended;
    const int error = folder.append("file", folder.stat("file"), "o", &appended);
    if (error == 0) ours += "o";
    if (appended.is_torn) ++torn;
  }
  other.join();
  size_t found = 0;
  for (const char byte : folder.text("file")) found += byte == 'o' ? 1 : 0;
  CHECK(found >= ours.size());
  CHECK(found <= ours.size() + torn);
}

TEST("host data: who opens the file while it is appended to waits, and nothing ends the process") {
  const Folder folder;
  folder.write("file", "");
  std::atomic<bool> is_done = false;
  std::thread other([&] {
    while (!is_done) {
      const int fd = ::open(folder.at("file").c_str(), O_RDONLY);
      CHECK(fd >= 0);
      ::close(fd);
    }
  });
  size_t stored = 0;
  for (int tries = 0; tries < 300; ++tries) {
    HostAppend appended;
    if (folder.append("file", folder.stat("file"), "o", &appended) == 0) ++stored;
  }
  is_done = true;
  other.join();
  CHECK_EQ(stored, size_t{300});
  CHECK_EQ(folder.text("file").size(), size_t{300});
}

TEST("host data: times are set on what was looked at") {
  const Folder folder;
  folder.write("file", "x");
  const HostStat before = folder.stat("file");
  HostTimeChange change;
  CHECK_EQ(set_host_time(folder.place("file"), {1700000000, 123456789}, &change), 0);
  CHECK_EQ(change.previous_version, before.version);
  CHECK_EQ(change.stat.version, folder.stat("file").version);
  CHECK_EQ(change.stat.mtime_nanoseconds, int64_t{123456789});
  CHECK_EQ(set_host_time(folder.place("missing"), {1, 0}, &change), ENOENT);
  CHECK_EQ(set_host_time(folder.place(""), {1, 0}, &change), 0);
}
