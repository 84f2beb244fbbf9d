#include "host_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "fd.h"

namespace ovfsd {

namespace {

constexpr mode_t kFileMode = 0666;
constexpr int kUploadFlags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;

// A name in its directory, which stays that one whatever becomes of the path to it.
struct Name {
  UniqueFd parent;
  std::string name;

  int open(const HostPlace& place) { return open_host_parent(place, &parent, &name); }
  int directory() const noexcept { return parent.get(); }
  const char* text() const noexcept { return name.c_str(); }
};

int write_all(int fd, const uint8_t* data, size_t size) {
  while (size > 0) {
    const ssize_t written = write(fd, data, size);
    if (written < 0) {
      if (errno == EINTR) continue;
      return errno;
    }
    data += written;
    size -= static_cast<size_t>(written);
  }
  return 0;
}

// rename(2) without replacing. Not all file systems have the flag, nor all hard links.
int rename_to_new(const Name& upload, const Name& target) {
  if (renameat2(upload.directory(), upload.text(), target.directory(), target.text(), RENAME_NOREPLACE) == 0) return 0;
  if (errno != EINVAL && errno != ENOSYS) return errno;
  if (linkat(upload.directory(), upload.text(), target.directory(), target.text(), 0) != 0) return errno;
  unlinkat(upload.directory(), upload.text(), 0);
  return 0;
}

int require_version(const Name& target, const std::string& version) {
  struct stat stat;
  if (fstatat(target.directory(), target.text(), &stat, AT_SYMLINK_NOFOLLOW) != 0)
    return errno == ENOENT || errno == ENOTDIR ? ESTALE : errno;
  return host_version(stat) == version ? 0 : ESTALE;
}

int publish(const StoreFileRequest& request, const Name& upload, const Name& target) {
  if (request.present == Present::kNothing) return rename_to_new(upload, target);
  if (request.present == Present::kVersion) {
    if (const int error = require_version(target, request.version); error != 0) return error;
  }
  return renameat(upload.directory(), upload.text(), target.directory(), target.text()) == 0 ? 0 : errno;
}

int write_and_publish(int fd, const StoreFileRequest& request, const Name& upload, const Name& target,
                      HostStat* stored) {
  if (const int error = write_all(fd, request.data, request.size); error != 0) return error;
  if (fsync(fd) != 0) return errno;
  if (const int error = publish(request, upload, target); error != 0) return error;
  struct stat stat;
  if (fstat(fd, &stat) != 0) return errno;
  *stored = host_stat(stat);
  return 0;
}

}  // namespace

int store_file(const StoreFileRequest& request, HostStat* stored) {
  Name upload, target;
  if (const int error = target.open(request.target); error != 0) return error;
  if (const int error = make_host_parent(request.upload, &upload.parent, &upload.name); error != 0) return error;
  const UniqueFd fd(openat(upload.directory(), upload.text(), kUploadFlags, kFileMode));
  if (!fd) return errno;
  const int error = write_and_publish(fd.get(), request, upload, target, stored);
  if (error != 0) unlinkat(upload.directory(), upload.text(), 0);
  return error;
}

}  // namespace ovfsd
