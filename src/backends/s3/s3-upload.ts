/** An upload in parts from its beginning to its completion or abortion. */
import { createHash } from 'node:crypto'
import type { ExpectedVersion } from '../backend.js'
import { forEachConcurrently } from '../concurrency.js'
import { HttpError } from '../http/http-error.js'
import type { Headers } from '../objects/file-attributes.js'
import type { ObjectHead, PartsUpload } from '../objects/object-client.js'
import { StorageError } from '../storage-error.js'
import type { S3Client, S3Part } from './s3-client.js'
import { UploadRecord } from './s3-upload-records.js'

/** S3's limit. */
export const MAX_PARTS = 10_000
/** S3's limit for every part but the last. */
export const MIN_PART_BYTES = 5 << 20
/** Parts that a server copies at once: each is a gigabyte of its own work. */
const COPY_CONCURRENCY = 4
/** An etag that is the MD5 of the part's bytes. */
const MD5_ETAG = /^"?([0-9a-f]{32})"?$/

/** What an upload needs of the client that it belongs to. */
export interface UploadSupport {
  readonly conditionOf: (condition: ExpectedVersion) => Headers
  /** The version of what was stored, where the answer does not tell it. */
  readonly storedVersion: (sizeBytes: number, condition: ExpectedVersion) => Promise<string>
}

export class S3Multipart implements PartsUpload {
  private readonly parts: S3Part[] = []
  private readonly partBytes: number[] = []

  private constructor(
    private readonly client: S3Client,
    private readonly key: string,
    private readonly uploadId: string,
    private readonly record: UploadRecord,
    private readonly support: UploadSupport,
  ) {}

  static async begin(
    client: S3Client,
    key: string,
    headers: Headers,
    support: UploadSupport,
  ): Promise<S3Multipart> {
    const uploadId = await client.createUpload(key, headers)
    return new S3Multipart(client, key, uploadId, new UploadRecord(client, key, uploadId), support)
  }

  async append(number: number, data: Uint8Array): Promise<void> {
    if (number > MAX_PARTS) throw new StorageError('EFBIG', `${this.key}: more than ${MAX_PARTS} parts`)
    // What is said of `data` is said before it is sent: it may be given back then.
    const { byteLength } = data
    const part = await this.client.uploadPart(this.key, this.uploadId, number, data)
    if (part.etag === '')
      throw new StorageError('EIO', `${this.key}: part ${number} was not stored`, { retryable: true })
    await this.record.isNoted()
    this.parts[number - 1] = part
    this.partBytes[number - 1] = byteLength
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
      const part = await this.client.copyPart(from, { key, uploadId, number }, range, headers)
      if (part.etag === '')
        throw new StorageError('EIO', `${from}: part ${number} was not copied`, { retryable: true })
      this.parts[number - 1] = part
      this.partBytes[number - 1] = range.lengthBytes
    })
  }

  async complete(condition: ExpectedVersion): Promise<string> {
    const { client, key, uploadId, parts, sizeBytes } = this
    const headers = this.support.conditionOf(condition)
    const repeats = condition === undefined ? 'none' : 'any'
    try {
      const etag = await client.completeUpload(key, uploadId, parts, sizeBytes, headers, repeats)
      // Ceph 16 leaves it empty in its first answer.
      return etag === '' ? await this.support.storedVersion(sizeBytes, condition) : etag
    } catch (error) {
      // With If-Match the object is missing where the upload is not.
      if (typeof condition !== 'string' || !(error instanceof HttpError) || error.errno !== 'ENOENT')
        throw error
      throw new HttpError({ errno: 'ESTALE', outcome: error.outcome }, error.message, error)
    }
  }

  isResult({ version, sizeBytes }: ObjectHead): boolean {
    return sizeBytes === this.sizeBytes && version === this.etagOfParts()
  }

  /** As S3 makes it where nothing is encrypted: the MD5 of the parts' own, and their number. null where a part has another etag. */
  private etagOfParts(): string | null {
    const hash = createHash('md5')
    for (const { etag } of this.parts) {
      const digest = MD5_ETAG.exec(etag)?.[1]
      if (digest === undefined) return null
      hash.update(Buffer.from(digest, 'hex'))
    }
    return `"${hash.digest('hex')}-${this.parts.length}"`
  }

  private get sizeBytes(): number {
    return this.partBytes.reduce((sum, bytes) => sum + bytes, 0)
  }

  async finish(): Promise<void> {
    await this.record.remove()
  }

  async abort(): Promise<void> {
    await this.record.abort()
  }
}
