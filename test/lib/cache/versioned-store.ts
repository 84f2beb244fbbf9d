/** A store in memory that enforces versions and keeps marks, and whose calls can be refused, or done with their answer lost. */
import type {
  Backend,
  BackendCapabilities,
  BackendWriter,
  ExpectedVersion,
  IdentifiedObject,
  ObjectStat,
  WriteOptions,
} from '../../../src/backends/backend.js'
import { StorageError } from '../../../src/backends/storage-error.js'

/** `refused`: nothing is done (503). `lost`: it is done and the answer is lost. `gone`: nothing is done, and nobody answers. `final`: refused for good. */
export type Fault = 'refused' | 'lost' | 'gone' | 'final'
export type FaultyCall = 'write' | 'close' | 'part' | 'read' | 'identify' | 'stat' | 'append'

interface Stored {
  readonly data: Buffer
  readonly version: string
  readonly mark: string | null
}

function unused(): Promise<never> {
  return Promise.reject(new Error('not used here'))
}

export class VersionedStore implements Backend {
  readonly capabilities: BackendCapabilities
  readonly objects = new Map<string, Stored>()
  /** The next calls of a kind fail so, one after the other. */
  readonly faults = new Map<FaultyCall, Fault[]>()
  readonly calls: string[] = []
  putBytes = 0
  gotBytes = 0
  openUploads = 0
  private versions = 0
  readonly list = (): Promise<[]> => Promise.resolve([])
  readonly copy = unused
  readonly createDirectory = (): Promise<void> => Promise.resolve()
  readonly removeDirectory = unused
  readonly removeFile = unused
  readonly rename = unused
  readonly setModificationTime = unused
  readonly setAttributes = unused
  readonly usage = unused

  constructor(partSizeBytes: number, append = false) {
    this.capabilities = {
      write: true,
      append,
      copy: false,
      setModificationTime: false,
      attributes: false,
      maxFileBytes: Number.MAX_SAFE_INTEGER,
      maxPathBytes: Number.MAX_SAFE_INTEGER,
      partSizeBytes,
    }
  }

  accepts(): boolean {
    return true
  }

  fail(call: FaultyCall, ...faults: Fault[]): void {
    this.faults.set(call, faults)
  }

  /** As somebody else does. */
  put(path: string, data: Buffer | string, mark: string | null = null): ObjectStat {
    const stored = { data: Buffer.from(data), version: `v${++this.versions}`, mark }
    this.objects.set(path, stored)
    return statOf(stored)
  }

  text(path: string): string | undefined {
    return this.objects.get(path)?.data.toString()
  }

  /** Runs `work` unless the call is to fail; every call takes a turn of the loop. */
  private async call<T>(kind: FaultyCall, work: () => T): Promise<T> {
    this.calls.push(kind)
    await Promise.resolve()
    const fault = this.faults.get(kind)?.shift()
    if (fault === 'refused')
      throw new StorageError('EIO', 'SlowDown', { retryable: true, outcome: 'refused' })
    if (fault === 'final') throw new StorageError('EACCES', 'forbidden')
    if (fault === 'gone') throw new StorageError('EIO', 'no answer', { retryable: true, unanswered: true })
    const result = work()
    if (fault === 'lost') throw new StorageError('EIO', 'no answer', { retryable: true, unanswered: true })
    return result
  }

  private require(path: string, expected: ExpectedVersion): void {
    const present = this.objects.get(path)?.version ?? null
    if (present === (expected ?? null)) return
    throw new StorageError(expected === null ? 'EEXIST' : 'ESTALE', `${path} is ${String(present)}`)
  }

  stat(path: string): Promise<ObjectStat | null> {
    return this.call('stat', () => {
      const stored = this.objects.get(path)
      return stored === undefined ? null : statOf(stored)
    })
  }

  identify(path: string): Promise<IdentifiedObject | null> {
    return this.call('identify', () => {
      const stored = this.objects.get(path)
      return stored === undefined ? null : { stat: statOf(stored), mark: stored.mark }
    })
  }

  read(path: string, offset: number, length: number, version: string): Promise<Uint8Array> {
    return this.call('read', () => {
      const stored = this.objects.get(path)
      if (stored?.version !== version)
        throw new StorageError('ESTALE', 'another version', { retryable: true })
      this.gotBytes += length
      return Buffer.from(stored.data.subarray(offset, offset + length))
    })
  }

  write(
    path: string,
    data: Uint8Array,
    expected: ExpectedVersion,
    options?: WriteOptions,
  ): Promise<ObjectStat> {
    this.putBytes += data.length
    const copy = Buffer.from(data)
    return this.call('write', () => {
      this.require(path, expected)
      return this.put(path, copy, options?.mark ?? null)
    })
  }

  append(
    path: string,
    data: Uint8Array,
    base: { readonly version: string; readonly sizeBytes: number },
  ): Promise<ObjectStat> {
    const copy = Buffer.from(data)
    return this.call('append', () => {
      this.require(path, base.version)
      return this.put(path, Buffer.concat([this.objects.get(path)?.data ?? Buffer.alloc(0), copy]))
    })
  }

  createWriter(path: string, expected: ExpectedVersion, options?: WriteOptions): Promise<BackendWriter> {
    this.openUploads++
    const parts: Buffer[] = []
    let made: ObjectStat | null = null
    return Promise.resolve({
      resumes: true,
      write: (part: Uint8Array) => {
        this.putBytes += part.length
        const copy = Buffer.from(part)
        return this.call('part', () => {
          parts.push(copy)
        })
      },
      close: () =>
        this.call('close', () => {
          if (made !== null && this.objects.get(path)?.mark === options?.mark) return made
          this.require(path, expected)
          made = this.put(path, Buffer.concat(parts), options?.mark ?? null)
          this.openUploads--
          return made
        }),
      abort: () => {
        this.openUploads--
        return Promise.resolve()
      },
    })
  }
}

function statOf({ data, version }: Stored): ObjectStat {
  return { kind: 'file', sizeBytes: data.length, mtime: null, version }
}
