import { setTimeout as pause } from 'node:timers/promises'
import type { ExpectedVersion, StoreConditions } from '../backend.js'
import type { HttpHead } from '../http/http-message.js'
import { HttpError } from '../http/http-error.js'
import { copyTimeMs } from '../objects/copy-time.js'
import { metadataHeaders, metadataOf, type Headers, type Metadata } from '../objects/file-attributes.js'
import type {
  CopyRequest,
  CopySource,
  ObjectClient,
  ObjectClientLimits,
  ObjectHead,
  ObjectPage,
  PageRequest,
  PartsUpload,
  StoreRequest,
} from '../objects/object-client.js'
import { versionOfCopied, versionOfStored, type Stored } from '../objects/stored-version.js'
import { StorageError } from '../storage-error.js'
import { ServerClock } from './server-clock.js'
import { encodeName, SwiftContainer, type SwiftRequest } from './swift-container.js'
import { SwiftError } from './swift-errors.js'
import { isLarge, LARGE_OBJECT_HEADERS, objectHeadOf, quoteEtag, totalBytesOf } from './swift-head.js'
import { listPage } from './swift-listing.js'
import { parseSwiftOptions } from './swift-options.js'
import { SwiftPartsUpload } from './swift-upload.js'

/** Large enough that a request's latency is small beside its transfer; 640 of them make Swift's largest object, and a manifest holds 1000. */
const PART_SIZE_BYTES = 8 << 20
/** Parts of all uploads of a mount that are under way. Each is held in memory. */
const PARTS_AT_ONCE = 4
/** A fifth of what Swift gives at once: its JSON is read in one go, in a few milliseconds. */
const PAGE_KEYS = 2000
/** Swift's limit (max_object_name_length), in UTF-8. */
const MAX_NAME_BYTES = 1024
const MARKER_HEADERS: Headers = { 'content-type': 'application/directory' }
export const METADATA_PREFIX = 'x-object-meta-'
/** A copy takes over no metadata. */
const FRESH_METADATA: Headers = { 'x-fresh-metadata': 'true' }
const MS_PER_SECOND = 1000
/** A server's clock is looked at for a little longer than a second, when its `Date` goes on by one: to tell times apart that are further apart than the pause. */
const CLOCK_LOOKS = 24
const CLOCK_LOOK_PAUSE_MS = 50

/** OpenStack Swift over its own HTTP interface. */
export class SwiftObjectClient implements ObjectClient {
  readonly pageKeys = PAGE_KEYS
  readonly canWrite = true
  readonly canCopy = true
  readonly keepsMetadata = true
  readonly hasBareMarkers = true
  readonly hasLeftovers = false
  readonly limits: ObjectClientLimits
  /**
   * Swift's PUT and DELETE know no If-Match. If-None-Match is looked at when a PUT begins, and of a copy, where both conditions
   * mean the source, not at all.
   */
  readonly conditions: StoreConditions = {
    ...{ create: 'server', replace: 'look', complete: 'look', copy: 'look', remove: 'look' },
  }
  private readonly container: SwiftContainer

  /** @throws StorageError EINVAL where options are missing */
  constructor(options: Readonly<Record<string, string>>, timeoutMs: number) {
    this.container = new SwiftContainer(parseSwiftOptions(options), timeoutMs)
    this.limits = {
      // The server says how large an object may be when it is first written to.
      maxObjectBytes: Number.MAX_SAFE_INTEGER,
      // A directory's marker ends in "/".
      maxPathBytes: MAX_NAME_BYTES - Buffer.byteLength(this.container.prefix) - 1,
      partSizeBytes: PART_SIZE_BYTES,
      minPartBytes: 1,
      maxCopyBytes: Number.MAX_SAFE_INTEGER,
      partsAtOnce: PARTS_AT_ONCE,
    }
  }

  accepts(): boolean {
    return true
  }

  reportRetries(listener: () => void): void {
    this.container.connections.onRetry = listener
  }

  /** The server itself removes parts that were left, after a time. */
  removeLeftovers(): Promise<number> {
    return Promise.resolve(0)
  }

  // ---- what is there

  async head(key: string): Promise<ObjectHead | null> {
    const response = await this.container.request({
      ...{ method: 'HEAD', object: key, expect: [200, 204, 404] },
    })
    if (response.status === 404) return null
    const sizeBytes = totalBytesOf(response) ?? (await this.askSize(key))
    return objectHeadOf(response, sizeBytes, metadataOf(response.headers, METADATA_PREFIX))
  }

  /** Of an object whose HEAD does not tell it. */
  private async askSize(key: string): Promise<number> {
    const answer = await this.container.request({
      ...{ method: 'GET', object: key, expect: [206], headers: { range: 'bytes=0-0' }, maxBodyBytes: 1 },
    })
    const told = totalBytesOf(answer)
    if (told !== null) return told
    throw new StorageError('EIO', `${key}: the server does not tell its size`, { retryable: true })
  }

  /**
   * The answer's etag tells the version, not a condition in the request: a copy of an object that was made of segments
   * keeps their etag for conditions (Swift 2.30), and If-Match would fail for ever.
   */
  async read(key: string, offset: number, lengthBytes: number, version: string): Promise<Uint8Array> {
    const { body } = await this.container.request({
      ...{ method: 'GET', object: key, expect: [200, 206], maxBodyBytes: lengthBytes },
      headers: { range: `bytes=${offset}-${offset + lengthBytes - 1}` },
      check: (head) => {
        requireRange(key, head, offset, lengthBytes, version)
      },
    })
    if (body.byteLength === lengthBytes) return body
    throw new StorageError('EIO', `${key}: ${body.byteLength} bytes in place of ${lengthBytes}`, {
      retryable: true,
    })
  }

  listPage(request: PageRequest): Promise<ObjectPage> {
    return listPage(this.container, request)
  }

  // ---- what is stored

  async put(key: string, data: Uint8Array, { condition, metadata, isMarker }: StoreRequest): Promise<string> {
    // What is said of `data` is said before it is sent: it may be given back then.
    const sizeBytes = data.byteLength
    const version = await this.store({
      ...{ method: 'PUT', object: key, body: data, expect: [201], repeats: repeatsOf(condition) },
      headers: {
        ...(isMarker === true ? MARKER_HEADERS : {}),
        ...metadataHeaders(metadata, METADATA_PREFIX),
        ...(condition === null ? { 'if-none-match': '*' } : {}),
      },
    })
    return version === '' ? this.storedVersion({ key, sizeBytes, metadata, condition }) : version
  }

  private async storedVersion(stored: Stored): Promise<string> {
    return versionOfStored(stored, await this.head(stored.key))
  }

  /** The version of what the request stores; '' where the answer does not tell it. */
  private async store(request: SwiftRequest): Promise<string> {
    try {
      const { headers } = await this.container.request(request)
      return quoteEtag(headers.etag ?? '')
    } catch (error) {
      throw missingContainer(error)
    }
  }

  /** Conditions of a copy mean its source. What was copied is told by the copy's etag too. */
  async copy(source: CopySource, to: string, { metadata, mayRepeat }: CopyRequest): Promise<string> {
    const { key, version, keptHeaders = {} } = source
    if (isLarge(keptHeaders)) return this.copyManifest(source, to, metadata)
    const sent = { source, to, metadata, mayRepeat: mayRepeat === true }
    let copied: string
    try {
      copied = await this.sendCopy(sent, version)
    } catch (error) {
      // See `read`: some objects fit no condition.
      if (!(error instanceof SwiftError) || error.status !== 412) throw error
      if ((await this.head(key))?.version !== version) throw error
      copied = await this.sendCopy(sent, '')
    }
    if (copied === '') return this.copiedVersion(sent)
    if (copied === version || version === '') return copied
    throw new StorageError('ESTALE', `${key}: another version was copied`)
  }

  /** Of a copy whose answer does not tell it. */
  private async copiedVersion({ source, to, metadata }: SentCopy): Promise<string> {
    const { key, sizeBytes } = source
    if (metadata !== null) return this.storedVersion({ key: to, sizeBytes, metadata, condition: undefined })
    return versionOfCopied(to, ...(await Promise.all([this.head(to), this.head(key)])))
  }

  private sendCopy(
    { source, to, metadata, mayRepeat }: SentCopy,
    condition: string,
    query: Headers = {},
  ): Promise<string> {
    const { key, sizeBytes, keptHeaders } = source
    return this.store({
      ...{ method: 'PUT', object: to, query, expect: [201], extraTimeMs: copyTimeMs(sizeBytes) },
      repeats: mayRepeat ? 'any' : 'refused',
      headers: {
        ...(condition === '' ? {} : { 'if-match': condition }),
        ...(metadata === null
          ? {}
          : { ...FRESH_METADATA, ...keptHeaders, ...metadataHeaders(metadata, METADATA_PREFIX) }),
        'x-copy-from': encodeName(this.container.fullNameOf(key)),
      },
    })
  }

  /** An object of segments elsewhere is copied as the list of them: as a plain object it might be too large. */
  private async copyManifest(source: CopySource, to: string, metadata: Metadata | null): Promise<string> {
    if (metadata !== null) throw new StorageError('EOPNOTSUPP', `${source.key}: made of segments`)
    const sent = { source: { ...source, sizeBytes: 0 }, to, metadata, mayRepeat: true }
    await this.sendCopy(sent, '', { 'multipart-manifest': 'get' })
    const [copy, present] = await Promise.all([this.head(to), this.head(source.key)])
    if (copy === null)
      throw new StorageError('EIO', `${to}: gone right after it was copied`, { retryable: true })
    if (present !== null && present.version !== source.version)
      throw new StorageError('ESTALE', `${source.key}: another version may have been copied`)
    return copy.version
  }

  /** It never touches the contents: whoever writes them meanwhile loses nothing. A POST takes away what it does not name. */
  async setMetadata(key: string, { version, keptHeaders }: ObjectHead, metadata: Metadata): Promise<string> {
    const kept = Object.entries(keptHeaders).filter(([name]) => name !== LARGE_OBJECT_HEADERS.static)
    await this.container.request({
      ...{ method: 'POST', object: key, expect: [202] },
      headers: { ...Object.fromEntries(kept), ...metadataHeaders(metadata, METADATA_PREFIX) },
    })
    return version
  }

  /** Swift has no condition for it: with a version, the caller has looked right before. What came to the place after a try without an answer stays. */
  async delete(key: string): Promise<void> {
    const begunMs = performance.now()
    await this.container.connections.retrying(async (mayBeDone) => {
      if (mayBeDone && (await this.isGoneSince(key, begunMs))) return
      await this.container.requestOnce({ method: 'DELETE', object: key, expect: [200, 204, 404] })
    })
  }

  /**
   * By the server's own clock, which is looked at until it tells whether the object is older than the removal that began at
   * `begunMs`. @throws HttpError where it does not
   */
  private async isGoneSince(key: string, begunMs: number): Promise<boolean> {
    const clock = new ServerClock()
    for (let looks = 1; looks <= CLOCK_LOOKS; looks++) {
      const sentMs = performance.now()
      const { status, headers } = await this.container.request({
        ...{ method: 'HEAD', object: key, expect: [200, 204, 404] },
      })
      if (status === 404) return true
      clock.note(headers.date, sentMs, performance.now())
      const made = clock.compare(Number(headers['x-timestamp']) * MS_PER_SECOND, begunMs)
      if (made !== 'unknown') return made === 'after'
      await pause(CLOCK_LOOK_PAUSE_MS)
    }
    throw new HttpError(
      { errno: 'EIO', retryable: true, outcome: 'unknown' },
      `${key}: made at about the time at which it was removed, and nobody answered`,
    )
  }

  beginUpload(key: string, metadata: Metadata): Promise<PartsUpload> {
    const join = async (manifest: string, sizeBytes: number): Promise<string> => {
      const version = await this.store({
        ...{ method: 'PUT', object: key, expect: [201], extraTimeMs: copyTimeMs(sizeBytes) },
        repeats: 'refused',
        headers: {
          // The parts' expiry must not become the object's.
          ...{ ...FRESH_METADATA, 'x-detect-content-type': 'true' },
          ...metadataHeaders(metadata, METADATA_PREFIX),
          'x-copy-from': encodeName(this.container.fullNameOf(manifest)),
        },
      })
      return version === '' ? this.storedVersion({ key, sizeBytes, metadata, condition: undefined }) : version
    }
    return Promise.resolve(new SwiftPartsUpload(this.container, key, join))
  }
}

interface SentCopy {
  readonly source: CopySource
  readonly to: string
  readonly metadata: Metadata | null
  readonly mayRepeat: boolean
}

/** Only If-None-Match goes with a request. */
function repeatsOf(condition: ExpectedVersion): 'any' | 'refused' {
  return condition === null ? 'any' : 'refused'
}

/** Before a read's answer is received: is it what was asked for? Other statuses are judged later. */
function requireRange(
  key: string,
  { status, headers }: HttpHead,
  offset: number,
  lengthBytes: number,
  version: string,
): void {
  if (status !== 206 && status !== 200) return
  if (version !== '' && quoteEtag(headers.etag ?? '') !== version)
    throw new StorageError('ESTALE', `${key}: it was replaced`, { retryable: true })
  const length = headers['content-length']
  if (status === 200) {
    if (offset === 0 && Number(length) === lengthBytes) return
    throw new StorageError('EIO', `${key}: the server does not know ranges`, { retryable: true })
  }
  const range = headers['content-range']
  const [, first, last] = /^bytes (\d+)-(\d+)\//.exec(range ?? '') ?? []
  if (range !== undefined && Number(first) !== offset)
    throw new StorageError('EIO', `${key}: ${range} in answer to bytes from ${offset} on`, {
      retryable: true,
    })
  const told = length ?? (last === undefined ? undefined : Number(last) - offset + 1)
  if (told === undefined || Number(told) === lengthBytes) return
  throw new StorageError('ESTALE', `${key}: ${told} bytes where ${lengthBytes} were stored`, {
    retryable: true,
  })
}

/** A PUT finds no container. It may be made again, so nothing is thrown away. */
function missingContainer(error: unknown): unknown {
  if (!(error instanceof SwiftError) || error.status !== 404) return error
  return new StorageError('EIO', `the container is missing: ${error.message}`, {
    ...{ retryable: true, outcome: error.outcome, cause: error },
  })
}
