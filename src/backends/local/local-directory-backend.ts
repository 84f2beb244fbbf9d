import { constants, copyFile, link, mkdir, rename, rm, statfs, unlink, utimes } from 'node:fs/promises'
import { randomUUID } from 'node:crypto'
import type { Operator } from 'opendal'
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
import { HostDirectory } from './host-directory.js'
import { OpendalBackend, OpendalWriter } from '../opendal/opendal-backend.js'
import { StorageError, toStorageError } from '../storage-error.js'

const NANOSECONDS_PER_MICROSECOND = 1000
/** A directory of fewer entries is small: it is read in a few calls of the host, in about the time of ten looks. */
const SMALL_LISTING_ENTRIES = 10_000
const MICROSECONDS_PER_SECOND = 1e6

/** What link(2) says on file systems that have no hard links. */
const WITHOUT_HARD_LINKS = new Set(['EPERM', 'EOPNOTSUPP', 'ENOTSUP', 'ENOSYS'])

/** rename(2) without replacing: EEXIST when the name is taken. */
async function moveToNewName(source: string, target: string): Promise<void> {
  try {
    await link(source, target)
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? ''
    if (!WITHOUT_HARD_LINKS.has(code)) throw error
    await rename(source, target)
    return
  }
  await unlink(source)
}

/**
 * OpenDAL's `fs` service: a directory of the host. Data goes through OpenDAL; names are looked at and changed with
 * the host's own calls, because OpenDAL follows symbolic links out of its root, turns "\" into "/" in listings,
 * trims white space, and overwrites in place. Everything that is written goes to the reserved directory first and is
 * renamed over its name, so a file is seen whole or not at all.
 *
 * Confinement: see `HostDirectory`. What OpenDAL reads, appends to and streams, and what Node copies or gives a time, is looked at right before, in
 * another step: there a process of the HOST that swaps directories for links at the right moment is not kept out; the guest cannot make links and
 * so cannot win this race.
 */
export class LocalDirectoryBackend implements Backend {
  readonly capabilities: BackendCapabilities
  private readonly data: OpendalBackend
  private readonly host: HostDirectory
  private nextUpload = 1
  private readonly uploadPrefix: string

  constructor(operator: Operator, root: string) {
    this.data = new OpendalBackend(operator)
    this.host = new HostDirectory(root)
    // Two backends may serve one root, in this process and in others.
    this.uploadPrefix = `${RESERVED_DIRECTORY}/upload-${randomUUID()}-`
    this.capabilities = {
      write: true,
      append: true,
      copy: true,
      setModificationTime: true,
      attributes: false,
      maxFileBytes: Number.MAX_SAFE_INTEGER,
      maxPathBytes: Number.MAX_SAFE_INTEGER,
      partSizeBytes: this.data.capabilities.partSizeBytes,
    }
  }

  accepts(path: string): boolean {
    return this.data.accepts(path)
  }

  private hostPath(path: string): string {
    return this.host.pathOf(path)
  }

  stat(path: string): Promise<ObjectStat | null> {
    return onHost(() => this.host.stat(path))
  }

  async list(path: string): Promise<DirectoryEntry[]> {
    return this.shown(path, await onHost(() => this.host.list(path)))
  }

  async listSmall(path: string): Promise<DirectoryEntry[] | null> {
    const entries = await onHost(() => this.host.listNames(path, SMALL_LISTING_ENTRIES))
    return entries === null ? null : this.shown(path, entries)
  }

  private shown(path: string, entries: readonly DirectoryEntry[]): DirectoryEntry[] {
    return entries.filter(({ name }) => this.accepts(name) && (path !== '' || name !== RESERVED_DIRECTORY))
  }

  async read(path: string, offset: number, lengthBytes: number, version: string): Promise<Uint8Array> {
    try {
      await this.host.confine(path)
      const data = await this.data.read(path, offset, lengthBytes, version)
      // After the read: a version that is still the same now was the same while the bytes were read.
      const now = await this.host.stat(path)
      if (now === null) throw new StorageError('ENOENT', `${path}: gone while it was read`)
      if (now.version === version) return data
    } catch (error) {
      throw toStorageError(error)
    }
    throw new StorageError('ESTALE', `${path}: changed on the host`, { retryable: true })
  }

  write(path: string, data: Uint8Array, expected: ExpectedVersion): Promise<ObjectStat> {
    return onHost(() => this.host.store(path, this.newUpload(), data, expected))
  }

  async createWriter(path: string, expected: ExpectedVersion): Promise<BackendWriter> {
    const upload = this.newUpload()
    try {
      await this.host.confineParent(path)
      const writer = await this.data.createWriterOf(upload, undefined)
      return new OpendalWriter(
        writer,
        () => this.publish(upload, path, expected),
        () => this.discard(upload),
      )
    } catch (error) {
      throw toStorageError(error)
    }
  }

  private newUpload(): string {
    return `${this.uploadPrefix}${this.nextUpload++}`
  }

  /** Put a finished upload in its place. A new name is taken by a link, which fails if somebody else has it. */
  private async publish(upload: string, path: string, expected: ExpectedVersion): Promise<ObjectStat> {
    try {
      const source = this.hostPath(upload)
      const target = this.hostPath(path)
      if (expected !== null && expected !== undefined) await this.requireVersion(path, expected)
      if (expected === null) await moveToNewName(source, target)
      else await rename(source, target)
      // After the rename: linking changes nothing of this, but the inode number must be the one that is there now.
      const stored = await this.host.stat(path)
      if (stored === null) throw new StorageError('ESTALE', `${path}: gone right after it was written`)
      return stored
    } catch (error) {
      await this.discard(upload)
      throw toStorageError(error)
    }
  }

  /** ESTALE when the host has another version of the file by now. The host may still change it before the rename. */
  private async requireVersion(path: string, expected: string): Promise<void> {
    const present = await this.stat(path)
    if (present?.version !== expected)
      throw new StorageError('ESTALE', `${path}: changed on the host meanwhile`)
  }

  private async discard(upload: string): Promise<void> {
    await rm(this.hostPath(upload), { force: true }).catch(() => undefined)
  }

  async append(path: string, data: Uint8Array, base: AppendBase): Promise<ObjectStat> {
    await onHost(() => this.host.confine(path))
    await this.data.append(path, data, base)
    const appended = await this.stat(path)
    if (appended === null) throw new StorageError('ESTALE', `${path}: gone right after it was appended to`)
    return appended
  }

  /** The host's file system may share the blocks (a reflink) in place of copying them. */
  async copy(from: string, to: string, expected: ExpectedVersion): Promise<ObjectStat> {
    const upload = this.newUpload()
    try {
      await Promise.all([this.host.confine(from), this.host.confineParent(to)])
      await mkdir(this.hostPath(RESERVED_DIRECTORY), { recursive: true })
      await copyFile(this.hostPath(from), this.hostPath(upload), constants.COPYFILE_FICLONE)
      return await this.publish(upload, to, expected)
    } catch (error) {
      await this.discard(upload)
      throw toStorageError(error)
    }
  }

  createDirectory(path: string): Promise<void> {
    return onHost(() => this.host.makeDirectory(path))
  }

  removeDirectory(path: string): Promise<void> {
    return onHost(() => this.host.removeDirectory(path))
  }

  removeFile(path: string): Promise<void> {
    return onHost(() => this.host.removeFile(path))
  }

  rename(from: string, to: string, _kind: EntryKind): Promise<void> {
    return onHost(async () => {
      if (to.startsWith(`${RESERVED_DIRECTORY}/`))
        await mkdir(this.hostPath(RESERVED_DIRECTORY), { recursive: true })
      await this.host.rename(from, to)
    })
  }

  async keepAside(path: string, aside: string): Promise<ObjectStat> {
    try {
      await this.host.link(path, aside)
    } catch (error) {
      const failure = toStorageError(error)
      if (!WITHOUT_HARD_LINKS.has(failure.errno)) throw failure
      return this.copy(path, aside, null)
    }
    const kept = await this.stat(aside)
    if (kept === null) throw new StorageError('ESTALE', `${aside}: gone right after it was made`)
    return kept
  }

  async setModificationTime(path: string, mtime: Timestamp): Promise<AttributesChanged> {
    return onHost(async () => {
      await this.host.confine(path)
      const before = await this.host.stat(path)
      // Node takes seconds as a double and cuts it to whole microseconds: half a microsecond more, and the double's
      // own error can't cut one off.
      const microseconds = Math.round(mtime.nanoseconds / NANOSECONDS_PER_MICROSECOND)
      const fraction = microseconds === 0 ? 0 : (microseconds + 0.5) / MICROSECONDS_PER_SECOND
      const seconds = mtime.seconds + fraction
      await utimes(this.hostPath(path), seconds, seconds)
      const stat = await this.host.stat(path)
      if (stat === null) throw new StorageError('ENOENT', `${path}: gone`)
      return { previousVersion: before?.version ?? '', stat }
    })
  }

  setAttributes(path: string): Promise<never> {
    return Promise.reject(new StorageError('EOPNOTSUPP', `${path}: the host keeps its own attributes`))
  }

  async usage(): Promise<StorageUsage> {
    try {
      const usage = await statfs(this.host.root)
      return {
        blockSizeBytes: usage.bsize,
        totalBlocks: usage.blocks,
        freeBlocks: usage.bfree,
        availableBlocks: usage.bavail,
        totalFiles: usage.files,
        freeFiles: usage.ffree,
      }
    } catch (error) {
      throw toStorageError(error)
    }
  }
}

async function onHost<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw toStorageError(error)
  }
}
