import { CacheCounters } from './cache-counters.js'
import type { FileContent } from './file-content.js'
import { Semaphore } from '../backends/semaphore.js'
import { NO_PLACE } from '../observability/traced.js'
import { Losses } from './losses.js'
import type { Staging } from './staging.js'

/** Bytes that reads from one store may have in flight outside of the pool: four requests of the largest size. */
const FETCH_BUDGET_BYTES = 16 << 20
/** Bytes of uploads to one store that are in memory outside of the pool: three parts. */
const COMMIT_BUDGET_BYTES = 24 << 20
/** Share of the pool that one store's unsaved data may hold. The rest is for the other stores, whatever becomes of this one. */
const HELD_LIMIT_SHARE = 0.75

/** What one store has and may have of the cache, so that a store that is slow or away does not hold up another. */
export class StoreAccount {
  /** Taken last of all, with the path held: see `observability/lock-order.ts`. */
  readonly fetchBudget = new Semaphore(FETCH_BUDGET_BYTES, 'fetches')
  /** Taken with the path held, and before `fetchBudget`. */
  readonly commitBudget = new Semaphore(COMMIT_BUDGET_BYTES, 'parts')
  /** Bytes of the pool that reads waiting for the store keep from eviction; taken before any path. See BlockCache.runRead. */
  readBudget: Semaphore | null = null
  /** Files with something to commit, the longest dirty first. */
  readonly dirtyContents = new Set<FileContent>()
  /** Bytes of slabs that cannot be evicted because they hold unsaved data. */
  heldBytes = 0
  /** The number of these. */
  heldBlocks = 0
  /** Commits under way to make room. */
  reliefs = 0
  /** The store is being unmounted: no more unsaved data is taken, and nobody waits for room for it. */
  isClosed = false
  /** How traces name the mount. */
  place = NO_PLACE
  /** Where what is closed and not stored yet survives this process; null: nowhere. */
  staging: Staging | null = null
  /** A commit failed lately: the store is left alone for a moment. */
  isBackingOff = false
  readonly counters = new CacheCounters()
  readonly losses = new Losses()

  /** How long the oldest unsaved data has waited, ms; 0: there is none. Looks at every file with some. */
  dirtyAgeMs(): number {
    const nowMs = performance.now()
    let ageMs = 0
    for (const { dirtySinceMs } of this.dirtyContents) {
      if (dirtySinceMs > 0) ageMs = Math.max(ageMs, nowMs - dirtySinceMs)
    }
    return ageMs
  }

  /** Whether the store has its full share of a pool of this size, or of the blocks that it may be cut in. */
  isAtLimit(poolBytes: number, maxBlocks: number): boolean {
    const { isClosed, heldBytes, heldBlocks } = this
    return isClosed || heldBytes >= poolBytes * HELD_LIMIT_SHARE || heldBlocks >= maxBlocks * HELD_LIMIT_SHARE
  }
}
