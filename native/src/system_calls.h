// The system calls that a daemon which listens makes: its own, and those of V8, libuv, glibc and OpenDAL's tokio. Those that some
// architecture or C library has not are left out there. Hot ones first: kernels before 5.11 go through the list at every call.
#pragma once

#include <sys/syscall.h>

namespace ovfsd {

// Numbers of late system calls are the same for all architectures.
#ifndef SYS_epoll_pwait2
#define SYS_epoll_pwait2 441
#endif
#ifndef SYS_faccessat2
#define SYS_faccessat2 439
#endif
#ifndef SYS_openat2
#define SYS_openat2 437
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifndef SYS_futex_waitv
#define SYS_futex_waitv 449
#endif
#ifndef SYS_cachestat
#define SYS_cachestat 451
#endif
#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif
#ifndef SYS_map_shadow_stack
#define SYS_map_shadow_stack 453
#endif
#ifndef SYS_mseal
#define SYS_mseal 462
#endif

inline constexpr int kAllowedSystemCalls[] = {
    // the loop, its threads and their memory
    SYS_futex, SYS_epoll_pwait, SYS_epoll_ctl, SYS_read, SYS_write, SYS_epoll_pwait2, SYS_epoll_create1, SYS_ppoll,
    SYS_pselect6, SYS_eventfd2, SYS_timerfd_create, SYS_timerfd_settime, SYS_timerfd_gettime, SYS_signalfd4,
    SYS_clock_gettime, SYS_clock_getres, SYS_clock_nanosleep, SYS_nanosleep, SYS_gettimeofday, SYS_times,
    SYS_mmap, SYS_munmap, SYS_mprotect, SYS_mremap, SYS_madvise, SYS_msync, SYS_mincore, SYS_brk, SYS_mlock, SYS_mlock2,
    SYS_munlock, SYS_membarrier, SYS_memfd_create, SYS_pkey_alloc, SYS_pkey_free, SYS_pkey_mprotect,
    SYS_map_shadow_stack, SYS_mseal, SYS_futex_waitv, SYS_get_robust_list, SYS_set_robust_list, SYS_set_tid_address,
    SYS_rseq, SYS_restart_syscall, SYS_getrandom, SYS_exit, SYS_exit_group, SYS_sched_yield, SYS_sched_getaffinity,
    SYS_sched_setaffinity, SYS_sched_getparam, SYS_sched_getscheduler, SYS_getcpu, SYS_getpriority, SYS_setpriority,
    SYS_rt_sigaction, SYS_rt_sigprocmask, SYS_rt_sigreturn, SYS_rt_sigpending, SYS_rt_sigtimedwait, SYS_rt_sigsuspend,
    SYS_sigaltstack, SYS_kill, SYS_tgkill, SYS_tkill, SYS_wait4, SYS_waitid, SYS_timer_create, SYS_timer_settime,
    SYS_timer_gettime, SYS_timer_getoverrun, SYS_timer_delete, SYS_getitimer, SYS_setitimer,
    // the process
    SYS_getpid, SYS_gettid, SYS_getppid, SYS_getpgid, SYS_getsid, SYS_getuid, SYS_geteuid, SYS_getgid, SYS_getegid,
    SYS_getresuid, SYS_getresgid, SYS_getgroups, SYS_setfsuid, SYS_setfsgid, SYS_setresuid, SYS_setresgid, SYS_capget,
    SYS_capset, SYS_prctl, SYS_umask, SYS_uname, SYS_sysinfo, SYS_getrusage, SYS_prlimit64, SYS_getrlimit, SYS_setrlimit,
    // files
    SYS_pread64, SYS_pwrite64, SYS_readv, SYS_writev, SYS_preadv, SYS_pwritev, SYS_preadv2, SYS_pwritev2, SYS_openat,
    SYS_openat2, SYS_close, SYS_close_range, SYS_fstat, SYS_newfstatat, SYS_statx, SYS_statfs, SYS_fstatfs, SYS_lseek,
    SYS_getdents64, SYS_readlinkat, SYS_faccessat, SYS_faccessat2, SYS_fcntl, SYS_flock, SYS_dup, SYS_dup3, SYS_pipe2,
    SYS_sendfile, SYS_splice, SYS_copy_file_range, SYS_fsync, SYS_fdatasync, SYS_syncfs, SYS_sync_file_range,
    SYS_truncate, SYS_ftruncate, SYS_fallocate, SYS_fadvise64, SYS_readahead, SYS_cachestat, SYS_renameat2, SYS_mkdirat,
    SYS_mknodat, SYS_linkat, SYS_symlinkat, SYS_unlinkat, SYS_fchmod, SYS_fchmodat, SYS_fchmodat2, SYS_fchown,
    SYS_fchownat, SYS_utimensat, SYS_getcwd, SYS_chdir, SYS_fchdir, SYS_getxattr, SYS_lgetxattr, SYS_fgetxattr,
    SYS_setxattr, SYS_lsetxattr, SYS_fsetxattr, SYS_listxattr, SYS_llistxattr, SYS_flistxattr, SYS_removexattr,
    SYS_lremovexattr, SYS_fremovexattr, SYS_inotify_init1, SYS_inotify_add_watch,
    SYS_inotify_rm_watch,
    // the hypervisor's connection
    SYS_accept4, SYS_accept, SYS_recvmsg, SYS_sendmsg, SYS_recvfrom, SYS_sendto, SYS_shutdown, SYS_getsockname,
    SYS_getpeername, SYS_getsockopt, SYS_setsockopt, SYS_socketpair,
#ifdef __x86_64__
    // what arm64 has in another form only
    SYS_epoll_wait, SYS_epoll_create, SYS_eventfd, SYS_signalfd, SYS_poll, SYS_select, SYS_pipe, SYS_dup2, SYS_open,
    SYS_creat, SYS_stat, SYS_lstat, SYS_access, SYS_readlink, SYS_rename, SYS_mkdir, SYS_rmdir, SYS_link, SYS_unlink,
    SYS_symlink, SYS_mknod, SYS_chmod, SYS_chown, SYS_lchown, SYS_utime, SYS_utimes, SYS_futimesat, SYS_getdents,
    SYS_inotify_init, SYS_time, SYS_getpgrp, SYS_pause, SYS_alarm, SYS_arch_prctl,
#endif
    SYS_renameat,
};

/// To open files by handles, which no directory on the way to them has to allow: `inode_file_handles`.
inline constexpr int kHandleSystemCalls[] = {SYS_name_to_handle_at, SYS_open_by_handle_at};

/// To reach somebody: where there is a socket to be made at all.
inline constexpr int kSocketSystemCalls[] = {SYS_connect, SYS_bind, SYS_listen, SYS_sendmmsg, SYS_recvmmsg};

}  // namespace ovfsd
