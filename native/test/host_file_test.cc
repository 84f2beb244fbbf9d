// Storing files of the host: what is there before, what others find, what an error leaves.
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>

#include "../src/host_file.h"
#include "check.h"

using namespace ovfsd;

namespace {

class Folder {
 public:
  Folder() {
    char name[] = "/tmp/ovfsd-host-file-XXXXXX";
    path_ = mkdtemp(name);
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  std::string at(const std::string& name) const { return path_ + "/" + name; }
  std::string read(const std::string& name) const {
    std::ifstream file(at(name));
    return {std::istreambuf_iterator<char>(file), {}};
  }
  bool has_uploads() const {
    return std::filesystem::exists(at(".up")) && !std::filesystem::is_empty(at(".up"));
  }

  int store(const std::string& name, const std::string& text, Present present, const std::string& version,
            HostStat* stored) const {
    StoreFileRequest request;
    request.upload = {path_, ".up/upload"};
    request.target = {path_, name};
    request.data = reinterpret_cast<const uint8_t*>(text.data());
    request.size = text.size();
    request.present = present;
    request.version = version;
    return store_file(request, stored);
  }

 private:
  std::string path_;
};

}  // namespace

TEST("host file: a new file is stored whole, and tells its version") {
  const Folder folder;
  HostStat stored;
  CHECK_EQ(folder.store("new", "contents", Present::kNothing, "", &stored), 0);
  CHECK_EQ(folder.read("new"), std::string("contents"));
  struct stat stat;
  CHECK_EQ(::stat(folder.at("new").c_str(), &stat), 0);
  CHECK_EQ(stored.size, int64_t{8});
  CHECK_EQ(stored.mtime_seconds, static_cast<int64_t>(stat.st_mtim.tv_sec));
  CHECK_EQ(stored.mtime_nanoseconds, static_cast<int64_t>(stat.st_mtim.tv_nsec));
  CHECK(stored.version.ends_with("/8/" + std::to_string(stat.st_ino)));
  CHECK(!folder.has_uploads());
}

TEST("host file: an empty file is a file") {
  const Folder folder;
  HostStat stored;
  CHECK_EQ(folder.store("empty", "", Present::kNothing, "", &stored), 0);
  CHECK_EQ(stored.size, int64_t{0});
}

TEST("host file: where nothing is expected, something is EEXIST and stays") {
  const Folder folder;
  HostStat stored;
  CHECK_EQ(folder.store("file", "first", Present::kNothing, "", &stored), 0);
  CHECK_EQ(folder.store("file", "second", Present::kNothing, "", &stored), EEXIST);
  CHECK_EQ(folder.read("file"), std::string("first"));
  CHECK(!folder.has_uploads());
}

TEST("host file: the version that was stored is replaced, another is ESTALE and stays") {
  const Folder folder;
  HostStat first;
  HostStat second;
  CHECK_EQ(folder.store("file", "first", Present::kNothing, "", &first), 0);
  CHECK_EQ(folder.store("file", "second", Present::kVersion, first.version, &second), 0);
  CHECK_EQ(folder.read("file"), std::string("second"));
  HostStat third;
  CHECK_EQ(folder.store("file", "third", Present::kVersion, first.version, &third), ESTALE);
  CHECK_EQ(folder.read("file"), std::string("second"));
  unlink(folder.at("file").c_str());
  CHECK_EQ(folder.store("file", "third", Present::kVersion, second.version, &third), ESTALE);
  CHECK(!folder.has_uploads());
}

TEST("host file: where anything is expected, whatever is there is replaced") {
  const Folder folder;
  HostStat stored;
  CHECK_EQ(folder.store("file", "first", Present::kAnything, "", &stored), 0);
  CHECK_EQ(folder.store("file", "second", Present::kAnything, "", &stored), 0);
  CHECK_EQ(folder.read("file"), std::string("second"));
}

TEST("host file: a directory in the way or missing is an error, and leaves no upload") {
  const Folder folder;
  HostStat stored;
  std::filesystem::create_directory(folder.at("directory"));
  CHECK_EQ(folder.store("directory", "x", Present::kAnything, "", &stored), EISDIR);
  CHECK_EQ(folder.store("missing/file", "x", Present::kNothing, "", &stored), ENOENT);
  CHECK(!folder.has_uploads());
}
