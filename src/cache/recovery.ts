/** Bringing to its store what an earlier process had staged, before anybody uses the store. */
import { open, type FileHandle } from 'node:fs/promises'
import type { Backend } from '../backends/backend.js'
import { BackendLayer, type BackendCall } from '../backends/layers/backend-layer.js'
import { StorageError, toStorageError } from '../backends/storage-error.js'
import type { Logger } from '../observability/logger.js'
import { NO_PLACE, tracedApart } from '../observability/traced.js'
import type { BlockCache } from './block-cache.js'
import type { ContentSource } from './content-source.js'
import { FileContent } from './file-content.js'
import { readAt } from './staged-record.js'
import type { Found, Staging } from './staging.js'
import { StoreAccount } from './store-account.js'

/** Bytes that go from a record into slabs at a time. */
const PIECE_BYTES = 1 << 20
/** A store that did not take what was staged is tried again at most this often, by the requests that wait for it. */
const RETRY_MS = 1000
/** Something else is at the file's path than what the staged bytes belong to. */
const CONFLICTS: readonly string[] = ['ESTALE', 'EEXIST', 'ENOENT', 'ENOTDIR', 'EISDIR']

/** One store's recovery, for all mounts and backend objects that lead to it. */
export class Recovery {
  private running: Promise<void> | null = null
  private error: StorageError | null = null
  private triedMs = -Infinity
  isDone = false

  constructor(
    private readonly staging: Staging,
    private readonly cache: BlockCache,
    private readonly logger: Logger,
    private readonly place = NO_PLACE,
  ) {
    this.isDone = staging.isEmpty
  }

  /** Resolves when the store has all that was staged for it; rejects with the error of the last try. */
  ready(backend: Backend): Promise<void> {
    if (this.isDone) return Promise.resolve()
    if (this.running !== null) return this.running
    if (this.error !== null && performance.now() - this.triedMs < RETRY_MS) return Promise.reject(this.error)
    this.triedMs = performance.now()
    const about = () => this.place.subject('')
    this.running = tracedApart('cache.recovery', about, () => this.run(backend)).finally(() => {
      this.running = null
    })
    return this.running
  }

  private async run(backend: Backend): Promise<void> {
    try {
      const found = await this.staging.found()
      for (const record of found) await this.recover(backend, record)
      this.isDone = true
      if (found.length > 0)
        this.logger.info({ files: found.length }, 'stored what an earlier daemon had staged')
    } catch (error) {
      this.error = toStorageError(error)
      this.logger.error(
        { err: error, directory: this.staging.directory },
        'what an earlier daemon has staged could not be stored yet; until then the mount answers with this error',
      )
      throw this.error
    }
  }

  private async recover(backend: Backend, record: Found): Promise<void> {
    const path = await currentPath(backend, record)
    const handle = await open(this.staging.pathOf(record.id))
    try {
      await this.store(backend, record, path, handle)
    } catch (error) {
      if (!(error instanceof StorageError) || !CONFLICTS.includes(error.errno)) throw error
      if (!(await isStored(backend, record, path, handle))) {
        const keptAs = await this.staging.setAside(record.id)
        this.logger.error(
          { path, keptAs, err: error },
          'a staged file was changed by others; its bytes are kept',
        )
        return
      }
    } finally {
      await handle.close()
    }
    await this.staging.forget(record.id)
  }

  private async store(backend: Backend, record: Found, path: string, handle: FileHandle): Promise<void> {
    const { base, baseLimit, sizeBytes } = record
    const stored = base === null ? null : await backend.stat(path, 'file')
    if (base !== null && stored?.version !== base)
      throw new StorageError('ESTALE', `${path}: another version`)
    const content = new FileContent(this.cache, new RecoveredFile(backend, path, record), stored)
    try {
      content.mayReplaceAny = record.replacesAny
      if (baseLimit < content.size) content.resize(baseLimit)
      await writeRanges(content, record, handle)
      content.resize(sizeBytes)
      await content.commit()
    } finally {
      await content.cancel()
    }
  }
}

/** While it is being renamed, a file may be at either place. */
async function currentPath(backend: Backend, { paths, base }: Found): Promise<string> {
  const newest = paths.at(-1) ?? ''
  if (base === null || paths.length === 1) return newest
  for (const path of paths) {
    if ((await backend.stat(path, 'file'))?.version === base) return path
  }
  return newest
}

async function writeRanges(content: FileContent, { ranges }: Found, handle: FileHandle): Promise<void> {
  let position = 0
  for (const [start, end] of ranges) {
    for (let offset = start; offset < end;) {
      const piece = await readAt(handle, position, Math.min(PIECE_BYTES, end - offset))
      const { pool } = content.cache
      const written = await content.write(offset, piece.length, {
        pull: (from, poolOffset, lengthBytes) => {
          pool.view(poolOffset, lengthBytes).set(piece.subarray(from, from + lengthBytes))
        },
      })
      offset += written
      position += written
    }
  }
}

/** The death may have come between the commit and the end of the record: then the store has these very bytes. */
async function isStored(
  backend: Backend,
  { ranges, sizeBytes }: Found,
  path: string,
  handle: FileHandle,
): Promise<boolean> {
  const stat = await backend.stat(path, 'file')
  if (stat?.kind !== 'file' || stat.sizeBytes !== sizeBytes) return false
  let position = 0
  for (const [start, end] of ranges) {
    for (let offset = start; offset < end; offset += PIECE_BYTES) {
      const lengthBytes = Math.min(PIECE_BYTES, end - offset)
      const staged = await readAt(handle, position, lengthBytes)
      if (!staged.equals(await backend.read(path, offset, lengthBytes, stat.version))) return false
      position += lengthBytes
    }
  }
  return true
}

/** A staged file as its contents see it: nobody renames, opens or changes it meanwhile. */
class RecoveredFile implements ContentSource {
  readonly account = new StoreAccount()
  readonly isOpen = false
  readonly hasUnsavedAttributes = false

  constructor(
    readonly backend: Backend,
    readonly path: string,
    private readonly record: Found,
  ) {}

  isAtOrBelow(): boolean {
    return false
  }

  withPath<T>(work: (path: string) => Promise<T>): Promise<T> {
    return work(this.path)
  }

  revalidate(): Promise<void> {
    return Promise.reject(new StorageError('ESTALE', `${this.path}: another version`))
  }

  noteStored(): void {
    // Nobody asks.
  }

  async committed(): Promise<void> {
    const { mtime } = this.record
    if (mtime !== null && this.backend.capabilities.setModificationTime)
      await this.backend.setModificationTime(this.path, mtime)
  }

  attributesToStage(): { mtime: null; attributes: undefined } {
    return { mtime: null, attributes: undefined }
  }

  takeAttributes(): Found['attributes'] {
    return this.backend.capabilities.attributes ? this.record.attributes : undefined
  }

  storeAttributes(): Promise<void> {
    return Promise.resolve()
  }

  discardAttributes(): void {
    // They are in the record.
  }

  settled(): void {
    // Nobody waits.
  }
}

/** The same store, which nobody reaches before what was staged for it is there. */
export function recoverFirst(backend: Backend, recovery: Recovery): Backend {
  if (recovery.isDone) return backend
  recovery.ready(backend).catch(() => undefined)
  return new RecoveringBackend(backend, recovery)
}

class RecoveringBackend extends BackendLayer {
  constructor(
    inner: Backend,
    private readonly recovery: Recovery,
  ) {
    super(inner)
  }

  protected override around<T>(_call: BackendCall, run: (store: Backend) => Promise<T>): Promise<T> {
    const { inner, recovery } = this
    return recovery.isDone ? run(inner) : recovery.ready(inner).then(() => run(inner))
  }
}
