#include "sigbus_guard.h"

#include <signal.h>
#include <sys/mman.h>

#include <atomic>
#include <cerrno>
#include <mutex>

#include "refusal.h"

namespace ovfsd {
namespace {

// Eight connections with the largest memory table (509 regions) each; the handler scans them, which only a fault pays
// for.
constexpr size_t kMaxGuardedRanges = 4096;

struct GuardedRange {
  std::atomic<bool> taken{false};
  std::atomic<bool> tripped{false};
  // `begin` is written last and cleared first, so the handler never sees half an entry. 0 = not guarded.
  std::atomic<uintptr_t> begin{0};
  std::atomic<size_t> length{0};
};

// Static storage, because a signal handler may neither lock nor allocate.
GuardedRange g_ranges[kMaxGuardedRanges];
std::atomic<uint64_t> g_trip_count{0};
struct sigaction g_previous;

static_assert(std::atomic<uintptr_t>::is_always_lock_free, "the signal handler may not lock");

bool replace_with_zero_pages(uintptr_t address) {
  for (GuardedRange& range : g_ranges) {
    const uintptr_t begin = range.begin.load(std::memory_order_acquire);
    if (begin == 0 || address < begin || address - begin >= range.length.load(std::memory_order_relaxed)) continue;
    // mmap is a bare system call on Linux and so safe in a signal handler. NORESERVE: nearly all of it is never
    // touched, as the connection is dropped as soon as the trip is noticed.
    void* mapped = ::mmap(reinterpret_cast<void*>(begin), range.length.load(std::memory_order_relaxed),
                          PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
    if (mapped == MAP_FAILED) return false;
    range.tripped.store(true, std::memory_order_relaxed);
    g_trip_count.fetch_add(1, std::memory_order_relaxed);
    return true;
  }
  return false;
}

void on_sigbus(int signal_number, siginfo_t* info, void* context) {
  const int saved_errno = errno;
  // si_code > 0: raised by the kernel for an access, and si_addr is meaningful.
  const bool handled = info->si_code > 0 && replace_with_zero_pages(reinterpret_cast<uintptr_t>(info->si_addr));
  if (!handled) {
    if ((g_previous.sa_flags & SA_SIGINFO) != 0) {
      g_previous.sa_sigaction(signal_number, info, context);
    } else if (g_previous.sa_handler != SIG_DFL && g_previous.sa_handler != SIG_IGN) {
      g_previous.sa_handler(signal_number);
    } else {
      // Not ours and nobody else's: die as if we had not been here. The signal is blocked until we return.
      struct sigaction fatal = {};
      fatal.sa_handler = SIG_DFL;
      ::sigaction(signal_number, &fatal, nullptr);
      ::raise(signal_number);
    }
  }
  errno = saved_errno;
}

void install_handler() {
  struct sigaction action = {};
  action.sa_sigaction = on_sigbus;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  ::sigemptyset(&action.sa_mask);
  ::sigaction(SIGBUS, &action, &g_previous);
}

}  // namespace

SigbusGuard::SigbusGuard(void* base, size_t length_bytes) {
  static std::once_flag installed;
  std::call_once(installed, install_handler);
  for (size_t i = 0; i < kMaxGuardedRanges; ++i) {
    GuardedRange& range = g_ranges[i];
    if (range.taken.exchange(true, std::memory_order_acquire)) continue;
    range.tripped.store(false, std::memory_order_relaxed);
    range.length.store(length_bytes, std::memory_order_relaxed);
    range.begin.store(reinterpret_cast<uintptr_t>(base), std::memory_order_release);
    entry_ = i;
    return;
  }
  throw Refusal("too many guest memory regions are mapped in this process");
}

SigbusGuard::~SigbusGuard() {
  g_ranges[entry_].begin.store(0, std::memory_order_release);
  g_ranges[entry_].taken.store(false, std::memory_order_release);
}

bool SigbusGuard::tripped() const noexcept { return g_ranges[entry_].tripped.load(std::memory_order_relaxed); }

uint64_t SigbusGuard::trip_count() noexcept {
  // The handler runs on the thread that faulted, which is the one that asks; the fence keeps the compiler from moving
  // guest memory accesses across the read.
  std::atomic_signal_fence(std::memory_order_seq_cst);
  return g_trip_count.load(std::memory_order_relaxed);
}

}  // namespace ovfsd
