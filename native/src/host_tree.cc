#include "host_tree.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <sys/uio.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstddef>
#include <cstdio>
#include <cstring>

#include "fd.h"
#include "host_caller.h"

namespace ovfsd::host_tree {
namespace {

/// "/proc/self/fd/N": leads to exactly what the descriptor is of, a symbolic link too, wherever its names have gone.
class ProcPath {
 public:
  explicit ProcPath(int fd) noexcept { std::snprintf(text_, sizeof text_, "/proc/self/fd/%d", fd); }
  const char* c_str() const noexcept { return text_; }

 private:
  char text_[32];
};

template <typename Result>
Result or_errno(Result result) noexcept {
  return result < 0 ? static_cast<Result>(-errno) : result;
}

template <typename Call>
auto retry(Call call) noexcept {
  for (;;) {
    const auto result = call();
    if (result >= 0 || errno != EINTR) return or_errno(result);
  }
}

/// Run `make` in the caller's name, with the mode to ask for.
template <typename Make>
int made(Caller caller, const Name& name, mode_t mode, Make make) noexcept {
  if (name.error() != 0) return -name.error();
  const CallerScope scope(caller);
  if (scope.error() != 0) return -scope.error();
  return or_errno(make(scope.mode(mode)));
}

/// As the kernel's new_encode_dev: what fuse_attr.rdev and fuse_mknod_in.rdev hold.
uint32_t encode_rdev(uint32_t device_major, uint32_t device_minor) noexcept {
  return (device_minor & 0xff) | (device_major << 8) | ((device_minor & ~0xffu) << 12);
}

dev_t decode_rdev(uint32_t rdev) noexcept {
  return makedev((rdev & 0xfff00) >> 8, (rdev & 0xff) | ((rdev >> 12) & 0xfff00));
}

void put_stat(const struct statx& found, uint32_t* words) noexcept {
  fuse_attr attr = {};
  attr.ino = found.stx_ino;
  attr.size = found.stx_size;
  attr.blocks = found.stx_blocks;
  attr.atime = static_cast<uint64_t>(found.stx_atime.tv_sec);
  attr.mtime = static_cast<uint64_t>(found.stx_mtime.tv_sec);
  attr.ctime = static_cast<uint64_t>(found.stx_ctime.tv_sec);
  attr.atimensec = found.stx_atime.tv_nsec;
  attr.mtimensec = found.stx_mtime.tv_nsec;
  attr.ctimensec = found.stx_ctime.tv_nsec;
  attr.mode = found.stx_mode;
  attr.nlink = found.stx_nlink;
  attr.uid = found.stx_uid;
  attr.gid = found.stx_gid;
  attr.rdev = encode_rdev(found.stx_rdev_major, found.stx_rdev_minor);
  attr.blksize = found.stx_blksize;
  static_assert(sizeof attr == kAttrWords * sizeof(uint32_t));
  std::memcpy(words, &attr, sizeof attr);
  words[kAttrWords] = found.stx_dev_major;
  words[kAttrWords + 1] = found.stx_dev_minor;
  // Two mounts of one file system differ in what they allow.
  const uint64_t mount_id = (found.stx_mask & STATX_MNT_ID) != 0 ? found.stx_mnt_id : 0;
  std::memcpy(words + kAttrWords + 2, &mount_id, sizeof mount_id);
}

int stat_at(int fd, const char* name, int flags, uint32_t* words) noexcept {
  struct statx found;
  if (::statx(fd, name, flags | AT_NO_AUTOMOUNT, STATX_BASIC_STATS | STATX_MNT_ID, &found) != 0) return -errno;
  put_stat(found, words);
  return 0;
}

}  // namespace

Name::Name(const uint8_t* bytes, size_t length_bytes) noexcept {
  text_[0] = '\0';
  if (length_bytes > kMaxBytes) {
    error_ = ENAMETOOLONG;
    return;
  }
  if (length_bytes > 0) std::memcpy(text_, bytes, length_bytes);
  text_[length_bytes] = '\0';
  const bool is_dots = std::strcmp(text_, ".") == 0 || std::strcmp(text_, "..") == 0;
  if (length_bytes == 0 || is_dots || std::memchr(text_, '/', length_bytes) != nullptr ||
      std::memchr(text_, '\0', length_bytes) != nullptr)
    error_ = EINVAL;
}

// ---- finding and opening

int open_root(const char* path) noexcept { return or_errno(open(path, O_PATH | O_DIRECTORY | O_CLOEXEC)); }

int stat_name(int directory, const Name& name, uint32_t* words) noexcept {
  if (name.error() != 0) return -name.error();
  return stat_at(directory, name.c_str(), AT_SYMLINK_NOFOLLOW, words);
}

int open_name(int directory, const Name& name, uint32_t* words) noexcept {
  if (name.error() != 0) return -name.error();
  UniqueFd fd(openat(directory, name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  if (!fd) return -errno;
  if (const int error = stat(fd.get(), words); error != 0) return error;
  return fd.release();
}

int stat(int fd, uint32_t* words) noexcept { return stat_at(fd, "", AT_EMPTY_PATH, words); }

namespace {

/// struct fuse_statx of <linux/fuse.h>, which Debian 12 does not have yet: the same as struct statx up to its reserved words.
constexpr size_t kSharedStatxBytes = offsetof(struct statx, stx_mnt_id);

}  // namespace

int statx(int fd, uint32_t* words) noexcept {
  struct statx found;
  constexpr unsigned kMask = STATX_BASIC_STATS | STATX_BTIME;
  if (::statx(fd, "", AT_EMPTY_PATH | AT_NO_AUTOMOUNT, kMask, &found) != 0) return -errno;
  found.stx_mask &= kMask;
  static_assert(kSharedStatxBytes == 144);
  std::memset(words, 0, kStatxWords * sizeof *words);
  std::memcpy(words, &found, kSharedStatxBytes);
  return 0;
}

int stat_parent(int fd, uint32_t* words) noexcept { return stat_at(fd, "..", 0, words); }

bool tells_at_close(int fd) noexcept {
  struct ::statfs found;
  if (::fstatfs(fd, &found) != 0) return true;
  switch (found.f_type) {
    // Their file_operations have no flush (Linux 6.18).
    case EXT4_SUPER_MAGIC:
    case XFS_SUPER_MAGIC:
    case BTRFS_SUPER_MAGIC:
    case F2FS_SUPER_MAGIC:
    case TMPFS_MAGIC:
      return false;
    default:
      return true;
  }
}

int statfs(int fd, uint32_t* words) noexcept {
  struct statvfs found;
  if (fstatvfs(fd, &found) != 0) return -errno;
  fuse_kstatfs reply = {};
  reply.blocks = found.f_blocks;
  reply.bfree = found.f_bfree;
  reply.bavail = found.f_bavail;
  reply.files = found.f_files;
  reply.ffree = found.f_ffree;
  reply.bsize = static_cast<uint32_t>(found.f_bsize);
  reply.namelen = static_cast<uint32_t>(found.f_namemax);
  reply.frsize = static_cast<uint32_t>(found.f_frsize);
  static_assert(sizeof reply == kStatfsWords * sizeof(uint32_t));
  std::memcpy(words, &reply, sizeof reply);
  return 0;
}

int reopen(int fd, int flags, bool kill_ids) noexcept {
  const UnprivilegedWrite unprivileged(kill_ids);
  if (unprivileged.error() != 0) return -unprivileged.error();
  const ProcPath path(fd);
  return retry([&] { return open(path.c_str(), flags | O_CLOEXEC | O_NOCTTY); });
}

int open_directory(int fd) noexcept {
  return retry([&] { return openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC); });
}

namespace {

/// struct file_handle with room for the longest one.
struct Handle {
  static constexpr size_t kTypeBytes = sizeof(int);
  alignas(file_handle) uint8_t bytes[sizeof(file_handle) + MAX_HANDLE_SZ];
  file_handle* get() noexcept { return reinterpret_cast<file_handle*>(bytes); }
};

}  // namespace

int handle_of(int fd, uint8_t* target) noexcept {
  struct statx found;
  if (::statx(fd, "", AT_EMPTY_PATH, STATX_NLINK, &found) != 0) return -errno;
  if (found.stx_nlink == 0) return -ESTALE;
  Handle handle;
  handle.get()->handle_bytes = MAX_HANDLE_SZ;
  int mount_id;
  if (name_to_handle_at(fd, "", handle.get(), &mount_id, AT_EMPTY_PATH) != 0) return -errno;
  static_assert(Handle::kTypeBytes + MAX_HANDLE_SZ == kMaxHandleBytes);
  const size_t size = handle.get()->handle_bytes;
  std::memcpy(target, &handle.get()->handle_type, Handle::kTypeBytes);
  std::memcpy(target + Handle::kTypeBytes, handle.get()->f_handle, size);
  return static_cast<int>(Handle::kTypeBytes + size);
}

int open_handle(int mount, const uint8_t* bytes, size_t size) noexcept {
  if (size <= Handle::kTypeBytes || size > kMaxHandleBytes) return -EINVAL;
  Handle handle;
  handle.get()->handle_bytes = static_cast<unsigned>(size - Handle::kTypeBytes);
  std::memcpy(&handle.get()->handle_type, bytes, Handle::kTypeBytes);
  std::memcpy(handle.get()->f_handle, bytes + Handle::kTypeBytes, size - Handle::kTypeBytes);
  return retry([&] { return open_by_handle_at(mount, handle.get(), O_PATH | O_NOFOLLOW | O_CLOEXEC); });
}

// ---- making, linking, removing

int create(int directory, const Name& name, int flags, uint32_t mode, Caller caller) noexcept {
  // With O_EXCL nothing that is there, not even a symbolic link, is opened.
  const int all = flags | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC | O_NOCTTY;
  return made(caller, name, mode & ALLPERMS, [&](mode_t own) { return openat(directory, name.c_str(), all, own); });
}

int create_unnamed(int directory, int flags, uint32_t mode, Caller caller) noexcept {
  const CallerScope scope(caller);
  if (scope.error() != 0) return -scope.error();
  return or_errno(openat(directory, ".", flags | O_TMPFILE | O_CLOEXEC, scope.mode(mode & ALLPERMS)));
}

int make_directory(int directory, const Name& name, uint32_t mode, Caller caller) noexcept {
  return made(caller, name, mode & ALLPERMS, [&](mode_t own) { return mkdirat(directory, name.c_str(), own); });
}

int make_node(int directory, const Name& name, uint32_t mode, uint32_t rdev, Caller caller) noexcept {
  return made(caller, name, mode, [&](mode_t own) { return mknodat(directory, name.c_str(), own, decode_rdev(rdev)); });
}

int make_symlink(int directory, const Name& name, const char* target, Caller caller) noexcept {
  // A link has no mode of its own.
  return made(caller, name, 0, [&](mode_t) { return symlinkat(target, directory, name.c_str()); });
}

int link(int fd, int directory, const Name& name) noexcept {
  if (name.error() != 0) return -name.error();
  const ProcPath path(fd);
  return or_errno(linkat(AT_FDCWD, path.c_str(), directory, name.c_str(), AT_SYMLINK_FOLLOW));
}

int unlink(int directory, const Name& name, bool is_directory) noexcept {
  if (name.error() != 0) return -name.error();
  return or_errno(unlinkat(directory, name.c_str(), is_directory ? AT_REMOVEDIR : 0));
}

int rename(int directory, const Name& name, int new_directory, const Name& new_name, uint32_t flags) noexcept {
  if (name.error() != 0) return -name.error();
  if (new_name.error() != 0) return -new_name.error();
  return or_errno(renameat2(directory, name.c_str(), new_directory, new_name.c_str(), flags));
}

int read_link(int fd, uint8_t* target, size_t size) noexcept {
  return static_cast<int>(or_errno(readlinkat(fd, "", reinterpret_cast<char*>(target), size)));
}

// ---- attributes

int set_mode(int fd, uint32_t mode) noexcept {
  const ProcPath path(fd);
  return or_errno(fchmodat(AT_FDCWD, path.c_str(), mode & ALLPERMS, 0));
}

int set_owner(int fd, uint32_t uid, uint32_t gid) noexcept {
  return or_errno(fchownat(fd, "", uid, gid, AT_EMPTY_PATH));
}

int set_times(int fd, Time atime, Time mtime) noexcept {
  const ProcPath path(fd);
  const timespec times[2] = {{atime.seconds, atime.nanoseconds}, {mtime.seconds, mtime.nanoseconds}};
  return or_errno(utimensat(AT_FDCWD, path.c_str(), times, 0));
}

int64_t get_xattr(int fd, const char* name, uint8_t* value, size_t size) noexcept {
  return or_errno<int64_t>(getxattr(ProcPath(fd).c_str(), name, value, size));
}

int64_t list_xattr(int fd, uint8_t* names, size_t size) noexcept {
  return or_errno<int64_t>(listxattr(ProcPath(fd).c_str(), reinterpret_cast<char*>(names), size));
}

int set_xattr(int fd, const char* name, const uint8_t* value, size_t size, int flags, bool kill_group_id) noexcept {
  const UnprivilegedWrite unprivileged(kill_group_id);
  if (unprivileged.error() != 0) return -unprivileged.error();
  return or_errno(setxattr(ProcPath(fd).c_str(), name, value, size, flags));
}

int remove_xattr(int fd, const char* name) noexcept { return or_errno(removexattr(ProcPath(fd).c_str(), name)); }

// ---- directories

namespace {

/// struct fuse_dirent has 24 bytes before the name and ours has 19, padded with its NUL to 8: a third more at most.
constexpr size_t host_bytes_for(size_t fuse_bytes) { return fuse_bytes / 4 * 3; }
/// What the host is asked for at once.
constexpr size_t kListingBytes = 32 << 10;

/// lseek(2) takes an offset with bit 63, as NFS and FUSE file systems have them, for a negative one and refuses it.
bool can_seek_to(int64_t offset) noexcept { return offset >= 0; }

size_t put_entry(const dirent64& entry, uint8_t* target) noexcept {
  const size_t name_bytes = std::strlen(entry.d_name);
  fuse_dirent header = {};
  header.ino = entry.d_ino;
  header.off = static_cast<uint64_t>(entry.d_off);
  header.namelen = static_cast<uint32_t>(name_bytes);
  header.type = entry.d_type;
  const size_t entry_bytes = FUSE_DIRENT_ALIGN(FUSE_NAME_OFFSET + name_bytes);
  std::memset(target + entry_bytes - FUSE_DIRENT_ALIGN(1), 0, FUSE_DIRENT_ALIGN(1));
  std::memcpy(target, &header, FUSE_NAME_OFFSET);
  std::memcpy(target + FUSE_NAME_OFFSET, entry.d_name, name_bytes);
  return entry_bytes;
}

}  // namespace

int64_t read_directory(int fd, int64_t offset, uint8_t* target, size_t size) noexcept {
  alignas(dirent64) uint8_t listing[kListingBytes];
  // Where we are already: file systems forget less when they are not asked to go there.
  bool is_there = lseek(fd, 0, SEEK_CUR) == offset;
  if (!is_there) {
    is_there = can_seek_to(offset);
    if (lseek(fd, is_there ? offset : 0, SEEK_SET) < 0) return -errno;
  }
  for (;;) {
    const size_t room = std::min(host_bytes_for(size), sizeof listing);
    const ssize_t found = retry([&] { return getdents64(fd, listing, room); });
    if (found <= 0) return found;
    size_t written = 0;
    for (ssize_t position = 0; position < found;) {
      const auto* entry = reinterpret_cast<const dirent64*>(listing + position);
      if (is_there) written += put_entry(*entry, target + written);
      // From the first entry on, up to the one that told the offset.
      is_there = is_there || entry->d_off == offset;
      position += entry->d_reclen;
    }
    if (written > 0) return static_cast<int64_t>(written);
  }
}

int64_t seek(int fd, int64_t offset, int whence) noexcept {
  if (whence != SEEK_DATA && whence != SEEK_HOLE) return -EINVAL;
  return or_errno<int64_t>(lseek(fd, offset, whence));
}

// ---- what may take long

int64_t read(int fd, uint8_t* target, size_t size, int64_t offset) noexcept {
  size_t done = 0;
  while (done < size) {
    const int64_t got =
        retry([&] { return pread(fd, target + done, size - done, offset + static_cast<int64_t>(done)); });
    // Not the bytes before it: a guest's kernel takes less than it asked for for the end of the file.
    if (got < 0) return got;
    if (got == 0) break;
    done += static_cast<size_t>(got);
  }
  return static_cast<int64_t>(done);
}

int64_t write(int fd, const uint8_t* source, size_t size, int64_t offset, bool append, bool kill_ids) noexcept {
  const UnprivilegedWrite unprivileged(kill_ids);
  if (unprivileged.error() != 0) return -unprivileged.error();
  size_t done = 0;
  while (done < size) {
    const iovec piece{const_cast<uint8_t*>(source) + done, size - done};
    const int64_t put =
        retry([&] { return pwritev2(fd, &piece, 1, offset + static_cast<int64_t>(done), append ? RWF_APPEND : 0); });
    if (put < 0) return done > 0 ? static_cast<int64_t>(done) : put;
    done += static_cast<size_t>(put);
    if (put == 0) break;
  }
  return static_cast<int64_t>(done);
}

int sync(int fd, bool data_only) noexcept {
  return retry([&] { return data_only ? fdatasync(fd) : fsync(fd); });
}

int flush(int fd) noexcept {
  const int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  if (copy < 0) return -errno;
  // Closed it is, whatever it answers (close(2)).
  return or_errno(close(copy));
}

int sync_file_system(int directory) noexcept {
  const UniqueFd fd(open_directory(directory));
  if (!fd) return fd.get();
  return or_errno(syncfs(fd.get()));
}

int truncate(int fd, int64_t size, bool by_path) noexcept {
  const ProcPath path(fd);
  return retry([&] { return by_path ? ::truncate(path.c_str(), size) : ftruncate(fd, size); });
}

int allocate(int fd, int mode, int64_t offset, int64_t length) noexcept {
  return retry([&] { return fallocate(fd, mode, offset, length); });
}

int64_t copy(int from, int64_t from_offset, int to, int64_t to_offset, int64_t length) noexcept {
  const auto wanted = static_cast<size_t>(std::clamp<int64_t>(length, 0, kMaxCopyBytes));
  return retry([&]() -> int64_t {
    loff_t in = from_offset;
    loff_t out = to_offset;
    return copy_file_range(from, &in, to, &out, wanted, 0);
  });
}

}  // namespace ovfsd::host_tree
