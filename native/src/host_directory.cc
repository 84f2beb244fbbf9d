#include "host_directory.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstring>
#include <memory>

namespace ovfsd {

namespace {

constexpr mode_t kDirectoryMode = 0777;
// The kernel gives up when names change while it follows a "..", openat2(2); a tree that always changes is somebody's attack.
constexpr int kTries = 16;
// A lease of ours is held for one write: milliseconds.
constexpr int kLeaseTries = 100;
constexpr useconds_t kLeaseWaitUs = 1000;
// As many links in a row as the kernel follows (MAXSYMLINKS).
constexpr int kMaxLinks = 40;

int open_beneath(int root, const char* path, int flags) {
  open_how how = {};
  how.flags = static_cast<uint64_t>(flags | O_CLOEXEC);
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
  return static_cast<int>(::syscall(SYS_openat2, root, path, &how, sizeof how));
}

// EPERM may be the path's own; then the root itself can be opened.
bool can_confine(int root) { return static_cast<bool>(UniqueFd(open_beneath(root, ".", O_PATH))); }

// openat2 without leaving `root`, or, for a place that the caller has looked at, as usual.
int open_below(int root, const std::string& path, int flags, bool beneath, UniqueFd* result) {
  const char* name = path.empty() ? "." : path.c_str();
  for (int tries = 0;; ++tries) {
    const int fd = beneath ? open_beneath(root, name, flags) : ::openat(root, name, flags | O_CLOEXEC);
    if (fd >= 0) {
      result->reset(fd);
      return 0;
    }
    if (errno == EXDEV && beneath) return kLeadsOut;
    if (errno == ENOSYS && beneath) return kCannotConfine;
    if (errno == EPERM && beneath) return can_confine(root) ? EPERM : kCannotConfine;
    if (errno != EINTR && errno != EAGAIN) return errno;
    if (tries >= kTries + kLeaseTries) return EAGAIN;
    // Somebody, or another thread of ours, has a lease of the file.
    if (tries >= kTries) ::usleep(kLeaseWaitUs);
  }
}

int open_root(const HostPlace& place, UniqueFd* root) {
  root->reset(::open(place.root.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (*root) return 0;
  // What is below it is not known to be missing: a disk may not be mounted.
  return errno == ENOENT || errno == ENOTDIR ? kNoRoot : errno;
}

int open_place(const HostPlace& place, int flags, UniqueFd* result) {
  UniqueFd root;
  if (const int error = open_root(place, &root); error != 0) return error;
  return open_below(root.get(), place.path, flags, place.beneath, result);
}

HostKind kind_of(mode_t mode) {
  if (S_ISREG(mode)) return HostKind::kFile;
  if (S_ISDIR(mode)) return HostKind::kDirectory;
  return S_ISLNK(mode) ? HostKind::kLink : HostKind::kOther;
}

// One system call on the last name in its directory.
template <typename Call>
int on_name(const HostPlace& place, Call call) {
  UniqueFd parent;
  std::string name;
  if (const int error = open_host_parent(place, &parent, &name); error != 0) return error;
  return call(parent.get(), name.c_str()) == 0 ? 0 : errno;
}

bool is_dots(const char* name) { return std::strcmp(name, ".") == 0 || std::strcmp(name, "..") == 0; }

}  // namespace

std::string host_version(const struct stat& stat) {
  constexpr int64_t kNanosecondsPerSecond = 1'000'000'000;
  const int64_t mtime_ns = stat.st_mtim.tv_sec * kNanosecondsPerSecond + stat.st_mtim.tv_nsec;
  char text[80];
  std::snprintf(text, sizeof text, "%lld/%lld/%llu", static_cast<long long>(mtime_ns),
                static_cast<long long>(stat.st_size), static_cast<unsigned long long>(stat.st_ino));
  return text;
}

HostStat host_stat(const struct stat& stat) {
  HostStat result;
  result.kind = kind_of(stat.st_mode);
  result.mtime_seconds = stat.st_mtim.tv_sec;
  result.mtime_nanoseconds = stat.st_mtim.tv_nsec;
  if (result.kind != HostKind::kFile) return result;
  result.size = stat.st_size;
  result.version = host_version(stat);
  return result;
}

int open_host_parent(const HostPlace& place, UniqueFd* parent, std::string* name) {
  const size_t slash = place.path.rfind('/');
  *name = slash == std::string::npos ? place.path : place.path.substr(slash + 1);
  if (slash == std::string::npos) return open_root(place, parent);
  return open_place({place.root, place.path.substr(0, slash), place.beneath}, O_PATH | O_DIRECTORY, parent);
}

namespace {

// What the name is a link to; "" where it is none.
int read_link(int parent, const std::string& name, std::string* target) {
  char text[PATH_MAX];
  const ssize_t size = ::readlinkat(parent, name.c_str(), text, sizeof text);
  if (size < 0) return errno == EINVAL || errno == ENOENT ? 0 : errno;
  if (static_cast<size_t>(size) == sizeof text) return ENAMETOOLONG;
  target->assign(text, static_cast<size_t>(size));
  return 0;
}

}  // namespace

int open_host_target(const HostPlace& place, UniqueFd* parent, std::string* name, bool* is_elsewhere) {
  HostPlace at = place;
  for (int links = 0; links < kMaxLinks; ++links) {
    if (const int error = open_host_parent(at, parent, name); error != 0) return error;
    std::string target;
    if (const int error = read_link(parent->get(), *name, &target); error != 0) return error;
    if (target.empty()) return 0;
    if (is_elsewhere != nullptr) *is_elsewhere = true;
    // Where absolute links lead is the caller's to find out, as with the kernel's own following of links.
    if (target.front() == '/') return kLeadsOut;
    while (target.size() > 1 && target.back() == '/') target.pop_back();
    at.path = at.path.substr(0, at.path.size() - name->size()) + target;
  }
  return ELOOP;
}

int make_host_parent(const HostPlace& place, UniqueFd* parent, std::string* name) {
  const int error = open_host_parent(place, parent, name);
  if (error != ENOENT) return error;
  const HostPlace directory = {place.root, place.path.substr(0, place.path.rfind('/')), place.beneath};
  if (const int failure = make_host_directory(directory); failure != 0 && failure != EEXIST) return failure;
  return open_host_parent(place, parent, name);
}

int stat_host_name(const HostPlace& place, HostStat* result) {
  struct stat stat;
  if (place.path.empty()) {
    UniqueFd root;
    if (const int error = open_root(place, &root); error != 0) return error;
    if (::fstat(root.get(), &stat) != 0) return errno;
    *result = host_stat(stat);
    return 0;
  }
  const int error = on_name(
      place, [&](int parent, const char* name) { return ::fstatat(parent, name, &stat, AT_SYMLINK_NOFOLLOW); });
  if (error != 0) return error;
  if (S_ISLNK(stat.st_mode)) {
    UniqueFd target;
    if (const int failure = open_place(place, O_PATH, &target); failure != 0) return failure;
    if (::fstat(target.get(), &stat) != 0) return errno;
  }
  *result = host_stat(stat);
  return 0;
}

int remove_host_file(const HostPlace& place) {
  return on_name(place, [](int parent, const char* name) { return ::unlinkat(parent, name, 0); });
}

int remove_host_directory(const HostPlace& place) {
  return on_name(place, [](int parent, const char* name) { return ::unlinkat(parent, name, AT_REMOVEDIR); });
}

int make_host_directory(const HostPlace& place) {
  return on_name(place, [](int parent, const char* name) { return ::mkdirat(parent, name, kDirectoryMode); });
}

int rename_host_name(const HostPlace& from, const HostPlace& to) {
  UniqueFd from_parent, to_parent;
  std::string from_name, to_name;
  if (const int error = open_host_parent(from, &from_parent, &from_name); error != 0) return error;
  if (const int error = open_host_parent(to, &to_parent, &to_name); error != 0) return error;
  return ::renameat(from_parent.get(), from_name.c_str(), to_parent.get(), to_name.c_str()) == 0 ? 0 : errno;
}

int link_host_name(const HostPlace& from, const HostPlace& to) {
  UniqueFd from_parent, to_parent;
  std::string from_name, to_name;
  if (const int error = open_host_target(from, &from_parent, &from_name); error != 0) return error;
  if (const int error = make_host_parent(to, &to_parent, &to_name); error != 0) return error;
  return ::linkat(from_parent.get(), from_name.c_str(), to_parent.get(), to_name.c_str(), 0) == 0 ? 0 : errno;
}

int open_host_file(const HostPlace& place, int flags, UniqueFd* fd) { return open_place(place, flags, fd); }

int host_usage(const HostPlace& place, HostUsage* usage) {
  UniqueFd root;
  if (const int error = open_root(place, &root); error != 0) return error;
  struct statvfs stat;
  if (::fstatvfs(root.get(), &stat) != 0) return errno;
  *usage = {stat.f_bsize, stat.f_blocks, stat.f_bfree, stat.f_bavail, stat.f_files, stat.f_ffree};
  return 0;
}

namespace {

// False for what is not listed. `kind_only`: without a system call, where the file system tells kinds.
bool look_at(int directory, const char* name, unsigned char type, bool kind_only, HostStat* result) {
  if (kind_only && type != DT_UNKNOWN) {
    result->kind = kind_of(DTTOIF(type));
    return result->kind != HostKind::kOther;
  }
  struct stat stat;
  if (::fstatat(directory, name, &stat, AT_SYMLINK_NOFOLLOW) == 0) {
    *result = host_stat(stat);
    return result->kind != HostKind::kOther;
  }
  // A name that is there must not seem to be missing because of an error of the moment.
  result->kind = HostKind::kLink;
  return errno != ENOENT;
}

}  // namespace

int list_host_directory(const HostPlace& place, size_t limit, std::vector<HostEntry>* entries) {
  UniqueFd fd;
  if (const int error = open_place(place, O_RDONLY | O_DIRECTORY, &fd); error != 0) return error;
  const std::unique_ptr<DIR, int (*)(DIR*)> directory(::fdopendir(fd.get()), ::closedir);
  if (!directory) return errno;
  fd.release();  // closedir's
  for (;;) {
    errno = 0;
    const dirent* entry = ::readdir(directory.get());
    if (entry == nullptr) return errno;
    if (is_dots(entry->d_name)) continue;
    HostStat stat;
    if (!look_at(::dirfd(directory.get()), entry->d_name, entry->d_type, limit > 0, &stat)) continue;
    entries->push_back({entry->d_name, stat});
    if (limit > 0 && entries->size() > limit) return 0;
  }
}

namespace {

// What the host is asked for at once.
constexpr size_t kListingBytes = 32 << 10;

// Go to an offset, for which file systems forget less when they are there already. False: those before it have to be read again, since
// lseek(2) takes an offset with bit 63, as NFS and FUSE file systems have them, for a negative one.
bool go_to(int fd, int64_t offset, int* error) {
  *error = 0;
  if (::lseek(fd, 0, SEEK_CUR) == offset) return true;
  if (::lseek(fd, offset < 0 ? 0 : offset, SEEK_SET) < 0) *error = errno;
  return offset >= 0;
}

}  // namespace

int list_host_page(const HostPlace& place, int fd, int64_t from, size_t limit, HostPage* page) {
  if (fd < 0) {
    if (const int error = open_place(place, O_RDONLY | O_DIRECTORY, &page->opened); error != 0) return error;
    fd = page->opened.get();
  }
  int error = 0;
  bool is_there = go_to(fd, from, &error);
  if (error != 0) return error;
  alignas(dirent64) char listing[kListingBytes];
  page->next = from;
  while (page->entries.size() < limit) {
    const ssize_t found = ::getdents64(fd, listing, sizeof listing);
    if (found < 0 && errno == EINTR) continue;
    // A directory that was removed has no entries any more.
    if (found < 0 && errno != ENOENT) return errno;
    if (found <= 0) {
      page->is_end = true;
      // Half a listing is none.
      return is_there ? 0 : EIO;
    }
    for (ssize_t position = 0; position < found;) {
      const auto* entry = reinterpret_cast<const dirent64*>(listing + position);
      position += entry->d_reclen;
      if (is_there) {
        page->next = entry->d_off;
        HostStat stat;
        if (!is_dots(entry->d_name) && look_at(fd, entry->d_name, entry->d_type, false, &stat))
          page->entries.push_back({entry->d_name, stat});
      }
      is_there = is_there || entry->d_off == from;
    }
  }
  return 0;
}

}  // namespace ovfsd
