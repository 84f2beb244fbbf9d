import { randomUUID } from 'node:crypto'
import {
  RESERVED_DIRECTORY,
  type AttributeChanges,
  type AttributesChanged,
  type Backend,
  type BackendCapabilities,
  type BackendWriter,
  type CopyOptions,
  type DirectoryEntry,
  type EntryKind,
  type ExpectedVersion,
  type FileAttributes,
  type ObjectStat,
  type StorageUsage,
  type Timestamp,
  type WriteOptions,
} from '../backend.js'
import { forEachConcurrently } from '../concurrency.js'
import { copyTimeMs } from '../objects/copy-time.js'
import { DirectoryMarkers } from '../objects/directory-markers.js'
import {
  changeMetadata,
  encodeAttributes,
  headersNamed,
  metadataHeaders,
  metadataOf,
  storedStat,
  withAttributes,
  withMetadata,
  type Headers,
  type Metadata,
} from '../objects/file-attributes.js'
import { StorageError } from '../storage-error.js'
import { encodeName, SwiftContainer } from './swift-container.js'
import { SwiftError } from './swift-errors.js'
import type { HttpHead, HttpResponse } from '../http/http-connection.js'
import { conflict, DIRECTORY, SMALL_LISTING_ENTRIES, UNLIMITED_USAGE } from '../objects/object-store.js'
import { listEntries, quoteEtag, statOfHead, type SwiftEntry } from './swift-listing.js'
import { parseSwiftOptions } from './swift-options.js'
import { SwiftUpload } from './swift-upload.js'
import { timestampNow } from '../timestamp.js'

/** Large enough that a request's latency is small beside its transfer; 640 of them make Swift's largest object, and a manifest holds 1000. */
const PART_SIZE_BYTES = 8 << 20
/** Objects moved at once. */
const TREE_CONCURRENCY = 16
/** Swift's limit (max_object_name_length), in UTF-8. */
const MAX_NAME_BYTES = 1024
const MARKER_HEADERS = { 'content-type': 'application/directory' }
const METADATA_PREFIX = 'x-object-meta-'
/** A copy takes over no metadata. */
const FRESH_METADATA = { 'x-fresh-metadata': 'true' }
/** Of an object beside its metadata; a POST takes away what it does not name. */
const KEPT_HEADERS = [
  ...['cache-control', 'content-disposition', 'content-encoding', 'content-language', 'expires'],
  ...['x-delete-at', 'x-object-manifest', 'x-robots-tag'],
]
/** Metadata of objects that were stored where nothing was: which write it was. */
const WRITE_MARK = 'ovfsd-write'
const EMPTY = new Uint8Array(0)

interface FoundObject {
  readonly object: string
  readonly head: HttpHead
  readonly stat: ObjectStat
  readonly metadata: Metadata
}

/** What the store has in place of what was expected there. */
/** Made of segments elsewhere, by other clients: a copy is a copy of the list of segments. */
function isLargeObject({ headers }: HttpHead): boolean {
  return 'x-static-large-object' in headers || 'x-object-manifest' in headers
}

/**
 * OpenStack Swift over its own HTTP interface. A directory is there if an object "dir/" (its marker) or any name below it
 * is; mkdir makes the marker, and a directory gets one before the last name below it may go. Where both an object "a" and
 * names below "a/" are, the object is seen. Listings of Swift lag behind at times, so what is asked of one object goes to
 * the object and not to a listing.
 */
export class SwiftBackend implements Backend {
  readonly capabilities: BackendCapabilities
  private readonly container: SwiftContainer
  private readonly markers = new DirectoryMarkers((path) => this.createDirectory(path))

  /** @throws StorageError EINVAL where options are missing */
  constructor(
    options: Readonly<Record<string, string>>,
    timeoutMs: number,
    private readonly keepsAttributes: boolean,
  ) {
    this.container = new SwiftContainer(parseSwiftOptions(options), timeoutMs)
    this.capabilities = {
      ...{ write: true, append: false, copy: true, setModificationTime: false, attributes: keepsAttributes },
      maxFileBytes: Number.MAX_SAFE_INTEGER,
      // A directory's marker ends in "/".
      maxPathBytes: MAX_NAME_BYTES - Buffer.byteLength(this.container.prefix) - 1,
      partSizeBytes: PART_SIZE_BYTES,
    }
  }

  reportRetries(listener: () => void): void {
    this.container.connections.onRetry = listener
  }

  accepts(): boolean {
    return true
  }

  async stat(path: string, kind?: EntryKind): Promise<ObjectStat | null> {
    if (path === '') return DIRECTORY
    if (kind === 'file') {
      const listed = await this.head(path)
      if (listed !== null) return this.toStat(listed)
    }
    // Side by side: a name that is missing, the usual case before a file is made, takes one round trip.
    const below = this.hasBelow(`${path}/`)
    below.catch(() => undefined)
    const head = await this.head(path)
    if (head !== null) return this.toStat(head)
    const isListed = await below
    // The listing may not have the marker yet that was made here.
    if (!isListed && !this.markers.has(path)) return null
    if (isListed && !this.keepsAttributes) return DIRECTORY
    const marker = await this.head(`${path}/`)
    if (marker !== null) return this.toDirectoryStat(marker)
    return isListed ? this.toDirectoryStat(null) : null
  }

  private toStat(head: HttpResponse): ObjectStat {
    const stat = statOfHead(head)
    return this.keepsAttributes ? withMetadata(stat, metadataOf(head.headers, METADATA_PREFIX)) : stat
  }

  /** `marker`: null for a directory that only the names below it make one. */
  private toDirectoryStat(marker: HttpResponse | null): ObjectStat {
    if (!this.keepsAttributes) return DIRECTORY
    return withMetadata(DIRECTORY, marker === null ? {} : metadataOf(marker.headers, METADATA_PREFIX))
  }

  private async head(object: string): Promise<HttpResponse | null> {
    const response = await this.container.request({ method: 'HEAD', object, expect: [200, 204, 404] })
    return response.status === 404 ? null : response
  }

  private async hasBelow(prefix: string): Promise<boolean> {
    for await (const page of listEntries(this.container, { prefix, isFlat: true, limit: 1 })) {
      if (page.length > 0) return true
    }
    return false
  }

  async list(path: string): Promise<DirectoryEntry[]> {
    const entries = new Map<string, DirectoryEntry>()
    const prefix = path === '' ? '' : `${path}/`
    for await (const page of listEntries(this.container, { prefix, isFlat: false })) {
      for (const listed of page) this.addEntry(entries, path, listed)
    }
    return [...entries.values()]
  }

  /** A listing has no metadata. */
  get listsStats(): boolean {
    return !this.keepsAttributes
  }

  async listSmall(path: string): Promise<DirectoryEntry[] | null> {
    const entries = new Map<string, DirectoryEntry>()
    const prefix = path === '' ? '' : `${path}/`
    const { listingLimit } = await this.container.limits()
    const limit = Math.min(SMALL_LISTING_ENTRIES, listingLimit ?? SMALL_LISTING_ENTRIES)
    for await (const page of listEntries(this.container, { prefix, isFlat: false, limit })) {
      if (page.length >= limit) return null
      for (const listed of page) this.addEntry(entries, path, listed)
    }
    return [...entries.values()]
  }

  private addEntry(
    entries: Map<string, DirectoryEntry>,
    path: string,
    { name: fullName, stat }: SwiftEntry,
  ): void {
    const isPrefix = stat === null
    const name = fullName.slice(path === '' ? 0 : path.length + 1, isPrefix ? -1 : undefined)
    if (name === '' && !isPrefix) this.markers.note(path)
    // "a//b" and the like can't be addressed.
    if (name === '' || name === '.' || name === '..' || name.includes('/')) return
    if (path === '' && name === RESERVED_DIRECTORY) return
    const listed = stat ?? DIRECTORY
    // A listing has no metadata.
    const entry = { name, kind: listed.kind, stat: this.keepsAttributes ? null : listed }
    if (entry.kind === 'file' || !entries.has(name)) entries.set(name, entry)
  }

  /**
   * The answer's etag tells the version, not a condition in the request: a copy of an object that was made of segments
   * keeps their etag for conditions (Swift 2.30), and If-Match would fail for ever.
   */
  async read(path: string, offset: number, lengthBytes: number, version: string): Promise<Uint8Array> {
    const { body } = await this.container.request({
      ...{ method: 'GET', object: path, expect: [200, 206], maxBodyBytes: lengthBytes },
      headers: { range: `bytes=${offset}-${offset + lengthBytes - 1}` },
      check: (head) => {
        checkAnswer(path, head, offset, lengthBytes, version)
      },
    })
    if (body.byteLength === lengthBytes) return body
    throw new StorageError('EIO', `${path}: ${body.byteLength} bytes in place of ${lengthBytes}`, {
      retryable: true,
    })
  }

  async write(
    path: string,
    data: Uint8Array,
    expected: ExpectedVersion,
    options?: WriteOptions,
  ): Promise<ObjectStat> {
    const attributes = options?.attributes
    if (expected === null) return this.writeNew(path, data, attributes)
    await this.requireVersion(path, expected)
    return this.put(path, data, {}, attributes)
  }

  private async put(
    path: string,
    data: Uint8Array,
    headers: Headers,
    attributes: FileAttributes | undefined,
  ): Promise<ObjectStat> {
    const all = { ...headers, ...attributeHeaders(attributes, 'file') }
    try {
      const request = { method: 'PUT', object: path, body: data, headers: all, expect: [201] } as const
      return storedStat(data.byteLength, versionOf(await this.container.request(request)), attributes)
    } catch (error) {
      throw missingContainer(error)
    }
  }

  /**
   * Swift looks when the write begins, so of two that overlap the later one stands and neither is told. The mark tells an
   * earlier try of this write, whose answer got lost, from another's.
   */
  private async writeNew(
    path: string,
    data: Uint8Array,
    attributes: FileAttributes | undefined,
  ): Promise<ObjectStat> {
    const mark = randomUUID()
    const headers = { 'if-none-match': '*', [METADATA_PREFIX + WRITE_MARK]: mark }
    try {
      return await this.put(path, data, headers, attributes)
    } catch (error) {
      if (!(error instanceof SwiftError) || error.status !== 412) throw error
      const head = await this.head(path)
      if (head?.headers[METADATA_PREFIX + WRITE_MARK] === mark) return this.toStat(head)
      throw conflict(path, null)
    }
  }

  /** Swift's PUT knows no If-Match: looked up right before, which leaves a moment. */
  private async requireVersion(path: string, expected: ExpectedVersion): Promise<void> {
    if (expected === undefined) return
    const head = await this.head(path)
    const present = head === null ? null : statOfHead(head).version
    if (present !== expected) throw conflict(path, expected)
  }

  createWriter(path: string, expected: ExpectedVersion, options?: WriteOptions): Promise<BackendWriter> {
    const attributes = options?.attributes
    const publish = async (manifest: string | null, sizeBytes: number): Promise<ObjectStat> => {
      if (manifest === null) return this.write(path, EMPTY, expected, options)
      await this.requireVersion(path, expected)
      const headers = {
        // The parts' expiry must not become the object's.
        ...{ ...FRESH_METADATA, 'x-detect-content-type': 'true' },
        ...attributeHeaders(attributes, 'file'),
      }
      const copied = await this.copyObject(manifest, path, sizeBytes, headers, {})
      return storedStat(sizeBytes, versionOf(copied), attributes)
    }
    return Promise.resolve(new SwiftUpload(this.container, path, publish))
  }

  private async copyObject(
    from: string,
    to: string,
    sizeBytes: number,
    headers: Headers,
    query: Headers,
  ): Promise<HttpResponse> {
    return this.container.request({
      ...{ method: 'PUT', object: to, body: EMPTY, query, expect: [201], extraTimeMs: copyTimeMs(sizeBytes) },
      headers: { ...headers, 'x-copy-from': encodeName(this.container.fullNameOf(from)) },
    })
  }

  append(path: string): Promise<ObjectStat> {
    return Promise.reject(new StorageError('EOPNOTSUPP', `${path}: Swift can't append`))
  }

  async copy(
    from: string,
    to: string,
    expected: ExpectedVersion,
    options?: CopyOptions,
  ): Promise<ObjectStat> {
    const attributes = options?.attributes
    const head = await this.head(from)
    if (head === null) throw new StorageError('ENOENT', `${from}: not there`)
    if (isLargeObject(head)) {
      // The copy would be a plain object, which may not be that large.
      throw new StorageError('EOPNOTSUPP', `${from}: made of segments`)
    }
    await this.requireVersion(to, expected)
    const { sizeBytes } = statOfHead(head)
    const headers =
      attributes === undefined ? {} : { ...FRESH_METADATA, ...attributeHeaders(attributes, 'file') }
    const copied = await this.copyObject(from, to, sizeBytes, headers, {})
    return storedStat(sizeBytes, versionOf(copied), attributes)
  }

  /** Where attributes are kept and none are given, the directory only has to stay: its marker keeps those that it has. */
  async createDirectory(path: string, attributes?: FileAttributes): Promise<void> {
    const keepsPresent = this.keepsAttributes && attributes === undefined
    const isThere = keepsPresent && (await this.head(`${path}/`)) !== null
    if (!isThere) await this.putMarker(path, attributeHeaders(attributes, 'directory'))
    this.markers.note(path)
  }

  private async putMarker(path: string, headers: Headers): Promise<void> {
    await this.container
      .request({
        ...{ method: 'PUT', object: `${path}/`, body: EMPTY, expect: [201] },
        headers: { ...MARKER_HEADERS, ...headers },
      })
      .catch((error: unknown) => {
        throw missingContainer(error)
      })
  }

  async removeDirectory(path: string): Promise<void> {
    await this.markers.keepParent(path)
    this.markers.forget(path)
    await this.remove(`${path}/`)
    // Another client's kind of marker; never an object with contents.
    const head = await this.head(path)
    if (head !== null && statOfHead(head).kind === 'directory') await this.remove(path)
  }

  async removeFile(path: string): Promise<void> {
    await this.markers.keepParent(path)
    await this.remove(path)
  }

  private async remove(object: string): Promise<void> {
    await this.container.request({ method: 'DELETE', object, expect: [200, 204, 404] })
  }

  async rename(from: string, to: string, kind: EntryKind): Promise<void> {
    await this.markers.keepParent(from)
    if (kind === 'file') {
      if (!(await this.moveObject(from, to))) throw new StorageError('ENOENT', `${from}: not there`)
      return
    }
    this.markers.forgetTree(from)
    await this.moveTree(from, to)
  }

  /** The source goes when the copy stands. False when there is no source. */
  private async moveObject(from: string, to: string): Promise<boolean> {
    const head = await this.head(from)
    if (head === null) return false
    const query: Record<string, string> = isLargeObject(head) ? { 'multipart-manifest': 'get' } : {}
    const { sizeBytes } = statOfHead(head)
    try {
      await this.copyObject(from, to, query['multipart-manifest'] === undefined ? sizeBytes : 0, {}, query)
    } catch (error) {
      if (error instanceof StorageError && error.errno === 'ENOENT' && (await this.head(from)) === null)
        return false
      throw error
    }
    await this.remove(from)
    return true
  }

  /** Every name below `from`; what a listing has too long is passed over. Repeated after a failure, it goes on with what is left. */
  private async moveTree(from: string, to: string): Promise<void> {
    await this.createDirectoryLike(from, to)
    const prefix = `${from}/`
    for await (const page of listEntries(this.container, { prefix, isFlat: true })) {
      await forEachConcurrently(page, TREE_CONCURRENCY, async ({ name }) => {
        // The directory's own marker goes last: until then the rest can be found again.
        if (name !== prefix) await this.moveObject(name, `${to}/${name.slice(prefix.length)}`)
      })
    }
    await this.removeDirectory(from)
  }

  /** What is kept of `from` beside its entries is kept of `to`. */
  private async createDirectoryLike(from: string, to: string): Promise<void> {
    const found = this.keepsAttributes ? await this.find(from, 'directory') : null
    if (found === null) {
      await this.createDirectory(to)
      return
    }
    await this.putMarker(to, metadataHeaders(found.metadata, METADATA_PREFIX))
    this.markers.note(to)
  }

  /** The object that is the file, or the directory's marker; null where the directory has none. */
  private async find(path: string, kind: EntryKind): Promise<FoundObject | null> {
    // Other clients' markers have no "/".
    for (const object of kind === 'file' ? [path] : [`${path}/`, path]) {
      const head = await this.head(object)
      if (head === null) continue
      const stat = object === path ? statOfHead(head) : DIRECTORY
      if (stat.kind === kind)
        return { object, head, stat, metadata: metadataOf(head.headers, METADATA_PREFIX) }
    }
    return null
  }

  async setAttributes(path: string, kind: EntryKind, changes: AttributeChanges): Promise<AttributesChanged> {
    const found = await this.find(path, kind)
    if (found === null && kind === 'file') throw new StorageError('ENOENT', `${path}: not there`)
    const stat = found?.stat ?? DIRECTORY
    const before = found?.metadata ?? {}
    const { metadata, attributes } = changeMetadata(before, kind, changes, stat.mtime ?? timestampNow())
    const headers = metadataHeaders(metadata, METADATA_PREFIX)
    if (found === null) {
      await this.putMarker(path, headers)
      this.markers.note(path)
    } else {
      // It never touches the contents: whoever writes them meanwhile loses nothing.
      await this.container.request({
        ...{ method: 'POST', object: found.object, body: EMPTY, expect: [202] },
        headers: { ...headersNamed(found.head.headers, KEPT_HEADERS), ...headers },
      })
    }
    return { previousVersion: stat.version, stat: withAttributes(stat, attributes) }
  }

  setModificationTime(path: string, _mtime: Timestamp): Promise<AttributesChanged> {
    return Promise.reject(new StorageError('EOPNOTSUPP', `${path}: the store keeps its own times`))
  }

  usage(): Promise<StorageUsage> {
    return Promise.resolve(UNLIMITED_USAGE)
  }
}

function attributeHeaders(attributes: FileAttributes | undefined, kind: EntryKind): Headers {
  return attributes === undefined ? {} : metadataHeaders(encodeAttributes(attributes, kind), METADATA_PREFIX)
}

/** Before a read's answer is received: is it what was asked for? Other statuses are judged later. */
function checkAnswer(
  path: string,
  { status, headers }: HttpHead,
  offset: number,
  lengthBytes: number,
  version: string,
): void {
  if (status !== 206 && status !== 200) return
  const present = quoteEtag(headers.etag ?? '')
  if (version !== '' && present !== version) {
    throw new StorageError('ESTALE', `${path}: it was replaced`, { retryable: true })
  }
  const length = headers['content-length']
  if (status === 206 && (length === undefined || Number(length) === lengthBytes)) return
  if (status === 200 && offset === 0 && Number(length) === lengthBytes) return
  if (status === 200) throw new StorageError('EIO', `${path}: the server does not know ranges`)
  throw new StorageError('ESTALE', `${path}: ${Number(length)} bytes where ${lengthBytes} were stored`, {
    retryable: true,
  })
}

function versionOf({ headers }: HttpHead): string {
  return quoteEtag(headers.etag ?? '')
}

/** A PUT finds no container. It may be made again, so nothing is thrown away. */
function missingContainer(error: unknown): unknown {
  if (!(error instanceof SwiftError) || error.status !== 404) return error
  return new StorageError('EIO', `the container is missing: ${error.message}`, {
    retryable: true,
    cause: error,
  })
}
