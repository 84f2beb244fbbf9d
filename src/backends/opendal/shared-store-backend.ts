import type { Operator } from 'opendal'
import type {
  BackendCapabilities,
  BackendWriter,
  ExpectedVersion,
  CopyOptions,
  ObjectStat,
  WriteOptions,
} from '../backend.js'
import { asDisposable } from '../disposable.js'
import { conflict } from '../objects/object-store.js'
import { objectPath, OpendalBackend } from './opendal-backend.js'
import { StorageError, toStorageError } from '../storage-error.js'

/**
 * A service that others change too: what is read and replaced must be the version that is meant. Where the service takes
 * conditions, it looks itself; else it is looked at right before a write, and after a read.
 */
export class SharedStoreBackend extends OpendalBackend {
  private readonly canReadMatching: boolean

  constructor(operator: Operator, extraCapabilities: Partial<BackendCapabilities> = {}) {
    super(operator, extraCapabilities)
    this.canReadMatching = operator.capability().readWithIfMatch
  }

  override async read(
    path: string,
    offset: number,
    lengthBytes: number,
    version: string,
  ): Promise<Uint8Array> {
    if (!this.canReadMatching || !version.startsWith('"')) {
      const data = await super.read(path, offset, lengthBytes, version)
      await this.requireStill(path, version)
      return data
    }
    try {
      const data = await this.operator.read(objectPath(path), {
        offset: BigInt(offset),
        size: BigInt(lengthBytes),
        ifMatch: version,
      })
      return asDisposable(data)
    } catch (error) {
      throw toStorageError(error)
    }
  }

  /** What has been read was of this version if it is still there. */
  private async requireStill(path: string, version: string): Promise<void> {
    const present = await this.statExactly(objectPath(path))
    if (present?.version !== version)
      throw new StorageError('ESTALE', `${path}: changed while it was read`, { retryable: true })
  }

  override async write(
    path: string,
    data: Uint8Array,
    expected: ExpectedVersion,
    options?: WriteOptions,
  ): Promise<ObjectStat> {
    const isConditional = Object.keys(this.conditionOf(expected)).length > 0
    if (!isConditional) await this.requireVersion(path, expected)
    return super.write(path, data, expected, options)
  }

  /** Servers ignore the conditions of uploads in parts, so the object is looked at right before the upload becomes visible. */
  override async createWriter(path: string, expected: ExpectedVersion): Promise<BackendWriter> {
    const writer = await super.createWriter(path, undefined)
    return {
      write: (data) => writer.write(data),
      close: async () => {
        await this.requireVersion(path, expected)
        return writer.close()
      },
      abort: () => writer.abort(),
    }
  }

  override async copy(
    from: string,
    to: string,
    expected: ExpectedVersion,
    options?: CopyOptions,
  ): Promise<ObjectStat> {
    await this.requireVersion(to, expected)
    return super.copy(from, to, expected, options)
  }

  /** A moved object is a copy, and few services say that those keep their etags. */
  protected override copyChangesVersion(_version: string): boolean {
    return true
  }

  /** EEXIST or ESTALE where something else is there. */
  protected async requireVersion(path: string, expected: ExpectedVersion): Promise<void> {
    if (expected === undefined) return
    const present = await this.statExactly(objectPath(path))
    if ((present?.version ?? null) !== expected) throw conflict(path, expected)
  }
}
