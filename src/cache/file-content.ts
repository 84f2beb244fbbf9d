import type { WriteOptions } from '../backends/backend.js'
import type { StorageError } from '../backends/storage-error.js'
import type { SpanAttributes, SpanSubject } from '../observability/traced.js'
import type { Block } from './block.js'
import type { BlockCache } from './block-cache.js'
import { BlockMap } from './block-map.js'
import type { CacheCounters } from './cache-counters.js'
import { Committer } from './committer.js'
import { ContentReader } from './content-reader.js'
import type { ContentSource, ReadSink, WriteSource } from './content-source.js'
import { ContentWriter } from './content-writer.js'
import { ErrorSequence, type ErrorObserver } from './error-sequence.js'
import type { PageTable } from './page-table.js'
import { StagedCopy } from './staged-copy.js'
import { StoredBase, type Attempt, type StoredObject } from './stored-base.js'
import { StreamingUpload } from './streaming-upload.js'
import type { Upload } from './upload.js'
import { WriteBack } from './write-back.js'

/**
 * The contents of one file: what the store has (the base), overlaid by the blocks in memory.
 *
 *     0 ........ base.limit ....... size
 *     [ base shows through ][ zeros  ]     where no block is valid
 *
 * base.limit <= base size: a file cut short and grown again shows zeros, not the old bytes. Everything here is
 * synchronous except where the store must be asked or a slab waited for.
 */
export class FileContent {
  /** The file's size as a reader sees it. */
  size: number
  readonly base: StoredBase
  readonly blocks: BlockMap
  /** Of `blocks`: a hit needs nothing else. */
  readonly pages: PageTable
  readonly committer: Committer
  private background: WriteBack | null = null
  readonly reader: ContentReader
  readonly writer: ContentWriter
  readonly staged: StagedCopy
  /** What was lost of the file, for those who had it open. */
  readonly errors = new ErrorSequence()
  /** Monotonic ms at which the store was last asked for bytes of the base's version, and had them. */
  confirmedMs = -Infinity
  /** Counts replaced bases, so that a late answer of the store for an old one is thrown away. */
  generation = 0
  /** Of the store. */
  readonly counters: CacheCounters
  readonly streamStartBytes: number
  /** See `retire`. */
  private isRetired = false

  constructor(
    readonly cache: BlockCache,
    readonly source: ContentSource,
    stored: StoredObject | null,
  ) {
    this.counters = source.account.counters
    this.size = stored?.sizeBytes ?? 0
    this.base = new StoredBase(stored)
    this.blocks = new BlockMap(this)
    this.pages = this.blocks.pages
    this.committer = new Committer(this)
    this.reader = new ContentReader(this)
    this.writer = new ContentWriter(this)
    this.staged = new StagedCopy(this)
    this.streamStartBytes = StreamingUpload.startParts * source.backend.capabilities.partSizeBytes
    if (stored === null) this.committer.setMustStore()
  }

  /** Version of the stored object; null when nothing was stored yet. */
  get version(): string | null {
    return this.base.version
  }

  /** Bytes of the stored object that still show through. */
  get baseLimit(): number {
    return this.base.limit
  }

  /** Size of the stored object. */
  get storedSize(): number {
    return this.base.sizeBytes
  }

  get isStored(): boolean {
    return this.base.isStored
  }

  /** What a write of the contents takes along. */
  writeOptions({ mark }: Attempt): WriteOptions {
    return { attributes: this.source.takeAttributes(), mark }
  }

  /** The file, as spans name it. */
  subject(attributes: SpanAttributes): SpanSubject {
    return this.source.account.place.subject(this.source.path, { attributes })
  }

  /** An upload that has begun and is not visible yet. */
  get upload(): Upload | null {
    return this.committer.upload
  }

  get isDirty(): boolean {
    return this.committer.isDirty
  }

  /** The contents or the size, or that there is a file at all, are yet to be stored. */
  get hasUnsavedData(): boolean {
    return this.committer.hasUnsavedData
  }

  /** A commit runs or something waits for one: the content may not be dropped. */
  get isBusy(): boolean {
    const { committer, source } = this
    if (committer.isClean) return false
    if (committer.isDirty || committer.isRunning) return true
    // A new file whose data was lost is known to nobody but those who have it open.
    return committer.isLost && !this.base.isStored && source.isOpen
  }

  /** What is stored, if anything is, may be a write of ours that got no answer. */
  get isUncertain(): boolean {
    return this.committer.isUncertain
  }

  /** Monotonic ms at which the content became dirty; 0 when it is clean. */
  get dirtySinceMs(): number {
    return this.committer.sinceMs
  }

  get isBeingWrittenBack(): boolean {
    return this.background?.isRunning === true
  }

  /** Why nothing can be read or written here any more: a conflict or the file's removal has ended this content. */
  get failure(): StorageError | null {
    return this.committer.failure
  }

  /** ESTALE after a conflict or the file's removal. */
  requireAlive(): void {
    const { failure } = this
    if (failure !== null) throw failure
  }

  /** The source has unsaved attributes: the next commit stores them, with the contents or alone. */
  attributesChanged(): void {
    this.committer.becameDirty()
  }

  /** The source's unsaved attributes were taken back. */
  attributesReverted(): void {
    this.committer.reverted()
  }

  // ---- reading

  /** See `ContentReader.read`. */
  read(offset: number, end: number, sink: ReadSink, wantedEnd = end): Promise<void> | undefined {
    return this.reader.read(offset, end, sink, wantedEnd)
  }

  /** A read has ended. What it has brought after `retire` is of no use to anybody. */
  readEnded(): void {
    if (!this.isRetired) return
    for (const block of this.pages.blocksFrom(0)) if (block.pins === 0) this.blocks.drop(block)
  }

  /** The cache took the block's slab for somebody else. */
  evicted(block: Block): void {
    const { upload } = this
    if (!block.flushing.isEmpty && upload !== null) upload.hasEvictedData = true
    this.blocks.drop(block)
    if (this.blocks.count > 0) return
    this.pages.clear()
    this.source.settled()
  }

  // ---- writing

  /**
   * Write `lengthBytes` (> 0) from the source at `offset`. Returns the bytes written, at once when slabs were at hand.
   */
  write(offset: number, lengthBytes: number, source: WriteSource): number | Promise<number> {
    const end = offset + lengthBytes
    const block = this.pages.get(offset)
    if (block !== undefined && end <= block.end && block.dirty.covers(offset, end)) {
      source.pull(0, block.slabOffsetOf(offset), lengthBytes)
      this.writer.wrote(offset, end)
      return lengthBytes
    }
    const written = this.writer.writeNow(offset, offset, end, source)
    if (written === end) return lengthBytes
    return this.writer.writeWaiting(offset, written, end, source)
  }

  markDirty(block: Block, start: number, end: number): void {
    if (!this.blocks.markDirty(block, start, end)) return
    this.committer.becameDirty()
    this.blocks.updateEvictable(block)
  }

  /** The commit failed: what it had taken is dirty again. */
  restoreFlushing(block: Block): void {
    if (!block.isAlive) return
    for (let i = 0; i < block.flushing.count; i++) {
      this.markDirty(block, block.flushing.startOf(i), block.flushing.endOf(i))
    }
    block.flushing.clear()
    this.blocks.updateEvictable(block)
  }

  // ---- size

  /** At once: see `canResizeNow`. */
  resize(size: number): void {
    this.requireAlive()
    if (size < this.size) {
      this.base.cut(size)
      this.committer.cut(size)
      this.blocks.cut(size)
    }
    // After a loss a new file is there again only when somebody asks for it.
    if (size !== this.size || (this.committer.isLost && !this.base.isStored)) {
      this.size = size
      this.committer.setMustStore()
    }
    this.writer.breakStream()
  }

  // ---- committing

  /**
   * Store everything that is dirty now. Resolves when the store has it; rejects with the store's error, and then all
   * is dirty still, unless it is lost.
   */
  commit(): Promise<void> {
    return this.committer.commit()
  }

  /** `commit` for a handle that asks how the writes before went, as fsync and close do: what was lost since is told too, once. */
  async sync(observer: ErrorObserver): Promise<void> {
    this.requireAlive()
    try {
      await this.commit()
    } catch (error) {
      // It tells of what was lost by it, too.
      this.errors.take(observer)
      throw error
    }
    this.requireAlive()
    const error = this.errors.take(observer)
    if (error !== null) throw error
  }

  /** There is something to be told to the handle, though nothing may be left to be stored. */
  hasErrorFor(observer: ErrorObserver): boolean {
    return this.errors.hasNewFor(observer) || this.failure !== null
  }

  /** Acknowledged data is gone: whoever has the file open is told once, and so is the operator. */
  noteLoss(error: StorageError): void {
    this.errors.add(error)
    const { account, path } = this.source
    account.losses.note({ path, kind: 'lost', error, keptAs: null })
  }

  /** All that was lost is what there was: a new file that is not stored, not even empty. */
  get isLost(): boolean {
    return this.committer.isLost
  }

  /** Made when it is first needed: most files are only read. */
  get writeBack(): WriteBack {
    this.background ??= new WriteBack(this)
    return this.background
  }

  // ---- the store's side changed

  /** The store has another version now. Only for a clean content. */
  replaceBase(stored: StoredObject): void {
    this.blocks.dropAll()
    this.generation++
    this.size = stored.sizeBytes
    this.base.replace(stored)
    this.confirmedMs = -Infinity
    this.writer.breakStream()
  }

  /** The store gave bytes of `version`, which it was asked for at `askedMs`. */
  confirm(version: string, askedMs: number): void {
    if (version !== this.version || this.source.backend.readsCopies === true) return
    this.confirmedMs = Math.max(this.confirmedMs, askedMs)
  }

  /**
   * Forget what the store can tell again; what it does not have yet stays. A reader asks the store for what it lacks, and the
   * guest's kernel keeps no pages over the next open. Returns the bytes of memory that were given back.
   */
  forgetStored(): number {
    let bytes = 0
    const isClean = !this.isBusy
    for (const block of this.pages.blocksFrom(0)) {
      if (!isClean && !this.isSpare(block)) continue
      bytes += block.sizeBytes
      this.blocks.drop(block)
    }
    if (isClean) {
      this.pages.clear()
      this.generation++
    }
    return bytes
  }

  /** Nothing but a copy of the stored bytes, and nobody waits for it or is storing it. */
  private isSpare(block: Block): boolean {
    return block.isListed && block.pins === 0 && block.flushing.isEmpty
  }

  /** Forget what is not stored and show what is. */
  revert(): void {
    this.discard()
    if (this.version !== null) this.replaceBase({ sizeBytes: this.storedSize, version: this.version })
  }

  /** Forget everything that is not stored: it can never be. */
  discard(): void {
    this.source.discardAttributes()
    this.discardData()
  }

  /** Forget everything: nobody can ask for it any more. */
  retire(): void {
    this.isRetired = true
    this.discard()
  }

  discardData(): void {
    void this.staged.forget()
    this.blocks.dropAll()
    this.generation++
    this.committer.discard()
  }

  /** The file was removed: nothing of it is stored any more, and who waits to change it gets ESTALE. `commitsEnded` waits for what is on its way to the store. */
  removed(): void {
    this.discard()
    this.committer.removed()
  }
}
