import type { Operator } from 'opendal'
import type {
  BackendCapabilities,
  BackendWriter,
  ExpectedVersion,
  CopyOptions,
  ObjectStat,
} from '../backend.js'
import { asDisposable } from '../disposable.js'
import { HttpError, pauseBefore, RETRY_TIMES } from '../http/http-error.js'
import { conflict } from '../objects/object-store.js'
import { asBuffer, objectPath, OpendalBackend } from './opendal-backend.js'
import { WholeWriter } from './whole-writer.js'
import { StorageError, toStorageError } from '../storage-error.js'

/**
 * A service that others change too: what is read and replaced must be the version that is meant. Where the service takes
 * conditions, it looks itself; else it is looked at right before a write, and after a read.
 */
export class SharedStoreBackend extends OpendalBackend {
  private readonly canReadMatching: boolean

  private readonly takesParts: boolean

  /** `once`: the same without retries, for writes. */
  constructor(
    operator: Operator,
    private readonly once: Operator,
    extraCapabilities: Partial<BackendCapabilities> = {},
  ) {
    super(operator, extraCapabilities)
    const capability = operator.capability()
    this.canReadMatching = capability.readWithIfMatch
    this.takesParts = capability.writeCanMulti
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

  /**
   * Never sent again without a look: an earlier try may have been done, and then somebody else may have stored something. No service
   * here keeps whose write it was, so that is told by the bytes.
   */
  override async write(path: string, data: Uint8Array, expected: ExpectedVersion): Promise<ObjectStat> {
    let mayBeDone = false
    for (let tries = 0; ; tries++) {
      const stored = await this.lookBefore(path, data, expected, mayBeDone)
      if (stored !== null) return stored
      try {
        await this.writeOnce(path, data)
        return await this.statOwn(path, data, expected)
      } catch (error) {
        const failure = toStorageError(error)
        mayBeDone ||= isUnknown(failure)
        if (!failure.retryable && !mayBeDone) throw failure
        if (tries >= RETRY_TIMES) return this.lookAfter(path, data, expected, failure, mayBeDone)
      }
      await pauseBefore(tries + 1)
      this.noteRetry()
    }
  }

  /** A request is sent again. */
  protected noteRetry(): void {
    // Nobody counts OpenDAL's.
  }

  protected async writeOnce(path: string, data: Uint8Array): Promise<void> {
    try {
      await this.once.write(objectPath(path), asBuffer(data))
    } catch (error) {
      throw toStorageError(error)
    }
  }

  /** What an earlier try has stored; null where what is expected is still there. */
  private async lookBefore(
    path: string,
    data: Uint8Array,
    expected: ExpectedVersion,
    mayBeDone: boolean,
  ): Promise<ObjectStat | null> {
    if (expected === undefined && !mayBeDone) return null
    try {
      const present = await this.statExactly(objectPath(path))
      if (mayBeDone && present !== null && (await this.holds(path, present, data))) return present
      if (expected !== undefined && (present?.version ?? null) !== expected) throw conflict(path, expected)
      return null
    } catch (error) {
      throw mayBeDone ? unknownUnlessConflict(toStorageError(error)) : error
    }
  }

  /** All tries have failed. */
  private async lookAfter(
    path: string,
    data: Uint8Array,
    expected: ExpectedVersion,
    failure: StorageError,
    mayBeDone: boolean,
  ): Promise<ObjectStat> {
    const stored = mayBeDone ? await this.lookBefore(path, data, expected, true) : null
    if (stored !== null) return stored
    const { errno, message, retryable, unanswered } = failure
    const outcome = mayBeDone ? 'unknown' : 'refused'
    throw new StorageError(errno, message, { retryable, unanswered, outcome, cause: failure })
  }

  private async holds(
    path: string,
    { kind, sizeBytes, version }: ObjectStat,
    data: Uint8Array,
  ): Promise<boolean> {
    if (kind === 'directory' || sizeBytes !== data.byteLength) return false
    if (sizeBytes === 0) return true
    return Buffer.compare(await this.read(path, 0, sizeBytes, version), data) === 0
  }

  /** What was just written, which somebody else may have replaced by now. */
  private async statOwn(path: string, data: Uint8Array, expected: ExpectedVersion): Promise<ObjectStat> {
    try {
      const stat = await this.statExactly(objectPath(path))
      const isSameVersion = (stat?.version ?? null) === expected
      if (stat?.kind === 'file' && stat.sizeBytes === data.byteLength) {
        // The version of before is that of the same bytes, or of a write that was not done.
        if (!isSameVersion || (await this.holds(path, stat, data))) return stat
      }
      if (isSameVersion)
        throw new StorageError(
          'EIO',
          `${path}: the server says that it was stored, and shows what was there before`,
          {
            ...{ retryable: true, outcome: 'unknown' as const },
          },
        )
    } catch (error) {
      throw unknownUnlessConflict(toStorageError(error))
    }
    throw conflict(path, '')
  }

  /** Servers ignore the conditions of uploads in parts, so the object is looked at right before the upload becomes visible. */
  override async createWriter(path: string, expected: ExpectedVersion): Promise<BackendWriter> {
    if (!this.takesParts) return new WholeWriter((data) => this.write(path, data, expected))
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

/** OpenDAL's errors do not tell what was done: whatever may pass may have been. */
function isUnknown(failure: StorageError): boolean {
  return failure.outcome === 'unknown' || (failure.retryable && !(failure instanceof HttpError))
}

function unknownUnlessConflict(failure: StorageError): StorageError {
  const { errno, message } = failure
  if (errno === 'EEXIST' || (errno === 'ESTALE' && !failure.retryable)) return failure
  return new StorageError(errno, message, { retryable: true, outcome: 'unknown', cause: failure })
}
