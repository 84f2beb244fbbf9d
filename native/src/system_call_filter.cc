#include "system_call_filter.h"

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <system_error>
#include <vector>

#include "system_calls.h"

#ifndef SECCOMP_RET_KILL_PROCESS
#define SECCOMP_RET_KILL_PROCESS 0x80000000U
#endif

namespace ovfsd {
namespace {

#if defined(__x86_64__)
constexpr uint32_t kArchitecture = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr uint32_t kArchitecture = AUDIT_ARCH_AARCH64;
#else
constexpr uint32_t kArchitecture = 0;
#endif

/// Of the x32 ABI, whose other numbers nobody here has.
constexpr uint32_t kX32Bit = 0x4000'0000;
constexpr uint32_t kNumber = offsetof(seccomp_data, nr);
constexpr uint32_t kArch = offsetof(seccomp_data, arch);
constexpr int kClone3 = 435;

/// The lower half of an argument; both architectures are little-endian.
constexpr uint32_t argument(int index) {
  return static_cast<uint32_t>(offsetof(seccomp_data, args) + sizeof(uint64_t) * index);
}

class Program {
 public:
  explicit Program(uint32_t denied) : denied_(denied) {}

  void load(uint32_t offset) { add(BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offset)); }
  void answer(uint32_t action) { add(BPF_STMT(BPF_RET | BPF_K, action)); }
  void answer_denied() { answer(denied_); }

  void allow(int number) { answer_if(BPF_JEQ, static_cast<uint32_t>(number), SECCOMP_RET_ALLOW); }
  void answer_if(uint16_t comparison, uint32_t value, uint32_t action) {
    add(BPF_JUMP(static_cast<uint16_t>(BPF_JMP | comparison | BPF_K), value, 0, 1));
    answer(action);
  }

  void deny_unless(uint16_t comparison, uint32_t value) {
    add(BPF_JUMP(static_cast<uint16_t>(BPF_JMP | comparison | BPF_K), value, 1, 0));
    answer(SECCOMP_RET_KILL_PROCESS);
  }

  /// Of one system call only if an argument compares so with a value.
  void allow_if(int number, int index, uint16_t comparison, uint32_t value) {
    add(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<uint32_t>(number), 0, 4));
    load(argument(index));
    answer_if(comparison, value, SECCOMP_RET_ALLOW);
    answer_denied();
  }
  void allow_unless(int number, int index, uint32_t value) {
    add(BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<uint32_t>(number), 0, 4));
    load(argument(index));
    answer_if(BPF_JEQ, value, denied_);
    answer(SECCOMP_RET_ALLOW);
  }

  sock_fprog finished() { return {static_cast<unsigned short>(code_.size()), code_.data()}; }

 private:
  void add(sock_filter instruction) { code_.push_back(instruction); }

  uint32_t denied_;
  std::vector<sock_filter> code_;
};

uint32_t action_of(Denied denied) {
  switch (denied) {
    case Denied::kLog:
      return SECCOMP_RET_LOG;
    case Denied::kTrap:
      return SECCOMP_RET_TRAP;
    case Denied::kKill:
      break;
  }
  return SECCOMP_RET_KILL_PROCESS;
}

Program program_of(Denied denied, Sockets sockets, FileHandles handles) {
  Program program(action_of(denied));
  program.load(kArch);
  program.deny_unless(BPF_JEQ, kArchitecture);
  program.load(kNumber);
#ifdef __x86_64__
  program.answer_if(BPF_JGE, kX32Bit, SECCOMP_RET_KILL_PROCESS);
#endif
  for (const int number : kAllowedSystemCalls) program.allow(number);
  if (sockets != Sockets::kNone) {
    for (const int number : kSocketSystemCalls) program.allow(number);
  }
  if (handles == FileHandles::kAllowed) {
    for (const int number : kHandleSystemCalls) program.allow(number);
  }
  // glibc takes the older call then, whose flags can be seen: threads, and no processes.
  program.answer_if(BPF_JEQ, kClone3, SECCOMP_RET_ERRNO | ENOSYS);
  program.allow_if(SYS_clone, 0, BPF_JSET, CLONE_THREAD);
  // A thread that makes files in a guest's user's name has an umask of its own.
  program.allow_if(SYS_unshare, 0, BPF_JEQ, CLONE_FS);
  // Typing into the terminal of whoever has started the daemon.
  program.allow_unless(SYS_ioctl, 1, TIOCSTI);
  if (sockets == Sockets::kAll) program.allow(SYS_socket);
  if (sockets == Sockets::kUnix) program.allow_if(SYS_socket, 0, BPF_JEQ, AF_UNIX);
  program.answer_denied();
  return program;
}

}  // namespace

void filter_system_calls(Denied denied, Sockets sockets, FileHandles handles) {
  if (kArchitecture == 0) throw std::system_error(ENOSYS, std::generic_category(), "seccomp on this architecture");
  Program program = program_of(denied, sockets, handles);
  const sock_fprog filter = program.finished();
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) {
    throw std::system_error(errno, std::generic_category(), "PR_SET_NO_NEW_PRIVS");
  }
  // All threads: the kernel gives back the id of one that has another filter.
  const long result = ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &filter);
  if (result != 0) throw std::system_error(result < 0 ? errno : EBUSY, std::generic_category(), "seccomp");
}

}  // namespace ovfsd
