/**
 * One function for each opcode: decode the arguments, call the file system, encode the reply. What is in memory is
 * answered without a promise. The table at the end is what the dispatcher goes by.
 */
import { getattr, setattr, type SetattrChanges } from '../fs/attributes.js'
import { copyFileRange } from '../fs/copy.js'
import { makeDirectory, makeFile, type Creation } from '../fs/create.js'
import type { FileSystem } from '../fs/file-system.js'
import { FsError } from '../fs/fs-error.js'
import { ROOT_NODEID, type Inode } from '../fs/inode.js'
import { lookup, requireDirectory } from '../fs/lookup.js'
import { openDirectory, releaseDirectory } from '../fs/open-directory.js'
import { create, flush, fsync, open, release, type Opened } from '../fs/open-file.js'
import { fallocate, read, seek, write } from '../fs/read-write.js'
import { removeDirectory, unlink } from '../fs/remove.js'
import { rename } from '../fs/rename.js'
import { statfs } from '../fs/statfs.js'
import { syncAllNames, syncNames } from '../fs/sync-names.js'
import { keepsData } from '../fs/mount.js'
import { PASSTHROUGH_NODEID_BASE } from '../passthrough/host-inode-table.js'
import type { Passthrough } from '../passthrough/passthrough.js'
import { requireXattr } from '../passthrough/xattrs.js'
import { monotonicMs } from '../backends/clock.js'
import { timestampNow } from '../backends/timestamp.js'
import { readDirectory, readDirectoryPlus } from './directory-handlers.js'
import { putAttrOut, putEntryOut, putNegativeEntry, putStatfs, putU64 } from './encode.js'
import {
  ATTR_OUT_BYTES,
  ENTRY_OUT_BYTES,
  FOPEN_CACHE_DIR,
  FOPEN_DIRECT_IO,
  FOPEN_KEEP_CACHE,
  LSEEK_OUT_BYTES,
  OPCODE_LIMIT,
  OPEN_OUT_BYTES,
  Opcode,
  S_IFMT,
  S_IFREG,
  SetattrValid,
  STATFS_OUT_BYTES,
  WRITE_OUT_BYTES,
} from './fuse-abi.js'
import { replyHostRoot } from './passthrough-entry.js'
import type { Request } from './request.js'
import { MAX_WRITE_BYTES, type Session } from './session.js'

/** What every handler works with. */
export interface HandlerContext {
  readonly fs: FileSystem
  readonly passthrough: Passthrough
  readonly session: Session
}

export type Handler = (context: HandlerContext, request: Request) => void | Promise<void>

// ---- replies that several operations share

/** EIO when the guest has started anew since the request came: what it would get belongs to nobody. */
function requireCurrent({ session }: HandlerContext, request: Request): void {
  if (request.epoch !== session.epoch) throw new FsError('EIO', 'the guest began a new session')
}

export function replyEntry(context: HandlerContext, request: Request, inode: Inode): void {
  requireCurrent(context, request)
  if (inode.isFixed) {
    const mount = context.passthrough.find(inode)
    if (mount !== undefined) {
      replyHostRoot(context.passthrough, request, mount)
      return
    }
  }
  const word = request.beginReply(ENTRY_OUT_BYTES)
  context.fs.inodes.countLookup(inode)
  putEntryOut(request.replyWords, word, inode, monotonicMs())
}

function replyLookup(context: HandlerContext, request: Request, inode: Inode | null, parent: Inode): void {
  if (inode !== null) {
    if (!context.fs.inodes.mayGive(inode)) context.fs.inodes.requireRoom()
    replyEntry(context, request, inode)
    return
  }
  if (isWindowsRoot(request)) {
    replyEntry(context, request, parent)
    return
  }
  const { expirationMs, guestCache } = parent.mount.options
  if (guestCache === 'none') throw new FsError('ENOENT')
  const known = parent.negative(request.name(0))
  const ttlMs = known === undefined ? expirationMs : Math.min(expirationMs, known.expiresMs - monotonicMs())
  // Without a time to live there is nothing to spare: the plain error.
  if (ttlMs <= 0) throw new FsError('ENOENT')
  putNegativeEntry(request.replyWords, request.beginReply(ENTRY_OUT_BYTES), ttlMs)
}

function replyAttr(request: Request, inode: Inode): void {
  putAttrOut(request.replyWords, request.beginReply(ATTR_OUT_BYTES), inode, monotonicMs())
}

/** struct fuse_open_out, 16 bytes. */
function putOpen(request: Request, word: number, fh: number, flags: number): void {
  putU64(request.replyWords, word, fh)
  request.put32(word + 2, flags)
}

function openFlagsOf({ inode, keepCache, isDirect }: Opened): number {
  if (isDirect || !keepsData(inode.mount.options.guestCache)) return FOPEN_DIRECT_IO
  return keepCache ? FOPEN_KEEP_CACHE : 0
}

// ---- names and attributes

/** Windows's driver (viofs) looks the root up in itself by a bare "\\", where nothing has that name. */
export function isWindowsRoot(request: Request): boolean {
  return request.nodeid === ROOT_NODEID && request.name(0) === '\\'
}

function handleLookup(context: HandlerContext, request: Request): void | Promise<void> {
  request.require(1, ENTRY_OUT_BYTES)
  const parent = context.fs.inodes.get(request.nodeid)
  // Linux resolves dots by itself; Windows's driver asks for them. Nothing is above the root.
  const dots = request.dots(0)
  if (dots !== 0) {
    replyEntry(context, request, dots === 1 ? requireDirectory(parent) : (parent.parent ?? parent))
    return
  }
  const inode = lookup(context.fs, parent, request.name(0))
  if (inode instanceof Promise) {
    return inode.then((found) => {
      replyLookup(context, request, found, parent)
    })
  }
  replyLookup(context, request, inode, parent)
}

/** The guest knows the inodes of all kinds of mounts by their nodeids. */
function forget({ fs, passthrough }: HandlerContext, nodeid: number, count: number): void {
  if (nodeid >= PASSTHROUGH_NODEID_BASE) passthrough.inodes.forget(nodeid, count)
  else fs.inodes.forget(nodeid, count)
}

function handleForget(context: HandlerContext, request: Request): void {
  const forgetInBytes = 8
  if (request.argumentBytes >= forgetInBytes) forget(context, request.nodeid, request.u64(0))
}

const FORGET_ONE_BYTES = 16
const NANOSECONDS_PER_SECOND = 1e9
/** Forgets in one request; a kernel sends a page's worth, so a larger count is a lie. */
const MAX_FORGETS = 65_536

function handleBatchForget(context: HandlerContext, request: Request): void {
  const batchHeaderBytes = 8
  if (request.argumentBytes < batchHeaderBytes) return
  const present = Math.floor((request.argumentBytes - batchHeaderBytes) / FORGET_ONE_BYTES)
  const count = Math.min(request.u32(0), present, MAX_FORGETS)
  const items = Buffer.alloc(count * FORGET_ONE_BYTES)
  if (!request.pullArguments(batchHeaderBytes, items)) return
  for (let offset = 0; offset < items.byteLength; offset += FORGET_ONE_BYTES) {
    forget(context, Number(items.readBigUInt64LE(offset)), Number(items.readBigUInt64LE(offset + 8)))
  }
}

function handleGetattr({ fs }: HandlerContext, request: Request): void | Promise<void> {
  const getattrInBytes = 16
  request.require(getattrInBytes, ATTR_OUT_BYTES)
  const inode = getattr(fs.inodes.get(request.nodeid))
  if (inode instanceof Promise) {
    return inode.then((fresh) => {
      replyAttr(request, fresh)
    })
  }
  replyAttr(request, inode)
}

async function handleSetattr({ fs }: HandlerContext, request: Request): Promise<void> {
  const setattrInBytes = 88
  request.require(setattrInBytes, ATTR_OUT_BYTES)
  const inode = fs.inodes.get(request.nodeid)
  const valid = request.u32(0)
  const hasHandle = (valid & SetattrValid.FH) !== 0
  // A handle whose contents a conflict has ended changes nothing of what has come in their place.
  if (hasHandle && !inode.isDirectory) fs.files.get(request.u64(8)).content.requireAlive()
  replyAttr(request, await setattr(fs, inode, decodeChanges(request, valid), hasHandle))
}

function decodeChanges(request: Request, valid: number): SetattrChanges {
  const sizeBytes = (valid & SetattrValid.SIZE) === 0 ? undefined : request.u64(16)
  if (sizeBytes !== undefined && sizeBytes > Number.MAX_SAFE_INTEGER) throw new FsError('EFBIG')
  return {
    mode: (valid & SetattrValid.MODE) === 0 ? undefined : request.u32(68),
    uid: (valid & SetattrValid.UID) === 0 ? undefined : request.u32(76),
    gid: (valid & SetattrValid.GID) === 0 ? undefined : request.u32(80),
    sizeBytes,
    mtime: decodeMtime(request, valid),
  }
}

function decodeMtime(request: Request, valid: number): SetattrChanges['mtime'] {
  if ((valid & SetattrValid.MTIME_NOW) !== 0) return timestampNow()
  if ((valid & SetattrValid.MTIME) === 0) return undefined
  const nanoseconds = request.u32(60)
  if (nanoseconds >= NANOSECONDS_PER_SECOND) throw new FsError('EINVAL', 'more nanoseconds than a second has')
  return { seconds: request.i64(40), nanoseconds }
}

/** Kernels take the umask off the mode themselves, unless they were told not to; once more changes nothing. */
function decodeCreation(request: Request, mode: number, umask: number): Creation {
  return { mode: mode & ~umask, uid: request.uid, gid: request.gid }
}

async function handleMknod(context: HandlerContext, request: Request): Promise<void> {
  const mknodInBytes = 16
  request.require(mknodInBytes + 1, ENTRY_OUT_BYTES)
  const type = request.u32(0) & S_IFMT
  if (type !== S_IFREG && type !== 0) throw new FsError('EPERM', 'the store has no special files')
  const parent = context.fs.inodes.get(request.nodeid)
  const creation = decodeCreation(request, request.u32(0), request.u32(8))
  replyEntry(context, request, await makeFile(context.fs, parent, request.name(mknodInBytes), creation))
}

async function handleMkdir(context: HandlerContext, request: Request): Promise<void> {
  const mkdirInBytes = 8
  request.require(mkdirInBytes + 1, ENTRY_OUT_BYTES)
  const parent = context.fs.inodes.get(request.nodeid)
  const creation = decodeCreation(request, request.u32(0), request.u32(4))
  replyEntry(context, request, await makeDirectory(context.fs, parent, request.name(mkdirInBytes), creation))
}

function handleUnlink({ fs }: HandlerContext, request: Request): Promise<void> {
  return unlink(fs, fs.inodes.get(request.nodeid), request.name(0))
}

function handleRmdir({ fs }: HandlerContext, request: Request): Promise<void> {
  return removeDirectory(fs, fs.inodes.get(request.nodeid), request.name(0))
}

function handleRename({ fs }: HandlerContext, request: Request): Promise<void> {
  const renameInBytes = 8
  return renameWith(fs, request, renameInBytes, 0)
}

function handleRename2({ fs }: HandlerContext, request: Request): Promise<void> {
  const rename2InBytes = 16
  request.require(rename2InBytes, 0)
  return renameWith(fs, request, rename2InBytes, request.u32(8))
}

/** EXDEV where the other end of the operation is on a pass-through mount. */
function requireSameKind(nodeid: number): void {
  if (nodeid >= PASSTHROUGH_NODEID_BASE) throw new FsError('EXDEV')
}

function renameWith(fs: FileSystem, request: Request, namesOffset: number, flags: number): Promise<void> {
  request.require(namesOffset + 2, 0)
  const oldParent = fs.inodes.get(request.nodeid)
  requireSameKind(request.u64(0))
  const newParent = fs.inodes.get(request.u64(0))
  const oldName = request.name(namesOffset)
  const newName = request.name(request.offsetBehindName(namesOffset))
  return rename(fs, oldParent, oldName, newParent, newName, flags)
}

async function handleStatfs({ fs }: HandlerContext, request: Request): Promise<void> {
  request.require(0, STATFS_OUT_BYTES)
  const usage = await statfs(fs.inodes.get(request.nodeid))
  putStatfs(request.replyWords, request.beginReply(STATFS_OUT_BYTES), usage)
}

// ---- open files

/** A handle that was opened for a session that is over is closed at once. */
function requireOpenedCurrent(context: HandlerContext, request: Request, opened: Opened): void {
  if (request.epoch === context.session.epoch) return
  void release(context.fs, opened.fh)
  requireCurrent(context, request)
}

function replyOpen(context: HandlerContext, request: Request, opened: Opened): void {
  requireOpenedCurrent(context, request, opened)
  putOpen(request, request.beginReply(OPEN_OUT_BYTES), opened.fh, openFlagsOf(opened))
}

function handleOpen(context: HandlerContext, request: Request): void | Promise<void> {
  const openInBytes = 8
  request.require(openInBytes, OPEN_OUT_BYTES)
  const opened = open(context.fs, context.fs.inodes.get(request.nodeid), request.u32(0))
  if (opened instanceof Promise) {
    return opened.then((result) => {
      replyOpen(context, request, result)
    })
  }
  replyOpen(context, request, opened)
}

function replyCreate(context: HandlerContext, request: Request, opened: Opened): void {
  requireOpenedCurrent(context, request, opened)
  const word = request.beginReply(ENTRY_OUT_BYTES + OPEN_OUT_BYTES)
  context.fs.inodes.countLookup(opened.inode)
  putEntryOut(request.replyWords, word, opened.inode, monotonicMs())
  putOpen(request, word + ENTRY_OUT_BYTES / 4, opened.fh, openFlagsOf(opened))
}

function handleCreate(context: HandlerContext, request: Request): void | Promise<void> {
  const createInBytes = 16
  request.require(createInBytes + 1, ENTRY_OUT_BYTES + OPEN_OUT_BYTES)
  const parent = context.fs.inodes.get(request.nodeid)
  const creation = decodeCreation(request, request.u32(4), request.u32(8))
  const opened = create(context.fs, parent, request.name(createInBytes), request.u32(0), creation)
  if (opened instanceof Promise) {
    return opened.then((result) => {
      replyCreate(context, request, result)
    })
  }
  replyCreate(context, request, opened)
}

function handleRead({ fs }: HandlerContext, request: Request): void | Promise<void> {
  const readInBytes = 40
  request.require(readInBytes, 0)
  const sizeBytes = Math.min(request.u32(16), request.replyCapacityBytes, MAX_WRITE_BYTES)
  return read(fs.files.get(request.u64(0)), request.u64(8), sizeBytes, request)
}

export function replyWrite(request: Request, written: number): void {
  request.put32(request.beginReply(WRITE_OUT_BYTES), written)
}

function handleWrite({ fs }: HandlerContext, request: Request): void | Promise<void> {
  const writeInBytes = 40
  request.require(writeInBytes, WRITE_OUT_BYTES)
  const sizeBytes = request.u32(16)
  request.require(writeInBytes + sizeBytes, WRITE_OUT_BYTES)
  if (sizeBytes > MAX_WRITE_BYTES) throw new FsError('EINVAL', 'a WRITE is larger than was agreed')
  const written = write(fs.files.get(request.u64(0)), request.u64(8), sizeBytes, request.u32(32), request)
  if (written instanceof Promise) {
    return written.then((count) => {
      replyWrite(request, count)
    })
  }
  replyWrite(request, written)
}

function handleFlush({ fs }: HandlerContext, request: Request): void | Promise<void> {
  const flushInBytes = 24
  request.require(flushInBytes, 0)
  return flush(fs, fs.files.get(request.u64(0)))
}

function handleFsync({ fs }: HandlerContext, request: Request): void | Promise<void> {
  const fsyncInBytes = 16
  request.require(fsyncInBytes, 0)
  return fsync(fs.files.get(request.u64(0)))
}

function handleRelease({ fs }: HandlerContext, request: Request): void | Promise<void> {
  const releaseInBytes = 24
  request.require(releaseInBytes, 0)
  return release(fs, request.u64(0))
}

async function handleFallocate({ fs }: HandlerContext, request: Request): Promise<void> {
  const fallocateInBytes = 32
  request.require(fallocateInBytes, 0)
  const file = fs.files.get(request.u64(0))
  await fallocate(fs, file, request.u32(24), request.u64(8), request.u64(16))
}

async function handleCopyFileRange({ fs }: HandlerContext, request: Request): Promise<void> {
  const copyInBytes = 56
  request.require(copyInBytes, WRITE_OUT_BYTES)
  const from = fs.files.get(request.u64(0))
  requireSameKind(request.u64(16))
  const to = fs.files.get(request.u64(24))
  replyWrite(request, await copyFileRange(from, request.u64(8), to, request.u64(32), request.u64(40)))
}

function handleLseek({ fs }: HandlerContext, request: Request): void {
  const lseekInBytes = 24
  request.require(lseekInBytes, LSEEK_OUT_BYTES)
  const offset = seek(fs.files.get(request.u64(0)), request.u64(8), request.u32(16))
  putU64(request.replyWords, request.beginReply(LSEEK_OUT_BYTES), offset)
}

// ---- directories

function handleOpendir({ fs }: HandlerContext, request: Request): void {
  const openInBytes = 8
  request.require(openInBytes, OPEN_OUT_BYTES)
  fs.budgets.handles.requireRoom()
  const { fh, inode, keepCache } = openDirectory(fs, fs.inodes.get(request.nodeid))
  const mayCache = inode.mount.options.guestCache !== 'none'
  const flags = mayCache ? FOPEN_CACHE_DIR | (keepCache ? FOPEN_KEEP_CACHE : 0) : 0
  putOpen(request, request.beginReply(OPEN_OUT_BYTES), fh, flags)
}

function handleReleasedir({ fs }: HandlerContext, request: Request): void {
  const releaseInBytes = 24
  request.require(releaseInBytes, 0)
  releaseDirectory(fs, request.u64(0))
}

/** Changes of names are in the store before they are answered; some stores have them in memory until then. */
async function handleFsyncdir({ fs }: HandlerContext, request: Request): Promise<void> {
  const fsyncInBytes = 16
  request.require(fsyncInBytes, 0)
  await syncNames(fs.directories.get(request.u64(0)).inode)
}

/** The guest's kernel knows all mounts as one file system. */
async function handleSyncfs({ fs, passthrough }: HandlerContext): Promise<void> {
  const [failed] = await Promise.all([fs.commitAll(() => undefined), passthrough.sync()])
  if (failed > 0) throw new FsError('EIO', `${failed} files could not be committed`)
  const unsynced = await syncAllNames(fs)
  if (unsynced > 0) throw new FsError('EIO', `changes of names in ${unsynced} mounts could not be synced`)
}

// ---- session

function handleInit({ session }: HandlerContext, request: Request): void {
  session.init(request)
}

function handleDestroy({ session }: HandlerContext): void {
  session.end()
}

/** Requests are never given up half way: the guest waits for their end. */
function ignore(): void {
  // no reply
}

/** ENOSYS, after which the guest's kernel never asks again, unless a pass-through mount has them: it has one mind for all mounts. */
function refuseXattr({ passthrough }: HandlerContext): void {
  requireXattr(passthrough, null)
}

function refuse(errno: 'EPERM' | 'EOPNOTSUPP'): Handler {
  return () => {
    throw new FsError(errno)
  }
}

type Rows = readonly (readonly [number, Handler])[]

/** What concerns the session or several mounts at once, whichever mount it comes to. */
export const rowsOfAllMounts: Rows = [
  [Opcode.FORGET, handleForget], // no reply
  [Opcode.INIT, handleInit],
  [Opcode.INTERRUPT, ignore], // no reply
  [Opcode.DESTROY, handleDestroy],
  [Opcode.BATCH_FORGET, handleBatchForget], // no reply
  [Opcode.SYNCFS, handleSyncfs],
]

const table: Rows = [
  ...rowsOfAllMounts,
  [Opcode.LOOKUP, handleLookup],
  [Opcode.GETATTR, handleGetattr],
  [Opcode.SETATTR, handleSetattr],
  [Opcode.SYMLINK, refuse('EPERM')],
  [Opcode.MKNOD, handleMknod],
  [Opcode.MKDIR, handleMkdir],
  [Opcode.UNLINK, handleUnlink],
  [Opcode.RMDIR, handleRmdir],
  [Opcode.RENAME, handleRename],
  [Opcode.LINK, refuse('EPERM')],
  [Opcode.OPEN, handleOpen],
  [Opcode.READ, handleRead],
  [Opcode.WRITE, handleWrite],
  [Opcode.STATFS, handleStatfs],
  [Opcode.RELEASE, handleRelease],
  [Opcode.FSYNC, handleFsync],
  [Opcode.FLUSH, handleFlush],
  [Opcode.OPENDIR, handleOpendir],
  [Opcode.READDIR, readDirectory],
  [Opcode.RELEASEDIR, handleReleasedir],
  [Opcode.FSYNCDIR, handleFsyncdir],
  [Opcode.CREATE, handleCreate],
  [Opcode.FALLOCATE, handleFallocate],
  [Opcode.READDIRPLUS, readDirectoryPlus],
  [Opcode.RENAME2, handleRename2],
  [Opcode.LSEEK, handleLseek],
  [Opcode.COPY_FILE_RANGE, handleCopyFileRange],
  [Opcode.SETXATTR, refuseXattr],
  [Opcode.GETXATTR, refuseXattr],
  [Opcode.LISTXATTR, refuseXattr],
  [Opcode.REMOVEXATTR, refuseXattr],
  // Not ENOSYS: pass-through mounts have it.
  [Opcode.TMPFILE, refuse('EOPNOTSUPP')],
]

/** The handler of each opcode; undefined where there is none: ENOSYS. */
export const handlers: readonly (Handler | undefined)[] = byOpcode(table)

/** An array that is indexed by opcode. */
export function byOpcode(pairs: Rows): readonly (Handler | undefined)[] {
  const indexed = new Array<Handler | undefined>(OPCODE_LIMIT).fill(undefined)
  for (const [opcode, handler] of pairs) indexed[opcode] = handler
  return indexed
}

export function hasNoReply(opcode: number): boolean {
  return opcode === Opcode.FORGET || opcode === Opcode.BATCH_FORGET || opcode === Opcode.INTERRUPT
}
