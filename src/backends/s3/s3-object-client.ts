import type { IncomingHttpHeaders } from 'node:http'
import type { Operator } from 'opendal'
import type { ConditionKind, ExpectedVersion, StoreConditions } from '../backend.js'
import { HttpError, type Repeats } from '../http/http-error.js'
import { metadataHeaders, type Headers, type Metadata } from '../objects/file-attributes.js'
import {
  allConditions,
  UNKNOWN_CONDITIONS,
  type CopyRequest,
  type CopySource,
  type ObjectClient,
  type ObjectClientLimits,
  type ObjectHead,
  type ObjectPage,
  type PageRequest,
  type PartsUpload,
  type StoreRequest,
} from '../objects/object-client.js'
import { PART_SIZE_BYTES } from '../objects/object-store.js'
import { versionOfCopied, versionOfStored, type Stored } from '../objects/stored-version.js'
import { hasExactPath } from '../opendal/opendal-backend.js'
import { createOperator } from '../opendal/operator.js'
import { StorageError } from '../storage-error.js'
import { METADATA_PREFIX, S3Client } from './s3-client.js'
import { contentLengthOf, contentRangeOf, objectHeadOf, STORAGE_CLASS_HEADER } from './s3-head.js'
import { listPage } from './s3-list.js'
import { DEFAULT_S3_REGION, hasRegion } from './s3-options.js'
import { S3Reads } from './s3-reads.js'
import { MAX_PARTS, MIN_PART_BYTES, S3Multipart } from './s3-upload.js'
import { isRecordName, sweepUploads } from './s3-upload-records.js'

export interface S3ObjectClientOptions {
  /** Of one try of one request. */
  readonly timeoutMs: number
  /** Of a path below the mount's root. */
  readonly maxPathBytes: number
  /** Objects up to this size are copied by one request. */
  readonly maxCopyBytes?: number
}

/** S3's limit for a copy by one request. */
const MAX_COPY_BYTES = 5 * 2 ** 30
/** Parts of larger copies: few, and each done long before its deadline. S3 asks for at least 5 MiB. */
const COPY_PART_BYTES = 2 ** 30
/**
 * Parts of all uploads of a mount that are under way: a gateway takes one at a third of what it takes of several. Each is held
 * in memory.
 */
const PARTS_AT_ONCE = 4
/** Every object's head has it in Ceph. */
const CEPH_HEADER = 'x-rgw-object-type'
/** As s3fs has it. */
const MARKER_HEADERS: Headers = { 'content-type': 'application/x-directory' }
const USUAL_STORAGE_CLASS = 'STANDARD'

/** S3 and what is like it. */
export class S3ObjectClient implements ObjectClient {
  readonly pageKeys = Infinity
  readonly canWrite = true
  readonly canCopy = true
  readonly keepsMetadata = true
  readonly limits: ObjectClientLimits
  readonly conditions: StoreConditions
  private readonly client: S3Client
  private readonly reads: S3Reads
  private readonly maxCopyBytes: number
  private quotesEtags = true
  /** Ceph has another name for the condition of a copy and, measured on 16, ignores the usual one. null: not known yet. */
  private isCeph: boolean | null = null

  constructor(options: Readonly<Record<string, string>>, settings: S3ObjectClientOptions) {
    this.client = new S3Client(options, settings.timeoutMs)
    this.reads = new S3Reads(this.client, this.readerOf(options, settings.timeoutMs))
    this.maxCopyBytes = settings.maxCopyBytes ?? MAX_COPY_BYTES
    this.limits = {
      maxObjectBytes: MAX_PARTS * PART_SIZE_BYTES,
      maxPathBytes: settings.maxPathBytes,
      partSizeBytes: PART_SIZE_BYTES,
      minPartBytes: MIN_PART_BYTES,
      maxCopyBytes: this.maxCopyBytes,
      partsAtOnce: PARTS_AT_ONCE,
    }
    this.conditions = this.client.options.sendsNoConditions
      ? { ...allConditions('look'), remove: 'unknown' satisfies ConditionKind }
      : UNKNOWN_CONDITIONS
  }

  /** OpenDAL, where it reads the options as they are read here. */
  private readerOf(options: Readonly<Record<string, string>>, timeoutMs: number): Operator | null {
    const { bucket, root } = this.client.options
    // It takes the bucket's name from the beginning of any host.
    const namesBucket = (options['endpoint'] ?? '').includes(`//${bucket}.`)
    if (namesBucket || !hasExactPath(root)) return null
    const withRegion = hasRegion(options) ? options : { ...options, region: DEFAULT_S3_REGION }
    return createOperator({ scheme: 's3', options: withRegion, timeoutMs })
  }

  accepts(): boolean {
    return true
  }

  useBareEtags(): void {
    this.quotesEtags = false
  }

  reportRetries(listener: () => void): void {
    this.client.connections.onRetry = listener
  }

  // ---- what is there

  async head(key: string): Promise<ObjectHead | null> {
    const headers = await this.client.head(this.client.keyOf(key))
    if (headers === null) return null
    this.isCeph ??= CEPH_HEADER in headers
    return objectHeadOf(headers, contentLengthOf(headers) ?? (await this.askSize(key)))
  }

  /** Of an object whose HEAD does not tell it. */
  private async askSize(key: string): Promise<number> {
    const answer = await this.client.get(this.client.keyOf(key), 1)
    const headers: IncomingHttpHeaders = answer?.headers ?? {}
    const told =
      contentRangeOf(headers)?.totalBytes ?? (answer?.status === 200 ? contentLengthOf(headers) : null)
    if (told === null)
      throw new StorageError('EIO', `${key}: the server does not tell its size`, { retryable: true })
    return told
  }

  read(key: string, offset: number, lengthBytes: number, version: string): Promise<Uint8Array> {
    return this.reads.read({ key, offset, lengthBytes, version })
  }

  listPage(request: PageRequest): Promise<ObjectPage> {
    const { root } = this.client.options
    return listPage(this.client, { ...request, prefix: root + request.prefix }).then((page) => ({
      objects: page.objects.map((object) => ({ ...object, key: object.key.slice(root.length) })),
      prefixes: page.prefixes.map((prefix) => prefix.slice(root.length)),
      next: page.next,
    }))
  }

  // ---- what is stored

  put(key: string, data: Uint8Array, { condition, metadata, isMarker }: StoreRequest): Promise<string> {
    const headers = {
      ...(isMarker === true ? MARKER_HEADERS : {}),
      ...metadataHeaders(metadata, METADATA_PREFIX),
      ...this.conditionOf(condition),
    }
    // What is said of `data` is said before it is sent: it may be given back then.
    const sizeBytes = data.byteLength
    return this.conditional(condition, async (repeats) => {
      const etag = await this.client.put(this.client.keyOf(key), data, headers, repeats)
      return etag === '' ? this.storedVersion({ key, sizeBytes, metadata, condition }) : etag
    })
  }

  copy(source: CopySource, to: string, request: CopyRequest): Promise<string> {
    return this.copyWith(source, to, request, request.mayRepeat === true ? 'any' : null)
  }

  /** `repeats`: null for what the condition allows. */
  private async copyWith(
    source: CopySource,
    to: string,
    request: CopyRequest,
    repeats: Repeats | null,
  ): Promise<string> {
    const { condition, metadata } = request
    if (source.sizeBytes > this.maxCopyBytes) return this.copyInParts(source, to, request)
    const headers = {
      ...this.sourceCondition(source.version),
      ...(metadata === null ? {} : this.replacedMetadata(source, metadata)),
      ...this.conditionOf(condition),
    }
    const [from, target] = [this.client.keyOf(source.key), this.client.keyOf(to)]
    return this.conditional(condition, async (allowed) => {
      const etag = await this.client.copy(from, target, source.sizeBytes, headers, repeats ?? allowed)
      if (etag !== '') return etag
      const { sizeBytes } = source
      if (metadata !== null) return this.storedVersion({ key: to, sizeBytes, metadata, condition })
      return versionOfCopied(to, ...(await Promise.all([this.head(to), this.head(source.key)])))
    })
  }

  /** The object is copied onto itself, on the condition that it is still what `head` told. */
  setMetadata(key: string, head: ObjectHead, metadata: Metadata): Promise<string> {
    return this.copyWith({ key, ...head }, key, { condition: undefined, metadata }, 'refused')
  }

  delete(key: string, version?: string): Promise<void> {
    return this.client.delete(this.client.keyOf(key), this.conditionOf(version))
  }

  async beginUpload(key: string, metadata: Metadata): Promise<PartsUpload> {
    const headers = metadataHeaders(metadata, METADATA_PREFIX)
    return S3Multipart.begin(this.client, this.client.keyOf(key), headers, {
      conditionOf: (condition) => this.conditionOf(condition),
      storedVersion: (sizeBytes, condition) => this.storedVersion({ key, sizeBytes, metadata, condition }),
    })
  }

  private conditionOf(condition: ExpectedVersion): Headers {
    if (condition === undefined) return {}
    if (condition === null) return { 'if-none-match': '*' }
    return { 'if-match': this.quotesEtags ? condition : condition.replace(/^"(.*)"$/, '$1') }
  }

  /** An object that is gone is another version, too. */
  private async conditional<T>(
    condition: ExpectedVersion,
    send: (repeats: Repeats) => Promise<T>,
  ): Promise<T> {
    try {
      return await send(condition === undefined ? 'none' : 'any')
    } catch (error) {
      if (typeof condition !== 'string' || !(error instanceof HttpError) || error.errno !== 'ENOENT')
        throw error
      const conflict = new HttpError({ errno: 'ESTALE', outcome: error.outcome }, error.message, error)
      conflict.isRepeated = error.isRepeated
      throw conflict
    }
  }

  /** What was stored, where the answer does not tell it. */
  private async storedVersion(stored: Stored): Promise<string> {
    return versionOfStored(stored, await this.head(stored.key))
  }

  // ---- copies

  /** A copy that is made of this version or not at all. */
  private sourceCondition(version: string): Headers {
    if (!version.startsWith('"')) return {}
    const ofCeph = this.isCeph === false ? {} : { 'x-amz-copy-if-match': version }
    return { 'x-amz-copy-source-if-match': version, ...ofCeph }
  }

  /** What a copy of this object must be told, so that only its metadata differs. */
  private replacedMetadata(source: CopySource, metadata: Metadata): Headers {
    return {
      'x-amz-metadata-directive': 'REPLACE',
      ...this.keptHeaders(source),
      ...metadataHeaders(metadata, METADATA_PREFIX),
    }
  }

  private keptHeaders({ keptHeaders = {} }: CopySource): Headers {
    const hasDefaultClass = STORAGE_CLASS_HEADER in this.client.options.storeHeaders
    // An object of the usual class is told without it, and must not go over to the profile's.
    return hasDefaultClass ? { [STORAGE_CLASS_HEADER]: USUAL_STORAGE_CLASS, ...keptHeaders } : keptHeaders
  }

  private async copyInParts(
    source: CopySource,
    to: string,
    { condition, metadata }: CopyRequest,
  ): Promise<string> {
    const head = await this.head(source.key)
    if (head?.version !== source.version)
      throw new StorageError('ESTALE', `${source.key}: changed before it was copied`)
    const from = this.client.keyOf(source.key)
    const kept = metadata ?? head.metadata
    const headers = {
      ...this.keptHeaders({ key: source.key, ...head }),
      ...metadataHeaders(kept, METADATA_PREFIX),
    }
    const upload = await S3Multipart.begin(this.client, this.client.keyOf(to), headers, {
      conditionOf: (expected) => this.conditionOf(expected),
      storedVersion: (sizeBytes, expected) =>
        this.storedVersion({ key: to, sizeBytes, metadata: kept, condition: expected }),
    })
    try {
      const partBytes = Math.min(COPY_PART_BYTES, this.maxCopyBytes)
      await upload.appendCopy(from, source.sizeBytes, partBytes, this.sourceCondition(source.version))
      // The copy may have taken long, and must not undo what came meanwhile; Ceph ignores the condition for parts.
      if ((await this.head(source.key))?.version !== source.version)
        throw new StorageError('ESTALE', `${source.key}: changed while it was copied`)
      const version = await upload.complete(condition)
      await upload.finish()
      return version
    } catch (error) {
      await upload.abort()
      throw error
    }
  }

  // ---- what uploads left

  get hasLeftovers(): boolean {
    return this.client.leftovers.size > 0
  }

  async removeLeftovers(reservedNames: readonly string[]): Promise<number> {
    const own = [...this.client.leftovers]
    for (const record of own) await record.abortOnce()
    const names = reservedNames.filter(isRecordName)
    return own.length + (names.length === 0 ? 0 : await sweepUploads(this.client, names))
  }
}
