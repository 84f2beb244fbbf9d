import type { Descriptor } from './descriptor.js'
import { checked, HostOperation, ID_OMIT, KILLING_IDS, TIME_OMIT } from './host-calls.js'
import type { HostInode } from './host-inode.js'
import { requireWritable } from './names.js'
import type { Passthrough } from './passthrough.js'
import { FsError } from '../fs/fs-error.js'

/** Seconds, and nanoseconds or TIME_NOW. */
export interface HostTime {
  readonly seconds: number
  readonly nanoseconds: number
}

/** What SETATTR asks for; undefined = leave as it is. */
export interface HostChanges {
  readonly mode: number | undefined
  readonly uid: number | undefined
  readonly gid: number | undefined
  readonly sizeBytes: number | undefined
  readonly atime: HostTime | undefined
  readonly mtime: HostTime | undefined
  /** A change of the size takes the set-user-ID and set-group-ID bits away. */
  readonly killsIds: boolean
}

/**
 * Change attributes one after the other, in the order that leaves the times as asked for. `open`: the descriptor of a handle to
 * truncate by, null for none. A promise only where the size changes, which may take long.
 */
export function setattr(
  pt: Passthrough,
  inode: HostInode,
  changes: HostChanges,
  open: Descriptor | null,
): void | Promise<void> {
  requireWritable(inode.mount)
  const { sizeBytes } = changes
  if (sizeBytes !== undefined && !Number.isSafeInteger(sizeBytes)) throw new FsError('EFBIG')
  setOwnerAndMode(pt, inode, changes)
  if (sizeBytes === undefined) {
    setTimes(pt, inode, changes)
    return
  }
  if (inode.isDirectory) throw new FsError('EISDIR')
  return setSize(pt, inode, sizeBytes, open, changes.killsIds).then(() => {
    setTimes(pt, inode, changes)
  })
}

/** The owner first: changing it takes away bits of the mode. */
function setOwnerAndMode(pt: Passthrough, inode: HostInode, { mode, uid, gid }: HostChanges): void {
  const fd = pt.fdOf(inode)
  if (uid !== undefined || gid !== undefined) checked(pt.calls.setOwner(fd, uid ?? ID_OMIT, gid ?? ID_OMIT))
  if (mode !== undefined) checked(pt.calls.setMode(fd, mode))
}

function setTimes(pt: Passthrough, inode: HostInode, { atime, mtime }: HostChanges): void {
  if (atime === undefined && mtime === undefined) return
  const omitted = { seconds: 0, nanoseconds: TIME_OMIT }
  const { seconds: atimeSeconds, nanoseconds: atimeNs } = atime ?? omitted
  const { seconds: mtimeSeconds, nanoseconds: mtimeNs } = mtime ?? omitted
  checked(pt.calls.setTimes(pt.fdOf(inode), atimeSeconds, atimeNs, mtimeSeconds, mtimeNs))
}

function setSize(
  pt: Passthrough,
  inode: HostInode,
  sizeBytes: number,
  open: Descriptor | null,
  killsIds: boolean,
): Promise<number> {
  const descriptor = open ?? pt.descriptorOf(inode)
  const truncate = open === null ? HostOperation.TRUNCATE_BY_PATH : HostOperation.TRUNCATE
  const operation = truncate | (killsIds ? KILLING_IDS : 0)
  return pt.inThread(descriptor, () => pt.calls.run(operation, descriptor.fd, -1, sizeBytes, 0, 0))
}
