// ovfsd-launch NODE [NODE-OPTION]... -- SCRIPT [OPTION]...: starts the daemon in a sandbox. Node.js has threads before
// it runs a line of the daemon, and what a process may do is each thread's own: it has to be less before.
//
//     launcher (the host's namespaces)   answers what the daemon asks while it starts, hands signals on, ends as it
//     does
//       |-- keeper (pid 1 inside)        does nothing: with the launcher it ends, and the kernel ends all others inside
//       with it
//       `-- node SCRIPT                  the daemon
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
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
#include "daemon.h"
#include "fault.h"
#include "network.h"
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

/// For servers, of which a daemon without a configuration file has none.
constexpr const char* kExtraCertificates = "NODE_EXTRA_CA_CERTS";

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

/// @throws std::invalid_argument when what is asked for is for others than who asks
void check_user(const CommandLine& line, Sandbox sandbox, bool is_root) {
  if (!is_root && sandbox == Sandbox::kChroot)
    throw std::invalid_argument("--sandbox=chroot needs root with CAP_SYS_ADMIN");
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

/// Without an error where none is open. Not a function of every C library yet; older kernels than have it have no
/// sandbox, either.
void close_all(unsigned first, unsigned last) {
  constexpr long kCloseRange = 436;
  if (first <= last) must(::syscall(kCloseRange, first, last, 0), "close_range");
}

/// The first process of a pid namespace: when it ends, so do all others there. `launcher` is at its end when the
/// launcher is.
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

/// Starts the keeper, which ends when what is returned is closed.
UniqueFd start_keeper() {
  must(::unshare(CLONE_NEWPID), "a pid namespace");
  int pipe[2];
  must(::pipe2(pipe, O_CLOEXEC), "pipe");
  UniqueFd at_end(pipe[0]);
  UniqueFd held(pipe[1]);
  if (must(::fork(), "fork") == 0) {
    held.reset();
    keep_namespace(std::move(at_end));
  }
  return held;
}

int launch(const Program& program, const CommandLine& line, Sandbox sandbox) {
  DaemonOptions options{program,         line, sandbox, working_directory(), {}, capabilities_of(line.modcaps),
                        block_signals(), "",   ""};
  options.start_time = start_time_of(UniqueFd(::open("/proc", O_PATH | O_CLOEXEC)), "self");
  options.pid_namespace = std::filesystem::read_symlink("/proc/self/ns/pid");
  const std::string directory = options.directory;
  const sigset_t signals = options.signals;
  const IdMap users = id_map_of(line.uid_map, "--uid-map");
  const IdMap groups = id_map_of(line.gid_map, "--gid-map");
  const bool is_root = can_make_namespaces();
  check_user(line, sandbox, is_root);
  const Network network = guess_network(line, sandbox);
  const std::vector<Link> links = links_of_host();
  if (!is_root) enter_user_namespace(users, groups);
  const std::vector<Place> places = places_of_daemon(program.node, program.script, line);
  options.programs = programs_of(places);
  Root root(places, is_root ? ProcVisible::kNo : ProcVisible::kYes);
  make_links(links);
  make_directories("/proc");
  make_directories(directory == "/" ? "" : directory);
  const UniqueFd keeper = start_keeper();
  root.leave();
  // Not there inside: Node.js would warn.
  if (!line.has_config_file) must(::unsetenv(kExtraCertificates), kExtraCertificates);
  Daemon daemon(std::move(options), root);
  UniqueFd socket = daemon.start(network);
  Requests requests(std::move(socket), root, daemon);
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
  // Who has started us may ignore the ends of children, and that is inherited; then nobody could be waited for.
  ::signal(SIGCHLD, SIG_DFL);
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
    if (line.serves) tell_of_no_sandbox();
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
