/** Uploads to S3 in parts, which OpenDAL's binding can begin and complete but not abort. */
import type { BackendWriter, FileAttributes, ObjectStat } from '../backend.js'
import { forEachConcurrently } from '../concurrency.js'
import { asDisposable, dispose } from '../disposable.js'
import { storedStat, type Headers } from '../objects/file-attributes.js'
import { quoteEtag, type S3Client, type S3Part } from './s3-client.js'
import { S3Error } from './s3-errors.js'
import { UploadRecord } from './s3-upload-records.js'
import type { Semaphore } from '../semaphore.js'
import { StorageError } from '../storage-error.js'

/** S3's limit. */
export const MAX_PARTS = 10_000
/** S3's limit for every part but the last. */
const MIN_PART_BYTES = 5 << 20
/** Parts that a server copies at once: each is a gigabyte of its own work. */
const COPY_CONCURRENCY = 4

/** An upload in parts from its beginning to its completion or abortion. */
export class S3Multipart {
  private readonly parts: S3Part[] = []
  private begunParts = 0
  private sizeBytes = 0

  private constructor(
    private readonly client: S3Client,
    private readonly key: string,
    private readonly uploadId: string,
    private readonly record: UploadRecord,
  ) {}

  static async begin(client: S3Client, key: string, headers: Headers): Promise<S3Multipart> {
    const uploadId = await client.createUpload(key, headers)
    return new S3Multipart(client, key, uploadId, new UploadRecord(client, key, uploadId))
  }

  /** The next part. More may be begun before this one has arrived. */
  async append(data: Uint8Array): Promise<void> {
    const number = ++this.begunParts
    if (number > MAX_PARTS) throw new StorageError('EFBIG', `${this.key}: more than ${MAX_PARTS} parts`)
    const part = await this.client.uploadPart(this.key, this.uploadId, number, data)
    await this.record.isNoted()
    this.parts[number - 1] = part
    this.sizeBytes += data.byteLength
  }

  /** Take `sizeBytes` bytes from another object, as long as `headers` hold for it. */
  async appendCopy(from: string, sizeBytes: number, partBytes: number, headers: Headers): Promise<void> {
    const count = Math.ceil(sizeBytes / partBytes)
    const numbers = Array.from({ length: count }, (_, index) => index + 1)
    await this.record.isNoted()
    await forEachConcurrently(numbers, COPY_CONCURRENCY, async (number) => {
      const offset = (number - 1) * partBytes
      const range = { offset, lengthBytes: Math.min(partBytes, sizeBytes - offset) }
      const { key, uploadId } = this
      this.parts[number - 1] = await this.client.copyPart(from, { key, uploadId, number }, range, headers)
    })
    this.sizeBytes = sizeBytes
  }

  /** Returns the object's etag. */
  async complete(): Promise<string> {
    const etag = await this.completeOnce()
    await this.record.remove()
    return etag
  }

  private async completeOnce(): Promise<string> {
    try {
      const etag = await this.client.completeUpload(this.key, this.uploadId, this.parts, this.sizeBytes)
      // Ceph 16 leaves it empty in its first answer.
      return etag === '' ? quoteEtag((await this.client.head(this.key))?.etag ?? '') : etag
    } catch (error) {
      if (!(error instanceof S3Error) || error.code !== 'NoSuchUpload' || !error.isRepeated) throw error
      return this.completedBefore(error)
    }
  }

  /** The answer to an earlier try was lost. It was done if what is there has as many parts and bytes. */
  private async completedBefore(error: S3Error): Promise<string> {
    const head = await this.client.head(this.key)
    const etag = head?.etag ?? ''
    const isOurs =
      Number(head?.['content-length']) === this.sizeBytes && etag.endsWith(`-${this.parts.length}"`)
    if (!isOurs) throw error
    return etag
  }

  /** Never rejects. */
  async abort(): Promise<void> {
    await this.record.abort()
  }
}

/**
 * A writer that uploads each piece it is given as a part, the short ones together with the next. A piece is taken as soon
 * as the budget lets its part begin; that one failed is told by the next call.
 */
export class S3Upload implements BackendWriter {
  private upload: S3Multipart | null = null
  /** Parts under way; none of them rejects. */
  private readonly sending = new Set<Promise<void>>()
  /** The same, by what is sent; these reject. */
  private readonly sent = new WeakMap<Uint8Array, Promise<void>>()
  private error: unknown = null
  private sizeBytes = 0
  /** Too short for a part. */
  private waiting: Uint8Array = new Uint8Array(0)

  constructor(
    private readonly client: S3Client,
    private readonly key: string,
    private readonly headers: Headers,
    private readonly attributes: FileAttributes | undefined,
    /** Parts that one store has under way, of all uploads together. */
    private readonly budget: Semaphore,
    private readonly store: {
      /** Throws when what is there is not what is to be replaced. */
      readonly requireExpected: () => Promise<void>
      /** Stores what is too short for an upload in parts. */
      readonly writeWhole: (data: Uint8Array) => Promise<ObjectStat>
    },
  ) {}

  async write(data: Uint8Array): Promise<void> {
    this.sizeBytes += data.byteLength
    const part = this.behindWaiting(data)
    if (part.byteLength < MIN_PART_BYTES) {
      this.waiting = part
      return
    }
    this.upload ??= await S3Multipart.begin(this.client, this.key, this.headers)
    await this.send(this.upload, part, part !== data)
    this.waiting = new Uint8Array(0)
  }

  /** What is to be sent with `data`: itself where it is long enough, else a copy behind what waits. */
  private behindWaiting(data: Uint8Array): Uint8Array {
    const { waiting } = this
    if (waiting.byteLength === 0 && data.byteLength >= MIN_PART_BYTES) return data
    const joined = new Uint8Array(waiting.byteLength + data.byteLength)
    joined.set(waiting)
    joined.set(data, waiting.byteLength)
    dispose(waiting)
    return asDisposable(joined)
  }

  whenSent(data: Uint8Array): Promise<void> {
    // What is not on its way itself was copied.
    return this.sent.get(data) ?? Promise.resolve()
  }

  /** Resolves when the part is under way. `isOurs`: it is nobody else's. */
  private async send(upload: S3Multipart, part: Uint8Array, isOurs: boolean): Promise<void> {
    await new Promise<void>((begun) => {
      const sent = this.budget.run(1, () => {
        begun()
        return this.error === null ? upload.append(part) : Promise.resolve()
      })
      this.sent.set(part, sent)
      const sending = sent
        .then(() => {
          if (isOurs) dispose(part)
        })
        .catch((error: unknown) => {
          this.error ??= error
        })
        .finally(() => this.sending.delete(sending))
      this.sending.add(sending)
    })
    if (this.error !== null) throw this.error as Error
  }

  async close(): Promise<ObjectStat> {
    const { upload, waiting } = this
    if (upload === null) return this.store.writeWhole(waiting)
    if (waiting.byteLength > 0) await this.send(upload, waiting, true)
    await Promise.all(this.sending)
    if (this.error !== null) throw this.error as Error
    await this.store.requireExpected()
    const version = await upload.complete()
    return storedStat(this.sizeBytes, version, this.attributes)
  }

  async abort(): Promise<void> {
    // A part that arrives after the upload was aborted would stay.
    await Promise.all(this.sending)
    await this.upload?.abort()
    this.upload = null
  }
}
