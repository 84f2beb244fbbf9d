import type { IdentifiedObject, ObjectStat, WriteOptions } from '../backends/backend.js'
import { StorageError } from '../backends/storage-error.js'
import { newWriteMark } from '../backends/write-mark.js'
import { holding, mayWaitFor } from '../observability/lock-order.js'
import { traced, tracedApart } from '../observability/traced.js'
import { commitWhole } from './commit.js'
import { keepConflict } from './conflicts.js'
import type { FileContent } from './file-content.js'
import { StreamingUpload } from './streaming-upload.js'
import type { Attempt } from './stored-base.js'
import { isConflict, type Upload } from './upload.js'

/** Nothing is to be stored. */
interface Clean {
  readonly kind: 'clean'
}

/** Something is to be stored, and nothing of it is on its way. */
interface Dirty {
  readonly kind: 'dirty'
  /** Monotonic ms. */
  readonly sinceMs: number
}

/** An upload has taken something, and nothing is visible of it yet. */
interface Streaming {
  readonly kind: 'streaming'
  readonly sinceMs: number
  readonly upload: Upload
}

/** The store did not answer: it may have any of `attempts`, or the object of `upload`, or get it yet. */
interface Unknown {
  readonly kind: 'unknown'
  readonly sinceMs: number
  readonly attempts: readonly Attempt[]
  readonly upload: Upload | null
}

/** Acknowledged data is gone, and nothing was written since. */
interface Lost {
  readonly kind: 'lost'
  readonly error: StorageError
}

/** Somebody else's version is stored, and this content has come to its end: handles that it has get `error`. */
interface Conflict {
  readonly kind: 'conflict'
  readonly error: StorageError
}

/** The file is gone, and what was to be stored of it with it: whoever waits to change it still gets `error`. */
interface Removed {
  readonly kind: 'removed'
  readonly error: StorageError
}

type Resting = Clean | Dirty | Streaming | Unknown | Lost | Conflict | Removed

/** Something that no other commit runs beside. */
interface Committing {
  readonly kind: 'committing'
  /** What it began with, and what it has come to by now. */
  resting: Resting
  ended: Promise<void>
}

export type CommitState = Resting | Committing

const CLEAN: Clean = { kind: 'clean' }
const NOTHING = Promise.resolve()
const NO_ATTEMPTS: readonly Attempt[] = []
/** A conflict that turns out to be our own work is tried again with what was written since; more often, something is wrong. */
const MAX_OWN_CONFLICTS = 3

/** Brings a file's changes to its store. ARCHITECTURE draws the states. */
export class Committer {
  private state: CommitState = CLEAN
  /** The size or the mere existence must be stored, whatever the blocks say. */
  private mustStore = false
  isBeingRelieved = false
  /** The writer's changes when the cleaner looked last, and the monotonic ms since when they are the same. */
  private seenChanges = -1
  private seenMs = 0

  constructor(private readonly content: FileContent) {}

  private get resting(): Resting {
    return this.state.kind === 'committing' ? this.state.resting : this.state
  }

  private set resting(resting: Resting) {
    // Nothing comes after it, whatever a commit that was under way ends with.
    if (this.resting.kind === 'removed') return
    if (this.state.kind === 'committing') this.state.resting = resting
    else this.state = resting
  }

  get kind(): CommitState['kind'] {
    return this.state.kind
  }

  /** Something runs that no commit may run beside. */
  get isRunning(): boolean {
    return this.state.kind === 'committing'
  }

  get upload(): Upload | null {
    const { resting } = this
    return resting.kind === 'streaming' || resting.kind === 'unknown' ? resting.upload : null
  }

  private get attempts(): readonly Attempt[] {
    const { resting } = this
    return resting.kind === 'unknown' ? resting.attempts : NO_ATTEMPTS
  }

  /** The marks of writes that may have been done. */
  get marks(): readonly string[] {
    const marks = this.attempts.map(({ mark }) => mark)
    return this.resting.kind === 'unknown' && this.upload !== null
      ? [...marks, this.upload.attempt.mark]
      : marks
  }

  /** Monotonic ms since when something is to be stored; 0: nothing is. */
  get sinceMs(): number {
    const { resting } = this
    return 'sinceMs' in resting ? resting.sinceMs : 0
  }

  /** Why nothing can be done with this content any more. */
  get failure(): StorageError | null {
    const { resting } = this
    return resting.kind === 'conflict' || resting.kind === 'removed' ? resting.error : null
  }

  /** Nothing is to be stored, nothing runs, and nothing has gone wrong: what most files are, most of the time. */
  get isClean(): boolean {
    return this.state === CLEAN
  }

  get hasUnsavedData(): boolean {
    if (this.resting.kind === 'removed') return false
    return this.content.blocks.dirty.size > 0 || this.mustStore || this.upload !== null
  }

  get isDirty(): boolean {
    if (this.isClean) return false
    return this.hasUnsavedData || this.content.source.hasUnsavedAttributes
  }

  /** Something got no answer: the store may have it, or get it yet. */
  get isUncertain(): boolean {
    return this.resting.kind === 'unknown'
  }

  /** A new file that lost its data and got no other since: it is not stored, not even empty. */
  get isLost(): boolean {
    return this.resting.kind === 'lost'
  }

  // ---- what the guest does

  /** ESTALE after a conflict or the file's removal. After a loss, the error where writing at `position` would make a file with a hole. */
  requireWritable(position: number): void {
    const { resting } = this
    const isOver = resting.kind === 'conflict' || resting.kind === 'removed'
    if (isOver || (resting.kind === 'lost' && position > this.content.size)) throw resting.error
  }

  setMustStore(): void {
    this.mustStore = true
    this.becameDirty()
  }

  becameDirty(): void {
    const { resting } = this
    if (resting.kind === 'conflict' || resting.kind === 'removed') return
    if (resting.kind === 'lost' && !this.content.base.isStored) this.mustStore = true
    if (!('sinceMs' in resting)) this.resting = { kind: 'dirty', sinceMs: performance.now() }
    this.content.cache.becameDirty(this.content)
  }

  /** Something that was to be stored was taken back. */
  reverted(): void {
    if (!this.isDirty) this.becameClean()
  }

  private becameClean(): void {
    if ('sinceMs' in this.resting) this.resting = CLEAN
    this.content.cache.becameClean(this.content)
  }

  /** The file was cut: less shows through of what may be stored. */
  cut(size: number): void {
    for (const attempt of this.attempts) attempt.limit = Math.min(attempt.limit, size)
    const { upload } = this
    if (upload?.isClosing === true) upload.attempt.limit = Math.min(upload.attempt.limit, size)
  }

  // ---- one after the other

  /** Run `work` as the commit that is under way; the caller has seen in this turn that there is none. */
  runAlone(work: () => Promise<void>): Promise<void> {
    const { resting } = this
    if (this.state.kind === 'committing') throw new Error('two commits of one file at once')
    mayWaitFor('commits')
    const committing: Committing = { kind: 'committing', resting, ended: NOTHING }
    this.state = committing
    committing.ended = holding('commits', work).finally(() => {
      this.state = this.resting
      this.content.source.settled()
    })
    return committing.ended
  }

  /** Run `work`, beside which nothing of the file is stored. */
  async betweenCommits<T>(work: () => Promise<T>): Promise<T> {
    const run = { result: undefined as T | undefined }
    await this.runNext(async () => {
      run.result = await work()
    })
    return run.result as T
  }

  /** Not by `ended`: its own turn of the loop would let two that wait begin at once. */
  private async runNext(work: () => Promise<void>): Promise<void> {
    while (this.state.kind === 'committing') await this.state.ended.catch(() => undefined)
    await this.runAlone(work)
  }

  /** Resolves when nothing runs. */
  async ended(): Promise<void> {
    while (this.state.kind === 'committing') await this.state.ended.catch(() => undefined)
  }

  commit(): Promise<void> {
    if (!this.isDirty && !this.isRunning) return Promise.resolve()
    return traced(
      'cache.commit',
      () => this.content.subject({ 'ovfsd.size': this.content.size }),
      () => this.commitWhenFree(),
    )
  }

  private async commitWhenFree(): Promise<void> {
    // As `runNext`, which would begin one though the one before has stored everything.
    while (this.state.kind === 'committing') await this.state.ended.catch(() => undefined)
    if (!this.isDirty) return
    try {
      await this.runAlone(() => this.runCommit())
    } catch (error) {
      // Of a file that was removed meanwhile there is nothing to be stored.
      if (this.resting.kind !== 'removed') throw error
    }
  }

  private async runCommit(): Promise<void> {
    await this.recogniseAlone()
    const { upload } = this
    if (upload instanceof StreamingUpload && this.mayBeginAnew(upload)) await this.giveUp(upload)
    else if (upload !== null) await this.finishUpload(upload)
    if (this.content.blocks.dirty.size > 0 || this.mustStore) await this.storeDirty()
    if (this.content.source.hasUnsavedAttributes) await this.storeAttributes()
    if (!this.isDirty) this.becameClean()
    await this.content.staged.forget()
  }

  /** What a stream had taken before it failed is in memory still, and nothing of it can be in the store: nobody need hear of it. */
  private mayBeginAnew(upload: StreamingUpload): boolean {
    return (
      upload.hasFailed && !upload.canResume && !upload.hasEvictedData && this.resting.kind === 'streaming'
    )
  }

  private async storeAttributes(): Promise<void> {
    const { content } = this
    await content.source.storeAttributes(({ previousVersion, stat }) => {
      // The contents are as they were, or somebody else's new ones; what was written here meanwhile finds out by itself.
      if (!content.base.renew(previousVersion, stat.version)) {
        if (this.hasUnsavedData) return
        content.replaceBase(stat)
      }
      content.source.noteStored(stat)
    })
  }

  // ---- storing all at once

  private async storeDirty(): Promise<void> {
    const { content } = this
    for (let tries = 1; content.blocks.dirty.size > 0 || this.mustStore; tries++) {
      const attempt = this.nextAttempt()
      try {
        await this.storeOnce(attempt)
      } catch (error) {
        if (!isConflict(error)) throw error
        await this.requireOwn([...this.attempts, attempt], error, tries)
        continue
      }
      await content.source.committed()
      return
    }
  }

  private async storeOnce(attempt: Attempt): Promise<void> {
    this.mustStore = false
    try {
      if ((await commitWhole(this.content, attempt)) === null) return
    } catch (error) {
      this.mustStore = true
      throw error
    }
    throw this.upload === null ? new StorageError('EIO', 'no upload is left') : errorOf(this.upload)
  }

  /** A write's mark, and what it contains; another one than before only where the contents are others. */
  private nextAttempt(): Attempt {
    const { writer, staged, size } = this.content
    const last = this.attempts.at(-1)
    if (last?.changes === writer.changes && last.sizeBytes === size) return last
    return { mark: staged.takeMark(), sizeBytes: size, limit: size, changes: writer.changes }
  }

  /** A call that was to store `attempt` has failed. Called while the path is held. */
  noteFailed(attempt: Attempt, error: unknown): void {
    if (error instanceof StorageError && error.outcome === 'unknown') this.addUnknown(attempt)
  }

  private addUnknown(attempt: Attempt): void {
    const attempts = this.attempts.includes(attempt) ? this.attempts : [...this.attempts, attempt]
    this.resting = { kind: 'unknown', sinceMs: this.sinceNow(), attempts, upload: this.upload }
  }

  private sinceNow(): number {
    const { sinceMs } = this
    return sinceMs === 0 ? performance.now() : sinceMs
  }

  /** The store has the object as `stat` says; of it shows through what is below `limit`. Called while the path is held. */
  noteStored(stat: ObjectStat, limit: number): void {
    const { content } = this
    content.base.written(stat, Math.min(limit, content.size))
    this.forgetAttempts()
    this.mustStore = content.size !== stat.sizeBytes
    content.source.noteStored(stat)
  }

  /** None of them can be done any more: what they were to replace is not there. */
  private forgetAttempts(): void {
    const { resting } = this
    if (resting.kind === 'unknown')
      this.resting =
        resting.upload === null
          ? { kind: 'dirty', sinceMs: resting.sinceMs }
          : { kind: 'streaming', sinceMs: resting.sinceMs, upload: resting.upload }
  }

  // ---- whose version is stored

  /** Find out whether what got no answer was done; then what it has made is the base. An upload tells when it is ended once more. */
  async recognise(): Promise<void> {
    await this.runNext(() => (this.isUncertain ? this.recogniseNow() : NOTHING))
  }

  private async recogniseNow(): Promise<void> {
    await this.recogniseAlone()
    const { upload } = this
    if (this.isUncertain && upload?.isClosing === true) await this.finishUpload(upload)
    await this.whenStored()
  }

  /** What is stored is not kept on the local disk. */
  private async whenStored(): Promise<void> {
    if (this.isDirty) return
    this.becameClean()
    await this.content.staged.forget()
  }

  private async recogniseAlone(): Promise<void> {
    const { attempts } = this
    if (attempts.length > 0 && this.content.source.backend.identify !== undefined)
      await this.findOwn(attempts)
  }

  /** What is stored, where it is none of `attempts`; else that attempt was done, and `undefined` is returned. */
  private async findOwn(attempts: readonly Attempt[]): Promise<IdentifiedObject | null | undefined> {
    const { source } = this.content
    return source.withPath(async (path) => {
      const found = await this.identify(path)
      const own = attempts.find(({ mark }) => mark === found?.mark)
      if (found === null || own === undefined) return found
      this.adoptOwn(own, found.stat)
      return undefined
    })
  }

  private async identify(path: string): Promise<IdentifiedObject | null> {
    const { backend } = this.content.source
    if (backend.identify !== undefined) return backend.identify(path)
    const stat = await backend.stat(path, 'file')
    return stat === null ? null : { stat, mark: null }
  }

  private adoptOwn(attempt: Attempt, stat: ObjectStat): void {
    const { blocks, writer } = this.content
    // Else what was written since is dirty, and so is what the store has of it.
    if (attempt.changes === writer.changes) blocks.clearDirty()
    this.noteStored(stat, attempt.limit)
  }

  /** Returns where the store has refused a write since it has one of `attempts`; else the conflict is real, or is taken for a failure. */
  private async requireOwn(attempts: readonly Attempt[], error: StorageError, tries = 1): Promise<void> {
    const found = await this.findOwn(attempts)
    if (found === undefined && tries < MAX_OWN_CONFLICTS) return
    const { base } = this.content
    if (found !== undefined && (found?.stat.version ?? null) !== base.expected)
      return this.endInConflict(error)
    throw new StorageError('EIO', `what was to be replaced is there: ${error.message}`, {
      retryable: true,
      cause: error,
    })
  }

  /** Theirs stays; the guest's version is kept elsewhere, and its handles are told. Rejects with `error`. */
  private async endInConflict(error: StorageError): Promise<never> {
    const { content } = this
    const { source } = content
    const { path } = source
    const { upload } = this
    if (this.resting.kind === 'removed') throw error
    this.resting = { kind: 'conflict', error: staleError(error) }
    let keptAs: string | null = null
    try {
      if (upload !== null) await this.abandon(upload)
      if (upload?.hasEvictedData !== true) keptAs = await keepConflict(content, error)
    } catch (failure) {
      error = new StorageError(error.errno, `${error.message}; it could not be kept: ${String(failure)}`, {
        cause: failure,
      })
    }
    content.discard()
    content.size = 0
    source.account.losses.note({ path, kind: 'conflict', error, keptAs })
    source.conflicted()
    throw error
  }

  // ---- uploads that outlive a call

  /** A long run of appends to a file that the store does not have yet is uploaded while it is written. */
  continueStream(): void {
    let { upload } = this
    if (upload === null) {
      if (!this.canStream()) return
      upload = this.startStream()
    }
    if (upload instanceof StreamingUpload) upload.pump()
  }

  /** Written from front to back, with nothing in the store that would have to be read. */
  private canStream(): boolean {
    const { content } = this
    const { partSizeBytes, maxFileBytes } = content.source.backend.capabilities
    return (
      // Of a file that is never longer than a part, all is stored at once.
      partSizeBytes < maxFileBytes &&
      content.writer.isFrontToBack &&
      content.base.limit === 0 &&
      // Neither beside a commit, nor before it is known what it would replace.
      this.state.kind === 'dirty'
    )
  }

  private startStream(): StreamingUpload {
    const attempt = { mark: newWriteMark(), sizeBytes: 0, limit: 0, changes: -1 }
    const upload = new StreamingUpload(this.content, attempt)
    this.resting = { kind: 'streaming', sinceMs: this.sinceNow(), upload }
    return upload
  }

  private async finishUpload(upload: Upload): Promise<void> {
    let stat: ObjectStat
    try {
      stat = await upload.finish()
    } catch (error) {
      await this.finishFailed(upload, error as StorageError)
      await this.content.source.committed()
      return
    }
    await this.content.source.withPath(() => {
      this.uploadDone(upload, stat)
      return Promise.resolve()
    })
    await this.content.source.committed()
  }

  private uploadDone(upload: Upload, stat: ObjectStat): void {
    this.dropUpload()
    upload.succeeded()
    this.noteStored(stat, upload.attempt.limit)
  }

  /** Returns where the upload turns out to have been done all the same. */
  private async finishFailed(upload: Upload, error: StorageError): Promise<void> {
    // Removed meanwhile, and its upload ended with it: nothing is lost.
    if (this.resting.kind === 'removed') throw error
    const wasUnknown = this.resting.kind === 'unknown'
    if (!upload.isOver) {
      this.keepUpload(upload, error)
      throw error
    }
    if (!isConflict(error) && !wasUnknown) return this.uploadFailed(upload, error)
    const { source } = this.content
    const found = await source.withPath(async (path) => {
      const there = await this.identify(path)
      if (there === null || there.mark !== upload.attempt.mark) return there
      this.uploadDone(upload, there.stat)
      return undefined
    })
    if (found === undefined) return
    if ((found?.stat.version ?? null) === this.content.base.expected || !isConflict(error))
      return this.uploadFailed(upload, error)
    return this.endInConflict(error)
  }

  /** Its end has failed, and is tried again later. Called while the path is held. */
  keepUpload(upload: Upload, error: unknown): void {
    const isUnknown = upload.isClosing && error instanceof StorageError && error.outcome === 'unknown'
    const sinceMs = this.sinceNow()
    // An answer that comes later does not tell what became of the call before.
    this.resting =
      isUnknown || this.resting.kind === 'unknown'
        ? { kind: 'unknown', sinceMs, attempts: this.attempts, upload }
        : { kind: 'streaming', sinceMs, upload }
  }

  private dropUpload(): void {
    const { resting } = this
    if (resting.kind === 'streaming') this.resting = { kind: 'dirty', sinceMs: resting.sinceMs }
    else if (resting.kind === 'unknown') this.resting = { ...resting, upload: null }
  }

  /** It can't be finished any more: the data is dirty again or, where some of it was nowhere else, lost. */
  private async uploadFailed(upload: Upload, error: StorageError): Promise<never> {
    await this.giveUp(upload)
    if (upload.hasEvictedData) this.dataLost(error)
    throw error
  }

  /** What it had taken is dirty again. */
  private async giveUp(upload: Upload): Promise<void> {
    this.dropUpload()
    this.mustStore = true
    await this.abandon(upload)
  }

  private async abandon(upload: Upload): Promise<void> {
    await upload.abort()
    for (const block of this.content.pages.blocksFrom(0)) this.content.blocks.updateEvictable(block)
  }

  /** Part of the data was only in an upload that is gone. What is left would be a file with silent holes. */
  private dataLost(error: StorageError): void {
    const { content } = this
    const lost = new StorageError(error.errno, `an upload failed and its data is lost: ${error.message}`, {
      cause: error,
    })
    content.discard()
    content.size = content.base.sizeBytes
    content.base.uncut()
    this.resting = { kind: 'lost', error: lost }
    content.noteLoss(lost)
  }

  async abortUpload(): Promise<void> {
    const { upload } = this
    if (upload === null) return
    const wasUnknown = this.resting.kind === 'unknown'
    this.dropUpload()
    this.mustStore = true
    await this.abandon(upload)
    // It may be stored for all that.
    if (wasUnknown) this.addUnknown({ ...upload.attempt, limit: 0 })
  }

  /** Nothing is to be stored any more. */
  discard(): void {
    this.mustStore = false
    const { upload } = this
    if (upload !== null) {
      this.dropUpload()
      void upload.abort()
    }
    if (!this.isDirty) this.becameClean()
  }

  /** The file is gone. A commit that is under way ends without having anything left to store. */
  removed(): void {
    this.resting = { kind: 'removed', error: new StorageError('ESTALE', 'the file was removed') }
  }

  /**
   * Make the store put a copy of `sizeBytes` bytes at the file's path. `copy` does so while it holds the path, in `run`, which learns
   * what became of it.
   */
  async copyInStore(
    sizeBytes: number,
    copy: (options: WriteOptions, run: (copying: Promise<ObjectStat>) => Promise<void>) => Promise<void>,
  ): Promise<void> {
    const { content } = this
    await this.runNext(async () => {
      await this.recogniseAlone()
      const attempt = { mark: newWriteMark(), sizeBytes, limit: 0, changes: -1 }
      await copy(content.writeOptions(attempt), async (copying) => {
        const stat = await copying.catch((error: unknown) => {
          this.noteFailed(attempt, error)
          throw error
        })
        content.discardData()
        content.replaceBase(stat)
        this.noteStored(stat, stat.sizeBytes)
      })
      if (!this.isDirty) this.becameClean()
      await content.source.committed()
    })
  }

  // ---- in the background

  /** Bytes that `relieve` would hand over now: Infinity for all there is. */
  get relievableBytes(): number {
    if (this.isBeingRelieved || this.isRunning) return 0
    const { content, upload } = this
    // A new file that is empty yet holds nothing.
    if (content.blocks.dirty.size === 0 && upload === null) return 0
    if (!content.source.isOpen || !this.isStreaming) return Infinity
    return upload instanceof StreamingUpload && upload.hasFailed
      ? Infinity
      : content.size - (upload?.position ?? 0)
  }

  /** The file is uploaded while it is written, or could be. */
  private get isStreaming(): boolean {
    const { upload } = this
    return upload === null ? this.canStream() : upload.isStream && !upload.isClosing
  }

  /**
   * The pool is full: hand over to the store what can be. An open file that is written in a stream goes on streaming, however short
   * the parts get: finishing it would mean to send it again from its beginning with each later commit. Nothing more is to come for a
   * closed one. An upload that has failed is ended, so that its writer need not wait for room that nobody makes.
   */
  relieve(): Promise<void> {
    return this.inBackground(async () => {
      if (!(await this.streamOn())) await this.commit()
    })
  }

  /** The data is older than it may get. A stream is finished only where nothing was written to it for as long. */
  writeBack(dirtyExpireMs: number): Promise<void> {
    return this.inBackground(async () => {
      const isIdle = this.isIdle(dirtyExpireMs)
      if (!(await this.streamOn()) || isIdle) await this.commit()
    })
  }

  private inBackground(work: () => Promise<void>): Promise<void> {
    const { content } = this
    return tracedApart(
      'cache.writeback',
      () => content.subject({ 'ovfsd.size': content.size }),
      async () => {
        this.isBeingRelieved = true
        try {
          await work()
        } finally {
          this.isBeingRelieved = false
        }
      },
    )
  }

  private isIdle(forMs: number): boolean {
    const { changes, waiting } = this.content.writer
    const nowMs = performance.now()
    if (changes !== this.seenChanges || waiting > 0) {
      this.seenChanges = changes
      this.seenMs = nowMs
    }
    return nowMs - this.seenMs >= forMs
  }

  /** False where the file is not an open stream, or its upload has failed: then a commit has to do it. */
  private async streamOn(): Promise<boolean> {
    if (this.isRunning || !this.content.source.isOpen || !this.isStreaming) return false
    const upload = this.upload ?? this.startStream()
    if (!(upload instanceof StreamingUpload)) return false
    await upload.pumpAll()
    // What was not taken is given to the writer again, by the next try.
    if (upload.error !== null && upload.canResume) throw upload.error as Error
    return !upload.hasFailed
  }
}

function errorOf(upload: Upload): Error {
  return 'error' in upload && upload.error instanceof Error
    ? upload.error
    : new StorageError('EIO', 'an upload could not be finished', { retryable: true })
}

function staleError(error: StorageError): StorageError {
  return new StorageError('ESTALE', `somebody else has changed the file: ${error.message}`, { cause: error })
}
