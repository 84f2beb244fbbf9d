import type { Operator } from 'opendal'
import { asDisposable } from '../disposable.js'
import type { HttpHead } from '../http/http-message.js'
import { hasExactPath, objectPath } from '../opendal/opendal-backend.js'
import { StorageError, toStorageError } from '../storage-error.js'
import type { S3Client } from './s3-client.js'
import { contentLengthOf, contentRangeOf, objectHeadOf } from './s3-head.js'

/** An object that a server sends whole, though a part was asked for, is taken if it is no longer than this. */
const MAX_WHOLE_BYTES = 8 << 20
/** Objects whose ranges are remembered to be right; past this many all are compared anew. */
const MAX_COMPARED = 10_000
const ODD_SEGMENT = /(?:^|\/)\.{0,2}(?:\/|$)/

/** Bytes of an object, as they are asked for. */
export interface S3Range {
  readonly key: string
  readonly offset: number
  readonly lengthBytes: number
  readonly version: string
}

/** How a range is read: by OpenDAL, by OpenDAL but not before a comparison that is under way has ended well, or compared itself. */
type Way = 'passes' | 'compares' | Promise<boolean>

/**
 * Reads of a mount. OpenDAL moves the bytes off the event loop, at two to three times the rate of Node's client and a third of
 * its processor time, but does not compare the answer's range with the one that was asked for. So that is done here for the
 * first read in the middle of each object, and for the first of all; what is read of the object meanwhile waits for how it
 * ends. A server that was found to send other bytes is not believed again: all its answers are compared from then on.
 */
export class S3Reads {
  private isTrusted = true
  private hasCompared = false
  /** Versions of objects in whose middle a range was right. */
  private readonly compared = new Map<string, string>()
  /** By key and version, first comparisons under way: whether the range was right. They never reject. */
  private readonly comparing = new Map<string, Promise<boolean>>()

  /** `operator`: null where OpenDAL would ask another host, or for another key. */
  constructor(
    private readonly client: S3Client,
    private readonly operator: Operator | null,
  ) {}

  async read(range: S3Range): Promise<Uint8Array> {
    const { operator } = this
    const way = operator === null ? 'compares' : this.wayOf(range)
    if (operator === null || way === 'compares') return this.readFirst(range)
    const data = await this.readPassed(operator, range)
    if (data !== null && (way === 'passes' || (await way))) return data
    return this.readCompared(range)
  }

  /** null: what came does not fit, so somebody must look at the answer. */
  private async readPassed(operator: Operator, range: S3Range): Promise<Uint8Array | null> {
    const { key, offset, lengthBytes, version } = range
    try {
      const options = { offset: BigInt(offset), size: BigInt(lengthBytes), ifMatch: version }
      const data = await operator.read(objectPath(key), options)
      return data.byteLength === lengthBytes ? asDisposable(data) : null
    } catch (error) {
      const failure = toStorageError(error)
      // What was refused or not answered is so for everybody; anything else may be an answer that does not fit.
      const isAnswered = failure.errno === 'EIO' && !failure.unanswered && !failure.retryable
      const isTooShort = failure.errno === 'ESTALE' && failure.retryable
      if (!isAnswered && !isTooShort) throw failure
      return null
    }
  }

  private wayOf(range: S3Range): Way {
    const { key, offset, version } = range
    // What OpenDAL or its HTTP client would trim or fold.
    const isExact = version.startsWith('"') && hasExactPath(key) && !ODD_SEGMENT.test(key)
    if (!isExact || !this.isTrusted) return 'compares'
    if (this.hasCompared && (offset === 0 || this.compared.get(key) === version)) return 'passes'
    return this.comparing.get(idOf(range)) ?? 'compares'
  }

  /** A read that others of the same object may wait for. */
  private readFirst(range: S3Range): Promise<Uint8Array> {
    const result = this.readCompared(range)
    const id = idOf(range)
    if (range.offset === 0 || this.comparing.has(id)) return result
    const wasRight = result.then(
      () => this.isTrusted && this.compared.get(range.key) === range.version,
      () => false,
    )
    this.comparing.set(id, wasRight)
    void wasRight.then(() => this.comparing.delete(id))
    return result
  }

  private async readCompared(range: S3Range): Promise<Uint8Array> {
    const { key, offset, lengthBytes, version } = range
    const headers = {
      range: `bytes=${offset}-${offset + lengthBytes - 1}`,
      ...(version.startsWith('"') ? { 'if-match': version } : {}),
    }
    const maxAnswerBytes = Math.max(lengthBytes, MAX_WHOLE_BYTES)
    const answer = await this.client.getRange(this.client.keyOf(key), headers, maxAnswerBytes, (head) => {
      this.requireRange(head, range)
    })
    const body = answer.status === 200 ? answer.body.subarray(offset, offset + lengthBytes) : answer.body
    if (body.byteLength !== lengthBytes)
      throw this.distrusted(key, `${body.byteLength} bytes where ${lengthBytes} were asked for`)
    if (answer.status === 206) this.note(range)
    return asDisposable(body)
  }

  private note({ key, offset, version }: S3Range): void {
    this.hasCompared = true
    if (offset === 0) return
    if (this.compared.size >= MAX_COMPARED) this.compared.clear()
    this.compared.set(key, version)
  }

  /** Throws where the answer is not of the bytes and the version that were asked for. */
  private requireRange({ status, headers }: HttpHead, wanted: S3Range): void {
    // The error of a refusal is read from its body.
    if (status !== 200 && status !== 206) return
    const { key, offset, lengthBytes, version } = wanted
    const range = contentRangeOf(headers)
    const totalBytes = status === 206 ? (range?.totalBytes ?? null) : contentLengthOf(headers)
    if (totalBytes !== null && totalBytes < offset + lengthBytes)
      throw new StorageError('ESTALE', `${key}: has become shorter`, { retryable: true })
    // A server that ignores If-Match tells the version all the same.
    const told = objectHeadOf(headers, totalBytes ?? 0).version
    if (version.startsWith('"') && told.startsWith('"') && told !== version)
      throw new StorageError('ESTALE', `${key}: was replaced`)
    if (status === 200) {
      if (totalBytes === null || totalBytes <= Math.max(MAX_WHOLE_BYTES, lengthBytes)) return
      throw this.distrusted(key, 'all of it where a part was asked for')
    }
    const isWanted = range?.firstByte === offset && range.lastByte === offset + lengthBytes - 1
    if (!isWanted) throw this.distrusted(key, headers['content-range'] ?? 'a part, and not which')
  }

  private distrusted(key: string, sent: string): StorageError {
    this.isTrusted = false
    return new StorageError('EIO', `${key}: the server sends other bytes than asked for: ${sent}`, {
      retryable: true,
    })
  }
}

function idOf({ key, version }: S3Range): string {
  return `${version} ${key}`
}
