import {
  constants,
  copyFile,
  link,
  lstat,
  mkdir,
  opendir,
  readdir,
  realpath,
  rename,
  rm,
  rmdir,
  stat,
  statfs,
  unlink,
  utimes,
} from 'node:fs/promises'
import type { BigIntStats, Dirent } from 'node:fs'
import { dirname, join, sep } from 'node:path'
import { randomUUID } from 'node:crypto'
import type { Operator } from 'opendal'
import {
  RESERVED_DIRECTORY,
  type Backend,
  type BackendCapabilities,
  type BackendWriter,
  type DirectoryEntry,
  type EntryKind,
  type ExpectedVersion,
  type ObjectStat,
  type StorageUsage,
  type Timestamp,
} from './backend.js'
import { hostVersionOf, storeHostFile } from './host-file.js'
import { OpendalBackend, OpendalWriter } from './opendal-backend.js'
import { StorageError, toStorageError } from './storage-error.js'
import { timestampOfNanoseconds } from './timestamp.js'

const NANOSECONDS_PER_MICROSECOND = 1000
/** A directory of fewer entries is small: it is read in a few calls of the host, in about the time of ten looks. */
const SMALL_LISTING_ENTRIES = 10_000
const MICROSECONDS_PER_SECOND = 1e6

function isMissing(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException).code
  return code === 'ENOENT' || code === 'ENOTDIR'
}

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

/** FIFOs, sockets and devices are not shown: opening one could block, or reach past the file system. */
function isServed(stats: { isFile(): boolean; isDirectory(): boolean }): boolean {
  return stats.isFile() || stats.isDirectory()
}

function statOfHost(stats: BigIntStats): ObjectStat {
  const isDirectory = stats.isDirectory()
  return {
    kind: isDirectory ? 'directory' : 'file',
    sizeBytes: isDirectory ? 0 : Number(stats.size),
    mtime: timestampOfNanoseconds(stats.mtimeNs),
    version: isDirectory ? '' : hostVersionOf(stats.mtimeNs, stats.size, stats.ino),
  }
}

/**
 * OpenDAL's `fs` service: a directory of the host. Data goes through OpenDAL; names are looked at and changed with
 * the host's own calls, because OpenDAL follows symbolic links out of its root, turns "\" into "/" in listings,
 * trims white space, and overwrites in place. Everything that is written goes to the reserved directory first and is
 * renamed over its name, so a file is seen whole or not at all.
 *
 * Confinement: a symbolic link as the last name is refused (EACCES); links in between are followed only when they end
 * below the root. The check and the use are two steps, so a process of the HOST that swaps directories for links at
 * the right moment is not kept out; the guest cannot make links and so cannot win this race.
 */
export class LocalDirectoryBackend implements Backend {
  readonly capabilities: BackendCapabilities
  private readonly data: OpendalBackend
  private realRoot: string | null = null
  private nextUpload = 1
  private readonly uploadPrefix: string

  constructor(
    operator: Operator,
    private readonly root: string,
  ) {
    this.data = new OpendalBackend(operator)
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
    return path === '' ? this.root : join(this.root, path)
  }

  /** EACCES when the directory that holds `path` lies outside of the root. A missing directory is the operation's own ENOENT. */
  private async confineParent(path: string): Promise<void> {
    if (!path.includes('/')) return
    await this.confine(dirname(path))
  }

  private async confine(path: string): Promise<void> {
    this.realRoot ??= await realpath(this.root)
    try {
      const real = await realpath(this.hostPath(path))
      if (real === this.realRoot || real.startsWith(this.realRoot.replace(/\/?$/, sep))) return
    } catch (error) {
      if (isMissing(error)) return
      throw error
    }
    throw new StorageError('EACCES', `${path}: a symbolic link leads out of the mount's root`)
  }

  async stat(path: string): Promise<ObjectStat | null> {
    try {
      const looked =
        path === '' ? stat(this.root, { bigint: true }) : lstat(this.hostPath(path), { bigint: true })
      looked.catch(() => undefined)
      // Both at once, but the confinement's word comes first: outside of the root not even ENOENT is told.
      await this.confineParent(path)
      const stats = await looked
      if (stats.isSymbolicLink()) return await this.statThroughLink(path)
      return isServed(stats) ? statOfHost(stats) : null
    } catch (error) {
      if (isMissing(error)) return null
      throw toStorageError(error)
    }
  }

  /** A link that stays below the root is seen as what it leads to. */
  private async statThroughLink(path: string): Promise<ObjectStat | null> {
    await this.confine(path)
    const stats = await stat(this.hostPath(path), { bigint: true })
    return isServed(stats) ? statOfHost(stats) : null
  }

  async list(path: string): Promise<DirectoryEntry[]> {
    try {
      await this.confine(path)
      const entries: DirectoryEntry[] = []
      for (const entry of await readdir(this.hostPath(path), { withFileTypes: true })) {
        this.addEntry(entries, path, entry)
      }
      return entries
    } catch (error) {
      if (isMissing(error)) return []
      throw toStorageError(error)
    }
  }

  async listSmall(path: string): Promise<DirectoryEntry[] | null> {
    try {
      await this.confine(path)
      const directory = await opendir(this.hostPath(path), { bufferSize: SMALL_LISTING_ENTRIES })
      const entries: DirectoryEntry[] = []
      for await (const entry of directory) {
        if (entries.length >= SMALL_LISTING_ENTRIES) return null
        this.addEntry(entries, path, entry)
      }
      return entries
    } catch (error) {
      if (isMissing(error)) return []
      throw toStorageError(error)
    }
  }

  private addEntry(entries: DirectoryEntry[], path: string, entry: Dirent): void {
    if (path === '' && entry.name === RESERVED_DIRECTORY) return
    if (!this.accepts(entry.name)) return
    if (!isServed(entry) && !entry.isSymbolicLink()) return
    entries.push({ name: entry.name, kind: entry.isDirectory() ? 'directory' : 'file', stat: null })
  }

  async read(path: string, offset: number, lengthBytes: number, version: string): Promise<Uint8Array> {
    try {
      await this.confine(path)
      const data = await this.data.read(path, offset, lengthBytes, version)
      // After the read: a version that is still the same now was the same while the bytes were read.
      const now = await stat(this.hostPath(path), { bigint: true })
      if (statOfHost(now).version === version) return data
    } catch (error) {
      throw toStorageError(error)
    }
    throw new StorageError('ESTALE', `${path}: changed on the host`, { retryable: true })
  }

  async write(path: string, data: Uint8Array, expected: ExpectedVersion): Promise<ObjectStat> {
    try {
      // A name in the root itself has no directory that could lead out: then all is one hop to a thread.
      if (path.includes('/')) await this.confineParent(path)
      const upload = this.hostPath(this.newUpload())
      const { seconds, nanoseconds, ...stored } = await storeHostFile(
        upload,
        this.hostPath(path),
        data,
        expected,
      )
      return { kind: 'file', mtime: { seconds, nanoseconds }, ...stored }
    } catch (error) {
      throw toStorageError(error)
    }
  }

  async createWriter(path: string, expected: ExpectedVersion): Promise<BackendWriter> {
    const upload = this.newUpload()
    try {
      await this.confineParent(path)
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
      return statOfHost(await lstat(target, { bigint: true }))
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

  async append(path: string, data: Uint8Array): Promise<ObjectStat> {
    try {
      await this.confine(path)
    } catch (error) {
      throw toStorageError(error)
    }
    await this.data.append(path, data)
    const appended = await this.stat(path)
    if (appended === null) throw new StorageError('ESTALE', `${path}: gone right after it was appended to`)
    return appended
  }

  /** The host's file system may share the blocks (a reflink) in place of copying them. */
  async copy(from: string, to: string, expected: ExpectedVersion): Promise<ObjectStat> {
    const upload = this.newUpload()
    try {
      await Promise.all([this.confine(from), this.confineParent(to)])
      await mkdir(this.hostPath(RESERVED_DIRECTORY), { recursive: true })
      await copyFile(this.hostPath(from), this.hostPath(upload), constants.COPYFILE_FICLONE)
      return await this.publish(upload, to, expected)
    } catch (error) {
      await this.discard(upload)
      throw toStorageError(error)
    }
  }

  async createDirectory(path: string): Promise<void> {
    await this.confined(path, () => mkdir(this.hostPath(path)))
  }

  async removeDirectory(path: string): Promise<void> {
    await this.confined(path, () => rmdir(this.hostPath(path)))
  }

  async removeFile(path: string): Promise<void> {
    await this.confined(path, () => unlink(this.hostPath(path)))
  }

  async rename(from: string, to: string, _kind: EntryKind): Promise<void> {
    await this.confined(to, async () => {
      await this.confineParent(from)
      if (to.startsWith(`${RESERVED_DIRECTORY}/`))
        await mkdir(this.hostPath(RESERVED_DIRECTORY), { recursive: true })
      await rename(this.hostPath(from), this.hostPath(to))
    })
  }

  async setModificationTime(path: string, mtime: Timestamp): Promise<void> {
    await this.confined(path, async () => {
      await this.confine(path)
      // Node takes seconds as a double and cuts it to whole microseconds: half a microsecond more, and the double's
      // own error can't cut one off.
      const microseconds = Math.round(mtime.nanoseconds / NANOSECONDS_PER_MICROSECOND)
      const fraction = microseconds === 0 ? 0 : (microseconds + 0.5) / MICROSECONDS_PER_SECOND
      const seconds = mtime.seconds + fraction
      await utimes(this.hostPath(path), seconds, seconds)
    })
  }

  private async confined(path: string, work: () => Promise<unknown>): Promise<void> {
    try {
      await this.confineParent(path)
      await work()
    } catch (error) {
      throw toStorageError(error)
    }
  }

  setAttributes(path: string): Promise<never> {
    return Promise.reject(new StorageError('EOPNOTSUPP', `${path}: the host keeps its own attributes`))
  }

  async usage(): Promise<StorageUsage> {
    try {
      const usage = await statfs(this.root)
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
