// What the daemon asks of the launcher while it starts: it alone can read the configuration that names the directories.
// When it has them all, and before it listens to anybody, the sandbox is sealed.
//
// On a stream socket, each item with a NUL behind it; an empty item ends a request:
//     rPATH  wPATH   this directory or file, to be read or written; what is not there is left out
//     mPATH          this directory, to be written, and to be made before
//     fACTION        what system calls that are not allowed lead to: kill, log, trap or none
//     nNUMBER        the limit of open files, the hard one with it where it is below
//     oNETWORK       start the daemon again, with the network "own" or "host" (no answer: it ends)
//     seal           the launcher may no more than the daemon now, and there is only
//     gPID START     whether the process PID, which began then (/proc/PID/stat), is gone: another daemon that has left
//     something
// The answer is "ok" ("gone", "there") or what was wrong, with a NUL behind it.
#pragma once

#include <sys/types.h>

#include <string>

#include "../src/fd.h"
#include "daemon.h"
#include "root.h"

namespace ovfsd::launcher {

/// When a process began, as PID/stat in /proc, which is given open, has it; empty: there is none. Ids are used again.
std::string start_time_of(const UniqueFd& processes, const std::string& process);

class Requests {
 public:
  /// `root` and `daemon`, whose socket it is, outlive it.
  Requests(UniqueFd socket, Root& root, Daemon& daemon);

  /// -1: no request can come any more.
  int fd() const noexcept { return socket_.get(); }

  /// Take what has come, and answer. Never throws.
  void read_some() noexcept;

 private:
  /// Empty: none. @throws std::exception saying what was wrong
  std::string answer(const std::string& request);
  void seal();
  void join_network();

  UniqueFd socket_;
  Root& root_;
  Daemon& daemon_;
  std::string received_;
  /// The host's, of whose processes is told.
  UniqueFd processes_;
  std::string filter_ = "none";
  bool sealed_ = false;
};

}  // namespace ovfsd::launcher
