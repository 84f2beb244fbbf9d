// Names below a directory of the host: what is told of them, and that no link leads out.
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "../src/host_directory.h"
#include "check.h"

using namespace ovfsd;

namespace {

// A root with a directory beside it, which no call may reach.
class Folder {
 public:
  Folder() {
    char name[] = "/tmp/ovfsd-host-directory-XXXXXX";
    path_ = mkdtemp(name);
    std::filesystem::create_directories(path_ + "/root/below/deeper");
    std::filesystem::create_directory(path_ + "/outside");
    write("root/file", "12345");
    write("root/below/file", "1");
    write("outside/secret", "");
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  std::string at(const std::string& path) const { return path_ + "/" + path; }
  HostPlace place(const std::string& path) const { return {at("root"), path}; }
  void link(const std::string& target, const std::string& path) const {
    CHECK_EQ(::symlink(target.c_str(), at("root/" + path).c_str()), 0);
  }
  int stat(const std::string& path, HostStat* result) const { return stat_host_name(place(path), result); }
  int stat(const std::string& path) const {
    HostStat result;
    return stat(path, &result);
  }
  bool exists(const std::string& path) const { return std::filesystem::exists(at(path)); }

 private:
  void write(const std::string& path, const std::string& text) const { std::ofstream(at(path)) << text; }

  std::string path_;
};

}  // namespace

TEST("host directory: a name is told as it is") {
  const Folder folder;
  HostStat stat;
  CHECK_EQ(folder.stat("file", &stat), 0);
  CHECK(stat.kind == HostKind::kFile);
  CHECK_EQ(stat.size, int64_t{5});
  struct stat other;
  CHECK_EQ(::lstat(folder.at("root/file").c_str(), &other), 0);
  CHECK_EQ(stat.version, host_version(other));
  CHECK_EQ(folder.stat("below/deeper", &stat), 0);
  CHECK(stat.kind == HostKind::kDirectory);
  CHECK_EQ(folder.stat("", &stat), 0);
  CHECK(stat.kind == HostKind::kDirectory);
  CHECK_EQ(folder.stat("missing"), ENOENT);
  CHECK_EQ(folder.stat("file/below"), ENOTDIR);
  CHECK_EQ(::mkfifo(folder.at("root/fifo").c_str(), 0600), 0);
  CHECK_EQ(folder.stat("fifo", &stat), 0);
  CHECK(stat.kind == HostKind::kOther);
}

TEST("host directory: links are followed below the root, and nowhere else") {
  const Folder folder;
  folder.link("below/file", "to-file");
  folder.link("../below", "below/up");
  folder.link("../outside/secret", "out");
  folder.link("..", "parent");
  folder.link(folder.at("root/file"), "absolute");
  folder.link("loop", "loop");
  HostStat stat;
  CHECK_EQ(folder.stat("to-file", &stat), 0);
  CHECK(stat.kind == HostKind::kFile);
  CHECK_EQ(folder.stat("below/up/file"), 0);
  for (const char* path : {"out", "parent", "absolute", "parent/outside", "parent/outside/secret"}) {
    CHECK_EQ(folder.stat(path), kLeadsOut);
  }
  CHECK_EQ(folder.stat("loop"), ELOOP);
  CHECK_EQ(remove_host_file(folder.place("parent/outside/secret")), kLeadsOut);
  CHECK_EQ(make_host_directory(folder.place("parent/made")), kLeadsOut);
  CHECK_EQ(rename_host_name(folder.place("file"), folder.place("parent/moved")), kLeadsOut);
  std::vector<HostEntry> entries;
  CHECK_EQ(list_host_directory(folder.place("parent"), 0, &entries), kLeadsOut);
  CHECK(folder.exists("outside/secret") && folder.exists("root/file") && !folder.exists("made"));
  // The link itself, not what it leads to.
  CHECK_EQ(remove_host_file(folder.place("out")), 0);
  CHECK(folder.exists("outside/secret"));
}

TEST("host directory: names are made, moved and removed") {
  const Folder folder;
  CHECK_EQ(make_host_directory(folder.place("below/new")), 0);
  CHECK_EQ(make_host_directory(folder.place("below/new")), EEXIST);
  CHECK_EQ(rename_host_name(folder.place("file"), folder.place("below/new/file")), 0);
  CHECK(!folder.exists("root/file") && folder.exists("root/below/new/file"));
  CHECK_EQ(remove_host_directory(folder.place("below/new")), ENOTEMPTY);
  CHECK_EQ(remove_host_file(folder.place("below/new")), EISDIR);
  CHECK_EQ(remove_host_file(folder.place("below/new/file")), 0);
  CHECK_EQ(remove_host_directory(folder.place("below/new")), 0);
  CHECK_EQ(remove_host_file(folder.place("missing")), ENOENT);
}

TEST("host directory: a listing tells what looks would, up to a limit") {
  const Folder folder;
  folder.link("file", "link");
  CHECK_EQ(::mkfifo(folder.at("root/fifo").c_str(), 0600), 0);
  std::vector<HostEntry> entries;
  CHECK_EQ(list_host_directory(folder.place(""), 0, &entries), 0);
  std::sort(entries.begin(), entries.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
  CHECK_EQ(entries.size(), size_t{3});
  CHECK(entries[0].name == "below" && entries[0].stat.kind == HostKind::kDirectory);
  CHECK(entries[1].name == "file" && entries[1].stat.size == 5);
  CHECK(entries[2].name == "link" && entries[2].stat.kind == HostKind::kLink);
  entries.clear();
  CHECK_EQ(list_host_directory(folder.place(""), 1, &entries), 0);
  CHECK_EQ(entries.size(), size_t{2});
  for (const HostEntry& entry : entries) CHECK(entry.stat.version.empty() && entry.stat.kind != HostKind::kOther);
  CHECK_EQ(list_host_directory(folder.place("file"), 0, &entries), ENOTDIR);
  CHECK_EQ(list_host_directory(folder.place("missing"), 0, &entries), ENOENT);
}

TEST("host directory: pages of a listing have each entry once, and go on wherever one ended") {
  const Folder folder;
  constexpr size_t kFiles = 5000;
  for (size_t i = 0; i < kFiles; ++i) std::ofstream(folder.at("root/below/deeper/file-" + std::to_string(i)));
  const HostPlace place = folder.place("below/deeper");
  for (const bool reopens : {false, true}) {
    std::vector<std::string> names;
    UniqueFd fd;
    int64_t from = 0;
    for (bool is_end = false; !is_end;) {
      HostPage page;
      CHECK_EQ(list_host_page(place, fd.get(), from, 100, &page), 0);
      for (const HostEntry& entry : page.entries) names.push_back(entry.name);
      if (page.opened && !reopens) fd = std::move(page.opened);
      from = page.next;
      is_end = page.is_end;
    }
    std::sort(names.begin(), names.end());
    CHECK_EQ(names.size(), kFiles);
    CHECK(std::adjacent_find(names.begin(), names.end()) == names.end());
  }
  HostPage page;
  CHECK_EQ(list_host_page(folder.place("file"), -1, 0, 100, &page), ENOTDIR);
  CHECK_EQ(list_host_page(folder.place("missing"), -1, 0, 100, &page), ENOENT);
}
