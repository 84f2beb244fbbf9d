import { monotonicMs } from '../backends/clock.js'
import { StorageError } from '../backends/storage-error.js'
import type { ErrorObserver } from '../cache/error-sequence.js'
import type { FileContent } from '../cache/file-content.js'
import { ReadAhead } from '../cache/read-ahead.js'
import { canResizeNow, truncate } from '../cache/resizing.js'
import { requireMounted, requireWritable } from './access.js'
import { createFile, type Creation } from './create.js'
import { readAheadInDirectory } from './directory-read-ahead.js'
import type { FileSystem } from './file-system.js'
import { FsError } from './fs-error.js'
import { mustReadDirectly, noteTold } from './guest-view.js'
import type { FileHandle } from './handle-table.js'
import type { Inode } from './inode.js'
import { revalidate } from './lookup.js'
import { eraseHidden } from './silly-rename.js'

/** Open flags as Linux numbers them on the guests we serve, <asm-generic/fcntl.h>. */
const O_ACCMODE = 0o3
const O_RDONLY = 0o0
const O_WRONLY = 0o1
const O_EXCL = 0o200
const O_TRUNC = 0o1000
export const O_APPEND = 0o2000
const O_DSYNC = 0o10000

/** open() asks the store unless it was asked this recently: the LOOKUP just before an OPEN is answer enough. */
const OPEN_REVALIDATE_MS = 1000

/** An open file of the guest. */
export class OpenFile implements ErrorObserver {
  readonly readAhead = new ReadAhead()

  constructor(
    readonly inode: Inode,
    readonly content: FileContent,
    readonly canRead: boolean,
    readonly canWrite: boolean,
    /** O_SYNC or O_DSYNC: every write is committed before it is answered. */
    readonly isSynchronous: boolean,
    /** Reads are not through the guest's pages. */
    readonly isDirect: boolean,
    /** What was lost before it was opened is others' concern. */
    public errorCursor: number,
  ) {}
}

export interface Opened {
  readonly fh: FileHandle
  readonly inode: Inode
  /** The guest's cached pages are still what the file holds. */
  readonly keepCache: boolean
  /** The guest's kernel knows another size, so that it must not go by its pages. */
  readonly isDirect: boolean
}

/** Open a file; close-to-open consistency: what the store has now is what is read. */
export function open(fs: FileSystem, inode: Inode, flags: number): Opened | Promise<Opened> {
  if (inode.isDirectory) throw new FsError('EISDIR')
  fs.budgets.handles.requireRoom()
  requireAlive(inode)
  if ((flags & O_ACCMODE) !== O_RDONLY || (flags & O_TRUNC) !== 0) requireWritable(inode)
  if (isCurrent(inode)) return openNow(fs, inode, flags)
  return fs.inodes.hold([inode], async () => {
    await revalidate(inode)
    return openNow(fs, inode, flags)
  })
}

/** EIO when the mount was removed; ESTALE when the data has no name and no handle any more: the guest looks the name up again. */
function requireAlive(inode: Inode): void {
  requireMounted(inode)
  if (inode.isErasing || (inode.isUnlinked && inode.handles === 0))
    throw new FsError('ESTALE', 'the file is being removed')
}

function isCurrent(inode: Inode): boolean {
  if (inode.content?.isBusy === true || inode.isUnlinked) return true
  const maximumAgeMs = Math.min(OPEN_REVALIDATE_MS, inode.mount.options.expirationMs)
  const { mount } = inode
  // Bytes of the version that we know are as good an answer.
  const askedMs = Math.max(inode.validatedMs, inode.content?.confirmedMs ?? -Infinity)
  return askedMs >= mount.invalidatedMs && monotonicMs() - askedMs < maximumAgeMs
}

function openNow(fs: FileSystem, inode: Inode, flags: number): Opened | Promise<Opened> {
  requireAlive(inode)
  const content = fs.contentOf(inode)
  if ((flags & O_TRUNC) === 0 || (content.size === 0 && !content.isLost))
    return addHandle(fs, inode, content, flags)
  if (canResizeNow(content, 0)) {
    content.resize(0)
    noteTruncated(inode)
    return addHandle(fs, inode, content, flags)
  }
  inode.pins++
  return truncate(content, 0).then(
    () => {
      inode.pins--
      noteTruncated(inode)
      return addHandle(fs, inode, content, flags)
    },
    (error: unknown) => {
      inode.pins--
      throw error
    },
  )
}

function noteTruncated(inode: Inode): void {
  inode.pendingMtime = null
  inode.touch()
}

function addHandle(fs: FileSystem, inode: Inode, content: FileContent, flags: number): Opened {
  requireAlive(inode)
  const access = flags & O_ACCMODE
  const canRead = access !== O_WRONLY || fs.options.guestWriteback
  // With O_TRUNC the guest's kernel takes the file for empty by itself.
  const isDirect = (flags & O_TRUNC) === 0 && mustReadDirectly(inode)
  const file = new OpenFile(
    inode,
    content,
    canRead,
    access !== O_RDONLY,
    (flags & O_DSYNC) !== 0,
    isDirect,
    content.errors.sample(),
  )
  inode.handles++
  fs.inodes.add(inode)
  const keepCache = inode.openedGeneration === content.generation && fs.options.cacheEnabled
  inode.openedGeneration = content.generation
  // Whoever opens a file for reading and writing may not read.
  if (access === O_RDONLY && !keepCache && fs.options.cacheEnabled) {
    file.readAhead.onOpen(content)
    readAheadInDirectory(fs, inode)
  }
  return { fh: fs.files.add(file), inode, keepCache, isDirect }
}

/** CREATE: make the file if it is not there, and open it. */
export function create(
  fs: FileSystem,
  parent: Inode,
  name: string,
  flags: number,
  creation: Creation,
): Opened | Promise<Opened> {
  fs.budgets.handles.requireRoom()
  const inode = createFile(fs, parent, name, (flags & O_EXCL) !== 0, creation)
  if (inode instanceof Promise) return inode.then((made) => openCreated(fs, made, flags))
  return openCreated(fs, inode, flags)
}

function openCreated(fs: FileSystem, inode: Inode, flags: number): Opened | Promise<Opened> {
  // The reply has the attributes.
  noteTold(inode)
  const opened = open(fs, inode, flags)
  if (!(opened instanceof Promise)) return opened
  return opened.catch((error: unknown) => {
    if (inode.guestSize?.isAskedToLook !== true) throw error
    noteTold(inode)
    return open(fs, inode, flags)
  })
}

/** A descriptor is closed: with write-back off the store has the data when this resolves, else the staging directory, if there is one. Undefined when there is nothing to wait for. */
export function flush(fs: FileSystem, file: OpenFile): Promise<void> | undefined {
  const { content, inode } = file
  if (inode.isDoomed || (!content.isBusy && !content.hasErrorFor(file))) return undefined
  if (fs.options.writeBack && !content.hasErrorFor(file)) return content.staged.persistLocally()
  return content.sync(file)
}

/** The store has the data when this resolves. */
export function fsync(file: OpenFile): Promise<void> | undefined {
  const { content, inode } = file
  if (inode.isDoomed || (!content.isBusy && !content.hasErrorFor(file))) return undefined
  return content.sync(file)
}

/** The last descriptor of a handle is gone. The guest ignores errors here, so they are logged. */
export function release(fs: FileSystem, fh: number): Promise<void> | undefined {
  const file = fs.files.take(fh)
  return file === null ? undefined : releaseFile(fs, file)
}

export function releaseFile(fs: FileSystem, file: OpenFile): Promise<void> | undefined {
  const { inode } = file
  file.readAhead.close(file.content)
  inode.handles--
  if (inode.handles > 0) return undefined
  if (inode.isDoomed) return eraseHidden(fs, inode)
  // After a conflict the file has other contents than the handle.
  const content = inode.content ?? file.content
  if (content.isDirty && !fs.options.writeBack) return commitOnRelease(fs, inode, content)
  if (content.isLost && !content.isStored) abandon(inode, content)
  else if (!fs.options.cacheEnabled && !content.isBusy) content.blocks.dropAll()
  fs.inodes.freeIfUnused(inode)
  return undefined
}

async function commitOnRelease(fs: FileSystem, inode: Inode, content: FileContent): Promise<void> {
  try {
    await content.commit()
  } catch (error) {
    // A conflict and a loss have told of themselves.
    if (content.failure !== null) return
    const isFinal = !(error instanceof StorageError && error.retryable)
    fs.logger.error({ err: error, path: inode.path(), lost: isFinal }, 'a closed file could not be stored')
    // close() has told the program. What may succeed later is tried again by the cleaner; the rest would only fill the cache.
    if (isFinal && inode.handles === 0) abandon(inode, content)
  }
  fs.inodes.freeIfUnused(inode)
}

/** Forget changes that can never be stored. */
function abandon(inode: Inode, content: FileContent): void {
  if (inode.content !== content) return
  content.discard()
  inode.content = null
  // New contents count their epochs anew; the guest's pages hold what was lost.
  inode.openedGeneration = -1
  inode.expire()
  if (inode.mayBeStored) return
  inode.isUnlinked = true
  inode.isGone = true
  inode.parent?.removeChild(inode.name, inode)
}
