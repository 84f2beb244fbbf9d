import type { BackendWriter, ObjectStat } from '../backend.js'

/** An upload to a service that takes a file in one request only: it is sent when it is closed, and again when it is closed again. */
export class WholeWriter implements BackendWriter {
  private parts: Uint8Array[] = []
  private stored: ObjectStat | null = null

  constructor(private readonly store: (data: Uint8Array) => Promise<ObjectStat>) {}

  /** The caller's bytes may change when this resolves. */
  write(data: Uint8Array): Promise<void> {
    this.parts.push(Uint8Array.from(data))
    return Promise.resolve()
  }

  async close(): Promise<ObjectStat> {
    this.stored ??= await this.store(Buffer.concat(this.parts))
    this.parts = []
    return this.stored
  }

  abort(): Promise<void> {
    this.parts = []
    return Promise.resolve()
  }
}
