// ovfsd-launch NODE [NODE-OPTION]... -- SCRIPT [OPTION]...: starts the daemon in a sandbox. Node.js has threads before it runs a line of the daemon, and
// what a process may do is each thread's own: it has to be less before.
//
//     launcher (the host's namespaces)   answers what the daemon asks while it starts, hands signals on, ends as it does
//       |-- keeper (pid 1 inside)        does nothing: with the launcher it ends, and the kernel ends all others inside with it
//       `-- node SCRIPT                  the daemon
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "../src/fd.h"
#include "capabilities.h"
#include "command_line.h"
#include "fault.h"
#include "landlock.h"
#include "places.h"
#include "requests.h"
#include "root.h"
#include "supervisor.h"
#include "user_namespace.h"

namespace ovfsd::launcher {
namespace {

/// As the daemon's: src/cli/exit-code.ts.
constexpr int kExitFailure = 1;
constexpr int kExitUsage = 2;

/// What the daemon is told: src/cli/launcher.ts.
constexpr const char* kTold = "OVFSD_LAUNCHER";

/// For servers, of which a daemon without a configuration file has none.
constexpr const char* kExtraCertificates = "NODE_EXTRA_CA_CERTS";

struct Program {
  std::string node;
  std::vector<std::string> node_options;
  std::string script;
  std::vector<std::string> args;
};

[[noreturn]] void execute(const Program& program) {
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

/// A program as a shell finds it, without links.
std::string find_program(const std::string& name) {
  if (name.find('/') != std::string::npos) return std::filesystem::canonical(name);
  const char* variable = std::getenv("PATH");
  const std::string path = variable == nullptr ? "/usr/local/bin:/usr/bin:/bin" : variable;
  for (size_t start = 0; start <= path.size();) {
    const size_t end = std::min(path.find(':', start), path.size());
    const std::string candidate = path.substr(start, end - start) + "/" + name;
    struct stat found = {};
    if (::access(candidate.c_str(), X_OK) == 0 && ::stat(candidate.c_str(), &found) == 0 && S_ISREG(found.st_mode)) {
      return std::filesystem::canonical(candidate);
    }
    start = end + 1;
  }
  errno = ENOENT;
  fail(name);
}

std::string working_directory() {
  char path[PATH_MAX];
  return ::getcwd(path, sizeof path) == nullptr ? "/" : path;
}

/// As `Launcher.take` reads it.
void tell(Sandbox sandbox, int socket, const std::string& start_time, const std::string& pid_namespace,
          bool has_landlock, const CommandLine& line) {
  const std::string pid = std::to_string(::getpid());
  const std::string told = std::string(name_of(sandbox)) + " " + std::to_string(socket) + " " + pid + " " +
                           start_time + " " + pid_namespace + " " + (has_landlock ? "landlock" : "none") + " " + text_of(id_map_of(line.uid_map, "")) + " " +
                           text_of(id_map_of(line.gid_map, "")) + " " + line.modcaps;
  must(::setenv(kTold, told.c_str(), 1), kTold);
}

/// @throws std::invalid_argument when what is asked for is for others than who asks
void check_user(const CommandLine& line, Sandbox sandbox, bool is_root) {
  if (!is_root && sandbox == Sandbox::kChroot) throw std::invalid_argument("--sandbox=chroot needs root with CAP_SYS_ADMIN");
  if (!is_root || (line.uid_map.empty() && line.gid_map.empty())) return;
  throw std::invalid_argument("--uid-map and --gid-map are for a daemon that is not started by root");
}

/// What Node.js is started from, and what it loads.
std::vector<std::string> programs_of(const std::vector<Place>& places) {
  std::vector<std::string> paths;
  for (const Place& place : places) {
    if (place.access == Access::kRead) paths.push_back(place.path);
  }
  return paths;
}

pid_t fork_child() { return must(::fork(), "fork"); }

/// Without an error where none is open. Not a function of every C library yet; older kernels than have it have no sandbox, either.
void close_all(unsigned first, unsigned last) {
  constexpr long kCloseRange = 436;
  if (first <= last) must(::syscall(kCloseRange, first, last, 0), "close_range");
}

/// The first process of a pid namespace: when it ends, so do all others there. `launcher` is at its end when the launcher is.
[[noreturn]] void keep_namespace(UniqueFd launcher) {
  // Children that were left to it are nobody's to wait for.
  ::signal(SIGCHLD, SIG_IGN);
  // A socket or pipe of the daemon's must not stay open because of it.
  const unsigned kept = static_cast<unsigned>(launcher.get());
  close_all(0, kept - 1);
  close_all(kept + 1, ~0u);
  keep_capabilities(0);
  char byte;
  while (::read(launcher.get(), &byte, 1) < 0 && errno == EINTR) {
  }
  std::_Exit(0);
}

/// In the process that becomes the daemon, inside.
[[noreturn]] void become_daemon(const Program& program, const std::string& directory, const UniqueFd& frame,
                                const std::vector<std::string>& programs, CapabilitySet kept, const sigset_t& signals) {
  must(::mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr), "/proc");
  must(::chdir(directory.c_str()), directory);
  if (::setgroups(0, nullptr) != 0 && errno != EPERM) fail("setgroups");
  // A terminal's signals are the launcher's to hand on: they would come twice, and a second one means "at once".
  must(::setpgid(0, 0), "setpgid");
  // Best effort: kernels without it have the mounts alone.
  confine_to(frame, programs);
  keep_capabilities(kept);
  must(::sigprocmask(SIG_SETMASK, &signals, nullptr), "sigprocmask");
  execute(program);
}

int launch(const Program& program, const CommandLine& line, Sandbox sandbox) {
  const CapabilitySet kept = capabilities_of(line.modcaps);
  int sockets[2];
  must(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets), "socketpair");
  UniqueFd ours(sockets[0]);
  UniqueFd theirs(sockets[1]);
  const std::string directory = working_directory();
  const sigset_t signals = block_signals();
  const std::string start_time = start_time_of(UniqueFd(::open("/proc", O_PATH | O_CLOEXEC)), "self");
  const std::string host_namespace = std::filesystem::read_symlink("/proc/self/ns/pid");
  const IdMap users = id_map_of(line.uid_map, "--uid-map");
  const IdMap groups = id_map_of(line.gid_map, "--gid-map");
  const bool is_root = can_make_namespaces();
  check_user(line, sandbox, is_root);
  const std::vector<Link> links = links_of_host();
  if (!is_root) enter_user_namespace(users, groups);
  const std::vector<Place> places = places_of_daemon(program.node, program.script, line);
  Root root(places, is_root ? ProcVisible::kNo : ProcVisible::kYes);
  make_links(links);
  make_directories("/proc");
  make_directories(directory == "/" ? "" : directory);
  must(::unshare(CLONE_NEWPID), "a pid namespace");
  // Which of the stores of a configuration need the network is known too late.
  if (sandbox == Sandbox::kNamespace && !line.has_config_file) must(::unshare(CLONE_NEWNET), "a network namespace");

  int pipe[2];
  must(::pipe2(pipe, O_CLOEXEC), "pipe");
  UniqueFd at_end(pipe[0]);
  const UniqueFd held(pipe[1]);
  if (fork_child() == 0) {
    ::close(pipe[1]);
    keep_namespace(std::move(at_end));
  }
  at_end.reset();
  tell(sandbox, theirs.get(), start_time, host_namespace, can_confine(), line);
  // Not there inside: Node.js would warn.
  if (!line.has_config_file) must(::unsetenv(kExtraCertificates), kExtraCertificates);
  const pid_t daemon = fork_child();
  if (daemon == 0) {
    must(::fcntl(theirs.get(), F_SETFD, 0), "fcntl");
    try {
      become_daemon(program, directory, root.frame(), programs_of(places), kept, signals);
    } catch (const std::exception& error) {
      std::fprintf(stderr, "ovfsd: can't start in a sandbox: %s\n", error.what());
      std::_Exit(kExitFailure);
    }
  }
  theirs.reset();
  root.leave();
  Requests requests(std::move(ours), root, daemon, kept);
  return supervise(daemon, requests, signals);
}

/// As the command line asks. Without asking: as virtiofsd, where it can be; the daemon says where it can't.
Sandbox sandbox_for(const CommandLine& line) {
  if (!line.serves) return Sandbox::kNone;
  if (line.sandbox) return *line.sandbox;
  if (!line.has_shared_dir || !can_clone_trees()) return Sandbox::kNone;
  // Root with less than root's rights is in a container that has its reasons.
  const bool can = can_make_namespaces() || (::geteuid() != 0 && can_make_user_namespace());
  return can ? Sandbox::kNamespace : Sandbox::kNone;
}

/// Nothing else may take the standard streams' numbers.
void open_standard_streams() {
  for (int fd = 0; fd <= 2; fd++) {
    if (::fcntl(fd, F_GETFD) < 0) must(::open("/dev/null", O_RDWR), "/dev/null");
  }
}

int run(int argc, char** argv) {
  open_standard_streams();
  const auto end = std::find(argv, argv + argc, std::string_view("--"));
  if (end - argv < 2 || argv + argc - end < 2) {
    throw std::invalid_argument("usage: ovfsd-launch NODE [NODE-OPTION]... -- SCRIPT [OPTION]...");
  }
  const Program program = {
      find_program(argv[1]), {argv + 2, end}, std::filesystem::canonical(end[1]), {end + 2, argv + argc}};
  const CommandLine line = read_command_line(program.args);
  const Sandbox sandbox = sandbox_for(line);
  if (sandbox == Sandbox::kNone) {
    if (line.serves && !(line.uid_map.empty() && line.gid_map.empty())) {
      throw std::invalid_argument("--uid-map and --gid-map need --sandbox=namespace");
    }
    if (line.serves) tell(sandbox, -1, "", "", false, line);
    execute(program);
  }
  return launch(program, line, sandbox);
}

}  // namespace
}  // namespace ovfsd::launcher

int main(int argc, char** argv) {
  try {
    return ovfsd::launcher::run(argc, argv);
  } catch (const std::invalid_argument& error) {
    std::fprintf(stderr, "ovfsd: %s\n", error.what());
    return ovfsd::launcher::kExitUsage;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "ovfsd: can't start in a sandbox (--sandbox=none is without): %s\n", error.what());
    return ovfsd::launcher::kExitFailure;
  }
}
