// Storing whole files of the host: they are written under another name, and then take the place of what is there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <ctime>
#include <optional>
#include <string>

#include "host_directory.h"

namespace ovfsd {

// What the caller expects to find by the file's name.
enum class Present { kAnything, kNothing, kVersion };

struct PublishRequest {
  // A name for the file while it is being written, in the same file system; its directory, one below the root, is made if it is not there.
  HostPlace upload;
  // A link as the last name is followed below the root, unless nothing is expected to be there.
  HostPlace target;
  Present present = Present::kAnything;
  // For kVersion: as `host_version` has it.
  std::string version;
  // The time that the file gets; none: that of its last write.
  std::optional<timespec> mtime;
  // fsync the target's directory, too: else the caller does it (`sync_host_directory`), once for several files.
  bool syncs_directory = true;
};

struct Published {
  HostStat stat;
  // The file is in its place, but it is not known that its name outlives a crash of the host: an errno of fsync.
  int sync_error = 0;
  // After an error: a file that is overwritten is half new. All of the new contents are in the upload, which stays.
  bool is_torn = false;
};

// All return 0, an errno, kLeadsOut, kCannotConfine or kNoRoot.

// Make the upload's file, for `write` and `publish_host_file`. Nobody else may look into it until it is in its place.
int open_host_upload(const PublishRequest& request, UniqueFd* fd);

// fsync the upload and put it in the target's place, so that others see the old file or the new one and a crash of the host leaves one of them.
// The file that is replaced hands on its owner, mode, attributes and access control list. One that has several names, or cannot hand
// them on, is overwritten instead, when all of the new contents are durable beside it.
// EEXIST where kNothing finds something, ESTALE where kVersion finds another version; what was there stays. It may be called again after an error,
// and finds what it has done. The upload is gone only after success.
int publish_host_file(int fd, const PublishRequest& request, Published* published);

// All of it for contents in memory. After an error the upload is gone, but for a torn file.
int store_file(const PublishRequest& request, const uint8_t* data, size_t size, Published* published);

// All of it for a copy of another file, whose blocks are shared where the file system can. ESTALE where `version`, if not "", is not what is there.
int copy_host_file(const HostPlace& source, const std::string& version, const PublishRequest& request, Published* published);

void discard_host_upload(const PublishRequest& request);

// Make the names in the directory outlive a crash of the host.
int sync_host_directory(const HostPlace& place);

}  // namespace ovfsd
