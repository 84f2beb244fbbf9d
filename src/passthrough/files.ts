/** Open files. Their data moves at once where the host's page cache has it, else in a thread. */
import { constants as fsConstants } from 'node:fs'
import { constants } from 'node:os'
import { FsError } from '../fs/fs-error.js'
import type { FileHandle } from '../fs/handle-table.js'
import type { Descriptor } from './descriptor.js'
import { checked, HostOperation, KILLING_IDS } from './host-calls.js'
import { S_IFDIR, S_IFLNK, S_IFREG, type HostInode } from './host-inode.js'
import type { HostMount } from './host-mount.js'
import {
  lookup,
  requireDirectory,
  requireNewName,
  requireWritable,
  type Caller,
  type NameBytes,
} from './names.js'
import type { Passthrough } from './passthrough.js'

const { EEXIST, EFAULT, EOPNOTSUPP, EPERM } = constants.errno
const {
  O_ACCMODE,
  O_APPEND,
  O_DIRECT,
  O_DSYNC,
  O_EXCL,
  O_NOATIME,
  O_RDONLY,
  O_RDWR,
  O_SYNC,
  O_TRUNC,
  O_WRONLY,
} = {
  O_ACCMODE: 3,
  ...fsConstants,
}
/** What is handed on to the host. Appending is asked for with each write, as a program may change its mind. */
const HOST_FLAGS = O_ACCMODE | O_TRUNC | O_SYNC | O_DSYNC
/** fuse_write_in.write_flags: the guest's page cache writes, not a program. */
const WRITE_CACHE = 1 << 0
/** The same: the writer may not keep set-user-ID and set-group-ID bits. */
const WRITE_KILL_SUIDGID = 1 << 2
/** How `HostData` writes: at the end of the file, and as one who may not keep those bits. */
const APPEND = 1 << 0
const KILL_IDS = 1 << 1
/** Beyond this a thread costs little beside the copy, and the loop would be held up by it. */
const BLIND_WRITE_BYTES = 64 << 10
/** The inode's and the handle's. */
const DESCRIPTORS_OF_A_NEW_FILE = 2
/** A name that comes and goes: looked at so often, then left to the guest to try again. */
const CREATE_TRIES = 8

/** What moves data between a descriptor and the request's memory. Numbers: bytes, or an errno below 0. */
export interface HostData {
  /** All that is asked for, or up to the end of the file; or the error that stopped it. */
  readFile(fd: number, offset: number, lengthBytes: number): number
  /** The rest of it, in a thread. */
  readFileLater(fd: number, offset: number, lengthBytes: number): Promise<number>
  /** From `from` on in the data; may be less than asked for. Without `mayWait` it is an error to have to. */
  writeFile(
    fd: number,
    from: number,
    offset: number,
    lengthBytes: number,
    how: number,
    mayWait: boolean,
  ): number
  /** Whether a `writeFile` has waited since this was asked last. */
  takeWaited(): boolean
  writeFileLater(fd: number, from: number, offset: number, lengthBytes: number, how: number): Promise<number>
}

/** A regular file that the guest has open. */
export class HostFile {
  /** False where each access waits for the disk, or the file system can't tell whether it would. */
  readsAtOnce: boolean
  writesAtOnce: boolean
  readonly isWritable: boolean
  /** The file system can't tell whether a write would wait; the page cache takes it, though, so few will. */
  writesBlindly = false

  constructor(
    readonly inode: HostInode,
    readonly descriptor: Descriptor,
    hostFlags: number,
  ) {
    this.isWritable = (hostFlags & O_ACCMODE) !== O_RDONLY
    this.readsAtOnce = (hostFlags & O_DIRECT) === 0
    this.writesAtOnce = (hostFlags & (O_DIRECT | O_SYNC | O_DSYNC)) === 0
  }
}

/** The host's flags for the guest's; EROFS where they want to change something that may not be. */
function hostFlagsOf(pt: Passthrough, mount: HostMount, flags: number): number {
  const accessMode = flags & O_ACCMODE
  if (accessMode !== O_RDONLY || (flags & O_TRUNC) !== 0) requireWritable(mount)
  let hostFlags = flags & HOST_FLAGS
  if (mount.options.directIo) hostFlags |= flags & O_DIRECT
  // Others than root may only do so with files of their own.
  if (mount.options.preserveNoatime) hostFlags |= flags & O_NOATIME
  // To fill up a page that is written in part.
  if (pt.options.guestWriteback && accessMode === O_WRONLY) hostFlags = (hostFlags & ~O_ACCMODE) | O_RDWR
  return hostFlags
}

/** Anything but a regular file is opened by the guest's kernel itself: a FIFO here would block us, a device act on the host. */
function requireRegular({ type }: HostInode): void {
  if (type === S_IFREG) return
  if (type === S_IFDIR) throw new FsError('EISDIR')
  throw new FsError(type === S_IFLNK ? 'ELOOP' : 'EACCES')
}

/** `keepsIds`: the caller may truncate a file without that its set-user-ID and set-group-ID bits go. */
export function open(pt: Passthrough, inode: HostInode, flags: number, keepsIds: boolean): FileHandle {
  requireRegular(inode)
  pt.guest.handles.requireRoom()
  const hostFlags = hostFlagsOf(pt, inode.mount, flags)
  const killIds = (hostFlags & O_TRUNC) !== 0 && !keepsIds ? 1 : 0
  const fd = pt.fdOf(inode)
  let opened = pt.calls.reopen(fd, hostFlags, killIds)
  // The host may let nobody write elsewhere than at the file's end (chattr +a).
  if (opened === -EPERM && (flags & O_APPEND) !== 0)
    opened = pt.calls.reopen(fd, hostFlags | O_APPEND, killIds)
  const descriptor = pt.hold(checked(opened))
  return pt.files.add(new HostFile(inode, descriptor, hostFlags))
}

export interface CreatedFile {
  readonly inode: HostInode
  readonly fh: FileHandle
  /** It was not there before. */
  readonly isNew: boolean
}

/** open(2) with O_CREAT: made, or opened where it is there and O_EXCL is not given. The inode's stat is in `stat`. */
export function create(
  pt: Passthrough,
  directory: HostInode,
  name: NameBytes,
  flags: number,
  mode: number,
  caller: Caller,
  keepsIds: boolean,
): CreatedFile {
  requireNewName(directory, name)
  pt.guest.handles.requireRoom()
  pt.requireRoom(DESCRIPTORS_OF_A_NEW_FILE)
  const { bytes, start, length } = name
  const hostFlags = hostFlagsOf(pt, directory.mount, flags)
  for (let tries = 0; tries < CREATE_TRIES; tries++) {
    const fd = pt.calls.create(
      ...([pt.fdOf(directory), bytes, start, length] as const),
      ...([hostFlags & ~O_TRUNC, mode, caller.uid, caller.gid, caller.how] as const),
    )
    if (fd >= 0) return adoptCreated(pt, directory.mount, fd, hostFlags)
    if (fd !== -EEXIST || (flags & O_EXCL) !== 0) checked(fd)
    const present = lookup(pt, directory, name)
    if (present instanceof Object && 'index' in present) return openPresent(pt, present, flags, keepsIds)
  }
  throw new FsError('ESTALE', 'the name comes and goes')
}

function openPresent(pt: Passthrough, inode: HostInode, flags: number, keepsIds: boolean): CreatedFile {
  try {
    const fh = open(pt, inode, flags, keepsIds)
    // O_TRUNC has changed it.
    pt.lookAt(inode)
    return { inode, fh, isNew: false }
  } catch (error) {
    pt.inodes.freeIfUnused(inode)
    throw error
  }
}

/** O_TMPFILE: without a name, until it is linked. */
export function createUnnamed(
  pt: Passthrough,
  directory: HostInode,
  flags: number,
  mode: number,
  { uid, gid, how }: Caller,
): CreatedFile {
  requireDirectory(directory)
  requireWritable(directory.mount)
  pt.guest.handles.requireRoom()
  pt.requireRoom(DESCRIPTORS_OF_A_NEW_FILE)
  const hostFlags = hostFlagsOf(pt, directory.mount, flags) & ~O_TRUNC
  // Without O_EXCL: it could not be given a name then.
  const fd = checked(pt.calls.createUnnamed(pt.fdOf(directory), hostFlags, mode, uid, gid, how))
  return adoptCreated(pt, directory.mount, fd, hostFlags)
}

function adoptCreated(pt: Passthrough, mount: HostMount, fd: number, hostFlags: number): CreatedFile {
  const descriptor = pt.hold(fd)
  let inode: HostInode | null = null
  try {
    const pathFd = checked(pt.calls.reopenPath(fd))
    checkStat(pt, pathFd)
    inode = pt.adopt(mount, pathFd)
    return { inode, fh: pt.files.add(new HostFile(inode, descriptor, hostFlags)), isNew: true }
  } catch (error) {
    descriptor.close()
    if (inode !== null) pt.inodes.freeIfUnused(inode)
    throw error
  }
}

function checkStat(pt: Passthrough, fd: number): void {
  const result = pt.calls.stat(fd)
  if (result < 0) pt.calls.close(fd)
  checked(result)
}

export function release(pt: Passthrough, fh: number): void {
  pt.files.take(fh)?.descriptor.close()
}

/** Offsets that no file has, and that a double can't tell apart: beyond the longest file of every file system. */
function requireOffset(offset: number, errno: 'EINVAL' | 'EFBIG' | 'ENXIO' = 'EINVAL'): void {
  if (!Number.isSafeInteger(offset)) throw new FsError(errno)
}

export function read(
  pt: Passthrough,
  file: HostFile,
  offset: number,
  sizeBytes: number,
  data: HostData,
): void | Promise<void> {
  requireOffset(offset)
  if (sizeBytes <= 0) return
  const { descriptor } = file
  if (file.readsAtOnce) {
    const result = data.readFile(descriptor.fd, offset, sizeBytes)
    if (result >= 0) return
    requireGuestMemory(result)
    if (result === -EOPNOTSUPP) file.readsAtOnce = false
  }
  return pt
    .inThread(descriptor, () => data.readFileLater(descriptor.fd, offset, sizeBytes))
    .then(() => undefined)
}

/** Returns the bytes written. `writeFlags` and `openFlags` as in fuse_write_in. */
export function write(
  pt: Passthrough,
  file: HostFile,
  offset: number,
  sizeBytes: number,
  writeFlags: number,
  openFlags: number,
  data: HostData,
): number | Promise<number> {
  requireOffset(offset, 'EFBIG')
  if (sizeBytes === 0) return 0
  const { descriptor } = file
  // What leaves the guest's page cache has its place, whoever has the file open.
  const append =
    (openFlags & O_APPEND) !== 0 && (writeFlags & WRITE_CACHE) === 0 && !pt.options.guestWriteback
  const how = (append ? APPEND : 0) | ((writeFlags & WRITE_KILL_SUIDGID) === 0 ? 0 : KILL_IDS)
  let done = 0
  if (file.writesAtOnce) {
    const result = data.writeFile(descriptor.fd, 0, offset, sizeBytes, how, false)
    requireGuestMemory(result)
    if (result === sizeBytes) return sizeBytes
    if (result === -EOPNOTSUPP) {
      file.writesAtOnce = false
      file.writesBlindly = true
    }
    done = Math.max(0, result)
  }
  const { blindWrites } = file.inode.mount
  if (file.writesBlindly && sizeBytes <= BLIND_WRITE_BYTES && blindWrites.mayTry()) {
    const result = data.writeFile(descriptor.fd, 0, offset, sizeBytes, how, true)
    if (data.takeWaited()) blindWrites.pause()
    requireGuestMemory(result)
    if (result === sizeBytes) return sizeBytes
    done = Math.max(0, result)
  }
  return writeRest(pt, file, offset, sizeBytes, done, how, data)
}

async function writeRest(
  pt: Passthrough,
  { descriptor }: HostFile,
  offset: number,
  sizeBytes: number,
  done: number,
  how: number,
  data: HostData,
): Promise<number> {
  const rest = (): Promise<number> =>
    data.writeFileLater(descriptor.fd, done, offset + done, sizeBytes - done, how)
  try {
    return done + (await pt.inThread(descriptor, rest))
  } catch (error) {
    // What is written is written; the next write meets the error.
    if (done > 0) return done
    throw error
  }
}

/** EIO where the guest's memory has vanished. */
function requireGuestMemory(result: number): void {
  if (result === -EFAULT) throw new FsError('EIO', "the guest's memory is not there any more")
}

/**
 * A descriptor of the guest is closed: what close(2) would tell on the host. File systems that reach a server (NFS, CIFS, FUSE)
 * store what was written by then, and tell ENOSPC, EDQUOT or EIO. Undefined where there is nothing to wait for.
 */
export function flush(
  pt: Passthrough,
  { inode, descriptor, isWritable }: HostFile,
): Promise<void> | undefined {
  if (!isWritable || !inode.mount.tellsAtClose(pt.calls, inode, descriptor.fd)) return undefined
  const close = (): Promise<number> => pt.calls.run(HostOperation.FLUSH, descriptor.fd, -1, 0, 0, 0)
  return pt.inThread(descriptor, close).then(() => undefined)
}

export function sync(
  pt: Passthrough,
  { descriptor }: { readonly descriptor: Descriptor },
  dataOnly: boolean,
): Promise<number> {
  const operation = dataOnly ? HostOperation.SYNC_DATA : HostOperation.SYNC
  return pt.inThread(descriptor, () => pt.calls.run(operation, descriptor.fd, -1, 0, 0, 0))
}

export async function fallocate(
  pt: Passthrough,
  { inode, descriptor }: HostFile,
  mode: number,
  offset: number,
  lengthBytes: number,
  keepsIds: boolean,
): Promise<void> {
  requireWritable(inode.mount)
  requireOffset(offset + lengthBytes, 'EFBIG')
  const allocate = HostOperation.ALLOCATE | (keepsIds ? 0 : KILLING_IDS)
  await pt.inThread(descriptor, () => pt.calls.run(allocate, descriptor.fd, -1, offset, lengthBytes, mode))
}

/** Only SEEK_DATA and SEEK_HOLE: the guest's kernel knows the others itself. */
export function seek(pt: Passthrough, { descriptor }: HostFile, offset: number, whence: number): number {
  requireOffset(offset, 'ENXIO')
  return checked(pt.calls.seek(descriptor.fd, offset, whence))
}

/** Returns the bytes copied. EXDEV across mounts, where the guest's kernel copies by itself. */
export function copyFileRange(
  pt: Passthrough,
  from: HostFile,
  fromOffset: number,
  to: HostFile,
  toOffset: number,
  lengthBytes: number,
  keepsIds: boolean,
): Promise<number> {
  if (from.inode.mount !== to.inode.mount) throw new FsError('EXDEV')
  requireWritable(to.inode.mount)
  requireOffset(fromOffset)
  requireOffset(toOffset, 'EFBIG')
  const length = Math.min(lengthBytes, Number.MAX_SAFE_INTEGER)
  const operation = HostOperation.COPY | (keepsIds ? 0 : KILLING_IDS)
  const copy = (): Promise<number> =>
    pt.calls.run(operation, from.descriptor.fd, to.descriptor.fd, fromOffset, toOffset, length)
  return to.descriptor.use(() => pt.inThread(from.descriptor, copy))
}
