// A directory of the host as a guest sees it: the system calls behind pass-through mounts. No Node in here.
//
// Confinement: a guest names an entry by one name in a directory that it has looked up before. A name is never empty,
// "." or "..", and has no "/", so one step from a directory's descriptor can lead neither up nor through a symbolic
// link: those are opened as themselves (O_PATH | O_NOFOLLOW). Whatever somebody renames meanwhile, descriptors stay
// what they are.
//
// Every function returns 0 or more, or an errno below 0.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ovfsd::host_tree {

/// One name in a directory, copied and checked.
class Name {
 public:
  static constexpr size_t kMaxBytes = 255;  ///< NAME_MAX

  Name(const uint8_t* bytes, size_t length_bytes) noexcept;
  /// 0, ENAMETOOLONG, or EINVAL for what leads elsewhere.
  int error() const noexcept { return error_; }
  const char* c_str() const noexcept { return text_; }

 private:
  char text_[kMaxBytes + 1];
  int error_ = 0;
};

/// In whose name something is made. Applied when the daemon is root.
struct Caller {
  uint32_t uid;
  uint32_t gid;
  /// Taken off the mode, but where the directory has a default access list: that counts in its place.
  uint32_t umask = 0;
  /// The caller is in the directory's group by a supplementary one: a set-group-ID bit that it asks for stays.
  bool is_in_group = false;
};

/// What a stat tells, in 32-bit words: struct fuse_attr, then what tells files of the host apart beside its inode number.
constexpr size_t kAttrWords = 22;
constexpr size_t kStatWords = kAttrWords + 4;  ///< st_dev (2), the mount's id (2)
/// struct fuse_statx, in 32-bit words.
constexpr size_t kStatxWords = 64;
/// struct fuse_kstatfs, in 32-bit words.
constexpr size_t kStatfsWords = 20;

/// An absolute path, symbolic links followed. @return an O_PATH descriptor.
int open_root(const char* path) noexcept;
int stat_name(int directory, const Name& name, uint32_t* words) noexcept;
/// @return an O_PATH descriptor of the entry itself, with its stat.
int open_name(int directory, const Name& name, uint32_t* words) noexcept;
/// Of any descriptor, O_PATH ones too.
int stat(int fd, uint32_t* words) noexcept;
/// Birth time and attributes (chattr) too. @param words kStatxWords, struct fuse_statx
int statx(int fd, uint32_t* words) noexcept;
/// Of the directory that holds the directory `fd`. It may lie anywhere on the host: whether the guest may see it is for
/// the caller to say.
int stat_parent(int fd, uint32_t* words) noexcept;
int statfs(int fd, uint32_t* words) noexcept;
/// Whether closing a file of this one's file system may tell an error: true where it has no flush of its own, as NFS,
/// CIFS and FUSE have, and for every file system that is not known.
bool tells_at_close(int fd) noexcept;

/// Another descriptor of the same file, opened with `flags`. Only for regular files: others may block or act.
/// `kill_ids`: where O_TRUNC changes the file, its set-user-ID and set-group-ID bits go, whoever the daemon is.
int reopen(int fd, int flags, bool kill_ids = false) noexcept;
/// For reading its entries.
int open_directory(int fd) noexcept;

/// What opens the file again once no descriptor of it is left (name_to_handle_at(2)): its type, then its bytes.
/// EOPNOTSUPP where the file system has none, ESTALE for a file without a name, which goes with its last descriptor.
/// @return bytes written: at most kMaxHandleBytes
constexpr size_t kMaxHandleBytes = 4 + 128;
int handle_of(int fd, uint8_t* target) noexcept;
/// `mount`: any descriptor of the file system that can be read by. Needs CAP_DAC_READ_SEARCH. @return an O_PATH descriptor.
int open_handle(int mount, const uint8_t* handle, size_t size) noexcept;

/// Make a regular file: EEXIST where the name is taken. @return a descriptor opened with `flags`.
int create(int directory, const Name& name, int flags, uint32_t mode, Caller caller) noexcept;
/// O_TMPFILE.
int create_unnamed(int directory, int flags, uint32_t mode, Caller caller) noexcept;
int make_directory(int directory, const Name& name, uint32_t mode, Caller caller) noexcept;
/// `rdev` as in fuse_mknod_in.
int make_node(int directory, const Name& name, uint32_t mode, uint32_t rdev, Caller caller) noexcept;
int make_symlink(int directory, const Name& name, const char* target, Caller caller) noexcept;
int link(int fd, int directory, const Name& name) noexcept;
int unlink(int directory, const Name& name, bool is_directory) noexcept;
int rename(int directory, const Name& name, int new_directory, const Name& new_name, uint32_t flags) noexcept;
/// @return the target's length; as many bytes of it as fit are written.
int read_link(int fd, uint8_t* target, size_t size) noexcept;

int set_mode(int fd, uint32_t mode) noexcept;
/// An id of UINT32_MAX stays as it is.
int set_owner(int fd, uint32_t uid, uint32_t gid) noexcept;
struct Time {
  int64_t seconds;
  int64_t nanoseconds;  ///< or UTIME_NOW, UTIME_OMIT
};
int set_times(int fd, Time atime, Time mtime) noexcept;

/// `size` 0 asks for the length alone. Attribute names are text without "/" rules: up to 255 bytes, no NUL.
int64_t get_xattr(int fd, const char* name, uint8_t* value, size_t size) noexcept;
int64_t list_xattr(int fd, uint8_t* names, size_t size) noexcept;
/// `kill_group_id`: an access list takes the file's set-group-ID bit away, whoever the daemon is.
int set_xattr(int fd, const char* name, const uint8_t* value, size_t size, int flags, bool kill_group_id = false) noexcept;
int remove_xattr(int fd, const char* name) noexcept;

/// Entries from `offset` (0, or one that an entry told: all 64 bits of it are the file system's own) on, as struct fuse_dirent, at most `size` bytes.
/// @return bytes; 0 at the end. EINVAL when not even one fits.
int64_t read_directory(int fd, int64_t offset, uint8_t* target, size_t size) noexcept;
int64_t seek(int fd, int64_t offset, int whence) noexcept;

// ---- what may take long: for threads

/// To the end of the file, `size` bytes or an error. @return bytes read.
int64_t read(int fd, uint8_t* target, size_t size, int64_t offset) noexcept;
/// @return bytes written: fewer than `size` only where an error came after some.
/// `kill_ids`: the file's set-user-ID and set-group-ID bits go, whoever the daemon is.
int64_t write(int fd, const uint8_t* source, size_t size, int64_t offset, bool append, bool kill_ids = false) noexcept;
int sync(int fd, bool data_only) noexcept;
/// What close(2) of a descriptor of the file tells: an error of writing back, where the file system waits until then.
int flush(int fd) noexcept;
/// Of the file system that holds the directory.
int sync_file_system(int directory) noexcept;
/// `fd` is open for writing, or an O_PATH one with `by_path`.
int truncate(int fd, int64_t size, bool by_path) noexcept;
int allocate(int fd, int mode, int64_t offset, int64_t length) noexcept;
/// @return bytes copied; at most kMaxCopyBytes, so that a stop of the guest does not wait for hours.
int64_t copy(int from, int64_t from_offset, int to, int64_t to_offset, int64_t length) noexcept;
constexpr int64_t kMaxCopyBytes = int64_t{256} << 20;

}  // namespace ovfsd::host_tree
