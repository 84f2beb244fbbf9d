/** Runs a sequence of steps, and holds the file system to what it has promised (`promised.ts`). */
import type { ReadSink } from '../../../src/cache/content-source.js'
import { StorageError } from '../../../src/backends/storage-error.js'
import { FsError } from '../../../src/fs/fs-error.js'
import { Driver } from '../model/driver.js'
import type { Fault } from '../reference-store/faults.js'
import { ReferenceBackend, type ReferenceOptions } from '../reference-store/reference-backend.js'
import { O_CREAT, O_RDWR, O_TRUNC } from './guest.js'
import { ModelFile, type ModelHandle } from './promised.js'
import type { Step } from './steps.js'

const POOL_BYTES = 4 << 20
const PIECE_BYTES = 4096
/** Turns of the loop that what goes on in the background is given after each step. */
const SETTLING_TURNS = 30
/** Of one operation, ms: who is not done by then waits for ever. */
const DEADLINE_MS = 10_000
/** What tells of nothing but somebody else's doing. */
const CONFLICTS: readonly string[] = ['ESTALE', 'EEXIST']

export interface SequenceOptions {
  readonly store: ReferenceOptions
  readonly writeBack: boolean
  readonly dirtyMaxBytes: number | null
}

interface Open extends ModelHandle {
  readonly fh: number
  readonly file: ModelFile
  /** The file was emptied when it was opened: nothing of before is of any concern to it. */
  readonly isFresh: boolean
  /** No call has failed since it was opened. */
  isCalm: boolean
  failedSyncs: number
}

/** What went wrong; thrown at the first. */
export class BrokenPromise extends Error {}

export class SequenceRun {
  readonly trace: string[] = []
  private readonly backend: ReferenceBackend
  private readonly driver: Driver
  private readonly files = new Map<string, ModelFile>()
  private readonly slots = new Map<number, Open>()
  private fault: Fault | null = null
  private faultCalls = 0
  private step = 0
  private byte = 0
  private handleCount = 0

  constructor(private readonly options: SequenceOptions) {
    this.backend = new ReferenceBackend(options.store)
    this.backend.before = ({ method, path }) => this.trace.push(`    > ${method} ${path}`)
    this.backend.script = (call) => {
      if (!call.changes && call.method !== 'writer.write') return null
      if (this.fault === null || this.faultCalls === 0) return null
      this.faultCalls--
      this.trace.push(`    ! ${JSON.stringify(this.fault)}`)
      return this.fault
    }
    const { writeBack, dirtyMaxBytes } = options
    this.driver = new Driver({
      ...{ backend: this.backend, poolBytes: POOL_BYTES, expirationMs: Infinity, cacheEnabled: true },
      ...{ writeBack, dirtyMaxBytes, dirtyExpireMs: 60_000 },
    })
  }

  async run(steps: readonly Step[]): Promise<void> {
    for (const step of steps) {
      this.step++
      await this.take(step)
      await this.settle()
      await this.inspect()
    }
    await this.end()
  }

  // ---- steps

  private async take(step: Step): Promise<void> {
    switch (step.kind) {
      case 'open':
        return this.open(step)
      case 'write':
      case 'stream':
      case 'ftruncate':
        return this.change(step)
      case 'fsync':
      case 'flush':
      case 'close':
        return this.sync(step.kind, step.slot)
      case 'truncate':
        return this.truncate(step.file, step.sizeBytes)
      case 'rename':
        // Nothing guards a name against a write that arrives when it leads to something else.
        this.backend.arrive()
        return this.calmly(() => this.rename(step.file, step.to))
      case 'unlink':
        this.backend.arrive()
        return this.calmly(() => this.unlink(step.file))
      case 'sync':
        await this.attempt('sync', () => this.driver.fs.commitAll(() => undefined))
        return
      case 'evict':
        this.trace.push('evict')
        this.driver.fillPool()()
        return
      case 'fault':
        this.trace.push(`the next ${step.calls} calls: ${JSON.stringify(step.fault)}`)
        this.fault = step.fault
        this.faultCalls = step.calls
        for (const open of this.slots.values()) open.isCalm = false
        return
      case 'calm':
        this.calm()
    }
  }

  private calm(): void {
    this.trace.push('the store is well')
    this.faultCalls = 0
    this.backend.arrive()
  }

  private get isCalm(): boolean {
    return this.faultCalls === 0
  }

  /** What becomes of names by a call without an answer is not the question here. */
  private async calmly(work: () => Promise<void>): Promise<void> {
    const { faultCalls } = this
    this.faultCalls = 0
    await work()
    this.faultCalls = faultCalls
  }

  /** The errno, or null when it went well. */
  private async attempt(name: string, work: () => Promise<unknown>): Promise<string | null> {
    const line = this.trace.push(name) - 1
    let timer: NodeJS.Timeout | undefined
    const deadline = new Promise<never>((_resolve, reject) => {
      timer = setTimeout(() => {
        reject(new BrokenPromise(`${name} never ends`))
      }, DEADLINE_MS)
    })
    try {
      await Promise.race([work(), deadline])
      this.trace[line] = `${name}: ok`
      return null
    } catch (error) {
      if (!(error instanceof FsError || error instanceof StorageError)) throw error
      this.trace[line] = `${name}: ${error.errno}`
      if (CONFLICTS.includes(error.errno)) this.fail(`${name}: ${error.errno}, though nobody else is there`)
      return error.errno
    } finally {
      clearTimeout(timer)
    }
  }

  private fail(what: string): never {
    throw new BrokenPromise(what)
  }

  private async open(step: Extract<Step, { kind: 'open' }>): Promise<void> {
    const { slot, file: path, truncates } = step
    if (this.slots.has(slot)) return
    let fh = -1
    const flags = O_RDWR | (truncates ? O_TRUNC : 0)
    const errno = await this.attempt(`${slot} = open ${path}${truncates ? ' O_TRUNC' : ''}`, async () => {
      fh = await this.driver.create([path], flags & ~O_CREAT)
    })
    if (errno !== null) return
    let file = this.files.get(path)
    if (file === undefined) {
      file = new ModelFile(path)
      this.files.set(path, file)
    }
    if (truncates && file.data.length > 0) file.change(Buffer.alloc(0), this.step)
    const name = `handle ${++this.handleCount}`
    const state = { toldStep: -1, isUntold: false, isFresh: truncates, isCalm: this.isCalm, failedSyncs: 0 }
    const open: Open = { name, fh, file, ...state }
    file.handles.add(open)
    this.slots.set(slot, open)
  }

  private async change(step: Extract<Step, { kind: 'write' | 'stream' | 'ftruncate' }>): Promise<void> {
    const open = this.slots.get(step.slot)
    if (open === undefined) return
    if (step.kind === 'write') {
      const offset = Math.floor(step.place * (open.file.data.length + 1))
      await this.write(step.slot, open, offset, step.lengthBytes)
    } else if (step.kind === 'stream') {
      for (let piece = 0; piece < step.pieces; piece++)
        await this.write(step.slot, open, open.file.data.length, PIECE_BYTES)
    } else {
      const { sizeBytes } = step
      const errno = await this.attempt(`ftruncate ${step.slot} ${sizeBytes}`, () =>
        this.driver.truncateHandle(open.fh, sizeBytes),
      )
      if (errno === null) open.file.change(resized(open.file.data, sizeBytes), this.step)
      else open.file.told(open, this.step)
    }
  }

  private async write(slot: number, open: Open, offset: number, lengthBytes: number): Promise<void> {
    const { file } = open
    this.byte = (this.byte % 255) + 1
    const bytes = Buffer.alloc(lengthBytes, this.byte)
    let written = 0
    const errno = await this.attempt(`write ${slot} ${offset}+${lengthBytes} x${this.byte}`, async () => {
      written = await this.driver.write(open.fh, offset, bytes)
    })
    if (errno !== null) file.told(open, this.step)
    if (written === 0) return
    const data = resized(file.data, Math.max(file.data.length, offset + written))
    bytes.copy(data, offset, 0, written)
    file.change(data, this.step)
  }

  private async sync(kind: 'fsync' | 'flush' | 'close', slot: number): Promise<void> {
    const open = this.slots.get(slot)
    if (open === undefined) return
    const { file } = open
    const { isCalm } = this
    const errno = await this.attempt(`${kind === 'close' ? 'flush' : kind} ${slot}`, () =>
      kind === 'fsync' ? this.driver.fsync(open.fh) : this.driver.flush(open.fh),
    )
    if (errno !== null) this.syncFailed(open, isCalm)
    else if (kind === 'fsync' || !this.options.writeBack) this.syncSucceeded(open)
    if (kind !== 'close') return
    await this.attempt(`release ${slot}`, () => this.driver.release(open.fh))
    this.slots.delete(slot)
    file.handles.delete(open)
  }

  private syncFailed(open: Open, isCalm: boolean): void {
    if (open.isCalm && open.isFresh) this.fail(`${open.name} is told of an error that came before it`)
    if (isCalm && !open.isUntold && open.failedSyncs > 0) this.fail(`${open.name} is told twice`)
    if (isCalm) open.failedSyncs++
    open.file.told(open, this.step)
  }

  private syncSucceeded(open: Open): void {
    open.failedSyncs = 0
    const { file } = open
    if (file.isUnlinked) return
    if (open.isUntold) this.fail(`a sync of ${open.name} succeeds, and it was never told that data is gone`)
    const stored = this.backend.store.objects.get(file.path)?.data
    if (stored?.equals(file.data) !== true) {
      this.fail(
        `a sync of ${open.name} succeeds, and ${file.path} is stored as ${describe(stored ?? null)}, not ${describe(file.data)}`,
      )
    }
    file.promised()
  }

  private async truncate(path: string, sizeBytes: number): Promise<void> {
    const file = this.files.get(path)
    if (file === undefined) return
    const errno = await this.attempt(`truncate ${path} ${sizeBytes}`, () =>
      this.driver.truncate([path], sizeBytes),
    )
    // Refused, it may have been taken back.
    file.change(resized(file.data, sizeBytes), this.step)
    if (errno !== null) {
      file.told(null, this.step)
      for (const handle of file.handles) file.told(handle, this.step)
    } else if (
      !this.options.writeBack &&
      this.backend.store.objects.get(path)?.data.equals(file.data) !== true
    ) {
      this.fail(`truncate ${path} succeeds, and is not stored`)
    }
  }

  private async rename(from: string, to: string): Promise<void> {
    const file = this.files.get(from)
    if (file === undefined || from === to) return
    const errno = await this.attempt(`rename ${from} ${to}`, () => this.driver.rename([from], [to], 0))
    if (errno !== null) {
      file.told(null, this.step)
      this.files.get(to)?.told(null, this.step)
      return
    }
    const below = this.files.get(to)
    if (below !== undefined) {
      below.underneath ??= file.underneath
      file.underneath = below
    }
    this.orphan(to)
    this.files.delete(from)
    this.files.set(to, file)
    file.path = to
  }

  private async unlink(path: string): Promise<void> {
    if (!this.files.has(path)) return
    const errno = await this.attempt(`unlink ${path}`, () => this.driver.unlink([path]))
    if (errno === null) this.orphan(path)
  }

  private orphan(path: string): void {
    const file = this.files.get(path)
    if (file !== undefined) file.isUnlinked = true
    this.files.delete(path)
  }

  // ---- looking, without being seen

  private async settle(): Promise<void> {
    for (let turn = 0; turn < SETTLING_TURNS; turn++) await new Promise((resolve) => setImmediate(resolve))
  }

  private async inspect(): Promise<void> {
    await this.calmly(async () => {
      for (const [path, file] of [...this.files]) {
        const stored = this.backend.store.objects.get(path)?.data ?? null
        const why = file.whyNotStored(stored)
        if (why !== null) this.fail(`${path} is stored as ${describe(stored)}: ${why}`)
        const seen = await this.seen(path)
        if (seen?.equals(file.data) === true) continue
        this.trace.push(`    ${path} is ${describe(seen)}, not ${describe(file.data)}`)
        const wrong = file.lost(seen, this.noted > 0)
        if (wrong !== null) this.fail(`${path}: ${wrong}`)
        if (seen === null) this.files.delete(path)
      }
    })
  }

  /** Losses that the daemon tells of in its log. */
  private get noted(): number {
    return this.driver.log.filter((line) => line.includes('lost')).length
  }

  /** The file as the guest would read it, without a handle. A reader may be the first to hear of an upload that has failed; the next one reads what is left. */
  private async seen(path: string): Promise<Buffer | null> {
    try {
      return await this.look(path)
    } catch (error) {
      if (!(error instanceof FsError || error instanceof StorageError)) throw error
      this.trace.push(`    a look at ${path}: ${error.errno}`)
      return this.look(path)
    }
  }

  private async look(path: string): Promise<Buffer | null> {
    const inode = this.driver.known([path])
    const stored = this.backend.store.objects.get(path)?.data ?? null
    if (inode === null) return stored
    const { content } = inode
    if (content === null) return stored
    const pieces: Buffer[] = []
    const sink: ReadSink = {
      push: (poolOffset, bytes) => pieces.push(Buffer.from(this.driver.pool.view(poolOffset, bytes))),
      pushZeros: (bytes) => pieces.push(Buffer.alloc(bytes)),
    }
    const before = this.trace.length
    if (content.size > 0) await content.read(0, content.size, sink)
    this.trace.length = before
    return Buffer.concat(pieces)
  }

  /** The store is well, everything is closed and the daemon stopped: all is stored. */
  private async end(): Promise<void> {
    this.step++
    this.calm()
    for (const slot of [...this.slots.keys()]) {
      await this.sync('close', slot)
      await this.inspect()
    }
    const lost = await this.driver.fs.close(() => undefined)
    if (lost > 0) this.fail(`${lost} files are lost at the end, though the store is well`)
    await this.inspect()
    for (const [path, file] of this.files) {
      const stored = this.backend.store.objects.get(path)?.data ?? null
      if (stored?.equals(file.data) !== true)
        this.fail(`${path} is stored as ${describe(stored)} in the end, not ${describe(file.data)}`)
    }
  }
}

function resized(data: Buffer, sizeBytes: number): Buffer {
  const result = Buffer.alloc(sizeBytes)
  data.copy(result)
  return result
}

function describe(data: Buffer | null): string {
  if (data === null) return 'nothing'
  const runs: string[] = []
  for (let start = 0; start < data.length;) {
    let end = start
    while (end < data.length && data[end] === data[start]) end++
    runs.push(`${end - start}*x${data[start] ?? 0}`)
    start = end
  }
  return `[${runs.join(' ')}]`
}
