import type { BackendWriter, ObjectStat } from '../backend.js'
import { asDisposable, dispose } from '../disposable.js'
import type { Semaphore } from '../semaphore.js'
import { toStorageError } from '../storage-error.js'
import type { PartsUpload } from './object-client.js'

/** What a writer is told by the backend that it belongs to. */
export interface WriterSupport {
  /** Shorter pieces wait for the next one. */
  readonly minPartBytes: number
  /** Parts that one store has under way, of all uploads together. */
  readonly budget: Semaphore
  readonly begin: () => Promise<PartsUpload>
  /** Stores what is too short for an upload in parts. */
  readonly writeWhole: (data: Uint8Array) => Promise<ObjectStat>
  /** Makes the upload visible, or finds out that an earlier call did. */
  readonly complete: (upload: PartsUpload, sizeBytes: number) => Promise<ObjectStat>
}

interface Part {
  readonly data: Uint8Array
  /** Nobody else has it. */
  readonly isOurs: boolean
}

/**
 * A writer that uploads each piece it is given as a part, the short ones together with the next. A piece is taken as soon
 * as the budget lets its part begin; that one failed is told by the next call. Parts that could not be sent are kept, and
 * sent again by the next call.
 */
export class ObjectWriter implements BackendWriter {
  readonly resumes = true
  private upload: PartsUpload | null = null
  private begunParts = 0
  /** Parts that have not arrived, by their numbers. */
  private readonly unsent = new Map<number, Part>()
  /** Parts under way; none of them rejects. */
  private readonly sending = new Set<Promise<void>>()
  /** The same, by what is sent; these reject. */
  private readonly sent = new WeakMap<Uint8Array, Promise<void>>()
  private error: unknown = null
  private sizeBytes = 0
  /** Too short for a part. */
  private waiting: Uint8Array = new Uint8Array(0)
  private stored: ObjectStat | null = null

  constructor(private readonly support: WriterSupport) {}

  async write(data: Uint8Array): Promise<void> {
    await this.sendAgain()
    const part = this.behindWaiting(data)
    if (part.byteLength < this.support.minPartBytes) {
      this.waiting = part
      this.sizeBytes += data.byteLength
      return
    }
    this.upload ??= await this.support.begin()
    if (part !== data) dispose(this.waiting)
    this.waiting = new Uint8Array(0)
    this.sizeBytes += data.byteLength
    await this.send(this.upload, { data: part, isOurs: part !== data })
  }

  /** What is to be sent with `data`: itself where it is long enough, else a copy behind what waits. */
  private behindWaiting(data: Uint8Array): Uint8Array {
    const { waiting } = this
    if (waiting.byteLength === 0 && data.byteLength >= this.support.minPartBytes) return data
    const joined = new Uint8Array(waiting.byteLength + data.byteLength)
    joined.set(waiting)
    joined.set(data, waiting.byteLength)
    return asDisposable(joined)
  }

  whenSent(data: Uint8Array): Promise<void> {
    // What is not on its way itself was copied.
    return this.sent.get(data) ?? Promise.resolve()
  }

  /** Resolves when the part is under way; that it failed is told by the next call, for this one has taken it. */
  private async send(upload: PartsUpload, part: Part): Promise<void> {
    const number = ++this.begunParts
    this.unsent.set(number, part)
    await new Promise<void>((begun) => {
      const sent = this.support.budget.run(1, async () => {
        begun()
        if (this.error === null) await this.sendPart(upload, number, part)
        else throw this.error as Error
      })
      this.sent.set(part.data, sent)
      const sending = sent
        .catch((error: unknown) => {
          this.error ??= error
        })
        .finally(() => this.sending.delete(sending))
      this.sending.add(sending)
    })
  }

  private async sendPart(upload: PartsUpload, number: number, { data, isOurs }: Part): Promise<void> {
    await upload.append(number, data)
    this.unsent.delete(number)
    if (isOurs) dispose(data)
  }

  /** Parts that failed, unless one was refused for good. */
  private async sendAgain(): Promise<void> {
    const { upload, error } = this
    if (error === null) return
    await Promise.all(this.sending)
    if (upload === null || !toStorageError(error).retryable) throw error as Error
    for (const [number, part] of [...this.unsent])
      await this.support.budget.run(1, () => this.sendPart(upload, number, part))
    this.error = null
  }

  async close(): Promise<ObjectStat> {
    this.stored ??= await this.closeOnce()
    return this.stored
  }

  private async closeOnce(): Promise<ObjectStat> {
    const { upload } = this
    if (upload === null) return this.support.writeWhole(this.waiting)
    await Promise.all(this.sending)
    await this.sendAgain()
    if (this.waiting.byteLength > 0) {
      const data = this.waiting
      this.waiting = new Uint8Array(0)
      await this.send(upload, { data, isOurs: true })
      await Promise.all(this.sending)
      if (this.error !== null) throw this.error as Error
    }
    return this.support.complete(upload, this.sizeBytes)
  }

  async abort(): Promise<void> {
    // A part that arrives after the upload was aborted would stay.
    await Promise.all(this.sending)
    await this.upload?.abort()
    this.upload = null
    this.unsent.clear()
  }
}
