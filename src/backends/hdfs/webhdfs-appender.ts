import { createHash } from 'node:crypto'
import { setTimeout as pause } from 'node:timers/promises'
import type { AppendBase, ObjectStat } from '../backend.js'
import { conflict } from '../objects/object-store.js'
import { StorageError, type FailedOutcome } from '../storage-error.js'
import { statOf, versionOf, type FileStatus } from './file-status.js'
import type { WebhdfsClient } from './webhdfs-client.js'

/** Appends whose end nobody knows yet: at most one a file that is open for writing. */
const MAX_UNSETTLED = 1000
/** DataNodes cut a block when they next ask the NameNode for work, every three seconds. */
const CLOSED_POLL_MS = 200

/** What an append without an answer had to store. */
interface Unsettled {
  readonly lengthBytes: number
  /** Of the bytes: those that are in the file are compared with it, so that they need not stay in memory. */
  readonly digest: string
}

/** One append, and the file before it. */
interface Append {
  readonly path: string
  readonly base: AppendBase
  /** All of it, from `base.sizeBytes` on. */
  readonly data: Uint8Array
  /** This much of it an earlier call without an answer has stored. */
  readonly doneBytes: number
  readonly before: FileStatus
}

/**
 * Appends in place. HDFS lets one client at a time have a file open for writing, but takes no condition: so the file is looked
 * at right before, and right after, where the length tells whether somebody else was there in that moment. Then ours is cut off
 * again, if it is the file's end still; what others have appended behind it stands, and ours before it.
 */
export class WebhdfsAppender {
  /** By the version that was appended to. */
  private readonly unsettled = new Map<string, Unsettled>()

  constructor(
    private readonly client: WebhdfsClient,
    /** How long to wait for HDFS to close a file. */
    private readonly timeoutMs: number,
  ) {}

  async append(path: string, data: Uint8Array, base: AppendBase): Promise<ObjectStat> {
    const before = await this.requireFile(path)
    const doneBytes = await this.doneBefore(path, data, base, before)
    const append = { path, base, data, doneBytes, before }
    const stat = doneBytes === data.byteLength ? statOf(before) : await this.send(append)
    this.unsettled.delete(base.version)
    return stat
  }

  private async requireFile(path: string): Promise<FileStatus> {
    const status = await this.client.status(path)
    if (status?.type === 'FILE') return status
    throw new StorageError('ENOENT', `${path}: no file is there`)
  }

  /**
   * How much of `data` an earlier call for the same version, which had no answer, has stored.
   * @throws StorageError ESTALE where anything but our own bytes has come to the file
   */
  private async doneBefore(
    path: string,
    data: Uint8Array,
    base: AppendBase,
    present: FileStatus,
  ): Promise<number> {
    const earlier = this.unsettled.get(base.version)
    if (versionOf(present) === base.version) return 0
    const added = present.length - base.sizeBytes
    // The number is in the version: see versionOf.
    const isSameFile = base.version.endsWith(`/${present.fileId}`)
    if (earlier === undefined || !isSameFile || added < 0 || added > earlier.lengthBytes)
      throw conflict(path, base.version)
    if (added === 0) return 0
    const bytes = await this.client.open(path, base.sizeBytes, added)
    if (added <= data.byteLength && Buffer.compare(bytes, data.subarray(0, added)) === 0) return added
    // What was to be appended has changed since.
    if (digestOf(bytes) !== earlier.digest) throw conflict(path, base.version)
    await this.cut(path, base.sizeBytes, present)
    return 0
  }

  private async send(append: Append): Promise<ObjectStat> {
    const { path, data, doneBytes } = append
    const dataNodeCall = await this.client.beginAppend(path)
    try {
      await this.client.append(dataNodeCall, data.subarray(doneBytes))
    } catch (error) {
      return this.resolve(append, error)
    }
    let after: FileStatus | null
    try {
      after = await this.client.status(path)
    } catch (error) {
      throw this.unknown(append, error)
    }
    return this.judge(append, after)
  }

  /** The append was done: is it all that has changed? */
  private async judge(append: Append, after: FileStatus | null): Promise<ObjectStat> {
    const { path, data, base, doneBytes, before } = append
    const end = base.sizeBytes + data.byteLength
    const isSameFile = after?.fileId === before.fileId
    if (after !== null && isSameFile && after.length === end) return statOf(after)
    if (after === null) throw conflict(path, base.version)
    if (isSameFile && (await this.holds(path, base.sizeBytes, data))) {
      // Ours came first, and they went on from there: ours is done, as a version that nobody can see any more.
      return { ...statOf({ ...after, length: end, modificationTime: 0 }), mtime: statOf(after).mtime }
    }
    const rest = data.subarray(doneBytes)
    const start = after.length - rest.byteLength
    if (start >= 0 && (await this.holds(path, start, rest))) await this.cut(path, start, after)
    throw conflict(path, base.version)
  }

  /** Nobody knows what became of it, or the DataNode says no: how much is there? */
  private async resolve(append: Append, error: unknown): Promise<ObjectStat> {
    const { path, data, base, before } = append
    try {
      await this.closed(path, before.length, 'appended')
      const after = await this.requireFile(path)
      const added = after.length - base.sizeBytes
      const isSameFile = after.fileId === before.fileId && added >= 0
      if (isSameFile && added <= data.byteLength) {
        const isOurs = await this.holds(path, base.sizeBytes, data.subarray(0, added))
        if (isOurs && added === data.byteLength) return statOf(after)
        if (isOurs) {
          // No time of the file's own is left to see: as it was before, so that the version counts that the caller knows.
          if (versionOf(after) !== base.version) await this.restore(append, after)
          // Kept in mind all the same: a DataNode that lost us may not have begun yet.
          this.remember(append)
          throw withOutcome(error, 'refused')
        }
      }
      return await this.judge(append, after)
    } catch (failure) {
      if (failure instanceof StorageError && failure.outcome === 'refused' && isVerdict(failure, error))
        throw failure
      throw this.unknown(append, error)
    }
  }

  /** Contents and time as they were before the append. */
  private async restore({ path, base, before }: Append, known: FileStatus): Promise<void> {
    if (known.length > base.sizeBytes) await this.cut(path, base.sizeBytes, known)
    await this.client.setModificationTime(path, before.modificationTime)
  }

  /**
   * Wait until no writer has the file open. Cutting a file to the length that it has changes nothing, and HDFS does it only where
   * nobody writes: so it tells that an append without an answer is over. Where the append has ended between the look and that, it
   * is cut off: then what it has added is still shown for a moment, and is not to be believed.
   */
  private async closed(path: string, lengthBytes: number, after: 'appended' | 'cut'): Promise<void> {
    const deadlineMs = performance.now() + this.timeoutMs
    let mayBeCut = after === 'cut'
    for (;;) {
      const { length } = await this.requireFile(path)
      try {
        // Another length than before: the append has come to its end, as lengths count when a file is closed. A file that is being
        // cut is shown as long as it was.
        if (length !== lengthBytes && !mayBeCut) return
        if (length === lengthBytes && (await this.client.truncate(path, length))) return
        if (length === lengthBytes) mayBeCut = true
        if (performance.now() > deadlineMs) throw stillOpen(path)
      } catch (error) {
        if (!(error instanceof StorageError && error.retryable) || performance.now() > deadlineMs) throw error
        mayBeCut ||= error.outcome === 'unknown'
      }
      await pause(CLOSED_POLL_MS)
    }
  }

  private async holds(path: string, offset: number, data: Uint8Array): Promise<boolean> {
    if (data.byteLength === 0) return true
    const bytes = await this.client.open(path, offset, data.byteLength)
    return bytes.byteLength === data.byteLength && Buffer.compare(bytes, data) === 0
  }

  /** Only what is still there as it was looked at. */
  private async cut(path: string, lengthBytes: number, known: FileStatus): Promise<void> {
    const now = await this.requireFile(path)
    if (versionOf(now) !== versionOf(known)) throw conflict(path, versionOf(known))
    if (!(await this.client.truncate(path, lengthBytes))) await this.closed(path, lengthBytes, 'cut')
  }

  private unknown(append: Append, error: unknown): StorageError {
    this.remember(append)
    return withOutcome(error, 'unknown')
  }

  private remember({ base: { version }, data }: Append): void {
    const [oldest] = this.unsettled.keys()
    if (oldest !== undefined && this.unsettled.size >= MAX_UNSETTLED) this.unsettled.delete(oldest)
    this.unsettled.set(version, { lengthBytes: data.byteLength, digest: digestOf(data) })
  }
}

/** The look came to an end: the file is as it was, or somebody else's. */
function isVerdict(failure: StorageError, error: unknown): boolean {
  return failure.cause === error || failure.errno === 'ESTALE' || failure.errno === 'ENOENT'
}

function stillOpen(path: string): StorageError {
  return new StorageError('EIO', `${path}: HDFS has not closed it yet`, {
    retryable: true,
    outcome: 'unknown',
  })
}

function digestOf(data: Uint8Array): string {
  return createHash('sha256').update(data).digest('hex')
}

function withOutcome(error: unknown, outcome: FailedOutcome): StorageError {
  const { errno, message, retryable } =
    error instanceof StorageError ? error : { errno: 'EIO' as const, message: String(error), retryable: true }
  return new StorageError(errno, message, { retryable, outcome, cause: error })
}
