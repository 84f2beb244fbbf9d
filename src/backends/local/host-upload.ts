import type { BackendWriter, ObjectStat } from '../backend.js'
import { toStorageError } from '../storage-error.js'
import { closeQuietly, writeAll } from './host-files.js'

/** What an upload needs of its backend. */
export interface UploadPlace {
  /** Put the file in its place; may be called again after an error. */
  publish(fd: number): Promise<ObjectStat>
  /** Remove what has no place yet. */
  discard(): Promise<void>
}

/** A file in the reserved directory, written part by part. */
export class HostUpload implements BackendWriter {
  private isOpen = true
  /** The upload may be what is left of a file that it was to overwrite. */
  private isNeeded = false

  constructor(
    private readonly fd: number,
    private readonly place: UploadPlace,
  ) {}

  async write(data: Uint8Array): Promise<void> {
    try {
      await writeAll(this.fd, data)
    } catch (error) {
      throw toStorageError(error)
    }
  }

  async close(): Promise<ObjectStat> {
    try {
      const stored = await this.place.publish(this.fd)
      await this.end()
      return stored
    } catch (error) {
      const failure = toStorageError(error)
      this.isNeeded = failure.outcome === 'unknown'
      if (!failure.retryable && failure.outcome !== 'unknown') await this.abort()
      throw failure
    }
  }

  async abort(): Promise<void> {
    if (!this.isOpen) return
    await this.end()
    if (!this.isNeeded) await this.place.discard().catch(() => undefined)
  }

  /** A descriptor's number is somebody else's as soon as it is closed. */
  private async end(): Promise<void> {
    if (!this.isOpen) return
    this.isOpen = false
    await closeQuietly(this.fd)
  }
}
