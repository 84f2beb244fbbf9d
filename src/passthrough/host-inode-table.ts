import { FsError } from '../fs/fs-error.js'
import { ROOT_NODEID } from '../fs/inode.js'
import type { HostInode } from './host-inode.js'
import type { HostMount } from './host-mount.js'

/** nodeids from here on are of pass-through mounts: far beyond what the table of the others can hold. */
export const PASSTHROUGH_NODEID_BASE = 2 ** 32

/** index -> inode, as nodeids of the other mounts: reused with the next generation. A mount's root stays while the mount does. */
export class HostInodeTable {
  private readonly inodes: (HostInode | undefined)[] = [undefined]
  private readonly free: number[] = []
  private nextGeneration = 1
  /** Of the mount at "/": nodeid 1. */
  rootMount: HostMount | null = null

  get count(): number {
    return this.inodes.length - 1 - this.free.length
  }

  /** Whether a nodeid would be of a pass-through mount, if anybody knows it. */
  owns(nodeid: number): boolean {
    return nodeid >= PASSTHROUGH_NODEID_BASE || (nodeid === ROOT_NODEID && this.rootMount !== null)
  }

  /** ESTALE for a nodeid that the guest has no right to, EIO for one of a mount that was removed. */
  get(nodeid: number): HostInode {
    const inode = this.find(nodeid)
    if (inode === undefined) throw new FsError('ESTALE', `nodeid ${nodeid} is unknown`)
    if (inode.mount.isRemoved)
      throw new FsError('EIO', `the mount ${inode.mount.place.options.name} was removed`)
    return inode
  }

  find(nodeid: number): HostInode | undefined {
    if (nodeid < PASSTHROUGH_NODEID_BASE) return this.rootMount?.root
    return this.inodes[nodeid - PASSTHROUGH_NODEID_BASE]
  }

  /** Places in the table, of which some may be free. */
  get length(): number {
    return this.inodes.length
  }

  at(index: number): HostInode | undefined {
    return this.inodes[index]
  }

  /** Give the inode its index, if it has none. */
  add(inode: HostInode): void {
    if (inode.index !== 0) return
    inode.index = this.free.pop() ?? this.inodes.length
    this.inodes[inode.index] = inode
    inode.generation = this.nextGeneration++
  }

  /** The guest dropped `count` of its look-ups; more than it has are taken as all. */
  forget(nodeid: number, count: number): void {
    const inode = this.find(nodeid)
    if (inode === undefined) return
    inode.nlookup = Math.max(0, inode.nlookup - count)
    this.freeIfUnused(inode)
  }

  /** Let go of the inode when the guest has no look-up of it. */
  freeIfUnused(inode: HostInode): void {
    if (inode.nlookup > 0 || inode.index === 0) return
    if (inode === inode.mount.root && !inode.mount.isRemoved) return
    this.inodes[inode.index] = undefined
    this.free.push(inode.index)
    inode.index = 0
    inode.mount.removeFromIndex(inode)
    inode.descriptor?.close()
    inode.descriptor = null
    // Who goes on with it after a wait gets ESTALE, and opens nothing that nobody would close.
    inode.handle = null
  }

  /** A new session of the guest knows none of them. */
  forgetAll(): void {
    for (const inode of [...this.inodes]) {
      if (inode === undefined) continue
      inode.nlookup = 0
      this.freeIfUnused(inode)
    }
  }

  ofMount(mount: HostMount): HostInode[] {
    return this.inodes.filter((inode) => inode?.mount === mount) as HostInode[]
  }
}
