#include "supervisor.h"

#include <poll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdlib>

#include "fault.h"

namespace ovfsd::launcher {
namespace {

constexpr std::array kHandedOn = {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};

/// As the daemon ended: whoever waits for us learns what it would have learned of it.
[[noreturn]] void end_by(int signal) {
  // The daemon has left the memory image, if any.
  ::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
  ::signal(signal, SIG_DFL);
  sigset_t only;
  sigemptyset(&only);
  sigaddset(&only, signal);
  ::sigprocmask(SIG_UNBLOCK, &only, nullptr);
  ::raise(signal);
  std::_Exit(128 + signal);
}

/// The exit code, or -1: it still runs.
int end_of(pid_t daemon) {
  int status = 0;
  if (::waitpid(daemon, &status, WNOHANG) != daemon) return -1;
  if (WIFSIGNALED(status)) end_by(WTERMSIG(status));
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

}  // namespace

sigset_t block_signals() {
  sigset_t taken;
  sigset_t before;
  sigemptyset(&taken);
  sigaddset(&taken, SIGCHLD);
  for (const int signal : kHandedOn) sigaddset(&taken, signal);
  must(::sigprocmask(SIG_BLOCK, &taken, &before), "sigprocmask");
  return before;
}

int supervise(const Daemon& daemon, Requests& requests, const sigset_t& before) {
  sigset_t taken;
  sigemptyset(&taken);
  sigaddset(&taken, SIGCHLD);
  // One that whoever started us has blocked or ignored is not the daemon's, either.
  for (const int signal : kHandedOn) {
    if (sigismember(&before, signal) == 0) sigaddset(&taken, signal);
  }
  const UniqueFd signals(must(::signalfd(-1, &taken, SFD_CLOEXEC), "signalfd"));
  for (;;) {
    pollfd ready[] = {{signals.get(), POLLIN, 0}, {requests.fd(), POLLIN, 0}};
    if (::poll(ready, std::size(ready), -1) < 0 && errno != EINTR) fail("poll");
    if (ready[1].revents != 0) requests.read_some();
    signalfd_siginfo signal = {};
    if (ready[0].revents == 0 || ::read(signals.get(), &signal, sizeof signal) != sizeof signal) continue;
    if (static_cast<int>(signal.ssi_signo) != SIGCHLD) {
      ::kill(daemon.pid(), static_cast<int>(signal.ssi_signo));
      continue;
    }
    const int code = end_of(daemon.pid());
    if (code >= 0) return code;
  }
}

}  // namespace ovfsd::launcher
