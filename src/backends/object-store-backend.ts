import { createHash } from 'node:crypto'
import type { Operator, WriteOptions } from 'opendal'
import type { BackendWriter, DirectoryEntry, EntryKind, ExpectedVersion, ObjectStat } from './backend.js'
import { DirectoryMarkers } from './directory-markers.js'
import { directoryPath, entryNameOf, objectPath, OpendalBackend, statOf } from './opendal-backend.js'
import { StorageError, toStorageError } from './storage-error.js'

const DIRECTORY: ObjectStat = { kind: 'directory', sizeBytes: 0, mtime: null, version: '' }

/** The etag of an object that was stored in one request without a key of its own: the MD5 of its bytes. */
function etagOfBytes(data: Uint8Array): string {
  return `"${createHash('md5').update(data).digest('hex')}"`
}

function conflict(path: string, expected: string | null): StorageError {
  return expected === null
    ? new StorageError('EEXIST', `${path}: somebody else made it meanwhile`)
    : new StorageError('ESTALE', `${path}: somebody else changed it meanwhile`)
}

/**
 * A store of objects under flat keys: S3, Swift, GCS, Azure... A directory is there if an object "dir/" (its marker)
 * or any key below it is; mkdir makes the marker. Before the last key below a directory may go, the directory gets a
 * marker, so that it does not vanish with it. Where both an object "a" and keys below "a/" are, the object is seen.
 */
export class ObjectStoreBackend extends OpendalBackend {
  private readonly markers = new DirectoryMarkers((path) => this.createDirectory(path))
  /** How the server wants an etag in If-Match: in quotes (RFC 9110), or bare (Ceph before 18 compares the bytes). */
  private quotesEtags = true
  private readonly canReadMatching: boolean

  /** `maxPathBytes`: of a path below the mount's root. */
  constructor(operator: Operator, maxPathBytes: number) {
    super(operator, { maxPathBytes })
    this.canReadMatching = operator.capability().readWithIfMatch
  }

  override async stat(path: string): Promise<ObjectStat | null> {
    if (path === '') return DIRECTORY
    // Side by side: a name that is missing, the usual case before a file is made, takes one round trip.
    const directory = this.hasDirectory(path)
    directory.catch(() => undefined)
    const object = await this.statExactly(objectPath(path))
    if (object !== null) return object
    return (await directory) ? DIRECTORY : null
  }

  private async hasDirectory(path: string): Promise<boolean> {
    try {
      const lister = await this.operator.lister(directoryPath(path), { recursive: true, limit: 1 })
      return (await lister.next()) !== null
    } catch (error) {
      throw toStorageError(error)
    }
  }

  override async list(path: string): Promise<DirectoryEntry[]> {
    const directory = directoryPath(path)
    const entries = new Map<string, DirectoryEntry>()
    try {
      for (const entry of await this.operator.list(directory)) {
        const name = entryNameOf(directory, entry.path())
        if (name === '') this.markers.note(path)
        if (name === null || name === '') continue
        const stat = statOf(entry.metadata())
        if (stat.kind === 'file' || !entries.has(name)) entries.set(name, { name, kind: stat.kind, stat })
      }
    } catch (error) {
      throw toStorageError(error)
    }
    return [...entries.values()]
  }

  override async read(
    path: string,
    offset: number,
    lengthBytes: number,
    version: string,
  ): Promise<Uint8Array> {
    if (!this.canReadMatching || !version.startsWith('"'))
      return super.read(path, offset, lengthBytes, version)
    try {
      return await this.operator.read(objectPath(path), {
        offset: BigInt(offset),
        size: BigInt(lengthBytes),
        ifMatch: version,
      })
    } catch (error) {
      throw toStorageError(error)
    }
  }

  override async write(path: string, data: Uint8Array, expected: ExpectedVersion): Promise<ObjectStat> {
    const wasQuoted = this.quotesEtags
    try {
      return await super.write(path, data, expected)
    } catch (error) {
      if (!(error instanceof StorageError) || error.errno !== 'ESTALE' || expected === undefined) throw error
      return this.resolveConflict(path, data, expected, wasQuoted)
    }
  }

  /** The server says that something else is there: somebody else's, our own (an answer that was lost and tried again), or it took the condition wrong. */
  private async resolveConflict(
    path: string,
    data: Uint8Array,
    expected: string | null,
    wasQuoted: boolean,
  ): Promise<ObjectStat> {
    const present = await this.statExactly(objectPath(path))
    if (present?.version === etagOfBytes(data)) return present
    if (present === null || present.version !== expected || !wasQuoted) throw conflict(path, expected)
    this.quotesEtags = false
    return super.write(path, data, expected)
  }

  protected override conditionOf(expected: ExpectedVersion): WriteOptions {
    const condition = super.conditionOf(expected)
    const { ifMatch } = condition
    return ifMatch === undefined || this.quotesEtags ? condition : { ifMatch: ifMatch.slice(1, -1) }
  }

  /** Servers ignore the conditions of uploads in parts, so the object is looked at right before the upload becomes visible. */
  override async createWriter(path: string, expected: ExpectedVersion): Promise<BackendWriter> {
    const writer = await super.createWriter(path, undefined)
    return {
      write: (data) => writer.write(data),
      close: async () => {
        if (expected !== undefined) await this.requireVersion(path, expected)
        return writer.close()
      },
      abort: () => writer.abort(),
    }
  }

  override async copy(from: string, to: string, expected: ExpectedVersion): Promise<ObjectStat> {
    if (expected !== undefined) await this.requireVersion(to, expected)
    return super.copy(from, to, expected)
  }

  private async requireVersion(path: string, expected: string | null): Promise<void> {
    const present = await this.statExactly(objectPath(path))
    if ((present?.version ?? null) !== expected) throw conflict(path, expected)
  }

  override async createDirectory(path: string): Promise<void> {
    await super.createDirectory(path)
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

  override async rename(from: string, to: string, kind: EntryKind): Promise<void> {
    if (kind === 'file' && (await this.statExactly(objectPath(from))) === null) {
      throw new StorageError('ENOENT', `${from}: not there`)
    }
    await this.markers.keepParent(from)
    this.markers.forgetTree(from)
    await super.rename(from, to, kind)
  }
}
