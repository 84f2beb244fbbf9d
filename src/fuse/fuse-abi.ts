/** Numbers of the FUSE protocol, from <linux/fuse.h> (UAPI, protocol 7.38). Offsets are in bytes from a struct's start. */

export const FUSE_KERNEL_VERSION = 7
/** The minor we speak; an older kernel's is taken where it is lower. */
export const FUSE_KERNEL_MINOR_VERSION = 38
/** Linux 4.20, the first with MAX_PAGES; virtio-fs itself came with 7.31. */
export const FUSE_MIN_MINOR_VERSION = 27

export const IN_HEADER_BYTES = 40
export const OUT_HEADER_BYTES = 16
export const ENTRY_OUT_BYTES = 128
export const ATTR_OUT_BYTES = 104
export const OPEN_OUT_BYTES = 16
export const INIT_OUT_BYTES = 64
export const WRITE_OUT_BYTES = 8
export const GETXATTR_OUT_BYTES = 8
export const LSEEK_OUT_BYTES = 8
/** With struct fuse_statx, which begins at byte 32. */
export const STATX_OUT_BYTES = 288
export const COPY_FILE_RANGE_OUT_BYTES = 8
export const STATFS_OUT_BYTES = 80
export const DIRENT_HEADER_BYTES = 24

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
  ACCESS: 34,
  CREATE: 35,
  INTERRUPT: 36,
  DESTROY: 38,
  BATCH_FORGET: 42,
  FALLOCATE: 43,
  READDIRPLUS: 44,
  RENAME2: 45,
  LSEEK: 46,
  COPY_FILE_RANGE: 47,
  SYNCFS: 50,
  TMPFILE: 51,
  STATX: 52,
  COPY_FILE_RANGE_64: 53,
} as const

/** Opcodes are below this; a table is as long. */
export const OPCODE_LIMIT = 64

export const InitFlags = {
  ASYNC_READ: 1 << 0,
  ATOMIC_O_TRUNC: 1 << 3,
  BIG_WRITES: 1 << 5,
  DONT_MASK: 1 << 6,
  AUTO_INVAL_DATA: 1 << 12,
  DO_READDIRPLUS: 1 << 13,
  READDIRPLUS_AUTO: 1 << 14,
  ASYNC_DIO: 1 << 15,
  WRITEBACK_CACHE: 1 << 16,
  PARALLEL_DIROPS: 1 << 18,
  POSIX_ACL: 1 << 20,
  MAX_PAGES: 1 << 22,
  SUBMOUNTS: 1 << 27,
  HANDLE_KILLPRIV_V2: 1 << 28,
  SETXATTR_EXT: 1 << 29,
  INIT_EXT: 1 << 30,
} as const

/** Bits 32 to 63 of the same. */
export const InitFlags2 = {
  SECURITY_CTX: 1 << 0,
  CREATE_SUPP_GROUP: 1 << 2,
  DIRECT_IO_ALLOW_MMAP: 1 << 4,
} as const

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
  KILL_SUIDGID: 1 << 11,
} as const

/** fuse_open_in.open_flags, fuse_create_in.open_flags: O_TRUNC takes the set-user-ID and set-group-ID bits away. */
export const OPEN_KILL_SUIDGID = 1 << 0

/** fuse_setxattr_in.setxattr_flags: an access list takes the set-group-ID bit away. */
export const SETXATTR_ACL_KILL_SGID = 1 << 0

/** fuse_ext_header.type: struct fuse_supp_groups. Below it is the number of labels that struct fuse_secctx tell. */
export const EXT_GROUPS = 32

/** fuse_attr.flags. */
export const ATTR_SUBMOUNT = 1 << 0

export const FOPEN_DIRECT_IO = 1 << 0
export const FOPEN_KEEP_CACHE = 1 << 1
export const FOPEN_CACHE_DIR = 1 << 3

/** File type bits of st_mode, and as dirent types (the same shifted by 12). */
export const S_IFMT = 0o170000
export const S_IFREG = 0o100000
export const S_IFDIR = 0o040000
export const DT_REG = 8
export const DT_DIR = 4
/** For entries without an inode: <linux/fuse.h> leaves it to the server, libfuse uses this. */
export const FUSE_UNKNOWN_INO = 0xffffffff
