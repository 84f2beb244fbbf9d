import type {
  AppendBase,
  AttributeChanges,
  AttributesChanged,
  Backend,
  BackendCapabilities,
  BackendWriter,
  CopyOptions,
  DirectoryEntry,
  DirectoryPage,
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
} from '../backend.js'
import { RESERVED_DIRECTORY } from '../backend.js'
import { Semaphore } from '../semaphore.js'
import { StorageError, toStorageError } from '../storage-error.js'
import { timestampNow } from '../timestamp.js'
import { newWriteMark, WRITE_MARK_KEY } from '../write-mark.js'
import { ConditionProbe } from './condition-probe.js'
import { DirectoryMarkers } from './directory-markers.js'
import {
  changeMetadata,
  encodeAttributes,
  storedStat,
  withAttributes,
  withMetadata,
  type Metadata,
} from './file-attributes.js'
import { DirectoryPages, isDirectory, markerKey, prefixOf } from './directory-pages.js'
import { listPageAt, listPages, type ListRequest } from './listing.js'
import type { ListedObject, ObjectClient, ObjectHead } from './object-client.js'
import { ObjectMover } from './object-mover.js'
import { DIRECTORY, SMALL_LISTING_ENTRIES, UNLIMITED_USAGE } from './object-store.js'
import { ObjectWriter } from './object-writer.js'
import { settle, type Change } from './settle.js'
import { UnlistableNames, type UnlistableListener } from './unlistable-names.js'

/** Directories that are remembered as having objects; past this many, all start anew. */
const MAX_OBJECT_DIRECTORIES = 256
/** Tries to change an object's attributes that somebody else keeps changing too. */
const CHANGE_TRIES = 5
const EMPTY = new Uint8Array(0)
/** Keys of a page that may be no entries: the directory's own marker, and the reserved directory. */
const OWN_KEYS = 2

export interface ObjectStoreOptions {
  /** Mode, owner and time are kept in the objects' metadata. */
  readonly keepsAttributes: boolean
}

/**
 * Files and directories in a store of objects under flat keys. A directory is there if an object "dir/" (its marker)
 * or any key below it is; mkdir makes the marker. Before the last key below a directory may go, the directory gets a
 * marker, so that it does not vanish with it. Where both an object "a" and keys below "a/" are, the object is seen.
 */
export class ObjectStoreBackend implements Backend {
  readonly capabilities: BackendCapabilities
  private readonly keepsAttributes: boolean
  private readonly markers = new DirectoryMarkers((path) => this.createDirectory(path))
  private readonly probe: ConditionProbe
  private readonly partBudget: Semaphore
  private readonly mover: ObjectMover
  private readonly unlistableNames = new UnlistableNames()
  /** Directories in which the last name that was looked for was an object. */
  private readonly objectDirectories = new Set<string>()
  readonly listPage?: NonNullable<Backend['listPage']>

  constructor(
    private readonly client: ObjectClient,
    { keepsAttributes }: ObjectStoreOptions,
  ) {
    const { limits } = client
    this.keepsAttributes = keepsAttributes && client.keepsMetadata
    this.probe = new ConditionProbe(client)
    this.partBudget = new Semaphore(limits.partsAtOnce)
    this.mover = new ObjectMover(client, this.probe)
    this.capabilities = {
      write: client.canWrite,
      append: false,
      copy: client.canCopy,
      setModificationTime: false,
      attributes: this.keepsAttributes,
      maxFileBytes: limits.maxObjectBytes,
      maxPathBytes: limits.maxPathBytes,
      partSizeBytes: limits.partSizeBytes,
    }
    const { pageKeys } = client
    if (pageKeys !== null)
      this.listPage = (path, token, maxEntries = Infinity) =>
        this.pageOf(path, token, maxKeysOf(Math.min(pageKeys, maxEntries + OWN_KEYS)))
  }

  accepts(path: string): boolean {
    return this.client.accepts(path)
  }

  // ---- what is there

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
  private async keysBelow(path: string, maxKeys: number): Promise<readonly ListedObject[]> {
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

  async read(path: string, offset: number, lengthBytes: number, version: string): Promise<Uint8Array> {
    return this.client.read(path, offset, lengthBytes, version)
  }

  // ---- listings

  async list(path: string): Promise<DirectoryEntry[]> {
    const entries: DirectoryEntry[] = []
    for (let token: string | null = null; ;) {
      const page = await this.pageOf(path, token, {})
      for (const entry of page.entries) entries.push(entry)
      token = page.next
      if (token === null) return entries
    }
  }

  async listSmall(path: string): Promise<DirectoryEntry[] | null> {
    const { entries, next } = await this.pageOf(path, null, { maxKeys: SMALL_LISTING_ENTRIES })
    return next === null ? [...entries] : null
  }

  private async pageOf(
    path: string,
    token: string | null,
    size: Pick<ListRequest, 'maxKeys'>,
  ): Promise<DirectoryPage> {
    const pages = new DirectoryPages(
      path,
      token,
      (object) => this.listedStat(object),
      this.keepsAttributes ? null : DIRECTORY,
    )
    const request = { prefix: prefixOf(path), isFlat: true, ...size }
    const { page, next } = await listPageAt(this.client, request, pages.listPlace)
    if (page.objects.some(({ key }) => key === markerKey(path))) this.markers.note(path)
    const added = pages.add(page, next)
    if (next === null) this.unlistableNames.note(path, pages.unlistable, pages.example)
    return added
  }

  /** What a listing tells of an object; null where it is not enough, and the object itself has to be asked. */
  private listedStat(object: ListedObject): ObjectStat | null {
    if (this.keepsAttributes) return null
    if (isDirectory(object)) return DIRECTORY
    const { sizeBytes, mtime, version } = object
    return sizeBytes === null || version === '' ? null : { kind: 'file', sizeBytes, mtime, version }
  }

  /** A listing has no metadata. */
  get listsStats(): boolean {
    return !this.keepsAttributes
  }

  // ---- what is stored

  async write(
    path: string,
    data: Uint8Array,
    expected: ExpectedVersion,
    options: WriteOptions = {},
  ): Promise<ObjectStat> {
    const metadata = this.metadataFor(options)
    const version = await this.change(path, expected, {
      relies: putCondition,
      send: (condition) => this.client.put(path, data, { condition, metadata }),
      isOurs: (head) => isMarked(head, metadata),
      isSame: (head) => this.hasContents(path, head, data),
    })
    return storedStat(data.byteLength, version, options.attributes)
  }

  /** Whether what is there is the same, where no mark tells whose it is. */
  private async hasContents(path: string, head: ObjectHead, data: Uint8Array): Promise<boolean> {
    if (head.sizeBytes !== data.byteLength) return false
    if (data.byteLength === 0) return true
    return Buffer.compare(await this.client.read(path, 0, data.byteLength, head.version), data) === 0
  }

  createWriter(path: string, expected: ExpectedVersion, options: WriteOptions = {}): Promise<BackendWriter> {
    const marked = { ...options, mark: options.mark ?? newWriteMark() }
    const metadata = this.metadataFor(marked)
    const { client } = this
    return Promise.resolve(
      new ObjectWriter({
        minPartBytes: client.limits.minPartBytes,
        budget: this.partBudget,
        begin: () => client.beginUpload(path, metadata),
        writeWhole: (data) => this.write(path, data, expected, marked),
        complete: async (upload, sizeBytes) => {
          await upload.prepare?.()
          const version = await this.change(path, expected, {
            relies: () => 'complete',
            send: (condition) => upload.complete(condition),
            isOurs: (head) => isMarked(head, metadata) ?? upload.isResult(head),
          })
          await upload.finish()
          // For the next one; it never rejects.
          if (expected !== undefined) await this.probe.of('complete')
          return storedStat(sizeBytes, version, options.attributes)
        },
      }),
    )
  }

  /** What is kept beside the contents of a file: its attributes, and whose write it is. */
  private metadataFor({ attributes, mark }: WriteOptions, others: Metadata = {}): Metadata {
    if (!this.client.keepsMetadata) return {}
    return {
      ...others,
      ...(attributes === undefined || !this.keepsAttributes ? {} : encodeAttributes(attributes, 'file')),
      [WRITE_MARK_KEY]: mark ?? newWriteMark(),
    }
  }

  private change(
    path: string,
    expected: ExpectedVersion,
    change: Omit<Change, 'path' | 'expected' | 'look'>,
  ): Promise<string> {
    return settle({ ...change, path, expected, look: () => this.client.head(path) }, this.probe)
  }

  append(path: string, _data: Uint8Array, _base: AppendBase): Promise<ObjectStat> {
    return Promise.reject(new StorageError('EOPNOTSUPP', `${path}: the store does not append`))
  }

  async copy(
    from: string,
    to: string,
    expected: ExpectedVersion,
    options: CopyOptions = {},
  ): Promise<ObjectStat> {
    const head = await this.requireHead(from)
    const { sourceVersion, attributes } = options
    if (sourceVersion !== undefined && head.version !== sourceVersion)
      throw new StorageError('ESTALE', `${from}: changed before it was copied`)
    const others = attributes === undefined ? head.metadata : {}
    const metadata = this.client.keepsMetadata ? this.metadataFor(options, others) : null
    const source = { key: from, ...head }
    const isLarge = head.sizeBytes > this.client.limits.maxCopyBytes
    const version = await this.change(to, expected, {
      relies: () => (isLarge ? 'complete' : 'copy'),
      send: (condition) => this.client.copy(source, to, { condition, metadata }),
      isOurs: (present) => (metadata === null ? null : isMarked(present, metadata) === true),
    })
    return storedStat(head.sizeBytes, version, attributes)
  }

  private async requireHead(path: string): Promise<ObjectHead> {
    const head = await this.client.head(path)
    if (head === null) throw new StorageError('ENOENT', `${path}: not there`)
    return head
  }

  // ---- directories

  /** A marker that is there already keeps what it has. */
  async createDirectory(path: string, attributes?: FileAttributes): Promise<void> {
    const hasAttributes = attributes !== undefined && this.keepsAttributes
    await this.putMarker(path, hasAttributes ? encodeAttributes(attributes, 'directory') : {})
    this.markers.note(path)
  }

  private async putMarker(path: string, metadata: Metadata): Promise<void> {
    const key = markerKey(path)
    if ((await this.probe.of('create')) !== 'server' && (await this.client.head(key)) !== null) return
    try {
      const condition = this.probe.conditions.create === 'look' ? undefined : null
      await this.client.put(key, EMPTY, { condition, metadata, isMarker: true })
    } catch (error) {
      // It is there, made by somebody else or by an earlier try.
      if (!isConflict(error)) throw error
    }
  }

  async removeDirectory(path: string): Promise<void> {
    const [first, second] = await this.keysBelow(path, 2)
    if (first !== undefined && (second !== undefined || first.key !== markerKey(path)))
      throw new StorageError('ENOTEMPTY', `${path}: there are keys below it`)
    if (first !== undefined && (await this.sizeOf(first)) !== 0)
      throw new StorageError('ENOTEMPTY', `${path}: its marker has contents of its own`)
    await this.markers.keepParent(path)
    this.markers.forget(path)
    await this.client.delete(markerKey(path))
    if ((await this.bareMarker(path)) !== null) await this.client.delete(path)
  }

  /** 0 of what is gone by now. */
  private async sizeOf({ key, sizeBytes }: ListedObject): Promise<number> {
    return sizeBytes ?? (await this.client.head(key))?.sizeBytes ?? 0
  }

  /** Another client's marker of the directory, without a "/" at its end. */
  private async bareMarker(path: string): Promise<ObjectHead | null> {
    if (this.client.hasBareMarkers !== true) return null
    const head = await this.client.head(path)
    return head?.isMarker === true ? head : null
  }

  async removeFile(path: string): Promise<void> {
    await this.markers.keepParent(path)
    await this.client.delete(path)
  }

  async rename(from: string, to: string, kind: EntryKind, options: RenameOptions = {}): Promise<void> {
    if (kind === 'file') {
      const head = await this.mover.requireFile(from)
      await this.markers.keepParent(from)
      await this.mover.moveFile(from, to, head, options)
      return
    }
    const bare = await this.bareMarker(from)
    await this.mover.requireMovable(from, to, bare !== null)
    await this.markers.keepParent(from)
    this.markers.forgetTree(from)
    if (bare !== null) await this.putMarker(to, this.keepsAttributes ? bare.metadata : {})
    await this.mover.moveTree(from, to, options)
    if (bare !== null) await this.client.delete(from)
  }

  // ---- attributes

  setModificationTime(path: string, _mtime: Timestamp): Promise<AttributesChanged> {
    return Promise.reject(new StorageError('EOPNOTSUPP', `${path}: the store keeps its own times`))
  }

  async setAttributes(path: string, kind: EntryKind, changes: AttributeChanges): Promise<AttributesChanged> {
    if (!this.keepsAttributes) throw new StorageError('EOPNOTSUPP', `${path}: the store keeps no attributes`)
    const key = kind === 'file' ? path : markerKey(path)
    for (let tries = 0; tries < CHANGE_TRIES; tries++) {
      const head = await this.client.head(key)
      if (head === null && kind === 'file') throw new StorageError('ENOENT', `${path}: not there`)
      try {
        return head === null
          ? await this.makeMarker(path, changes)
          : await this.changeMetadata(key, head, kind, changes)
      } catch (error) {
        if (!isConflict(error)) throw error
      }
    }
    throw new StorageError('EBUSY', `${path}: changed again and again meanwhile`, { retryable: true })
  }

  private async changeMetadata(
    key: string,
    head: ObjectHead,
    kind: EntryKind,
    changes: AttributeChanges,
  ): Promise<AttributesChanged> {
    const mtime = head.mtime ?? timestampNow()
    const { metadata, attributes } = changeMetadata(head.metadata, kind, changes, mtime)
    const version = await this.sendMetadata(key, head, metadata)
    const stat =
      kind === 'file'
        ? storedStat(head.sizeBytes, version, attributes)
        : withAttributes(DIRECTORY, attributes)
    return { previousVersion: head.version, stat }
  }

  /** A change whose answer was lost is done if all of it is there. */
  private async sendMetadata(key: string, head: ObjectHead, metadata: Metadata): Promise<string> {
    try {
      return await this.client.setMetadata(key, head, metadata)
    } catch (error) {
      if (toStorageError(error).outcome !== 'unknown') throw error
      const present = await this.client.head(key).catch(() => null)
      const isDone = present?.sizeBytes === head.sizeBytes && isSame(present.metadata, metadata)
      if (!isDone) throw error
      return present.version
    }
  }

  /** A directory that only the names below it made one. */
  private async makeMarker(path: string, changes: AttributeChanges): Promise<AttributesChanged> {
    const { metadata, attributes } = changeMetadata({}, 'directory', changes, timestampNow())
    const kind = await this.probe.of('create')
    const condition = kind === 'look' ? undefined : null
    await this.client.put(markerKey(path), EMPTY, { condition, metadata, isMarker: true })
    this.markers.note(path)
    return { previousVersion: '', stat: withAttributes(DIRECTORY, attributes) }
  }

  // ---- about the store

  get hasLeftovers(): boolean {
    return this.client.hasLeftovers
  }

  async removeLeftovers(): Promise<number> {
    const names: string[] = []
    for await (const { objects } of listPages(this.client, {
      prefix: prefixOf(RESERVED_DIRECTORY),
      isFlat: true,
    }))
      for (const { key } of objects) names.push(key.slice(prefixOf(RESERVED_DIRECTORY).length))
    await this.probe.removeLeft(names)
    return this.client.removeLeftovers(names)
  }

  usage(): Promise<StorageUsage> {
    return Promise.resolve(UNLIMITED_USAGE)
  }

  conditions(): StoreConditions {
    return this.probe.conditions
  }

  /** Names that listings have left out, as no file can have them. */
  get unlistable(): number {
    return this.unlistableNames.total
  }

  reportUnlistable(listener: UnlistableListener): void {
    this.unlistableNames.listener = listener
  }

  reportRetries(listener: () => void): void {
    this.client.reportRetries(listener)
  }
}

/** Infinity: as many as the server gives. */
function maxKeysOf(count: number): Pick<ListRequest, 'maxKeys'> {
  return Number.isFinite(count) ? { maxKeys: count } : {}
}

function putCondition(expected: string | null): 'create' | 'replace' {
  return expected === null ? 'create' : 'replace'
}

/** Whether an object has the mark of the write that had this metadata; null where it has none at all. */
function isMarked(head: ObjectHead, metadata: Metadata): boolean | null {
  const mark = head.metadata[WRITE_MARK_KEY]
  return mark === undefined ? null : mark === metadata[WRITE_MARK_KEY]
}

function isConflict(error: unknown): boolean {
  return error instanceof StorageError && (error.errno === 'ESTALE' || error.errno === 'EEXIST')
}

function isSame(one: Metadata, other: Metadata): boolean {
  const names = Object.keys(one)
  return names.length === Object.keys(other).length && names.every((name) => one[name] === other[name])
}
