/**
 * Descriptors of the inodes that the guest knows. There may be far more of these than the process may have descriptors; so beyond a
 * number the oldest are let go of, and their files opened again by a handle (name_to_handle_at(2)) when they are needed.
 */
import type { Logger } from '../observability/logger.js'
import type { DescriptorBudget } from './descriptor.js'
import { HANDLE_BYTES_MAX, type HostCalls } from './host-calls.js'
import type { HostInodeTable } from './host-inode-table.js'
import type { HostInode } from './host-inode.js'
import type { HostMount } from './host-mount.js'

/** Opening a file again takes some microseconds, a descriptor a few hundred bytes of the kernel's memory and the file's inode. */
const KEPT_MAX = 16_384
/** Of all that the guest may have: the others are for open files. */
const KEPT_SHARE = 0.5
/** Let go of at once, and looked at for it: it is done so seldom that it costs no more than closing them one by one. */
const BATCH = 64
const LOOKED_AT_MAX = 512

/** Of a file system by one mount of the host: a descriptor to open handles by; null where there are none. */
type Opener = number | null

export class KeptDescriptors {
  private readonly limit: number
  /** There is something to do from so many descriptors on. */
  private threshold: number
  private hand = 0
  private isScheduled = false
  /** By `HostInode.fileSystem`, of each mount: they keep its file systems busy, and go with it. */
  private readonly openers = new Map<HostMount, Map<string, Opener>>()
  private readonly scratch = new Uint8Array(HANDLE_BYTES_MAX)

  constructor(
    private readonly calls: () => HostCalls,
    private readonly inodes: HostInodeTable,
    private readonly budget: DescriptorBudget,
    private readonly logger: Logger,
  ) {
    this.limit = Math.min(KEPT_MAX, Math.floor(budget.limit * KEPT_SHARE))
    this.threshold = this.limit
  }

  /** There may be one more: others are let go of soon, when nothing works with them any more. */
  noteOpened(): void {
    if (this.budget.used < this.threshold || this.isScheduled) return
    this.isScheduled = true
    queueMicrotask(() => {
      this.isScheduled = false
      this.shrink()
    })
  }

  /** Let go of some now. No call may be working with the descriptor of an inode; `stat` stays as it is. */
  shrink(): void {
    const { used, limit } = this.budget
    if (used < this.limit) this.threshold = this.limit
    if (used < this.threshold) return
    let closed = 0
    const looks = Math.min(LOOKED_AT_MAX, this.inodes.length)
    for (let look = 0; look < looks && closed < BATCH; look++) {
      this.hand = (this.hand + 1) % this.inodes.length
      const inode = this.inodes.at(this.hand)
      if (inode !== undefined && this.letGo(inode)) closed++
    }
    this.threshold = Math.max(this.limit, Math.min(this.budget.used + BATCH, limit - 1))
  }

  private letGo(inode: HostInode): boolean {
    const { descriptor, mount } = inode
    if (descriptor === null || descriptor.isInUse) return false
    if (inode === mount.root || mount.options.fileHandles === 'never') return false
    inode.handle ??= this.handleOf(inode, descriptor.fd)
    if (inode.handle === null) return false
    descriptor.close()
    inode.descriptor = null
    return true
  }

  private handleOf(inode: HostInode, fd: number): Uint8Array | null {
    const opener = this.openerOf(inode)
    if (opener === null) return null
    const handle = this.readHandle(fd)
    if (opener !== undefined || handle === null) return handle
    const made = this.makeOpener(inode, fd, handle)
    if (made !== undefined) this.noteOpener(inode, made)
    return typeof made === 'number' ? handle : null
  }

  private openerOf({ mount, fileSystem }: HostInode): Opener | undefined {
    return this.openers.get(mount)?.get(fileSystem)
  }

  private noteOpener({ mount, fileSystem }: HostInode, opener: Opener): void {
    const ofMount = this.openers.get(mount) ?? new Map<string, Opener>()
    this.openers.set(mount, ofMount.set(fileSystem, opener))
  }

  private readHandle(fd: number): Uint8Array | null {
    const length = this.calls().handleOf(fd, this.scratch)
    return length < 0 ? null : this.scratch.slice(0, length)
  }

  /** undefined: another inode of the file system has to serve. */
  private makeOpener(inode: HostInode, fd: number, handle: Uint8Array): Opener | undefined {
    const calls = this.calls()
    const { root } = inode.mount
    const rootFd = inode.fileSystem === root.fileSystem ? root.descriptor?.fd : undefined
    // A file would not go before the opener does. Of another file system the first directory is that where it begins.
    if (rootFd === undefined && !inode.isDirectory) return undefined
    const opener = calls.openDirectory(rootFd ?? fd)
    if (opener < 0) return undefined
    const trial = calls.openHandle(opener, handle)
    if (trial >= 0) {
      calls.close(trial)
      return opener
    }
    calls.close(opener)
    this.logger.info(
      { mount: inode.mount.place.options.name, errno: -trial },
      'files can not be opened by handles (that needs CAP_DAC_READ_SEARCH): each that the guest knows is a descriptor',
    )
    return null
  }

  /** Whether the inode, which has no descriptor, is of the file that `fd` is of: its number may have gone to another one. */
  isOf(inode: HostInode, fd: number): boolean {
    const handle = this.readHandle(fd)
    return handle !== null && inode.handle !== null && Buffer.compare(handle, inode.handle) === 0
  }

  /** An O_PATH descriptor of the inode's file, or an errno below 0; undefined where it can only be opened otherwise. */
  openAgain(inode: HostInode): number | undefined {
    const opener = this.openerOf(inode)
    if (inode.handle === null || typeof opener !== 'number') return undefined
    return this.calls().openHandle(opener, inode.handle)
  }

  /** Whether the inode's file system has handles, and the daemon may open them. */
  isPossible(inode: HostInode, fd: number): boolean {
    return this.handleOf(inode, fd) !== null
  }

  /** The mount was removed: nothing of it is opened again. */
  closeOf(mount: HostMount): void {
    for (const opener of this.openers.get(mount)?.values() ?? [])
      if (opener !== null) this.calls().close(opener)
    this.openers.delete(mount)
  }

  /** When no inode is left without a descriptor. */
  close(): void {
    for (const mount of [...this.openers.keys()]) this.closeOf(mount)
    this.threshold = this.limit
  }
}
