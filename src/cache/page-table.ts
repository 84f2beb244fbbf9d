import type { Block } from './block.js'
import { LARGEST_SLAB_BYTES, PAGE_BYTES } from './slab-pool.js'

const PAGES_PER_REGION = LARGEST_SLAB_BYTES / PAGE_BYTES

/** By page; shorter than a region where nothing is behind. */
type Region = (Block | undefined)[]

/**
 * Which block holds which page of a file. Blocks of several sizes lie side by side and never overlap, so one look-up
 * answers whatever their size. A file is a sparse map of regions as large as the largest slab; no block crosses one.
 */
export class PageTable {
  /** All regions, where there are several; null while `lastRegion` is the only one, as it is of nearly all files. */
  private regions: Map<number, Region> | null = null
  // Files are read and written in streams: the last region answers nearly all look-ups.
  private lastIndex = -1
  private lastRegion: Region | undefined = undefined

  get(offset: number): Block | undefined {
    const page = Math.floor(offset / PAGE_BYTES)
    const index = Math.floor(page / PAGES_PER_REGION)
    if (index !== this.lastIndex) {
      if (this.regions === null) return undefined
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
    const region = this.regionAt(Math.floor(firstPage / PAGES_PER_REGION))
    const start = firstPage % PAGES_PER_REGION
    const end = start + block.sizeBytes / PAGE_BYTES
    while (region.length < start) region.push(undefined)
    for (let page = start; page < end; page++) region[page] = value
  }

  /** The region, made if it is not there; the last one from now on. */
  private regionAt(index: number): Region {
    let region = index === this.lastIndex ? this.lastRegion : this.regions?.get(index)
    if (region === undefined) {
      // With room for one page: a list that is pushed to has room for 17 at once.
      region = [undefined]
      if (this.regions === null && this.lastRegion !== undefined)
        this.regions = new Map([[this.lastIndex, this.lastRegion]])
      this.regions?.set(index, region)
    }
    this.lastIndex = index
    this.lastRegion = region
    return region
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
    if (this.regions === null) {
      addBlocks(blocks, this.lastRegion, offset)
      return blocks
    }
    const first = Math.floor(offset / LARGEST_SLAB_BYTES)
    const indices = [...this.regions.keys()].filter((index) => index >= first).sort((a, b) => a - b)
    for (const index of indices) addBlocks(blocks, this.regions.get(index), offset)
    return blocks
  }

  /** Drop what is empty; for files that were truncated or evicted. */
  clear(): void {
    this.regions = null
    this.lastIndex = -1
    this.lastRegion = undefined
  }
}

/** Those of a region that end after `offset`. */
function addBlocks(blocks: Block[], region: Region | undefined, offset: number): void {
  let last: Block | undefined
  for (const block of region ?? []) {
    if (block !== undefined && block !== last && block.end > offset) blocks.push(block)
    last = block
  }
}
