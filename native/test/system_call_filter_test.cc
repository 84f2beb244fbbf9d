// Each system call that the filter denies ends the process that tries it; what a daemon does goes on.
#include "../src/system_call_filter.h"

#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <functional>
#include <thread>

#include "check.h"

namespace {

using ovfsd::Denied;
using ovfsd::Sockets;

/// How a process ends that puts the filter over itself and then does this; -signal if one ended it.
int end_of(Denied denied, Sockets sockets, const std::function<int()>& work) {
  const pid_t child = ::fork();
  if (child == 0) {
    try {
      ovfsd::filter_system_calls(denied, sockets);
    } catch (...) {
      ::_exit(99);
    }
    ::_exit(work());
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

int end_of_call(long number, long first = 0, Denied denied = Denied::kKill, Sockets sockets = Sockets::kNone) {
  return end_of(denied, sockets, [=] {
    ::syscall(number, first, 0, 0, 0, 0, 0);
    return 0;
  });
}

}  // namespace

TEST("system calls: filter denies what no daemon does") {
  for (const long number : {long{SYS_execve}, long{SYS_execveat}, long{SYS_ptrace}, long{SYS_mount}, long{SYS_umount2},
                            long{SYS_pivot_root}, long{SYS_chroot}, long{SYS_setns}, long{SYS_bpf}, long{SYS_userfaultfd},
                            long{SYS_perf_event_open}, long{SYS_keyctl}, long{SYS_add_key}, long{SYS_init_module},
                            long{SYS_kexec_load}, long{SYS_reboot}, long{SYS_swapon}, long{SYS_open_by_handle_at},
                            long{SYS_name_to_handle_at}, long{SYS_process_vm_readv}, long{SYS_process_vm_writev},
                            long{SYS_quotactl}, long{SYS_acct}, long{SYS_sethostname}, long{SYS_personality},
                            425L /* io_uring_setup */, 428L /* open_tree */, 429L /* move_mount */, 430L /* fsopen */,
                            438L /* pidfd_getfd */, 442L /* mount_setattr */}) {
    if (end_of_call(number) != -SIGSYS) std::fprintf(stderr, "system call %ld\n", number);
    CHECK_EQ(end_of_call(number), -SIGSYS);
  }
}

TEST("system calls: filter lets files be opened by handles where that is asked for") {
  const pid_t child = ::fork();
  if (child == 0) {
    ovfsd::filter_system_calls(Denied::kKill, Sockets::kNone, ovfsd::FileHandles::kAllowed);
    ::syscall(SYS_open_by_handle_at, -1, nullptr, 0);
    ::_exit(5);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  CHECK(WIFEXITED(status));
  CHECK_EQ(WEXITSTATUS(status), 5);
}

TEST("system calls: filter denies processes and namespaces") {
  CHECK_EQ(end_of_call(SYS_clone, SIGCHLD), -SIGSYS);
  CHECK_EQ(end_of_call(SYS_unshare, CLONE_NEWUSER), -SIGSYS);
  CHECK_EQ(end_of_call(SYS_unshare, CLONE_FS | CLONE_NEWNS), -SIGSYS);
  CHECK_EQ(end_of_call(SYS_unshare, CLONE_FS), 0);
}

TEST("system calls: filter allows the sockets that are needed") {
  CHECK_EQ(end_of_call(SYS_socket, AF_UNIX, Denied::kKill, Sockets::kNone), -SIGSYS);
  CHECK_EQ(end_of_call(SYS_connect, -1, Denied::kKill, Sockets::kNone), -SIGSYS);
  CHECK_EQ(end_of_call(SYS_socket, AF_UNIX, Denied::kKill, Sockets::kUnix), 0);
  CHECK_EQ(end_of_call(SYS_socket, AF_INET, Denied::kKill, Sockets::kUnix), -SIGSYS);
  CHECK_EQ(end_of_call(SYS_connect, -1, Denied::kKill, Sockets::kUnix), 0);
  CHECK_EQ(end_of_call(SYS_socket, AF_INET, Denied::kKill, Sockets::kAll), 0);
}

TEST("system calls: filter logs or traps where asked") {
  CHECK_EQ(end_of_call(SYS_ptrace, PTRACE_PEEKDATA, Denied::kLog), 0);
  CHECK_EQ(end_of(Denied::kTrap, Sockets::kNone,
                  [] {
                    ::signal(SIGSYS, [](int) { ::_exit(7); });
                    ::syscall(SYS_ptrace, PTRACE_PEEKDATA, 0, 0, 0);
                    return 0;
                  }),
           7);
}

TEST("system calls: filter is over threads that were there before") {
  CHECK_EQ(end_of(Denied::kKill, Sockets::kNone, [] { return 0; }), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    std::atomic<bool> is_on = false;
    std::thread before([&] {
      while (!is_on) std::this_thread::yield();
      ::syscall(SYS_ptrace, PTRACE_PEEKDATA, 0, 0, 0);
    });
    ovfsd::filter_system_calls(Denied::kKill, Sockets::kNone);
    is_on = true;
    before.join();
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  CHECK(WIFSIGNALED(status));
  CHECK_EQ(WTERMSIG(status), SIGSYS);
}

TEST("system calls: filter lets threads begin") {
  CHECK_EQ(end_of(Denied::kKill, Sockets::kNone,
                  [] {
                    int answer = 0;
                    std::thread([&] { answer = 5; }).join();
                    return answer;
                  }),
           5);
}
