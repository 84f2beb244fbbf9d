import type { FileContent } from './file-content.js'
import { Ranges } from './ranges.js'

/**
 * A slab that holds an aligned piece of a file: bytes [offset, offset + sizeBytes) of the file stand at `slab` in the
 * pool. All ranges are in file offsets.
 *
 *     valid     bytes that are what a reader should see
 *     dirty     of these, the bytes that no store has yet
 *     flushing  of these, the bytes a running commit has taken, but not yet made durable
 *
 * A block is on the cache's list of evictable blocks when nothing in it would be lost and nobody waits for it.
 */
export class Block {
  readonly valid = new Ranges()
  readonly dirty = new Ranges()
  readonly flushing = new Ranges()
  /** valid covers the whole block: the common case, kept apart for the hit path. */
  isFull = false
  /** False once the block's slab has gone back to the pool. */
  isAlive = true
  /** Somebody awaits or copies; not to be evicted. */
  pins = 0
  /** The read that will make the block full; null when none runs. */
  fetch: Promise<void> | null = null
  /** Used since the eviction hand last passed. */
  isReferenced = true
  /** Has data that only it has; counted in its store's account. */
  isHeld = false
  /** Of what was fetched here before anybody asked for it, bytes that nobody has read yet. */
  aheadBytes = 0
  /** Links of the list of evictable blocks; `isListed` tells whether the block is on it. */
  isListed = false
  newer: Block | null = null
  older: Block | null = null

  constructor(
    readonly content: FileContent,
    readonly offset: number,
    readonly sizeBytes: number,
    readonly slab: number,
  ) {}

  get end(): number {
    return this.offset + this.sizeBytes
  }

  /** Of the slab: what no reader could see. */
  get wastedBytes(): number {
    let used = 0
    const end = Math.min(this.end, Math.max(this.offset, this.content.size))
    this.valid.forEachPiece(this.offset, end, (low, high, isValid) => {
      if (isValid) used += high - low
    })
    return this.sizeBytes - used
  }

  isValid(start: number, end: number): boolean {
    return this.isFull || this.valid.covers(start, end)
  }

  markValid(start: number, end: number): void {
    if (this.isFull) return
    this.valid.add(start, end)
    this.isFull = this.valid.covers(this.offset, this.end)
  }

  /** Where byte `position` of the file stands in the pool. */
  slabOffsetOf(position: number): number {
    return this.slab + (position - this.offset)
  }
}
