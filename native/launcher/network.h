// Whether the daemon needs the host's network, before Node.js can say so.
#pragma once

#include "command_line.h"

namespace ovfsd::launcher {

enum class Network {
  kHost,
  kOwn
};

/// A guess, by the words in the configuration file: nobody but the daemon reads TOML. The daemon is started again where
/// it finds otherwise, so that a wrong guess costs time and nothing else.
Network guess_network(const CommandLine& line, Sandbox sandbox);

/// As the daemon knows it.
const char* name_of(Network network) noexcept;

/// Whether these lines of a configuration look like one without servers.
bool looks_local(const std::string& configuration);

}  // namespace ovfsd::launcher
