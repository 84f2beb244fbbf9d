import { createHash } from 'node:crypto'
import type { Entry, Metadata, WriteOptions as Condition } from 'opendal'
import type {
  DirectoryEntry,
  EntryKind,
  ExpectedVersion,
  FileAttributes,
  ObjectStat,
  RenameOptions,
  WriteOptions,
} from '../backend.js'

import { DirectoryMarkers } from './directory-markers.js'
import { conflict, DIRECTORY, SMALL_LISTING_ENTRIES } from './object-store.js'
import { directoryPath, entryNameOf, objectPath, statOf } from '../opendal/opendal-backend.js'
import { SharedStoreBackend } from '../opendal/shared-store-backend.js'
import { StorageError, toStorageError } from '../storage-error.js'

/** Directories that are remembered as having objects; past this many, all start anew. */
const MAX_OBJECT_DIRECTORIES = 256

/** The etag of an object that was stored in one request without a key of its own: the MD5 of its bytes. */
function etagOfBytes(data: Uint8Array): string {
  return `"${createHash('md5').update(data).digest('hex')}"`
}

/**
 * A store of objects under flat keys: S3, Swift, GCS, Azure... A directory is there if an object "dir/" (its marker)
 * or any key below it is; mkdir makes the marker. Before the last key below a directory may go, the directory gets a
 * marker, so that it does not vanish with it. Where both an object "a" and keys below "a/" are, the object is seen.
 */
export class ObjectStoreBackend extends SharedStoreBackend {
  protected readonly markers = new DirectoryMarkers((path) => this.createDirectory(path))
  /** How the server wants an etag in If-Match: in quotes (RFC 9110), or bare (Ceph before 18 compares the bytes). */
  private quotesEtags = true
  /** Directories in which the last name that was looked for was an object. */
  private readonly objectDirectories = new Set<string>()

  override async stat(path: string, kind?: EntryKind): Promise<ObjectStat | null> {
    if (path === '') return DIRECTORY
    const listed = kind === undefined ? null : await this.statKind(path, kind)
    if (listed !== null) return listed
    const parent = path.slice(0, Math.max(path.lastIndexOf('/'), 0))
    // A list costs a server several times what a HEAD costs: where the name before was an object, this one may be too.
    if (this.objectDirectories.has(parent)) {
      const file = await this.statKind(path, 'file')
      if (file !== null) return file
      this.objectDirectories.delete(parent)
      return this.statKind(path, 'directory')
    }
    // Side by side: a name that is missing, the usual case before a file is made, takes one round trip.
    const directory = this.statKind(path, 'directory')
    directory.catch(() => undefined)
    const file = await this.statKind(path, 'file')
    if (file !== null) this.noteObjectIn(parent)
    return file ?? directory
  }

  private noteObjectIn(directory: string): void {
    if (this.objectDirectories.size >= MAX_OBJECT_DIRECTORIES) this.objectDirectories.clear()
    this.objectDirectories.add(directory)
  }

  private async statKind(path: string, kind: EntryKind): Promise<ObjectStat | null> {
    if (kind === 'file') return this.statExactly(objectPath(path))
    const first = await this.firstBelow(path)
    return first === null ? null : this.statDirectory(path, first === directoryPath(path).slice(1))
  }

  /** A directory that is there, with or without a marker. */
  protected statDirectory(_path: string, _hasMarker: boolean): Promise<ObjectStat> {
    return Promise.resolve(DIRECTORY)
  }

  /** The first object at or below the directory, null when there is none. */
  private async firstBelow(path: string): Promise<string | null> {
    try {
      const lister = await this.operator.lister(directoryPath(path), { recursive: true, limit: 1 })
      return (await lister.next())?.path() ?? null
    } catch (error) {
      throw toStorageError(error)
    }
  }

  override async list(path: string): Promise<DirectoryEntry[]> {
    const entries = new Map<string, DirectoryEntry>()
    try {
      for (const entry of await this.operator.list(directoryPath(path))) this.addEntry(entries, path, entry)
    } catch (error) {
      throw toStorageError(error)
    }
    return [...entries.values()]
  }

  async listSmall(path: string): Promise<DirectoryEntry[] | null> {
    const entries = new Map<string, DirectoryEntry>()
    try {
      const lister = await this.operator.lister(directoryPath(path), { limit: SMALL_LISTING_ENTRIES })
      let entry: Entry | null
      for (let keys = 0; (entry = await lister.next()) !== null; keys++) {
        // The next one would be a page more.
        if (keys + 1 >= SMALL_LISTING_ENTRIES) return null
        this.addEntry(entries, path, entry)
      }
    } catch (error) {
      throw toStorageError(error)
    }
    return [...entries.values()]
  }

  private addEntry(entries: Map<string, DirectoryEntry>, path: string, entry: Entry): void {
    const metadata = entry.metadata()
    this.addListed(entries, path, entry.path(), this.listedStat(metadata), metadata.isDirectory())
  }

  /** What a listing of the directory `path` returned under `listedPath`. */
  protected addListed(
    entries: Map<string, DirectoryEntry>,
    path: string,
    listedPath: string,
    stat: ObjectStat | null,
    isDirectory: boolean,
  ): void {
    const name = entryNameOf(directoryPath(path), listedPath)
    if (name === '') this.markers.note(path)
    if (name === null || name === '') return
    const kind = isDirectory ? 'directory' : 'file'
    if (kind === 'file' || !entries.has(name)) entries.set(name, { name, kind, stat })
  }

  /** Listings carry the attributes. */
  get listsStats(): boolean {
    return true
  }

  protected override listedStat(metadata: Metadata): ObjectStat | null {
    return statOf(metadata)
  }

  override async write(
    path: string,
    data: Uint8Array,
    expected: ExpectedVersion,
    options?: WriteOptions,
  ): Promise<ObjectStat> {
    const wasQuoted = this.quotesEtags
    try {
      return await super.write(path, data, expected, options)
    } catch (error) {
      if (!(error instanceof StorageError) || error.errno !== 'ESTALE' || expected === undefined) throw error
      return this.resolveConflict(path, data, expected, options, wasQuoted)
    }
  }

  /** The server says that something else is there: somebody else's, our own (an answer that was lost and tried again), or it took the condition wrong. */
  private async resolveConflict(
    path: string,
    data: Uint8Array,
    expected: string | null,
    options: WriteOptions | undefined,
    wasQuoted: boolean,
  ): Promise<ObjectStat> {
    const present = await this.statExactly(objectPath(path))
    if (present?.version === etagOfBytes(data)) return present
    if (present === null || present.version !== expected || !wasQuoted) throw conflict(path, expected)
    this.quotesEtags = false
    return super.write(path, data, expected, options)
  }

  protected override conditionOf(expected: ExpectedVersion): Condition {
    const condition = super.conditionOf(expected)
    const { ifMatch } = condition
    return ifMatch === undefined || this.quotesEtags ? condition : { ifMatch: ifMatch.slice(1, -1) }
  }

  override async createDirectory(path: string, attributes?: FileAttributes): Promise<void> {
    await super.createDirectory(path, attributes)
    this.markers.note(path)
  }

  override async removeDirectory(path: string): Promise<void> {
    await this.markers.keepParent(path)
    this.markers.forget(path)
    await super.removeDirectory(path)
  }

  override async removeFile(path: string): Promise<void> {
    await this.markers.keepParent(path)
    await super.removeFile(path)
  }

  override async rename(from: string, to: string, kind: EntryKind, options?: RenameOptions): Promise<void> {
    if (kind === 'file' && (await this.statExactly(objectPath(from))) === null) {
      throw new StorageError('ENOENT', `${from}: not there`)
    }
    await this.markers.keepParent(from)
    this.markers.forgetTree(from)
    await super.rename(from, to, kind, options)
  }
}
