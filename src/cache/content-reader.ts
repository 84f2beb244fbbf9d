import { alignDown, alignUp } from './align.js'
import type { Block } from './block.js'
import type { CacheCounters } from './cache-counters.js'
import { STREAM_CLASS } from './content-writer.js'
import type { ReadSink } from './content-source.js'
import { fetchBlocks, RANDOM_FETCH_CLASS, type Cancellation } from './fetch.js'
import type { FileContent } from './file-content.js'
import type { PageTable } from './page-table.js'
import { readMissing } from './read-missing.js'
import { PAGE_BYTES, slabBytes } from './slab-pool.js'

/** Reads of one file: at once what is in memory, the rest once the store has given it. */
export class ContentReader {
  private readonly pages: PageTable
  private readonly counters: CacheCounters

  constructor(private readonly content: FileContent) {
    this.pages = content.pages
    this.counters = content.counters
  }

  /**
   * Push bytes [offset, end) to the sink, `end` <= size. Returns undefined when all was in memory, else a promise: the file may be
   * another one by the time that the store has answered, and then all of it up to `wantedEnd` is pushed.
   */
  read(offset: number, end: number, sink: ReadSink, wantedEnd = end): Promise<void> | undefined {
    const block = this.pages.get(offset)
    if (block !== undefined && end <= block.end && block.isValid(offset, end)) {
      block.isReferenced = true
      this.counters.hits++
      if (block.aheadBytes > 0) this.useAhead(block, end - offset)
      sink.push(block.slabOffsetOf(offset), end - offset)
      return undefined
    }
    if (!this.isInMemory(offset, end)) {
      this.counters.misses++
      return readMissing(this.content, offset, end, wantedEnd, sink)
    }
    this.counters.hits++
    for (let position = offset; position < end;) position = this.pushPiece(position, end, sink)
    return undefined
  }

  /** Whether [offset, end) can be answered now. */
  isInMemory(offset: number, end: number): boolean {
    for (let position = offset; position < end;) {
      const pieceEnd = this.pieceEnd(position, end)
      const block = this.pages.get(position)
      if (
        block === undefined ? !this.isHole(position, pieceEnd) : !this.isPieceValid(block, position, pieceEnd)
      ) {
        return false
      }
      position = pieceEnd
    }
    return true
  }

  /** The end of the block, or of the page without one, that holds `position`; at most `end`. */
  pieceEnd(position: number, end: number): number {
    const block = this.pages.get(position)
    return Math.min(end, block === undefined ? alignDown(position, PAGE_BYTES) + PAGE_BYTES : block.end)
  }

  /** No byte of [start, end) is in the store: all zeros unless a block says otherwise. */
  isHole(start: number, end: number): boolean {
    return start >= this.content.base.limit && start >= (this.content.upload?.position ?? 0) && end > start
  }

  private isPieceValid(block: Block, start: number, end: number): boolean {
    if (block.isValid(start, end)) return true
    const holeStart = Math.max(start, this.content.base.limit)
    if (!this.isHole(holeStart, end) || !block.isValid(start, holeStart)) return false
    // What the store does not have is zero: make it so, and keep what was written.
    this.content.blocks.fillGaps(block, holeStart, end, null)
    return true
  }

  /** Push one piece that is in memory; returns its end. */
  pushPiece(position: number, end: number, sink: ReadSink): number {
    const pieceEnd = this.pieceEnd(position, end)
    const block = this.pages.get(position)
    if (block === undefined) {
      sink.pushZeros(pieceEnd - position)
    } else {
      block.isReferenced = true
      if (block.aheadBytes > 0) this.useAhead(block, pieceEnd - position)
      sink.push(block.slabOffsetOf(position), pieceEnd - position)
    }
    return pieceEnd
  }

  /** Somebody reads `lengthBytes` of what was fetched ahead. */
  private useAhead(block: Block, lengthBytes: number): void {
    const usedBytes = Math.min(block.aheadBytes, lengthBytes)
    block.aheadBytes -= usedBytes
    this.counters.readAheadUsedBytes += usedBytes
  }

  /**
   * Start reading what [start, end) lacks from the store, rounded out to slabs of at most `maxClass`; as far as slabs
   * can be had without waiting. What is with `cancellation` may be given up.
   */
  fetch(start: number, end: number, maxClass: number, cancellation: Cancellation | null = null): void {
    const from = alignDown(start, Math.min(slabBytes(maxClass), slabBytes(RANDOM_FETCH_CLASS)))
    const to = Math.min(
      alignUp(end, slabBytes(Math.min(maxClass, RANDOM_FETCH_CLASS))),
      alignUp(this.content.base.limit, PAGE_BYTES),
    )
    const missing: Block[] = []
    let position = from
    while (position < to) {
      const block = this.pages.get(position) ?? this.content.blocks.create(position, to, maxClass)
      if (block === null) break
      // Behind the base there is nothing to read: a small file that was just written is complete.
      const isComplete = block.isValid(block.offset, Math.min(block.end, this.content.base.limit))
      if (!isComplete && block.fetch === null) missing.push(block)
      position = block.end
    }
    fetchBlocks(this.content, missing, cancellation)
  }

  /** Read ahead: like `fetch`, in slabs of a stream. */
  prefetch(start: number, end: number, cancellation: Cancellation): void {
    if (this.content.upload === null)
      this.fetch(start, Math.min(end, this.content.size), STREAM_CLASS, cancellation)
  }
}
