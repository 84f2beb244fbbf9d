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
    const PublishRequest request = this->request(name, present, version);
    Published published;
    const int error = store_file(request, reinterpret_cast<const uint8_t*>(text.data()), text.size(), &published);
    *stored = published.stat;
    return error;
  }
  PublishRequest request(const std::string& name, Present present, const std::string& version) const {
    PublishRequest request;
    request.upload = {path_, ".up/upload"};
    request.target = {path_, name};
    request.present = present;
    request.version = version;
    return request;
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

TEST("host file: a file with two names is overwritten, and the other name has the new contents") {
  const Folder folder;
  HostStat first, second;
  CHECK_EQ(folder.store("one", "first, and longer", Present::kNothing, "", &first), 0);
  CHECK_EQ(link(folder.at("one").c_str(), folder.at("two").c_str()), 0);
  CHECK_EQ(folder.store("one", "second", Present::kVersion, first.version, &second), 0);
  CHECK_EQ(folder.read("two"), std::string("second"));
  CHECK_EQ(folder.store("two", "third", Present::kVersion, first.version, &second), ESTALE);
  CHECK_EQ(folder.read("one"), std::string("second"));
  CHECK(!folder.has_uploads());
}

TEST("host file: links as the last name are followed below the root") {
  const Folder folder;
  HostStat first, second;
  std::filesystem::create_directory(folder.at("below"));
  CHECK_EQ(folder.store("below/file", "first", Present::kNothing, "", &first), 0);
  CHECK_EQ(symlink("below/file", folder.at("link").c_str()), 0);
  CHECK_EQ(symlink("../link", folder.at("below/link").c_str()), 0);
  CHECK_EQ(symlink("../outside", folder.at("out").c_str()), 0);
  CHECK_EQ(symlink("loop", folder.at("loop").c_str()), 0);
  CHECK_EQ(folder.store("below/link", "second", Present::kVersion, first.version, &second), 0);
  CHECK_EQ(folder.read("below/file"), std::string("second"));
  CHECK(std::filesystem::is_symlink(folder.at("link")));
  CHECK_EQ(folder.store("out", "x", Present::kAnything, "", &second), kLeadsOut);
  CHECK_EQ(folder.store("loop", "x", Present::kAnything, "", &second), ELOOP);
  CHECK_EQ(folder.store("link", "x", Present::kNothing, "", &second), EEXIST);
  CHECK(!folder.has_uploads());
}

TEST("host file: what has been published is published again without harm") {
  const Folder folder;
  const PublishRequest request = folder.request("file", Present::kNothing, "");
  UniqueFd fd;
  CHECK_EQ(open_host_upload(request, &fd), 0);
  CHECK_EQ(write(fd.get(), "text", 4), ssize_t{4});
  Published first, second;
  CHECK_EQ(publish_host_file(fd.get(), request, &first), 0);
  CHECK_EQ(publish_host_file(fd.get(), request, &second), 0);
  CHECK_EQ(first.stat.version, second.stat.version);
  CHECK_EQ(folder.read("file"), std::string("text"));
}

TEST("host file: a copy is of the version that was asked for, and has the time that was given") {
  const Folder folder;
  HostStat source;
  CHECK_EQ(folder.store("source", "contents", Present::kNothing, "", &source), 0);
  PublishRequest request = folder.request("copy", Present::kNothing, "");
  request.mtime = timespec{1700000000, 5};
  Published published;
  CHECK_EQ(copy_host_file({folder.at(""), "source"}, "other", request, &published), ESTALE);
  CHECK(!folder.has_uploads());
  CHECK_EQ(copy_host_file({folder.at(""), "source"}, source.version, request, &published), 0);
  CHECK_EQ(folder.read("copy"), std::string("contents"));
  CHECK_EQ(published.stat.mtime_nanoseconds, int64_t{5});
}

TEST("host file: a root that is missing is no missing file") {
  HostStat stat;
  CHECK_EQ(stat_host_name({"/tmp/ovfsd-no-such-root", "file"}, &stat), kNoRoot);
}
