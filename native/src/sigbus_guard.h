// Surviving a guest memory file that shrinks.
//
// Guest memory is a file that the front-end owns. If it truncates the file after we have mapped it, the next access to
// a lost page raises SIGBUS, which by default ends the process: a hostile front-end could kill the daemon at will, and
// no check before the access can help, because the file may shrink between the check and the access. So the ranges that
// hold guest memory are registered here, and a process-wide SIGBUS handler puts zero pages over the WHOLE range on the
// first fault (one mmap per range, so a hostile front-end cannot use up the kernel's map count) and marks it tripped.
// Whoever reads or writes guest memory looks at `trip_count()` afterwards and throws the affected data away. Every
// other SIGBUS goes to the handler that was there before.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ovfsd {

/// Registers an address range for as long as the object lives.
class SigbusGuard {
 public:
  /// Installs the handler at the first call.
  /// @throws Refusal when `kMaxGuardedRanges` ranges are registered in this process.
  SigbusGuard(void* base, size_t length_bytes);
  ~SigbusGuard();
  SigbusGuard(const SigbusGuard&) = delete;
  SigbusGuard& operator=(const SigbusGuard&) = delete;

  /// True once an access to the range has faulted: from then on it is zero pages and no longer the guest's.
  bool tripped() const noexcept;

  /// Ranges tripped so far in this process. A change between two reads says that what was copied in between is suspect.
  static uint64_t trip_count() noexcept;

 private:
  size_t entry_;
};

}  // namespace ovfsd
