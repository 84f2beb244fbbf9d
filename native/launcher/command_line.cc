#include "command_line.h"

#include <algorithm>
#include <array>
#include <string_view>

namespace ovfsd::launcher {
namespace {

constexpr std::array<std::string_view, 8> kNotServing = {
    "--help", "-h", "--version", "-V", "--check", "--connect", "--print-capabilities", "-hV"};

void take_sandbox(CommandLine& line, std::string_view text) {
  for (const Sandbox sandbox : {Sandbox::kNone, Sandbox::kChroot, Sandbox::kNamespace}) {
    if (text == name_of(sandbox)) line.sandbox = sandbox;
  }
}

/// What virtiofsd in C has behind -o. A comma in a path is written twice or after a backslash; neither is in what is
/// looked for.
void take_list(CommandLine& line, std::string_view list) {
  for (size_t start = 0; start <= list.size();) {
    const size_t end = std::min(list.find(',', start), list.size());
    const std::string_view item = list.substr(start, end - start);
    const bool is_new = start < 2 || list[start - 2] != '\\';
    if (is_new && item.starts_with("sandbox=")) take_sandbox(line, item.substr(8));
    if (is_new && item.starts_with("modcaps=")) line.modcaps = item.substr(8);
    if (is_new && item.starts_with("uid_map=")) line.uid_map.emplace_back(item.substr(8));
    if (is_new && item.starts_with("gid_map=")) line.gid_map.emplace_back(item.substr(8));
    if (is_new && item.starts_with("source=")) line.has_shared_dir = true;
    start = end + 1;
  }
}

/// Take an option with a value over; false: not one of ours.
bool take_value(CommandLine& line, std::string_view name, std::string_view value) {
  if (name == "--sandbox") {
    take_sandbox(line, value);
  } else if (name == "--modcaps") {
    line.modcaps = value;
  } else if (name == "--uid-map") {
    line.uid_map.emplace_back(value);
  } else if (name == "--gid-map") {
    line.gid_map.emplace_back(value);
  } else if (name == "-o") {
    take_list(line, value);
  } else if (name == "--config-file") {
    line.has_config_file = true;
    line.config_file = value;
  } else if (name == "--shared-dir") {
    line.has_shared_dir = true;
  } else {
    return false;
  }
  return true;
}

}  // namespace

const char* name_of(Sandbox sandbox) noexcept {
  switch (sandbox) {
    case Sandbox::kNone:
      return "none";
    case Sandbox::kChroot:
      return "chroot";
    case Sandbox::kNamespace:
      return "namespace";
  }
  return "";
}

CommandLine read_command_line(const std::vector<std::string>& args) {
  CommandLine line;
  // A command for a running daemon, or a mistake.
  if (args.empty() || !args[0].starts_with("-")) line.serves = false;
  for (size_t at = 0; at < args.size(); at++) {
    const std::string_view arg = args[at];
    if (std::ranges::find(kNotServing, arg) != kNotServing.end()) line.serves = false;
    if (arg == "--syslog") line.has_syslog = true;
    const size_t equals = arg.starts_with("--") ? arg.find('=') : std::string_view::npos;
    if (equals != std::string_view::npos) {
      take_value(line, arg.substr(0, equals), arg.substr(equals + 1));
    } else if (arg.size() > 2 && arg.starts_with("-o")) {
      take_list(line, arg.substr(2));
    } else if (at + 1 < args.size() && take_value(line, arg, args[at + 1])) {
      at++;
    }
  }
  return line;
}

}  // namespace ovfsd::launcher
