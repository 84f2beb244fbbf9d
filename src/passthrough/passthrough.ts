import { constants, lstatSync, readFileSync } from 'node:fs'
import { lstat, open as openFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { Semaphore } from '../backends/semaphore.js'
import { FsError } from '../fs/fs-error.js'
import type { GuestBudgets } from '../fs/guest-budgets.js'
import { HandleTable } from '../fs/handle-table.js'
import type { Inode } from '../fs/inode.js'
import type { Mount } from '../fs/mount.js'
import type { Logger } from '../observability/logger.js'
import { Descriptor, DescriptorBudget } from './descriptor.js'
import { checked, hostCalls, HostOperation, STAT_WORDS, type HostCalls } from './host-calls.js'
import { HostInode } from './host-inode.js'
import { HostInodeTable } from './host-inode-table.js'
import { HostMount, type HostMountOptions, type HostMountSwitch } from './host-mount.js'
import { KeptDescriptors } from './kept-descriptors.js'
import { fileSystemsBelow } from './mount-info.js'
import type { HostDirectory } from './directories.js'
import type { HostFile } from './files.js'

/** Descriptors left to the rest of the daemon, whatever the guest opens here: sockets to the stores, above all. */
const RESERVED_DESCRIPTORS = 1024
/** Where the limit is low: this part of it. */
const RESERVED_SHARE = 0.25
/** Threads of libuv where UV_THREADPOOL_SIZE does not say otherwise. */
const DEFAULT_THREADS = 4
/** Left to the rest of the daemon: a disk that hangs must not keep it from its own files. */
const RESERVED_THREADS = 1
/** How often a removal looks whether the guest has closed its files. */
const POLL_MS = 20

export interface PassthroughOptions {
  /** The guest's kernel collects writes: it then appends by itself, and reads by handles that were opened for writing only. */
  readonly guestWriteback: boolean
  /** Default: the process's limit, less what the rest of the daemon needs. */
  readonly maxDescriptors?: number
}

/** What it holds at one moment. */
export interface PassthroughStats {
  readonly inodes: number
  readonly openFiles: number
  readonly openDirectories: number
  readonly descriptors: number
  /** The most that there may be. */
  readonly maxDescriptors: number
}

/** The state that the operations on pass-through mounts share; they are functions in the files beside this one. */
export class Passthrough {
  readonly inodes: HostInodeTable
  readonly files: HandleTable<HostFile>
  readonly directories: HandleTable<HostDirectory>
  /** What the last call told, until the next one: `lastStat` of `calls`, once there are any. */
  stat: Uint32Array = new Uint32Array(STAT_WORDS)
  readonly threads = new Semaphore(threadsForUs())
  private readonly mounts = new Map<Inode, HostMount>()
  private readonly budget: DescriptorBudget
  private readonly kept: KeptDescriptors
  private loadedCalls: HostCalls | null = null

  constructor(
    readonly options: PassthroughOptions,
    private readonly logger: Logger,
    readonly guest: GuestBudgets,
  ) {
    this.inodes = guest.inodes.over(new HostInodeTable())
    this.files = guest.handles.over(new HandleTable())
    this.directories = guest.handles.over(new HandleTable())
    this.budget = new DescriptorBudget(options.maxDescriptors ?? descriptorsForUs())
    this.kept = new KeptDescriptors(() => this.calls, this.inodes, this.budget, logger)
  }

  get calls(): HostCalls {
    return this.loadedCalls ?? this.loadCalls()
  }

  private loadCalls(): HostCalls {
    this.loadedCalls = hostCalls()
    this.stat = this.loadedCalls.lastStat
    return this.loadedCalls
  }

  stats(): PassthroughStats {
    return {
      inodes: this.inodes.count,
      openFiles: this.files.count,
      openDirectories: this.directories.count,
      descriptors: this.budget.used,
      maxDescriptors: this.budget.limit,
    }
  }

  // ---- mounts

  /** Its directory is open. True for mounts that are not ours. */
  isReady(place: Mount): boolean {
    const mount = this.mounts.get(place.root)
    return mount === undefined || mount.root.descriptor !== null
  }

  /** `place` is in the tree of mounts, or about to be. A root that can't be opened is tried again by who needs it. */
  add(place: Mount, options: HostMountOptions): void {
    const mount = new HostMount(place, options)
    this.mounts.set(place.root, mount)
    this.inodes.add(mount.root)
    if (place.options.mountPoint.length === 0) this.inodes.rootMount = mount
    try {
      this.fdOf(mount.root)
    } catch (error) {
      this.logger.error(
        { mount: place.options.name, root: options.root, err: error },
        'a directory of the host cannot be opened; requests to it will try again',
      )
    }
  }

  /** Warn of a mount that cannot be seen, since a directory on the way to it is not on the host. `place` is in the tree. */
  warnIfHidden(place: Mount): void {
    const way: string[] = []
    let above = place.root.parent
    for (; above !== null && this.mounts.get(above) === undefined; above = above.parent) {
      // Another kind of mount has its own directories.
      if (above.mount.root === above) return
      way.unshift(above.name)
    }
    const root = above === null ? undefined : this.mounts.get(above)?.options.root
    if (root === undefined) return
    const missing = join(root, ...way)
    if (lstatSync(missing, { throwIfNoEntry: false })?.isDirectory() === true) return
    this.logger.warn(
      { mount: place.options.name, missing },
      'a mount is not visible: a directory on the way to it is missing on the host',
    )
  }

  /** @throws Error where it is to do with handles alone and can't be opened so */
  requireMandatory(place: Mount): void {
    const mount = this.mounts.get(place.root)
    if (mount?.options.fileHandles === 'mandatory') this.fdOf(mount.root)
  }

  /** @throws FsError where it can't do what is asked for; then it stays as it was. */
  change(place: Mount, options: HostMountOptions): void {
    const mount = this.mounts.get(place.root)
    if (mount === undefined) return
    // One that is not open yet is looked at when it is opened.
    const { descriptor } = mount.root
    if (descriptor !== null) this.requireHandles(mount.root, descriptor.fd, options)
    mount.change(options)
  }

  /** The pass-through mount whose root that inode of the tree of mounts is. */
  find(place: Inode): HostMount | undefined {
    return this.mounts.get(place)
  }

  /** There is a mount of which the option is on. */
  has(option: HostMountSwitch): boolean {
    for (const mount of this.mounts.values()) if (mount.options[option]) return true
    return false
  }

  /**
   * The mount has left the tree: what is open of it may be used until `graceMs` are over or `hurry` is aborted, then it is closed
   * from our side.
   */
  async retire(place: Mount, graceMs: number, hurry: AbortSignal): Promise<void> {
    const mount = this.mounts.get(place.root)
    if (mount === undefined) return
    this.mounts.delete(place.root)
    mount.isRemoved = true
    const isOurs = ({ inode }: { readonly inode: HostInode }): boolean => inode.mount === mount
    const deadlineMs = performance.now() + graceMs
    while (
      (this.files.some(isOurs) || this.directories.some(isOurs)) &&
      performance.now() < deadlineMs &&
      !hurry.aborted
    ) {
      await delay(POLL_MS)
    }
    for (const file of this.files.revoke(isOurs)) file.descriptor.close()
    for (const directory of this.directories.revoke(isOurs)) directory.descriptor.close()
    // The guest may still have their nodeids, which must not be given out again before it forgets them.
    for (const inode of this.inodes.ofMount(mount)) {
      inode.descriptor?.close()
      inode.descriptor = null
      this.inodes.freeIfUnused(inode)
    }
    this.kept.closeOf(mount)
  }

  // ---- descriptors

  /** ENFILE or ENOMEM unless the guest may have so many descriptors, and one inode, more. For what would be made before it shows. */
  requireRoom(count: number): void {
    this.guest.inodes.requireRoom()
    this.requireDescriptors(count)
  }

  private requireDescriptors(count: number): void {
    if (!this.budget.hasRoomFor(count))
      throw new FsError('ENFILE', `the guest holds ${this.budget.limit} files of the host`)
  }

  /** ENFILE when the guest has as many as it may have. Closes `fd` then. */
  hold(fd: number): Descriptor {
    if (!this.budget.hasRoomFor(1)) {
      this.calls.close(fd)
      this.requireDescriptors(1)
    }
    const descriptor = new Descriptor(this.calls, this.budget, fd)
    this.kept.noteOpened()
    return descriptor
  }

  /** The inode's descriptor. A mount's root is opened if it is not yet. EIO when the mount was removed. */
  descriptorOf(inode: HostInode): Descriptor {
    if (inode.descriptor !== null) return inode.descriptor
    const { mount } = inode
    if (mount.isRemoved) throw new FsError('EIO', 'its mount was removed')
    const again = this.kept.openAgain(inode)
    if (again !== undefined) return (inode.descriptor = this.hold(checked(again)))
    if (inode !== mount.root) throw new FsError('ESTALE', 'its descriptor was let go of')
    return this.openRoot(mount)
  }

  private openRoot({ root, options }: HostMount): Descriptor {
    const fd = checked(this.calls.openRoot(Buffer.from(options.root)))
    const descriptor = (root.descriptor = this.hold(fd))
    try {
      checked(this.calls.stat(fd))
      root.identify(this.stat)
      this.requireHandles(root, fd, options)
    } catch (error) {
      root.descriptor = null
      descriptor.close()
      throw error
    }
    return descriptor
  }

  /** @throws FsError where it is to do with handles alone and can't */
  private requireHandles(root: HostInode, fd: number, options: HostMountOptions): void {
    if (options.fileHandles !== 'mandatory' || this.kept.isPossible(root, fd)) return
    throw new FsError(
      'EIO',
      `${options.root}: files can't be opened by handles, which inode_file_handles = "mandatory" asks for: the file system has none, or CAP_DAC_READ_SEARCH is missing`,
    )
  }

  fdOf(inode: HostInode): number {
    return this.descriptorOf(inode).fd
  }

  /** The inode of the file that `fd`, an O_PATH descriptor that is ours from now on, is of; `stat` is its stat. */
  adopt(mount: HostMount, fd: number): HostInode {
    this.kept.shrink()
    const known = mount.find(this.stat)
    if (known !== null) {
      if (known.descriptor === null && !this.kept.isOf(known, fd)) mount.removeFromIndex(known)
      else {
        if (known.descriptor === null) known.descriptor = this.hold(fd)
        else this.calls.close(fd)
        return known
      }
    }
    if (!this.guest.inodes.hasRoom) {
      this.calls.close(fd)
      this.guest.inodes.requireRoom()
    }
    const inode = new HostInode(mount, this.hold(fd), this.stat)
    this.inodes.add(inode)
    mount.addToIndex(inode)
    return inode
  }

  /** Write the inode's stat to `stat`. */
  lookAt(inode: HostInode): void {
    checked(this.calls.stat(this.fdOf(inode)))
  }

  /** Run `work` in a thread while `descriptor` stays open; an errno that it resolves with is thrown. */
  async inThread(descriptor: Descriptor, work: () => Promise<number>): Promise<number> {
    return checked(await descriptor.use(() => this.threads.run(1, work)))
  }

  // ---- session

  /** The guest is gone or begins anew: nothing is open or looked up any more. */
  endSession(): void {
    for (const { descriptor } of this.files.drain()) descriptor.close()
    for (const { descriptor } of this.directories.drain()) descriptor.close()
    this.inodes.forgetAll()
    this.kept.close()
  }

  /**
   * What has been written to all mounts is on the host's disks, on all file systems that the host has mounted below their roots.
   * A root that was never opened has nothing to be written.
   */
  async sync(): Promise<void> {
    const roots = [...this.mounts.values()].map(({ root }) => root.descriptor)
    const opened = roots.filter((descriptor) => descriptor !== null)
    await Promise.all(
      opened.map(async (descriptor) => {
        await this.inThread(descriptor, () => this.syncFileSystemOf(descriptor.fd))
        for (const place of fileSystemsBelow(descriptor.fd)) await this.syncAt(place)
      }),
    )
  }

  private syncFileSystemOf(fd: number): Promise<number> {
    return this.calls.run(HostOperation.SYNC_FILE_SYSTEM, fd, -1, 0, 0, 0)
  }

  /** Unmounted meanwhile, or not to be opened by the daemon: nothing of the guest's is there. */
  private async syncAt(place: string): Promise<void> {
    const kind = await lstat(place).catch(() => null)
    // A device or FIFO, which may be mounted over one, acts when it is opened.
    if (kind === null || !(kind.isDirectory() || kind.isFile())) return
    const handle = await openFile(place, constants.O_RDONLY | constants.O_NOFOLLOW).catch(() => null)
    if (handle === null) return
    try {
      checked(await this.threads.run(1, () => this.syncFileSystemOf(handle.fd)))
    } finally {
      await handle.close()
    }
  }

  /** When no request is under way any more. */
  close(): void {
    this.endSession()
    for (const { root } of this.mounts.values()) {
      root.descriptor?.close()
      root.descriptor = null
    }
    this.mounts.clear()
  }
}

/** The hard limit, which Node.js has made its own, less what the rest of the daemon needs. */
function descriptorsForUs(): number {
  const limits = readFileSync('/proc/self/limits', 'utf8')
  const limit = Number(/^Max open files +(\d+)/m.exec(limits)?.[1] ?? Infinity)
  return limit - Math.min(RESERVED_DESCRIPTORS, Math.floor(limit * RESERVED_SHARE))
}

function threadsForUs(): number {
  const threads = Number(process.env['UV_THREADPOOL_SIZE'] ?? DEFAULT_THREADS)
  return Math.max(1, (Number.isInteger(threads) ? threads : DEFAULT_THREADS) - RESERVED_THREADS)
}
