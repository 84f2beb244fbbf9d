import {
  RESERVED_DIRECTORY,
  type ExpectedVersion,
  type IdentifiedObject,
  type ObjectStat,
  type WriteMark,
} from '../backend.js'
import { HttpError } from '../http/http-error.js'
import { conflict } from '../objects/object-store.js'
import { StorageError } from '../storage-error.js'
import { newWriteMark } from '../write-mark.js'
import { statOf, versionOf, type FileStatus } from './file-status.js'
import type { WebhdfsClient } from './webhdfs-client.js'

/** Writes that are remembered: whoever lost an answer asks soon, and few are asked about. */
const MAX_REMEMBERED_WRITES = 10_000

/** A file in the reserved directory that is to become visible. */
export interface Upload {
  /** Below the mount's root. */
  readonly name: string
  readonly mark: WriteMark
}

/** Where the paths of a mount are in HDFS. */
export type Absolute = (path: string) => string

/**
 * Puts what was uploaded in its place: a rename within HDFS, in one step. HDFS itself refuses to replace what is there where
 * nothing was expected; a version that was expected is looked at right before each try. A file keeps its number when it is
 * renamed, so the number at the target tells whether a rename whose answer was lost was done.
 */
export class WebhdfsPublisher {
  /** The versions that writes of this mount have made, oldest first. */
  private readonly markOfVersion = new Map<string, WriteMark>()
  /** By target: uploads that may be put there yet, as nobody knows what became of it. */
  private readonly unsettled = new Map<string, Upload>()
  private nextUpload = 1

  constructor(
    private readonly client: WebhdfsClient,
    private readonly absolute: Absolute,
  ) {}

  /** Each try has a name of its own: an earlier one may still be under way. */
  newUpload(mark: WriteMark = newWriteMark()): Upload {
    return { name: `${RESERVED_DIRECTORY}/upload-${mark}-${this.nextUpload++}`, mark }
  }

  async status(path: string): Promise<FileStatus | null> {
    const status = await this.client.status(this.absolute(path))
    return status?.type === 'SYMLINK' ? null : status
  }

  async identify(path: string): Promise<IdentifiedObject | null> {
    const status = await this.status(path)
    if (status === null) return null
    return { stat: statOf(status), mark: this.markOfVersion.get(versionOf(status)) ?? null }
  }

  /** The upload as HDFS has it; null where it is not all there. */
  async stored(upload: Upload, sizeBytes: number): Promise<FileStatus | null> {
    const status = await this.status(upload.name)
    if (status?.length !== sizeBytes) return null
    if (this.markOfVersion.size >= MAX_REMEMBERED_WRITES) {
      for (const [oldest] of this.markOfVersion) {
        this.markOfVersion.delete(oldest)
        break
      }
    }
    this.markOfVersion.set(versionOf(status), upload.mark)
    return status
  }

  /** May be called again after an error: it looks whether the earlier call was done. The upload stays until `discard`. */
  async publish(
    upload: Upload,
    stored: FileStatus,
    path: string,
    expected: ExpectedVersion,
  ): Promise<ObjectStat> {
    await this.settleOther(path, upload)
    const isAgain = this.unsettled.get(path) === upload
    try {
      await this.client.connections.retrying(async (mayBeDone) => {
        await this.publishOnce(upload.name, stored, path, expected, isAgain || mayBeDone)
      })
    } catch (error) {
      if (error instanceof StorageError && error.outcome === 'unknown') this.unsettled.set(path, upload)
      throw error
    }
    if (isAgain) this.unsettled.delete(path)
    void this.client.discardLeftovers()
    return statOf(stored)
  }

  private async publishOnce(
    name: string,
    stored: FileStatus,
    path: string,
    expected: ExpectedVersion,
    mayBeDone: boolean,
  ): Promise<void> {
    const present = expected === null && !mayBeDone ? null : await this.status(path)
    if (mayBeDone && present?.fileId === stored.fileId) return
    if (typeof expected === 'string' && (present === null || versionOf(present) !== expected))
      throw conflict(path, expected)
    if (expected === null && present !== null) throw conflict(path, expected)
    if (present?.type === 'DIRECTORY') throw new StorageError('EISDIR', `${path}: is a directory`)
    if (present !== null) await this.keepAttributes(name, stored, present)
    await this.move(name, path, expected !== null, stored.fileId, mayBeDone)
  }

  /** Rename what has this number, unless that is done already. */
  private async move(
    from: string,
    to: string,
    overwrite: boolean,
    fileId: number,
    mayBeDone: boolean,
  ): Promise<void> {
    try {
      await this.client.renameOnce(this.absolute(from), this.absolute(to), overwrite)
    } catch (error) {
      if (!(error instanceof HttpError) || !(mayBeDone || error.outcome === 'unknown')) throw error
      const there = await this.status(to).catch(() => {
        throw error
      })
      if (there?.fileId !== fileId) throw error
    }
  }

  /** Move a file or a tree of the mount, whose status is `source`. Each try looks whether the one before was done, or somebody else put something at `from`. */
  async rename(from: string, to: string, source: FileStatus, overwrite: boolean): Promise<void> {
    await this.client.connections.retrying(async (mayBeDone) => {
      if (mayBeDone) {
        const [left, there] = await Promise.all([this.status(from), this.status(to)])
        if (there?.fileId === source.fileId) return
        if (left?.fileId !== source.fileId)
          throw new StorageError('EIO', `${from}: moved or replaced by somebody else meanwhile`, {
            retryable: true,
            outcome: 'unknown',
          })
      }
      await this.move(from, to, overwrite, source.fileId, mayBeDone)
    })
  }

  /** A file keeps its mode, owner and replication when its contents are replaced, as far as the user may give them. */
  private async keepAttributes(name: string, stored: FileStatus, present: FileStatus): Promise<void> {
    const path = this.absolute(name)
    if (stored.permission !== present.permission) await this.client.setPermission(path, present.permission)
    if (stored.replication !== present.replication)
      await this.client.setReplication(path, present.replication)
    if (stored.owner === present.owner && stored.group === present.group) return
    try {
      await this.client.setOwner(path, present.owner, present.group)
    } catch (error) {
      // Only a superuser may give files away.
      if (!(error instanceof HttpError && error.errno === 'EACCES')) throw error
    }
  }

  /** An upload that is gone can't become visible any more: an earlier one may not come over what is stored now. */
  private async settleOther(path: string, upload: Upload): Promise<void> {
    const other = this.unsettled.get(path)
    if (other === undefined || other === upload) return
    if ((await this.client.discard(this.absolute(other.name))) === 'unknown')
      throw new StorageError('EIO', `${path}: an earlier upload may be under way still`, { retryable: true })
    this.unsettled.delete(path)
  }

  /** Remove an upload that is not wanted any more. Never rejects. */
  async discard({ name }: Upload): Promise<void> {
    await this.client.discard(this.absolute(name))
  }

  /**
   * What became of an upload whose publishing ended in `error`: with the upload removed it was not done and never will be; with
   * the upload missing it was done, and who has come since came over it. Resolves with the stat where it was done.
   */
  async giveUp(upload: Upload, stored: FileStatus, path: string, error: unknown): Promise<ObjectStat> {
    const became = await this.client.discard(this.absolute(upload.name))
    if (!(error instanceof StorageError) || error.outcome !== 'unknown' || became === 'unknown') throw error
    this.unsettled.delete(path)
    if (became === 'removed') {
      const { errno, message, retryable } = error
      throw new StorageError(errno, message, { retryable, outcome: 'refused', cause: error })
    }
    const there = await this.status(path)
    if (there?.fileId === stored.fileId) return statOf(stored)
    throw conflict(path, versionOf(stored))
  }
}
