/** What is at a path of a store of objects: an object, or a directory by its marker or by what is below it. */
import type { EntryKind, IdentifiedObject, ObjectStat } from '../backend.js'
import { WRITE_MARK_KEY } from '../write-mark.js'
import { markerKey } from './directory-pages.js'
import { withMetadata } from './file-attributes.js'
import { listPages } from './listing.js'
import type { ListedObject, ObjectClient, ObjectHead } from './object-client.js'
import { DIRECTORY } from './object-store.js'

/** Directories that are remembered as having objects; past this many, all start anew. */
const MAX_OBJECT_DIRECTORIES = 256

export class ObjectLookup {
  /** Directories in which the last name that was looked for was an object. */
  private readonly objectDirectories = new Set<string>()

  constructor(
    private readonly client: ObjectClient,
    private readonly keepsAttributes: boolean,
  ) {}

  async stat(path: string, kind?: EntryKind): Promise<ObjectStat | null> {
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
    if (kind === 'file') {
      const head = await this.client.head(path)
      return head === null ? null : this.statOf(head)
    }
    const first = await this.firstBelow(path)
    return first === null ? null : this.statDirectory(path, first === markerKey(path))
  }

  private statOf({ sizeBytes, mtime, version, metadata, isMarker }: ObjectHead): ObjectStat {
    const stat: ObjectStat = isMarker === true ? DIRECTORY : { kind: 'file', sizeBytes, mtime, version }
    return this.keepsAttributes ? withMetadata(stat, metadata) : stat
  }

  /** A directory that is there, with or without a marker. */
  private async statDirectory(path: string, hasMarker: boolean): Promise<ObjectStat> {
    if (!this.keepsAttributes) return DIRECTORY
    const head = hasMarker ? await this.client.head(markerKey(path)) : null
    return withMetadata(DIRECTORY, head?.metadata ?? {})
  }

  /** The first object at or below the directory, null when there is none. */
  private async firstBelow(path: string): Promise<string | null> {
    const [first] = await this.keysBelow(path, 1)
    return first?.key ?? null
  }

  /** The marker of the directory and all keys below it, up to `maxKeys` of them. */
  async keysBelow(path: string, maxKeys: number): Promise<readonly ListedObject[]> {
    for await (const { objects } of listPages(this.client, {
      ...{ prefix: markerKey(path), isFlat: false, maxKeys },
    }))
      if (objects.length > 0) return objects
    return []
  }

  async identify(path: string): Promise<IdentifiedObject | null> {
    const head = await this.client.head(path)
    return head === null ? null : { stat: this.statOf(head), mark: head.metadata[WRITE_MARK_KEY] ?? null }
  }
}
