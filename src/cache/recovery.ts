/** Bringing to its store what an earlier process had staged, before anybody sees those files. */
import type { Backend, DirectoryEntry, DirectoryPage, EntryKind, RenameOptions } from '../backends/backend.js'
import { forEachConcurrently } from '../backends/concurrency.js'
import {
  BackendLayer,
  required,
  type BackendCall,
  type BackendMethod,
} from '../backends/layers/backend-layer.js'
import type { StorageError } from '../backends/storage-error.js'
import { toStorageError } from '../backends/storage-error.js'
import type { Logger } from '../observability/logger.js'
import { NO_PLACE, tracedApart } from '../observability/traced.js'
import { BrokenRecordError } from './record-reader.js'
import { recoverRecord, type Recovered } from './recover-record.js'
import type { BrokenRecord, Found, Staging } from './staging.js'

/** A file whose store did not take it is tried again at most this often, by the requests that wait for it. */
const RETRY_MS = 1000
/** The same failure is told at most this often. */
const TELL_AGAIN_MS = 60_000
/** Records on their way at a time: each has a part of its file in memory. */
const CONCURRENCY = 4

/** Calls that tell which names are in a directory. */
const LISTS: ReadonlySet<BackendMethod> = new Set<BackendMethod>(['list', 'listPage', 'listSmall'])

/** A record that its store does not have yet. */
class PendingRecord {
  private running: Promise<void> | null = null
  private error: StorageError | null = null
  private triedMs = -Infinity

  constructor(
    readonly record: Found,
    private readonly recover: () => Promise<void>,
  ) {}

  /** Resolves when the store has it; rejects with the error of the last try. */
  stored(): Promise<void> {
    if (this.running !== null) return this.running
    if (this.error !== null && performance.now() - this.triedMs < RETRY_MS) return Promise.reject(this.error)
    this.triedMs = performance.now()
    this.running = this.recover()
      .catch((error: unknown) => {
        this.error = toStorageError(error)
        throw this.error
      })
      .finally(() => {
        this.running = null
      })
    return this.running
  }

  /** The call sees, replaces or moves the file. */
  isConcernedBy({ method, path, to }: BackendCall): boolean {
    return this.record.paths.some((own) => {
      if (own === path || own === to) return true
      if (LISTS.has(method)) return directoryOf(own) === path
      const takesTree = method === 'rename' || method === 'removeDirectory'
      return takesTree && (own.startsWith(`${path}/`) || (to !== '' && own.startsWith(`${to}/`)))
    })
  }
}

function directoryOf(path: string): string {
  return path.slice(0, Math.max(0, path.lastIndexOf('/')))
}

/** One store's recovery, for all mounts and backend objects that lead to it. */
export class Recovery {
  /** null: nobody has looked yet. */
  private pending: Set<PendingRecord> | null = null
  private scanning: Promise<void> | null = null
  private triedMs = -Infinity
  private isTrying = false
  private toldFailure = ''
  private toldMs = -Infinity
  isDone: boolean

  constructor(
    private readonly staging: Staging,
    private readonly logger: Logger,
    private readonly place = NO_PLACE,
  ) {
    this.isDone = staging.isEmpty
  }

  /** Begin, and go on whenever somebody asks for anything: nobody waits for it. */
  begin(backend: Backend): void {
    if (this.isDone || this.isTrying || performance.now() - this.triedMs < RETRY_MS) return
    this.triedMs = performance.now()
    this.isTrying = true
    const about = () => this.place.subject('')
    void tracedApart('cache.recovery', about, () => this.tryAll(backend))
      .catch((error: unknown) => {
        this.tellFailure(toStorageError(error))
      })
      .finally(() => {
        this.isTrying = false
      })
  }

  /** A store that is away fails each try with the same words. */
  private tellFailure(error: StorageError): void {
    const nowMs = performance.now()
    if (error.message === this.toldFailure && nowMs - this.toldMs < TELL_AGAIN_MS) return
    this.toldFailure = error.message
    this.toldMs = nowMs
    this.logger.error(
      { err: error, directory: this.staging.directory },
      'what an earlier daemon has staged could not be stored yet; until then, those files answer with this error',
    )
  }

  private async tryAll(backend: Backend): Promise<void> {
    await this.scan(backend)
    const pending = [...(this.pending ?? [])]
    const errors: unknown[] = []
    await forEachConcurrently(pending, CONCURRENCY, (entry) =>
      entry.stored().catch((error: unknown) => {
        errors.push(error)
      }),
    )
    if (errors.length > 0) throw errors[0] as Error
    if (pending.length > 0)
      this.logger.info({ files: pending.length }, 'stored what an earlier daemon had staged')
  }

  /** Resolves when it is known which files are concerned. */
  private scan(backend: Backend): Promise<void> {
    if (this.pending !== null) return Promise.resolve()
    this.scanning ??= this.look(backend).finally(() => {
      this.scanning = null
    })
    return this.scanning
  }

  private async look(backend: Backend): Promise<void> {
    const found = await this.staging.found((broken) => {
      this.tellBroken(broken)
    })
    const pending = new Set<PendingRecord>()
    for (const record of found) {
      const entry: PendingRecord = new PendingRecord(record, () => this.recover(backend, record, entry))
      pending.add(entry)
    }
    this.pending = pending
    this.isDone = pending.size === 0
  }

  private tellBroken({ keptAs, error }: BrokenRecord): void {
    this.logger.error(
      { keptAs, err: error },
      'a staged file can not be read as it was written: what was changed of it is lost, and what is left of the record is kept',
    )
  }

  private async recover(backend: Backend, record: Found, entry: PendingRecord): Promise<void> {
    try {
      this.tell(record, await recoverRecord(backend, this.staging, record))
    } catch (error) {
      if (!(error instanceof BrokenRecordError)) throw error
      this.tellBroken({ keptAs: await this.staging.setBroken(record.id), error })
    }
    this.pending?.delete(entry)
    this.isDone = this.pending?.size === 0
  }

  private tell({ paths }: Found, recovered: Recovered): void {
    if (recovered.kind === 'stored') return
    const { error, keptAs } = recovered
    this.logger.error(
      { path: paths.at(-1), keptAs, err: error },
      'a staged file was changed by others; its bytes are kept',
    )
  }

  /** Resolves when the call may be made; rejects where it is about a file that its store does not have yet. */
  async before(backend: Backend, call: BackendCall): Promise<void> {
    this.begin(backend)
    await this.scan(backend).catch((error: unknown) => {
      throw toStorageError(error)
    })
    for (const entry of this.pending ?? []) if (entry.isConcernedBy(call)) await entry.stored()
  }

  /** See `Staging`. That the disk does not do it is no reason to refuse what the store can do. */
  flushForgotten(): Promise<void> {
    return this.staging.flushForgotten().catch(() => undefined)
  }

  /** Names of files in the directory that the store does not have yet: they are there, if nobody can read them. */
  namesIn(directory: string): string[] {
    const names: string[] = []
    for (const { record } of this.pending ?? []) {
      const path = record.paths.at(-1) ?? ''
      if (directoryOf(path) === directory) names.push(path.slice(path.lastIndexOf('/') + 1))
    }
    return names
  }
}

/**
 * The same store, in which nobody sees a file that was staged before the store has it, and in which no file goes from where it was
 * stored while the disk may still bring back its record.
 */
export function recoverFirst(backend: Backend, recovery: Recovery): Backend {
  recovery.begin(backend)
  return new RecoveringBackend(backend, recovery)
}

const NONE = Promise.resolve(null)

class RecoveringBackend extends BackendLayer {
  declare readonly listPage?: NonNullable<Backend['listPage']>
  declare readonly listSmall?: NonNullable<Backend['listSmall']>

  constructor(
    inner: Backend,
    private readonly recovery: Recovery,
  ) {
    super(inner)
    // Until then, `list` knows what is missing.
    if (inner.listPage !== undefined)
      this.listPage = (path, token, maxEntries) =>
        recovery.isDone || token !== null
          ? required(inner.listPage?.(path, token, maxEntries))
          : this.firstPage(path, maxEntries)
    if (inner.listSmall !== undefined)
      this.listSmall = (path) => (recovery.isDone ? (inner.listSmall?.(path) ?? NONE) : NONE)
  }

  protected override around<T>(call: BackendCall, run: (store: Backend) => Promise<T>): Promise<T> {
    const { inner, recovery } = this
    return recovery.isDone ? run(inner) : recovery.before(inner, call).then(() => run(inner))
  }

  override async removeFile(path: string): Promise<void> {
    await this.recovery.flushForgotten()
    await super.removeFile(path)
  }

  override async rename(from: string, to: string, kind: EntryKind, options?: RenameOptions): Promise<void> {
    await this.recovery.flushForgotten()
    await super.rename(from, to, kind, options)
  }

  /** A page like any other where the store has all that is to be in the directory; else all of the directory is one. */
  private async firstPage(path: string, maxEntries: number | undefined): Promise<DirectoryPage> {
    const { inner, recovery } = this
    const call = { method: 'listPage', path, sizeBytes: 0, offset: 0, to: '' } as const
    try {
      await recovery.before(inner, call)
    } catch {
      return { entries: await this.list(path), next: null }
    }
    return required(inner.listPage?.(path, null, maxEntries))
  }

  override async list(path: string): Promise<DirectoryEntry[]> {
    const { inner, recovery } = this
    if (recovery.isDone) return inner.list(path)
    try {
      return await super.list(path)
    } catch (error) {
      const names = recovery.namesIn(path)
      if (names.length === 0) throw error
      const entries = await inner.list(path)
      const present = new Set(entries.map(({ name }) => name))
      const missing = names.filter((name) => !present.has(name))
      return [...entries, ...missing.map((name) => ({ name, kind: 'file' as const, stat: null }))]
    }
  }
}
