/**
 * A backend over a `ReferenceStore` that keeps its contract to the letter: conditions and marks are exact, a call is done at one
 * moment, and what a script says becomes of it (`faults.ts`). Between any two moments somebody else may act.
 */
import type {
  AppendBase,
  AttributeChanges,
  AttributesChanged,
  Backend,
  BackendCapabilities,
  BackendWriter,
  ConditionKind,
  CopyOptions,
  DirectoryEntry,
  EntryKind,
  ExpectedVersion,
  FileAttributes,
  IdentifiedObject,
  ObjectStat,
  RenameOptions,
  StorageUsage,
  StoreConditions,
  Timestamp,
  WriteOptions,
} from '../../../src/backends/backend.js'
import { StorageError } from '../../../src/backends/storage-error.js'
import { errorOf, type Call, type Script } from './faults.js'
import { ReferenceStore, type StoredVersion } from './reference-store.js'

export interface ReferenceOptions {
  readonly store?: ReferenceStore
  readonly append?: boolean
  readonly copy?: boolean
  readonly attributes?: boolean
  /** A rename is a copy and a removal, with a moment between them, as in object stores. */
  readonly renameCopies?: boolean
  /** What is moved, or gets other attributes, gets another version. */
  readonly movesChangeVersions?: boolean
  /** Default: true. False: an own write is known by its version only. */
  readonly marks?: boolean
  /** What `conditions` says; they are exact all the same. */
  readonly conditions?: ConditionKind
  readonly partSizeBytes?: number
}

/** Small, so that uploads in parts happen with files of a few kilobytes. */
export const REFERENCE_PART_BYTES = 8192

interface Late {
  readonly dueCall: number
  readonly effect: () => unknown
}

/** Calls of a dead daemon that end at all: with errors, so that it closes what it has open here. */
const LAST_CALLS = 20

export class ReferenceBackend implements Backend {
  readonly capabilities: BackendCapabilities
  readonly store: ReferenceStore
  readonly calls: Call[] = []
  script: Script = () => null
  /** Somebody else's moment, before a call is done. */
  before: (call: Call) => void = () => undefined
  /** Told when a script has killed the daemon. */
  onKilled: () => void = () => undefined
  /** The contents of an object were told to the daemon. */
  onTold: (path: string, object: StoredVersion) => void = () => undefined
  private isDead = false
  private lastCalls = 0
  private late: Late[] = []
  readonly #options: ReferenceOptions
  readonly identify?: (path: string) => Promise<IdentifiedObject | null>

  constructor(options: ReferenceOptions = {}) {
    this.#options = options
    this.store = options.store ?? new ReferenceStore()
    this.capabilities = {
      write: true,
      append: options.append ?? false,
      copy: options.copy ?? false,
      setModificationTime: options.attributes !== true,
      attributes: options.attributes ?? false,
      maxFileBytes: Number.MAX_SAFE_INTEGER,
      maxPathBytes: Number.MAX_SAFE_INTEGER,
      partSizeBytes: options.partSizeBytes ?? REFERENCE_PART_BYTES,
    }
    if (options.marks !== false) this.identify = (path) => this.#identify(path)
  }

  // ---- how a call goes

  /** Carry out `effect` at one moment, or what the script says in its place. */
  async #perform<T>(method: string, path: string, changes: boolean, effect: () => T): Promise<T> {
    if (this.isKilled) return this.#dead()
    const call: Call = { index: this.calls.length, method, path, changes }
    this.calls.push(call)
    await new Promise((resolve) => setImmediate(resolve))
    if (this.#wasKilled()) return this.#dead()
    this.before(call)
    this.#doLate(call.index)
    const fault = this.script(call)
    if (fault === null) return effect()
    switch (fault.kind) {
      case 'refused':
      case 'unsent':
        break
      case 'lost':
        tryTo(effect)
        break
      case 'late':
        this.late.push({ dueCall: call.index + fault.calls, effect })
        break
      case 'killed':
        if (fault.isDone) tryTo(effect)
        this.kill()
        return this.#dead()
    }
    throw errorOf(fault, call)
  }

  #wasKilled(): boolean {
    return this.isDead
  }

  /** It never hears of the store again. */
  async #dead(): Promise<never> {
    if (++this.lastCalls > LAST_CALLS) return new Promise<never>(() => undefined)
    await new Promise((resolve) => setImmediate(resolve))
    throw new StorageError('EIO', 'the daemon is dead', { outcome: 'unknown' })
  }

  #doLate(index: number): void {
    const due = this.late.filter(({ dueCall }) => dueCall <= index)
    this.late = this.late.filter(({ dueCall }) => dueCall > index)
    for (const { effect } of due) tryTo(effect)
  }

  get isKilled(): boolean {
    return this.isDead
  }

  /** All that is late arrives now. */
  arrive(): void {
    this.#doLate(Infinity)
  }

  /** Nothing that this daemon asks for reaches the store any more. */
  kill(): void {
    this.isDead = true
    this.onKilled()
  }

  // ---- looking

  accepts(): boolean {
    return true
  }

  stat(path: string): Promise<ObjectStat | null> {
    return this.#perform('stat', path, false, () => this.#statOf(path))
  }

  list(path: string): Promise<DirectoryEntry[]> {
    return this.#perform('list', path, false, () =>
      [...this.store.names(path)].map(([name, kind]) => {
        const below = path === '' ? name : `${path}/${name}`
        return { name, kind, stat: kind === 'directory' ? null : this.#statOf(below) }
      }),
    )
  }

  read(path: string, offset: number, lengthBytes: number, version: string): Promise<Uint8Array> {
    return this.#perform('read', path, false, () => {
      const object = this.#require(path)
      if (object.version !== version || object.data.length < offset + lengthBytes)
        throw new StorageError('ESTALE', `${path}: another version`, { retryable: true })
      this.onTold(path, object)
      return Uint8Array.from(object.data.subarray(offset, offset + lengthBytes))
    })
  }

  #identify(path: string): Promise<IdentifiedObject | null> {
    return this.#perform('identify', path, false, () => {
      const object = this.store.objects.get(path)
      const stat = this.#statOf(path)
      return object === undefined || stat === null ? null : { stat, mark: object.mark }
    })
  }

  usage(): Promise<StorageUsage> {
    const plenty = 2 ** 40
    return Promise.resolve({
      blockSizeBytes: 4096,
      totalBlocks: plenty,
      freeBlocks: plenty,
      availableBlocks: plenty,
      totalFiles: plenty,
      freeFiles: plenty,
    })
  }

  conditions(): StoreConditions {
    const kind = this.#options.conditions ?? 'server'
    return { create: kind, replace: kind, complete: kind, copy: kind, remove: kind }
  }

  #statOf(path: string): ObjectStat | null {
    const object = this.store.objects.get(path)
    if (object !== undefined) {
      this.onTold(path, object)
      return this.#describe(object)
    }
    if (!this.store.isDirectory(path)) return null
    return { kind: 'directory', sizeBytes: 0, mtime: null, version: '', ...this.#permissions(null) }
  }

  #describe(object: StoredVersion): ObjectStat {
    const { data, mtime, version, attributes } = object
    return { kind: 'file', sizeBytes: data.length, mtime, version, ...this.#permissions(attributes) }
  }

  #permissions(attributes: FileAttributes | null): Pick<ObjectStat, 'permissions'> {
    if (!this.capabilities.attributes) return {}
    const { mode = null, uid = null, gid = null } = attributes ?? {}
    return { permissions: { mode, uid, gid } }
  }

  // ---- storing

  write(
    path: string,
    data: Uint8Array,
    expected: ExpectedVersion,
    options: WriteOptions = {},
  ): Promise<ObjectStat> {
    // What is on its way does not change with the caller's memory.
    const bytes = Buffer.from(data)
    return this.#perform('write', path, true, () => this.#put('write', path, bytes, expected, options))
  }

  #put(
    method: string,
    path: string,
    data: Uint8Array,
    expected: ExpectedVersion,
    options: WriteOptions,
  ): ObjectStat {
    const present = this.store.objects.get(path)
    const { mark, attributes } = options
    if (present !== undefined && mark !== undefined && present.mark === mark) return this.#describe(present)
    this.#requireExpected(path, expected)
    const kept = this.#options.marks === false ? null : mark
    return this.#describe(this.store.put(path, data, { author: 'daemon', method, mark: kept, attributes }))
  }

  #requireExpected(path: string, expected: ExpectedVersion): void {
    if (expected === undefined) return
    const present = this.store.objects.get(path)
    if (this.store.isDirectory(path) && present === undefined) throw new StorageError('EISDIR', path)
    if ((present?.version ?? null) === expected) return
    throw new StorageError(expected === null ? 'EEXIST' : 'ESTALE', `${path}: not what was expected`)
  }

  createWriter(path: string, expected: ExpectedVersion, options: WriteOptions = {}): Promise<BackendWriter> {
    return this.#perform('createWriter', path, true, () => this.#writer(path, expected, options))
  }

  #writer(path: string, expected: ExpectedVersion, options: WriteOptions): BackendWriter {
    const parts: Buffer[] = []
    let stored: ObjectStat | null = null
    let isGone = false
    return {
      write: (data) => {
        const part = Buffer.from(data)
        return this.#perform('writer.write', path, false, () => {
          if (isGone) throw new StorageError('EIO', `${path}: the upload is gone`)
          parts.push(part)
        })
      },
      close: () =>
        this.#perform('writer.close', path, true, () => {
          if (stored !== null) {
            if (this.store.objects.get(path)?.version === stored.version) return stored
            throw this.#stale(path)
          }
          if (isGone) throw new StorageError('EIO', `${path}: the upload is gone`)
          stored = this.#put('writer.close', path, Buffer.concat(parts), expected, options)
          return stored
        }),
      abort: () =>
        this.#perform('writer.abort', path, false, () => {
          isGone = true
        }).catch(() => undefined),
    }
  }

  append(path: string, data: Uint8Array, base: AppendBase): Promise<ObjectStat> {
    const bytes = Buffer.from(data)
    return this.#perform('append', path, true, () => {
      const object = this.#require(path)
      if (object.version !== base.version || object.data.length !== base.sizeBytes) throw this.#stale(path)
      const put = { author: 'daemon', method: 'append', attributes: object.attributes } as const
      return this.#describe(this.store.put(path, Buffer.concat([object.data, bytes]), put))
    })
  }

  copy(from: string, to: string, expected: ExpectedVersion, options: CopyOptions = {}): Promise<ObjectStat> {
    return this.#perform('copy', to, true, () => {
      const { sourceVersion } = options
      const source = this.#require(from)
      if (sourceVersion !== undefined && source.version !== sourceVersion) throw this.#stale(from)
      return this.#put('copy', to, source.data, expected, options)
    })
  }

  // ---- names

  createDirectory(path: string): Promise<void> {
    return this.#perform('createDirectory', path, true, () => {
      if (this.store.objects.has(path) || this.store.isDirectory(path)) throw new StorageError('EEXIST', path)
      this.store.directories.add(path)
    })
  }

  removeDirectory(path: string): Promise<void> {
    return this.#perform('removeDirectory', path, true, () => {
      if (!this.store.isDirectory(path)) throw new StorageError('ENOENT', path)
      if (this.store.names(path).size > 0) throw new StorageError('ENOTEMPTY', path)
      this.store.directories.delete(path)
      this.store.keepParent(path)
    })
  }

  removeFile(path: string): Promise<void> {
    return this.#perform('removeFile', path, true, () => {
      this.#require(path)
      this.store.remove(path, 'daemon', 'removeFile')
    })
  }

  async rename(from: string, to: string, kind: EntryKind, options: RenameOptions = {}): Promise<void> {
    if (this.#options.renameCopies === true) return this.#renameByCopies(from, to, kind, options)
    await this.#perform('rename', `${from} -> ${to}`, true, () => {
      if (kind === 'file') this.#require(from)
      for (const [path, target] of this.#below(from, to)) this.#moveCopy(path, target, 'rename', options)
      for (const [path] of this.#below(from, to)) this.store.remove(path, 'daemon', 'rename')
      this.#moveDirectories(from, to)
    })
  }

  /** Object by object; only the version that was copied is removed. */
  async #renameByCopies(from: string, to: string, kind: EntryKind, options: RenameOptions): Promise<void> {
    if (kind === 'directory') {
      await this.#perform('rename.mark', to, true, () => this.store.directories.add(to))
    }
    const copied = new Map<string, string>()
    for (const [path, target] of kind === 'file' ? [[from, to] as const] : this.#below(from, to)) {
      await this.#perform('rename.copy', `${path} -> ${target}`, true, () => {
        const { version } = this.#require(path)
        this.#moveCopy(path, target, 'rename.copy', options)
        copied.set(path, version)
      })
    }
    for (const [path, version] of copied) {
      await this.#perform('rename.remove', path, true, () => {
        if (this.store.objects.get(path)?.version === version)
          this.store.remove(path, 'daemon', 'rename.remove')
      })
    }
    if (kind === 'directory')
      await this.#perform('rename.unmark', from, true, () => {
        this.#moveDirectories(from, to)
      })
  }

  /** What lies at or below `from`, and where it would go. */
  #below(from: string, to: string): [string, string][] {
    const paths = [...this.store.objects.keys()]
    return paths
      .filter((path) => path === from || path.startsWith(`${from}/`))
      .map((path) => [path, to + path.slice(from.length)])
  }

  #moveCopy(path: string, target: string, method: string, { moved }: RenameOptions): void {
    const object = this.#require(path)
    if (this.#options.movesChangeVersions !== true) {
      this.store.set(target, object, 'daemon', method)
      return
    }
    const { data, mark, attributes, mtime, contentsId, version, author } = object
    const put = { author, method, mark, attributes, mtime, contentsId }
    const stat = this.#describe(this.store.put(target, data, put))
    moved?.({ from: path, to: target, previousVersion: version, stat })
  }

  #moveDirectories(from: string, to: string): void {
    for (const path of [...this.store.directories]) {
      if (path !== from && !path.startsWith(`${from}/`)) continue
      this.store.directories.delete(path)
      this.store.directories.add(to + path.slice(from.length))
    }
    this.store.keepParent(from)
  }

  // ---- attributes

  setModificationTime(path: string, mtime: Timestamp): Promise<AttributesChanged> {
    return this.#perform('setModificationTime', path, true, () =>
      this.#change('setModificationTime', path, { mtime }),
    )
  }

  setAttributes(path: string, kind: EntryKind, changes: AttributeChanges): Promise<AttributesChanged> {
    return this.#perform('setAttributes', path, true, () => {
      if (kind === 'file') return this.#change('setAttributes', path, changes)
      const stat = this.#statOf(path)
      if (stat === null) throw new StorageError('ENOENT', path)
      return { previousVersion: '', stat }
    })
  }

  #change(method: string, path: string, changes: AttributeChanges): AttributesChanged {
    const object = this.#require(path)
    const { mode = null, uid = null, gid = null } = object.attributes ?? {}
    const mtime = changes.mtime ?? object.mtime
    const attributes = {
      mode: changes.mode ?? mode,
      uid: changes.uid ?? uid,
      gid: changes.gid ?? gid,
      mtime,
    }
    const { author, mark, contentsId, data, version } = object
    const put = { author, method, mark, contentsId, attributes, mtime }
    if (this.#options.movesChangeVersions !== true) {
      const changed = { ...object, attributes, mtime }
      this.store.set(path, changed, 'daemon', method)
      return { previousVersion: version, stat: this.#describe(changed) }
    }
    return { previousVersion: version, stat: this.#describe(this.store.put(path, data, put)) }
  }

  // ---- errors

  #require(path: string): StoredVersion {
    const object = this.store.objects.get(path)
    if (object === undefined) throw new StorageError('ENOENT', path)
    return object
  }

  #stale(path: string): StorageError {
    return new StorageError('ESTALE', `${path}: another version`)
  }
}

/** Nobody hears whether it could be done. */
function tryTo(effect: () => unknown): void {
  try {
    effect()
  } catch (error) {
    if (!(error instanceof StorageError)) throw error
  }
}
