// What a process may do with the files of its tree, and with others that it has a descriptor to.
#include "../launcher/landlock.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <string>

#include "check.h"

namespace {

using ovfsd::UniqueFd;
using namespace ovfsd::launcher;

/// Two directories of the host: "tree" is inside, "other" is not.
class Host {
 public:
  Host() {
    char name[] = "/tmp/ovfsd-landlock-XXXXXX";
    path = ::mkdtemp(name);
    for (const char* directory : {"/tree", "/tree/a", "/tree/b", "/other"}) ::mkdir((path + directory).c_str(), 0700);
    for (const char* file : {"/tree/a/file", "/other/file"}) {
      UniqueFd(::open((path + file).c_str(), O_CREAT | O_WRONLY, 0600));
    }
    std::filesystem::copy_file("/bin/true", path + "/tree/true");
  }
  ~Host() { std::filesystem::remove_all(path); }
  Host(const Host&) = delete;
  Host& operator=(const Host&) = delete;

  std::string path;
};

/// What a confined process gets for `work`: 0 or an errno. `work` returns a negative number for an error.
int errno_of(const Host& host, const std::function<long()>& work) {
  const pid_t child = ::fork();
  if (child == 0) {
    try {
      confine_to(UniqueFd(::open((host.path + "/tree").c_str(), O_PATH | O_CLOEXEC)),
                 {"/bin/true", "/lib", "/lib64", "/usr/lib"});
    } catch (...) {
      ::_exit(255);
    }
    ::_exit(work() < 0 ? errno : 0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WEXITSTATUS(status);
}

}  // namespace

TEST("landlock: versions of the kernel's interface restrict what they can, and the first nothing") {
  constexpr LandlockRights kRefer = 1 << 13;
  constexpr LandlockRights kTruncate = 1 << 14;
  constexpr LandlockRights kIoctl = 1 << 15;
  for (const int abi : {-1, 0, 1}) {
    CHECK_EQ(landlock_ability(abi).files, LandlockRights{0});
    CHECK_EQ(landlock_ability(abi).scopes, uint64_t{0});
  }
  CHECK_EQ(landlock_ability(2).files, kRefer | (kRefer - 1));
  CHECK_EQ(landlock_ability(3).files, kTruncate | kRefer | (kRefer - 1));
  CHECK_EQ(landlock_ability(5).files, kIoctl | kTruncate | kRefer | (kRefer - 1));
  CHECK_EQ(landlock_ability(5).scopes, uint64_t{0});
  CHECK_EQ(landlock_ability(6).scopes, uint64_t{3});
  // One that is not there yet.
  CHECK_EQ(landlock_ability(99).files, landlock_ability(6).files);
}

TEST("landlock: files outside the tree are refused, also below an open directory, and those inside are not") {
  if (!can_confine(false)) return;
  const Host host;
  const UniqueFd other(::open((host.path + "/other").c_str(), O_RDONLY | O_DIRECTORY));
  const auto at = [&host](const char* path) { return host.path + path; };
  CHECK_EQ(errno_of(host, [&] { return ::open(at("/other/file").c_str(), O_RDONLY); }), EACCES);
  CHECK_EQ(errno_of(host, [&] { return ::openat(other.get(), "file", O_RDONLY); }), EACCES);
  CHECK_EQ(errno_of(host, [&] { return ::openat(other.get(), "new", O_WRONLY | O_CREAT, 0600); }), EACCES);
  CHECK_EQ(errno_of(host, [&] { return ::unlinkat(other.get(), "file", 0); }), EACCES);
  CHECK_EQ(errno_of(host, [&] { return ::rename(at("/tree/a/file").c_str(), at("/other/moved").c_str()); }), EACCES);
  CHECK_EQ(errno_of(host, [&] { return ::open(at("/tree/a/file").c_str(), O_RDWR | O_TRUNC); }), 0);
  CHECK_EQ(errno_of(host, [&] { return ::mknod(at("/tree/pipe").c_str(), S_IFIFO | 0600, 0); }), 0);
  CHECK_EQ(errno_of(host, [&] { return ::link(at("/tree/a/file").c_str(), at("/tree/b/second").c_str()); }), 0);
  CHECK_EQ(errno_of(host, [&] { return ::rename(at("/tree/a/file").c_str(), at("/tree/b/file").c_str()); }), 0);
}

TEST("landlock: a file that is open can be opened anew, as it was opened") {
  if (!can_confine(false)) return;
  const Host host;
  const UniqueFd file(::open((host.path + "/other/file").c_str(), O_RDONLY));
  const std::string again = "/proc/self/fd/" + std::to_string(file.get());
  CHECK_EQ(errno_of(host, [&] { return ::open(again.c_str(), O_RDONLY); }), 0);
  CHECK_EQ(errno_of(host, [&] { return ::open(again.c_str(), O_RDWR); }), EACCES);
}

TEST("landlock: a file in no directory, as handles lead to, can be opened where that is said to be so") {
  if (!can_confine(true) || ::geteuid() != 0) return;
  const Host host;
  alignas(file_handle) char buffer[sizeof(file_handle) + MAX_HANDLE_SZ] = {};
  auto* handle = reinterpret_cast<file_handle*>(buffer);
  handle->handle_bytes = MAX_HANDLE_SZ;
  int mount = 0;
  const std::string path = host.path + "/tree/a/file";
  CHECK_EQ(::name_to_handle_at(AT_FDCWD, path.c_str(), handle, &mount, 0), 0);
  const UniqueFd tree(::open((host.path + "/tree").c_str(), O_RDONLY | O_DIRECTORY));
  CHECK_EQ(errno_of(host, [&] { return ::open_by_handle_at(tree.get(), handle, O_RDWR); }), 0);
}

TEST("landlock: programs are executed from where they are expected only") {
  if (!can_confine(false)) return;
  const Host host;
  const auto execute = [](const std::string& path) {
    return [path]() -> long { return ::execl(path.c_str(), path.c_str(), nullptr); };
  };
  CHECK_EQ(errno_of(host, execute("/bin/true")), 0);
  CHECK_EQ(errno_of(host, execute(host.path + "/tree/true")), EACCES);
}

TEST("landlock: abstract sockets of others are not reached") {
  if (!can_confine(false)) return;
  const Host host;
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  // No name: the kernel chooses an abstract one.
  socklen_t length = sizeof(sa_family_t);
  const UniqueFd theirs(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  CHECK_EQ(::bind(theirs.get(), reinterpret_cast<sockaddr*>(&address), length), 0);
  CHECK_EQ(::listen(theirs.get(), 1), 0);
  length = sizeof address;
  CHECK_EQ(::getsockname(theirs.get(), reinterpret_cast<sockaddr*>(&address), &length), 0);
  const int refused = errno_of(host, [&] {
    const UniqueFd ours(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    return long{::connect(ours.get(), reinterpret_cast<sockaddr*>(&address), length)};
  });
  // Before Linux 6.12 they are.
  CHECK(refused == EPERM || refused == 0);
}
