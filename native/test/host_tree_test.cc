// The system calls behind pass-through mounts: what is refused, in whose name things are made, what leaks.
#include <dirent.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/fuse.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstddef>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <future>
#include <iterator>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "../src/fd.h"
#include "../src/host_caller.h"
#include "../src/host_tree.h"
#include "check.h"

using namespace ovfsd;
using host_tree::Caller;
using host_tree::Name;

namespace {

constexpr Caller kRoot{0, 0};
constexpr Caller kUser{1234, 2345};
bool is_root() { return geteuid() == 0; }

Name name_of(const std::string& text) { return Name(reinterpret_cast<const uint8_t*>(text.data()), text.size()); }

/// As the default filter of system calls of some containers. For this thread, for good.
void forbid_unshare() {
  sock_filter program[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_unshare, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog filter{std::size(program), program};
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0) _exit(99);
}

size_t open_descriptors() {
  size_t count = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) ++count;
  return count;
}

class Tree {
 public:
  Tree() : descriptors_(open_descriptors()) {
    char name[] = "/tmp/ovfsd-host-tree-XXXXXX";
    path_ = mkdtemp(name);
    root_.reset(host_tree::open_root(path_.c_str()));
    CHECK(root_);
  }
  ~Tree() { std::filesystem::remove_all(path_); }
  Tree(const Tree&) = delete;
  Tree& operator=(const Tree&) = delete;

  int root() const { return root_.get(); }
  std::string at(const std::string& name) const { return path_ + "/" + name; }
  void put(const std::string& name, const std::string& text) const { std::ofstream(at(name)) << text; }
  UniqueFd open(const std::string& name) {
    UniqueFd fd(host_tree::open_name(root(), name_of(name), words));
    CHECK(fd);
    return fd;
  }
  fuse_attr attr() const {
    fuse_attr attr;
    std::memcpy(&attr, words, sizeof attr);
    return attr;
  }
  void check_no_leak() {
    root_.reset();
    CHECK_EQ(open_descriptors(), descriptors_);
  }

  uint32_t words[host_tree::kStatWords] = {};

 private:
  size_t descriptors_;
  std::string path_;
  UniqueFd root_;
};

struct stat stat_of(const std::string& path) {
  struct stat found;
  CHECK_EQ(lstat(path.c_str(), &found), 0);
  return found;
}

}  // namespace

TEST("host tree: a name is one entry") {
  for (const char* text : {"", ".", "..", "/", "a/b", "/a", "a/", "../a"}) CHECK_EQ(name_of(text).error(), EINVAL);
  CHECK_EQ(name_of(std::string("a\0b", 3)).error(), EINVAL);
  CHECK_EQ(name_of(std::string(256, 'x')).error(), ENAMETOOLONG);
  for (const std::string& text : {std::string("..."), std::string(" "), std::string("\xff"), std::string(255, 'x')})
    CHECK_EQ(name_of(text).error(), 0);
  CHECK_EQ(Name(nullptr, 0).error(), EINVAL);
}

TEST("host tree: a refused name reaches no call") {
  Tree tree;
  const Name bad = name_of("..");
  CHECK_EQ(host_tree::stat_name(tree.root(), bad, tree.words), -EINVAL);
  CHECK_EQ(host_tree::open_name(tree.root(), bad, tree.words), -EINVAL);
  CHECK_EQ(host_tree::create(tree.root(), bad, O_RDWR, 0600, kRoot), -EINVAL);
  CHECK_EQ(host_tree::make_directory(tree.root(), bad, 0700, kRoot), -EINVAL);
  CHECK_EQ(host_tree::make_node(tree.root(), bad, S_IFIFO, 0, kRoot), -EINVAL);
  CHECK_EQ(host_tree::make_symlink(tree.root(), bad, "x", kRoot), -EINVAL);
  CHECK_EQ(host_tree::link(tree.root(), tree.root(), bad), -EINVAL);
  CHECK_EQ(host_tree::unlink(tree.root(), bad, true), -EINVAL);
  CHECK_EQ(host_tree::rename(tree.root(), bad, tree.root(), name_of("x"), 0), -EINVAL);
  CHECK_EQ(host_tree::rename(tree.root(), name_of("x"), tree.root(), bad, 0), -EINVAL);
  tree.check_no_leak();
}

TEST("host tree: a symbolic link is itself, for every call that has its descriptor") {
  Tree tree;
  tree.put("target", "contents");
  const auto before = stat_of(tree.at("target"));
  CHECK_EQ(host_tree::make_symlink(tree.root(), name_of("link"), "target", kRoot), 0);
  {
    const UniqueFd link = tree.open("link");
    CHECK(S_ISLNK(tree.attr().mode));
    uint8_t text[PATH_MAX];
    CHECK_EQ(host_tree::read_link(link.get(), text, sizeof text), 6);
    CHECK_EQ(std::string(reinterpret_cast<char*>(text), 6), std::string("target"));
    CHECK_EQ(host_tree::reopen(link.get(), O_RDONLY), -ELOOP);
    CHECK_EQ(host_tree::open_directory(link.get()), -ENOTDIR);
    CHECK_EQ(host_tree::set_mode(link.get(), 0777), -EOPNOTSUPP);
    CHECK(host_tree::truncate(link.get(), 0, true) < 0);
    CHECK_EQ(host_tree::set_times(link.get(), {1, 2}, {3, 4}), 0);
    CHECK_EQ(host_tree::link(link.get(), tree.root(), name_of("second")), 0);
    CHECK(host_tree::set_xattr(link.get(), "user.x", text, 1, 0) < 0);
  }
  CHECK_EQ(stat_of(tree.at("link")).st_mtim.tv_sec, time_t{3});
  CHECK(S_ISLNK(stat_of(tree.at("second")).st_mode));
  const auto after = stat_of(tree.at("target"));
  CHECK_EQ(after.st_mtim.tv_nsec, before.st_mtim.tv_nsec);
  CHECK_EQ(after.st_size, before.st_size);
  tree.check_no_leak();
}

TEST("host tree: what is made has the mode given, whatever the umask, and other threads keep theirs") {
  Tree tree;
  const mode_t before = umask(027);
  std::promise<void> within_scope;
  std::promise<mode_t> seen;
  std::thread other([&] {  // there before the scope, as the threads that write files for other mounts are
    within_scope.get_future().wait();
    seen.set_value(umask(027));
  });
  {
    const host_tree::CallerScope scope(kRoot);
    CHECK_EQ(scope.error(), 0);
    within_scope.set_value();
    CHECK_EQ(seen.get_future().get(), mode_t{027});
  }
  other.join();
  CHECK_EQ(host_tree::make_directory(tree.root(), name_of("directory"), 0777, kRoot), 0);
  const UniqueFd fd(host_tree::create(tree.root(), name_of("file"), O_RDWR, 0666, kRoot));
  CHECK(fd);
  CHECK_EQ(umask(before), mode_t{027});
  CHECK_EQ(stat_of(tree.at("directory")).st_mode & 07777, mode_t{0777});
  CHECK_EQ(stat_of(tree.at("file")).st_mode & 07777, mode_t{0666});
}

TEST("host tree: a handle opens what it is of, be it renamed, and nothing once that is removed") {
  if (!is_root()) return;
  Tree tree;
  tree.put("file", "contents");
  uint8_t handle[host_tree::kMaxHandleBytes];
  int size = 0;
  {
    const UniqueFd file = tree.open("file");
    size = host_tree::handle_of(file.get(), handle);
  }
  if (size == -EOPNOTSUPP) return;
  CHECK(size > 0);
  const UniqueFd mount(host_tree::open_directory(tree.root()));
  {
    CHECK_EQ(rename(tree.at("file").c_str(), tree.at("renamed").c_str()), 0);
    const UniqueFd again(host_tree::open_handle(mount.get(), handle, static_cast<size_t>(size)));
    CHECK(again);
    CHECK_EQ(host_tree::stat(again.get(), tree.words), 0);
    CHECK_EQ(tree.attr().ino, stat_of(tree.at("renamed")).st_ino);
    CHECK_EQ(unlink(tree.at("renamed").c_str()), 0);
    uint8_t nameless[host_tree::kMaxHandleBytes];
    CHECK_EQ(host_tree::handle_of(again.get(), nameless), -ESTALE);
  }
  CHECK_EQ(host_tree::open_handle(mount.get(), handle, static_cast<size_t>(size)), -ESTALE);
  CHECK_EQ(host_tree::open_handle(mount.get(), handle, 4), -EINVAL);
  CHECK_EQ(host_tree::open_handle(mount.get(), handle, sizeof handle + 1), -EINVAL);
}

TEST("host tree: the caller's umask is taken off the mode") {
  Tree tree;
  CHECK_EQ(host_tree::make_directory(tree.root(), name_of("directory"), 0777, {0, 0, 027, false}), 0);
  CHECK_EQ(stat_of(tree.at("directory")).st_mode & 07777, mode_t{0750});
  CHECK_EQ(host_tree::make_directory(tree.root(), name_of("second"), 0777, kRoot), 0);
  CHECK_EQ(stat_of(tree.at("second")).st_mode & 07777, mode_t{0777});
}

TEST("host tree: where unshare is forbidden, a daemon without an umask takes the caller's off the mode") {
  for (const mode_t own : {mode_t{0}, mode_t{027}}) {
    Tree tree;
    // What is forbidden stays so, and the umask is asked for once.
    const pid_t child = fork();
    if (child == 0) {
      umask(own);
      forbid_unshare();
      const Caller caller{0, 0, 022, false};
      const int made = host_tree::make_directory(tree.root(), name_of("directory"), 01777, caller);
      const int file = host_tree::create(tree.root(), name_of("file"), O_RDWR, 0666, caller);
      const int unnamed = host_tree::create_unnamed(tree.root(), O_RDWR, 0666, caller);
      if (own != 0) _exit(made == -EPERM && file == -EPERM && unnamed == -EPERM ? 0 : 1);
      struct stat of_unnamed = {};
      if (fstat(unnamed, &of_unnamed) != 0 || (of_unnamed.st_mode & 07777) != 0644) _exit(2);
      if (host_tree::make_node(tree.root(), name_of("fifo"), S_IFIFO | 0666, 0, caller) != 0) _exit(3);
      if (host_tree::make_symlink(tree.root(), name_of("link"), "target", caller) != 0) _exit(4);
      if (host_tree::make_directory(tree.root(), name_of("open"), 0777, kRoot) != 0) _exit(5);
      _exit(made == 0 && file >= 0 && umask(0) == 0 ? 0 : 6);
    }
    int status = 0;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(status, 0);
    if (own != 0) continue;
    CHECK_EQ(stat_of(tree.at("directory")).st_mode & 07777, mode_t{01755});
    CHECK_EQ(stat_of(tree.at("file")).st_mode & 07777, mode_t{0644});
    CHECK_EQ(stat_of(tree.at("fifo")).st_mode, mode_t{S_IFIFO | 0644});
    CHECK_EQ(stat_of(tree.at("open")).st_mode & 07777, mode_t{0777});
  }
}

TEST("host tree: a set-group-ID bit stays where the caller is in the directory's group") {
  if (!is_root()) return;
  Tree tree;
  CHECK_EQ(chown(tree.at(".").c_str(), 0, 777), 0);
  CHECK_EQ(chmod(tree.at(".").c_str(), 02777), 0);
  for (const bool is_in_group : {false, true}) {
    const Name name = name_of(is_in_group ? "in" : "out");
    const host_tree::Caller caller{kUser.uid, kUser.gid, 0, is_in_group};
    const UniqueFd fd(host_tree::create(tree.root(), name, O_RDWR, 02775, caller));
    CHECK(fd);
    const auto made = stat_of(tree.at(is_in_group ? "in" : "out"));
    CHECK_EQ(made.st_gid, gid_t{777});
    CHECK_EQ(made.st_mode & 07777, is_in_group ? mode_t{02775} : mode_t{0775});
  }
}

TEST("host tree: what is made in a user's name is the user's, in a directory that is not") {
  if (!is_root()) return;
  Tree tree;
  CHECK_EQ(chmod(tree.at(".").c_str(), 0700), 0);
  const Name name = name_of("of-a-user");
  CHECK_EQ(host_tree::make_directory(tree.root(), name, 0750, kUser), 0);
  CHECK_EQ(stat_of(tree.at("of-a-user")).st_uid, kUser.uid);
  CHECK_EQ(stat_of(tree.at("of-a-user")).st_gid, kUser.gid);
  {
    const UniqueFd unnamed(host_tree::create_unnamed(tree.root(), O_RDWR, 0600, kUser));
    CHECK(unnamed);
    CHECK_EQ(host_tree::stat(unnamed.get(), tree.words), 0);
    CHECK_EQ(tree.attr().uid, kUser.uid);
    CHECK_EQ(tree.attr().nlink, uint32_t{0});
  }
  // An error gives the daemon its own user back too.
  CHECK_EQ(host_tree::make_directory(tree.root(), name, 0750, kUser), -EEXIST);
  CHECK_EQ(host_tree::make_directory(tree.root(), name_of("of-root"), 0750, kRoot), 0);
  CHECK_EQ(stat_of(tree.at("of-root")).st_uid, uid_t{0});
  CHECK_EQ(chown(tree.at("of-root").c_str(), 7, 7), 0);  // a right that only root has
  tree.check_no_leak();
}

TEST("host tree: stat tells what fuse_attr holds") {
  Tree tree;
  tree.put("file", "12345");
  const UniqueFd fd = tree.open("file");
  const auto stat = stat_of(tree.at("file"));
  const fuse_attr attr = tree.attr();
  CHECK_EQ(attr.ino, uint64_t{stat.st_ino});
  CHECK_EQ(attr.size, uint64_t{5});
  CHECK_EQ(attr.mode, stat.st_mode);
  CHECK_EQ(attr.mtimensec, static_cast<uint32_t>(stat.st_mtim.tv_nsec));
  uint32_t by_name[host_tree::kStatWords];
  CHECK_EQ(host_tree::stat_name(tree.root(), name_of("file"), by_name), 0);
  CHECK_EQ(std::memcmp(by_name, tree.words, sizeof by_name), 0);
  CHECK_EQ(host_tree::stat_name(tree.root(), name_of("missing"), by_name), -ENOENT);
  uint32_t statfs[host_tree::kStatfsWords];
  CHECK_EQ(host_tree::statfs(tree.root(), statfs), 0);
}

TEST("host tree: listings of every size end, have each name once, and never overrun") {
  Tree tree;
  std::set<std::string> expected = {".", ".."};
  for (int i = 0; i < 300; ++i) {
    const std::string name = std::to_string(i) + std::string(static_cast<size_t>(i) % 250, 'n');
    tree.put(name, "");
    expected.insert(name);
  }
  for (const size_t size : {380, 512, 4096, 100'000}) {
    const UniqueFd directory(host_tree::open_directory(tree.root()));
    std::set<std::string> found;
    int64_t offset = 0;
    for (;;) {
      std::vector<uint8_t> page(size);  // exactly: the sanitizer sees a byte too many
      const int64_t bytes = host_tree::read_directory(directory.get(), offset, page.data(), page.size());
      CHECK(bytes >= 0);
      if (bytes == 0) break;
      for (int64_t position = 0; position < bytes;) {
        fuse_dirent entry;
        std::memcpy(&entry, page.data() + position, FUSE_NAME_OFFSET);
        const auto* text = reinterpret_cast<const char*>(page.data() + position + FUSE_NAME_OFFSET);
        CHECK(found.insert(std::string(text, entry.namelen)).second);
        offset = static_cast<int64_t>(entry.off);
        position += static_cast<int64_t>(FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET + entry.namelen));
      }
    }
    CHECK(found == expected);
  }
  const UniqueFd directory(host_tree::open_directory(tree.root()));
  uint8_t tiny[16];
  CHECK_EQ(host_tree::read_directory(directory.get(), 0, tiny, sizeof tiny), int64_t{-EINVAL});
}

TEST("host tree: data, holes and copies") {
  Tree tree;
  const UniqueFd fd(host_tree::create(tree.root(), name_of("file"), O_RDWR, 0600, kRoot));
  const std::string text(100'000, 'x');
  const auto* bytes = reinterpret_cast<const uint8_t*>(text.data());
  CHECK_EQ(host_tree::write(fd.get(), bytes, text.size(), 0, false), int64_t{100'000});
  CHECK_EQ(host_tree::write(fd.get(), bytes, 10, 0, true), int64_t{10});
  CHECK_EQ(stat_of(tree.at("file")).st_size, off_t{100'010});
  std::vector<uint8_t> back(200'000);
  CHECK_EQ(host_tree::read(fd.get(), back.data(), back.size(), 0), int64_t{100'010});
  CHECK_EQ(host_tree::read(fd.get(), back.data(), 10, 200'000), int64_t{0});
  CHECK_EQ(host_tree::truncate(fd.get(), 5, false), 0);
  const UniqueFd path = tree.open("file");
  CHECK_EQ(host_tree::truncate(path.get(), 6, true), 0);
  CHECK_EQ(host_tree::allocate(fd.get(), 0, 0, 8192), 0);
  CHECK_EQ(stat_of(tree.at("file")).st_size, off_t{8192});
  CHECK_EQ(host_tree::allocate(fd.get(), 0, 0, 0), -EINVAL);
  const UniqueFd other(host_tree::create(tree.root(), name_of("other"), O_RDWR, 0600, kRoot));
  CHECK_EQ(host_tree::copy(fd.get(), 0, other.get(), 0, INT64_MAX), int64_t{8192});
  CHECK_EQ(host_tree::seek(fd.get(), 0, SEEK_SET), int64_t{-EINVAL});
  CHECK_EQ(host_tree::seek(fd.get(), 0, SEEK_HOLE), int64_t{8192});
  CHECK_EQ(host_tree::sync(fd.get(), true), 0);
  CHECK_EQ(host_tree::sync_file_system(tree.root()), 0);
  CHECK_EQ(host_tree::sync(-1, false), -EBADF);
}
