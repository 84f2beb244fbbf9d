/**
 * READDIR and READDIRPLUS on pass-through mounts. Offsets are the host's, all 64 bits of them; behind the host's last entry come
 * the mounts that lie in the directory and have no entry there, at offsets that no file system has use for.
 */
import { FsError, HostError } from '../fs/fs-error.js'
import type { Inode } from '../fs/inode.js'
import { addedNames, type HostDirectory } from '../passthrough/directories.js'
import { checked } from '../passthrough/host-calls.js'
import { S_IFDIR, type HostInode } from '../passthrough/host-inode.js'
import { isDots, lookup, type NameBytes } from '../passthrough/names.js'
import type { Passthrough } from '../passthrough/passthrough.js'
import { DIRENT_HEADER_BYTES, DT_DIR, ENTRY_OUT_BYTES, FUSE_UNKNOWN_INO } from './fuse-abi.js'
import type { HandlerContext } from './handlers.js'
import { putHostAttributes, putHostEntry } from './passthrough-entry.js'
import type { Request } from './request.js'

const READ_IN_BYTES = 40
const LARGEST_REPLY_BYTES = 1 << 20
const ALIGNMENT_BYTES = 8
/** The upper word of offsets behind the host's: below 2^63, and with all bits set that a hash of a name has by chance only. */
const ADDED_OFFSET_HIGH = 0x7ffffffe
/**
 * Of a READDIRPLUS reply, the part that names alone may take: with their attributes they are some four times as large. What does
 * not fit is listed once more by the next one.
 */
const PLUS_SHARE = 5
/** Fields of struct fuse_dirent. */
const OFFSET_BYTE = 8
const NAME_LENGTH_BYTE = 16
/** A name of the greatest length, as the host lists it. */
const LARGEST_ENTRY_BYTES = 384

/** fuse_entry_out.attr.mode. */
const MODE_OF_ENTRY_WORD = 25
/** Of a mount point that is not looked up. */
const ADDED_MODE = 0o555

/** What the host lists, and the reply that is made of it. A reply is built and pushed without a pause. */
const listing = Buffer.alloc(LARGEST_REPLY_BYTES)
const reply = Buffer.alloc(LARGEST_REPLY_BYTES)
const replyWords = new Uint32Array(reply.buffer, reply.byteOffset, LARGEST_REPLY_BYTES / 4)

interface ReadArguments {
  readonly directory: HostDirectory
  readonly offsetLow: number
  readonly offsetHigh: number
  readonly sizeBytes: number
}

function decode({ passthrough }: HandlerContext, request: Request): ReadArguments {
  request.require(READ_IN_BYTES, 0)
  return {
    directory: passthrough.directories.get(request.u64(0)),
    offsetLow: request.u32(8),
    offsetHigh: request.u32(12),
    sizeBytes: Math.max(0, Math.min(request.u32(16), request.replyCapacityBytes, LARGEST_REPLY_BYTES)),
  }
}

/** The host's entries into `listing`. Returns bytes: 0 behind the last one. */
function listHost(pt: Passthrough, args: ReadArguments, sizeBytes: number): number {
  if (args.offsetHigh === ADDED_OFFSET_HIGH) return 0
  const { directory, offsetLow, offsetHigh } = args
  const kept = directory.takeKept(offsetLow, offsetHigh)
  if (kept === null) {
    const { fd } = directory.descriptor
    return checked(pt.calls.readDirectory(fd, offsetLow, offsetHigh, listing, sizeBytes))
  }
  kept.copy(listing)
  return takeEntries(directory, kept.byteLength, sizeBytes)
}

/** Whole entries of the first `bytes` of `listing` that `sizeBytes` have room for; the others are kept. Returns their bytes. */
function takeEntries(directory: HostDirectory, bytes: number, sizeBytes: number): number {
  let last = 0
  let end = 0
  while (end < bytes) {
    const next = end + padded(DIRENT_HEADER_BYTES + listing.readUInt32LE(end + NAME_LENGTH_BYTE))
    if (next > sizeBytes) break
    last = end
    end = next
  }
  if (end === 0) throw new FsError('EINVAL')
  keepRest(directory, last, end, bytes)
  return end
}

/** The entries of `listing` from byte `end` to `bytes` are for the next call, which goes on behind the entry at byte `last`. */
function keepRest(directory: HostDirectory, last: number, end: number, bytes: number): void {
  if (end === 0 || end >= bytes) return
  const offset = last + OFFSET_BYTE
  directory.keep(listing.readUInt32LE(offset), listing.readUInt32LE(offset + 4), listing.subarray(end, bytes))
}

export function readHostDirectory(context: HandlerContext, request: Request): void {
  const args = decode(context, request)
  const bytes = listHost(context.passthrough, args, args.sizeBytes)
  if (bytes > 0) request.pushBytes(listing, bytes)
  else replyAdded(context.passthrough, request, args, 0)
}

export function readHostDirectoryPlus(context: HandlerContext, request: Request): void {
  const pt = context.passthrough
  const args = decode(context, request)
  const share = Math.max(LARGEST_ENTRY_BYTES, Math.floor(args.sizeBytes / PLUS_SHARE))
  const bytes = listHost(pt, args, share)
  if (bytes === 0) {
    replyAdded(pt, request, args, ENTRY_OUT_BYTES)
    return
  }
  let written = 0
  let last = 0
  let position = 0
  while (position < bytes) {
    const nameLength = listing.readUInt32LE(position + NAME_LENGTH_BYTE)
    const entryBytes = padded(DIRENT_HEADER_BYTES + nameLength)
    // Before the guest counts as having looked it up.
    if (written + ENTRY_OUT_BYTES + entryBytes > args.sizeBytes) break
    const name = { bytes: listing, start: position + DIRENT_HEADER_BYTES, length: nameLength }
    putEntry(pt, args.directory.inode, written / 4, name)
    listing.copy(reply, written + ENTRY_OUT_BYTES, position, position + entryBytes)
    written += ENTRY_OUT_BYTES + entryBytes
    last = position
    position += entryBytes
  }
  keepRest(args.directory, last, position, bytes)
  // An empty reply would read as the end.
  if (written === 0) throw new FsError('EINVAL')
  request.pushBytes(reply, written)
}

function padded(bytes: number): number {
  return (bytes + ALIGNMENT_BYTES - 1) & ~(ALIGNMENT_BYTES - 1)
}

/** The entry's attributes; nodeid 0 where the guest is to look it up by itself: dots, mount points, what has gone or is refused. */
function putEntry(pt: Passthrough, directory: HostInode, word: number, name: NameBytes): void {
  replyWords.fill(0, word, word + ENTRY_OUT_BYTES / 4)
  let found: HostInode | Inode | null
  try {
    found = lookup(pt, directory, name)
  } catch (error) {
    if (error instanceof HostError || error instanceof FsError) return
    throw error
  }
  if (found === null) return
  if (!('descriptor' in found)) replyWords[word + MODE_OF_ENTRY_WORD] = S_IFDIR | found.mode
  else if (isDots(name)) putHostAttributes(pt, replyWords, word, found.mount)
  else putHostEntry(pt, replyWords, word, found, found.mount.timeToLiveMs)
}

/** The mounts that the host has no entries for; `prefixBytes`: of zeros before each, for an entry without attributes. */
function replyAdded(pt: Passthrough, request: Request, args: ReadArguments, prefixBytes: number): void {
  const names = addedNames(pt, args.directory)
  const first = args.offsetHigh === ADDED_OFFSET_HIGH ? args.offsetLow : 0
  let written = 0
  for (const [index, text] of names.entries()) {
    if (index < first) continue
    const name = Buffer.from(text)
    const entryBytes = padded(DIRENT_HEADER_BYTES + name.byteLength)
    if (written + prefixBytes + entryBytes > args.sizeBytes) break
    reply.fill(0, written, written + prefixBytes + entryBytes)
    written += prefixBytes
    const word = written / 4
    if (prefixBytes > 0) replyWords[word - prefixBytes / 4 + MODE_OF_ENTRY_WORD] = S_IFDIR | ADDED_MODE
    replyWords[word] = FUSE_UNKNOWN_INO
    replyWords[word + 2] = index + 1
    replyWords[word + 3] = ADDED_OFFSET_HIGH
    replyWords[word + 4] = name.byteLength
    replyWords[word + 5] = DT_DIR
    name.copy(reply, written + DIRENT_HEADER_BYTES)
    written += entryBytes
  }
  if (written > 0) request.pushBytes(reply, written)
}
