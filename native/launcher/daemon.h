// The process that becomes Node.js, and with it the daemon, inside the sandbox.
#pragma once

#include <signal.h>
#include <sys/types.h>

#include <string>
#include <vector>

#include "../src/fd.h"
#include "capabilities.h"
#include "command_line.h"
#include "network.h"
#include "root.h"

namespace ovfsd::launcher {

struct Program {
  std::string node;
  std::vector<std::string> node_options;
  std::string script;
  std::vector<std::string> args;
};

/// @throws std::system_error
[[noreturn]] void execute(const Program& program);

/// What a daemon without a sandbox is told. @throws std::system_error
void tell_of_no_sandbox();

struct DaemonOptions {
  Program program;
  CommandLine line;
  Sandbox sandbox = Sandbox::kNone;
  /// To work in.
  std::string directory;
  /// What it may execute.
  std::vector<std::string> programs;
  CapabilitySet capabilities = 0;
  /// Those that are blocked.
  sigset_t signals;
  /// When this process began, and the host's pid namespace.
  std::string start_time;
  std::string pid_namespace;
};

class Daemon {
 public:
  /// `root` outlives it.
  Daemon(DaemonOptions options, const Root& root);

  /// To be called on the host's tree. Returns the socket on which it asks. @throws std::system_error
  UniqueFd start(Network network);

  /// Ends it, which nobody has heard yet, and starts it anew. Ends this process where that fails. @throws
  /// std::invalid_argument the second time
  UniqueFd start_again(Network network);

  pid_t pid() const noexcept { return pid_; }
  /// That it was started with last.
  Network network() const noexcept { return network_; }
  CapabilitySet capabilities() const noexcept { return options_.capabilities; }

 private:
  [[noreturn]] void become(Network network) const;
  bool is_confined() const;

  DaemonOptions options_;
  const Root& root_;
  pid_t pid_ = 0;
  Network network_ = Network::kHost;
  bool is_second_ = false;
};

}  // namespace ovfsd::launcher
