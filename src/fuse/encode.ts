/** Encoders of the reply structs that more than one operation has. Each writes at a word index and skips what is zero. */
import type { StorageUsage } from '../backends/backend.js'
import { noteTold } from '../fs/guest-view.js'
import type { Inode } from '../fs/inode.js'
import { MOUNT_POINT_EXPIRATION_MS } from '../fs/mount.js'
import { NAME_MAX_BYTES } from '../fs/names.js'
import { DT_DIR, DT_REG, S_IFDIR, S_IFREG } from './fuse-abi.js'

const TWO_TO_32 = 2 ** 32
/** st_blocks counts in these, whatever the block size. */
const STAT_BLOCK_BYTES = 512
/** st_blksize: programs size their buffers by it; what a kernel reads ahead by default. */
const PREFERRED_IO_BYTES = 128 << 10
/** A time to live for what never expires: a year, in seconds. */
const FOREVER_SECONDS = 31_536_000
const MILLISECONDS_PER_SECOND = 1000
const NANOSECONDS_PER_MILLISECOND = 1e6

export function putU64(words: Uint32Array, word: number, value: number): void {
  words[word] = value >>> 0
  words[word + 1] = Math.floor(value / TWO_TO_32)
}

/** How long the guest may keep what it is told of the inode now: no longer than we would, if the mount does not say otherwise. */
export function timeToLiveMs(inode: Inode, nowMs: number): number {
  if (inode.isFixed) return MOUNT_POINT_EXPIRATION_MS
  const { guestCache, expirationMs } = inode.mount.options
  if (guestCache === 'none') return 0
  if (guestCache === 'always') return Infinity
  const leftMs = inode.freshUntilMs - nowMs
  if (leftMs > 0) return leftMs
  // The guest itself is changing it: nobody else's word counts.
  return inode.isFresh(nowMs) ? expirationMs : 0
}

/** Seconds at `secondsWord` (64 bits), nanoseconds at `nanosecondsWord`. */
export function putDuration(
  words: Uint32Array,
  secondsWord: number,
  nanosecondsWord: number,
  ms: number,
): void {
  if (ms === Infinity) {
    words[secondsWord] = FOREVER_SECONDS
    return
  }
  const seconds = Math.floor(ms / MILLISECONDS_PER_SECOND)
  words[secondsWord] = Math.min(seconds, FOREVER_SECONDS)
  words[nanosecondsWord] = (ms - seconds * MILLISECONDS_PER_SECOND) * NANOSECONDS_PER_MILLISECOND
}

/** struct fuse_attr, 88 bytes. */
export function putAttr(words: Uint32Array, word: number, inode: Inode): void {
  const { sizeBytes, mtime, ctime, isDirectory, uid, gid } = inode
  noteTold(inode)
  // The inode number: nodeids are reused, so the generation makes it one file's for the daemon's life.
  words[word] = inode.nodeid
  words[word + 1] = inode.generation
  putU64(words, word + 2, sizeBytes)
  putU64(words, word + 4, Math.ceil(sizeBytes / STAT_BLOCK_BYTES))
  putU64(words, word + 6, mtime.seconds)
  putU64(words, word + 8, mtime.seconds)
  putU64(words, word + 10, ctime.seconds)
  words[word + 12] = mtime.nanoseconds
  words[word + 13] = mtime.nanoseconds
  words[word + 14] = ctime.nanoseconds
  words[word + 15] = (isDirectory ? S_IFDIR : S_IFREG) | inode.mode
  words[word + 16] = inode.isUnlinked ? 0 : isDirectory ? 2 : 1
  words[word + 17] = uid
  words[word + 18] = gid
  words[word + 20] = PREFERRED_IO_BYTES
}

/** struct fuse_attr_out, 104 bytes. */
export function putAttrOut(words: Uint32Array, word: number, inode: Inode, nowMs: number): void {
  putDuration(words, word, word + 2, timeToLiveMs(inode, nowMs))
  putAttr(words, word + 4, inode)
}

/** struct fuse_entry_out, 128 bytes. The inode has its nodeid. */
export function putEntryOut(words: Uint32Array, word: number, inode: Inode, nowMs: number): void {
  const ttlMs = timeToLiveMs(inode, nowMs)
  words[word] = inode.nodeid
  words[word + 2] = inode.generation
  putDuration(words, word + 4, word + 8, ttlMs)
  putDuration(words, word + 6, word + 9, ttlMs)
  putAttr(words, word + 10, inode)
}

/** A negative entry: nodeid 0, with the time for which the name is known to be missing. */
export function putNegativeEntry(words: Uint32Array, word: number, ttlMs: number): void {
  putDuration(words, word + 4, word + 8, ttlMs)
}

/** struct fuse_statfs_out, 80 bytes. */
export function putStatfs(words: Uint32Array, word: number, usage: StorageUsage): void {
  putU64(words, word, usage.totalBlocks)
  putU64(words, word + 2, usage.freeBlocks)
  putU64(words, word + 4, usage.availableBlocks)
  putU64(words, word + 6, usage.totalFiles)
  putU64(words, word + 8, usage.freeFiles)
  words[word + 10] = usage.blockSizeBytes
  words[word + 11] = NAME_MAX_BYTES
  words[word + 12] = usage.blockSizeBytes
}

export function direntType(isDirectory: boolean): number {
  return isDirectory ? DT_DIR : DT_REG
}
