// The little of the daemon's command line that has to be known before Node.js starts. The daemon reads the whole of it
// (src/cli/arguments.ts), and starts only where both have understood the same.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace ovfsd::launcher {

enum class Sandbox {
  kNone,
  kChroot,
  kNamespace
};

struct CommandLine {
  /// It serves; everything else (--help, --check, status...) looks at the host as who calls it does.
  bool serves = true;
  /// There may be stores of servers.
  bool has_config_file = false;
  std::string config_file;
  bool has_shared_dir = false;
  bool has_syslog = false;
  /// Unset: not asked for.
  std::optional<Sandbox> sandbox;
  /// As written; empty: not asked for.
  std::string modcaps;
  /// As written, each time.
  std::vector<std::string> uid_map;
  std::vector<std::string> gid_map;
};

CommandLine read_command_line(const std::vector<std::string>& args);

const char* name_of(Sandbox sandbox) noexcept;

}  // namespace ovfsd::launcher
