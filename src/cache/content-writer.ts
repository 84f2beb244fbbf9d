import { traced } from '../observability/traced.js'
import { alignDown } from './align.js'
import type { Block } from './block.js'
import type { WriteSource } from './content-source.js'
import type { FileContent } from './file-content.js'
import { continueStream } from './pending-upload.js'
import { PAGE_BYTES, slabBytes } from './slab-pool.js'

/** Slabs of a stream: 1 MiB, the largest request a guest sends. */
export const STREAM_CLASS = 4

/** Takes what the guest writes into blocks, waits where there is none, and knows whether the file is written from front to back. */
export class ContentWriter {
  /** Counts writes and changes of size: whoever has taken a copy of the contents sees whether it is the latest. */
  changes = 0
  /** Writes that wait for room. */
  waiting = 0
  /** End of the last write, and how long the run of writes up to there is. */
  private streamEnd = -1
  private streamBytes = 0

  constructor(private readonly content: FileContent) {}

  /** Write from `position` on until `end` or until no slab is to be had; returns where it stopped. */
  writeNow(offset: number, position: number, end: number, source: WriteSource): number {
    const { content } = this
    content.committer.requireWritable(position)
    while (position < end) {
      const block = content.pages.get(position) ?? this.createBlock(position, end)
      if (block === null) return position
      const pieceEnd = Math.min(end, block.end)
      source.pull(position - offset, block.slabOffsetOf(position), pieceEnd - position)
      block.isReferenced = true
      block.markValid(position, pieceEnd)
      // First: what is dirty may be written back at once, and for that must be known as a stream.
      this.wrote(position, pieceEnd)
      content.markDirty(block, position, pieceEnd)
      position = pieceEnd
    }
    return position
  }

  /** The same, waiting for slabs. Returns the bytes written from `offset` on: fewer where no more room is to be had. */
  async writeWaiting(offset: number, position: number, end: number, source: WriteSource): Promise<number> {
    while (position < end) {
      try {
        await this.waitForRoom(position, end)
        position = this.writeNow(offset, position, end, source)
      } catch (error) {
        if (position > offset) return position - offset
        throw error
      }
    }
    return end - offset
  }

  private createBlock(position: number, end: number): Block | null {
    const { content } = this
    if (content.cache.isAtLimit(content.source.account)) return null
    const start = alignDown(position, PAGE_BYTES)
    // In a stream, slabs grow with what was already written, so that a small file wastes little and a large one has few.
    const run = Math.max(end - start, position === this.streamEnd ? this.streamBytes : 0)
    let maxClass = 0
    while (maxClass < STREAM_CLASS && slabBytes(maxClass + 1) <= run) maxClass++
    return content.blocks.create(start, start + slabBytes(maxClass), maxClass)
  }

  private async waitForRoom(position: number, end: number): Promise<void> {
    const { content } = this
    const about = () => content.subject({ 'ovfsd.offset': position, 'ovfsd.size': end - position })
    this.waiting++
    try {
      await traced('cache.wait', about, () => content.cache.waitForSlab(content.source.account))
    } finally {
      this.waiting--
    }
  }

  wrote(start: number, end: number): void {
    const { content } = this
    this.changes++
    if (start === this.streamEnd) {
      this.streamBytes += end - start
    } else {
      this.streamBytes = end - start
    }
    this.streamEnd = end
    if (end > content.size) content.size = end
    if (this.streamBytes >= content.streamStartBytes) continueStream(content)
  }

  /** All that the file has was written in one run, from front to back. */
  get isFrontToBack(): boolean {
    const { size } = this.content
    return this.streamEnd === size && this.streamBytes === size
  }

  /** The size was changed, or other contents are there. */
  breakStream(): void {
    this.changes++
    this.streamEnd = -1
  }
}
