import { asDisposable, dispose } from '../backends/disposable.js'

/** What a part of an upload takes at most with most stores: one size, so that each buffer serves the next. */
const BUFFER_BYTES = 8 << 20
/** Less is left to the garbage collector. */
const MIN_BUFFER_BYTES = 1 << 20
/** Small files of one store that are stored at the same time: each counts as at least so much of its budget, a sixth. */
const MIN_WEIGHT_BYTES = 4 << 20
/** As many as one store may have under way. */
const MAX_SPARE = 3
/** So long they are kept for the next upload: pages that were touched before cost a third of new ones. */
const SPARE_LIFE_MS = 2000

/** What a part counts in its store's budget. */
export function weightOf(lengthBytes: number): number {
  return lengthBytes < MIN_BUFFER_BYTES ? MIN_WEIGHT_BYTES : Math.max(lengthBytes, BUFFER_BYTES)
}

/** Memory for parts of uploads, used again and given back when there is nothing to upload. */
export class PartBuffers {
  private readonly spare: Uint8Array[] = []
  private timer: NodeJS.Timeout | null = null

  /** `lengthBytes` of anything. */
  take(lengthBytes: number): Uint8Array {
    if (lengthBytes > BUFFER_BYTES) return asDisposable(new Uint8Array(lengthBytes))
    if (lengthBytes < MIN_BUFFER_BYTES) return new Uint8Array(lengthBytes)
    const buffer = this.spare.pop() ?? asDisposable(new Uint8Array(BUFFER_BYTES))
    return buffer.subarray(0, lengthBytes)
  }

  /** Nobody reads the part any more. */
  giveBack(part: Uint8Array): void {
    if (part.buffer.byteLength !== BUFFER_BYTES || this.spare.length >= MAX_SPARE) {
      dispose(part)
      return
    }
    this.spare.push(new Uint8Array(part.buffer))
    this.timer ??= setTimeout(() => {
      this.timer = null
      for (const buffer of this.spare.splice(0)) dispose(buffer)
    }, SPARE_LIFE_MS).unref()
  }
}
