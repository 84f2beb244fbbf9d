#include "user_namespace.h"

#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <spawn.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <stdexcept>
#include <string>

#include "../src/fd.h"
#include "fault.h"

extern "C" char** environ;

namespace ovfsd::launcher {
namespace {

/// It takes three numbers a range in one line.
void write_file(const char* path, const std::string& text) {
  const UniqueFd file(must(::open(path, O_WRONLY | O_CLOEXEC), path));
  must(::write(file.get(), text.data(), text.size()), path);
}

std::string line_of(const IdMap& map) {
  std::string line;
  for (const std::string& number : numbers_of(map)) line += number + " ";
  return line;
}

/// 0: `work` in a process of its own has returned true.
int status_of(const std::function<bool()>& work) {
  const pid_t child = must(::fork(), "fork");
  if (child == 0) ::_exit(work() ? 0 : 1);
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return status;
}

/// newuidmap or newgidmap, which have what an unprivileged user has not: the right to map others that /etc/subuid
/// names.
bool run_mapper(const char* program, pid_t process, const IdMap& map) {
  std::vector<std::string> args = numbers_of(map);
  args.insert(args.begin(), {program, std::to_string(process)});
  std::vector<char*> argv;
  for (std::string& arg : args) argv.push_back(arg.data());
  argv.push_back(nullptr);
  pid_t child = 0;
  const int error = ::posix_spawnp(&child, program, nullptr, nullptr, argv.data(), environ);
  if (error != 0) {
    std::fprintf(stderr, "ovfsd: %s: %s\n", program, std::strerror(error));
    return false;
  }
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  return status == 0;
}

/// A process that stays outside until this one is inside, and maps then what only programs outside may map.
class Mapper {
 public:
  Mapper(const IdMap& users, const IdMap& groups) {
    int pipe[2];
    must(::pipe2(pipe, O_CLOEXEC), "pipe");
    const UniqueFd inside(pipe[0]);
    ready_.reset(pipe[1]);
    const pid_t process = ::getpid();
    child_ = must(::fork(), "fork");
    if (child_ != 0) return;
    ready_.reset();
    char byte;
    // Nothing to read: the other is not inside, and has gone.
    if (::read(inside.get(), &byte, 1) != 1) ::_exit(1);
    const bool has_users = users.empty() || run_mapper("newuidmap", process, users);
    ::_exit(has_users && (groups.empty() || run_mapper("newgidmap", process, groups)) ? 0 : 1);
  }

  ~Mapper() {
    ready_.reset();
    if (child_ > 0) ::waitpid(child_, nullptr, 0);
  }
  Mapper(const Mapper&) = delete;
  Mapper& operator=(const Mapper&) = delete;

  void map() {
    must(::write(ready_.get(), "", 1), "pipe");
    int status = 0;
    must(::waitpid(child_, &status, 0), "waitpid");
    child_ = 0;
    if (status != 0)
      throw std::runtime_error(
          "the ids of --uid-map and --gid-map can't be mapped (/etc/subuid and /etc/subgid say which can)");
  }

 private:
  UniqueFd ready_;
  pid_t child_ = 0;
};

/// Who is 0 inside is root there.
void become_root(const IdMap& users, const IdMap& groups) {
  // Where they may not be dropped they are those of whoever has started us, and no guest can take one on.
  if (::setgroups(0, nullptr) != 0 && errno != EPERM) fail("setgroups");
  if (has_inside(groups, 0)) must(::setresgid(0, 0, 0), "setresgid");
  if (has_inside(users, 0)) must(::setresuid(0, 0, 0), "setresuid");
}

void require_identity(const IdMap& map, uint32_t own, const char* option) {
  if (has_inside(map, 0) || has_outside(map, own)) return;
  throw std::invalid_argument(std::string(option) + ": the daemon is nobody inside: neither 0 there nor its own id (" +
                              std::to_string(own) + ") is mapped");
}

}  // namespace

bool can_make_user_namespace() {
  const auto mounts = [] { return ::mount("proc", "/proc", "proc", 0, nullptr) == 0; };
  const auto makes = [&mounts] {
    return ::unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET) == 0 && status_of(mounts) == 0;
  };
  return status_of(makes) == 0;
}

void enter_user_namespace(IdMap users, IdMap groups) {
  const uid_t user = ::geteuid();
  const gid_t group = ::getegid();
  if (users.empty()) users = {{user, user, 1}};
  if (groups.empty()) groups = {{group, group, 1}};
  require_identity(users, user, "--uid-map");
  require_identity(groups, group, "--gid-map");
  const bool is_own_user = is_own(users, user);
  const bool is_own_group = is_own(groups, group);
  Mapper mapper(is_own_user ? IdMap() : users, is_own_group ? IdMap() : groups);
  must(::unshare(CLONE_NEWUSER), "a user namespace");
  if (is_own_user) write_file("/proc/self/uid_map", line_of(users));
  if (is_own_group) {
    // The kernel asks for it: who could drop a group could pass what is denied to it.
    write_file("/proc/self/setgroups", "deny");
    write_file("/proc/self/gid_map", line_of(groups));
  }
  mapper.map();
  become_root(users, groups);
  must(::unshare(CLONE_NEWNS), "a mount namespace");
}

}  // namespace ovfsd::launcher
