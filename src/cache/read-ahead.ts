import type { FileContent } from './file-content.js'

/** The first window of a stream: twice what a guest's kernel reads ahead by default (128 KiB), or twice what is read at a time. */
const FIRST_WINDOW_BYTES = 256 << 10
/** The largest: enough requests of 4 MiB side by side to fill a store's bandwidth. */
const LARGEST_WINDOW_BYTES = 16 << 20
/** A window is filled up when this much of it, or half of a smaller one, has been read: one request to the store. */
const REFILL_BYTES = 4 << 20
/** All windows together leave most of the pool to data that was asked for: one file's window is at most this share of it. */
const POOL_SHARE = 1 / 8
/** Requests of a stream may overtake each other by this much (queued by several virtual CPUs) and still be a stream. */
const REORDER_BYTES = 4 << 20
/** A file up to this long is read whole by its first read. */
const SMALL_FILE_BYTES = 256 << 10

/**
 * Reads ahead of one open file: the window doubles as long as reads follow each other and is given up by the first
 * that does not. Bytes are fetched before all of the window has been read, so that requests overlap.
 */
export class ReadAhead {
  private expected = 0
  private windowBytes = 0
  /** Everything before this was asked for. */
  private fetchedTo = 0

  /** The guest reads [offset, end). */
  onRead(content: FileContent, offset: number, end: number): void {
    const ahead = offset - this.expected
    const isStream = ahead <= REORDER_BYTES && ahead >= -REORDER_BYTES && (offset > 0 || this.expected === 0)
    if (!isStream) {
      this.windowBytes = 0
      this.fetchedTo = end
      this.expected = end
      return
    }
    if (ahead !== 0 && this.windowBytes === 0) {
      this.expected = end
      return
    }
    this.expected = Math.max(this.expected, end)
    const refillBytes = Math.min(REFILL_BYTES, this.windowBytes / 2)
    if (end + this.windowBytes - refillBytes >= this.fetchedTo && this.fetchedTo < content.baseLimit)
      this.extend(content, end, end - offset)
  }

  private extend(content: FileContent, end: number, readBytes: number): void {
    const limit = Math.min(LARGEST_WINDOW_BYTES, content.cache.pool.sizeBytes * POOL_SHARE)
    if (content.baseLimit <= SMALL_FILE_BYTES) this.windowBytes = SMALL_FILE_BYTES
    else this.windowBytes = Math.min(Math.max(2 * this.windowBytes, 2 * readBytes, FIRST_WINDOW_BYTES), limit)
    const from = Math.max(this.fetchedTo, end)
    this.fetchedTo = end + this.windowBytes
    content.prefetch(from, this.fetchedTo)
  }
}
