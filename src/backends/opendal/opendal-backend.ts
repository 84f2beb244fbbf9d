import type { Capability, Metadata, Operator, WriteOptions, Writer } from 'opendal'
import {
  RESERVED_DIRECTORY,
  type AttributeChanges,
  type AttributesChanged,
  type Backend,
  type BackendCapabilities,
  type BackendWriter,
  type DirectoryEntry,
  type EntryKind,
  type AppendBase,
  type CopyOptions,
  type ExpectedVersion,
  type FileAttributes,
  type ObjectStat,
  type RenameOptions,
  type StorageUsage,
  type Timestamp,
  type WriteOptions as BackendWriteOptions,
} from '../backend.js'
import { forEachConcurrently } from '../concurrency.js'
import { asDisposable } from '../disposable.js'
import { PART_SIZE_BYTES, UNLIMITED_USAGE } from '../objects/object-store.js'
import { StorageError, toStorageError } from '../storage-error.js'
import { timestampOfRfc3339 } from '../timestamp.js'
import { PresentStat } from './present-stat.js'

/** What a service that takes no parts is given in one request: a commit has it in memory, so it bounds the files that can be written there. */
export const ONE_REQUEST_BYTES = 64 << 20
/** S3's own limit, and that of most stores like it. */
const MAX_OBJECT_BYTES = 5 * 2 ** 40
/** Objects moved or copied at once where a store cannot rename; a binding's calls run on its own threads. */
const TREE_CONCURRENCY = 16
/** OpenDAL trims white space at a path's end, so a name that ends so would become another name. */
const TRIMMED_NAME_PATTERN = /[\s\u0085](?:\/|$)/u

/** Whether OpenDAL asks the service for this very path. */
export function hasExactPath(path: string): boolean {
  return !TRIMMED_NAME_PATTERN.test(path)
}

/** What a service takes of one file, and in one piece. */
export function serviceLimits({ writeCanMulti }: Capability): {
  readonly maxFileBytes: number
  readonly partSizeBytes: number
} {
  return writeCanMulti
    ? { maxFileBytes: MAX_OBJECT_BYTES, partSizeBytes: PART_SIZE_BYTES }
    : { maxFileBytes: ONE_REQUEST_BYTES, partSizeBytes: ONE_REQUEST_BYTES }
}

/** OpenDAL trims white space at a path's start too, but not behind a "/". */
export function objectPath(path: string): string {
  return `/${path}`
}

export function directoryPath(path: string): string {
  return path === '' ? '/' : `/${path}/`
}

/**
 * The name of an entry that a listing of `directory` (as `directoryPath` has it) returned under `path`: '' for the
 * directory itself, null for what is not to be shown.
 */
export function entryNameOf(directory: string, path: string): string | null {
  const relative = path.replace(/^\/+/, '').slice(directory.length - 1)
  const name = relative.endsWith('/') ? relative.slice(0, -1) : relative
  // A name with "/" in it came from a "\\" and cannot be addressed.
  if (name.includes('/') || (directory === '/' && name === RESERVED_DIRECTORY)) return null
  return name
}

/** An etag in quotes, as HTTP conditions want it; listings of Swift have the same digest without, and as content_md5. */
function etagOf(metadata: Metadata): string | null {
  const etag = metadata.etag ?? metadata.contentMd5
  if (etag === null || etag === '') return null
  return etag.startsWith('"') || etag.startsWith('W/') ? etag : `"${etag}"`
}

function versionOf(metadata: Metadata): string {
  return etagOf(metadata) ?? `${metadata.lastModified ?? ''}/${metadata.contentLength ?? 0n}`
}

export function statOf(metadata: Metadata): ObjectStat {
  const isDirectory = metadata.isDirectory()
  return {
    kind: isDirectory ? 'directory' : 'file',
    sizeBytes: isDirectory ? 0 : Number(metadata.contentLength ?? 0n),
    mtime: timestampOfRfc3339(metadata.lastModified),
    version: isDirectory ? '' : versionOf(metadata),
  }
}

/** `data` as the binding takes it; the bytes are shared, not copied. */
export function asBuffer(data: Uint8Array): Buffer {
  return Buffer.from(data.buffer, data.byteOffset, data.byteLength)
}

/** An upload through OpenDAL's writer. */
export class OpendalWriter implements BackendWriter {
  constructor(
    private readonly writer: Writer,
    private readonly statWhenClosed: () => Promise<ObjectStat>,
    private readonly cleanUp: () => Promise<void>,
  ) {}

  async write(data: Uint8Array): Promise<void> {
    try {
      await this.writer.write(asBuffer(data))
    } catch (error) {
      throw toStorageError(error)
    }
  }

  async close(): Promise<ObjectStat> {
    try {
      await this.writer.close()
    } catch (error) {
      throw toStorageError(error)
    }
    return this.statWhenClosed()
  }

  // The binding's writer has no abort: dropping it is all that can be done for the upload itself.
  async abort(): Promise<void> {
    await this.cleanUp().catch(() => undefined)
  }
}

/** Any OpenDAL service that stores whole objects: the operations it lacks are made from those it has. */
export class OpendalBackend implements Backend {
  readonly capabilities: BackendCapabilities
  private readonly present: PresentStat
  private readonly canRename: boolean
  private readonly canCopy: boolean
  private readonly canMatch: boolean
  private readonly canCreateOnly: boolean

  constructor(
    protected readonly operator: Operator,
    extraCapabilities: Partial<BackendCapabilities> = {},
  ) {
    this.present = new PresentStat(operator)
    const capability = operator.capability()
    this.canRename = capability.rename
    this.canCopy = capability.copy
    this.canMatch = capability.writeWithIfMatch
    this.canCreateOnly = capability.writeWithIfNotExists
    this.capabilities = {
      write: capability.write,
      append: capability.writeCanAppend,
      copy: capability.copy,
      setModificationTime: false,
      attributes: false,
      ...serviceLimits(capability),
      maxPathBytes: Number.MAX_SAFE_INTEGER,
      ...extraCapabilities,
    }
  }

  accepts(path: string): boolean {
    return hasExactPath(path)
  }

  async stat(path: string, _kind?: EntryKind): Promise<ObjectStat | null> {
    if (path !== '') {
      const file = await this.statExactly(objectPath(path))
      if (file !== null) return file
    }
    return this.statExactly(directoryPath(path))
  }

  protected async statExactly(path: string): Promise<ObjectStat | null> {
    const metadata = await this.present.stat(path)
    return metadata === null ? null : this.toStat(metadata)
  }

  protected toStat(metadata: Metadata): ObjectStat {
    return statOf(metadata)
  }

  async list(path: string): Promise<DirectoryEntry[]> {
    const directory = directoryPath(path)
    try {
      const entries: DirectoryEntry[] = []
      for (const entry of await this.operator.list(directory)) {
        const name = entryNameOf(directory, entry.path())
        if (name === null || name === '') continue
        const metadata = entry.metadata()
        const kind = metadata.isDirectory() ? 'directory' : 'file'
        entries.push({ name, kind, stat: this.listedStat(metadata) })
      }
      return entries
    } catch (error) {
      throw toStorageError(error)
    }
  }

  /** What a listing tells of an entry; null where it is not enough. */
  protected listedStat(_metadata: Metadata): ObjectStat | null {
    return null
  }

  // Subclasses check the version; most services can't, and then only the length tells.
  async read(path: string, offset: number, lengthBytes: number, _version: string): Promise<Uint8Array> {
    let data: Buffer
    try {
      data = await this.operator.read(objectPath(path), { offset: BigInt(offset), size: BigInt(lengthBytes) })
    } catch (error) {
      throw toStorageError(error)
    }
    if (data.byteLength !== lengthBytes) {
      throw new StorageError('ESTALE', `${path}: ${data.byteLength} bytes where ${lengthBytes} were stored`, {
        retryable: true,
      })
    }
    return asDisposable(data)
  }

  async write(
    path: string,
    data: Uint8Array,
    expected: ExpectedVersion,
    options?: BackendWriteOptions,
  ): Promise<ObjectStat> {
    let metadata: Metadata
    try {
      metadata = await this.operator.write(objectPath(path), asBuffer(data), {
        ...this.conditionOf(expected),
        ...this.metadataOf(options?.attributes),
      })
    } catch (error) {
      throw toStorageError(error)
    }
    return this.statWritten(path, metadata)
  }

  /** Many services' answers to a write do not tell the version that it made. */
  protected statWritten(path: string, metadata: Metadata): Promise<ObjectStat> {
    return etagOf(metadata) === null ? this.statStored(path) : Promise.resolve(this.toStat(metadata))
  }

  /** The condition of a write, as far as the service knows such; an unknown one would be an error, or silently ignored. */
  protected conditionOf(expected: ExpectedVersion): WriteOptions {
    if (expected === null) return this.canCreateOnly ? { ifNotExists: true } : {}
    return expected !== undefined && this.canMatch && expected.startsWith('"') ? { ifMatch: expected } : {}
  }

  /** How attributes go into an object; nowhere, if not said otherwise. */
  protected metadataOf(_attributes: FileAttributes | undefined): WriteOptions {
    return {}
  }

  async createWriter(
    path: string,
    expected: ExpectedVersion,
    _options?: BackendWriteOptions,
  ): Promise<BackendWriter> {
    const writer = await this.createWriterOf(path, expected)
    return new OpendalWriter(
      writer,
      () => this.statStored(path),
      () => Promise.resolve(),
    )
  }

  /** OpenDAL's own writer. */
  async createWriterOf(path: string, expected: ExpectedVersion): Promise<Writer> {
    try {
      return await this.operator.writer(objectPath(path), this.conditionOf(expected))
    } catch (error) {
      throw toStorageError(error)
    }
  }

  async append(path: string, data: Uint8Array, _base: AppendBase): Promise<ObjectStat> {
    try {
      await this.operator.write(objectPath(path), asBuffer(data), { append: true })
    } catch (error) {
      throw toStorageError(error)
    }
    return this.statStored(path)
  }

  /** The stat of an object that has just been written. */
  protected async statStored(path: string): Promise<ObjectStat> {
    const stat = await this.stat(path)
    if (stat === null) throw new StorageError('ESTALE', `${path}: gone right after it was written`)
    return stat
  }

  async createDirectory(path: string, _attributes?: FileAttributes): Promise<void> {
    try {
      await this.operator.createDir(directoryPath(path))
    } catch (error) {
      throw toStorageError(error)
    }
  }

  async removeDirectory(path: string): Promise<void> {
    await this.remove(directoryPath(path))
  }

  async removeFile(path: string): Promise<void> {
    await this.remove(objectPath(path))
  }

  private async remove(path: string): Promise<void> {
    try {
      await this.operator.delete(path)
    } catch (error) {
      throw toStorageError(error)
    }
  }

  async rename(from: string, to: string, kind: EntryKind, options: RenameOptions = {}): Promise<void> {
    if (kind === 'file') await this.renameFile(from, to, options)
    else await this.renameTree(from, to, options)
  }

  /** Whether a copy of an object of this version has another one. */
  protected copyChangesVersion(_version: string): boolean {
    return false
  }

  private async renameFile(from: string, to: string, { version, moved }: RenameOptions): Promise<void> {
    try {
      if (this.canRename) {
        await this.operator.rename(objectPath(from), objectPath(to))
        return
      }
      const source = await this.statExactly(objectPath(from))
      if (source === null) throw new StorageError('ENOENT', `${from}: not there`)
      if (this.canCopy) await this.copyObject(from, to)
      else await this.copyThrough(from, to)
      if (moved !== undefined && version !== undefined && this.copyChangesVersion(version))
        moved({ from, to, previousVersion: version, stat: await this.statStored(to) })
      // What somebody else has stored there meanwhile was not copied.
      const left = await this.statExactly(objectPath(from))
      if (left?.version === source.version) await this.operator.delete(objectPath(from))
    } catch (error) {
      throw toStorageError(error)
    }
  }

  /** By the store itself. */
  protected async copyObject(from: string, to: string): Promise<void> {
    await this.operator.copy(objectPath(from), objectPath(to))
  }

  async copy(
    from: string,
    to: string,
    _expected: ExpectedVersion,
    _options?: CopyOptions,
  ): Promise<ObjectStat> {
    try {
      await this.copyObject(from, to)
    } catch (error) {
      throw toStorageError(error)
    }
    return this.statStored(to)
  }

  /** Copy an object part by part through this process, for stores that can't do it themselves. */
  private async copyThrough(from: string, to: string): Promise<void> {
    const source = await this.statExactly(objectPath(from))
    if (source === null) throw new StorageError('ENOENT', `${from}: not there`)
    const { partSizeBytes } = this.capabilities
    if (source.sizeBytes <= partSizeBytes) {
      const { sizeBytes, version } = source
      const data = sizeBytes > 0 ? await this.read(from, 0, sizeBytes, version) : new Uint8Array(0)
      await this.write(to, data, undefined)
      return
    }
    const writer = await this.createWriter(to, undefined)
    try {
      for (let offset = 0; offset < source.sizeBytes; offset += partSizeBytes) {
        const lengthBytes = Math.min(partSizeBytes, source.sizeBytes - offset)
        await writer.write(await this.read(from, offset, lengthBytes, source.version))
      }
      await writer.close()
    } catch (error) {
      await writer.abort()
      throw error
    }
  }

  /** Every key below `from`, one after the other's copy stands; a repeated call after a failure goes on with what is left. */
  private async renameTree(from: string, to: string, options: RenameOptions): Promise<void> {
    await this.createDirectoryLike(from, to)
    const entries = await this.list(from)
    await forEachConcurrently(entries, TREE_CONCURRENCY, async ({ name, kind, stat }) => {
      const file = { moved: options.moved, version: stat?.version }
      if (kind === 'file') await this.renameFile(`${from}/${name}`, `${to}/${name}`, file)
    })
    for (const { name, kind } of entries) {
      if (kind === 'directory') await this.renameTree(`${from}/${name}`, `${to}/${name}`, options)
    }
    await this.removeDirectory(from)
  }

  /** What is kept of `from` beside its entries is kept of `to`. */
  protected createDirectoryLike(_from: string, to: string): Promise<void> {
    return this.createDirectory(to)
  }

  setModificationTime(path: string, _mtime: Timestamp): Promise<AttributesChanged> {
    return Promise.reject(new StorageError('EOPNOTSUPP', `${path}: the store keeps its own times`))
  }

  setAttributes(path: string, _kind: EntryKind, _changes: AttributeChanges): Promise<AttributesChanged> {
    return Promise.reject(new StorageError('EOPNOTSUPP', `${path}: the store keeps no attributes`))
  }

  usage(): Promise<StorageUsage> {
    return Promise.resolve(UNLIMITED_USAGE)
  }
}
