import { randomUUID } from 'node:crypto'
import {
  RESERVED_DIRECTORY,
  type AppendBase,
  type AttributesChanged,
  type Backend,
  type BackendCapabilities,
  type BackendWriter,
  type DirectoryEntry,
  type EntryKind,
  type ExpectedVersion,
  type ObjectStat,
  type StorageUsage,
  type Timestamp,
} from '../backend.js'
import { StorageError } from '../storage-error.js'
import { WebhdfsClient, type FileStatus } from './webhdfs-client.js'
import { HttpError } from '../http/http-error.js'
import type { WebhdfsOptions } from './webhdfs-options.js'
import { WebhdfsWriter } from './webhdfs-writer.js'

/** Bytes of one append or one part of an upload: its latency is small beside its transfer, and several fit in memory. */
const PART_SIZE_BYTES = 8 << 20
const MILLISECONDS_PER_SECOND = 1000
const NANOSECONDS_PER_MILLISECOND = 1e6
/** HDFS counts bytes; df wants blocks. */
const USAGE_BLOCK_BYTES = 1 << 20
/** Servers before Hadoop 3.4 do not tell their capacity, and none how many files it has room for: 1 PiB, 2^32 files. */
const UNKNOWN_BLOCKS = 1 << 30
const UNKNOWN_FILES = 2 ** 32
/** Names that HDFS keeps for snapshots, at any place, and for itself, in its root. */
const SNAPSHOT_NAME = '.snapshot'
const HDFS_RESERVED_NAME = '.reserved'

function statOf(status: FileStatus): ObjectStat {
  const { type, length, modificationTime } = status
  const seconds = Math.floor(modificationTime / MILLISECONDS_PER_SECOND)
  const milliseconds = modificationTime - seconds * MILLISECONDS_PER_SECOND
  return {
    kind: type === 'DIRECTORY' ? 'directory' : 'file',
    sizeBytes: type === 'DIRECTORY' ? 0 : length,
    mtime: { seconds, nanoseconds: milliseconds * NANOSECONDS_PER_MILLISECOND },
    version: type === 'DIRECTORY' ? '' : versionOf(status),
  }
}

/** The file's number tells one that was replaced from the one before, whatever its times. */
function versionOf({ modificationTime, length, fileId }: FileStatus): string {
  return `${modificationTime}/${length}/${fileId}`
}

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
  /** Other daemons use the same reserved directory. */
  private readonly uploadPrefix = `${RESERVED_DIRECTORY}/upload-${randomUUID()}-`
  private nextUpload = 1

  constructor(options: WebhdfsOptions, timeoutMs: number) {
    this.client = new WebhdfsClient(options, timeoutMs)
    this.root = options.root
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

  private async status(path: string): Promise<FileStatus | null> {
    const status = await this.client.status(this.absolute(path))
    return status?.type === 'SYMLINK' ? null : status
  }

  async list(path: string): Promise<DirectoryEntry[]> {
    let found: FileStatus[]
    try {
      found = await this.client.list(this.absolute(path))
    } catch (error) {
      if (hasErrno(error, 'ENOENT')) return []
      throw error
    }
    const entries: DirectoryEntry[] = []
    for (const status of found) {
      const { pathSuffix: name, type } = status
      if (name === '') throw new HttpError({ errno: 'ENOTDIR' }, `${path}: not a directory`)
      if (type === 'SYMLINK' || (path === '' && name === RESERVED_DIRECTORY)) continue
      const stat = statOf(status)
      entries.push({ name, kind: stat.kind, stat })
    }
    return entries
  }

  async read(path: string, offset: number, lengthBytes: number, version: string): Promise<Uint8Array> {
    const data = await this.client.open(this.absolute(path), offset, lengthBytes)
    // After the read: a version that is still the same now was the same while the bytes were read.
    const now = await this.status(path)
    if (now === null) throw new StorageError('ENOENT', `${path}: gone`)
    if (now.type === 'FILE' && versionOf(now) === version && data.byteLength === lengthBytes) return data
    throw new StorageError('ESTALE', `${path}: changed in HDFS`, { retryable: true })
  }

  async write(path: string, data: Uint8Array, expected: ExpectedVersion): Promise<ObjectStat> {
    // Each try under a name of its own: an earlier one may still be under way.
    const upload = await this.client.connections.retrying(async () => {
      const name = this.newUpload()
      await this.client.create(this.absolute(name), data)
      return name
    })
    return this.publish(upload, path, data.byteLength, expected)
  }

  async createWriter(path: string, expected: ExpectedVersion): Promise<BackendWriter> {
    const name = this.newUpload()
    const upload = await this.client.beginCreate(this.absolute(name))
    const reasonOf = (error: unknown): Promise<Error> => this.client.reasonOf(this.absolute(name), error)
    const publish = async (sizeBytes: number): Promise<ObjectStat> => {
      try {
        await this.client.finishCreate(upload)
      } catch (error) {
        const reason = await reasonOf(error)
        await this.discard(name)
        throw reason
      }
      return this.publish(name, path, sizeBytes, expected)
    }
    return new WebhdfsWriter(upload, publish, () => this.discard(name), reasonOf)
  }

  private newUpload(): string {
    return `${this.uploadPrefix}${this.nextUpload++}`
  }

  private discard(name: string): Promise<void> {
    return this.client.discard(this.absolute(name))
  }

  /** Put a finished upload in its place. HDFS itself refuses to overwrite where nothing was expected. */
  private async publish(
    name: string,
    path: string,
    sizeBytes: number,
    expected: ExpectedVersion,
  ): Promise<ObjectStat> {
    try {
      const [stored, present] = await Promise.all([
        this.status(name),
        expected === null ? null : this.status(path),
      ])
      if (stored?.length !== sizeBytes) {
        const message = `${path}: ${stored?.length ?? 0} bytes were stored of ${sizeBytes}`
        throw new StorageError('EIO', message, { retryable: true })
      }
      if (typeof expected === 'string' && (present === null || versionOf(present) !== expected)) {
        throw new StorageError('ESTALE', `${path}: changed in HDFS meanwhile`)
      }
      if (present?.type === 'DIRECTORY') throw new StorageError('EISDIR', `${path}: is a directory`)
      if (present !== null) await this.keepAttributes(name, stored, present)
      await this.client.rename(this.absolute(name), this.absolute(path), expected !== null, stored)
      void this.client.discardLeftovers()
      return statOf(stored)
    } catch (error) {
      await this.discard(name)
      throw error
    }
  }

  /** A file keeps its mode, owner and replication when its contents are replaced, as far as the user may give them. */
  private async keepAttributes(name: string, stored: FileStatus, present: FileStatus): Promise<void> {
    const path = this.absolute(name)
    if (stored.permission !== present.permission) await this.client.setPermission(path, present.permission)
    if (stored.replication !== present.replication)
      await this.client.setReplication(path, present.replication)
    if (stored.owner === present.owner && stored.group === present.group) return
    try {
      await this.client.setOwner(path, present.owner, present.group)
    } catch (error) {
      // Only a superuser may give files away.
      if (!hasErrno(error, 'EACCES')) throw error
    }
  }

  async append(path: string, data: Uint8Array, _base: AppendBase): Promise<ObjectStat> {
    await this.client.append(this.absolute(path), data)
    const appended = await this.stat(path)
    if (appended === null) throw new StorageError('ESTALE', `${path}: gone right after it was appended to`)
    return appended
  }

  copy(from: string, _to: string, _expected: ExpectedVersion): Promise<ObjectStat> {
    return Promise.reject(new StorageError('EOPNOTSUPP', `${from}: WebHDFS cannot copy`))
  }

  /** MKDIRS is content with a directory that is there, and would make parents: only a rename is exclusive. */
  async createDirectory(path: string): Promise<void> {
    const name = this.newUpload()
    try {
      await this.client.makeDirectories(this.absolute(name))
      const made = await this.status(name)
      if (made === null) throw new StorageError('EIO', `${path}: gone while it was made`, { retryable: true })
      await this.client.rename(this.absolute(name), this.absolute(path), false, made)
    } catch (error) {
      await this.discard(name)
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

  async rename(from: string, to: string, kind: EntryKind): Promise<void> {
    if (from === to) return
    const source = await this.requireStatus(from)
    if (to.startsWith(`${RESERVED_DIRECTORY}/`)) {
      await this.client.makeDirectories(this.absolute(RESERVED_DIRECTORY))
    }
    try {
      await this.client.rename(this.absolute(from), this.absolute(to), true, source)
    } catch (error) {
      if (kind === 'file' || !hasErrno(error, 'EISDIR')) throw error
      throw new StorageError('ENOTDIR', `${to}: is a file`, { cause: error })
    }
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
    return { previousVersion: versionOf(before), stat: statOf(await this.requireStatus(path)) }
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
