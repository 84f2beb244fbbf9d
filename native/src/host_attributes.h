// What a file of the host is beside its contents: owner, mode, extended attributes and access control list.
#pragma once

#include <sys/stat.h>

namespace ovfsd {

// Bits of a mode that a write by somebody without privileges takes away: the file is another program by then.
mode_t mode_after_write(mode_t mode) noexcept;

// "/proc/self/fd/N": exactly what the descriptor is of, whatever has become of its names.
class DescriptorPath {
 public:
  explicit DescriptorPath(int fd) noexcept;
  const char* text() const noexcept { return text_; }

 private:
  char text_[32];
};

// Give the file `to` what `from` has, except what goes with the contents: capabilities, measurements and set-id bits. `from` may be
// a descriptor of O_PATH, and `present` is its stat. False where something cannot be given that the file must not lose: `to` is to be
// thrown away then. What belongs to the host's security modules is given as far as they permit.
bool copy_attributes(int from, const struct stat& present, int to);

// Give a new file what it would have had if it had been made in `directory` with the mode 0666: the group of a set-group-id
// directory, and the directory's default access control list. As far as the host permits.
void inherit_attributes(int directory, int to);

}  // namespace ovfsd
