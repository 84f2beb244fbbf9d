import { randomUUID } from 'node:crypto'
import {
  RESERVED_DIRECTORY,
  type AppendBase,
  type AttributesChanged,
  type Backend,
  type BackendCapabilities,
  type BackendWriter,
  type CopyOptions,
  type DirectoryEntry,
  type DirectoryPage,
  type EntryKind,
  type ExpectedVersion,
  type IdentifiedObject,
  type ObjectStat,
  type StorageUsage,
  type Timestamp,
  type WriteMark,
  type WriteOptions,
} from '../backend.js'
import type { HostPublished } from '../native-addon.js'
import { PART_SIZE_BYTES } from '../objects/object-store.js'
import { StorageError, toStorageError } from '../storage-error.js'
import { DirectorySyncs, moveKeys, parentOf } from './directory-syncs.js'
import { HostDirectory } from './host-directory.js'
import { fileOf, HostFiles, type PublishTo } from './host-files.js'
import { HostRoot } from './host-root.js'
import { HostUpload } from './host-upload.js'

/** A directory of fewer entries is small: it is read in a few calls of the host, in about the time of ten looks. */
const SMALL_LISTING_ENTRIES = 10_000

/** What link(2) says on file systems that have no hard links. */
const WITHOUT_HARD_LINKS = new Set(['EPERM', 'EOPNOTSUPP', 'ENOTSUP', 'ENOSYS', 'EMLINK', 'EXDEV'])

/** A file that is stored, where nobody can say whether its name is durable. */
interface Unsettled {
  readonly mark: WriteMark | undefined
  readonly version: string
}

/**
 * A directory of the host. Everything that is written goes to the reserved directory first and then takes the place of
 * what is there, so a file is seen whole or not at all, but for appends and for files that have several names: those are changed where
 * they are (`native/src/host_file.h`). What is answered as stored is durable: its contents, its name and the way to it.
 *
 * Confinement: see `HostRoot`.
 */
export class LocalDirectoryBackend implements Backend {
  readonly capabilities: BackendCapabilities = {
    write: true,
    append: true,
    copy: true,
    setModificationTime: true,
    attributes: false,
    keepsWrittenTimes: true,
    maxFileBytes: Number.MAX_SAFE_INTEGER,
    maxPathBytes: Number.MAX_SAFE_INTEGER,
    partSizeBytes: PART_SIZE_BYTES,
  }
  private readonly host: HostDirectory
  private readonly files: HostFiles
  private readonly syncs: DirectorySyncs
  private readonly unsettled = new Map<string, Unsettled>()
  private nextUpload = 1
  private readonly uploadPrefix: string

  constructor(root: string) {
    const hostRoot = new HostRoot(root)
    this.host = new HostDirectory(hostRoot)
    this.files = new HostFiles(hostRoot)
    this.syncs = new DirectorySyncs((directory) => this.host.sync(directory))
    // Two backends may serve one root, in this process and in others.
    this.uploadPrefix = `${RESERVED_DIRECTORY}/upload-${randomUUID()}-`
  }

  accepts(): boolean {
    return true
  }

  stat(path: string): Promise<ObjectStat | null> {
    return onHost(() => this.host.stat(path))
  }

  async list(path: string): Promise<DirectoryEntry[]> {
    return shown(path, await onHost(() => this.host.list(path)))
  }

  async listPage(path: string, token: string | null, maxEntries?: number): Promise<DirectoryPage> {
    const { entries, next } = await onHost(() => this.host.listPage(path, token, maxEntries))
    return { entries: shown(path, entries), next }
  }

  async listSmall(path: string): Promise<DirectoryEntry[] | null> {
    const entries = await onHost(() => this.host.listNames(path, SMALL_LISTING_ENTRIES))
    return entries === null ? null : shown(path, entries)
  }

  read(path: string, offset: number, lengthBytes: number, version: string): Promise<Uint8Array> {
    return this.files.read(path, offset, lengthBytes, version)
  }

  write(
    path: string,
    data: Uint8Array,
    expected: ExpectedVersion,
    options?: WriteOptions,
  ): Promise<ObjectStat> {
    const upload = this.newUpload()
    return this.commit({ path, upload, expected, options }, (to) => this.files.store(to, data))
  }

  async createWriter(
    path: string,
    expected: ExpectedVersion,
    options?: WriteOptions,
  ): Promise<BackendWriter> {
    const upload = this.newUpload()
    // The time of such a file is that of its last part: later than what the options can know.
    const target = { path, upload, expected, options: { mark: options?.mark } }
    const to = { path, upload, expected, mtime: undefined, syncsDirectory: false }
    const fd = await onHost(() => this.files.openUpload(to))
    return new HostUpload(fd, {
      publish: () => this.commit(target, (at) => this.files.publish(fd, at)),
      discard: () => this.host.removeFile(upload),
    })
  }

  append(path: string, data: Uint8Array, base: AppendBase): Promise<ObjectStat> {
    return onHost(async () => {
      // Before the file is changed: an error is a refusal then, and there is none of which nobody knows what it has left.
      await this.syncs.syncChanges(parentOf(path))
      return this.files.append(path, data, base)
    })
  }

  /** The host's file system may share the blocks (a reflink) in place of copying them. */
  copy(from: string, to: string, expected: ExpectedVersion, options?: CopyOptions): Promise<ObjectStat> {
    const upload = this.newUpload()
    return this.commit({ path: to, upload, expected, options }, (target) =>
      this.files.copy(from, options?.sourceVersion, target),
    )
  }

  private newUpload(): string {
    return `${this.uploadPrefix}${this.nextUpload++}`
  }

  private commit(
    target: Pick<PublishTo, 'path' | 'upload' | 'expected'> & { readonly options: WriteOptions | undefined },
    publish: (to: PublishTo) => Promise<HostPublished>,
  ): Promise<ObjectStat> {
    const { path, upload, expected, options } = target
    const mtime = options?.attributes?.mtime
    return onHost(async () => {
      const { result, syncError } = await this.syncs.commit(path, (syncsDirectory) =>
        publish({ path, upload, expected, mtime, syncsDirectory }),
      )
      const failure = result.syncError ?? syncError
      if (failure === null) {
        this.unsettled.delete(path)
        return fileOf(result)
      }
      this.unsettled.set(path, { mark: options?.mark, version: result.version })
      const { message } = toStorageError(failure)
      throw new StorageError('EIO', `${path}: ${message}`, {
        retryable: true,
        outcome: 'unknown',
        cause: failure,
      })
    })
  }

  /**
   * Files carry no marks; which of them this backend has stored without being able to say that they are durable, it knows itself. Whoever
   * hears that such a file is his takes it for stored: it is durable by then.
   */
  async identify(path: string): Promise<IdentifiedObject | null> {
    const stat = await this.stat(path)
    if (stat === null) return null
    const unsettled = this.unsettled.get(path)
    if (unsettled?.version !== stat.version) return { stat, mark: null }
    await onHost(() => this.syncs.sync(parentOf(path)))
    await this.syncNames(parentOf(path))
    return { stat, mark: unsettled.mark ?? null }
  }

  createDirectory(path: string): Promise<void> {
    return onHost(async () => {
      await this.host.makeDirectory(path)
      await this.syncs.noteChange(path, true)
    })
  }

  removeDirectory(path: string): Promise<void> {
    return onHost(async () => {
      await this.host.removeDirectory(path)
      this.syncs.forget(path)
      await this.syncs.noteChange(path, false)
    })
  }

  removeFile(path: string): Promise<void> {
    return onHost(async () => {
      await this.host.removeFile(path)
      await this.syncs.noteChange(path, false)
    })
  }

  rename(from: string, to: string, kind: EntryKind): Promise<void> {
    return onHost(async () => {
      try {
        await this.host.rename(from, to)
      } catch (error) {
        if (!to.startsWith(`${RESERVED_DIRECTORY}/`) || toStorageError(error).errno !== 'ENOENT') throw error
        await this.makeReserved()
        await this.host.rename(from, to)
      }
      moveKeys(this.unsettled, from, to)
      if (kind === 'directory') this.syncs.move(from, to)
      await this.syncs.noteChange(from, false)
      await this.syncs.noteChange(to, kind === 'directory')
    })
  }

  private async makeReserved(): Promise<void> {
    try {
      await this.host.makeDirectory(RESERVED_DIRECTORY)
    } catch (error) {
      if (toStorageError(error).errno !== 'EEXIST') throw error
    }
  }

  syncNames(directory?: string): Promise<void> {
    return onHost(() => this.syncs.syncChanges(directory))
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

  setModificationTime(path: string, mtime: Timestamp): Promise<AttributesChanged> {
    return onHost(() => this.files.setTime(path, mtime))
  }

  setAttributes(path: string): Promise<never> {
    return Promise.reject(new StorageError('EOPNOTSUPP', `${path}: the host keeps its own attributes`))
  }

  usage(): Promise<StorageUsage> {
    return onHost(() => this.host.usage())
  }
}

function shown(path: string, entries: readonly DirectoryEntry[]): DirectoryEntry[] {
  return entries.filter(({ name }) => path !== '' || name !== RESERVED_DIRECTORY)
}

async function onHost<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw toStorageError(error)
  }
}
