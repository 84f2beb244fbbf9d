import type { BackendWriter, ObjectStat } from '../backends/backend.js'
import { StorageError } from '../backends/storage-error.js'
import type { Assembler } from './assembler.js'
import type { FileContent } from './file-content.js'
import type { Attempt } from './stored-base.js'

/** An upload of a file that outlives the call that began it. */
export interface Upload {
  readonly attempt: Attempt
  /** What it has taken may leave memory: the file's bytes below `position` may be nowhere else. */
  readonly isStream: boolean
  readonly position: number
  /** Something that only this upload has was evicted: it can't be started anew. */
  hasEvictedData: boolean
  /** It takes nothing more: its end was asked for, and may have come. */
  readonly isClosing: boolean
  /** It can't be finished any more. */
  readonly isOver: boolean
  /** Make the object visible; may be called again as long as it is not over. */
  finish(): Promise<ObjectStat>
  /** The store has the object, and the blocks need not be kept for it. */
  succeeded(): void
  /** Give up; what it had taken and is in memory is dirty again. */
  abort(): Promise<void>
}

/** Something else is stored than what the call was to replace. */
export function isConflict(error: unknown): error is StorageError {
  return error instanceof StorageError && (error.errno === 'ESTALE' || error.errno === 'EEXIST')
}

/** The same call may succeed later. */
export function isRetryable(error: unknown): boolean {
  return error instanceof StorageError && error.retryable && !isConflict(error)
}

/** The writer keeps what it has, and `close` may be called again. */
export function mayCloseAgain(error: unknown): boolean {
  if (!(error instanceof StorageError)) return false
  return (error.retryable || error.outcome === 'unknown') && !isConflict(error)
}

/** Give up an upload of the content's: nothing that it had taken has to stay in memory for it. */
export async function abandon({ pages, blocks }: FileContent, upload: Upload): Promise<void> {
  await upload.abort()
  for (const block of pages.blocksFrom(0)) blocks.updateEvictable(block)
}

/** A file that was stored anew in parts, all of which the store has: only the end of the upload was refused, or not answered. */
export class KeptUpload implements Upload {
  readonly isStream = false
  readonly position = 0
  readonly isClosing = true
  hasEvictedData = false
  isOver = false

  constructor(
    private readonly writer: BackendWriter,
    private readonly assembler: Assembler,
    readonly attempt: Attempt,
    /** Of the first try. */
    readonly error: unknown,
  ) {}

  async finish(): Promise<ObjectStat> {
    try {
      return await this.writer.close()
    } catch (error) {
      this.isOver = !mayCloseAgain(error)
      throw error
    }
  }

  succeeded(): void {
    this.assembler.succeeded()
  }

  async abort(): Promise<void> {
    this.isOver = true
    this.assembler.failed()
    await this.writer.abort()
  }
}
