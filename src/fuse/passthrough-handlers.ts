/** One function for each opcode on pass-through mounts: decode the arguments, call the host, encode the reply. */
import { constants as fsConstants } from 'node:fs'
import { constants } from 'node:os'
import { FsError } from '../fs/fs-error.js'
import { Inode } from '../fs/inode.js'
import { setattr, type HostChanges, type HostTime } from '../passthrough/attributes.js'
import { openDirectory, releaseDirectory } from '../passthrough/directories.js'
import {
  copyFileRange,
  create,
  createUnnamed,
  fallocate,
  flush,
  open,
  read,
  release,
  seek,
  sync,
  write,
  type CreatedFile,
} from '../passthrough/files.js'
import { keepsData } from '../fs/mount.js'
import { checked, KILLING_IDS, STATFS_WORDS, TIME_NOW } from '../passthrough/host-calls.js'
import type { IdTranslation } from '../passthrough/id-translation.js'
import { PASSTHROUGH_NODEID_BASE } from '../passthrough/host-inode-table.js'
import type { HostInode } from '../passthrough/host-inode.js'
import {
  itself,
  link,
  lookup,
  makeDirectory,
  makeNode,
  makeSymlink,
  readLink,
  remove,
  rename,
  type NameBytes,
} from '../passthrough/names.js'
import type { Passthrough } from '../passthrough/passthrough.js'
import { getXattr, listXattr, removeXattr, setXattr } from '../passthrough/xattrs.js'
import { applyLabels, creatorOf, type Creator } from './creation.js'
import { putNegativeEntry, putU64 } from './encode.js'
import {
  ATTR_OUT_BYTES,
  COPY_FILE_RANGE_OUT_BYTES,
  ENTRY_OUT_BYTES,
  FOPEN_CACHE_DIR,
  FOPEN_DIRECT_IO,
  FOPEN_KEEP_CACHE,
  GETXATTR_OUT_BYTES,
  LSEEK_OUT_BYTES,
  Opcode,
  OPEN_KILL_SUIDGID,
  OPEN_OUT_BYTES,
  SetattrValid,
  SETXATTR_ACL_KILL_SGID,
  STATFS_OUT_BYTES,
  STATX_OUT_BYTES,
  WRITE_OUT_BYTES,
} from './fuse-abi.js'
import {
  byOpcode,
  isWindowsRoot,
  replyEntry,
  replyWrite,
  rowsOfAllMounts,
  type HandlerContext,
} from './handlers.js'
import { readHostDirectory, readHostDirectoryPlus } from './passthrough-directory-handlers.js'
import { putHostEntry, replyHostAttr, replyHostEntry, replyHostStatx } from './passthrough-entry.js'
import type { Request } from './request.js'
import { MAX_WRITE_BYTES } from './session.js'

const NANOSECONDS_PER_SECOND = 1e9
/** PATH_MAX of Linux. */
const PATH_MAX_BYTES = 4096
/** XATTR_SIZE_MAX and XATTR_LIST_MAX of Linux. */
const XATTR_MAX_BYTES = 65_536
/** A name with its NUL. */
const NAME_ROOM_BYTES = 256
const { O_TRUNC } = fsConstants
/** XATTR_CREATE and XATTR_REPLACE of setxattr(2). */
const XATTR_FLAGS = 3

/** Values of attributes and targets of links on their way; used and pushed without a pause. */
const scratch = Buffer.alloc(XATTR_MAX_BYTES)
const statfsWords = new Uint32Array(STATFS_WORDS)

function inodeOf({ passthrough }: HandlerContext, request: Request): HostInode {
  return passthrough.inodes.get(request.nodeid)
}

/** Another nodeid in the arguments; EXDEV when it is of another kind of mount. */
function otherInode({ passthrough: pt }: HandlerContext, nodeid: number): HostInode {
  const isRoot = nodeid === 1 && pt.inodes.rootMount !== null
  if (nodeid < PASSTHROUGH_NODEID_BASE && !isRoot) throw new FsError('EXDEV')
  return pt.inodes.get(nodeid)
}

/** All arguments, where they may be longer than the arena holds. ENAMETOOLONG beyond `maxBytes`. */
function allArguments(request: Request, maxBytes: number): Buffer {
  if (request.argumentBytes > maxBytes) throw new FsError('ENAMETOOLONG')
  const bytes = Buffer.alloc(request.argumentBytes)
  if (!request.pullArguments(0, bytes)) throw new FsError('EIO', 'the front-end took its memory away')
  return bytes
}

/** The NUL-terminated text at `start`. */
function textIn(bytes: Buffer, start: number): NameBytes {
  const end = bytes.indexOf(0, start)
  if (end < 0) throw new FsError('EINVAL', 'a text has no end')
  return { bytes, start, length: end - start }
}

// ---- names

function handleLookup(context: HandlerContext, request: Request): void {
  request.require(1, ENTRY_OUT_BYTES)
  const pt = context.passthrough
  const parent = inodeOf(context, request)
  const found = lookup(pt, parent, request.nameBytes(0))
  if (found === null && isWindowsRoot(request)) replyHostEntry(pt, request, itself(pt, parent))
  else if (found === null) replyMissing(request, parent)
  else if (found instanceof Inode) replyEntry(context, request, found)
  else replyHostEntry(pt, request, found)
}

/** Nobody tells the guest that the host has made the name: it is asked for again, unless only the guest makes names there. */
function replyMissing(request: Request, { mount }: HostInode): void {
  if (mount.guestCache !== 'always') request.refuse(constants.errno.ENOENT)
  else putNegativeEntry(request.replyWords, request.beginReply(ENTRY_OUT_BYTES), mount.timeToLiveMs)
}

function handleMknod(context: HandlerContext, request: Request): void {
  const mknodInBytes = 16
  request.require(mknodInBytes + 1, ENTRY_OUT_BYTES)
  const pt = context.passthrough
  const directory = inodeOf(context, request)
  const [mode, rdev] = [request.u32(0), request.u32(4)]
  const name = request.nameBytes(mknodInBytes)
  const creator = creatorOf(directory, request, request.u32(8))
  replyMade(pt, request, directory, name, creator, makeNode(pt, directory, name, mode, rdev, creator))
}

function handleMkdir(context: HandlerContext, request: Request): void {
  const mkdirInBytes = 8
  request.require(mkdirInBytes + 1, ENTRY_OUT_BYTES)
  const pt = context.passthrough
  const directory = inodeOf(context, request)
  const name = request.nameBytes(mkdirInBytes)
  const creator = creatorOf(directory, request, request.u32(4))
  replyMade(
    pt,
    request,
    directory,
    name,
    creator,
    makeDirectory(pt, directory, name, request.u32(0), creator),
  )
}

function handleSymlink(context: HandlerContext, request: Request): void {
  request.require(2, ENTRY_OUT_BYTES)
  const pt = context.passthrough
  const directory = inodeOf(context, request)
  const bytes = allArguments(request, NAME_ROOM_BYTES + PATH_MAX_BYTES + request.extensionBytes)
  const name = textIn(bytes, 0)
  const target = textIn(bytes, name.length + 1)
  const creator = creatorOf(directory, request, 0)
  replyMade(pt, request, directory, name, creator, makeSymlink(pt, directory, name, target, creator))
}

/** `inode` was just made by `name`. */
function replyMade(
  pt: Passthrough,
  request: Request,
  directory: HostInode,
  name: NameBytes,
  creator: Creator,
  inode: HostInode,
): void {
  applyLabels(pt, inode, creator, () => {
    pt.inodes.freeIfUnused(inode)
    remove(pt, directory, name, inode.isDirectory)
  })
  replyHostEntry(pt, request, inode)
}

function handleReadlink(context: HandlerContext, request: Request): void {
  const length = readLink(context.passthrough, inodeOf(context, request), scratch.subarray(0, PATH_MAX_BYTES))
  request.pushBytes(scratch, length)
}

function handleLink(context: HandlerContext, request: Request): void {
  const linkInBytes = 8
  request.require(linkInBytes + 1, ENTRY_OUT_BYTES)
  const pt = context.passthrough
  const inode = otherInode(context, request.u64(0))
  link(pt, inode, inodeOf(context, request), request.nameBytes(linkInBytes))
  pt.lookAt(inode)
  replyHostEntry(pt, request, inode)
}

function handleUnlink(context: HandlerContext, request: Request): void {
  remove(context.passthrough, inodeOf(context, request), request.nameBytes(0), false)
}

function handleRmdir(context: HandlerContext, request: Request): void {
  remove(context.passthrough, inodeOf(context, request), request.nameBytes(0), true)
}

function handleRename(context: HandlerContext, request: Request): void {
  const renameInBytes = 8
  renameWith(context, request, renameInBytes, 0)
}

function handleRename2(context: HandlerContext, request: Request): void {
  const rename2InBytes = 16
  request.require(rename2InBytes, 0)
  renameWith(context, request, rename2InBytes, request.u32(8))
}

function renameWith(context: HandlerContext, request: Request, namesOffset: number, flags: number): void {
  request.require(namesOffset + 2, 0)
  const parent = inodeOf(context, request)
  const newParent = otherInode(context, request.u64(0))
  const name = request.nameBytes(namesOffset)
  const newName = request.nameBytes(request.offsetBehindName(namesOffset))
  rename(context.passthrough, parent, name, newParent, newName, flags)
}

// ---- attributes

function handleGetattr(context: HandlerContext, request: Request): void {
  const getattrInBytes = 16
  request.require(getattrInBytes, ATTR_OUT_BYTES)
  replyHostAttr(context.passthrough, request, inodeOf(context, request))
}

function handleStatx(context: HandlerContext, request: Request): void {
  const statxInBytes = 24
  request.require(statxInBytes, STATX_OUT_BYTES)
  replyHostStatx(context.passthrough, request, inodeOf(context, request))
}

function handleSetattr(context: HandlerContext, request: Request): void | Promise<void> {
  const setattrInBytes = 88
  request.require(setattrInBytes, ATTR_OUT_BYTES)
  const pt = context.passthrough
  const inode = inodeOf(context, request)
  const valid = request.u32(0)
  const file = (valid & SetattrValid.FH) === 0 ? null : pt.files.get(request.u64(8))
  const pending = setattr(pt, inode, decodeChanges(inode, request, valid), file?.descriptor ?? null)
  if (pending === undefined) replyHostAttr(pt, request, inode)
  else
    return pending.then(() => {
      replyHostAttr(pt, request, inode)
    })
}

function decodeChanges({ mount }: HostInode, request: Request, valid: number): HostChanges {
  const { uids, gids } = mount.options
  const given = <T>(bit: number, value: T): T | undefined => ((valid & bit) === 0 ? undefined : value)
  return {
    mode: given(SetattrValid.MODE, request.u32(68)),
    uid: (valid & SetattrValid.UID) === 0 ? undefined : hostId(uids, request.u32(76)),
    gid: (valid & SetattrValid.GID) === 0 ? undefined : hostId(gids, request.u32(80)),
    sizeBytes: given(SetattrValid.SIZE, request.u64(16)),
    atime: decodeTime(request, valid, SetattrValid.ATIME, SetattrValid.ATIME_NOW, 32, 56),
    mtime: decodeTime(request, valid, SetattrValid.MTIME, SetattrValid.MTIME_NOW, 40, 60),
    killsIds: (valid & SetattrValid.KILL_SUIDGID) !== 0,
  }
}

function hostId(ids: IdTranslation | null, id: number): number {
  return ids === null ? id : ids.toHost(id)
}

function decodeTime(
  request: Request,
  valid: number,
  setBit: number,
  nowBit: number,
  secondsOffset: number,
  nanosecondsOffset: number,
): HostTime | undefined {
  if ((valid & nowBit) !== 0) return { seconds: 0, nanoseconds: TIME_NOW }
  if ((valid & setBit) === 0) return undefined
  const nanoseconds = request.u32(nanosecondsOffset)
  if (nanoseconds >= NANOSECONDS_PER_SECOND) throw new FsError('EINVAL', 'more nanoseconds than a second has')
  const seconds = request.i64(secondsOffset)
  if (!Number.isSafeInteger(seconds)) throw new FsError('EINVAL', 'a time beyond all file systems')
  return { seconds, nanoseconds }
}

function handleStatfs(context: HandlerContext, request: Request): void {
  request.require(0, STATFS_OUT_BYTES)
  const pt = context.passthrough
  checked(pt.calls.statfs(pt.fdOf(inodeOf(context, request)), statfsWords))
  request.replyWords.set(statfsWords, request.beginReply(STATFS_OUT_BYTES))
}

// ---- extended attributes

function handleGetxattr(context: HandlerContext, request: Request): void {
  const getxattrInBytes = 8
  request.require(getxattrInBytes + 1, 0)
  const sizeBytes = Math.min(request.u32(0), request.replyCapacityBytes, XATTR_MAX_BYTES)
  const name = request.nameBytes(getxattrInBytes)
  const length = getXattr(context.passthrough, inodeOf(context, request), name, scratch, sizeBytes)
  if (length < 0) request.refuse(-length)
  else if (request.u32(0) === 0) replyLength(request, length)
  else request.pushBytes(scratch, length)
}

function replyLength(request: Request, length: number): void {
  request.require(0, GETXATTR_OUT_BYTES)
  request.put32(request.beginReply(GETXATTR_OUT_BYTES), length)
}

function handleListxattr(context: HandlerContext, request: Request): void {
  const getxattrInBytes = 8
  request.require(getxattrInBytes, 0)
  const names = listXattr(context.passthrough, inodeOf(context, request), scratch)
  const sizeBytes = request.u32(0)
  if (sizeBytes === 0) replyLength(request, names.byteLength)
  else if (names.byteLength > Math.min(sizeBytes, request.replyCapacityBytes)) throw new FsError('ERANGE')
  else request.pushBytes(names, names.byteLength)
}

function handleSetxattr(context: HandlerContext, request: Request): void {
  const isLong = context.session.hasLongSetxattr
  const setxattrInBytes = isLong ? 16 : 8
  request.require(setxattrInBytes + 1, 0)
  const inode = inodeOf(context, request)
  if (request.argumentBytes > setxattrInBytes + NAME_ROOM_BYTES + XATTR_MAX_BYTES) throw new FsError('E2BIG')
  const bytes = allArguments(request, request.argumentBytes)
  const name = textIn(bytes, setxattrInBytes)
  const value = { bytes, start: name.start + name.length + 1, length: request.u32(0) }
  if (value.start + value.length > bytes.byteLength) throw new FsError('EINVAL', 'a value is not all there')
  const killsGroupId = isLong && (request.u32(8) & SETXATTR_ACL_KILL_SGID) !== 0
  const flags = (request.u32(4) & XATTR_FLAGS) | (killsGroupId ? KILLING_IDS : 0)
  setXattr(context.passthrough, inode, name, value, flags)
}

function handleRemovexattr(context: HandlerContext, request: Request): void {
  removeXattr(context.passthrough, inodeOf(context, request), request.nameBytes(0))
}

// ---- open files

/**
 * Whether the caller's changes leave set-user-ID and set-group-ID bits, as root's do. Linux does not say so with O_TRUNC, nor takes
 * the bits away itself then.
 */
function keepsIdsOf({ uid }: Request, openFlags = 0): boolean {
  return uid === 0 && (openFlags & OPEN_KILL_SUIDGID) === 0
}

/** struct fuse_open_out, 16 bytes. */
function putOpen(request: Request, word: number, fh: number, { mount }: HostInode): void {
  putU64(request.replyWords, word, fh)
  const { guestCache } = mount
  const flags = !keepsData(guestCache) ? FOPEN_DIRECT_IO : guestCache === 'always' ? FOPEN_KEEP_CACHE : 0
  request.put32(word + 2, flags)
}

function handleOpen(context: HandlerContext, request: Request): void {
  const openInBytes = 8
  request.require(openInBytes, OPEN_OUT_BYTES)
  const inode = inodeOf(context, request)
  const fh = open(context.passthrough, inode, request.u32(0), keepsIdsOf(request, request.u32(4)))
  putOpen(request, request.beginReply(OPEN_OUT_BYTES), fh, inode)
}

function replyCreated(pt: Passthrough, request: Request, { inode, fh }: CreatedFile): void {
  const word = request.beginReply(ENTRY_OUT_BYTES + OPEN_OUT_BYTES)
  putHostEntry(pt, request.replyWords, word, inode, inode.mount.timeToLiveMs)
  putOpen(request, word + ENTRY_OUT_BYTES / 4, fh, inode)
}

function handleCreate(context: HandlerContext, request: Request): void {
  const createInBytes = 16
  request.require(createInBytes + 1, ENTRY_OUT_BYTES + OPEN_OUT_BYTES)
  const pt = context.passthrough
  const directory = inodeOf(context, request)
  const [flags, mode] = [request.u32(0), request.u32(4)]
  const name = request.nameBytes(createInBytes)
  const creator = creatorOf(directory, request, request.u32(8))
  const keepsIds = keepsIdsOf(request, request.u32(12))
  const created = create(pt, directory, name, flags, mode, creator, keepsIds)
  if (created.isNew) {
    applyLabels(pt, created.inode, creator, () => {
      release(pt, created.fh)
      pt.inodes.freeIfUnused(created.inode)
      remove(pt, directory, name, false)
    })
  }
  replyCreated(pt, request, created)
}

/** Its name is the guest kernel's own. */
function handleTmpfile(context: HandlerContext, request: Request): void {
  const createInBytes = 16
  request.require(createInBytes, ENTRY_OUT_BYTES + OPEN_OUT_BYTES)
  const pt = context.passthrough
  const directory = inodeOf(context, request)
  const creator = creatorOf(directory, request, request.u32(8))
  const created = createUnnamed(pt, directory, request.u32(0) & ~O_TRUNC, request.u32(4), creator)
  applyLabels(pt, created.inode, creator, () => {
    release(pt, created.fh)
    pt.inodes.freeIfUnused(created.inode)
  })
  replyCreated(pt, request, created)
}

function handleRead({ passthrough: pt }: HandlerContext, request: Request): void | Promise<void> {
  const readInBytes = 40
  request.require(readInBytes, 0)
  const sizeBytes = Math.min(request.u32(16), request.replyCapacityBytes, MAX_WRITE_BYTES)
  return read(pt, pt.files.get(request.u64(0)), request.u64(8), sizeBytes, request)
}

function handleWrite({ passthrough: pt }: HandlerContext, request: Request): void | Promise<void> {
  const writeInBytes = 40
  request.require(writeInBytes, WRITE_OUT_BYTES)
  const sizeBytes = request.u32(16)
  request.require(writeInBytes + sizeBytes, WRITE_OUT_BYTES)
  if (sizeBytes > MAX_WRITE_BYTES) throw new FsError('EINVAL', 'a WRITE is larger than was agreed')
  const file = pt.files.get(request.u64(0))
  const [writeFlags, openFlags] = [request.u32(20), request.u32(32)]
  const written = write(pt, file, request.u64(8), sizeBytes, writeFlags, openFlags, request)
  if (written instanceof Promise) {
    return written.then((count) => {
      replyWrite(request, count)
    })
  }
  replyWrite(request, written)
}

function handleFlush({ passthrough: pt }: HandlerContext, request: Request): void | Promise<void> {
  const flushInBytes = 24
  request.require(flushInBytes, 0)
  return flush(pt, pt.files.get(request.u64(0)))
}

const FSYNC_FDATASYNC = 1 << 0

async function handleFsync({ passthrough: pt }: HandlerContext, request: Request): Promise<void> {
  const fsyncInBytes = 16
  request.require(fsyncInBytes, 0)
  await sync(pt, pt.files.get(request.u64(0)), (request.u32(8) & FSYNC_FDATASYNC) !== 0)
}

function handleRelease({ passthrough: pt }: HandlerContext, request: Request): void {
  const releaseInBytes = 24
  request.require(releaseInBytes, 0)
  release(pt, request.u64(0))
}

async function handleFallocate({ passthrough: pt }: HandlerContext, request: Request): Promise<void> {
  const fallocateInBytes = 32
  request.require(fallocateInBytes, 0)
  const file = pt.files.get(request.u64(0))
  await fallocate(pt, file, request.u32(24), request.u64(8), request.u64(16), keepsIdsOf(request))
}

function handleLseek({ passthrough: pt }: HandlerContext, request: Request): void {
  const lseekInBytes = 24
  request.require(lseekInBytes, LSEEK_OUT_BYTES)
  const offset = seek(pt, pt.files.get(request.u64(0)), request.u64(8), request.u32(16))
  putU64(request.replyWords, request.beginReply(LSEEK_OUT_BYTES), offset)
}

async function handleCopyFileRange(context: HandlerContext, request: Request): Promise<void> {
  request.require(0, WRITE_OUT_BYTES)
  replyWrite(request, await copyRange(context, request))
}

/** The same with a reply of 64 bits. */
async function handleCopyFileRange64(context: HandlerContext, request: Request): Promise<void> {
  request.require(0, COPY_FILE_RANGE_OUT_BYTES)
  const copied = await copyRange(context, request)
  putU64(request.replyWords, request.beginReply(COPY_FILE_RANGE_OUT_BYTES), copied)
}

function copyRange(context: HandlerContext, request: Request): Promise<number> {
  const copyInBytes = 56
  request.require(copyInBytes, 0)
  const { passthrough: pt } = context
  const from = pt.files.get(request.u64(0))
  otherInode(context, request.u64(16))
  const to = pt.files.get(request.u64(24))
  const [offset, toOffset, lengthBytes] = [request.u64(8), request.u64(32), request.u64(40)]
  return copyFileRange(pt, from, offset, to, toOffset, lengthBytes, keepsIdsOf(request))
}

// ---- directories

function handleOpendir(context: HandlerContext, request: Request): void {
  const openInBytes = 8
  request.require(openInBytes, OPEN_OUT_BYTES)
  const inode = inodeOf(context, request)
  const fh = openDirectory(context.passthrough, inode)
  const word = request.beginReply(OPEN_OUT_BYTES)
  putU64(request.replyWords, word, fh)
  const { guestCache } = inode.mount
  const keepsListing = guestCache === 'always' || guestCache === 'metadata'
  request.put32(word + 2, keepsListing ? FOPEN_CACHE_DIR | FOPEN_KEEP_CACHE : 0)
}

function handleReleasedir({ passthrough: pt }: HandlerContext, request: Request): void {
  const releaseInBytes = 24
  request.require(releaseInBytes, 0)
  releaseDirectory(pt, request.u64(0))
}

async function handleFsyncdir({ passthrough: pt }: HandlerContext, request: Request): Promise<void> {
  const fsyncInBytes = 16
  request.require(fsyncInBytes, 0)
  await sync(pt, pt.directories.get(request.u64(0)), (request.u32(8) & FSYNC_FDATASYNC) !== 0)
}

/** The handler of each opcode; undefined where there is none: ENOSYS. */
export const passthroughHandlers = byOpcode([
  ...rowsOfAllMounts,
  [Opcode.LOOKUP, handleLookup],
  [Opcode.GETATTR, handleGetattr],
  [Opcode.STATX, handleStatx],
  [Opcode.SETATTR, handleSetattr],
  [Opcode.READLINK, handleReadlink],
  [Opcode.SYMLINK, handleSymlink],
  [Opcode.MKNOD, handleMknod],
  [Opcode.MKDIR, handleMkdir],
  [Opcode.UNLINK, handleUnlink],
  [Opcode.RMDIR, handleRmdir],
  [Opcode.RENAME, handleRename],
  [Opcode.LINK, handleLink],
  [Opcode.OPEN, handleOpen],
  [Opcode.READ, handleRead],
  [Opcode.WRITE, handleWrite],
  [Opcode.STATFS, handleStatfs],
  [Opcode.RELEASE, handleRelease],
  [Opcode.FSYNC, handleFsync],
  [Opcode.SETXATTR, handleSetxattr],
  [Opcode.GETXATTR, handleGetxattr],
  [Opcode.LISTXATTR, handleListxattr],
  [Opcode.REMOVEXATTR, handleRemovexattr],
  [Opcode.FLUSH, handleFlush],
  [Opcode.OPENDIR, handleOpendir],
  [Opcode.READDIR, readHostDirectory],
  [Opcode.RELEASEDIR, handleReleasedir],
  [Opcode.FSYNCDIR, handleFsyncdir],
  [Opcode.CREATE, handleCreate],
  [Opcode.FALLOCATE, handleFallocate],
  [Opcode.READDIRPLUS, readHostDirectoryPlus],
  [Opcode.RENAME2, handleRename2],
  [Opcode.LSEEK, handleLseek],
  [Opcode.COPY_FILE_RANGE, handleCopyFileRange],
  [Opcode.COPY_FILE_RANGE_64, handleCopyFileRange64],
  [Opcode.TMPFILE, handleTmpfile],
])
