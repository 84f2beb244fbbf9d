import type { StorageError } from '../backends/storage-error.js'

/** Who is told of errors: an open handle. */
export interface ErrorObserver {
  /** How many errors of the file it need not be told of: those before it was opened, and those that it was told of. */
  errorCursor: number
}

/**
 * Data of a file that was lost after it was acknowledged, as the kernel's errseq_t tells it: every handle that was open then gets the error
 * once, at its next fsync or close; a handle that is opened later does not.
 */
export class ErrorSequence {
  private count = 0
  private last: StorageError | null = null

  /** The cursor of a handle that is opened now. */
  sample(): number {
    return this.count
  }

  add(error: StorageError): void {
    this.count++
    this.last = error
  }

  hasNewFor({ errorCursor }: ErrorObserver): boolean {
    return errorCursor < this.count
  }

  /** What the observer was not told of yet; null: nothing. It counts as told from now on. */
  take(observer: ErrorObserver): StorageError | null {
    if (!this.hasNewFor(observer)) return null
    observer.errorCursor = this.count
    return this.last
  }
}
