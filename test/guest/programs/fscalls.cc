// System calls that no common program makes just so, for scripts: `fscalls COMMAND ARGUMENTS`.
// Exit code 0, or 1 with "COMMAND: ERRNO-NAME" on stderr.

#include <fcntl.h>
#include <linux/fs.h>
#include <linux/posix_acl.h>
#include <linux/posix_acl_xattr.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

namespace {

std::string command;

[[noreturn]] void Fail() {
  const char* name = strerrorname_np(errno);
  std::fprintf(stderr, "%s: %s\n", command.c_str(), name == nullptr ? "?" : name);
  std::exit(1);
}

int Check(int result) {
  if (result < 0) Fail();
  return result;
}

// A whole file mapped: MAP_SHARED where it is to be written to, else MAP_PRIVATE.
struct Mapping {
  Mapping(const char* path, bool writable) : fd(Check(open(path, writable ? O_RDWR : O_RDONLY))) {
    struct stat status {};
    Check(fstat(fd, &status));
    size = static_cast<size_t>(status.st_size);
    if (size == 0) return;
    void* address = mmap(nullptr, size, writable ? PROT_READ | PROT_WRITE : PROT_READ, writable ? MAP_SHARED : MAP_PRIVATE, fd, 0);
    if (address == MAP_FAILED) Fail();
    data = static_cast<char*>(address);
  }
  ~Mapping() {
    if (data != nullptr) munmap(data, size);
    close(fd);
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  int fd;
  size_t size = 0;
  char* data = nullptr;
};

// Write a file's content, read through a mapping, to stdout.
void MmapRead(char** args) {
  const Mapping mapping(args[0], false);
  if (std::fwrite(mapping.data, 1, mapping.size, stdout) != mapping.size) Fail();
}

// The same, page by page from the last to the first: read-ahead can't guess it. Prints the sum of all bytes.
void MmapReadBackwards(char** args) {
  constexpr size_t kPage = 4096;
  const Mapping mapping(args[0], false);
  unsigned long sum = 0;
  for (size_t page = (mapping.size + kPage - 1) / kPage; page-- > 0;) {
    for (size_t i = page * kPage; i < mapping.size && i < (page + 1) * kPage; i++) sum += static_cast<unsigned char>(mapping.data[i]);
  }
  std::printf("%lu\n", sum);
}

// FILE OFFSET TEXT: overwrite through a shared mapping and wait for the storage to have it.
void MmapWrite(char** args) {
  const Mapping mapping(args[0], true);
  const size_t offset = std::strtoul(args[1], nullptr, 10);
  const size_t length = std::strlen(args[2]);
  if (offset + length > mapping.size) {
    errno = EINVAL;
    Fail();
  }
  std::memcpy(mapping.data + offset, args[2], length);
  Check(msync(mapping.data, mapping.size, MS_SYNC));
}

int Rename2(char** args, unsigned flags) {
  return Check(static_cast<int>(syscall(SYS_renameat2, AT_FDCWD, args[0], AT_FDCWD, args[1], flags)));
}

// DIR: fsync of a directory.
void SyncDirectory(char** args) { Check(fsync(Check(open(args[0], O_RDONLY | O_DIRECTORY)))); }

// FILE LINES TEXT: append so many numbered lines, each by one write with O_APPEND.
void Append(char** args) {
  const int fd = Check(open(args[0], O_WRONLY | O_APPEND | O_CREAT, 0644));
  const long lines = std::strtol(args[1], nullptr, 10);
  for (long i = 0; i < lines; i++) {
    const std::string line = std::string(args[2]) + " " + std::to_string(i) + "\n";
    if (write(fd, line.data(), line.size()) != static_cast<ssize_t>(line.size())) Fail();
  }
  Check(close(fd));
}

// Write a file's content to stdout; says whether it was the opening or the reading that failed.
void ReadFile(char** args) {
  const int fd = open(args[0], O_RDONLY);
  if (fd < 0) {
    command = "open";
    Fail();
  }
  char buffer[65536];
  for (;;) {
    const ssize_t count = read(fd, buffer, sizeof buffer);
    if (count < 0) {
      command = "read";
      Fail();
    }
    if (count == 0) break;
    std::fwrite(buffer, 1, static_cast<size_t>(count), stdout);
  }
  close(fd);
}

// DIR FROM TO: make DIR/entry-FROM ... DIR/entry-(TO-1), empty.
void CreateMany(char** args) {
  for (long i = std::strtol(args[1], nullptr, 10); i < std::strtol(args[2], nullptr, 10); i++) {
    const std::string path = std::string(args[0]) + "/entry-" + std::to_string(i);
    Check(close(Check(open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL, 0644))));
  }
}

// FILE: use a file after it was unlinked; prints its content and, after a truncation, its size.
void UnlinkedFile(char** args) {
  const int fd = Check(open(args[0], O_RDWR | O_CREAT | O_EXCL, 0644));
  if (write(fd, "before", 6) != 6) Fail();
  Check(unlink(args[0]));
  if (pwrite(fd, "AFTER!", 6, 6) != 6) Fail();
  char text[16] = {};
  if (pread(fd, text, sizeof text, 0) != 12) Fail();
  Check(ftruncate(fd, 9));
  struct stat status {};
  Check(fstat(fd, &status));
  std::printf("%.12s %ld\n", text, static_cast<long>(status.st_size));
  Check(close(fd));
}

// FILE: make it; EEXIST if it is there.
void Exclusive(char** args) { Check(open(args[0], O_WRONLY | O_CREAT | O_EXCL, 0644)); }

// FILE NAME OWNER GROUP OTHERS UID RIGHTS: the access list NAME (access, default), where the user UID has RIGHTS and no group
// more than these. Rights are octal digits.
void SetAccessList(char** args) {
  const auto rights = [&](int index) { return static_cast<uint16_t>(args[index][0] - '0'); };
  const auto uid = static_cast<uint32_t>(std::strtoul(args[5], nullptr, 10));
  constexpr uint32_t kNobody = ACL_UNDEFINED_ID;
  struct {
    posix_acl_xattr_header header{POSIX_ACL_XATTR_VERSION};
    posix_acl_xattr_entry entries[5];
  } list;
  list.entries[0] = {ACL_USER_OBJ, rights(2), kNobody};
  list.entries[1] = {ACL_USER, rights(6), uid};
  list.entries[2] = {ACL_GROUP_OBJ, rights(3), kNobody};
  list.entries[3] = {ACL_MASK, rights(6), kNobody};
  list.entries[4] = {ACL_OTHER, rights(4), kNobody};
  Check(setxattr(args[0], (std::string("system.posix_acl_") + args[1]).c_str(), &list, sizeof list, 0));
}

struct Command {
  const char* name;
  int arguments;
  void (*call)(char** args);
};

constexpr Command kCommands[] = {
    {"mmap-read", 1, MmapRead},
    {"mmap-read-backwards", 1, MmapReadBackwards},
    {"mmap-write", 3, MmapWrite},
    {"rename-noreplace", 2, [](char** args) { Rename2(args, RENAME_NOREPLACE); }},
    {"rename-exchange", 2, [](char** args) { Rename2(args, RENAME_EXCHANGE); }},
    {"fsync-directory", 1, SyncDirectory},
    {"append", 3, Append},
    {"create-many", 3, CreateMany},
    {"read-file", 1, ReadFile},
    {"set-access-list", 7, SetAccessList},
    {"unlinked-file", 1, UnlinkedFile},
    {"exclusive", 1, Exclusive},
    {"unlink", 1, [](char** args) { Check(unlink(args[0])); }},
    {"rmdir", 1, [](char** args) { Check(rmdir(args[0])); }},
    {"link", 2, [](char** args) { Check(link(args[0], args[1])); }},
    {"symlink", 2, [](char** args) { Check(symlink(args[0], args[1])); }},
    {"mkfifo", 1, [](char** args) { Check(mkfifo(args[0], 0644)); }},
    {"mkdir", 1, [](char** args) { Check(mkdir(args[0], 0755)); }},
    {"rename", 2, [](char** args) { Check(rename(args[0], args[1])); }},
    {"chmod", 2, [](char** args) { Check(chmod(args[0], static_cast<mode_t>(std::strtoul(args[1], nullptr, 8)))); }},
    {"create", 1, [](char** args) { Check(close(Check(open(args[0], O_WRONLY | O_CREAT, 0644)))); }},
};

}  // namespace

int main(int argc, char** argv) {
  command = argc > 1 ? argv[1] : "";
  for (const Command& entry : kCommands) {
    if (command != entry.name) continue;
    if (argc != 2 + entry.arguments) break;
    entry.call(argv + 2);
    std::fflush(stdout);
    return 0;
  }
  std::fprintf(stderr, "usage:");
  for (const Command& entry : kCommands) std::fprintf(stderr, " %s/%d", entry.name, entry.arguments);
  std::fprintf(stderr, "\n");
  return 2;
}
