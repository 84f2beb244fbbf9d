import type { ObjectStat, WriteOptions } from '../backends/backend.js'
import { StorageError } from '../backends/storage-error.js'
import { newWriteMark } from '../backends/write-mark.js'
import { traced } from '../observability/traced.js'
import { CommitState } from './commit-state.js'
import { commitWhole } from './commit.js'
import { recogniseAttempts, requireOwn } from './ownership.js'
import { finishUpload, giveUp } from './pending-upload.js'
import type { Attempt } from './stored-base.js'
import { StreamingUpload } from './streaming-upload.js'
import { isConflict, type Upload } from './upload.js'

/** Brings a file's changes to its store. */
export class Committer extends CommitState {
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
    while (this.isRunning) await this.running
    if (!this.isDirty) return
    try {
      await this.runAlone(() => this.runCommit())
    } catch (error) {
      // Of a file that was removed meanwhile there is nothing to be stored.
      if (!this.isRemoved) throw error
    }
  }

  private async runCommit(): Promise<void> {
    await recogniseAttempts(this.content)
    const { upload } = this
    if (upload instanceof StreamingUpload && this.mayBeginAnew(upload)) await giveUp(this.content, upload)
    else if (upload !== null) await finishUpload(this.content, upload)
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

  private async storeDirty(): Promise<void> {
    const { content } = this
    for (let tries = 1; content.blocks.dirty.size > 0 || this.mustStore; tries++) {
      const attempt = this.nextAttempt()
      try {
        await this.storeOnce(attempt)
      } catch (error) {
        if (!isConflict(error)) throw error
        await requireOwn(content, [...this.attempts, attempt], error, tries)
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

  /** Find out whether what got no answer was done; then what it has made is the base. An upload tells when it is ended once more. */
  async recognise(): Promise<void> {
    await this.runNext(() => (this.isUncertain ? this.recogniseNow() : Promise.resolve()))
  }

  private async recogniseNow(): Promise<void> {
    await recogniseAttempts(this.content)
    const { upload } = this
    if (this.isUncertain && upload?.isClosing === true) await finishUpload(this.content, upload)
    await this.whenStored()
  }

  /** What is stored is not kept on the local disk. */
  private async whenStored(): Promise<void> {
    if (this.isDirty) return
    this.becameClean()
    await this.content.staged.forget()
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
      await recogniseAttempts(this.content)
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
}

function errorOf(upload: Upload): Error {
  return 'error' in upload && upload.error instanceof Error
    ? upload.error
    : new StorageError('EIO', 'an upload could not be finished', { retryable: true })
}
