import type { Entry, Metadata as OpendalMetadata, Operator, WriteOptions, Writer } from 'opendal'
import type { ConditionKind, ExpectedVersion, StoreConditions } from '../backend.js'
import { asDisposable } from '../disposable.js'
import type { Metadata } from '../objects/file-attributes.js'
import type {
  CopyRequest,
  CopySource,
  ListedObject,
  ObjectClient,
  ObjectClientLimits,
  ObjectHead,
  ObjectPage,
  PageRequest,
  PartsUpload,
  StoreRequest,
} from '../objects/object-client.js'
import { StorageError, toStorageError } from '../storage-error.js'
import { PresentStat } from './present-stat.js'
import { asBuffer, hasExactPath, objectPath, serviceLimits, statOf } from './opendal-backend.js'

export interface OpendalObjectOptions {
  /** Of a path below the mount's root. */
  readonly maxPathBytes: number
  /** The service takes a "\\" for a "/". */
  readonly isBackslashSlash?: boolean
}

/** Object stores over OpenDAL's binding: all of them but S3 and Swift. */
export class OpendalObjectClient implements ObjectClient {
  readonly canWrite: boolean
  readonly canCopy: boolean
  readonly keepsMetadata: boolean
  readonly hasLeftovers = false
  readonly pageKeys = null
  readonly conditions: StoreConditions
  readonly limits: ObjectClientLimits
  private readonly readsMatching: boolean
  private readonly present: PresentStat

  constructor(
    private readonly operator: Operator,
    private readonly options: OpendalObjectOptions,
  ) {
    this.present = new PresentStat(operator)
    const capability = operator.capability()
    this.canWrite = capability.write
    this.canCopy = capability.copy
    this.keepsMetadata = capability.writeWithUserMetadata
    this.readsMatching = capability.readWithIfMatch
    const { maxFileBytes, partSizeBytes } = serviceLimits(capability)
    this.limits = {
      ...{ maxObjectBytes: maxFileBytes, partSizeBytes, minPartBytes: partSizeBytes },
      ...{ maxPathBytes: options.maxPathBytes, maxCopyBytes: maxFileBytes },
      // The binding's writer takes one part after the other.
      partsAtOnce: 1,
    }
    this.conditions = {
      create: kindOf(capability.writeWithIfNotExists),
      replace: kindOf(capability.writeWithIfMatch),
      // The binding has none for these.
      ...{ complete: 'look', copy: 'look', remove: 'look' },
    }
  }

  /** OpenDAL's HTTP client folds "." and "..", and OpenDAL itself empty names and white space at the end. */
  accepts(key: string): boolean {
    const names = key.replace(/\/$/, '').split('/')
    const isPlain = names.every((name) => name !== '' && name !== '.' && name !== '..')
    return isPlain && hasExactPath(key) && !(this.options.isBackslashSlash === true && key.includes('\\'))
  }

  async head(key: string): Promise<ObjectHead | null> {
    if (key.endsWith('/')) return this.markerHead(key)
    const metadata = await this.present.stat(objectPath(key))
    return metadata === null ? null : headOf(key, metadata)
  }

  /** OpenDAL says of every directory that it is there, whether it has a marker or only names below it. */
  private async markerHead(key: string): Promise<ObjectHead | null> {
    const { objects } = await this.listPage({ prefix: key, isFlat: false, token: null, maxKeys: 1 })
    return objects[0]?.key === key ? MARKER_HEAD : null
  }

  async read(key: string, offset: number, lengthBytes: number, version: string): Promise<Uint8Array> {
    const matches = this.readsMatching && version.startsWith('"')
    const data = await translated(
      this.operator.read(objectPath(key), {
        ...{ offset: BigInt(offset), size: BigInt(lengthBytes) },
        ...(matches ? { ifMatch: version } : {}),
      }),
    )
    if (data.byteLength !== lengthBytes)
      throw new StorageError('ESTALE', `${key}: ${data.byteLength} bytes where ${lengthBytes} were stored`, {
        retryable: true,
      })
    // What has been read was of this version if it is still there.
    if (!matches && (await this.head(key))?.version !== version)
      throw new StorageError('ESTALE', `${key}: changed while it was read`, { retryable: true })
    return asDisposable(data)
  }

  async put(key: string, data: Uint8Array, { condition, metadata, isMarker }: StoreRequest): Promise<string> {
    if (isMarker === true) {
      await translated(this.operator.createDir(objectPath(key)))
      return MARKER_HEAD.version
    }
    const options = { ...conditionOf(condition), ...this.metadataOf(metadata) }
    const stored = await translated(this.operator.write(objectPath(key), asBuffer(data), options))
    const { version } = statOf(stored)
    // Many services' answers to a write do not tell the version that it made.
    return version.startsWith('"') ? version : this.versionAt(key)
  }

  private metadataOf(metadata: Metadata): WriteOptions {
    return this.keepsMetadata && Object.keys(metadata).length > 0 ? { userMetadata: { ...metadata } } : {}
  }

  private async versionAt(key: string): Promise<string> {
    const head = await this.head(key)
    if (head !== null) return head.version
    throw new StorageError('ESTALE', `${key}: gone right after it was written`)
  }

  /** The binding's copy takes no conditions and no metadata, so the source is compared before and after. */
  async copy(source: CopySource, to: string, _request: CopyRequest): Promise<string> {
    // OpenDAL takes what ends in "/" for a directory, and copies none.
    if (source.key.endsWith('/')) {
      await translated(this.operator.createDir(objectPath(to)))
      return MARKER_HEAD.version
    }
    await this.requireVersion(source)
    await translated(this.operator.copy(objectPath(source.key), objectPath(to)))
    await this.requireVersion(source)
    return this.versionAt(to)
  }

  private async requireVersion({ key, version }: CopySource): Promise<void> {
    if ((await this.head(key))?.version !== version)
      throw new StorageError('ESTALE', `${key}: changed while it was copied`)
  }

  setMetadata(key: string): Promise<string> {
    return Promise.reject(new StorageError('EOPNOTSUPP', `${key}: OpenDAL changes no metadata`))
  }

  async delete(key: string): Promise<void> {
    await translated(this.operator.delete(objectPath(key)))
  }

  /** The binding's lister costs a call for each entry, so only a short page is taken from it: all of a list is one page. */
  async listPage({ prefix, isFlat, maxKeys }: PageRequest): Promise<ObjectPage> {
    const options = { recursive: !isFlat }
    if (maxKeys === undefined) {
      const entries = await translated(this.operator.list(objectPath(prefix), options))
      return pageOf(entries, isFlat, false)
    }
    const lister = await translated(this.operator.lister(objectPath(prefix), { ...options, limit: maxKeys }))
    const entries: Entry[] = []
    while (entries.length < maxKeys) {
      const entry = await translated(lister.next())
      if (entry === null) return pageOf(entries, isFlat, false)
      entries.push(entry)
    }
    return pageOf(entries, isFlat, true)
  }

  async beginUpload(key: string, metadata: Metadata): Promise<PartsUpload> {
    const writer = await translated(this.operator.writer(objectPath(key), this.metadataOf(metadata)))
    return new OpendalUpload(writer, () => this.versionAt(key))
  }

  removeLeftovers(): Promise<number> {
    return Promise.resolve(0)
  }

  reportRetries(): void {
    // OpenDAL's own retries are not told.
  }
}

/** All that OpenDAL tells of a directory's marker. */
const MARKER_HEAD: ObjectHead = {
  ...{ sizeBytes: 0, version: 'marker', mtime: null },
  ...{ metadata: {}, keptHeaders: {} },
}

/** An upload through OpenDAL's writer, which sends a part once and in order, and can't be aborted. */
class OpendalUpload implements PartsUpload {
  private isClosed = false

  constructor(
    private readonly writer: Writer,
    private readonly versionOfStored: () => Promise<string>,
  ) {}

  async append(_number: number, data: Uint8Array): Promise<void> {
    await translated(this.writer.write(asBuffer(data)))
  }

  async complete(): Promise<string> {
    if (!this.isClosed) await translated(this.writer.close())
    this.isClosed = true
    return this.versionOfStored()
  }

  isResult(): boolean {
    return false
  }

  finish(): Promise<void> {
    return Promise.resolve()
  }

  abort(): Promise<void> {
    // Dropping the writer is all that can be done.
    return Promise.resolve()
  }
}

async function translated<T>(work: Promise<T>): Promise<T> {
  try {
    return await work
  } catch (error) {
    throw toStorageError(error)
  }
}

function kindOf(hasCondition: boolean): ConditionKind {
  return hasCondition ? 'server' : 'look'
}

function conditionOf(condition: ExpectedVersion): WriteOptions {
  if (condition === null) return { ifNotExists: true }
  return condition === undefined ? {} : { ifMatch: condition }
}

function headOf(key: string, metadata: OpendalMetadata): ObjectHead {
  if (metadata.contentLength === null && !metadata.isDirectory())
    throw new StorageError('EIO', `${key}: the server does not tell its size`, { retryable: true })
  const { sizeBytes, mtime, version } = statOf(metadata)
  return { sizeBytes, mtime, version, metadata: metadata.userMetadata ?? {}, keptHeaders: {} }
}

function pageOf(entries: readonly Entry[], isFlat: boolean, hasMore: boolean): ObjectPage {
  const objects: ListedObject[] = []
  const prefixes: string[] = []
  for (const entry of entries) {
    const key = entry.path().replace(/^\/+/, '')
    const metadata = entry.metadata()
    if (!metadata.isDirectory()) objects.push({ key, ...listedOf(metadata) })
    // Without a delimiter only markers end so.
    else if (isFlat) prefixes.push(key)
    else objects.push({ ...MARKER_HEAD, key })
  }
  return { objects, prefixes, next: hasMore ? (entries.at(-1)?.path() ?? null) : null }
}

function listedOf(metadata: OpendalMetadata): Omit<ListedObject, 'key'> {
  const { mtime, version } = statOf(metadata)
  const size = metadata.contentLength
  return { sizeBytes: size === null ? null : Number(size), mtime, version }
}
