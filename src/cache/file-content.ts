import type { ExpectedVersion, ObjectStat, WriteMark, WriteOptions } from '../backends/backend.js'
import { CircuitOpenError } from '../backends/layers/circuit.js'
import { StorageError } from '../backends/storage-error.js'
import { newWriteMark } from '../backends/write-mark.js'
import { holding, mayWaitFor } from '../observability/lock-order.js'
import { traced, tracedApart, type SpanAttributes, type SpanSubject } from '../observability/traced.js'
import { alignDown, alignUp } from './align.js'
import type { Block } from './block.js'
import type { BlockCache } from './block-cache.js'
import type { CacheCounters } from './cache-counters.js'
import { commitWhole, StreamingUpload } from './commit.js'
import { readMissing } from './content-read.js'
import type { ContentSource, ReadSink, WriteSource } from './content-source.js'
import { fetchBlocks, RANDOM_FETCH_CLASS, type Window } from './fetch.js'
import { PageTable } from './page-table.js'
import { PAGE_BYTES, slabBytes } from './slab-pool.js'
import { placeOf, stage, type Staged } from './stage.js'
import type { Staging } from './staging.js'

const NO_BLOCKS: ReadonlySet<Block> = new Set()

/** Slabs of a stream: 1 MiB, the largest request a guest sends. */
const STREAM_CLASS = 4

/** The largest class whose slab starts at `offset` and is not longer than `runBytes`; class 0 always fits. */
function classForRun(offset: number, runBytes: number, maxClass: number): number {
  let sizeClass = 0
  while (sizeClass < maxClass) {
    const bytes = slabBytes(sizeClass + 1)
    if (offset % bytes !== 0 || bytes > runBytes) break
    sizeClass++
  }
  return sizeClass
}

/**
 * The contents of one file: what the store has (the base), overlaid by the blocks in memory.
 *
 *     0 ........ baseLimit ....... size
 *     [ base shows through ][ zeros  ]     where no block is valid
 *
 * baseLimit <= base size: a file cut short and grown again shows zeros, not the old bytes. Everything here is
 * synchronous except where the store must be asked or a slab waited for.
 */
export class FileContent {
  /** The file's size as a reader sees it. */
  size: number
  /** Bytes of the stored object that still show through. */
  baseLimit: number
  /** Version of the stored object; null when nothing was stored yet. */
  version: string | null
  /** Size of the stored object. */
  storedSize: number
  /** Monotonic ms at which the store was last asked for bytes of `version`, and had them. */
  confirmedMs = -Infinity
  /** Whatever is stored by the file's name may be overwritten: it was replaced by a rename here, or a commit ended without our knowing how. */
  mayReplaceAny = false
  readonly pages = new PageTable()
  private dirtySet: Set<Block> | null = null
  blockCount = 0
  /** An upload that was started before the file was closed, because it is written in a stream. */
  upload: StreamingUpload | null = null
  isBeingRelieved = false
  /** Counts replaced bases, so that a late answer of the store for an old one is thrown away. */
  epoch = 0
  /** Monotonic ms at which the content became dirty; 0 when it is clean. */
  dirtySinceMs = 0
  /** Of the store. */
  readonly counters: CacheCounters
  private readonly streamStartBytes: number
  private committing: Promise<void> | null = null
  /** The size or the mere existence must be stored, whatever the blocks say. */
  private mustStore = false
  /** See `retire`. */
  private isRetired = false
  /** Data that was lost after a write was answered; told by the next `sync`. */
  private lostError: StorageError | null = null
  /** Counts writes and changes of size, to know whether `staged` is up to date. */
  private changes = 0
  /** The record of what is dirty on the local disk: of the state that the last close acknowledged. */
  private staged: (Staged & { readonly changes: number; isTaken: boolean }) | null = null
  /** End of the last write, and how long the run of writes up to there is. */
  private streamEnd = -1
  private streamBytes = 0

  constructor(
    readonly cache: BlockCache,
    readonly source: ContentSource,
    stored: { readonly sizeBytes: number; readonly version: string } | null,
  ) {
    this.size = stored?.sizeBytes ?? 0
    this.storedSize = this.size
    this.baseLimit = this.size
    this.version = stored?.version ?? null
    this.counters = source.account.counters
    this.streamStartBytes = StreamingUpload.startParts * source.backend.capabilities.partSizeBytes
    if (stored === null) this.setMustStore()
  }

  /** What a commit may replace: the version that this content is based on, and nothing else that came meanwhile. */
  get expected(): ExpectedVersion {
    return this.mayReplaceAny ? undefined : this.version
  }

  /** What a write that begins now takes along. */
  takeOptions(): WriteOptions {
    return { attributes: this.source.takeAttributes(), mark: this.takeMark() }
  }

  /** The first commit after a record has the record's mark: after a kill in the middle of it, it is known whether it was done. */
  private takeMark(): WriteMark {
    if (this.staged === null || this.staged.isTaken) return newWriteMark()
    this.staged.isTaken = true
    return this.staged.next
  }

  /** The file, as spans name it. */
  subject(attributes: SpanAttributes): SpanSubject {
    return this.source.account.place.subject(this.source.path, { attributes })
  }

  get dirtyBlocks(): ReadonlySet<Block> {
    return this.dirtySet ?? NO_BLOCKS
  }

  get isStored(): boolean {
    return this.version !== null
  }

  get isDirty(): boolean {
    return this.hasUnsavedData || this.source.hasUnsavedAttributes
  }

  /** The contents or the size, or that there is a file at all, are yet to be stored. */
  get hasUnsavedData(): boolean {
    return this.dirtyBlocks.size > 0 || this.mustStore || this.upload !== null
  }

  /** A commit runs or something waits for one: the content may not be dropped. */
  get isBusy(): boolean {
    return this.isDirty || this.committing !== null
  }

  private setMustStore(): void {
    this.mustStore = true
    this.becameDirty()
  }

  /** The source has unsaved attributes: the next commit stores them, with the contents or alone. */
  attributesChanged(): void {
    this.becameDirty()
  }

  /** The source's unsaved attributes were taken back. */
  attributesReverted(): void {
    if (!this.isDirty) this.becameClean()
  }

  private becameDirty(): void {
    if (this.dirtySinceMs === 0) this.dirtySinceMs = performance.now()
    this.cache.becameDirty(this)
  }

  private becameClean(): void {
    this.dirtySinceMs = 0
    this.cache.becameClean(this)
  }

  // ---- reading

  /** Push bytes [offset, end) to the sink, `end` <= size. Returns undefined when all was in memory, else a promise. */
  read(offset: number, end: number, sink: ReadSink): Promise<void> | undefined {
    const block = this.pages.get(offset)
    if (block !== undefined && end <= block.end && block.isValid(offset, end)) {
      block.isReferenced = true
      this.counters.hits++
      if (block.aheadBytes > 0) this.useAhead(block, end - offset)
      sink.push(block.slabOffsetOf(offset), end - offset)
      return undefined
    }
    if (!this.isInMemory(offset, end)) {
      this.counters.misses++
      return readMissing(this, offset, end, sink)
    }
    this.counters.hits++
    for (let position = offset; position < end;) position = this.pushPiece(position, end, sink)
    return undefined
  }

  /** Whether [offset, end) can be answered now. */
  isInMemory(offset: number, end: number): boolean {
    for (let position = offset; position < end;) {
      const pieceEnd = this.pieceEnd(position, end)
      const block = this.pages.get(position)
      if (
        block === undefined ? !this.isHole(position, pieceEnd) : !this.isPieceValid(block, position, pieceEnd)
      ) {
        return false
      }
      position = pieceEnd
    }
    return true
  }

  /** The end of the block, or of the page without one, that holds `position`; at most `end`. */
  pieceEnd(position: number, end: number): number {
    const block = this.pages.get(position)
    return Math.min(end, block === undefined ? alignDown(position, PAGE_BYTES) + PAGE_BYTES : block.end)
  }

  /** No byte of [start, end) is in the store: all zeros unless a block says otherwise. */
  isHole(start: number, end: number): boolean {
    return start >= this.baseLimit && (this.upload === null || start >= this.upload.position) && end > start
  }

  private isPieceValid(block: Block, start: number, end: number): boolean {
    if (block.isValid(start, end)) return true
    const holeStart = Math.max(start, this.baseLimit)
    if (!this.isHole(holeStart, end) || !block.isValid(start, holeStart)) return false
    // What the store does not have is zero: make it so, and keep what was written.
    this.fillGaps(block, holeStart, end, null)
    return true
  }

  /** Give the invalid bytes of [start, end) their contents: from `data`, whose first byte is file offset `start`, or zeros. */
  fillGaps(block: Block, start: number, end: number, data: Uint8Array | null): void {
    const { pool } = this.cache
    block.valid.forEachPiece(start, end, (low, high, isValid) => {
      if (isValid) return
      if (data === null) pool.zero(block.slabOffsetOf(low), high - low)
      else pool.view(block.slabOffsetOf(low), high - low).set(data.subarray(low - start, high - start))
    })
    block.markValid(start, end)
  }

  /** Push one piece that is in memory; returns its end. */
  pushPiece(position: number, end: number, sink: ReadSink): number {
    const pieceEnd = this.pieceEnd(position, end)
    const block = this.pages.get(position)
    if (block === undefined) {
      sink.pushZeros(pieceEnd - position)
    } else {
      block.isReferenced = true
      if (block.aheadBytes > 0) this.useAhead(block, pieceEnd - position)
      sink.push(block.slabOffsetOf(position), pieceEnd - position)
    }
    return pieceEnd
  }

  /** Somebody reads `lengthBytes` of what was fetched ahead. */
  private useAhead(block: Block, lengthBytes: number): void {
    const usedBytes = Math.min(block.aheadBytes, lengthBytes)
    block.aheadBytes -= usedBytes
    this.counters.readAheadUsedBytes += usedBytes
  }

  /**
   * Start reading what [start, end) lacks from the store, rounded out to slabs of at most `maxClass`; as far as slabs
   * can be had without waiting. What is in `window` may be given up.
   */
  fetch(start: number, end: number, maxClass: number, window: Window | null = null): void {
    const from = alignDown(start, Math.min(slabBytes(maxClass), slabBytes(RANDOM_FETCH_CLASS)))
    const to = Math.min(
      alignUp(end, slabBytes(Math.min(maxClass, RANDOM_FETCH_CLASS))),
      alignUp(this.baseLimit, PAGE_BYTES),
    )
    const missing: Block[] = []
    let position = from
    while (position < to) {
      const block = this.pages.get(position) ?? this.createBlock(position, to, maxClass)
      if (block === null) break
      // Behind the base there is nothing to read: a small file that was just written is complete.
      const isComplete = block.isValid(block.offset, Math.min(block.end, this.baseLimit))
      if (!isComplete && block.fetch === null) missing.push(block)
      position = block.end
    }
    fetchBlocks(this, missing, window)
  }

  /** Read ahead: like `fetch`, in slabs of a stream. */
  prefetch(start: number, end: number, window: Window): void {
    if (this.upload === null) this.fetch(start, Math.min(end, this.size), STREAM_CLASS, window)
  }

  // ---- blocks

  /** A new block at page-aligned `offset`, not past the next block or page-aligned `limit`; null when the pool gives none. */
  private createBlock(offset: number, limit: number, maxClass: number): Block | null {
    const span = Math.min(limit, offset + slabBytes(maxClass))
    const run = this.pages.nextBlockAfter(offset, span) - offset
    const block = this.cache.createBlock(this, offset, classForRun(offset, run, maxClass))
    if (block === null) return null
    this.pages.set(block)
    this.blockCount++
    return block
  }

  /** Take the block out; what it holds is gone. */
  dropBlock(block: Block): void {
    if (!block.isAlive) return
    this.removeDirtyBlock(block)
    this.cache.setHeld(block, false)
    this.pages.delete(block)
    this.blockCount--
    this.cache.free(block)
  }

  /** The cache took the block's slab for somebody else. */
  evicted(block: Block): void {
    if (!block.flushing.isEmpty && this.upload !== null) this.upload.hasEvictedData = true
    this.dropBlock(block)
    if (this.blockCount > 0) return
    this.pages.clear()
    this.source.settled()
  }

  /** Put the block on or off the evictable list, by what it holds now. */
  updateEvictable(block: Block): void {
    if (!block.isAlive) return
    // What a stream has handed over may go; what another commit has taken must stay, in case it fails.
    const isHeld = !block.dirty.isEmpty || (!block.flushing.isEmpty && this.upload === null)
    this.cache.setHeld(block, isHeld)
    if (isHeld || block.fetch !== null) this.cache.unlist(block)
    else this.cache.list(block)
  }

  markDirty(block: Block, start: number, end: number): void {
    block.dirty.add(start, end)
    this.dirtySet ??= new Set()
    if (this.dirtySet.has(block)) return
    this.dirtySet.add(block)
    this.becameDirty()
    this.updateEvictable(block)
  }

  /** Bytes [start, end) are no longer dirty. */
  private removeDirty(block: Block, start: number, end: number): void {
    block.dirty.remove(start, end)
    if (block.dirty.isEmpty) this.removeDirtyBlock(block)
    this.updateEvictable(block)
  }

  /** A clean file needs no set of none. */
  private removeDirtyBlock(block: Block): void {
    this.dirtySet?.delete(block)
    if (this.dirtySet?.size === 0) this.dirtySet = null
  }

  /** The block's dirty bytes in [start, end) are on their way to the store. */
  markFlushing(block: Block, start: number, end: number): void {
    block.dirty.forEachPiece(start, end, (low, high, isDirty) => {
      if (isDirty) block.flushing.add(low, high)
    })
    this.removeDirty(block, start, end)
  }

  /** The commit failed: what it had taken is dirty again. */
  restoreFlushing(block: Block): void {
    if (!block.isAlive) return
    for (let i = 0; i < block.flushing.count; i++) {
      this.markDirty(block, block.flushing.startOf(i), block.flushing.endOf(i))
    }
    block.flushing.clear()
    this.updateEvictable(block)
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
      this.wrote(offset, end)
      return lengthBytes
    }
    const written = this.writeWithoutWaiting(offset, offset, end, source)
    if (written === end) return lengthBytes
    return this.writeWaiting(offset, written, end, source)
  }

  /** Write from `position` on until `end` or until no slab is to be had; returns where it stopped. */
  private writeWithoutWaiting(offset: number, position: number, end: number, source: WriteSource): number {
    while (position < end) {
      const block = this.pages.get(position) ?? this.createBlockForWrite(position, end)
      if (block === null) return position
      const pieceEnd = Math.min(end, block.end)
      source.pull(position - offset, block.slabOffsetOf(position), pieceEnd - position)
      block.isReferenced = true
      block.markValid(position, pieceEnd)
      this.markDirty(block, position, pieceEnd)
      this.wrote(position, pieceEnd)
      position = pieceEnd
    }
    return position
  }

  private createBlockForWrite(position: number, end: number): Block | null {
    if (this.cache.isAtLimit(this.source.account)) return null
    const start = alignDown(position, PAGE_BYTES)
    // In a stream, slabs grow with what was already written, so that a small file wastes little and a large one has few.
    const run = Math.max(end - start, position === this.streamEnd ? this.streamBytes : 0)
    let maxClass = 0
    while (maxClass < STREAM_CLASS && slabBytes(maxClass + 1) <= run) maxClass++
    return this.createBlock(start, start + slabBytes(maxClass), maxClass)
  }

  private async writeWaiting(
    offset: number,
    position: number,
    end: number,
    source: WriteSource,
  ): Promise<number> {
    while (position < end) {
      try {
        await this.waitForRoom(position, end)
      } catch (error) {
        if (position > offset) return position - offset
        throw error
      }
      // What came before is gone: behind it this would only make a file with a hole. The next `sync` tells too.
      if (this.lostError !== null) throw this.lostError
      position = this.writeWithoutWaiting(offset, position, end, source)
    }
    return end - offset
  }

  private waitForRoom(position: number, end: number): Promise<void> {
    const about = () => this.subject({ 'ovfsd.offset': position, 'ovfsd.size': end - position })
    return traced('cache.wait', about, () => this.cache.waitForSlab(this.source.account))
  }

  private wrote(start: number, end: number): void {
    this.changes++
    if (start === this.streamEnd) {
      this.streamBytes += end - start
    } else {
      this.streamBytes = end - start
    }
    this.streamEnd = end
    if (end > this.size) this.size = end
    if (this.streamBytes >= this.streamStartBytes) this.continueStream()
  }

  /** A long run of appends to a file that the store does not have yet is uploaded while it is written. */
  private continueStream(): void {
    if (this.upload === null) {
      if (!this.isStream()) return
      this.upload = new StreamingUpload(this)
    }
    this.upload.pump()
  }

  /** Written from front to back, with nothing in the store that would have to be read. */
  private isStream(): boolean {
    const { partSizeBytes, maxFileBytes } = this.source.backend.capabilities
    return (
      // Of a file that is never longer than a part, all is stored at once.
      partSizeBytes < maxFileBytes &&
      this.streamEnd === this.size &&
      this.streamBytes === this.size &&
      this.baseLimit === 0 &&
      this.committing === null
    )
  }

  // ---- size

  /** Change the size. Waits for a running commit, whose size is fixed. */
  async truncate(size: number): Promise<void> {
    while (this.committing !== null || (this.upload !== null && size < this.upload.position)) {
      if (this.committing !== null) await this.committing.catch(() => undefined)
      else if (size === 0) await this.abortUpload()
      else await this.commit()
    }
    this.resize(size)
  }

  /** True when `truncate` would not have to wait. */
  canResizeNow(size: number): boolean {
    return this.committing === null && (this.upload === null || size >= this.upload.position)
  }

  resize(size: number): void {
    if (size < this.size) this.cut(size)
    if (size !== this.size) {
      this.size = size
      this.setMustStore()
    }
    this.changes++
    this.streamEnd = -1
  }

  private cut(size: number): void {
    this.baseLimit = Math.min(this.baseLimit, size)
    const kept = this.pages.get(size)
    if (kept !== undefined && kept.offset < size) {
      // The tail must read as zeros when the file grows again.
      this.cache.pool.zero(kept.slabOffsetOf(size), kept.end - size)
      kept.valid.add(size, kept.end)
      this.removeDirty(kept, size, kept.end)
    }
    for (const block of this.pages.blocksFrom(size)) {
      if (block.offset >= size) this.dropBlock(block)
    }
  }

  // ---- committing

  /**
   * Store everything that is dirty now. Resolves when the store has it; rejects with the store's error, and then all
   * is dirty still.
   */
  commit(): Promise<void> {
    if (!this.isBusy) return Promise.resolve()
    return traced(
      'cache.commit',
      () => this.subject({ 'ovfsd.size': this.size }),
      () => this.commitWhenFree(),
    )
  }

  private async commitWhenFree(): Promise<void> {
    // Not `commitsEnded`: its own turn of the loop would let two waiters start a commit each.
    while (this.committing !== null) await this.committing.catch(() => undefined)
    if (this.isDirty) await this.runAlone(() => this.runCommit())
  }

  /** `commit` for whoever asks how the writes before it went, as fsync and close do: data that was lost is told too, once. */
  async sync(): Promise<void> {
    await this.commit()
    const error = this.lostError
    if (error === null) return
    this.lostError = null
    throw error
  }

  /** Run `work` as the commit that is under way; the caller has seen that there is none. */
  private runAlone(work: () => Promise<void>): Promise<void> {
    mayWaitFor('commits')
    this.committing = holding('commits', work).finally(() => {
      this.committing = null
      this.source.settled()
    })
    return this.committing
  }

  /** Run `work`, beside which nothing of the file is stored. */
  async betweenCommits<T>(work: () => Promise<T>): Promise<T> {
    while (this.committing !== null) await this.committing.catch(() => undefined)
    const run = { result: undefined as T | undefined }
    await this.runAlone(async () => {
      run.result = await work()
    })
    return run.result as T
  }

  /** Resolves when no commit is under way. */
  async commitsEnded(): Promise<void> {
    while (this.committing !== null) await this.committing.catch(() => undefined)
  }

  /** An error waits to be told. */
  get hasLostData(): boolean {
    return this.lostError !== null
  }

  private async runCommit(): Promise<void> {
    if (this.upload !== null) await this.finishUpload(this.upload)
    if (this.dirtyBlocks.size > 0 || this.mustStore) await this.storeDirty()
    if (this.source.hasUnsavedAttributes) await this.storeAttributes()
    if (!this.isDirty) this.becameClean()
    await this.forgetStaged()
  }

  private async storeAttributes(): Promise<void> {
    await this.source.storeAttributes(({ previousVersion, stat }) => {
      // The contents are as they were, or somebody else's new ones; what was written here meanwhile finds out by itself.
      if (previousVersion === this.version) this.version = stat.version
      else if (this.hasUnsavedData) return
      else this.replaceBase(stat)
      this.source.noteStored(stat)
    })
  }

  private async finishUpload(upload: StreamingUpload): Promise<void> {
    try {
      const stat = await upload.finish()
      this.upload = null
      this.mustStore = false
      this.noteStored(stat)
      await this.source.committed()
    } catch (error) {
      this.upload = null
      this.uploadFailed(upload, error as StorageError)
      throw error
    }
  }

  private uploadFailed(upload: StreamingUpload, error: StorageError): void {
    this.mustStore = true
    this.noteFailure(error)
    if (!upload.hasEvictedData) return
    // Part of the data was only in the upload, which is gone. What is left would be a file with silent holes.
    this.lostError = new StorageError(
      error.errno,
      `an upload failed and its data is lost: ${error.message}`,
      {
        cause: error,
      },
    )
    this.discard()
    this.size = this.storedSize
    this.baseLimit = this.storedSize
    if (!this.isStored) this.setMustStore()
  }

  private async abortUpload(): Promise<void> {
    const upload = this.upload
    this.upload = null
    this.mustStore = true
    await upload?.abort()
  }

  private async storeDirty(): Promise<void> {
    this.mustStore = false
    try {
      await commitWhole(this)
      await this.source.committed()
    } catch (error) {
      this.mustStore = true
      this.noteFailure(error as StorageError)
      throw error
    }
  }

  /** A store that did not answer may have stored all the same: then the next commit meets its own work. */
  private noteFailure(error: StorageError): void {
    if (error instanceof CircuitOpenError) return
    if (error.retryable && error.errno !== 'ESTALE') this.mayReplaceAny = true
  }

  /** The store has the first `stat.sizeBytes` bytes as they were committed. Called while the path is held, or `upload` is set. */
  noteStored(stat: ObjectStat): void {
    this.version = stat.version
    this.mayReplaceAny = false
    this.storedSize = stat.sizeBytes
    this.baseLimit = Math.min(stat.sizeBytes, this.size)
    if (this.size !== stat.sizeBytes) this.mustStore = true
    this.source.noteStored(stat)
  }

  // ---- staging

  /**
   * What is dirty now survives this process when it resolves: on the local disk or, where that is not possible, in the
   * store. Undefined when there is nothing to be done: no local disk, or the record there is up to date.
   */
  secure(): Promise<void> | undefined {
    const { staging } = this.source.account
    if (staging === null || this.isSecure) return undefined
    return this.stageOrCommit(staging)
  }

  /** All that is dirty would survive this process. */
  get isSecure(): boolean {
    if (this.staged?.changes === this.changes) return true
    // What a commit has taken is not marked as unsaved any more, and not in the store yet.
    return !this.hasUnsavedData && this.committing === null
  }

  private async stageOrCommit(staging: Staging): Promise<void> {
    await this.commitsEnded()
    if (this.isSecure) return
    // An upload has handed over bytes that are not in memory any more.
    if (this.upload !== null || this.committing !== null) return this.commit()
    try {
      await this.runAlone(() => this.source.withPath((path) => this.stageAt(staging, path)))
    } catch {
      // The disk is full, or broken.
      await this.commit()
    }
  }

  private async stageAt(staging: Staging, path: string): Promise<void> {
    const { changes } = this
    const before = this.staged
    this.staged = { ...(await stage(this, staging, path, before?.id ?? null)), changes, isTaken: false }
    if (before !== null) await staging.forget(before.id)
  }

  /** The file is at `paths` now, or has another time or other attributes; the caller holds the path. */
  async amendStaged(paths: readonly string[]): Promise<void> {
    const { staging } = this.source.account
    if (staging === null || this.staged === null) return
    await staging.amend(this.staged.id, placeOf(this, paths, this.staged.next))
  }

  /** The content comes to its end and its record does not: the next daemon stores that. */
  leaveStaged(): void {
    if (this.staged !== null) this.source.account.staging?.leave(this.staged.id)
    this.staged = null
  }

  /** The store has what was staged, or nobody wants it any more. Never rejects. */
  async forgetStaged(): Promise<void> {
    if (this.staged === null) return
    const { id } = this.staged
    this.staged = null
    await this.source.account.staging?.forget(id)
  }

  /**
   * The pool is full, or the data is old: store what can be stored. An open file that is written in a stream goes on
   * streaming, or each commit would send it again from its beginning; nothing more is to come for a closed one. An upload
   * that has failed is ended, so that its writer need not wait for room that nobody makes.
   */
  relieve(): Promise<void> {
    return tracedApart(
      'cache.writeback',
      () => this.subject({ 'ovfsd.size': this.size }),
      () => this.makeRoom(),
    )
  }

  private async makeRoom(): Promise<void> {
    this.isBeingRelieved = true
    try {
      const progressed = this.source.isOpen && (await this.streamOn())
      if (!progressed && this.isDirty) await this.commit()
    } finally {
      this.isBeingRelieved = false
    }
  }

  /** True when a stream has handed something over to its upload. */
  private async streamOn(): Promise<boolean> {
    if (this.committing !== null) return false
    if (this.upload === null && this.isStream()) this.upload = new StreamingUpload(this)
    return this.upload !== null && (await this.upload.pumpAll())
  }

  // ---- the store's side changed

  /** The store has another version now. Only for a clean content. */
  replaceBase(stat: { readonly sizeBytes: number; readonly version: string }): void {
    this.dropAllBlocks()
    this.epoch++
    this.size = stat.sizeBytes
    this.storedSize = stat.sizeBytes
    this.baseLimit = stat.sizeBytes
    this.version = stat.version
    this.confirmedMs = -Infinity
    this.streamEnd = -1
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
      this.dropBlock(block)
    }
    if (isClean) {
      this.pages.clear()
      this.epoch++
    }
    return bytes
  }

  /** Nothing but a copy of the stored bytes, and nobody waits for it or is storing it. */
  private isSpare(block: Block): boolean {
    return block.isListed && block.pins === 0 && block.flushing.isEmpty
  }

  /**
   * Replace the contents by what `copy` makes the store put at the file's path; no commit runs beside it. `copy` tells
   * its outcome to `adopt` while it holds the path.
   */
  async replaceByCopy(copy: (adopt: (stat: ObjectStat) => void) => Promise<void>): Promise<void> {
    while (this.committing !== null) await this.committing.catch(() => undefined)
    await this.runAlone(async () => {
      await copy((stat) => {
        this.discardData()
        this.replaceBase(stat)
        this.noteStored(stat)
      })
      await this.source.committed()
    })
  }

  /** Forget what is not stored and show what is. */
  revert(): void {
    this.discard()
    if (this.version !== null) this.replaceBase({ sizeBytes: this.storedSize, version: this.version })
  }

  /** Forget everything that is not stored: the file was unlinked, or its data can never be stored. */
  discard(): void {
    this.source.discardAttributes()
    this.discardData()
  }

  /** Forget everything: nobody can ask for it any more. */
  retire(): void {
    this.isRetired = true
    this.discard()
  }

  /** A read has ended. What it has brought after `retire` is of no use to anybody. */
  readEnded(): void {
    if (!this.isRetired) return
    for (const block of this.pages.blocksFrom(0)) if (block.pins === 0) this.dropBlock(block)
  }

  private discardData(): void {
    void this.forgetStaged()
    this.dropAllBlocks()
    this.epoch++
    this.mustStore = false
    if (this.upload !== null) void this.abortUpload()
    this.mustStore = false
    if (!this.isDirty) this.becameClean()
  }

  /** Discard, and wait until nothing of this content is on its way to the store any more. */
  async cancel(): Promise<void> {
    this.discard()
    while (this.committing !== null) {
      await this.committing.catch(() => undefined)
      this.discard()
    }
  }

  dropAllBlocks(): void {
    for (const block of this.pages.blocksFrom(0)) this.dropBlock(block)
    this.pages.clear()
  }
}
