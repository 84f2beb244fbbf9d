import { getHeapStatistics } from 'node:v8'
import { FsError } from './fs-error.js'

/** What an inode costs of JavaScript's heap, with its name, its place in its directory and its nodeid: measured, rounded up. */
const INODE_HEAP_BYTES = 1024
/** Of the heap, what inodes may take of it where the configuration does not say: the rest is for handles, listings and requests. */
const INODES_HEAP_SHARE = 0.5
/** As many as virtiofsd may open by its own default limit of descriptors. */
export const DEFAULT_MAX_OPEN_HANDLES = 1_000_000

/** A table whose entries count. */
interface Counted {
  readonly count: number
}

/** How many of a kind a guest may hold, over all mounts: beyond that it is refused, and the daemon lives on. */
export class Budget {
  private readonly tables: Counted[] = []

  constructor(
    readonly limit: number,
    private readonly errno: 'ENFILE' | 'ENOMEM',
    private readonly what: string,
  ) {}

  /** The entries of `table` count. Returns it. */
  over<T extends Counted>(table: T): T {
    this.tables.push(table)
    return table
  }

  get used(): number {
    let used = 0
    for (const { count } of this.tables) used += count
    return used
  }

  get hasRoom(): boolean {
    return this.used < this.limit
  }

  /**
   * The budget's errno when the guest has all that it may have. Asked before anything is made, so requests that are under way
   * at that moment may go beyond it, each by one.
   */
  requireRoom(): void {
    if (!this.hasRoom) throw new FsError(this.errno, `the guest holds ${this.limit} ${this.what}`)
  }
}

export interface GuestLimits {
  /** Open files and directories. */
  readonly maxOpenHandles?: number
  /** Files and directories that the guest has looked up. Absent or null: what half of the heap has room for. */
  readonly maxInodes?: number | null
}

/** What a guest may hold of all mounts together, those of stores and those that are passed through. */
export class GuestBudgets {
  readonly handles: Budget
  readonly inodes: Budget

  constructor({ maxOpenHandles = DEFAULT_MAX_OPEN_HANDLES, maxInodes = null }: GuestLimits = {}) {
    this.handles = new Budget(maxOpenHandles, 'ENFILE', 'open files and directories')
    this.inodes = new Budget(maxInodes ?? inodesForHeap(), 'ENOMEM', 'files and directories')
  }
}

function inodesForHeap(): number {
  return Math.floor((getHeapStatistics().heap_size_limit * INODES_HEAP_SHARE) / INODE_HEAP_BYTES)
}
