import type { Block } from './block.js'
import type { FileContent } from './file-content.js'
import { PageTable } from './page-table.js'
import { slabBytes } from './slab-pool.js'

const NO_BLOCKS: ReadonlySet<Block> = new Set()

/** The largest class whose slab starts at `offset` and is not longer than `runBytes`; class 0 always fits. */
function classForRun(offset: number, runBytes: number, maxClass: number): number {
  let sizeClass = 0
  while (sizeClass < maxClass) {
    const bytes = slabBytes(sizeClass + 1)
    if (offset % bytes !== 0 || bytes > runBytes) break
    sizeClass++
  }
  return sizeClass
}

/** The blocks of one file, and which bytes of them are dirty or on their way to the store. */
export class BlockMap {
  readonly pages = new PageTable()
  private dirtySet: Set<Block> | null = null
  count = 0

  constructor(private readonly content: FileContent) {}

  get dirty(): ReadonlySet<Block> {
    return this.dirtySet ?? NO_BLOCKS
  }

  /** A new block at page-aligned `offset`, not past the next block or page-aligned `limit`; null when the pool gives none. */
  create(offset: number, limit: number, maxClass: number): Block | null {
    const { content, pages } = this
    const span = Math.min(limit, offset + slabBytes(maxClass))
    const run = pages.nextBlockAfter(offset, span) - offset
    const block = content.cache.createBlock(content, offset, classForRun(offset, run, maxClass))
    if (block === null) return null
    pages.set(block)
    this.count++
    return block
  }

  /** Take the block out; what it holds is gone. */
  drop(block: Block): void {
    if (!block.isAlive) return
    const { cache } = this.content
    this.removeDirtyBlock(block)
    cache.setHeld(block, false)
    this.pages.delete(block)
    this.count--
    cache.free(block)
  }

  dropAll(): void {
    for (const block of this.pages.blocksFrom(0)) this.drop(block)
    this.pages.clear()
  }

  /** Put the block on or off the evictable list, by what it holds now. */
  updateEvictable(block: Block): void {
    if (!block.isAlive) return
    const { cache, upload } = this.content
    // What a stream has handed over may go; what another commit has taken must stay, in case it fails.
    const isHeld = !block.dirty.isEmpty || (!block.flushing.isEmpty && upload?.isStream !== true)
    cache.setHeld(block, isHeld)
    if (isHeld || block.fetch !== null) cache.unlist(block)
    else cache.list(block)
  }

  /** Returns whether the block had no dirty bytes before. */
  markDirty(block: Block, start: number, end: number): boolean {
    block.dirty.add(start, end)
    this.dirtySet ??= new Set()
    if (this.dirtySet.has(block)) return false
    this.dirtySet.add(block)
    return true
  }

  /** Bytes [start, end) are no longer dirty. */
  removeDirty(block: Block, start: number, end: number): void {
    block.dirty.remove(start, end)
    if (block.dirty.isEmpty) this.removeDirtyBlock(block)
    this.updateEvictable(block)
  }

  /** A clean file needs no set of none. */
  private removeDirtyBlock(block: Block): void {
    this.dirtySet?.delete(block)
    if (this.dirtySet?.size === 0) this.dirtySet = null
  }

  /** The store has everything after all. */
  clearDirty(): void {
    for (const block of [...this.dirty]) this.removeDirty(block, block.offset, block.end)
  }

  /** The block's dirty bytes in [start, end) are on their way to the store. */
  markFlushing(block: Block, start: number, end: number): void {
    block.dirty.forEachPiece(start, end, (low, high, isDirty) => {
      if (isDirty) block.flushing.add(low, high)
    })
    this.removeDirty(block, start, end)
  }

  /** Give the invalid bytes of [start, end) their contents: from `data`, whose first byte is file offset `start`, or zeros. */
  fillGaps(block: Block, start: number, end: number, data: Uint8Array | null): void {
    const { pool } = this.content.cache
    block.valid.forEachPiece(start, end, (low, high, isValid) => {
      if (isValid) return
      if (data === null) pool.zero(block.slabOffsetOf(low), high - low)
      else pool.view(block.slabOffsetOf(low), high - low).set(data.subarray(low - start, high - start))
    })
    block.markValid(start, end)
  }

  /** The file ends at `size`: nothing behind it is left. */
  cut(size: number): void {
    const kept = this.pages.get(size)
    if (kept !== undefined && kept.offset < size) {
      // The tail must read as zeros when the file grows again.
      this.content.cache.pool.zero(kept.slabOffsetOf(size), kept.end - size)
      kept.valid.add(size, kept.end)
      kept.flushing.remove(size, kept.end)
      this.removeDirty(kept, size, kept.end)
    }
    for (const block of this.pages.blocksFrom(size)) {
      if (block.offset >= size) this.drop(block)
    }
  }
}
