import type { BackendWriter, ExpectedVersion, ObjectStat } from '../backend.js'
import type { HttpUpload } from '../http/http-upload.js'
import { StorageError } from '../storage-error.js'
import type { FileStatus } from './file-status.js'
import type { WebhdfsClient } from './webhdfs-client.js'
import type { Upload, WebhdfsPublisher } from './webhdfs-publisher.js'

/**
 * How far an upload is.
 *
 *     streaming --finish--> stored --publish--> published
 *         |                   |
 *         +-- cut short --> broken          (abort, at any time: removed)
 */
type State =
  | { readonly kind: 'streaming' }
  /** The connection is over, and nobody knows yet how much HDFS has. */
  | { readonly kind: 'ended'; readonly error: Error }
  | { readonly kind: 'stored'; readonly status: FileStatus }
  | { readonly kind: 'published'; readonly stat: ObjectStat }
  | { readonly kind: 'broken' }

/** Where the upload goes when it is whole. */
export interface UploadTarget {
  readonly path: string
  /** As HDFS has the upload's name. */
  readonly absoluteName: string
  readonly expected: ExpectedVersion
}

/** An upload that streams to a DataNode. What HDFS has not got of it can't be sent again. */
export class WebhdfsWriter implements BackendWriter {
  private sizeBytes = 0
  private state: State = { kind: 'streaming' }

  constructor(
    private readonly client: WebhdfsClient,
    private readonly publisher: WebhdfsPublisher,
    private readonly stream: HttpUpload,
    private readonly upload: Upload,
    private readonly target: UploadTarget,
  ) {}

  async write(data: Uint8Array): Promise<void> {
    if (data.byteLength === 0) return
    try {
      await this.stream.write(data)
    } catch (error) {
      throw await this.client.reasonOf(this.target.absoluteName, error)
    }
    this.sizeBytes += data.byteLength
  }

  async close(): Promise<ObjectStat> {
    if (this.state.kind === 'published') return this.state.stat
    const status = await this.finished()
    try {
      const { path, expected } = this.target
      const stat = await this.publisher.publish(this.upload, status, path, expected)
      this.state = { kind: 'published', stat }
      return stat
    } catch (error) {
      const isKept = error instanceof StorageError && (error.retryable || error.outcome === 'unknown')
      if (!isKept) await this.break()
      throw error
    }
  }

  /** The upload with all its bytes, in HDFS. */
  private async finished(): Promise<FileStatus> {
    if (this.state.kind === 'stored') return this.state.status
    if (this.state.kind === 'broken') throw this.goneError()
    const isFirst = this.state.kind === 'streaming'
    const error = this.state.kind === 'ended' ? this.state.error : await this.endStream()
    // A DataNode closes what was cut off too: only the length tells.
    const status = await this.publisher.stored(this.upload, this.sizeBytes)
    if (status !== null) {
      this.state = { kind: 'stored', status }
      return status
    }
    if (isFirst && error !== null) {
      // HDFS may be about to close it.
      this.state = { kind: 'ended', error }
      throw await this.client.reasonOf(this.target.absoluteName, error)
    }
    await this.break()
    throw this.goneError()
  }

  /** null when the DataNode has said that it has everything. */
  private async endStream(): Promise<Error | null> {
    try {
      await this.client.finishCreate(this.stream)
      return null
    } catch (error) {
      return error instanceof Error ? error : new Error(String(error))
    }
  }

  private goneError(): StorageError {
    return new StorageError('EIO', `${this.target.path}: HDFS has only part of the upload`)
  }

  private async break(): Promise<void> {
    this.state = { kind: 'broken' }
    await this.publisher.discard(this.upload)
  }

  async abort(): Promise<void> {
    if (this.state.kind === 'published' || this.state.kind === 'broken') return
    // Not by cutting the connection: the DataNode might make the file only after it was discarded.
    if (this.state.kind === 'streaming') await this.stream.finish().catch(() => undefined)
    await this.break()
  }
}
