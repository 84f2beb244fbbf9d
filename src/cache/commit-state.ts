/** What there is to be stored of a file, what became of it so far, and what runs for it: one of several states, and what leads from one to the next. */
import type { ObjectStat } from '../backends/backend.js'
import { StorageError } from '../backends/storage-error.js'
import { holding, mayWaitFor } from '../observability/lock-order.js'
import type { FileContent } from './file-content.js'
import type { Attempt } from './stored-base.js'
import type { Upload } from './upload.js'

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

export type State = Resting | Committing

const CLEAN: Clean = { kind: 'clean' }
/** Of all removed files: an error with its trace costs as much as a small part of the removal. */
const REMOVED: Removed = {
  kind: 'removed',
  error: new StorageError('ESTALE', 'the file was removed'),
}
const NOTHING = Promise.resolve()
const NO_ATTEMPTS: readonly Attempt[] = []

/** ARCHITECTURE draws the states. */
export class CommitState {
  private state: State = CLEAN
  /** The size or the mere existence must be stored, whatever the blocks say. */
  mustStore = false

  constructor(protected readonly content: FileContent) {}

  protected get resting(): Resting {
    return this.state.kind === 'committing' ? this.state.resting : this.state
  }

  protected set resting(resting: Resting) {
    // Nothing comes after it, whatever a commit that was under way ends with.
    if (this.resting.kind === 'removed') return
    if (this.state.kind === 'committing') this.state.resting = resting
    else this.state = resting
  }

  get kind(): State['kind'] {
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

  /** Writes that may have been done. */
  get attempts(): readonly Attempt[] {
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

  /** The file is gone, and with it what was to be stored of it. */
  get isRemoved(): boolean {
    return this.resting.kind === 'removed'
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

  becameClean(): void {
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
  protected async runNext(work: () => Promise<void>): Promise<void> {
    while (this.isRunning) await this.running
    await this.runAlone(work)
  }

  /** Of what runs; never rejects. */
  protected get running(): Promise<void> {
    return this.state.kind === 'committing' ? this.state.ended.catch(() => undefined) : NOTHING
  }

  /** Resolves when nothing runs. */
  async ended(): Promise<void> {
    while (this.isRunning) await this.running
  }

  // ---- what the store has answered

  /** A call that was to store `attempt` has failed. Called while the path is held. */
  noteFailed(attempt: Attempt, error: unknown): void {
    if (error instanceof StorageError && error.outcome === 'unknown') this.addUnknown(attempt)
  }

  /** A call that was to store `attempt` got no answer. */
  addUnknown(attempt: Attempt): void {
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

  /** An upload takes what is written from now on. */
  streams(upload: Upload): void {
    this.resting = { kind: 'streaming', sinceMs: this.sinceNow(), upload }
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

  /** There is no upload any more; what it had taken is to be stored by somebody else. */
  dropUpload(): void {
    const { resting } = this
    if (resting.kind === 'streaming') this.resting = { kind: 'dirty', sinceMs: resting.sinceMs }
    else if (resting.kind === 'unknown') this.resting = { ...resting, upload: null }
  }

  /** Acknowledged data is gone. */
  lost(error: StorageError): void {
    this.resting = { kind: 'lost', error }
  }

  /** Somebody else's version stays. */
  conflicted(error: StorageError): void {
    const told = new StorageError('ESTALE', `somebody else has changed the file: ${error.message}`, {
      cause: error,
    })
    this.resting = { kind: 'conflict', error: told }
  }

  /** The file is gone. A commit that is under way ends without having anything left to store. */
  removed(): void {
    this.resting = REMOVED
  }
}
