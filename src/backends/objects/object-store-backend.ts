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
import { StorageError } from '../storage-error.js'
import { ConditionProbe } from './condition-probe.js'
import { DirectoryMarkers } from './directory-markers.js'
import { encodeAttributes, type Metadata } from './file-attributes.js'
import { DirectoryPages, isDirectory, markerKey, prefixOf } from './directory-pages.js'
import { listPageAt, listPages, type ListRequest } from './listing.js'
import { ObjectAttributes } from './object-attributes.js'
import type { ListedObject, ObjectClient, ObjectHead } from './object-client.js'
import { ObjectLookup } from './object-lookup.js'
import { ObjectMover } from './object-mover.js'
import { ObjectStorer } from './object-storer.js'
import { DIRECTORY, isConflict, SMALL_LISTING_ENTRIES, UNLIMITED_USAGE } from './object-store.js'
import { UnlistableNames, type UnlistableListener } from './unlistable-names.js'

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
  private readonly lookup: ObjectLookup
  private readonly storer: ObjectStorer
  private readonly attributes: ObjectAttributes
  private readonly mover: ObjectMover
  private readonly unlistableNames = new UnlistableNames()
  readonly listPage?: NonNullable<Backend['listPage']>

  constructor(
    private readonly client: ObjectClient,
    { keepsAttributes }: ObjectStoreOptions,
  ) {
    const { limits } = client
    this.keepsAttributes = keepsAttributes && client.keepsMetadata
    this.probe = new ConditionProbe(client)
    this.lookup = new ObjectLookup(client, this.keepsAttributes)
    this.storer = new ObjectStorer(client, this.probe, this.keepsAttributes)
    this.attributes = new ObjectAttributes(client, this.probe, this.markers)
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

  stat(path: string, kind?: EntryKind): Promise<ObjectStat | null> {
    return this.lookup.stat(path, kind)
  }

  identify(path: string): Promise<IdentifiedObject | null> {
    return this.lookup.identify(path)
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

  write(
    path: string,
    data: Uint8Array,
    expected: ExpectedVersion,
    options?: WriteOptions,
  ): Promise<ObjectStat> {
    return this.storer.write(path, data, expected, options)
  }

  createWriter(path: string, expected: ExpectedVersion, options?: WriteOptions): Promise<BackendWriter> {
    return this.storer.createWriter(path, expected, options)
  }

  copy(from: string, to: string, expected: ExpectedVersion, options?: CopyOptions): Promise<ObjectStat> {
    return this.storer.copy(from, to, expected, options)
  }

  append(path: string, _data: Uint8Array, _base: AppendBase): Promise<ObjectStat> {
    return Promise.reject(new StorageError('EOPNOTSUPP', `${path}: the store does not append`))
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
    const [first, second] = await this.lookup.keysBelow(path, 2)
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
    return this.attributes.change(path, kind, changes)
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
