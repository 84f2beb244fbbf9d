import {
  RESERVED_DIRECTORY,
  type AttributesChanged,
  type Backend,
  type BackendCapabilities,
  type BackendWriter,
  type DirectoryEntry,
  type EntryKind,
  type ObjectStat,
  type StorageUsage,
  type Timestamp,
} from '../backend.js'
import { UNLIMITED_USAGE } from '../objects/object-store.js'
import { PART_SIZE_BYTES } from '../objects/object-store.js'
import { StorageError } from '../storage-error.js'
import { timestampNow } from '../timestamp.js'

/** What a guest has made this long by a truncation is written as zeros, part by part: a minute's work. */
const MAX_FILE_BYTES = 2 ** 40

interface Node {
  readonly kind: EntryKind
  sizeBytes: number
  mtime: Timestamp
  /** Of the last change of the contents. */
  version: number
  /** Of a directory, by name; empty of a file. */
  readonly children: Map<string, Node>
}

/**
 * A store that forgets: names, sizes and times are kept in memory until the daemon ends, contents are not. Files read as zeros. Nobody
 * else can change it.
 */
export class NullBackend implements Backend {
  readonly capabilities: BackendCapabilities = {
    write: true,
    append: true,
    copy: true,
    setModificationTime: true,
    attributes: false,
    maxFileBytes: MAX_FILE_BYTES,
    maxPathBytes: Number.MAX_SAFE_INTEGER,
    partSizeBytes: PART_SIZE_BYTES,
  }
  private lastVersion = 0
  private readonly root = this.makeNode('directory', 0)

  accepts(): boolean {
    return true
  }

  stat(path: string): Promise<ObjectStat | null> {
    const node = this.find(path)
    return Promise.resolve(node === undefined ? null : statOf(node))
  }

  readonly listsStats = true

  list(path: string): Promise<DirectoryEntry[]> {
    const children = [...(this.find(path)?.children ?? [])]
    const shown = path === '' ? children.filter(([name]) => name !== RESERVED_DIRECTORY) : children
    return Promise.resolve(shown.map(([name, node]) => ({ name, kind: node.kind, stat: statOf(node) })))
  }

  async read(path: string, offset: number, lengthBytes: number, version: string): Promise<Uint8Array> {
    const { sizeBytes, version: present } = await this.get(path, 'file')
    if (String(present) !== version || offset + lengthBytes > sizeBytes)
      throw new StorageError('ESTALE', `${path}: it was replaced`)
    return new Uint8Array(lengthBytes)
  }

  write(path: string, data: Uint8Array): Promise<ObjectStat> {
    return this.store(path, data.byteLength)
  }

  createWriter(path: string): Promise<BackendWriter> {
    let sizeBytes = 0
    return Promise.resolve({
      write: (data) => {
        sizeBytes += data.byteLength
        return Promise.resolve()
      },
      close: () => this.store(path, sizeBytes),
      abort: () => Promise.resolve(),
    })
  }

  async append(path: string, data: Uint8Array): Promise<ObjectStat> {
    const node = await this.get(path, 'file')
    return this.store(path, node.sizeBytes + data.byteLength)
  }

  async copy(from: string, to: string): Promise<ObjectStat> {
    const { sizeBytes } = await this.get(from, 'file')
    return this.store(to, sizeBytes)
  }

  createDirectory(path: string): Promise<void> {
    if (this.find(path) === undefined) this.put(path, this.makeNode('directory', 0))
    return Promise.resolve()
  }

  async removeDirectory(path: string): Promise<void> {
    const node = await this.get(path, 'directory')
    if (node.children.size > 0) throw new StorageError('ENOTEMPTY', `${path}: not empty`)
    this.remove(path)
  }

  async removeFile(path: string): Promise<void> {
    await this.get(path, 'file')
    this.remove(path)
  }

  async rename(from: string, to: string, kind: EntryKind): Promise<void> {
    const node = await this.get(from, kind)
    this.remove(from)
    this.put(to, node)
  }

  async setModificationTime(path: string, mtime: Timestamp): Promise<AttributesChanged> {
    const node = this.find(path)
    if (node === undefined) return missing(path)
    node.mtime = mtime
    const stat = await Promise.resolve(statOf(node))
    return { previousVersion: stat.version, stat }
  }

  setAttributes(path: string): Promise<AttributesChanged> {
    return Promise.reject(new StorageError('EOPNOTSUPP', `${path}: the store keeps no attributes`))
  }

  usage(): Promise<StorageUsage> {
    return Promise.resolve(UNLIMITED_USAGE)
  }

  private store(path: string, sizeBytes: number): Promise<ObjectStat> {
    const present = this.find(path)
    if (present?.kind === 'directory')
      return Promise.reject(new StorageError('EISDIR', `${path}: a directory`))
    const node = present ?? this.makeNode('file', sizeBytes)
    node.sizeBytes = sizeBytes
    node.mtime = timestampNow()
    node.version = ++this.lastVersion
    if (present === undefined) this.put(path, node)
    return Promise.resolve(statOf(node))
  }

  private makeNode(kind: EntryKind, sizeBytes: number): Node {
    return { kind, sizeBytes, mtime: timestampNow(), version: ++this.lastVersion, children: new Map() }
  }

  private find(path: string): Node | undefined {
    let node: Node | undefined = this.root
    for (const name of namesOf(path)) node = node?.children.get(name)
    return node
  }

  private get(path: string, kind: EntryKind): Promise<Node> {
    const node = this.find(path)
    return node?.kind === kind ? Promise.resolve(node) : missing(path)
  }

  /** Directories on the way that are missing are made, as those of hidden files are. */
  private put(path: string, node: Node): void {
    const names = namesOf(path)
    const last = names.pop() ?? ''
    let parent = this.root
    for (const name of names) {
      const next: Node = parent.children.get(name) ?? this.makeNode('directory', 0)
      parent.children.set(name, next)
      parent = next
    }
    parent.children.set(last, node)
    parent.mtime = timestampNow()
  }

  private remove(path: string): void {
    const parent = this.find(path.slice(0, Math.max(0, path.lastIndexOf('/'))))
    parent?.children.delete(path.slice(path.lastIndexOf('/') + 1))
    if (parent !== undefined) parent.mtime = timestampNow()
  }
}

function namesOf(path: string): string[] {
  return path === '' ? [] : path.split('/')
}

function statOf({ kind, sizeBytes, mtime, version }: Node): ObjectStat {
  return { kind, sizeBytes, mtime, version: String(version) }
}

function missing(path: string): Promise<never> {
  return Promise.reject(new StorageError('ENOENT', `${path}: not there`))
}
