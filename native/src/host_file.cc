#include "host_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "fd.h"

namespace ovfsd {

namespace {

constexpr mode_t kFileMode = 0666;
constexpr mode_t kDirectoryMode = 0777;
constexpr int kUploadFlags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;

// "MTIME in ns/SIZE/INODE": the inode tells a file that was replaced within the clock's tick from the one before.
std::string version_of(const struct stat& stat) {
  constexpr int64_t kNanosecondsPerSecond = 1'000'000'000;
  const int64_t mtime_ns = stat.st_mtim.tv_sec * kNanosecondsPerSecond + stat.st_mtim.tv_nsec;
  char text[80];
  std::snprintf(text, sizeof text, "%lld/%lld/%llu", static_cast<long long>(mtime_ns),
                static_cast<long long>(stat.st_size), static_cast<unsigned long long>(stat.st_ino));
  return text;
}

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

// rename(2) without replacing. Not all file systems have the flag, nor all hard links.
int rename_to_new(const char* upload, const char* target) {
  if (renameat2(AT_FDCWD, upload, AT_FDCWD, target, RENAME_NOREPLACE) == 0) return 0;
  if (errno != EINVAL && errno != ENOSYS) return errno;
  if (link(upload, target) != 0) return errno;
  unlink(upload);
  return 0;
}

int require_version(const char* target, const std::string& version) {
  struct stat stat;
  if (lstat(target, &stat) != 0) return errno == ENOENT || errno == ENOTDIR ? ESTALE : errno;
  return version_of(stat) == version ? 0 : ESTALE;
}

int publish(const StoreFileRequest& request) {
  const char* upload = request.upload.c_str();
  const char* target = request.target.c_str();
  if (request.present == Present::kNothing) return rename_to_new(upload, target);
  if (request.present == Present::kVersion) {
    if (const int error = require_version(target, request.version); error != 0) return error;
  }
  return rename(upload, target) == 0 ? 0 : errno;
}

int write_and_publish(int fd, const StoreFileRequest& request, StoredFile* stored) {
  if (const int error = write_all(fd, request.data, request.size); error != 0) return error;
  if (fsync(fd) != 0) return errno;
  if (const int error = publish(request); error != 0) return error;
  struct stat stat;
  if (fstat(fd, &stat) != 0) return errno;
  stored->mtime_seconds = stat.st_mtim.tv_sec;
  stored->mtime_nanoseconds = stat.st_mtim.tv_nsec;
  stored->size = stat.st_size;
  stored->version = version_of(stat);
  return 0;
}

}  // namespace

int store_file(const StoreFileRequest& request, StoredFile* stored) {
  const UniqueFd fd(open_upload(request.upload));
  if (!fd) return errno;
  const int error = write_and_publish(fd.get(), request, stored);
  if (error != 0) unlink(request.upload.c_str());
  return error;
}

}  // namespace ovfsd
