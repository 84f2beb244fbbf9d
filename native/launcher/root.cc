#include "root.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include "fault.h"

namespace ovfsd::launcher {
namespace {

constexpr mode_t kDirectoryMode = 0755;
constexpr mode_t kFileMode = 0644;
/// Any directory that every host has: the new root lies over it for the moment until it takes the old one's place.
constexpr const char* kFootHold = "/proc";

constexpr const char* kRoot = "/";
/// Where the host's tree is for the moment before it takes the place of ours.
constexpr const char* kHostTree = "/.host";
/// Where the root of the processes inside lies in the frame.
constexpr const char* kInside = "/inside";
/// There, too, and not inside.
constexpr const char* kHostProc = "/proc";

using Tree = std::pair<std::string, UniqueFd>;

UniqueFd open_namespace() {
  return UniqueFd(must(::open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC), "/proc/self/ns/mnt"));
}

/// Those that hold others come first, so that nothing covers what was attached before it.
std::vector<Tree> clone_all(std::vector<Place> places) {
  std::ranges::sort(places, {}, &Place::path);
  std::vector<Tree> trees;
  for (const Place& place : places) {
    try {
      trees.emplace_back(place.path, clone_tree(place.path, place.access));
    } catch (const std::system_error& error) {
      if (!place.is_optional || (error.code().value() != ENOENT && error.code().value() != ENOTDIR)) throw;
    }
  }
  return trees;
}

void attach_all(const std::vector<Tree>& trees) {
  for (const auto& [path, tree] : trees) {
    struct stat of_tree = {};
    must(::fstat(tree.get(), &of_tree), path);
    if (S_ISDIR(of_tree.st_mode)) {
      make_directories(path);
    } else {
      make_directories(path.substr(0, path.rfind('/')));
      if (::mknod(path.c_str(), S_IFREG | kFileMode, 0) != 0 && errno != EEXIST) fail(path);
    }
    attach_tree(tree, path);
  }
}

/// The tree at the working directory becomes the root, and the old one goes.
void pivot_here() {
  must(::syscall(SYS_pivot_root, ".", "."), "pivot_root");
  must(::umount2(".", MNT_DETACH), "umount of the old root");
  must(::chdir("/"), "/");
}

void go_inside() {
  must(::chroot(kInside), kInside);
  must(::chdir("/"), "/");
}

/// The processes inside whose root directory it was go along.
void replace_root(const UniqueFd& tree) {
  must(::mkdir(kHostTree, kDirectoryMode), kHostTree);
  attach_tree(tree, kHostTree);
  must(::mount("/proc", (std::string(kHostTree) + "/proc").c_str(), nullptr, MS_MOVE, nullptr), "/proc");
  must(::chdir(kHostTree), kHostTree);
  pivot_here();
}

}  // namespace

void make_directories(const std::string& path) {
  for (size_t end = path.find('/', 1); end != std::string::npos; end = path.find('/', end + 1)) {
    const std::string parent = path.substr(0, end);
    if (::mkdir(parent.c_str(), kDirectoryMode) != 0 && errno != EEXIST) fail(parent);
  }
  if (!path.empty() && ::mkdir(path.c_str(), kDirectoryMode) != 0 && errno != EEXIST) fail(path);
}

Root::Root(const std::vector<Place>& places, ProcVisible proc_visible)
    : host_namespace_(open_namespace()), host_directory_(::open(".", O_PATH | O_DIRECTORY | O_CLOEXEC)) {
  const std::vector<Tree> trees = clone_all(places);
  const bool has_proc = proc_visible == ProcVisible::kYes;
  const UniqueFd proc = has_proc ? clone_tree("/proc", Access::kDevice) : UniqueFd();
  const UniqueFd frame = empty_tree();
  const UniqueFd root = empty_tree();
  must(::unshare(CLONE_NEWNS), "a mount namespace");
  own_namespace_ = open_namespace();
  must(::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr), "/");
  attach_tree(frame, kFootHold);
  must(::chdir(kFootHold), kFootHold);
  pivot_here();
  frame_ = UniqueFd(must(::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC), "/"));
  make_directories(kInside);
  make_directories(kHostProc);
  if (has_proc) attach_tree(proc, kHostProc);
  attach_tree(root, kInside);
  make_read_only("/");
  go_inside();
  attach_all(trees);
}

void Root::enter() const {
  must(::setns(own_namespace_.get(), CLONE_NEWNS), "the sandbox's mount namespace");
  go_inside();
}

void Root::leave() const {
  must(::setns(host_namespace_.get(), CLONE_NEWNS), "the host's mount namespace");
  // One that was removed meanwhile is nobody's working directory.
  if (host_directory_ && ::fchdir(host_directory_.get()) != 0) must(::chdir("/"), "/");
}

void Root::add(const std::vector<Place>& places) {
  const bool wants_all = std::ranges::any_of(places, [](const Place& place) { return place.path == kRoot; });
  // The devices in it, too.
  const std::vector<Tree> trees = wants_all ? clone_all({{kRoot, Access::kDevice, false}}) : clone_all(places);
  if (is_host_) return;
  enter();
  try {
    if (wants_all) {
      replace_root(trees.front().second);
      is_host_ = true;
    } else {
      attach_all(trees);
    }
  } catch (...) {
    leave();
    throw;
  }
  leave();
}

void Root::seal() const {
  must(::setns(own_namespace_.get(), CLONE_NEWNS), "the sandbox's mount namespace");
  if (::umount2(kHostProc, MNT_DETACH) != 0 && errno != EINVAL) fail("the host's /proc");
  go_inside();
  if (!is_host_) make_read_only("/");
}

}  // namespace ovfsd::launcher
