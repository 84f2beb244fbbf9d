/**
 * What a store has, in memory and exact: every version that was ever stored, by whom, and what became of it. `ReferenceBackend`
 * is the daemon's way to it; `outside` is everybody else's.
 */
import type { FileAttributes, Timestamp, WriteMark } from '../../../src/backends/backend.js'
import { RESERVED_DIRECTORY } from '../../../src/backends/backend.js'

/** Who has stored something: the daemon that is tested, or anybody else. */
export type Author = 'daemon' | 'outside'

export interface StoredVersion {
  /** What the store calls it; another one for each change. */
  readonly version: string
  /** Counts contents: stays when the object is moved, or gets other attributes. */
  readonly contentsId: number
  readonly data: Buffer
  readonly author: Author
  readonly mark: WriteMark | null
  readonly mtime: Timestamp
  readonly attributes: FileAttributes | null
}

/** How an object went, which is nowhere else then. */
export interface Destroyed {
  readonly path: string
  readonly object: StoredVersion
  readonly by: Author
  /** The backend's method. */
  readonly method: string
  /** What is at the path now. */
  readonly replacedBy: StoredVersion | null
}

interface Put {
  readonly author: Author
  readonly method: string
  readonly mark?: WriteMark | null | undefined
  readonly attributes?: FileAttributes | null | undefined
  readonly mtime?: Timestamp | undefined
  /** Default: new contents. */
  readonly contentsId?: number | undefined
}

export class ReferenceStore {
  readonly objects = new Map<string, StoredVersion>()
  /** Those that were made as such; what is above an object is one as well. */
  readonly directories = new Set<string>()
  /** Everything that was ever stored at a path, oldest first. */
  readonly history: { readonly path: string; readonly object: StoredVersion }[] = []
  readonly destroyed: Destroyed[] = []
  private versions = 0
  private contents = 0
  /** A store's clock, which moves by a second with each change. */
  private seconds = 1_700_000_000

  put(path: string, data: Uint8Array, put: Put): StoredVersion {
    const object: StoredVersion = {
      version: `v${++this.versions}`,
      contentsId: put.contentsId ?? ++this.contents,
      data: Buffer.from(data),
      author: put.author,
      mark: put.mark ?? null,
      mtime: put.mtime ?? put.attributes?.mtime ?? { seconds: ++this.seconds, nanoseconds: 0 },
      attributes: put.attributes ?? null,
    }
    this.set(path, object, put.author, put.method)
    return object
  }

  /** Whatever is at `path` makes way for `object`. */
  set(path: string, object: StoredVersion, by: Author, method: string): void {
    const before = this.objects.get(path)
    this.objects.set(path, object)
    this.history.push({ path, object })
    if (before !== undefined) this.noteDestroyed(path, before, by, method, object)
  }

  remove(path: string, by: Author, method: string): void {
    const before = this.objects.get(path)
    if (before === undefined) return
    this.objects.delete(path)
    this.keepParent(path)
    this.noteDestroyed(path, before, by, method, null)
  }

  /** The same contents may be somewhere else, as a copy that becomes a move. */
  private noteDestroyed(
    path: string,
    object: StoredVersion,
    by: Author,
    method: string,
    replacedBy: StoredVersion | null,
  ): void {
    const isElsewhere = [...this.objects.values()].some(({ contentsId }) => contentsId === object.contentsId)
    if (!isElsewhere) this.destroyed.push({ path, object, by, method, replacedBy })
  }

  /** A directory stays when its last entry goes. */
  keepParent(path: string): void {
    const parent = path.slice(0, Math.max(0, path.lastIndexOf('/')))
    if (parent !== '') this.directories.add(parent)
  }

  isDirectory(path: string): boolean {
    if (path === '' || this.directories.has(path)) return true
    for (const other of this.objects.keys()) if (other.startsWith(`${path}/`)) return true
    return [...this.directories].some((other) => other.startsWith(`${path}/`))
  }

  /** Names in the directory, those of directories with a "/". */
  names(directory: string): Map<string, 'file' | 'directory'> {
    const names = new Map<string, 'file' | 'directory'>()
    const below = directory === '' ? '' : `${directory}/`
    for (const [path, kind] of this.everything()) {
      if (!path.startsWith(below) || path === directory) continue
      const [name = '', ...rest] = path.slice(below.length).split('/')
      if (directory === '' && name === RESERVED_DIRECTORY) continue
      if (rest.length > 0) names.set(name, 'directory')
      else if (!names.has(name)) names.set(name, kind)
    }
    return names
  }

  private *everything(): Generator<[string, 'file' | 'directory']> {
    for (const path of this.objects.keys()) yield [path, 'file']
    for (const path of this.directories) yield [path, 'directory']
  }

  text(path: string): string | null {
    return this.objects.get(path)?.data.toString('latin1') ?? null
  }

  /** Files, without the daemon's own. */
  visible(): Map<string, StoredVersion> {
    return new Map([...this.objects].filter(([path]) => !path.startsWith(`${RESERVED_DIRECTORY}/`)))
  }

  /** Paths of the daemon's own files. */
  hidden(): string[] {
    return [...this.objects.keys()].filter((path) => path.startsWith(`${RESERVED_DIRECTORY}/`))
  }

  // ---- everybody else

  outsideWrite(path: string, data: Uint8Array | string): StoredVersion {
    return this.put(path, Buffer.from(data), { author: 'outside', method: 'outside' })
  }

  outsideRemove(path: string): void {
    this.remove(path, 'outside', 'outside')
  }
}
