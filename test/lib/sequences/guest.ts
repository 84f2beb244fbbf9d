/**
 * A guest's programs over a `ReferenceStore`: each operation is noted with its outcome, and what went wrong for good is collected.
 * Letters tell whose bytes are whose: capitals are a version that somebody else has stored, small ones are writes of the guest.
 */
import { RESERVED_DIRECTORY } from '../../../src/backends/backend.js'
import { StorageError } from '../../../src/backends/storage-error.js'
import { FsError } from '../../../src/fs/fs-error.js'
import { Driver, type DriverOptions } from '../model/driver.js'
import type { ReferenceBackend } from '../reference-store/reference-backend.js'
import type { Destroyed, StoredVersion } from '../reference-store/reference-store.js'

export const O_RDONLY = 0
export const O_RDWR = 2
export const O_CREAT = 0o100
export const O_EXCL = 0o200
export const O_TRUNC = 0o1000
export const O_APPEND = 0o2000

const LETTER_A = 0x61
const LETTER_Z = 0x7a
const POOL_BYTES = 4 << 20
/** Of one operation, ms: no fake store takes as long, so who is not done by then waits for ever. */
const OPERATION_DEADLINE_MS = 10_000

/** A write of the guest's that nobody has vouched for yet. */
interface Patch {
  readonly offset: number
  readonly bytes: Buffer
  /** Length of the store's history then. */
  readonly since: number
}

export interface Handle {
  readonly fh: number
  readonly flags: number
  path: string
  patches: Patch[]
  /** It has a name still, so what is written to it is stored. */
  isNamed: boolean
  /** The guest has changed the file by this handle. */
  hasChanged: boolean
}

/** What the file system answered: a value or an errno. */
type Outcome = string

export interface GuestOptions extends Partial<DriverOptions> {
  readonly backend: ReferenceBackend
}

export class Guest {
  readonly driver: Driver
  readonly backend: ReferenceBackend
  /** One line for each operation, call of the store and act of somebody else. */
  readonly trace: string[] = []
  /** What may never happen, and has. */
  readonly violations: string[] = []
  readonly errors: { readonly operation: string; readonly errno: string }[] = []
  /** Contents of others that the guest knew of, with nothing unsaved of its own over them. */
  private readonly known = new Set<number>()
  /** Names that the operation under way is about. */
  private names: readonly string[] = []
  private destroyedSeen = 0
  private letter = LETTER_A
  private readonly handles = new Set<Handle>()

  constructor(options: GuestOptions) {
    const { backend } = options
    this.backend = backend
    this.driver = new Driver({
      ...{ poolBytes: POOL_BYTES, expirationMs: 0, cacheEnabled: true, writeBack: false },
      dirtyExpireMs: 60_000,
      ...options,
    })
    backend.onTold = (path, object) => {
      if (this.driver.known(path.split('/'))?.content?.isBusy !== true) this.known.add(object.contentsId)
    }
  }

  // ---- operations; none throws

  /** Run one operation, and look at what it has done to the store. Undefined: it failed. */
  private async operation<T>(
    name: string,
    names: readonly string[],
    work: () => Promise<T>,
  ): Promise<T | undefined> {
    this.names = names
    const line = this.trace.push(name) - 1
    let outcome: Outcome = 'ok'
    let result: T | undefined
    try {
      result = await this.within(name, work())
      if (typeof result === 'number') outcome = String(result)
    } catch (error) {
      if (!(error instanceof FsError || error instanceof StorageError)) throw error
      outcome = error.errno
      this.errors.push({ operation: name, errno: error.errno })
    }
    this.trace[line] = `${name}: ${outcome}`
    this.checkDestroyed()
    this.names = []
    return result
  }

  private async within<T>(name: string, work: Promise<T>): Promise<T> {
    let timer: NodeJS.Timeout | undefined
    const deadline = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(() => {
        this.violations.push(`${name} never ends`)
        reject(new FsError('ETIMEDOUT', 'it never ends'))
      }, OPERATION_DEADLINE_MS)
    })
    try {
      return await Promise.race([work, deadline])
    } finally {
      clearTimeout(timer)
    }
  }

  async open(path: string, flags: number): Promise<Handle | undefined> {
    const names = path.split('/')
    const kind = `open ${path} ${flags.toString(8)}`
    const fh = await this.operation(kind, [], () =>
      (flags & O_CREAT) === 0 ? this.driver.open(names, flags) : this.driver.create(names, flags & ~O_CREAT),
    )
    if (fh === undefined) return undefined
    const handle = { fh, flags, path, patches: [], isNamed: true, hasChanged: (flags & O_TRUNC) !== 0 }
    this.handles.add(handle)
    return handle
  }

  async write(handle: Handle | undefined, offset: number, lengthBytes: number): Promise<void> {
    if (handle === undefined) return
    const bytes = Buffer.alloc(lengthBytes, this.letter)
    const letter = String.fromCharCode(this.letter)
    this.letter = this.letter === LETTER_Z ? LETTER_A : this.letter + 1
    const since = this.backend.store.history.length
    const isAppend = (handle.flags & O_APPEND) !== 0
    const at = isAppend ? this.driver.sizeOf(handle.fh) : offset
    const written = await this.operation(`write ${handle.path} ${at}+${lengthBytes} ${letter}`, [], () =>
      this.driver.write(handle.fh, offset, bytes, handle.flags & O_APPEND),
    )
    if (written === undefined) return
    handle.hasChanged = true
    handle.patches.push({ offset: at, bytes: bytes.subarray(0, written), since })
  }

  async read(handle: Handle | undefined, offset: number, lengthBytes: number): Promise<void> {
    if (handle === undefined) return
    const bytes = await this.operation(`read ${handle.path} ${offset}+${lengthBytes}`, [], () =>
      this.driver.read(handle.fh, offset, lengthBytes),
    )
    if (bytes === undefined) return
    const endsAt = bytes.length < lengthBytes && !this.isChanged(handle.path) ? offset + bytes.length : null
    if (!this.isOfOneVersion(offset, bytes, endsAt))
      this.violations.push(
        `read ${handle.path} ${offset}+${lengthBytes} is of no single version: ${abbreviate(bytes)}`,
      )
  }

  private isChanged(path: string): boolean {
    return [...this.handles].some((handle) => handle.path === path && handle.hasChanged)
  }

  async fsync(handle: Handle | undefined): Promise<void> {
    if (handle === undefined) return
    const isDone = await this.operation(`fsync ${handle.path}`, [], () => done(this.driver.fsync(handle.fh)))
    if (isDone === true) this.requireStored(handle, 'fsync')
  }

  async flush(handle: Handle | undefined): Promise<void> {
    if (handle === undefined) return
    const isDone = await this.operation(`flush ${handle.path}`, [], () => done(this.driver.flush(handle.fh)))
    if (isDone === true && !this.driver.fs.options.writeBack) this.requireStored(handle, 'flush')
  }

  async close(handle: Handle | undefined): Promise<void> {
    if (handle === undefined || !this.handles.has(handle)) return
    await this.flush(handle)
    await this.operation(`release ${handle.path}`, [], () => done(this.driver.release(handle.fh)))
    this.handles.delete(handle)
  }

  async truncate(path: string, sizeBytes: number): Promise<void> {
    for (const handle of this.handles) if (handle.path === path) cut(handle, sizeBytes)
    await this.operation(`truncate ${path} ${sizeBytes}`, [], () =>
      done(this.driver.truncate(path.split('/'), sizeBytes)),
    )
  }

  async ftruncate(handle: Handle | undefined, sizeBytes: number): Promise<void> {
    if (handle === undefined) return
    cut(handle, sizeBytes)
    handle.hasChanged = true
    await this.operation(`ftruncate ${handle.path} ${sizeBytes}`, [], () =>
      done(this.driver.truncateHandle(handle.fh, sizeBytes)),
    )
  }

  async unlink(path: string): Promise<void> {
    const isDone = await this.operation(`unlink ${path}`, [path], () =>
      done(this.driver.unlink(path.split('/'))),
    )
    if (isDone === true) this.forget(path)
  }

  async rename(from: string, to: string): Promise<void> {
    const isDone = await this.operation(`rename ${from} ${to}`, [from, to], () =>
      done(this.driver.rename(from.split('/'), to.split('/'), 0)),
    )
    if (isDone !== true) return
    this.forget(to)
    for (const handle of this.handles) {
      if (handle.path === from || handle.path.startsWith(`${from}/`))
        handle.path = to + handle.path.slice(from.length)
    }
  }

  /** The name leads to something else now: nobody vouches for what is written to the file that it had. */
  private forget(path: string): void {
    for (const handle of this.handles) {
      if (handle.path !== path) continue
      handle.path = `(was ${path})`
      handle.isNamed = false
      handle.patches = []
    }
  }

  async mkdir(path: string): Promise<void> {
    await this.operation(`mkdir ${path}`, [path], () => done(this.driver.mkdir(path.split('/'))))
  }

  async rmdir(path: string): Promise<void> {
    await this.operation(`rmdir ${path}`, [path], () => done(this.driver.rmdir(path.split('/'))))
  }

  async utimens(path: string): Promise<void> {
    const mtime = { seconds: 1_600_000_000, nanoseconds: 0 }
    await this.operation(`utimens ${path}`, [], () => done(this.driver.setattr(path.split('/'), { mtime })))
  }

  async chmod(path: string, mode: number): Promise<void> {
    const name = `chmod ${path} ${mode.toString(8)}`
    await this.operation(name, [], () => done(this.driver.setattr(path.split('/'), { mode })))
  }

  async copy(from: Handle | undefined, to: Handle | undefined, lengthBytes: number): Promise<void> {
    if (from === undefined || to === undefined) return
    await this.operation(`copy_file_range ${from.path} ${to.path}`, [], () =>
      this.driver.copyRange(from.fh, to.fh, lengthBytes),
    )
    to.hasChanged = true
  }

  /** As `sync` does: what cannot be stored now is tried again by whoever comes next. */
  async syncAll(): Promise<void> {
    await this.operation('sync', [], () => this.driver.fs.commitAll(() => undefined))
  }

  /** Everything is closed, and the daemon stopped. */
  async finish(): Promise<void> {
    for (const handle of [...this.handles]) await this.close(handle)
    await this.operation('stop', [], () => this.driver.fs.close(() => undefined))
    this.checkStored()
  }

  // ---- what may never happen

  /** A sync succeeded: what this handle has written was stored, in one piece, since it was written. */
  private requireStored(handle: Handle, what: string): void {
    const { patches } = handle
    handle.patches = []
    const since = patches.at(-1)?.since
    if (since === undefined || !handle.isNamed) return
    const wanted = new Map<number, number>()
    for (const { offset, bytes } of patches) bytes.forEach((byte, index) => wanted.set(offset + index, byte))
    const holds = ({ data }: StoredVersion): boolean =>
      [...wanted].every(([offset, byte]) => data[offset] === byte)
    const stored = this.backend.store.history
      .slice(since)
      .some(({ path, object }) => !isOurs(path) && object.author === 'daemon' && holds(object))
    if (!stored) this.violations.push(`${what} ${handle.path} succeeded, and what was written is not stored`)
  }

  /** What was of others and is nowhere now: was it known to the guest, or did the guest ask for just that? */
  private checkDestroyed(): void {
    const { destroyed } = this.backend.store
    for (; this.destroyedSeen < destroyed.length; this.destroyedSeen++) {
      const loss = destroyed[this.destroyedSeen]
      if (loss === undefined || loss.by === 'outside' || loss.object.author === 'daemon') continue
      if (!this.wasMeant(loss))
        this.violations.push(
          `${loss.method} has destroyed ${abbreviate(loss.object.data)} at ${loss.path}, which the guest did not know of`,
        )
    }
  }

  private wasMeant({ path, method, object, replacedBy }: Destroyed): boolean {
    if (isOurs(path)) return true
    // Writes of the guest's over that very version.
    const isKept = replacedBy !== null && replacedBy.data.length >= object.data.length
    if (
      isKept &&
      isOver(object.data, 0, replacedBy.data.subarray(0, object.data.length)) &&
      replacedBy.data.some(isCapital)
    )
      return true
    const isByName = method.startsWith('rename') || method === 'removeFile'
    const isNamed = this.names.some((name) => path === name || path.startsWith(`${name}/`))
    return isByName ? isNamed : this.known.has(object.contentsId)
  }

  /** No object of the daemon's holds bytes of two versions of others. */
  private checkStored(): void {
    for (const { path, object } of this.backend.store.history) {
      if (object.author === 'daemon' && !this.isOfOneVersion(0, object.data, null))
        this.violations.push(`stored at ${path} is of no single version: ${abbreviate(object.data)}`)
    }
  }

  private isOfOneVersion(offset: number, bytes: Buffer, endsAt: number | null): boolean {
    return (
      (endsAt === null && !bytes.some(isCapital)) ||
      this.backend.store.history.some(
        ({ object: { data } }) =>
          (endsAt === null || (bytes.length === 0 ? data.length <= endsAt : data.length === endsAt)) &&
          isOver(data, offset, bytes),
      )
    )
  }

  /** All that there is to tell of a run. */
  report(): string {
    return this.trace.map((line) => `    ${line}`).join('\n')
  }
}

function isCapital(byte: number): boolean {
  return byte >= 0x41 && byte <= 0x5a
}

/** What is of others in `bytes`, which lie at `offset` of the file, is as in `base`. */
function isOver(base: Buffer, offset: number, bytes: Buffer): boolean {
  if (bytes.equals(base.subarray(offset, offset + bytes.length))) return true
  for (let index = 0; index < bytes.length; index++) {
    const byte = bytes[index] as number
    if (byte >= 0x41 && byte <= 0x5a && byte !== base[offset + index]) return false
  }
  return true
}

/** Below the daemon's own directory: no name of the guest's. */
function isOurs(path: string): boolean {
  return path.startsWith(`${RESERVED_DIRECTORY}/`)
}

function cut(handle: Handle, sizeBytes: number): void {
  handle.patches = handle.patches
    .filter(({ offset }) => offset < sizeBytes)
    .map((patch) => ({ ...patch, bytes: patch.bytes.subarray(0, sizeBytes - patch.offset) }))
}

async function done(work: Promise<unknown>): Promise<true> {
  await work
  return true
}

/** Runs of one letter as a count and that letter. */
export function abbreviate(bytes: Uint8Array): string {
  const text = Buffer.from(bytes).toString('latin1').replaceAll('\0', '.')
  const runs = text.match(/(.)\1*/gs) ?? []
  return `"${runs.map((run) => (run.length > 3 ? `${run.length}${run[0] ?? ''}` : run)).join(' ')}"`
}
