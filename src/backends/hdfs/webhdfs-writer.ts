import type { BackendWriter, ObjectStat } from '../backend.js'
import type { HttpUpload } from '../http/http-connection.js'

/** An upload that streams to a DataNode. */
export class WebhdfsWriter implements BackendWriter {
  private sizeBytes = 0

  constructor(
    private readonly upload: HttpUpload,
    /** The body is complete: make sure of it, and put it in its place. */
    private readonly publish: (sizeBytes: number) => Promise<ObjectStat>,
    private readonly discard: () => Promise<void>,
    /** What is behind a broken connection. */
    private readonly reasonOf: (error: unknown) => Promise<Error>,
  ) {}

  async write(data: Uint8Array): Promise<void> {
    if (data.byteLength === 0) return
    try {
      await this.upload.write(data)
    } catch (error) {
      throw await this.reasonOf(error)
    }
    this.sizeBytes += data.byteLength
  }

  close(): Promise<ObjectStat> {
    return this.publish(this.sizeBytes)
  }

  async abort(): Promise<void> {
    // Not by cutting the connection: the DataNode might make the file only after it was discarded.
    await this.upload.finish().catch(() => undefined)
    await this.discard()
  }
}
