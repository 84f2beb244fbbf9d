import type { BlockCache } from './block-cache.js'
import type { Cancellation } from './fetch.js'
import type { FileContent } from './file-content.js'

/** The first window of a stream: twice what a guest's kernel reads ahead by default (128 KiB), or twice what is read at a time. */
const FIRST_WINDOW_BYTES = 256 << 10
/** The largest: enough requests of 4 MiB side by side to fill a store's bandwidth. */
const LARGEST_WINDOW_BYTES = 16 << 20
/** A window is filled up when this much of it, or half of a smaller one, has been read: one request to the store. */
const REFILL_BYTES = 4 << 20
/** All windows together leave most of the pool to data that was asked for: one file's window is at most this share of it ... */
const FILE_SHARE = 1 / 8
/** ... and those of all files this; a file that comes later has its first window all the same. */
const TOTAL_SHARE = 1 / 2
/** Requests of a stream may overtake each other by this much (queued by several virtual CPUs) and still be a stream. */
const REORDER_BYTES = 4 << 20
/** A file up to this long is read whole: when it is opened for reading, or by its first read. */
export const SMALL_FILE_BYTES = 256 << 10
/** Reads at equal distances, one after the other, before the next ones are expected there: two may be chance. */
const STRIDE_READS = 3
/** Reads of a stride that are fetched ahead at most: each is a request of its own. */
const LARGEST_STRIDE_COUNT = 8

/** What may be read ahead by one that has `ownBytes` of what all have. */
export function readAheadRoomBytes({ pool, readAheadBytes }: BlockCache, ownBytes: number): number {
  return pool.sizeBytes * TOTAL_SHARE - (readAheadBytes - ownBytes)
}

/**
 * Reads ahead of one open file, in whichever order it is read: forwards, backwards or at equal distances. A window doubles as
 * long as reads go on as they did and is given up by the first that does not. Bytes are fetched before all of the window has
 * been read, so that requests overlap.
 */
export class ReadAhead {
  /** Where the next read of a stream begins. */
  private expected = 0
  private lastOffset = -1
  /** Distance of the last two reads, and how many have had it, the first included; 0 in a stream. */
  private stride = 0
  private strideReads = 0
  /** Reads of the stride that were asked for beyond the present one. */
  private stridesAhead = 0
  /** How far the window reaches beyond what was read; 0 when there is none. */
  private windowBytes = 0
  /** What lies between the present read and this was asked for: above it in a stream, below where it is read backwards. */
  private fetchedTo = 0
  private cancellation: Cancellation = { isGivenUp: false }

  /** The file was opened for reading. */
  onOpen(content: FileContent): void {
    if (content.baseLimit <= SMALL_FILE_BYTES)
      content.reader.prefetch(0, content.baseLimit, this.cancellation)
  }

  /** The guest reads [offset, end). */
  onRead(content: FileContent, offset: number, end: number): void {
    if (this.lastOffset < 0) this.onOpen(content)
    const ahead = offset - this.expected
    const isNear = ahead <= REORDER_BYTES && ahead >= -REORDER_BYTES
    const isStream = this.strideReads === 0
    if (ahead === 0 || (isStream && this.windowBytes > 0 && isNear)) {
      if (!isStream) this.giveUp(content)
      this.onStream(content, offset, end)
    } else {
      this.onOther(content, offset, end)
    }
    this.lastOffset = offset
  }

  /** Nobody reads on. */
  close(content: FileContent): void {
    this.giveUp(content)
  }

  private onStream(content: FileContent, offset: number, end: number): void {
    if (this.windowBytes === 0) this.fetchedTo = end
    this.expected = Math.max(this.expected, end)
    const refillBytes = Math.min(REFILL_BYTES, this.windowBytes / 2)
    if (end + this.windowBytes - refillBytes < this.fetchedTo || this.fetchedTo >= content.baseLimit) return
    this.grow(content, end - offset)
    const from = Math.max(this.fetchedTo, end)
    // It may have shrunk, for other files' sake.
    if (end + this.windowBytes <= from) return
    this.fetchedTo = end + this.windowBytes
    content.reader.prefetch(from, this.fetchedTo, this.cancellation)
  }

  private onOther(content: FileContent, offset: number, end: number): void {
    const distance = this.lastOffset < 0 ? 0 : offset - this.lastOffset
    this.expected = end
    if (this.strideReads === 0 || distance === 0 || distance !== this.stride) {
      this.giveUp(content)
      this.stride = distance
      this.strideReads = distance === 0 ? 1 : 2
      return
    }
    this.strideReads++
    if (this.strideReads < STRIDE_READS) return
    if (distance === offset - end) this.onBackward(content, offset, end)
    else this.onStride(content, offset, end)
  }

  /** Each read ends where the one before began. */
  private onBackward(content: FileContent, offset: number, end: number): void {
    if (this.windowBytes === 0) this.fetchedTo = offset
    const refillBytes = Math.min(REFILL_BYTES, this.windowBytes / 2)
    if (offset - this.windowBytes + refillBytes > this.fetchedTo || this.fetchedTo <= 0) return
    this.grow(content, end - offset)
    const to = Math.min(this.fetchedTo, offset)
    if (offset - this.windowBytes >= to) return
    this.fetchedTo = Math.max(0, offset - this.windowBytes)
    content.reader.prefetch(this.fetchedTo, to, this.cancellation)
  }

  private onStride(content: FileContent, offset: number, end: number): void {
    const readBytes = end - offset
    this.grow(content, readBytes)
    this.stridesAhead = Math.max(0, this.stridesAhead - 1)
    const count = Math.min(Math.floor(this.windowBytes / readBytes), LARGEST_STRIDE_COUNT)
    while (this.stridesAhead < count) {
      const next = offset + (this.stridesAhead + 1) * this.stride
      if (next < 0 || next >= content.baseLimit) return
      this.stridesAhead++
      content.reader.prefetch(next, next + readBytes, this.cancellation)
    }
  }

  private grow(content: FileContent, readBytes: number): void {
    const { cache } = content
    const roomBytes = Math.max(readAheadRoomBytes(cache, this.windowBytes), FIRST_WINDOW_BYTES)
    const limit = Math.min(LARGEST_WINDOW_BYTES, cache.pool.sizeBytes * FILE_SHARE, roomBytes)
    const wanted = Math.max(2 * this.windowBytes, 2 * readBytes, FIRST_WINDOW_BYTES)
    this.setWindow(content, Math.min(wanted, limit))
  }

  private giveUp(content: FileContent): void {
    this.setWindow(content, 0)
    this.strideReads = 0
    this.stridesAhead = 0
    this.cancellation.isGivenUp = true
    this.cancellation = { isGivenUp: false }
  }

  private setWindow({ cache }: FileContent, bytes: number): void {
    cache.readAheadBytes += bytes - this.windowBytes
    this.windowBytes = bytes
  }
}
