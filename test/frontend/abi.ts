/**
 * FUSE's wire constants as the tests know them, from <linux/fuse.h> 7.38 (https://github.com/libfuse/libfuse,
 * include/fuse_kernel.h). On purpose not shared with `src/`: a wrong constant in the daemon meets a right one here.
 */

export const Opcode = {
  LOOKUP: 1,
  FORGET: 2,
  GETATTR: 3,
  SETATTR: 4,
  READLINK: 5,
  SYMLINK: 6,
  MKNOD: 8,
  MKDIR: 9,
  UNLINK: 10,
  RMDIR: 11,
  RENAME: 12,
  LINK: 13,
  OPEN: 14,
  READ: 15,
  WRITE: 16,
  STATFS: 17,
  RELEASE: 18,
  FSYNC: 20,
  SETXATTR: 21,
  GETXATTR: 22,
  LISTXATTR: 23,
  REMOVEXATTR: 24,
  FLUSH: 25,
  INIT: 26,
  OPENDIR: 27,
  READDIR: 28,
  RELEASEDIR: 29,
  FSYNCDIR: 30,
  GETLK: 31,
  SETLK: 32,
  SETLKW: 33,
  ACCESS: 34,
  CREATE: 35,
  INTERRUPT: 36,
  BMAP: 37,
  DESTROY: 38,
  IOCTL: 39,
  POLL: 40,
  NOTIFY_REPLY: 41,
  BATCH_FORGET: 42,
  FALLOCATE: 43,
  READDIRPLUS: 44,
  RENAME2: 45,
  LSEEK: 46,
  COPY_FILE_RANGE: 47,
  SETUPMAPPING: 48,
  REMOVEMAPPING: 49,
  SYNCFS: 50,
  TMPFILE: 51,
  STATX: 52,
} as const

/** Sizes in bytes; `front-end.test.ts` holds them against the compiler's. */
export const StructBytes = {
  in_header: 40,
  out_header: 16,
  attr: 88,
  entry_out: 128,
  attr_out: 104,
  open_out: 16,
  write_out: 8,
  statfs_out: 80,
  init_in: 64,
  init_out: 64,
  getxattr_out: 8,
  lseek_out: 8,
  getattr_in: 16,
  setattr_in: 88,
  mknod_in: 16,
  mkdir_in: 8,
  rename_in: 8,
  rename2_in: 16,
  link_in: 8,
  open_in: 8,
  create_in: 16,
  read_in: 40,
  write_in: 40,
  release_in: 24,
  flush_in: 24,
  fsync_in: 16,
  getxattr_in: 8,
  access_in: 8,
  fallocate_in: 32,
  lseek_in: 24,
  copy_file_range_in: 56,
  forget_in: 8,
  forget_one: 16,
  batch_forget_in: 8,
  interrupt_in: 8,
  syncfs_in: 8,
  dirent: 24,
  direntplus: 152,
} as const

export const ROOT_NODEID = 1
export const KERNEL_MAJOR = 7
export const KERNEL_MINOR = 38
export const PAGE_BYTES = 4096
/** FUSE_MAX_MAX_PAGES: no request has more pages of data. */
export const MAX_PAGES = 256

/** fuse_setattr_in.valid. */
export const SetattrValid = {
  MODE: 1 << 0,
  UID: 1 << 1,
  GID: 1 << 2,
  SIZE: 1 << 3,
  ATIME: 1 << 4,
  MTIME: 1 << 5,
  FH: 1 << 6,
  ATIME_NOW: 1 << 7,
  MTIME_NOW: 1 << 8,
  LOCKOWNER: 1 << 9,
  CTIME: 1 << 10,
  KILL_SUIDGID: 1 << 11,
} as const

/** fuse_open_out.open_flags. */
export const OpenFlags = {
  DIRECT_IO: 1 << 0,
  KEEP_CACHE: 1 << 1,
  NONSEEKABLE: 1 << 2,
  CACHE_DIR: 1 << 3,
  STREAM: 1 << 4,
  NOFLUSH: 1 << 5,
  PARALLEL_DIRECT_WRITES: 1 << 6,
} as const

/** fuse_init_in/out.flags; bits from 32 on live in flags2. */
export const InitFlags = {
  ASYNC_READ: 1n << 0n,
  POSIX_LOCKS: 1n << 1n,
  ATOMIC_O_TRUNC: 1n << 3n,
  EXPORT_SUPPORT: 1n << 4n,
  BIG_WRITES: 1n << 5n,
  DONT_MASK: 1n << 6n,
  SPLICE_WRITE: 1n << 7n,
  SPLICE_MOVE: 1n << 8n,
  SPLICE_READ: 1n << 9n,
  FLOCK_LOCKS: 1n << 10n,
  HAS_IOCTL_DIR: 1n << 11n,
  AUTO_INVAL_DATA: 1n << 12n,
  DO_READDIRPLUS: 1n << 13n,
  READDIRPLUS_AUTO: 1n << 14n,
  ASYNC_DIO: 1n << 15n,
  WRITEBACK_CACHE: 1n << 16n,
  NO_OPEN_SUPPORT: 1n << 17n,
  PARALLEL_DIROPS: 1n << 18n,
  HANDLE_KILLPRIV: 1n << 19n,
  POSIX_ACL: 1n << 20n,
  ABORT_ERROR: 1n << 21n,
  MAX_PAGES: 1n << 22n,
  CACHE_SYMLINKS: 1n << 23n,
  NO_OPENDIR_SUPPORT: 1n << 24n,
  EXPLICIT_INVAL_DATA: 1n << 25n,
  MAP_ALIGNMENT: 1n << 26n,
  SUBMOUNTS: 1n << 27n,
  HANDLE_KILLPRIV_V2: 1n << 28n,
  SETXATTR_EXT: 1n << 29n,
  INIT_EXT: 1n << 30n,
  SECURITY_CTX: 1n << 32n,
  HAS_INODE_DAX: 1n << 33n,
  CREATE_SUPP_GROUP: 1n << 34n,
  HAS_EXPIRE_ONLY: 1n << 35n,
  DIRECT_IO_ALLOW_MMAP: 1n << 36n,
  ALLOW_IDMAP: 1n << 40n,
  OVER_IO_URING: 1n << 41n,
  REQUEST_TIMEOUT: 1n << 42n,
} as const

/** What Linux 6.1's virtiofs offers in FUSE_INIT (fs/fuse/inode.c, fuse_send_init), DAX left out. */
export const KERNEL_INIT_FLAGS =
  InitFlags.ASYNC_READ |
  InitFlags.POSIX_LOCKS |
  InitFlags.ATOMIC_O_TRUNC |
  InitFlags.EXPORT_SUPPORT |
  InitFlags.BIG_WRITES |
  InitFlags.DONT_MASK |
  InitFlags.SPLICE_WRITE |
  InitFlags.SPLICE_MOVE |
  InitFlags.SPLICE_READ |
  InitFlags.FLOCK_LOCKS |
  InitFlags.HAS_IOCTL_DIR |
  InitFlags.AUTO_INVAL_DATA |
  InitFlags.DO_READDIRPLUS |
  InitFlags.READDIRPLUS_AUTO |
  InitFlags.ASYNC_DIO |
  InitFlags.WRITEBACK_CACHE |
  InitFlags.NO_OPEN_SUPPORT |
  InitFlags.PARALLEL_DIROPS |
  InitFlags.HANDLE_KILLPRIV |
  InitFlags.POSIX_ACL |
  InitFlags.ABORT_ERROR |
  InitFlags.MAX_PAGES |
  InitFlags.CACHE_SYMLINKS |
  InitFlags.NO_OPENDIR_SUPPORT |
  InitFlags.EXPLICIT_INVAL_DATA |
  InitFlags.SUBMOUNTS |
  InitFlags.HANDLE_KILLPRIV_V2 |
  InitFlags.SETXATTR_EXT |
  InitFlags.INIT_EXT |
  InitFlags.SECURITY_CTX |
  InitFlags.HAS_EXPIRE_ONLY

export const ATTR_SUBMOUNT = 1 << 0
export const FOPEN_DIRECT_IO = 1 << 0
export const FOPEN_CACHE_DIR = 1 << 3
export const GETATTR_FH = 1 << 0
export const FSYNC_FDATASYNC = 1 << 0
export const WRITE_CACHE = 1 << 0

/** renameat2(2). */
export const RENAME_NOREPLACE = 1 << 0
export const RENAME_EXCHANGE = 1 << 1
export const RENAME_WHITEOUT = 1 << 2

/** lseek(2). */
export const SEEK_SET = 0
export const SEEK_CUR = 1
export const SEEK_END = 2
export const SEEK_DATA = 3
export const SEEK_HOLE = 4

/** open(2) on x86-64 and arm64 alike. */
export const O_RDONLY = 0
export const O_WRONLY = 1
export const O_RDWR = 2
export const O_ACCMODE = 3
export const O_CREAT = 0o100
export const O_EXCL = 0o200
export const O_NOCTTY = 0o400
export const O_TRUNC = 0o1000
export const O_APPEND = 0o2000
export const O_NONBLOCK = 0o4000
export const O_DSYNC = 0o10000
export const O_SYNC = 0o4010000

export const S_IFMT = 0o170000
export const S_IFSOCK = 0o140000
export const S_IFLNK = 0o120000
export const S_IFREG = 0o100000
export const S_IFBLK = 0o060000
export const S_IFDIR = 0o040000
export const S_IFCHR = 0o020000
export const S_IFIFO = 0o010000

/** dirent.type. */
export const DT_DIR = 4
export const DT_REG = 8
export const DT_LNK = 10
