/** Open directories. The host's own offsets are the guest's, so that nothing is held between two reads. */
import { constants } from 'node:os'
import type { FileHandle } from '../fs/handle-table.js'
import type { Descriptor } from './descriptor.js'
import { checked } from './host-calls.js'
import type { HostInode } from './host-inode.js'
import { requireDirectory } from './names.js'
import type { Passthrough } from './passthrough.js'

const { ENOENT } = constants.errno

export class HostDirectory {
  constructor(
    readonly inode: HostInode,
    readonly descriptor: Descriptor,
  ) {}
}

export function openDirectory(pt: Passthrough, inode: HostInode): FileHandle {
  requireDirectory(inode)
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
    if (pt.calls.statName(pt.fdOf(inode), bytes, 0, bytes.byteLength, pt.stat) === -ENOENT) names.push(name)
  }
  return names
}
