/** Replies about files of the host: what its stat told, as it is, and how long the guest may believe it. */
import { ATTR_WORDS, checked, STATX_WORDS } from '../passthrough/host-calls.js'
import { PASSTHROUGH_NODEID_BASE } from '../passthrough/host-inode-table.js'
import type { HostInode } from '../passthrough/host-inode.js'
import type { HostMount } from '../passthrough/host-mount.js'
import type { Passthrough } from '../passthrough/passthrough.js'
import { MOUNT_POINT_EXPIRATION_MS } from '../fs/mount.js'
import { putDuration } from './encode.js'
import { ATTR_OUT_BYTES, ATTR_SUBMOUNT, ENTRY_OUT_BYTES, STATX_OUT_BYTES } from './fuse-abi.js'
import type { Request } from './request.js'

const TWO_TO_32 = 2 ** 32
/** fuse_entry_out.attr.flags. */
const ENTRY_FLAGS_WORD = 31
/** fuse_entry_out.attr. */
const ATTR_OF_ENTRY_WORD = 10

/** The words of struct fuse_attr that tell the owner. */
const UID_WORD = 17
const GID_WORD = 18

function putStat(words: Uint32Array, word: number, stat: Uint32Array, mount: HostMount): void {
  for (let index = 0; index < ATTR_WORDS; index++) words[word + index] = stat[index] as number
  if (mount.translatesIds) translateOwner(words, word, mount)
}

function translateOwner(words: Uint32Array, word: number, { options: { uids, gids } }: HostMount): void {
  if (uids !== null) words[word + UID_WORD] = uids.toGuest(words[word + UID_WORD] as number)
  if (gids !== null) words[word + GID_WORD] = gids.toGuest(words[word + GID_WORD] as number)
}

/** struct fuse_entry_out, 128 bytes, of an inode whose stat is in `stat`. The guest has looked it up by this. */
export function putHostEntry(
  pt: Passthrough,
  words: Uint32Array,
  word: number,
  inode: HostInode,
  nameTtlMs: number,
): void {
  inode.nlookup++
  words[word] = inode.index
  words[word + 1] = PASSTHROUGH_NODEID_BASE / TWO_TO_32
  // Linux keeps none for a place where it mounts by itself (fuse_iget), and takes another at the next look for another file: it would mount anew.
  words[word + 2] = inode.isSubmount ? 0 : inode.generation
  putDuration(words, word + 4, word + 8, nameTtlMs)
  putDuration(words, word + 6, word + 9, inode.mount.timeToLiveMs)
  putStat(words, word + ATTR_OF_ENTRY_WORD, pt.stat, inode.mount)
  if (inode.isSubmount) words[word + ENTRY_FLAGS_WORD] = ATTR_SUBMOUNT
}

/** The same without a nodeid: the guest has not looked it up by this. Linux takes the name alone, Windows's driver the attributes. */
export function putHostAttributes(pt: Passthrough, words: Uint32Array, word: number, mount: HostMount): void {
  putStat(words, word + ATTR_OF_ENTRY_WORD, pt.stat, mount)
}

export function replyHostEntry(pt: Passthrough, request: Request, inode: HostInode): void {
  const word = request.beginReply(ENTRY_OUT_BYTES)
  putHostEntry(pt, request.replyWords, word, inode, inode.mount.timeToLiveMs)
}

/** A mount point: looked at again soon, as a reload may take the mount away. */
export function replyHostRoot(pt: Passthrough, request: Request, { root }: HostMount): void {
  pt.lookAt(root)
  const word = request.beginReply(ENTRY_OUT_BYTES)
  putHostEntry(pt, request.replyWords, word, root, MOUNT_POINT_EXPIRATION_MS)
}

const STATX_WORD = STATX_OUT_BYTES / 4 - STATX_WORDS
/** Of struct fuse_statx. */
const STATX_UID_WORD = 5
const STATX_GID_WORD = 6
const statxWords = new Uint32Array(STATX_WORDS)

/** As `replyHostAttr`, with the birth time. */
export function replyHostStatx(pt: Passthrough, request: Request, inode: HostInode): void {
  checked(pt.calls.statx(pt.fdOf(inode), statxWords))
  const { uids, gids } = inode.mount.options
  if (uids !== null) statxWords[STATX_UID_WORD] = uids.toGuest(statxWords[STATX_UID_WORD] as number)
  if (gids !== null) statxWords[STATX_GID_WORD] = gids.toGuest(statxWords[STATX_GID_WORD] as number)
  const word = request.beginReply(STATX_OUT_BYTES)
  putDuration(request.replyWords, word, word + 2, inode.mount.timeToLiveMs)
  request.replyWords.set(statxWords, word + STATX_WORD)
}

export function replyHostAttr(pt: Passthrough, request: Request, inode: HostInode): void {
  pt.lookAt(inode)
  const word = request.beginReply(ATTR_OUT_BYTES)
  putDuration(request.replyWords, word, word + 2, inode.mount.timeToLiveMs)
  putStat(request.replyWords, word + 4, pt.stat, inode.mount)
}
