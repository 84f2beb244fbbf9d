// Names below a directory of the host, each call in one go, off the event loop: each step alone would cost a hop to a thread. No call leaves
// the directory, whatever the host's symbolic links say and whoever changes them meanwhile (openat2(2), Linux 5.6).
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <string>
#include <vector>

#include "fd.h"

namespace ovfsd {

// What is meant: `path` below the directory `root`. `path` has no "/" at its ends, no "." and no ".."; "" is the root itself.
struct HostPlace {
  std::string root;
  std::string path;
  // The kernel sees to it that no link leads out. False only where it can't (kCannotConfine): then the caller has looked.
  bool beneath = true;
};

// Of openat2: a link on the way is absolute or leads out of the root. The only error that says so.
constexpr int kLeadsOut = -1;
// There is no openat2: the kernel is older, or somebody keeps us from calling it, which older container engines do with EPERM.
constexpr int kCannotConfine = -2;

// The root itself is missing.
constexpr int kNoRoot = -3;

enum class HostKind : uint8_t { kFile, kDirectory, kLink, kOther };

struct HostStat {
  HostKind kind = HostKind::kOther;
  int64_t mtime_seconds = 0;
  int64_t mtime_nanoseconds = 0;
  int64_t size = 0;
  // What tells two files by one name apart: "MTIME in ns/SIZE/INODE". The inode number does where one was replaced within the clock's tick.
  std::string version;
};

struct HostEntry {
  std::string name;
  HostStat stat;
};

std::string host_version(const struct stat& stat);
HostStat host_stat(const struct stat& stat);

// All return 0, an errno, kLeadsOut, kCannotConfine or kNoRoot.

// The directory that holds the last name of `place.path`, which must not be "", and that name.
int open_host_parent(const HostPlace& place, UniqueFd* parent, std::string* name);

// As `open_host_parent`, of the name that symbolic links as the last name lead to, if it is below the root; it may be missing.
int open_host_target(const HostPlace& place, UniqueFd* parent, std::string* name, bool* is_elsewhere = nullptr);

// open(2), links followed below the root.
int open_host_file(const HostPlace& place, int flags, UniqueFd* fd);

// As `open_host_parent`, whose directory is made if it is not there.
int make_host_parent(const HostPlace& place, UniqueFd* parent, std::string* name);

// A link as the last name is followed, if it ends below the root.
int stat_host_name(const HostPlace& place, HostStat* result);
int remove_host_file(const HostPlace& place);
int remove_host_directory(const HostPlace& place);
int make_host_directory(const HostPlace& place);
// Both of one root.
int rename_host_name(const HostPlace& from, const HostPlace& to);
// A second name for a file, in a directory that is made if it is not there. The host's links are followed as for `stat_host_name`.
int link_host_name(const HostPlace& from, const HostPlace& to);
// Files, directories and links, the latter not followed. With a `limit` at most one entry more than that, and of each its name and kind alone,
// without a look at it; 0: all, with what a look tells. What goes meanwhile is left out; what can't be looked at is told as a link.
int list_host_directory(const HostPlace& place, size_t limit, std::vector<HostEntry>* entries);

// A portion of a listing.
struct HostPage {
  std::vector<HostEntry> entries;
  // Where the next one begins: the file system's own offset.
  int64_t next = 0;
  bool is_end = false;
  // What was opened for it.
  mutable UniqueFd opened;
};

// As `list_host_directory` without a limit, from the offset `from` on, 0 at first, until there are `limit` entries, or a few more. `fd`: the
// directory, which nobody else reads meanwhile; -1: it is opened anew.
int list_host_page(const HostPlace& place, int fd, int64_t from, size_t limit, HostPage* page);

struct HostUsage {
  uint64_t block_size = 0;
  uint64_t blocks = 0;
  uint64_t free_blocks = 0;
  uint64_t available_blocks = 0;
  uint64_t files = 0;
  uint64_t free_files = 0;
};

int host_usage(const HostPlace& place, HostUsage* usage);

}  // namespace ovfsd
