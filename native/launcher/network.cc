#include "network.h"

#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <fstream>
#include <sstream>
#include <string_view>

namespace ovfsd::launcher {
namespace {

/// As LOCAL_TYPES in src/cli/local-types.ts.
constexpr std::array<std::string_view, 4> kLocalTypes = {"passthrough", "fs", "memory", "null"};

bool is_key_character(char c) { return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '_' || c == '-'; }

std::string_view without_spaces(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(" \t"), text.size()));
  return text;
}

/// What stands in quotes behind `key` and "="; empty: there is no such key, or something else behind it.
std::string_view value_of(std::string_view line, std::string_view key, bool& has_key) {
  for (size_t at = line.find(key); at != std::string_view::npos; at = line.find(key, at + 1)) {
    if (at > 0 && is_key_character(line[at - 1])) continue;
    std::string_view rest = without_spaces(line.substr(at + key.size()));
    if (!rest.starts_with('=')) continue;
    has_key = true;
    rest = without_spaces(rest.substr(1));
    const size_t end = rest.empty() ? std::string_view::npos : rest.find(rest.front(), 1);
    return end == std::string_view::npos ? std::string_view() : rest.substr(1, end - 1);
  }
  return {};
}

bool is_local(std::string_view line) {
  line = line.substr(0, line.find('#'));
  if (without_spaces(line).starts_with("[tracing")) return false;
  bool has_type = false;
  const std::string_view type = value_of(line, "type", has_type);
  if (has_type && std::ranges::find(kLocalTypes, type) == kLocalTypes.end()) return false;
  bool has_metrics = false;
  const std::string_view metrics = value_of(line, "metrics_address", has_metrics);
  return !has_metrics || metrics.starts_with("unix:");
}

}  // namespace

bool looks_local(const std::string& configuration) {
  std::istringstream lines(configuration);
  for (std::string line; std::getline(lines, line);) {
    if (!is_local(line)) return false;
  }
  return true;
}

Network guess_network(const CommandLine& line, Sandbox sandbox) {
  if (sandbox != Sandbox::kNamespace) return Network::kHost;
  if (!line.has_config_file) return Network::kOwn;
  // What comes through a pipe comes once.
  struct stat found = {};
  if (::stat(line.config_file.c_str(), &found) != 0 || !S_ISREG(found.st_mode)) return Network::kHost;
  std::ostringstream text;
  text << std::ifstream(line.config_file).rdbuf();
  return text.str().empty() || !looks_local(text.str()) ? Network::kHost : Network::kOwn;
}

const char* name_of(Network network) noexcept { return network == Network::kOwn ? "own" : "host"; }

}  // namespace ovfsd::launcher
