/** Open directories. The host's own offsets are the guest's, so that nothing is held between two reads. */
import { constants } from 'node:os'
import type { FileHandle } from '../fs/handle-table.js'
import type { Descriptor } from './descriptor.js'
import { checked } from './host-calls.js'
import type { HostInode } from './host-inode.js'
import { requireDirectory } from './names.js'
import type { Passthrough } from './passthrough.js'

const { ENOENT } = constants.errno
/** Of the upper word of an offset. */
const SIGN_BIT = 2 ** 31

/** Entries that the host has listed and the guest has not taken yet, as struct fuse_dirent. */
interface Untaken {
  readonly offsetLow: number
  readonly offsetHigh: number
  readonly entries: Buffer
}

export class HostDirectory {
  /** Kept only where the host can't be told to list them again: see `keep`. */
  private untaken: Untaken | null = null

  constructor(
    readonly inode: HostInode,
    readonly descriptor: Descriptor,
  ) {}

  /**
   * The guest goes on at the offset before `entries`, of which it had no room for. lseek(2) goes to no offset with bit 63, as NFS and
   * FUSE file systems of the host have them, and to list all again from the beginning would take longer with each page.
   */
  keep(offsetLow: number, offsetHigh: number, entries: Uint8Array): void {
    const canSeek = offsetHigh < SIGN_BIT
    this.untaken = canSeek ? null : { offsetLow, offsetHigh, entries: Buffer.from(entries) }
  }

  /** What was kept for this offset; null when the host is to be asked. */
  takeKept(offsetLow: number, offsetHigh: number): Buffer | null {
    const { untaken } = this
    this.untaken = null
    return untaken?.offsetLow === offsetLow && untaken.offsetHigh === offsetHigh ? untaken.entries : null
  }
}

export function openDirectory(pt: Passthrough, inode: HostInode): FileHandle {
  requireDirectory(inode)
  pt.guest.handles.requireRoom()
  const descriptor = pt.hold(checked(pt.calls.openDirectory(pt.fdOf(inode))))
  return pt.directories.add(new HostDirectory(inode, descriptor))
}

export function releaseDirectory(pt: Passthrough, fh: number): void {
  pt.directories.take(fh)?.descriptor.close()
}

/**
 * Names of mounts in the directory that the host has no entry by: they are listed behind the host's. The others are listed
 * there.
 */
export function addedNames(pt: Passthrough, { inode }: HostDirectory): string[] {
  const names: string[] = []
  for (const [name, place] of inode.point?.children ?? []) {
    if (place.mount.root !== place) continue
    const bytes = Buffer.from(name)
    if (pt.calls.statName(pt.fdOf(inode), bytes, 0, bytes.byteLength) === -ENOENT) names.push(name)
  }
  return names
}
