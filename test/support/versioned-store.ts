/** A store in memory for tests of the cache: whole objects, each write another version, and every condition is kept. */
import type {
  AppendBase,
  Backend,
  BackendCapabilities,
  BackendWriter,
  CopyOptions,
  DirectoryEntry,
  EntryKind,
  ExpectedVersion,
  IdentifiedObject,
  ObjectStat,
  RenameOptions,
  WriteMark,
  WriteOptions,
} from '../../src/backends/backend.js'
import { StorageError } from '../../src/backends/storage-error.js'

interface StoredObject {
  readonly data: Buffer
  readonly version: string
  readonly mark: WriteMark | null
}

const DEFAULT_PART_BYTES = 64 << 10
/** Of all stores, so that a copy of one does not use a version for something else. */
let versions = 0

function unused(): Promise<never> {
  return Promise.reject(new StorageError('EOPNOTSUPP', 'not used here'))
}

export class VersionedStore implements Backend {
  readonly capabilities: BackendCapabilities
  readonly objects = new Map<string, StoredObject>()
  readonly directories = new Set<string>()
  /** The calls so far, as "method path". */
  readonly calls: string[] = []
  /** Runs before each call, and may throw in its place. */
  before: (method: string, path: string) => void | Promise<void> = () => undefined
  readonly setModificationTime = unused
  readonly setAttributes = unused
  readonly usage = unused

  constructor(options: Partial<BackendCapabilities> = {}) {
    this.capabilities = {
      write: true,
      append: false,
      copy: true,
      setModificationTime: false,
      attributes: false,
      maxFileBytes: Number.MAX_SAFE_INTEGER,
      maxPathBytes: 4095,
      partSizeBytes: DEFAULT_PART_BYTES,
      ...options,
    }
  }

  accepts(): boolean {
    return true
  }

  private async call(method: string, path: string): Promise<void> {
    this.calls.push(`${method} ${path}`)
    await this.before(method, path)
    await Promise.resolve()
  }

  /** Somebody else's write, or ours with a mark. */
  put(path: string, data: string | Uint8Array, mark: WriteMark | null = null): string {
    const version = `v${++versions}`
    this.objects.set(path, { data: Buffer.from(data), version, mark })
    return version
  }

  text(path: string): string | null {
    return this.objects.get(path)?.data.toString() ?? null
  }

  private statOf(path: string): ObjectStat | null {
    const found = this.objects.get(path)
    if (found !== undefined)
      return { kind: 'file', sizeBytes: found.data.length, mtime: null, version: found.version }
    const isDirectory =
      path === '' ||
      this.directories.has(path) ||
      [...this.objects.keys()].some((key) => key.startsWith(`${path}/`))
    return isDirectory ? { kind: 'directory', sizeBytes: 0, mtime: null, version: '' } : null
  }

  async stat(path: string): Promise<ObjectStat | null> {
    await this.call('stat', path)
    return this.statOf(path)
  }

  async identify(path: string): Promise<IdentifiedObject | null> {
    await this.call('identify', path)
    const stat = this.statOf(path)
    return stat === null ? null : { stat, mark: this.objects.get(path)?.mark ?? null }
  }

  async list(path: string): Promise<DirectoryEntry[]> {
    await this.call('list', path)
    const prefix = path === '' ? '' : `${path}/`
    const kinds = new Map<string, EntryKind>()
    for (const key of [...this.objects.keys(), ...this.directories]) {
      if (!key.startsWith(prefix)) continue
      const [name = '', ...below] = key.slice(prefix.length).split('/')
      if (name === '.ovfsd') continue
      kinds.set(name, below.length === 0 && this.objects.has(key) ? 'file' : 'directory')
    }
    return [...kinds].map(([name, kind]) => ({ name, kind, stat: null }))
  }

  async read(path: string, offset: number, lengthBytes: number, version: string): Promise<Uint8Array> {
    await this.call('read', path)
    const found = this.objects.get(path)
    if (found === undefined) throw new StorageError('ENOENT', path)
    if (found.version !== version || offset + lengthBytes > found.data.length)
      throw new StorageError('ESTALE', `${path}: another version`)
    return Buffer.from(found.data.subarray(offset, offset + lengthBytes))
  }

  private require(path: string, expected: ExpectedVersion): void {
    const version = this.objects.get(path)?.version ?? null
    if (expected === undefined || version === expected) return
    throw new StorageError(expected === null ? 'EEXIST' : 'ESTALE', `${path}: another version`)
  }

  private stored(path: string, data: Uint8Array, mark?: WriteMark): ObjectStat {
    this.put(path, data, mark ?? null)
    return this.statOf(path) as ObjectStat
  }

  async write(
    path: string,
    data: Uint8Array,
    expected: ExpectedVersion,
    options: WriteOptions = {},
  ): Promise<ObjectStat> {
    await this.call('write', path)
    this.require(path, expected)
    return this.stored(path, data, options.mark)
  }

  async createWriter(
    path: string,
    expected: ExpectedVersion,
    options: WriteOptions = {},
  ): Promise<BackendWriter> {
    await this.call('createWriter', path)
    const parts: Buffer[] = []
    return {
      write: async (part) => {
        await this.call('writer.write', path)
        parts.push(Buffer.from(part))
      },
      close: async () => {
        await this.call('writer.close', path)
        this.require(path, expected)
        return this.stored(path, Buffer.concat(parts), options.mark)
      },
      abort: () => Promise.resolve(),
    }
  }

  async append(path: string, data: Uint8Array, base: AppendBase): Promise<ObjectStat> {
    await this.call('append', path)
    this.require(path, base.version)
    return this.stored(path, Buffer.concat([this.objects.get(path)?.data ?? Buffer.alloc(0), data]))
  }

  async copy(
    from: string,
    to: string,
    expected: ExpectedVersion,
    options: CopyOptions = {},
  ): Promise<ObjectStat> {
    await this.call('copy', from)
    this.require(to, expected)
    const found = this.objects.get(from)
    if (found === undefined) throw new StorageError('ENOENT', from)
    return this.stored(to, found.data, options.mark)
  }

  async createDirectory(path: string): Promise<void> {
    await this.call('createDirectory', path)
    if (this.directories.has(path)) throw new StorageError('EEXIST', path)
    this.directories.add(path)
  }

  async removeDirectory(path: string): Promise<void> {
    await this.call('removeDirectory', path)
    this.directories.delete(path)
  }

  async removeFile(path: string): Promise<void> {
    await this.call('removeFile', path)
    if (!this.objects.delete(path)) throw new StorageError('ENOENT', path)
  }

  /** As a copy and a removal: each file has another version then. */
  async rename(from: string, to: string, _kind: EntryKind, options: RenameOptions = {}): Promise<void> {
    await this.call('rename', from)
    for (const [key, found] of [...this.objects]) {
      if (key !== from && !key.startsWith(`${from}/`)) continue
      const target = to + key.slice(from.length)
      const stat = this.stored(target, found.data, found.mark ?? undefined)
      this.objects.delete(key)
      options.moved?.({ from: key, to: target, previousVersion: found.version, stat })
    }
  }
}
