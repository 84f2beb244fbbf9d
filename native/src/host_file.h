// Storing a whole file of the host in one go, off the event loop: each step alone would cost a hop to a thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "host_directory.h"

namespace ovfsd {

// What the caller expects to find by the file's name.
enum class Present { kAnything, kNothing, kVersion };

struct StoreFileRequest {
  // A name for the file while it is being written, in the same file system; its directory, one below the root, is made if it is not there.
  HostPlace upload;
  HostPlace target;
  const uint8_t* data = nullptr;
  size_t size = 0;
  Present present = Present::kAnything;
  // For kVersion: as `host_version` has it.
  std::string version;
};

// Write the upload, fsync it, and rename it over the target, so that others see the old file or the new one and a crash of
// the host leaves one of them. Returns 0, kLeadsOut, kCannotConfine or an errno: EEXIST where kNothing finds something, ESTALE where kVersion finds
// another version (the host may still change it between the look and the rename). After an error the upload is gone.
int store_file(const StoreFileRequest& request, HostStat* stored);

}  // namespace ovfsd
