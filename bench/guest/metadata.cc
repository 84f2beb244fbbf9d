// Times the metadata of many small files in the guest, as mdtest does: `guest-metadata DIR DIRECTORIES FILES`.
// FILES files in each of DIRECTORIES directories of DIR, which must be empty, go through every phase; each phase prints a line
// {"work":"create","operations":N,"seconds":S}. Exit code 1 with the call and its errno where one fails.
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>

namespace {

// One page: what a small file costs, not its data.
constexpr size_t kFileBytes = 4096;

[[noreturn]] void fail(const char* call, const std::string& path) {
  std::fprintf(stderr, "%s %s: %s\n", call, path.c_str(), std::strerror(errno));
  std::exit(1);
}

int checked(int result, const char* call, const std::string& path) {
  if (result < 0) fail(call, path);
  return result;
}

struct Tree {
  std::string root;
  unsigned directories;
  unsigned files_each;

  std::string directory(unsigned i) const { return root + "/dir-" + std::to_string(i); }

  // Directory by directory, as mdtest without -R.
  void each_file(const char* prefix, const std::function<void(const std::string&)>& visit) const {
    for (unsigned i = 0; i < directories; ++i) {
      for (unsigned j = 0; j < files_each; ++j) visit(directory(i) + "/" + prefix + std::to_string(j));
    }
  }
};

// The guest's kernel forgets names, attributes and pages: what follows asks the daemon.
void drop_guest_caches() {
  const std::string path = "/proc/sys/vm/drop_caches";
  sync();
  const int fd = checked(open(path.c_str(), O_WRONLY), "open", path);
  if (write(fd, "3\n", 2) != 2) fail("write", path);
  close(fd);
}

void create(const std::string& path) {
  static const char content[kFileBytes] = {};
  const int fd = checked(open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL, 0644), "open", path);
  if (write(fd, content, kFileBytes) != static_cast<ssize_t>(kFileBytes)) fail("write", path);
  checked(close(fd), "close", path);
}

void read_all(const std::string& path) {
  static char content[kFileBytes];
  const int fd = checked(open(path.c_str(), O_RDONLY), "open", path);
  if (read(fd, content, kFileBytes) != static_cast<ssize_t>(kFileBytes)) fail("read", path);
  close(fd);
}

void stat_one(const std::string& path) {
  struct stat status {};
  checked(stat(path.c_str(), &status), "stat", path);
}

void list_all(const Tree& tree) {
  for (unsigned i = 0; i < tree.directories; ++i) {
    const std::string path = tree.directory(i);
    DIR* directory = opendir(path.c_str());
    if (directory == nullptr) fail("opendir", path);
    unsigned entries = 0;
    errno = 0;
    while (const dirent* entry = readdir(directory)) entries += entry->d_name[0] != '.';
    if (errno != 0) fail("readdir", path);
    closedir(directory);
    errno = EIO;
    if (entries != tree.files_each) fail("readdir (entries are missing)", path);
  }
}

void rename_one(const std::string& path) {
  std::string to = path;
  to.replace(to.rfind('/') + 1, std::strlen("file"), "name");
  checked(rename(path.c_str(), to.c_str()), "rename", path);
}

void phase(const char* name, const Tree& tree, const std::function<void()>& work) {
  drop_guest_caches();
  const auto start = std::chrono::steady_clock::now();
  work();
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  std::printf("{\"work\":\"%s\",\"operations\":%u,\"seconds\":%.6f}\n", name, tree.directories * tree.files_each, seconds.count());
}

}  // namespace

int main(int argc, char** argv) {
  const unsigned directories = argc == 4 ? static_cast<unsigned>(std::strtoul(argv[2], nullptr, 10)) : 0;
  const unsigned files_each = argc == 4 ? static_cast<unsigned>(std::strtoul(argv[3], nullptr, 10)) : 0;
  if (directories == 0 || files_each == 0) {
    std::fprintf(stderr, "usage: guest-metadata DIR DIRECTORIES FILES\n");
    return 2;
  }
  const Tree tree{argv[1], directories, files_each};
  for (unsigned i = 0; i < directories; ++i) checked(mkdir(tree.directory(i).c_str(), 0755), "mkdir", tree.directory(i));
  phase("create", tree, [&] { tree.each_file("file-", create); });
  phase("stat", tree, [&] { tree.each_file("file-", stat_one); });
  phase("read", tree, [&] { tree.each_file("file-", read_all); });
  phase("readdir", tree, [&] { list_all(tree); });
  phase("rename", tree, [&] { tree.each_file("file-", rename_one); });
  phase("unlink", tree, [&] {
    tree.each_file("name-", [](const std::string& path) { checked(unlink(path.c_str()), "unlink", path); });
  });
  for (unsigned i = 0; i < directories; ++i) checked(rmdir(tree.directory(i).c_str()), "rmdir", tree.directory(i));
  return 0;
}
