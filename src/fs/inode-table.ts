import { requireMounted } from './access.js'
import { FsError } from './fs-error.js'
import type { Budget } from './guest-budgets.js'
import { ROOT_NODEID, type Inode, type Nodeid } from './inode.js'
import type { Mount } from './mount.js'

/**
 * nodeid -> inode. A nodeid is an index, reused with the next generation when its inode is gone, so the table is as
 * large as the most inodes that ever lived at once.
 */
export class InodeTable {
  private readonly inodes: (Inode | undefined)[] = [undefined]
  private readonly freeNodeids: number[] = []
  private nextGeneration = 1
  /** Of nobody's use when they were noted: see `freeIfUnused`. */
  private unused: Inode[] = []
  /** What was unclaimed at the last sweep. */
  private sweepable: Inode[] = []

  constructor(
    readonly root: Inode,
    private readonly budget: Budget,
  ) {
    budget.over(this)
    this.inodes[ROOT_NODEID] = root
    root.nodeid = ROOT_NODEID
    root.nlookup = 1
  }

  /** Inodes that live now. */
  get count(): number {
    return this.inodes.length - 1 - this.freeNodeids.length
  }

  /** ESTALE for a nodeid that the guest has no right to; EIO for one of a mount that was removed, unless it is open. */
  get(nodeid: number): Inode {
    const inode = this.inodes[nodeid]
    if (inode === undefined) throw new FsError('ESTALE', `nodeid ${nodeid} is unknown`)
    if (inode.mount.isRemoved && inode.handles === 0) requireMounted(inode)
    return inode
  }

  find(nodeid: number): Inode | undefined {
    return this.inodes[nodeid]
  }

  /** Give the inode its nodeid, if it has none. */
  add(inode: Inode): void {
    if (inode.nodeid !== 0) return
    const nodeid = this.freeNodeids.pop() ?? this.inodes.length
    this.inodes[nodeid] = inode
    inode.nodeid = nodeid as Nodeid
    inode.mount.unclaimed.delete(inode)
    inode.generation = this.nextGeneration++
  }

  /** Whether the guest may look the inode up: it knows it, or has room for one more. */
  mayGive(inode: Inode): boolean {
    return inode.nodeid !== 0 || this.budget.hasRoom
  }

  /** ENOMEM where the guest may know of no more. */
  requireRoom(): void {
    this.budget.requireRoom()
  }

  /** The guest got the inode in a reply. */
  countLookup(inode: Inode): void {
    this.add(inode)
    inode.nlookup++
  }

  /** The guest dropped `count` of its look-ups; more than it has are taken as all. */
  forget(nodeid: number, count: number): void {
    const inode = this.inodes[nodeid]
    if (inode === undefined || nodeid === ROOT_NODEID) return
    inode.nlookup = Math.max(0, inode.nlookup - count)
    this.freeIfUnused(inode)
  }

  /** Run `work`; the inodes stay in the tree meanwhile, whatever the guest forgets: it may reboot at any moment. */
  async hold<T>(inodes: readonly Inode[], work: () => Promise<T>): Promise<T> {
    for (const inode of inodes) inode.pins++
    try {
      return await work()
    } finally {
      for (const inode of inodes) {
        inode.pins--
        this.freeIfUnused(inode)
      }
    }
  }

  /**
   * Let go of the inode, and of directories above it, when nobody has a use for them any more: at the end of this turn of the loop,
   * for somebody may have found it in a look-up and go on with it only after what runs now.
   */
  freeIfUnused(inode: Inode): void {
    if (!isUnused(inode)) return
    if (this.unused.push(inode) === 1) setImmediate(this.freeUnused)
  }

  private readonly freeUnused = (): void => {
    const { unused } = this
    this.unused = []
    for (const inode of unused) this.free(inode)
  }

  private free(inode: Inode): void {
    let current: Inode | null = inode
    while (current !== null && isUnused(current)) {
      const parent: Inode | null = current.parent
      if (current.isDirectory) current.mount.directoryTimes.keep(current)
      parent?.removeChild(current.name, current)
      current.forgetWalk()
      current.listing?.release()
      current.forgetAllMissing()
      current.content?.retire()
      if (current.nodeid !== 0) {
        this.inodes[current.nodeid] = undefined
        this.freeNodeids.push(current.nodeid)
        current.nodeid = 0 as Nodeid
      }
      current = parent
    }
  }

  /**
   * Let go of the inodes that an operation needed and no guest ever looked up: names that were moved without a
   * look-up, entries that a listing's reply had no room for. Only those that were there at the last sweep already, since
   * a running operation may be about to hand one out.
   */
  sweep(mounts: readonly Mount[]): void {
    const old = this.sweepable
    this.sweepable = []
    for (const mount of mounts) {
      if (mount.unclaimed.size === 0) continue
      this.sweepable.push(...mount.unclaimed)
      mount.unclaimed = new Set()
    }
    for (const inode of old) {
      if (inode.nodeid !== 0 || inode.parent?.children?.get(inode.name) !== inode) continue
      if (isUnused(inode)) this.freeIfUnused(inode)
      else this.sweepable.push(inode)
    }
  }

  /** The guest's inodes of a mount, those too that no name leads to. */
  ofMount(mount: Mount): Inode[] {
    return this.inodes.filter((inode) => inode?.mount === mount) as Inode[]
  }

  /** A new guest session knows no nodeid but the root's. */
  forgetAll(): void {
    for (const inode of [...this.inodes]) {
      if (inode === undefined || inode.nodeid === ROOT_NODEID) continue
      inode.nlookup = 0
      this.freeIfUnused(inode)
    }
  }
}

function isUnused(inode: Inode): boolean {
  if (inode.nlookup > 0 || inode.handles > 0 || inode.pins > 0 || inode.isFixed) return false
  // What no name leads to is in no listing.
  if (inode.parent !== null && inode.parent.listers > 0 && !inode.isUnlinked) return false
  if (inode.children !== null && inode.children.size > 0) return false
  if (inode.pendingLookups !== null && inode.pendingLookups.size > 0) return false
  // Cached contents outlive the guest's interest, as long as the cache has room for them.
  return (
    inode.content === null ||
    (!inode.content.isBusy && (inode.content.blocks.count === 0 || inode.isUnlinked))
  )
}
