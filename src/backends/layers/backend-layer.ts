/** What stands around a store is made of layers: each is a Backend over the next one, down to the store's own. */
import type {
  AppendBase,
  AttributeChanges,
  AttributesChanged,
  Backend,
  BackendCapabilities,
  BackendWriter,
  CopyOptions,
  DirectoryEntry,
  EntryKind,
  ExpectedVersion,
  FileAttributes,
  ObjectStat,
  RenameOptions,
  StorageUsage,
  StoreConditions,
  Timestamp,
  WriteOptions,
} from '../backend.js'
import { LayeredWriter, type WriterCall } from './layered-writer.js'

/** Puts something around a backend. */
export type Layer = (backend: Backend) => Backend

/** The store with these around it, the first one next to it. */
export function inLayers(store: Backend, layers: readonly Layer[]): Backend {
  return layers.reduce((backend, layer) => layer(backend), store)
}

/** The methods that ask the store; all others answer at once. */
export type BackendMethod = Exclude<
  {
    [Name in keyof Required<Backend>]: Required<Backend>[Name] extends (...args: never) => Promise<unknown>
      ? Name
      : never
  }[keyof Backend],
  undefined
>

/** A call of the store, as layers see it that treat all calls alike. */
export interface BackendCall {
  readonly method: BackendMethod
  readonly path: string
  /** Of what is read or given; 0 where there is no such thing. */
  readonly sizeBytes: number
  /** Of a read. */
  readonly offset: number
  /** Of renames and copies. */
  readonly to: string
}

function callOf(method: BackendMethod, path: string, sizeBytes = 0, offset = 0, to = ''): BackendCall {
  return { method, path, sizeBytes, offset, to }
}

/**
 * A layer that does nothing: it hands on every member. Those that do something override `around`, which all calls of the
 * store pass, or single members. What can be said without the store never passes `around`.
 */
export class BackendLayer implements Backend {
  readonly listPage?: NonNullable<Backend['listPage']>
  readonly listSmall?: NonNullable<Backend['listSmall']>
  readonly identify?: NonNullable<Backend['identify']>
  readonly keepAside?: NonNullable<Backend['keepAside']>
  readonly syncNames?: NonNullable<Backend['syncNames']>
  readonly removeLeftovers?: NonNullable<Backend['removeLeftovers']>
  readonly conditions?: () => StoreConditions
  readonly reportRetries?: (listener: () => void) => void
  readonly reportUnlistable?: NonNullable<Backend['reportUnlistable']>

  constructor(protected readonly inner: Backend) {
    // Whoever asks whether a member is there asks the store.
    if (inner.listPage !== undefined)
      this.listPage = (path, token, maxEntries) =>
        this.around(callOf('listPage', path), (store) => required(store.listPage?.(path, token, maxEntries)))
    if (inner.listSmall !== undefined)
      this.listSmall = (path) =>
        this.around(callOf('listSmall', path), (store) => required(store.listSmall?.(path)))
    if (inner.identify !== undefined)
      this.identify = (path) =>
        this.around(callOf('identify', path), (store) => required(store.identify?.(path)))
    if (inner.keepAside !== undefined)
      this.keepAside = (path, aside) =>
        this.around(callOf('keepAside', path, 0, 0, aside), (store) =>
          required(store.keepAside?.(path, aside)),
        )
    if (inner.syncNames !== undefined)
      this.syncNames = (directory) =>
        this.around(callOf('syncNames', directory ?? ''), (store) => required(store.syncNames?.(directory)))
    if (inner.removeLeftovers !== undefined)
      this.removeLeftovers = () =>
        this.around(callOf('removeLeftovers', ''), (store) => required(store.removeLeftovers?.()))
    if (inner.conditions !== undefined) this.conditions = inner.conditions.bind(inner)
    if (inner.reportRetries !== undefined) this.reportRetries = inner.reportRetries.bind(inner)
    if (inner.reportUnlistable !== undefined) this.reportUnlistable = inner.reportUnlistable.bind(inner)
  }

  /** Runs a call of the store, or fails in its place. */
  protected around<T>(_call: BackendCall, run: (store: Backend) => Promise<T>): Promise<T> {
    return run(this.inner)
  }

  /** Runs a call of an upload that `createWriter` began. Absent: uploads are handed on as they are. */
  protected aroundUpload?<T>(call: WriterCall, run: () => Promise<T>): Promise<T>

  get capabilities(): BackendCapabilities {
    return this.inner.capabilities
  }

  get listsStats(): boolean {
    return this.inner.listsStats ?? false
  }

  get readsCopies(): boolean {
    return this.inner.readsCopies ?? false
  }

  get unlistable(): number {
    return this.inner.unlistable ?? 0
  }

  get hasLeftovers(): boolean {
    return this.inner.hasLeftovers ?? false
  }

  accepts(path: string): boolean {
    return this.inner.accepts(path)
  }

  stat(path: string, kind?: EntryKind): Promise<ObjectStat | null> {
    return this.around(callOf('stat', path), (store) => store.stat(path, kind))
  }

  list(path: string): Promise<DirectoryEntry[]> {
    return this.around(callOf('list', path), (store) => store.list(path))
  }

  read(path: string, offset: number, lengthBytes: number, version: string): Promise<Uint8Array> {
    return this.around(callOf('read', path, lengthBytes, offset), (store) =>
      store.read(path, offset, lengthBytes, version),
    )
  }

  write(
    path: string,
    data: Uint8Array,
    expected: ExpectedVersion,
    options?: WriteOptions,
  ): Promise<ObjectStat> {
    return this.around(callOf('write', path, data.byteLength), (store) =>
      store.write(path, data, expected, options),
    )
  }

  async createWriter(
    path: string,
    expected: ExpectedVersion,
    options?: WriteOptions,
  ): Promise<BackendWriter> {
    const writer = await this.around(callOf('createWriter', path), (store) =>
      store.createWriter(path, expected, options),
    )
    const around = this.aroundUpload?.bind(this)
    return around === undefined ? writer : new LayeredWriter(writer, path, around)
  }

  append(path: string, data: Uint8Array, base: AppendBase): Promise<ObjectStat> {
    return this.around(callOf('append', path, data.byteLength), (store) => store.append(path, data, base))
  }

  copy(from: string, to: string, expected: ExpectedVersion, options?: CopyOptions): Promise<ObjectStat> {
    return this.around(callOf('copy', from, 0, 0, to), (store) => store.copy(from, to, expected, options))
  }

  createDirectory(path: string, attributes?: FileAttributes): Promise<void> {
    return this.around(callOf('createDirectory', path), (store) => store.createDirectory(path, attributes))
  }

  removeDirectory(path: string): Promise<void> {
    return this.around(callOf('removeDirectory', path), (store) => store.removeDirectory(path))
  }

  removeFile(path: string): Promise<void> {
    return this.around(callOf('removeFile', path), (store) => store.removeFile(path))
  }

  rename(from: string, to: string, kind: EntryKind, options?: RenameOptions): Promise<void> {
    return this.around(callOf('rename', from, 0, 0, to), (store) => store.rename(from, to, kind, options))
  }

  setModificationTime(path: string, mtime: Timestamp): Promise<AttributesChanged> {
    return this.around(callOf('setModificationTime', path), (store) => store.setModificationTime(path, mtime))
  }

  setAttributes(path: string, kind: EntryKind, changes: AttributeChanges): Promise<AttributesChanged> {
    return this.around(callOf('setAttributes', path), (store) => store.setAttributes(path, kind, changes))
  }

  usage(): Promise<StorageUsage> {
    return this.around(callOf('usage', ''), (store) => store.usage())
  }
}

/** Of a call that the store can only have where the layer has it. */
export function required<T>(answer: Promise<T> | undefined): Promise<T> {
  return answer ?? Promise.reject(new Error('the store has no such call'))
}

/** A member that is added to Backend and forgotten here would be hidden from everybody: this line does not compile then. */
type IsNever<T> = [T] extends [never] ? true : false
true satisfies IsNever<Exclude<keyof Backend, keyof BackendLayer>>
