// Contents and times of a file of the host, each call in one go on one descriptor: what is told is of the file that was used, whatever
// becomes of its name meanwhile.
#pragma once

#include <ctime>
#include <string>

#include "host_directory.h"

namespace ovfsd {

// All return 0, an errno, kLeadsOut, kCannotConfine or kNoRoot. Links as last names are followed below the root.

// Fill `data` from `offset` on. ESTALE where the file is another version than `version`, before or after, or shorter.
int read_host_file(const HostPlace& place, const std::string& version, int64_t offset, uint8_t* data, size_t size);

struct HostAppend {
  // What this call made of the file, whatever others have put behind it since.
  HostStat stat;
  // After an error: bytes of ours are left in the file, which somebody else has changed at the same moment.
  bool is_torn = false;
};

// Append and fdatasync, if the file is `version`, which ends at `end`. ESTALE where it is not, and nothing of `data` is in it. Others are kept
// from opening the file meanwhile where the host knows how (a write lease) and nobody has it open; else what they append in the same
// moment is noticed and ours is taken away again.
int append_host_file(const HostPlace& place, const std::string& version, int64_t end, const uint8_t* data, size_t size,
                     HostAppend* result);

struct HostTimeChange {
  // "" of a directory.
  std::string previous_version;
  HostStat stat;
};

// Of a file or a directory. The time of the last read stays.
int set_host_time(const HostPlace& place, const timespec& mtime, HostTimeChange* result);

}  // namespace ovfsd
