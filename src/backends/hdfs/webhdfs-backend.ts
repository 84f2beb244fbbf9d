import {
  RESERVED_DIRECTORY,
  type AppendBase,
  type AttributesChanged,
  type Backend,
  type BackendCapabilities,
  type BackendWriter,
  type DirectoryEntry,
  type DirectoryPage,
  type EntryKind,
  type ExpectedVersion,
  type IdentifiedObject,
  type ObjectStat,
  type RenameOptions,
  type StorageUsage,
  type StoreConditions,
  type Timestamp,
  type WriteOptions,
} from '../backend.js'
import { StorageError } from '../storage-error.js'
import { HttpError } from '../http/http-error.js'
import { NANOSECONDS_PER_MILLISECOND, statOf, versionOf, type FileStatus } from './file-status.js'
import { WebhdfsAppender } from './webhdfs-appender.js'
import { WebhdfsClient } from './webhdfs-client.js'
import type { WebhdfsOptions } from './webhdfs-options.js'
import { WebhdfsPublisher, type Upload } from './webhdfs-publisher.js'
import { WebhdfsWriter } from './webhdfs-writer.js'

/** Bytes of one append or one part of an upload: its latency is small beside its transfer, and several fit in memory. */
const PART_SIZE_BYTES = 8 << 20
const MILLISECONDS_PER_SECOND = 1000
/** HDFS counts bytes; df wants blocks. */
const USAGE_BLOCK_BYTES = 1 << 20
/** Servers before Hadoop 3.4 do not tell their capacity, and none how many files it has room for: 1 PiB, 2^32 files. */
const UNKNOWN_BLOCKS = 1 << 30
const UNKNOWN_FILES = 2 ** 32
/** Names that HDFS keeps for snapshots, at any place, and for itself, in its root. */
const SNAPSHOT_NAME = '.snapshot'
const HDFS_RESERVED_NAME = '.reserved'

function hasErrno(error: unknown, errno: string): boolean {
  return error instanceof HttpError && error.errno === errno
}

/**
 * A directory of HDFS by WebHDFS. What is written goes to the reserved directory first and is renamed over its name,
 * which HDFS does in one step, so a file is seen whole or not at all; only appends grow it in place.
 */
export class WebhdfsBackend implements Backend {
  readonly capabilities: BackendCapabilities = {
    write: true,
    append: true,
    copy: false,
    setModificationTime: true,
    attributes: false,
    maxFileBytes: Number.MAX_SAFE_INTEGER,
    maxPathBytes: Number.MAX_SAFE_INTEGER,
    partSizeBytes: PART_SIZE_BYTES,
  }
  private readonly client: WebhdfsClient
  private readonly root: string
  private readonly publisher: WebhdfsPublisher
  private readonly appender: WebhdfsAppender
  readonly listPage?: NonNullable<Backend['listPage']>

  constructor(options: WebhdfsOptions, timeoutMs: number) {
    this.client = new WebhdfsClient(options, timeoutMs)
    this.root = options.root
    this.publisher = new WebhdfsPublisher(this.client, (path) => this.absolute(path))
    this.appender = new WebhdfsAppender(this.client, timeoutMs)
    if (options.listsInBatches) this.listPage = (path, token) => this.pageAfter(path, token)
  }

  conditions(): StoreConditions {
    return { create: 'server', replace: 'look', complete: 'look', copy: 'look', remove: 'look' }
  }

  reportRetries(listener: () => void): void {
    this.client.connections.onRetry = listener
  }

  accepts(path: string): boolean {
    // HDFS refuses ":" anywhere in a name.
    if (path.includes(':')) return false
    const names = path.split('/')
    return !names.includes(SNAPSHOT_NAME) && (this.root !== '' || names[0] !== HDFS_RESERVED_NAME)
  }

  /** As HDFS has it. */
  private absolute(path: string): string {
    return path === '' ? this.root || '/' : `${this.root}/${path}`
  }

  async stat(path: string): Promise<ObjectStat | null> {
    const status = await this.status(path)
    return status === null ? null : statOf(status)
  }

  private status(path: string): Promise<FileStatus | null> {
    return this.publisher.status(path)
  }

  identify(path: string): Promise<IdentifiedObject | null> {
    return this.publisher.identify(path)
  }

  async list(path: string): Promise<DirectoryEntry[]> {
    return entriesOf(path, await unlessMissing(this.client.list(this.absolute(path)), []))
  }

  private async pageAfter(path: string, name: string | null): Promise<DirectoryPage> {
    const batch = this.client.listBatch(this.absolute(path), name)
    const { entries, next } = await unlessMissing(batch, { entries: [], next: null })
    return { entries: entriesOf(path, entries), next }
  }

  async read(path: string, offset: number, lengthBytes: number, version: string): Promise<Uint8Array> {
    const data = await this.client.open(this.absolute(path), offset, lengthBytes)
    // After the read: a version that is still the same now was the same while the bytes were read.
    const now = await this.status(path)
    if (now === null) throw new StorageError('ENOENT', `${path}: gone`)
    if (now.type === 'FILE' && versionOf(now) === version && data.byteLength === lengthBytes) return data
    throw new StorageError('ESTALE', `${path}: changed in HDFS`, { retryable: true })
  }

  async write(
    path: string,
    data: Uint8Array,
    expected: ExpectedVersion,
    options?: WriteOptions,
  ): Promise<ObjectStat> {
    const upload = await this.client.connections.retrying(async () => {
      const attempt = this.publisher.newUpload(options?.mark)
      await this.client.create(this.absolute(attempt.name), data)
      return attempt
    })
    const stored = await this.requireStored(upload, path, data.byteLength)
    try {
      return await this.publisher.publish(upload, stored, path, expected)
    } catch (error) {
      return this.publisher.giveUp(upload, stored, path, error)
    }
  }

  private async requireStored(upload: Upload, path: string, sizeBytes: number): Promise<FileStatus> {
    try {
      const stored = await this.publisher.stored(upload, sizeBytes)
      if (stored !== null) return stored
      throw new StorageError('EIO', `${path}: not all of ${sizeBytes} bytes were stored`, { retryable: true })
    } catch (error) {
      await this.publisher.discard(upload)
      throw error
    }
  }

  async createWriter(
    path: string,
    expected: ExpectedVersion,
    options?: WriteOptions,
  ): Promise<BackendWriter> {
    const upload = this.publisher.newUpload(options?.mark)
    const absoluteName = this.absolute(upload.name)
    const stream = await this.client.beginCreate(absoluteName)
    return new WebhdfsWriter(this.client, this.publisher, stream, upload, { path, absoluteName, expected })
  }

  append(path: string, data: Uint8Array, base: AppendBase): Promise<ObjectStat> {
    return this.appender.append(this.absolute(path), data, base)
  }

  copy(from: string, _to: string, _expected: ExpectedVersion): Promise<ObjectStat> {
    return Promise.reject(new StorageError('EOPNOTSUPP', `${from}: WebHDFS cannot copy`))
  }

  /** MKDIRS is content with a directory that is there, and would make parents: only a rename is exclusive. */
  async createDirectory(path: string): Promise<void> {
    const upload = this.publisher.newUpload()
    try {
      await this.client.makeDirectories(this.absolute(upload.name))
      const made = await this.status(upload.name)
      if (made === null) throw new StorageError('EIO', `${path}: gone while it was made`, { retryable: true })
      await this.publisher.rename(upload.name, path, made, false)
    } catch (error) {
      await this.publisher.discard(upload)
      throw error
    }
  }

  async removeDirectory(path: string): Promise<void> {
    const present = await this.requireStatus(path)
    if (present.type !== 'DIRECTORY') throw new StorageError('ENOTDIR', `${path}: not a directory`)
    await this.client.delete(this.absolute(path))
  }

  async removeFile(path: string): Promise<void> {
    try {
      await this.client.delete(this.absolute(path))
    } catch (error) {
      if (hasErrno(error, 'ENOTEMPTY')) throw new StorageError('EISDIR', `${path}: is a directory by now`)
      throw error
    }
  }

  /** In one step, and the files keep their versions. */
  async rename(
    from: string,
    to: string,
    kind: EntryKind,
    { version, moved }: RenameOptions = {},
  ): Promise<void> {
    if (from === to) return
    const source = await this.requireStatus(from)
    if (to.startsWith(`${RESERVED_DIRECTORY}/`)) {
      await this.client.makeDirectories(this.absolute(RESERVED_DIRECTORY))
    }
    try {
      await this.publisher.rename(from, to, source, true)
    } catch (error) {
      if (kind === 'file' || !hasErrno(error, 'EISDIR')) throw error
      throw new StorageError('ENOTDIR', `${to}: is a file`, { cause: error })
    }
    const stat = statOf(source)
    if (kind === 'file' && version !== undefined && version !== stat.version)
      moved?.({ from, to, previousVersion: stat.version, stat })
  }

  private async requireStatus(path: string): Promise<FileStatus> {
    const status = await this.status(path)
    if (status === null) throw new StorageError('ENOENT', `${path}: not there`)
    return status
  }

  async setModificationTime(path: string, mtime: Timestamp): Promise<AttributesChanged> {
    const milliseconds =
      mtime.seconds * MILLISECONDS_PER_SECOND + Math.floor(mtime.nanoseconds / NANOSECONDS_PER_MILLISECOND)
    // -1 means "as it is" to HDFS, and less is refused.
    if (milliseconds < 0) throw new StorageError('EINVAL', `${path}: HDFS keeps no times before 1970`)
    const before = await this.requireStatus(path)
    await this.client.setModificationTime(this.absolute(path), milliseconds)
    // What this call has made of it, and not what a look would find: that may be somebody else's by now.
    return { previousVersion: versionOf(before), stat: statOf({ ...before, modificationTime: milliseconds }) }
  }

  setAttributes(path: string): Promise<never> {
    return Promise.reject(new StorageError('EOPNOTSUPP', `${path}: HDFS keeps its own attributes`))
  }

  async usage(): Promise<StorageUsage> {
    const known = await this.knownUsage()
    const [totalBlocks, freeBlocks] = known ?? [UNKNOWN_BLOCKS, UNKNOWN_BLOCKS]
    return {
      blockSizeBytes: USAGE_BLOCK_BYTES,
      ...{ totalBlocks, freeBlocks, availableBlocks: freeBlocks },
      ...{ totalFiles: UNKNOWN_FILES, freeFiles: UNKNOWN_FILES },
    }
  }

  /** Blocks in total and free; null where the server knows no GETSTATUS. */
  private async knownUsage(): Promise<[number, number] | null> {
    try {
      const { capacity, remaining } = await this.client.fileSystemStatus()
      return [Math.floor(capacity / USAGE_BLOCK_BYTES), Math.floor(remaining / USAGE_BLOCK_BYTES)]
    } catch (error) {
      if (hasErrno(error, 'EINVAL') || hasErrno(error, 'EOPNOTSUPP')) return null
      throw error
    }
  }
}

function entriesOf(path: string, found: readonly FileStatus[]): DirectoryEntry[] {
  const entries: DirectoryEntry[] = []
  for (const status of found) {
    const { pathSuffix: name, type } = status
    // A file lists itself.
    if (name === '') throw new HttpError({ errno: 'ENOTDIR' }, `${path}: not a directory`)
    if (type === 'SYMLINK' || (path === '' && name === RESERVED_DIRECTORY)) continue
    const stat = statOf(status)
    entries.push({ name, kind: stat.kind, stat })
  }
  return entries
}

async function unlessMissing<T>(found: Promise<T>, missing: T): Promise<T> {
  try {
    return await found
  } catch (error) {
    if (hasErrno(error, 'ENOENT')) return missing
    throw error
  }
}
