/** Contents of the host's files, read and changed by the addon: each call is one hop to a thread, and none leaves the directory. */
import { close, write } from 'node:fs'
import { promisify } from 'node:util'
import type { AppendBase, AttributesChanged, ExpectedVersion, ObjectStat, Timestamp } from '../backend.js'
import { asDisposable } from '../disposable.js'
import { storageAddon, type HostPublish, type HostPublished, type HostStat } from '../native-addon.js'
import { StorageError, toStorageError } from '../storage-error.js'
import { statOf } from './host-directory.js'
import { isMarked, type HostRoot } from './host-root.js'

const writeTo = promisify(write)
const closeDescriptor = promisify(close)

/** What is to become of a path: see `HostPublish`. */
export type PublishTo = Pick<HostPublish, 'upload' | 'path' | 'expected' | 'mtime' | 'syncsDirectory'>

export class HostFiles {
  private readonly calls = storageAddon().hostFile

  constructor(private readonly root: HostRoot) {}

  /** ESTALE where the file is another version, before or after, or shorter. */
  async read(path: string, offset: number, lengthBytes: number, version: string): Promise<Uint8Array> {
    // Not of Node's pool of small buffers, and not filled with zeros before it is filled with the file's bytes.
    const data = Buffer.allocUnsafeSlow(lengthBytes)
    try {
      await this.root.confined(
        [path],
        ([place], beneath) => this.calls.read(this.root.path, place, beneath, version, offset, data),
        true,
      )
    } catch (error) {
      const failure = toStorageError(error)
      if (failure.errno !== 'ESTALE') throw failure
      throw new StorageError('ESTALE', `${path}: changed on the host`, { retryable: true, cause: error })
    }
    return asDisposable(data)
  }

  async append(path: string, data: Uint8Array, base: AppendBase): Promise<ObjectStat> {
    const { version, sizeBytes } = base
    return fileOf(
      await known(
        this.root.confined(
          [path],
          ([place], beneath) => this.calls.append(this.root.path, place, beneath, version, sizeBytes, data),
          true,
        ),
      ),
    )
  }

  async setTime(path: string, mtime: Timestamp): Promise<AttributesChanged> {
    const { previousVersion, stat } = await this.root.confined(
      [path],
      ([place], beneath) => this.calls.setTime(this.root.path, place, beneath, mtime),
      true,
    )
    const changed = statOf(stat)
    if (changed === null) throw new StorageError('ENOENT', `${path}: neither a file nor a directory`)
    return { previousVersion, stat: changed }
  }

  store(to: PublishTo, data: Uint8Array): Promise<HostPublished> {
    return this.publishing(to, (request) => this.calls.store(request, data))
  }

  copy(from: string, sourceVersion: string | undefined, to: PublishTo): Promise<HostPublished> {
    return known(
      this.root.confined(
        [to.path, from],
        ([path, source], beneath) =>
          this.calls.copy({ ...to, path, root: this.root.path, beneath }, source, sourceVersion ?? ''),
        to.expected !== null,
      ),
    )
  }

  /** The descriptor of a new upload. */
  openUpload(to: PublishTo): Promise<number> {
    return this.publishing(to, (request) => this.calls.openUpload(request))
  }

  publish(fd: number, to: PublishTo): Promise<HostPublished> {
    return this.publishing(to, (request) => this.calls.publish(request, fd))
  }

  private publishing<T>(to: PublishTo, call: (request: HostPublish) => Promise<T>): Promise<T> {
    return known(
      this.root.confined(
        [to.path],
        ([path], beneath) => call({ ...to, path, root: this.root.path, beneath }),
        to.expected !== null,
      ),
    )
  }
}

/** What replaces nothing takes the name as it is; all else goes where links lead. */
export function replaces(expected: ExpectedVersion): boolean {
  return expected !== null
}

export function fileOf({ seconds, nanoseconds, sizeBytes, version }: HostStat): ObjectStat {
  return { kind: 'file', sizeBytes, mtime: { seconds, nanoseconds }, version }
}

/** The host says what became of a call, but for files that it left half changed. */
async function known<T>(call: Promise<T>): Promise<T> {
  try {
    return await call
  } catch (error) {
    if (!isMarked(error, 'isTorn')) throw toStorageError(error)
    const { errno, message } = toStorageError(error)
    throw new StorageError(errno === 'ESTALE' ? 'EIO' : errno, message, { outcome: 'unknown', cause: error })
  }
}

/** All of `data`, at the descriptor's offset. */
export async function writeAll(fd: number, data: Uint8Array): Promise<void> {
  for (let done = 0; done < data.byteLength;) {
    const { bytesWritten } = await writeTo(fd, data, done, data.byteLength - done, null)
    done += bytesWritten
  }
}

/** An error of closing tells of nothing that fsync has not told. */
export async function closeQuietly(fd: number): Promise<void> {
  await closeDescriptor(fd).catch(() => undefined)
}
