import type { Block } from './block.js'
import { LARGEST_SLAB_BYTES, PAGE_BYTES } from './slab-pool.js'

const PAGES_PER_REGION = LARGEST_SLAB_BYTES / PAGE_BYTES

/**
 * Which block holds which page of a file. Blocks of several sizes lie side by side and never overlap, so one look-up
 * answers whatever their size. A file is a sparse map of regions as large as the largest slab; no block crosses one.
 */
export class PageTable {
  private readonly regions = new Map<number, (Block | undefined)[]>()
  // Files are read and written in streams: the last region answers nearly all look-ups.
  private lastIndex = -1
  private lastRegion: (Block | undefined)[] | undefined = undefined

  get(offset: number): Block | undefined {
    const page = Math.floor(offset / PAGE_BYTES)
    const index = Math.floor(page / PAGES_PER_REGION)
    if (index !== this.lastIndex) {
      this.lastIndex = index
      this.lastRegion = this.regions.get(index)
    }
    return this.lastRegion === undefined ? undefined : this.lastRegion[page % PAGES_PER_REGION]
  }

  set(block: Block): void {
    this.fill(block, block)
  }

  delete(block: Block): void {
    this.fill(block, undefined)
  }

  private fill(block: Block, value: Block | undefined): void {
    const firstPage = block.offset / PAGE_BYTES
    const index = Math.floor(firstPage / PAGES_PER_REGION)
    let region = this.regions.get(index)
    if (region === undefined) {
      region = []
      this.regions.set(index, region)
      this.lastIndex = -1
    }
    const start = firstPage % PAGES_PER_REGION
    const end = start + block.sizeBytes / PAGE_BYTES
    while (region.length < start) region.push(undefined)
    for (let page = start; page < end; page++) region[page] = value
  }

  /** The first page-aligned offset in (offset, limit] at which another block begins, or `limit`. */
  nextBlockAfter(offset: number, limit: number): number {
    for (let position = offset + PAGE_BYTES; position < limit; position += PAGE_BYTES) {
      if (this.get(position) !== undefined) return position
    }
    return limit
  }

  /** Every block that ends after `offset`, in file order. */
  blocksFrom(offset: number): Block[] {
    const blocks: Block[] = []
    const first = Math.floor(offset / LARGEST_SLAB_BYTES)
    const indices = [...this.regions.keys()].filter((index) => index >= first).sort((a, b) => a - b)
    for (const index of indices) {
      let last: Block | undefined
      for (const block of this.regions.get(index) ?? []) {
        if (block !== undefined && block !== last && block.end > offset) blocks.push(block)
        last = block
      }
    }
    return blocks
  }

  /** Drop what is empty; for files that were truncated or evicted. */
  clear(): void {
    this.regions.clear()
    this.lastIndex = -1
    this.lastRegion = undefined
  }
}
