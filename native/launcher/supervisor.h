// The process that was started, once the daemon runs in one of its own: it hands signals on and ends as the daemon
// does.
#pragma once

#include <csignal>

#include "requests.h"

namespace ovfsd::launcher {

/// Block the signals that `supervise` takes, and return those that were blocked before: the daemon is to have them so.
sigset_t block_signals();

/// Until `daemon` ends. Returns its exit code; does not return if a signal ended it, and ends by the same.
int supervise(const Daemon& daemon, Requests& requests, const sigset_t& before);

}  // namespace ovfsd::launcher
