import type { BackendWriter, ObjectStat } from '../backend.js'

/** A call of an upload, as layers see it. */
export interface WriterCall {
  readonly method: 'writer.write' | 'writer.close' | 'writer.abort'
  readonly path: string
  /** Of what is given. */
  readonly sizeBytes: number
}

export type AroundWriterCall = <T>(call: WriterCall, run: () => Promise<T>) => Promise<T>

/** The one wrapper of uploads: something is done around each of their calls. */
export class LayeredWriter implements BackendWriter {
  /** Waiting is no call: what it waits for is counted where it was begun. */
  readonly whenSent?: (data: Uint8Array) => Promise<void>
  readonly resumes?: boolean

  constructor(
    private readonly inner: BackendWriter,
    private readonly path: string,
    private readonly around: AroundWriterCall,
  ) {
    if (inner.whenSent !== undefined) this.whenSent = inner.whenSent.bind(inner)
    if (inner.resumes !== undefined) this.resumes = inner.resumes
  }

  write(data: Uint8Array): Promise<void> {
    return this.around({ method: 'writer.write', path: this.path, sizeBytes: data.byteLength }, () =>
      this.inner.write(data),
    )
  }

  close(): Promise<ObjectStat> {
    return this.around({ method: 'writer.close', path: this.path, sizeBytes: 0 }, () => this.inner.close())
  }

  abort(): Promise<void> {
    return this.around({ method: 'writer.abort', path: this.path, sizeBytes: 0 }, () => this.inner.abort())
  }
}
