import type { Metadata, Operator } from 'opendal'
import {
  RESERVED_DIRECTORY,
  type AttributesChanged,
  type BackendWriter,
  type DirectoryEntry,
  type DirectoryPage,
  type EntryKind,
  type ObjectStat,
  type Timestamp,
} from '../backend.js'
import { PART_SIZE_BYTES } from '../objects/object-store.js'
import { directoryPath, objectPath, OpendalBackend, OpendalWriter } from '../opendal/opendal-backend.js'
import { timestampNow } from '../timestamp.js'
import { OrderedNames } from './ordered-names.js'

/** A guest that says "make this file 2 TiB" must not take the host's memory with it. */
const MAX_FILE_BYTES = 4 * 2 ** 30
/** Of a page of a listing: less than a millisecond. */
const PAGE_ENTRIES = 2000

/**
 * OpenDAL's `memory` service. It keeps no times, so they are kept here, beside the data and for as long as it: until
 * the daemon ends. Nobody else can change the store, so the time of the last change is its version, and what is not known here is not
 * there: the binding is never asked for it, as each answer that something is missing costs it memory for ever (131 to 139 bytes). Nor for
 * listings, which it makes all at once.
 */
export class MemoryBackend extends OpendalBackend {
  private readonly mtimes = new Map<string, Timestamp>()
  private readonly versions = new Map<string, number>()
  private readonly kinds = new Map<string, EntryKind>()
  /** How much is known below a path: a directory may be there for what it holds alone. */
  private readonly entriesBelow = new Map<string, number>()
  /** The names in each directory. */
  private readonly names = new Map<string, OrderedNames>()
  private nextVersion = 1

  constructor(operator: Operator) {
    super(operator, {
      setModificationTime: true,
      maxFileBytes: MAX_FILE_BYTES,
      // Its writers take parts, whatever the service says.
      partSizeBytes: PART_SIZE_BYTES,
    })
  }

  private touch(path: string, kind: EntryKind): void {
    const isNew = !this.kinds.has(path)
    this.kinds.set(path, kind)
    if (isNew) {
      this.countAbove(path, 1)
      this.link(path)
      this.touchParent(path)
    }
    this.mtimes.set(path, timestampNow())
    this.versions.set(path, this.nextVersion++)
  }

  /** A name came or went: the directory's time changes, as in any file system. */
  private touchParent(path: string): void {
    const parent = parentOf(path)
    if (this.kindOf(parent) !== undefined) this.mtimes.set(parent, timestampNow())
  }

  private forget(path: string): void {
    this.mtimes.delete(path)
    this.versions.delete(path)
    if (!this.kinds.delete(path)) return
    this.countAbove(path, -1)
    this.unlink(path)
    this.touchParent(path)
  }

  /** The name, and those of the directories on the way to it, which are there because of it. */
  private link(path: string): void {
    for (let below = path; below !== ''; below = parentOf(below)) {
      const directory = parentOf(below)
      const names = this.names.get(directory) ?? new OrderedNames()
      names.add(nameOf(below))
      this.names.set(directory, names)
    }
  }

  /** With what was known of directories that were there for it alone: a rename would take that for theirs. */
  private unlink(path: string): void {
    for (let below = path; below !== '' && this.kindOf(below) === undefined; below = parentOf(below)) {
      const directory = parentOf(below)
      const names = this.names.get(directory)
      names?.delete(nameOf(below))
      this.mtimes.delete(below)
      if (names?.size === 0) this.names.delete(directory)
    }
  }

  override list(path: string): Promise<DirectoryEntry[]> {
    return Promise.resolve([...this.pageBehind(path, 0, Infinity).entries])
  }

  listPage(path: string, token: string | null, maxEntries = PAGE_ENTRIES): Promise<DirectoryPage> {
    return Promise.resolve(this.pageBehind(path, Number(token ?? 0), Math.min(maxEntries, PAGE_ENTRIES)))
  }

  private pageBehind(directory: string, after: number, count: number): DirectoryPage {
    const { names, last } = this.names.get(directory)?.behind(after, count) ?? { names: [], last: null }
    const entries: DirectoryEntry[] = []
    for (const name of names) {
      if (directory === '' && name === RESERVED_DIRECTORY) continue
      const kind = this.kindOf(directory === '' ? name : `${directory}/${name}`)
      if (kind !== undefined) entries.push({ name, kind, stat: null })
    }
    return { entries, next: last === null ? null : String(last) }
  }

  private countAbove(path: string, change: number): void {
    for (let end = path.lastIndexOf('/'); end > 0; end = path.lastIndexOf('/', end - 1)) {
      const above = path.slice(0, end)
      const entries = (this.entriesBelow.get(above) ?? 0) + change
      if (entries > 0) this.entriesBelow.set(above, entries)
      else this.entriesBelow.delete(above)
    }
  }

  private kindOf(path: string): EntryKind | undefined {
    const isDirectory = path === '' || this.entriesBelow.has(path)
    return this.kinds.get(path) ?? (isDirectory ? 'directory' : undefined)
  }

  private decorate(path: string, stat: ObjectStat): ObjectStat {
    return { ...stat, mtime: this.mtimes.get(path) ?? null, version: String(this.versions.get(path) ?? 0) }
  }

  override async stat(path: string): Promise<ObjectStat | null> {
    const kind = this.kindOf(path)
    if (kind === undefined) return null
    const stat = await this.statExactly(kind === 'file' ? objectPath(path) : directoryPath(path))
    return stat === null ? null : this.decorate(path, stat)
  }

  // `write` adds all else that there is to tell.
  protected override statWritten(_path: string, metadata: Metadata): Promise<ObjectStat> {
    return Promise.resolve(this.toStat(metadata))
  }

  // Nobody else writes to the store, so there is nothing to expect.
  override async write(path: string, data: Uint8Array): Promise<ObjectStat> {
    const stat = await super.write(path, data, undefined)
    this.touch(path, 'file')
    return this.decorate(path, stat)
  }

  override async createWriter(path: string): Promise<BackendWriter> {
    const writer = await this.createWriterOf(path, undefined)
    return new OpendalWriter(
      writer,
      () => {
        this.touch(path, 'file')
        return this.statStored(path)
      },
      () => Promise.resolve(),
    )
  }

  override async createDirectory(path: string): Promise<void> {
    await super.createDirectory(path)
    this.touch(path, 'directory')
  }

  override async removeDirectory(path: string): Promise<void> {
    await super.removeDirectory(path)
    this.forget(path)
  }

  override async removeFile(path: string): Promise<void> {
    await super.removeFile(path)
    this.forget(path)
  }

  override async rename(from: string, to: string, kind: EntryKind): Promise<void> {
    const below = `${from}/`
    const moved = [...this.mtimes]
      .filter(([path]) => path === from || path.startsWith(below))
      .map(([path, mtime]) => ({ path, mtime, kind: this.kinds.get(path) ?? 'directory' }))
    await super.rename(from, to, kind)
    for (const { path, mtime, kind: movedKind } of moved) {
      this.forget(path)
      const target = to + path.slice(from.length)
      this.touch(target, movedKind)
      this.mtimes.set(target, mtime)
    }
  }

  override async setModificationTime(path: string, mtime: Timestamp): Promise<AttributesChanged> {
    if (this.kindOf(path) !== undefined) this.mtimes.set(path, mtime)
    const stat = await this.statStored(path)
    return { previousVersion: stat.version, stat }
  }
}

function parentOf(path: string): string {
  return path.slice(0, Math.max(0, path.lastIndexOf('/')))
}

function nameOf(path: string): string {
  return path.slice(path.lastIndexOf('/') + 1)
}
