#include "host_file.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <vector>

#include "fd.h"
#include "host_attributes.h"
#include "host_lease.h"

namespace ovfsd {

namespace {

constexpr mode_t kFileMode = 0666;
// Until it has what the file that it replaces has: that one may be for few.
constexpr mode_t kPrivateMode = 0600;
// It is read again where it is copied into a file that is overwritten.
constexpr int kUploadFlags = O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
constexpr int kOverwriteFlags = O_WRONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC;
// One system call's share of a copy, and of one through memory.
constexpr size_t kCopyStepBytes = size_t{1} << 30;
constexpr size_t kBufferBytes = size_t{1} << 20;

// A name in its directory, which stays that one whatever becomes of the path to it.
struct Name {
  UniqueFd parent;
  std::string name;

  int directory() const noexcept { return parent.get(); }
  const char* text() const noexcept { return name.c_str(); }
};

struct Target : Name {
  // A link has led to another name, in a directory that the caller does not know.
  bool is_elsewhere = false;
};

bool same_file(const struct stat& one, const struct stat& other) {
  return one.st_dev == other.st_dev && one.st_ino == other.st_ino;
}

int write_all(int fd, const uint8_t* data, size_t size) {
  while (size > 0) {
    const ssize_t written = ::write(fd, data, size);
    if (written < 0) {
      if (errno == EINTR) continue;
      return errno;
    }
    data += written;
    size -= static_cast<size_t>(written);
  }
  return 0;
}

int copy_through_memory(int from, int to, int64_t offset) {
  std::vector<uint8_t> buffer(kBufferBytes);
  for (;;) {
    const ssize_t count = ::pread(from, buffer.data(), buffer.size(), offset);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return count < 0 ? errno : 0;
    for (ssize_t done = 0; done < count;) {
      const ssize_t written = ::pwrite(to, buffer.data() + done, static_cast<size_t>(count - done), offset + done);
      if (written < 0 && errno != EINTR) return errno;
      if (written > 0) done += written;
    }
    offset += count;
  }
}

// The first `size` bytes, over those of `to`.
int copy_bytes(int from, int to, int64_t size) {
  off_t source = 0, target = 0;
  while (source < size) {
    const size_t step = std::min(kCopyStepBytes, static_cast<size_t>(size - source));
    const ssize_t copied = ::copy_file_range(from, &source, to, &target, step, 0);
    if (copied < 0 && errno == EINTR) continue;
    if (copied > 0) continue;
    // Not all file systems know it, nor between each other, and some say that nothing was copied.
    return copy_through_memory(from, to, source);
  }
  return 0;
}

int fsync_directory(int fd) {
  if (::fsync(fd) == 0) return 0;
  // A file system whose directories can't be told to be durable.
  return errno == EINVAL || errno == EOPNOTSUPP ? 0 : errno;
}

int sync_directory(int at, const char* path) {
  const UniqueFd directory(::openat(at, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  return directory ? fsync_directory(directory.get()) : errno;
}

int sync_directory_of(const Name& name) { return sync_directory(name.directory(), "."); }

int open_target(const PublishRequest& request, Target* target) {
  if (request.present == Present::kNothing) return open_host_parent(request.target, &target->parent, &target->name);
  return open_host_target(request.target, &target->parent, &target->name, &target->is_elsewhere);
}

// rename(2) without replacing. Not all file systems have the flag, nor all hard links.
int rename_to_new(const Name& upload, const Name& target) {
  if (::renameat2(upload.directory(), upload.text(), target.directory(), target.text(), RENAME_NOREPLACE) == 0) return 0;
  if (errno != EINVAL && errno != ENOSYS) return errno;
  if (::linkat(upload.directory(), upload.text(), target.directory(), target.text(), 0) != 0) return errno;
  ::unlinkat(upload.directory(), upload.text(), 0);
  return 0;
}

// The file that is there. ENOENT: none is.
int look(const Name& name, struct stat* stat) {
  return ::fstatat(name.directory(), name.text(), stat, AT_SYMLINK_NOFOLLOW) == 0 ? 0 : errno;
}

bool is_expected(const PublishRequest& request, const struct stat& present) {
  return request.present != Present::kVersion || host_version(present) == request.version;
}

int exchange(const Name& upload, const Name& target) {
  const int result =
      ::renameat2(upload.directory(), upload.text(), target.directory(), target.text(), RENAME_EXCHANGE);
  return result == 0 ? 0 : errno;
}

// The version that is expected is there, right before the rename that replaces it.
int require_present(const PublishRequest& request, const Name& target) {
  struct stat present;
  const int error = look(target, &present);
  if (error == ENOENT || error == ENOTDIR) return ESTALE;
  if (error != 0) return error;
  return is_expected(request, present) ? 0 : ESTALE;
}

// The names have changed places: what came out is compared, and goes back if the host has put it there after the look.
int settle_exchange(const PublishRequest& request, const Name& upload, const Name& target) {
  struct stat present;
  if (look(upload, &present) == 0 && !is_expected(request, present)) {
    const int error = exchange(upload, target);
    return error == 0 ? ESTALE : error;
  }
  ::unlinkat(upload.directory(), upload.text(), 0);
  return 0;
}

int replace(const PublishRequest& request, const Name& upload, const Name& target) {
  if (request.present == Present::kVersion) {
    if (const int error = require_present(request, target); error != 0) return error;
    const int error = exchange(upload, target);
    if (error == 0) return settle_exchange(request, upload, target);
    if (error == ENOENT) return ESTALE;
    // Where the file system can't, the look has to do.
    if (error != EINVAL && error != ENOSYS) return error;
  }
  return ::renameat(upload.directory(), upload.text(), target.directory(), target.text()) == 0 ? 0 : errno;
}

int finish_times(int fd, const PublishRequest& request) {
  if (!request.mtime) return 0;
  const timespec times[] = {{0, UTIME_OMIT}, *request.mtime};
  return ::futimens(fd, times) == 0 ? 0 : errno;
}

// The contents are durable under the upload's name before the first byte of the file is changed.
int secure_upload(int fd, const Name& upload) {
  if (::fsync(fd) != 0) return errno;
  if (const int error = sync_directory_of(upload); error != 0) return error;
  // The directory of uploads may have been made a moment ago.
  return sync_directory(upload.directory(), "..");
}

// What is not enough space is told before anything is changed.
int reserve(int fd, int64_t size) {
  if (size == 0 || ::fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, size) == 0) return 0;
  return errno == ENOSPC || errno == EDQUOT || errno == EFBIG ? errno : 0;
}

int overwrite_leased(int from, int to, const struct stat& upload, const PublishRequest& request, Published* published) {
  const WriteLease lease(to);
  struct stat present;
  if (::fstat(to, &present) != 0) return errno;
  if (!is_expected(request, present)) return ESTALE;
  if (const int error = reserve(to, upload.st_size); error != 0) return error;
  published->is_torn = true;
  if (const int error = copy_bytes(from, to, upload.st_size); error != 0) return error;
  if (::ftruncate(to, upload.st_size) != 0) return errno;
  const mode_t mode = mode_after_write(present.st_mode);
  if (mode != (present.st_mode & 07777)) ::fchmod(to, mode);
  return finish_times(to, request);
}

void sync_names(const PublishRequest& request, const Target& target, Published* published) {
  if (request.syncs_directory || target.is_elsewhere) published->sync_error = sync_directory_of(target);
}

int overwrite(int fd, const struct stat& present, const PublishRequest& request, const Name& upload, const Target& target,
              Published* published) {
  if (const int error = secure_upload(fd, upload); error != 0) return error;
  const UniqueFd to(::openat(target.directory(), target.text(), kOverwriteFlags));
  if (!to) return errno;
  struct stat stat;
  if (::fstat(to.get(), &stat) != 0) return errno;
  if (!same_file(stat, present)) return ESTALE;
  struct stat made;
  if (::fstat(fd, &made) != 0) return errno;
  if (const int error = overwrite_leased(fd, to.get(), made, request, published); error != 0) return error;
  if (::fsync(to.get()) != 0 || ::fstat(to.get(), &stat) != 0) return errno;
  published->is_torn = false;
  published->stat = host_stat(stat);
  ::unlinkat(upload.directory(), upload.text(), 0);
  // Its name may be younger than the last fsync of its directory.
  sync_names(request, target, published);
  return 0;
}

int finish(int fd, const PublishRequest& request, const Target& target, Published* published) {
  struct stat stat;
  if (::fstat(fd, &stat) != 0) return errno;
  published->stat = host_stat(stat);
  sync_names(request, target, published);
  return 0;
}

int publish_new(int fd, const PublishRequest& request, const Name& upload, const Target& target, Published* published) {
  inherit_attributes(target.directory(), fd);
  if (const int error = finish_times(fd, request); error != 0) return error;
  if (::fsync(fd) != 0) return errno;
  const int error = request.present == Present::kNothing ? rename_to_new(upload, target) : replace(request, upload, target);
  return error != 0 ? error : finish(fd, request, target, published);
}

int publish_over(int fd, const struct stat& present, const PublishRequest& request, const Name& upload,
                 const Target& target, Published* published) {
  const UniqueFd old(::openat(target.directory(), target.text(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  struct stat stat;
  if (!old || ::fstat(old.get(), &stat) != 0) return errno == ENOENT ? ESTALE : errno;
  if (!same_file(stat, present)) return ESTALE;
  if (present.st_nlink > 1 || !copy_attributes(old.get(), present, fd))
    return overwrite(fd, present, request, upload, target, published);
  if (const int error = finish_times(fd, request); error != 0) return error;
  if (::fsync(fd) != 0) return errno;
  if (const int error = replace(request, upload, target); error != 0) return error;
  return finish(fd, request, target, published);
}

int publish(int fd, const PublishRequest& request, const Name& upload, const Target& target, Published* published) {
  struct stat made, present;
  if (::fstat(fd, &made) != 0) return errno;
  const int error = look(target, &present);
  if (error == ENOENT) {
    if (request.present == Present::kVersion) return ESTALE;
    return publish_new(fd, request, upload, target, published);
  }
  if (error != 0) return error;
  // An earlier call has done it.
  if (same_file(made, present)) return finish(fd, request, target, published);
  if (request.present == Present::kNothing) return EEXIST;
  if (S_ISDIR(present.st_mode)) return EISDIR;
  if (!S_ISREG(present.st_mode) || !is_expected(request, present)) return ESTALE;
  return publish_over(fd, present, request, upload, target, published);
}

// The upload of a store or a copy, which is gone after an error.
template <typename Fill>
int fill_and_publish(const PublishRequest& request, Published* published, Fill fill) {
  UniqueFd fd;
  if (const int error = open_host_upload(request, &fd); error != 0) return error;
  int error = fill(fd.get());
  if (error == 0) error = publish_host_file(fd.get(), request, published);
  if (error != 0 && !published->is_torn) discard_host_upload(request);
  return error;
}

int copy_contents(int from, int to) {
  if (::ioctl(to, FICLONE, from) == 0) return 0;
  struct stat stat;
  if (::fstat(from, &stat) != 0) return errno;
  return copy_bytes(from, to, stat.st_size);
}

int require_version(int fd, const std::string& version) {
  struct stat stat;
  if (::fstat(fd, &stat) != 0) return errno;
  if (S_ISDIR(stat.st_mode)) return EISDIR;
  if (!S_ISREG(stat.st_mode)) return ENOENT;
  return version.empty() || host_version(stat) == version ? 0 : ESTALE;
}

}  // namespace

int open_host_upload(const PublishRequest& request, UniqueFd* fd) {
  Target target;
  Name upload;
  // What can't be stored is told before it is written.
  if (const int error = open_target(request, &target); error != 0) return error;
  if (const int error = make_host_parent(request.upload, &upload.parent, &upload.name); error != 0) return error;
  const mode_t mode = request.present == Present::kVersion ? kPrivateMode : kFileMode;
  fd->reset(::openat(upload.directory(), upload.text(), kUploadFlags, mode));
  return *fd ? 0 : errno;
}

int publish_host_file(int fd, const PublishRequest& request, Published* published) {
  Target target;
  Name upload;
  if (const int error = open_target(request, &target); error != 0) return error;
  if (const int error = open_host_parent(request.upload, &upload.parent, &upload.name); error != 0) return error;
  return publish(fd, request, upload, target, published);
}

int store_file(const PublishRequest& request, const uint8_t* data, size_t size, Published* published) {
  return fill_and_publish(request, published, [&](int fd) { return write_all(fd, data, size); });
}

int copy_host_file(const HostPlace& source, const std::string& version, const PublishRequest& request, Published* published) {
  UniqueFd from;
  if (const int error = open_host_file(source, O_RDONLY | O_NONBLOCK | O_NOCTTY, &from); error != 0) return error;
  if (const int error = require_version(from.get(), version); error != 0) return error;
  return fill_and_publish(request, published, [&](int fd) {
    const int error = copy_contents(from.get(), fd);
    return error != 0 ? error : require_version(from.get(), version);
  });
}

void discard_host_upload(const PublishRequest& request) {
  Name upload;
  if (open_host_parent(request.upload, &upload.parent, &upload.name) == 0)
    ::unlinkat(upload.directory(), upload.text(), 0);
}

int sync_host_directory(const HostPlace& place) {
  UniqueFd fd;
  if (const int error = open_host_file(place, O_RDONLY | O_DIRECTORY, &fd); error != 0) return error;
  return fsync_directory(fd.get());
}

}  // namespace ovfsd
