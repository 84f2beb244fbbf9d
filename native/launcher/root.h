// The directory tree that a daemon in the sandbox sees: an empty one, with what it needs of the host's at the host's
// paths.
#pragma once

#include <string>
#include <vector>

#include "../src/fd.h"
#include "mounts.h"

namespace ovfsd::launcher {

/// Something of the host, a directory or a file, that is to be had inside by the same path.
struct Place {
  std::string path;
  Access access = Access::kRead;
  /// What is not there is left out, and an error otherwise.
  bool is_optional = true;
};

/// Whether the host's /proc lies where the kernel sees it and nobody inside does, until the root is sealed: in a user
/// namespace nobody mounts one who has none.
enum class ProcVisible {
  kNo,
  kYes
};

class Root {
 public:
  /// Makes it, with these places, and moves this process into it.
  /// @throws std::system_error
  Root(const std::vector<Place>& places, ProcVisible proc_visible);

  /// For a process that is outside. @throws std::system_error
  void enter() const;

  /// Back to the host's tree, and to the working directory that was there.
  /// @throws std::system_error
  void leave() const;

  /// More places. To be called on the host's tree, and comes back to it.
  /// @throws std::system_error; then none of them was added, or not all
  void add(const std::vector<Place>& places);

  /// Nothing of its own can be changed any more: what is writable is only what was added so. This process is inside
  /// from then on.
  /// @throws std::system_error
  void seal() const;

  /// A directory that holds the root and nothing else, whatever becomes the root: all that is inside is below it, and
  /// nothing of the host's outside is.
  const UniqueFd& frame() const noexcept { return frame_; }

 private:
  /// It is nothing but the host's tree from now on, for all processes inside: who is to serve "/" can't be without it.
  bool is_host_ = false;
  UniqueFd host_namespace_;
  UniqueFd host_directory_;
  UniqueFd own_namespace_;
  UniqueFd frame_;
};

/// Make a directory, and those above it. What is there stays. @throws std::system_error
void make_directories(const std::string& path);

}  // namespace ovfsd::launcher
