#include "host_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "fd.h"

namespace ovfsd {

namespace {

constexpr mode_t kFileMode = 0666;
constexpr mode_t kDirectoryMode = 0777;
constexpr int kUploadFlags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;

int open_upload(const std::string& path) {
  const int fd = open(path.c_str(), kUploadFlags, kFileMode);
  if (fd >= 0 || errno != ENOENT) return fd;
  const std::string directory = path.substr(0, path.rfind('/'));
  if (mkdir(directory.c_str(), kDirectoryMode) != 0 && errno != EEXIST) return -1;
  return open(path.c_str(), kUploadFlags, kFileMode);
}

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

// The target's directory and its name there.
struct Target {
  UniqueFd parent;
  std::string name;
};

// rename(2) without replacing. Not all file systems have the flag, nor all hard links.
int rename_to_new(const char* upload, const Target& target) {
  const int parent = target.parent.get();
  const char* name = target.name.c_str();
  if (renameat2(AT_FDCWD, upload, parent, name, RENAME_NOREPLACE) == 0) return 0;
  if (errno != EINVAL && errno != ENOSYS) return errno;
  if (linkat(AT_FDCWD, upload, parent, name, 0) != 0) return errno;
  unlink(upload);
  return 0;
}

int require_version(const Target& target, const std::string& version) {
  struct stat stat;
  if (fstatat(target.parent.get(), target.name.c_str(), &stat, AT_SYMLINK_NOFOLLOW) != 0)
    return errno == ENOENT || errno == ENOTDIR ? ESTALE : errno;
  return host_version(stat) == version ? 0 : ESTALE;
}

int publish(const StoreFileRequest& request, const Target& target) {
  const char* upload = request.upload.c_str();
  if (request.present == Present::kNothing) return rename_to_new(upload, target);
  if (request.present == Present::kVersion) {
    if (const int error = require_version(target, request.version); error != 0) return error;
  }
  return renameat(AT_FDCWD, upload, target.parent.get(), target.name.c_str()) == 0 ? 0 : errno;
}

int write_and_publish(int fd, const StoreFileRequest& request, const Target& target, HostStat* stored) {
  if (const int error = write_all(fd, request.data, request.size); error != 0) return error;
  if (fsync(fd) != 0) return errno;
  if (const int error = publish(request, target); error != 0) return error;
  struct stat stat;
  if (fstat(fd, &stat) != 0) return errno;
  *stored = host_stat(stat);
  return 0;
}

}  // namespace

int store_file(const StoreFileRequest& request, HostStat* stored) {
  Target target;
  if (const int error = open_host_parent(request.target, &target.parent, &target.name); error != 0) return error;
  const UniqueFd fd(open_upload(request.upload));
  if (!fd) return errno;
  const int error = write_and_publish(fd.get(), request, target, stored);
  if (error != 0) unlink(request.upload.c_str());
  return error;
}

}  // namespace ovfsd
