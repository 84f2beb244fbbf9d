// What the process may ask of the kernel once it listens: a seccomp filter over all of its threads, those that are there already too.
#pragma once

namespace ovfsd {

/// What becomes of a system call that is not allowed: the end of the process, a line in the kernel's log, or SIGSYS.
enum class Denied { kKill, kLog, kTrap };

/// Sockets that may be made: none, to processes of this host, or all.
enum class Sockets { kNone, kUnix, kAll };

/// Whether files may be opened by handles.
enum class FileHandles { kDenied, kAllowed };

/// From now on. It can't be taken back; programs can't be executed, and processes can't be made any more.
/// @throws std::system_error
void filter_system_calls(Denied denied, Sockets sockets, FileHandles handles = FileHandles::kDenied);

}  // namespace ovfsd
