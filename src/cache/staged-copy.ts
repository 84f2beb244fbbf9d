import type { FileContent } from './file-content.js'
import type { WriteMark } from '../backends/backend.js'
import { StorageError } from '../backends/storage-error.js'
import { newWriteMark } from '../backends/write-mark.js'
import { placeOf, stage, type Staged } from './stage.js'
import type { Staging } from './staging.js'

/** The record of what is dirty of one file on the local disk: of the state that the last close acknowledged. */
export class StagedCopy {
  private record: (Staged & { readonly changes: number; isTaken: boolean }) | null = null

  constructor(private readonly content: FileContent) {}

  /** What is dirty now survives this process when it resolves: on the local disk or, where that is not possible, in the store. */
  persistLocally(): Promise<void> | undefined {
    const { staging } = this.content.source.account
    if (staging === null || this.isSecure) return undefined
    return this.stageOrCommit(staging)
  }

  /** All that is dirty would survive this process. */
  get isSecure(): boolean {
    const { content } = this
    if (this.record?.changes === content.writer.changes) return true
    // What a commit has taken is not marked as unsaved any more, and not in the store yet.
    return !content.hasUnsavedData && !content.committer.isRunning
  }

  private async stageOrCommit(staging: Staging): Promise<void> {
    const { content } = this
    await content.committer.ended()
    if (this.isSecure) return
    // An upload has handed over bytes that are not in memory any more.
    if (content.upload !== null || content.committer.isRunning) return content.commit()
    try {
      await content.committer.runAlone(() => content.source.withPath((path) => this.stageAt(staging, path)))
    } catch {
      // The disk is full, or broken.
      await content.commit()
    }
  }

  private async stageAt(staging: Staging, path: string): Promise<void> {
    const { changes } = this.content.writer
    const before = this.record
    const staged = await stage(this.content, staging, path, before?.id ?? null)
    this.record = { ...staged, changes, isTaken: false }
    if (before !== null) await staging.forget(before.id)
  }

  /** The first commit after a record has the record's mark: after a kill in the middle of it, it is known whether it was done. */
  takeMark(): WriteMark {
    if (this.record === null || this.record.isTaken) return newWriteMark()
    this.record.isTaken = true
    return this.record.next
  }

  /** The file is at `paths` now, or has another time or other attributes; the caller holds the path. */
  async amend(paths: readonly string[]): Promise<void> {
    const { staging } = this.content.source.account
    if (staging === null || this.record === null) return
    try {
      await staging.amend(this.record.id, placeOf(this.content, paths, this.record.next))
    } catch (error) {
      // Whatever the disk says of itself is nothing that the guest's call is about.
      throw new StorageError('EIO', `what is staged can't follow to ${paths.at(-1) ?? ''}`, { cause: error })
    }
  }

  /** The content comes to its end and its record does not: the next daemon stores that. */
  leave(): void {
    if (this.record !== null) this.content.source.account.staging?.leave(this.record.id)
    this.record = null
  }

  /** The store has what was staged, or nobody wants it any more. Never rejects. */
  async forget(): Promise<void> {
    if (this.record === null) return
    const { id } = this.record
    this.record = null
    await this.content.source.account.staging?.forget(id)
  }
}
