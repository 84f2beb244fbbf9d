#include "host_data.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "host_attributes.h"
#include "host_lease.h"

namespace ovfsd {

namespace {

// What is no file but a FIFO must not keep the thread.
constexpr int kDataFlags = O_NONBLOCK | O_NOCTTY;

int stat_file(int fd, struct stat* stat) {
  if (::fstat(fd, stat) != 0) return errno;
  if (S_ISDIR(stat->st_mode)) return EISDIR;
  return S_ISREG(stat->st_mode) ? 0 : ENOENT;  // as in listings: nothing else is there
}

int require_version(int fd, const std::string& version) {
  struct stat stat;
  if (const int error = stat_file(fd, &stat); error != 0) return error;
  return host_version(stat) == version ? 0 : ESTALE;
}

int read_all(int fd, int64_t offset, uint8_t* data, size_t size) {
  while (size > 0) {
    const ssize_t count = ::pread(fd, data, size, offset);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return errno;
    if (count == 0) return ESTALE;  // shorter than it was
    data += count;
    offset += count;
    size -= static_cast<size_t>(count);
  }
  return 0;
}

// Take `size` bytes of ours, which end at `end`, away again; they can only be if they are the file's last. No call of the kernel's does both
// steps in one: what somebody appends between them, a microsecond, goes with ours.
bool cut(int fd, int64_t end, size_t size) {
  struct stat stat;
  if (::fstat(fd, &stat) != 0 || stat.st_size != end) return false;
  return ::ftruncate(fd, end - static_cast<int64_t>(size)) == 0;
}

// O_APPEND: each write goes to the end as it is at that moment, and the descriptor's offset tells where that was.
int append_all(int fd, int64_t end, const uint8_t* data, size_t size, bool* is_torn) {
  size_t done = 0;
  int error = 0;
  while (done < size && error == 0) {
    const ssize_t count = ::write(fd, data + done, size - done);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) {
      error = errno;
      break;
    }
    const int64_t now = ::lseek(fd, 0, SEEK_CUR);
    done += static_cast<size_t>(count);
    if (now == end + static_cast<int64_t>(done)) continue;
    // Somebody has appended or cut in between: this piece is behind theirs.
    const bool is_first = done == static_cast<size_t>(count);
    *is_torn = !cut(fd, now, static_cast<size_t>(count)) || !is_first;
    return ESTALE;
  }
  if (error != 0 && done > 0) *is_torn = !cut(fd, end + static_cast<int64_t>(done), done);
  return error;
}

}  // namespace

int read_host_file(const HostPlace& place, const std::string& version, int64_t offset, uint8_t* data, size_t size) {
  UniqueFd fd;
  if (const int error = open_host_file(place, O_RDONLY | kDataFlags, &fd); error != 0) return error;
  if (const int error = require_version(fd.get(), version); error != 0) return error;
  if (const int error = read_all(fd.get(), offset, data, size); error != 0) return error;
  // A version that is still the same now was the same while the bytes were read.
  return require_version(fd.get(), version);
}

namespace {

// What this call made of the file: where somebody else's bytes are behind ours by now, its version is not the file's any more.
HostStat stat_up_to(struct stat stat, int64_t end) {
  stat.st_size = end;
  return host_stat(stat);
}

int append_leased(int fd, const std::string& version, int64_t end, const uint8_t* data, size_t size, HostAppend* result) {
  const WriteLease lease(fd);
  struct stat stat;
  if (const int error = stat_file(fd, &stat); error != 0) return error;
  if (stat.st_size != end || host_version(stat) != version) return ESTALE;
  if (const int error = append_all(fd, end, data, size, &result->is_torn); error != 0) return error;
  const mode_t mode = mode_after_write(stat.st_mode);
  if (mode != (stat.st_mode & 07777)) ::fchmod(fd, mode);
  if (::fstat(fd, &stat) != 0) return errno;
  result->stat = stat_up_to(stat, end + static_cast<int64_t>(size));
  return 0;
}

}  // namespace

int append_host_file(const HostPlace& place, const std::string& version, int64_t end, const uint8_t* data, size_t size,
                     HostAppend* result) {
  UniqueFd fd;
  if (const int error = open_host_file(place, O_WRONLY | O_APPEND | kDataFlags, &fd); error != 0)
    return error == ENXIO ? ENOENT : error;  // a FIFO that nobody reads
  if (const int error = append_leased(fd.get(), version, end, data, size, result); error != 0) return error;
  if (::fdatasync(fd.get()) == 0) return 0;
  result->is_torn = true;
  return errno;
}

int set_host_time(const HostPlace& place, const timespec& mtime, HostTimeChange* result) {
  // A file that may not be read nor written has times, too.
  UniqueFd fd;
  if (const int error = open_host_file(place, O_PATH, &fd); error != 0) return error;
  struct stat stat;
  if (const int error = stat_file(fd.get(), &stat); error != 0 && error != EISDIR) return error;
  const timespec times[] = {{0, UTIME_OMIT}, mtime};
  result->previous_version = host_stat(stat).version;
  if (::utimensat(AT_FDCWD, DescriptorPath(fd.get()).text(), times, 0) != 0) return errno;
  if (::fstat(fd.get(), &stat) != 0) return errno;
  result->stat = host_stat(stat);
  return 0;
}

}  // namespace ovfsd
