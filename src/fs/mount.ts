import type { Backend } from '../backends/backend.js'
import { RESERVED_DIRECTORY } from '../backends/backend.js'
import { timestampNow } from '../backends/timestamp.js'
import type { Staging } from '../cache/staging.js'
import { StoreAccount } from '../cache/store-account.js'
import type { Interposer } from '../interpose/interposer.js'
import { holding, mayWaitFor } from '../observability/lock-order.js'
import { OperationCounters } from '../observability/operation-counters.js'
import { TracedPlace } from '../observability/traced.js'
import { DirectoryTimes } from './directory-times.js'
import { HiddenNames } from './hidden-names.js'
import { Inode } from './inode.js'
import { MissingNames } from './missing-names.js'
import { PathGuard } from './path-guard.js'
import { UnfinishedMoves } from './unfinished-moves.js'
import type { LookupBurst } from './lookup-burst.js'

/**
 * How long the guest may keep what it was told of a mount point or of a name beside it. Longer, and a mount that a
 * reload added or removed would be noticed late, since nothing tells a guest's kernel to forget; shorter, and each walk
 * into a mount would ask again what is answered from memory in microseconds.
 */
export const MOUNT_POINT_EXPIRATION_MS = 1000

/** Hidden files of a mount that are remembered to be erased; more than a guest has open while a store is away. */
const MAX_LEFTOVERS = 100_000

/** The `type` of mounts that are directories of the host as they are: nothing of them is here but their place. */
export const PASSTHROUGH_TYPE = 'passthrough'

/**
 * What the guest's kernel may keep: nothing; names and attributes for as long as it was told to; data as well; all, until it needs
 * the memory.
 */
export type GuestCache = 'none' | 'metadata' | 'auto' | 'always'

/** It keeps data of files. */
export function keepsData(guestCache: GuestCache): boolean {
  return guestCache === 'auto' || guestCache === 'always'
}

/** What a profile of the configuration says of its mount, apart from the store. */
export interface MountOptions {
  /** The profile's name, for logs. */
  readonly name: string
  readonly type: string
  /** Names from the virtual root to the mount point; [] is the root itself. */
  readonly mountPoint: readonly string[]
  readonly readOnly: boolean
  readonly uid: number
  readonly gid: number
  /** Permission bits of every file, e.g. 0o644. */
  readonly fileMode: number
  readonly dirMode: number
  /** How long attributes, names and contents count as fresh, here and in the guest; Infinity = until the daemon ends. */
  readonly expirationMs: number
  readonly guestCache: GuestCache
}

/** A store in its place in the tree. */
export class Mount {
  readonly guard = new PathGuard()
  readonly account = new StoreAccount()
  /** The guest's requests to it. */
  readonly operations = new OperationCounters()
  /** What makes it slow or faulty on purpose. */
  interposer: Interposer | null = null
  readonly directoryTimes = new DirectoryTimes()
  /** The time of directories of which the store tells none. */
  readonly beganAt = timestampNow()
  readonly missingNames = new MissingNames()
  readonly unfinishedMoves = new UnfinishedMoves()
  /** Paths of hidden files that are no longer open and could not be erased: see `eraseLeftovers`. */
  readonly leftovers = new Set<string>()
  /** Those that hold a listing. */
  readonly lookupBursts = new Set<LookupBurst>()
  isErasingLeftovers = false
  /** Hidden files that killed daemons left have been looked for. */
  hasLookedForAbandoned = false
  readonly hiddenNames = new HiddenNames()
  readonly root: Inode
  /** Where unlinked files that are still open live on; never shown. */
  readonly hiddenDirectory: Inode
  /** A reload took the mount away: nothing new begins on it, and what is open ends soon. */
  isRemoved = false
  /** Counts changes of names made here, to order them against answers of the store that were under way. */
  changeCount = 1
  /** Monotonic ms of the last `invalidate`: what the store was asked before is not believed for any time. */
  invalidatedMs = -Infinity
  /** Inodes that an answer of the store made and that no look-up of the guest has claimed yet: see InodeTable.sweep. */
  unclaimed = new Set<Inode>()
  private renames: Promise<unknown> = Promise.resolve()

  constructor(
    public options: MountOptions,
    public backend: Backend,
    staging: Staging | null = null,
  ) {
    this.account.staging = staging
    this.account.place = new TracedPlace(options.name, options.mountPoint)
    this.root = new Inode(this, null, '', 'directory')
    this.root.isFixed = true
    this.hiddenDirectory = new Inode(this, this.root, RESERVED_DIRECTORY, 'directory')
    this.hiddenDirectory.isFixed = true
  }

  /** `from` has become `to`, unless a reload put something else in its place meanwhile. */
  replaceBackend(from: Backend, to: Backend, staging: Staging | null = null): void {
    if (this.backend !== from) return
    this.backend = to
    this.account.staging ??= staging
  }

  /** The hidden file at `path` is nobody's any more. */
  noteLeftover(path: string): void {
    if (this.leftovers.size < MAX_LEFTOVERS) this.leftovers.add(path)
  }

  /** Renames take two directories at once; one at a time, so that two of them can't wait for each other. */
  serializeRename<T>(work: () => Promise<T>): Promise<T> {
    mayWaitFor('renames')
    const begin = (): Promise<T> => holding('renames', work)
    const run = this.renames.then(begin, begin)
    this.renames = run.catch(() => undefined)
    return run
  }
}
