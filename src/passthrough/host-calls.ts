/** The addon's part for directories of the host that a guest sees as they are: `native/src/host_tree.h` and `host_tree_wrap.cc`. */
import { loadAddon } from '../backends/native-addon.js'
import { HostError } from '../fs/fs-error.js'

/** What a stat writes: struct fuse_attr (22 words), then st_dev and the mount's id (2 words each). */
export const ATTR_WORDS = 22
export const STAT_WORDS = ATTR_WORDS + 4
/** struct fuse_statx. */
export const STATX_WORDS = 64
/** struct fuse_kstatfs. */
export const STATFS_WORDS = 20

/** Of `handleOf`. */
export const HANDLE_BYTES_MAX = 4 + 128

/** Nanoseconds of `setTimes` that stand for something else. */
export const TIME_OMIT = -1
export const TIME_NOW = -2
/** An id of `setOwner` that stays as it is. */
export const ID_OMIT = 0xffffffff

/** What `run` does in a thread. */
export const HostOperation = {
  SYNC: 0,
  SYNC_DATA: 1,
  /** fd: of a directory. */
  SYNC_FILE_SYSTEM: 2,
  /** a: size. */
  TRUNCATE: 3,
  /** The same where fd is an O_PATH one. */
  TRUNCATE_BY_PATH: 4,
  /** a: offset, b: length, c: mode. */
  ALLOCATE: 5,
  /** From fd at a to otherFd at b, c bytes. */
  COPY: 6,
  /** What close(2) of the file tells. */
  FLUSH: 7,
} as const

/** The caller is in the directory's group by a supplementary one: a set-group-ID bit that it asks for stays. */
export const IN_GROUP = 1 << 16

/** Added to an operation that changes a file: its set-user-ID and set-group-ID bits go, whoever the daemon is. */
export const KILLING_IDS = 1 << 8

/**
 * Results are 0 or more, or an errno below 0. A name is `length` bytes of `bytes` from `start` on; what is no name of one entry
 * is EINVAL or ENAMETOOLONG. `directory` may be an O_PATH descriptor everywhere. `how`: the umask, and IN_GROUP.
 */
export interface HostCalls {
  /** `path`: UTF-8. Returns an O_PATH descriptor. */
  openRoot(path: Uint8Array): number
  close(fd: number): number
  /** Of the addon: where `statName`, `openName`, `stat` and `statParent` leave what they have looked at, STAT_WORDS words. */
  readonly lastStat: Uint32Array
  statName(directory: number, bytes: Uint8Array, start: number, length: number): number
  /** Returns an O_PATH descriptor of the entry itself, be it a symbolic link. */
  openName(directory: number, bytes: Uint8Array, start: number, length: number): number
  stat(fd: number): number
  /** Its birth time too. `statx`: STATX_WORDS. */
  statx(fd: number, statx: Uint32Array): number
  /** Of the directory that holds the directory `fd`, wherever on the host that is. */
  statParent(fd: number): number
  /** 0: the file system never tells an error when a file is closed. */
  tellsAtClose(fd: number): number
  statfs(fd: number, statfs: Uint32Array): number
  /** Only for what is known to be a regular file. `killIds`: as KILLING_IDS, where O_TRUNC changes it. Returns a descriptor. */
  reopen(fd: number, flags: number, killIds: 0 | 1): number
  /** An O_PATH descriptor of what `fd` is of. */
  reopenPath(fd: number): number
  openDirectory(fd: number): number
  /** What opens the file of `fd` again, into the first bytes of HANDLE_BYTES_MAX. Returns how many. */
  handleOf(fd: number, target: Uint8Array): number
  /** `mount`: a descriptor of the same file system that can be read by. Returns an O_PATH descriptor. */
  openHandle(mount: number, handle: Uint8Array): number
  /** EEXIST where the name is taken. Returns a descriptor that is open by `flags`. */
  create(
    directory: number,
    bytes: Uint8Array,
    start: number,
    length: number,
    flags: number,
    mode: number,
    uid: number,
    gid: number,
    how: number,
  ): number
  createUnnamed(directory: number, flags: number, mode: number, uid: number, gid: number, how: number): number
  makeDirectory(
    directory: number,
    bytes: Uint8Array,
    start: number,
    length: number,
    mode: number,
    uid: number,
    gid: number,
    how: number,
  ): number
  /** `rdev` as in fuse_mknod_in. */
  makeNode(
    directory: number,
    bytes: Uint8Array,
    start: number,
    length: number,
    mode: number,
    rdev: number,
    uid: number,
    gid: number,
    how: number,
  ): number
  makeSymlink(
    directory: number,
    bytes: Uint8Array,
    start: number,
    length: number,
    target: Uint8Array,
    targetStart: number,
    targetLength: number,
    uid: number,
    gid: number,
    how: number,
  ): number
  link(fd: number, directory: number, bytes: Uint8Array, start: number, length: number): number
  unlink(directory: number, bytes: Uint8Array, start: number, length: number, isDirectory: 0 | 1): number
  rename(
    directory: number,
    bytes: Uint8Array,
    start: number,
    length: number,
    newDirectory: number,
    newBytes: Uint8Array,
    newStart: number,
    newLength: number,
    flags: number,
  ): number
  /** Returns the target's length. */
  readLink(fd: number, target: Uint8Array): number
  setMode(fd: number, mode: number): number
  setOwner(fd: number, uid: number, gid: number): number
  setTimes(fd: number, atime: number, atimeNs: number, mtime: number, mtimeNs: number): number
  /** `size` 0 asks for the length. */
  getXattr(
    fd: number,
    bytes: Uint8Array,
    start: number,
    length: number,
    value: Uint8Array,
    size: number,
  ): number
  listXattr(fd: number, names: Uint8Array, size: number): number
  /** `flags`: as setxattr(2), and KILLING_IDS for an access list that takes the set-group-ID bit away. */
  setXattr(
    fd: number,
    bytes: Uint8Array,
    start: number,
    length: number,
    value: Uint8Array,
    valueStart: number,
    valueLength: number,
    flags: number,
  ): number
  removeXattr(fd: number, bytes: Uint8Array, start: number, length: number): number
  /** Entries from an offset on, as struct fuse_dirent. Returns bytes; 0 at the end. */
  readDirectory(fd: number, offsetLow: number, offsetHigh: number, target: Uint8Array, size: number): number
  seek(fd: number, offset: number, whence: number): number
  /** Never rejects. The descriptors stay open until it is settled. */
  run(operation: number, fd: number, otherFd: number, a: number, b: number, c: number): Promise<number>
}

/** The calls; the addon is loaded at the first use. */
export function hostCalls(): HostCalls {
  return (loadAddon() as { readonly host: HostCalls }).host
}

/** The result of a call, unless it is an errno. */
export function checked(result: number): number {
  if (result < 0) throw new HostError(-result)
  return result
}
