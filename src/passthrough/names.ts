/** Names: finding, making, linking, moving and removing them. All on the loop, one system call or three each. */
import { constants } from 'node:os'
import { FsError } from '../fs/fs-error.js'
import type { Inode } from '../fs/inode.js'
import { checked } from './host-calls.js'
import type { HostMount } from './host-mount.js'
import { S_IFLNK, type HostInode } from './host-inode.js'
import type { Passthrough } from './passthrough.js'

const { ENOENT } = constants.errno
const DOT = 0x2e
/** PATH_MAX of Linux, with its NUL. */
const PATH_MAX_BYTES = 4096

/** A name as the guest sent it: `length` bytes of `bytes` from `start` on. What is no name of one entry is refused by the calls. */
export interface NameBytes {
  readonly bytes: Uint8Array
  readonly start: number
  readonly length: number
}

/** In whose name something is made, in the host's ids. */
export interface Caller {
  readonly uid: number
  readonly gid: number
  /** The umask, and IN_GROUP. */
  readonly how: number
}

export function requireWritable({ readOnly }: HostMount): void {
  if (readOnly) throw new FsError('EROFS')
}

export function requireDirectory(inode: HostInode): void {
  if (!inode.isDirectory) throw new FsError('ENOTDIR')
}

function textOf({ bytes, start, length }: NameBytes): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset + start, length).toString('utf8')
}

/** What the tree of mounts has by that name: a mount point, or a directory on the way to one. */
function placeOf(directory: HostInode, name: NameBytes): Inode | null {
  const { point } = directory
  if (point?.children == null || point.children.size === 0) return null
  return point.children.get(textOf(name)) ?? null
}

/** Where the configuration has a mount, or leads to one, the guest may not put or take anything: `errno`. */
function requireFree(directory: HostInode, name: NameBytes, errno: 'EBUSY' | 'EEXIST'): void {
  const place = placeOf(directory, name)
  if (place === null) return
  if (errno === 'EEXIST' && place.mount.root !== place) return
  throw new FsError(errno, 'a mount point')
}

/**
 * What `name` leads to: an inode of the host, whose stat is in `stat` then, the root of a mount that lies there, or null. The
 * inode is not counted as looked up yet, and goes with the next call unless it is.
 */
export function lookup(pt: Passthrough, directory: HostInode, name: NameBytes): HostInode | Inode | null {
  requireDirectory(directory)
  if (isDots(name)) return name.length === 1 ? itself(pt, directory) : above(pt, directory)
  const place = placeOf(directory, name)
  if (place !== null && place.mount.root === place) return place
  const inode = find(pt, directory, name)
  // A directory of the host on the way to a mount point, or none any more.
  if (inode?.isDirectory === true) inode.point = place
  return inode
}

/** "." and "..", which Linux resolves by itself and Windows's driver asks for. */
export function isDots({ bytes, start, length }: NameBytes): boolean {
  return bytes[start] === DOT && (length === 1 || (length === 2 && bytes[start + 1] === DOT))
}

/** The directory, with its stat in `stat`, as a lookup leaves it. */
export function itself(pt: Passthrough, directory: HostInode): HostInode {
  pt.lookAt(directory)
  return directory
}

/** Nothing is above the root. A directory that the host has moved may lie outside of it: only one that the guest knows is shown. */
function above(pt: Passthrough, directory: HostInode): HostInode | Inode {
  const { mount } = directory
  if (directory === mount.root) {
    const { parent } = mount.place.root
    return parent === null ? itself(pt, directory) : parent
  }
  checked(pt.calls.statParent(pt.fdOf(directory)))
  const known = mount.find(pt.stat)
  // One without a descriptor may be of a directory that has gone, whose number this one has got.
  if (known === null || known.descriptor === null)
    throw new FsError('ESTALE', 'the guest has forgotten the directory above')
  return known
}

function find(pt: Passthrough, directory: HostInode, name: NameBytes): HostInode | null {
  const { calls, stat } = pt
  const fd = pt.fdOf(directory)
  const looked = calls.statName(fd, name.bytes, name.start, name.length)
  if (looked === -ENOENT) return null
  checked(looked)
  const known = directory.mount.find(stat)
  // One without a descriptor may be of a file that has gone, whose number this one has got.
  if (known !== null && known.descriptor !== null) return noted(known, directory)
  const opened = calls.openName(fd, name.bytes, name.start, name.length)
  // Removed since.
  if (opened === -ENOENT) return null
  return noted(pt.adopt(directory.mount, checked(opened)), directory)
}

function noted(inode: HostInode, directory: HostInode): HostInode {
  if (directory.mount.options.announceSubmounts)
    inode.isSubmount = inode.isDirectory && !inode.isBeside(directory)
  return inode
}

/** What was just made by this name. Somebody of the host may have been quicker to take it away. */
function made(pt: Passthrough, directory: HostInode, name: NameBytes): HostInode {
  const inode = find(pt, directory, name)
  if (inode === null) throw new FsError('ENOENT', 'it was removed as soon as it was made')
  return inode
}

export function makeDirectory(
  pt: Passthrough,
  directory: HostInode,
  name: NameBytes,
  mode: number,
  { uid, gid, how }: Caller,
): HostInode {
  requireNewName(directory, name)
  pt.requireRoom(1)
  const { bytes, start, length } = name
  checked(pt.calls.makeDirectory(pt.fdOf(directory), bytes, start, length, mode, uid, gid, how))
  return made(pt, directory, name)
}

/** `mode` with the file type, `rdev` as in fuse_mknod_in. */
export function makeNode(
  pt: Passthrough,
  directory: HostInode,
  name: NameBytes,
  mode: number,
  rdev: number,
  { uid, gid, how }: Caller,
): HostInode {
  requireNewName(directory, name)
  pt.requireRoom(1)
  const { bytes, start, length } = name
  checked(pt.calls.makeNode(pt.fdOf(directory), bytes, start, length, mode, rdev, uid, gid, how))
  return made(pt, directory, name)
}

/** `target`: any bytes but NUL; what it leads to is the guest's business. */
export function makeSymlink(
  pt: Passthrough,
  directory: HostInode,
  name: NameBytes,
  target: NameBytes,
  { uid, gid, how }: Caller,
): HostInode {
  requireNewName(directory, name)
  pt.requireRoom(1)
  if (target.length >= PATH_MAX_BYTES) throw new FsError('ENAMETOOLONG')
  const { bytes, start, length } = name
  checked(
    pt.calls.makeSymlink(
      ...([pt.fdOf(directory), bytes, start, length] as const),
      ...([target.bytes, target.start, target.length, uid, gid, how] as const),
    ),
  )
  return made(pt, directory, name)
}

/** Another name of `inode`. EXDEV across mounts. */
export function link(pt: Passthrough, inode: HostInode, directory: HostInode, name: NameBytes): void {
  requireNewName(directory, name)
  if (inode.mount !== directory.mount) throw new FsError('EXDEV')
  checked(pt.calls.link(pt.fdOf(inode), pt.fdOf(directory), name.bytes, name.start, name.length))
}

/** The errors that a new name may meet before the host is asked. */
export function requireNewName(directory: HostInode, name: NameBytes): void {
  requireDirectory(directory)
  requireWritable(directory.mount)
  requireFree(directory, name, 'EEXIST')
}

export function remove(pt: Passthrough, directory: HostInode, name: NameBytes, isDirectory: boolean): void {
  requireDirectory(directory)
  requireWritable(directory.mount)
  requireFree(directory, name, 'EBUSY')
  checked(pt.calls.unlink(pt.fdOf(directory), name.bytes, name.start, name.length, isDirectory ? 1 : 0))
}

/** `flags` as renameat2(2). EXDEV across mounts, EBUSY for mount points and what leads to them. */
export function rename(
  pt: Passthrough,
  directory: HostInode,
  name: NameBytes,
  newDirectory: HostInode,
  newName: NameBytes,
  flags: number,
): void {
  requireDirectory(directory)
  requireDirectory(newDirectory)
  if (directory.mount !== newDirectory.mount) throw new FsError('EXDEV')
  requireWritable(directory.mount)
  requireFree(directory, name, 'EBUSY')
  requireFree(newDirectory, newName, 'EBUSY')
  checked(
    pt.calls.rename(
      ...([pt.fdOf(directory), name.bytes, name.start, name.length] as const),
      ...([pt.fdOf(newDirectory), newName.bytes, newName.start, newName.length, flags] as const),
    ),
  )
}

/** A symbolic link's target into `target`. Returns its length. EINVAL for anything else. */
export function readLink(pt: Passthrough, inode: HostInode, target: Uint8Array): number {
  if (inode.type !== S_IFLNK) throw new FsError('EINVAL')
  return checked(pt.calls.readLink(pt.fdOf(inode), target))
}
