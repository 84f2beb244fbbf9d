#include "daemon.h"

#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <stdexcept>
#include <utility>

#include "fault.h"
#include "id_map.h"
#include "landlock.h"

namespace ovfsd::launcher {
namespace {

/// As the daemon's: src/cli/exit-code.ts.
constexpr int kExitFailure = 1;

/// What the daemon is told: src/cli/launcher.ts.
constexpr const char* kTold = "OVFSD_LAUNCHER";

void set_told(const std::vector<std::string>& words) {
  std::string told;
  for (const std::string& word : words) told += (told.empty() ? "" : " ") + word;
  must(::setenv(kTold, told.c_str(), 1), kTold);
}

}  // namespace

void execute(const Program& program) {
  std::vector<char*> argv;
  const auto add = [&argv](const std::string& arg) { argv.push_back(const_cast<char*>(arg.c_str())); };
  add(program.node);
  for (const std::string& option : program.node_options) add(option);
  add(program.script);
  for (const std::string& arg : program.args) add(arg);
  argv.push_back(nullptr);
  ::execv(program.node.c_str(), argv.data());
  fail(program.node);
}

void tell_of_no_sandbox() { set_told({name_of(Sandbox::kNone)}); }

Daemon::Daemon(DaemonOptions options, const Root& root) : options_(std::move(options)), root_(root) {}

UniqueFd Daemon::start(Network network) {
  network_ = network;
  int sockets[2];
  must(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets), "socketpair");
  UniqueFd ours(sockets[0]);
  const UniqueFd theirs(sockets[1]);
  const auto& [program, line, sandbox, directory, programs, capabilities, signals, start_time, pid_namespace] =
      options_;
  const auto map_text = [](const std::vector<std::string>& written) { return text_of(id_map_of(written, "")); };
  set_told({name_of(sandbox), std::to_string(theirs.get()), std::to_string(::getpid()), start_time, pid_namespace,
            is_confined() ? "landlock" : "none", name_of(network), map_text(line.uid_map), map_text(line.gid_map),
            line.modcaps});
  pid_ = must(::fork(), "fork");
  if (pid_ != 0) return ours;
  try {
    must(::fcntl(theirs.get(), F_SETFD, 0), "fcntl");
    become(network);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "ovfsd: can't start in a sandbox: %s\n", error.what());
    std::_Exit(kExitFailure);
  }
}

bool Daemon::is_confined() const { return can_confine(has_capability(options_.capabilities, CAP_DAC_READ_SEARCH)); }

void Daemon::become(Network network) const {
  root_.enter();
  if (network == Network::kOwn) must(::unshare(CLONE_NEWNET), "a network namespace");
  // Read-only: user 0 needs no capability to write most of /proc/sys, core_pattern for one, which is the host's. What is opened
  // by /proc/self/fd is written all the same: the mount that counts is the file's. One that has been started before has left it.
  constexpr unsigned long kProcFlags = MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC;
  if (::mount("proc", "/proc", "proc", kProcFlags, nullptr) != 0 && errno != EBUSY) fail("/proc");
  must(::chdir(options_.directory.c_str()), options_.directory);
  if (::setgroups(0, nullptr) != 0 && errno != EPERM) fail("setgroups");
  // A terminal's signals are the launcher's to hand on: they would come twice, and a second one means "at once".
  must(::setpgid(0, 0), "setpgid");
  // Best effort: kernels without it have the mounts alone.
  if (is_confined()) confine_to(root_.frame(), options_.programs);
  keep_capabilities(options_.capabilities);
  must(::sigprocmask(SIG_SETMASK, &options_.signals, nullptr), "sigprocmask");
  execute(options_.program);
}

UniqueFd Daemon::start_again(Network network) {
  if (is_second_) throw std::invalid_argument("the configuration has changed while the daemon started");
  is_second_ = true;
  ::kill(pid_, SIGKILL);
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
  try {
    return start(network);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "ovfsd: can't start in a sandbox: %s\n", error.what());
    std::_Exit(kExitFailure);
  }
}

}  // namespace ovfsd::launcher
