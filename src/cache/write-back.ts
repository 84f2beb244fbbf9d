/** Handing what is dirty of a file to its store in the background: since the pool is full, or the data is old. */
import { tracedApart } from '../observability/traced.js'
import type { FileContent } from './file-content.js'
import { canStream, startStream } from './pending-upload.js'
import { StreamingUpload } from './streaming-upload.js'

export class WriteBack {
  isRunning = false
  /** The writer's changes when the cleaner looked last, and the monotonic ms since when they are the same. */
  private seenChanges = -1
  private seenMs = 0

  constructor(private readonly content: FileContent) {}

  /** Bytes that `forRoom` would hand over now: Infinity for all there is. */
  get bytes(): number {
    if (this.isRunning || this.content.committer.isRunning) return 0
    const { content } = this
    const { upload } = content
    // A new file that is empty yet holds nothing.
    if (content.blocks.dirty.size === 0 && upload === null) return 0
    if (!content.source.isOpen || !this.isStreaming) return Infinity
    return upload instanceof StreamingUpload && upload.hasFailed
      ? Infinity
      : content.size - (upload?.position ?? 0)
  }

  /** The file is uploaded while it is written, or could be. */
  private get isStreaming(): boolean {
    const { upload } = this.content
    return upload === null ? canStream(this.content) : upload.isStream && !upload.isClosing
  }

  /**
   * The pool is full: hand over to the store what can be. An open file that is written in a stream goes on streaming, however short
   * the parts get: finishing it would mean to send it again from its beginning with each later commit. Nothing more is to come for a
   * closed one. An upload that has failed is ended, so that its writer need not wait for room that nobody makes.
   */
  forRoom(): Promise<void> {
    return this.inBackground(async () => {
      if (!(await this.streamOn())) await this.content.commit()
    })
  }

  /** The data is older than it may get. A stream is finished only where nothing was written to it for as long. */
  expired(dirtyExpireMs: number): Promise<void> {
    return this.inBackground(async () => {
      const isIdle = this.isIdle(dirtyExpireMs)
      if (!(await this.streamOn()) || isIdle) await this.content.commit()
    })
  }

  private inBackground(work: () => Promise<void>): Promise<void> {
    const { content } = this
    return tracedApart(
      'cache.writeback',
      () => content.subject({ 'ovfsd.size': content.size }),
      async () => {
        this.isRunning = true
        try {
          await work()
        } finally {
          this.isRunning = false
        }
      },
    )
  }

  private isIdle(forMs: number): boolean {
    const { changes, waiting } = this.content.writer
    const nowMs = performance.now()
    if (changes !== this.seenChanges || waiting > 0) {
      this.seenChanges = changes
      this.seenMs = nowMs
    }
    return nowMs - this.seenMs >= forMs
  }

  /** False where the file is not an open stream, or its upload has failed: then a commit has to do it. */
  private async streamOn(): Promise<boolean> {
    if (this.content.committer.isRunning || !this.content.source.isOpen || !this.isStreaming) return false
    const upload = this.content.upload ?? startStream(this.content)
    if (!(upload instanceof StreamingUpload)) return false
    await upload.pumpAll()
    // What was not taken is given to the writer again, by the next try.
    if (upload.error !== null && upload.canResume) throw upload.error as Error
    return !upload.hasFailed
  }
}
