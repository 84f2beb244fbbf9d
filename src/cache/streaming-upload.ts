import type { BackendWriter, ObjectStat } from '../backends/backend.js'
import { tracedApart } from '../observability/traced.js'
import { Assembler } from './assembler.js'
import type { FileContent } from './file-content.js'
import type { Attempt } from './stored-base.js'
import { isRetryable, mayCloseAgain, type Upload } from './upload.js'

/**
 * An upload that runs while its file is being written from front to back. Bytes below `position` have been handed to
 * the writer; their slabs may be evicted, and then only finishing the upload brings them back.
 */
export class StreamingUpload implements Upload {
  /** Parts that a file written in one run must fill before it is streamed: most files still go in one request. */
  static readonly startParts = 2
  readonly isStream = true
  position = 0
  hasEvictedData = false
  isClosing = false
  isOver = false
  private readonly assembler: Assembler
  private readonly writer: Promise<BackendWriter>
  private readonly partSizeBytes: number
  /** A writer takes one call at a time: whatever is to be uploaded queues up behind this. */
  private tail: Promise<void> = Promise.resolve()
  private queued = 0
  /** Why a part was not taken. */
  error: unknown = null
  /** The part that was not taken, where the writer may be given it again. */
  private untaken: Uint8Array | null = null
  /** The writer has all that it gets: `finish` has only to close it. */
  private isComplete = false

  constructor(
    private readonly content: FileContent,
    readonly attempt: Attempt,
  ) {
    const { backend } = content.source
    this.assembler = new Assembler(content)
    this.partSizeBytes = backend.capabilities.partSizeBytes
    // The attributes as they are now: what is changed until the end is stored behind the contents.
    this.writer = content.source.withPath((path) =>
      backend.createWriter(path, content.base.expected, content.writeOptions(attempt)),
    )
    this.writer.catch((error: unknown) => {
      this.error ??= error
    })
  }

  /** A part could not be handed over: only `finish` is left to be called, which tells why. */
  get hasFailed(): boolean {
    return this.error !== null
  }

  /** Nothing was lost by that: the writer goes on where it was. */
  get canResume(): boolean {
    return this.untaken !== null
  }

  /** Upload the parts that are complete, in the background. */
  pump(): void {
    if (this.queued > 0 || this.error !== null || this.isClosing) return
    if (this.content.size - this.position < this.partSizeBytes) return
    // The write that brought it on is long answered when it ends.
    const about = () => this.content.subject({ 'ovfsd.offset': this.position })
    void tracedApart('cache.upload', about, () => this.enqueue(this.partSizeBytes))
  }

  /** Upload the parts that are complete or, if none is, what there is. False when nothing was left to upload, or the upload has failed. */
  async pumpAll(): Promise<boolean> {
    if (this.isClosing) return true
    const start = this.position
    await this.enqueue(this.partSizeBytes)
    // Short parts are dear with some stores, so only where there is nothing else.
    if (this.position === start) await this.enqueue(1)
    return this.error === null && this.position > start
  }

  private enqueue(minimumBytes: number): Promise<void> {
    this.queued++
    this.tail = this.tail
      .then(() => this.uploadParts(minimumBytes))
      .catch((error: unknown) => {
        this.error ??= error
      })
      .finally(() => {
        this.queued--
      })
    return this.tail
  }

  private async uploadParts(minimumBytes: number): Promise<void> {
    const { content } = this
    const writer = await this.writer
    if (this.untaken !== null) {
      await writer.write(this.untaken)
      this.untaken = null
      this.error = null
    }
    while (this.error === null && content.upload === this && content.size - this.position >= minimumBytes) {
      const mostBytes = Math.min(this.partSizeBytes, content.size - this.position)
      // No base shows through in a stream, so it waits for none, and no byte is evicted before `position` says so.
      await this.assembler
        .writePart(writer, '', mostBytes, () => {
          const start = this.position
          this.position = Math.min(start + mostBytes, content.size)
          return { start, end: this.position }
        })
        .catch((error: unknown) => this.notTaken(writer, error))
    }
  }

  private notTaken(writer: BackendWriter, error: unknown): never {
    if (writer.resumes === true && isRetryable(error)) this.untaken = this.assembler.lastPart
    throw error
  }

  /** Upload the rest and make the object visible. */
  async finish(): Promise<ObjectStat> {
    this.isClosing = true
    if (!this.isComplete) await this.uploadRest()
    try {
      return await (await this.writer).close()
    } catch (error) {
      this.isOver = !mayCloseAgain(error)
      throw error
    }
  }

  private async uploadRest(): Promise<void> {
    await this.enqueue(1)
    if (this.error !== null) {
      // Where nobody knows whether the writer has the part that failed, there is no going on behind it.
      this.isOver = !this.canResume
      this.isClosing = this.isOver
      throw this.error as Error
    }
    this.isComplete = true
    this.attempt.sizeBytes = this.position
    this.attempt.limit = this.position
  }

  succeeded(): void {
    this.assembler.succeeded()
  }

  async abort(): Promise<void> {
    this.isClosing = true
    this.isOver = true
    this.assembler.failed()
    await this.tail
    await this.writer.then((writer) => writer.abort()).catch(() => undefined)
  }
}
