import { beginBurst, endBurst, monotonicMs } from '../backends/clock.js'
import type { FileSystem } from '../fs/file-system.js'
import { errnoNumber, errnoOf } from '../fs/fs-error.js'
import { FsError, HostError } from '../fs/fs-error.js'
import type { Passthrough } from '../passthrough/passthrough.js'
import { CircuitOpenError } from '../backends/layers/circuit.js'
import { StorageError } from '../backends/storage-error.js'
import type { Arena } from '../virtio/arena.js'
import { Opcode } from './fuse-abi.js'
import { handlers, hasNoReply, type HandlerContext } from './handlers.js'
import { passthroughHandlers } from './passthrough-handlers.js'
import { DeferredReplies } from '../virtio/deferred-replies.js'
import { operationOf } from '../observability/operations.js'
import type { RequestRecord, RequestWatcher } from '../observability/request-record.js'
import type { Interposer, Verdict } from '../interpose/interposer.js'
import type { Mount } from '../fs/mount.js'
import { BurstCounts, countedOpcode } from './burst-counts.js'
import { META_FLAGS, META_REPLY_BYTES, REPLY_FLAG_NONE, type NativeDevice } from '../virtio/native.js'
import { Request } from './request.js'
import { RequestDetails } from './request-details.js'
import type { Session } from './session.js'

const US_PER_MS = 1000
/** Unknown opcodes that the log has a line of: more than any kernel has, and few of all that a guest may send. */
const MAX_TOLD_OPCODES = 64

/** Takes bursts of requests from the device, has each handled, and hands the finished ones back. */
export class Dispatcher {
  private readonly requests: Request[] = []
  private readonly context: HandlerContext
  private readonly deferred: DeferredReplies
  private doneCount = 0
  private isInBurst = false
  private isFlushScheduled = false
  /** Of those that are no operations of FUSE, only so many are told of. */
  private readonly knownUnsupported = new Set<number>()
  private readonly details: RequestDetails
  private readonly burst: BurstCounts
  private readonly watchers = new Set<RequestWatcher>()
  /** There are any. */
  private isWatched = false

  constructor(
    private readonly fs: FileSystem,
    private readonly passthrough: Passthrough,
    private readonly session: Session,
    private readonly device: NativeDevice,
    private readonly arena: Arena,
    readonly slots: number,
    /** Whether requests are counted and timed: see `setCounting`. */
    private countsRequests: boolean,
  ) {
    this.details = new RequestDetails(fs, passthrough)
    this.burst = new BurstCounts(arena)
    this.context = { fs, session, passthrough }
    this.deferred = new DeferredReplies(arena, device, slots)
    for (let slot = 0; slot < slots; slot++)
      this.requests.push(new Request(slot, arena, device, this.deferred))
    // A slab that is given out again would change under a reply that has only named it.
    fs.cache.pool.beforeLease = () => {
      this.deferred.copyNow()
    }
  }

  /** Show it every request from now on, until `unwatch`. Requests take several times as long meanwhile. */
  watch(watcher: RequestWatcher): void {
    this.watchers.add(watcher)
    this.isWatched = true
  }

  unwatch(watcher: RequestWatcher): void {
    this.watchers.delete(watcher)
    this.isWatched = this.watchers.size > 0
  }

  /** The front-end went away. */
  disconnected(): void {
    for (const watcher of this.watchers) watcher.onDisconnect?.()
  }

  /** The device's `onRequests`: handle a burst; returns how many slots are finished. */
  onRequests(readyCount: number): number {
    if (this.countsRequests) this.settleCounts()
    this.isInBurst = true
    beginBurst()
    this.deferred.beginBurst()
    for (let i = 0; i < readyCount; i++)
      this.handle(this.requests[this.arena.ready[i] as number] as Request, i)
    endBurst()
    this.deferred.endBurst()
    this.isInBurst = false
    if (this.countsRequests) this.burst.end()
    const finished = this.doneCount
    this.doneCount = 0
    return finished
  }

  /** Count and time requests from now on, or no more. Not within a burst. */
  setCounting(countsRequests: boolean): void {
    this.settleCounts()
    this.countsRequests = countsRequests
  }

  /** Add the last burst to the counters, which is done at the next one or by who is about to read them. */
  settleCounts(): void {
    this.burst.settle()
  }

  /** `index`: in the ready list. */
  private handle(request: Request, index: number): void {
    const mount = this.details.mountOf(request.nodeid)
    request.begin(this.session.epoch)
    const { operations } = mount
    if (operations !== this.burst.only && this.countsRequests) this.burst.meet(operations, index)
    if (this.isWatched) this.handleWatched(request, mount)
    else if (mount.interposer !== null) this.handleInterposed(request, mount.interposer)
    else this.answer(request)
  }

  /** Let the request's handler answer it, now or later. */
  private answer(request: Request, record: RequestRecord | null = null): void {
    const { opcode } = request
    try {
      const pending = this.run(request)
      if (pending !== undefined) {
        this.finishLater(request, record, pending)
        return
      }
    } catch (error) {
      this.fail(request, opcode, error)
    }
    this.finish(request, record)
  }

  private run(request: Request): void | Promise<void> {
    const { opcode } = request
    const table = this.passthrough.inodes.owns(request.nodeid) ? passthroughHandlers : handlers
    const handler = this.session.isInitialized || opcode === Opcode.INIT ? table[opcode] : undefined
    if (handler !== undefined) return handler(this.context, request)
    this.refuse(request, opcode)
  }

  /** For `watchers`, each request is timed by itself, and what it does runs in their context. */
  private handleWatched(request: Request, mount: Mount): void {
    request.startMs = performance.now()
    const record = this.recordOf(request, mount)
    if (record === null) return
    // Once it is handed on, the request is answered by what it was handed to.
    const handedOn = new Set<Request>()
    let work = (): void => {
      handedOn.add(request)
      if (mount.interposer === null) this.answer(request, record)
      else this.handleInterposed(request, mount.interposer, record)
    }
    for (const watcher of this.watchers) {
      const inner = work
      if (watcher.within !== undefined) work = () => watcher.within?.(record, inner)
    }
    try {
      work()
    } catch (error) {
      if (handedOn.has(request)) this.tellDefect(request.opcode, error)
      else this.answerFailed(request, record, error)
    }
  }

  /** null: it could not be made, and the request is answered. */
  private recordOf(request: Request, mount: Mount): RequestRecord | null {
    try {
      return this.details.record(request, mount)
    } catch (error) {
      this.answerFailed(request, null, error)
      return null
    }
  }

  private answerFailed(request: Request, record: RequestRecord | null, error: unknown): void {
    this.fail(request, request.opcode, error)
    this.finish(request, record)
  }

  private handleInterposed(
    request: Request,
    interposer: Interposer,
    record: RequestRecord | null = null,
  ): void {
    const { opcode } = request
    const sizeBytes = this.details.ioBytes(request)
    let verdict: Verdict | null
    try {
      verdict = interposer.decide({
        operation: operationOf(opcode),
        sizeBytes,
        path: () => this.details.pathInMount(request),
      })
    } catch (error) {
      this.answerFailed(request, record, error)
      return
    }
    if (verdict === null) {
      this.answer(request, record)
      return
    }
    const decided = verdict
    const carriedOut = (decided.wait ?? Promise.resolve()).then(() => this.carryOut(request, decided))
    const giveBack = (movedBytes: number): void => {
      if (movedBytes < sizeBytes) interposer.giveBack(operationOf(opcode), sizeBytes - movedBytes)
    }
    const pending = carriedOut.then(
      () => {
        giveBack(request.dataBytes)
      },
      (error: unknown) => {
        giveBack(0)
        throw error
      },
    )
    this.finishLater(request, record, pending)
  }

  private carryOut(request: Request, verdict: Verdict): void | Promise<void> {
    // Its nodeids and handles are somebody else's by now.
    if (request.epoch !== this.session.epoch)
      throw new FsError('EIO', 'its session has ended while it waited')
    if (verdict.errno !== 0) {
      request.refuse(verdict.errno)
      return
    }
    if (this.details.ioBytes(request) > verdict.sizeBytes) request.shorten(verdict.sizeBytes)
    return this.run(request)
  }

  private finishLater(request: Request, record: RequestRecord | null, pending: Promise<void>): void {
    const { opcode } = request
    if (record === null) request.startMs = monotonicMs()
    request.counters = this.countsRequests ? this.details.mountOf(request.nodeid).operations : null
    // It is not completed with the burst, so nothing of it may stay named.
    this.deferred.copyNow()
    pending.then(
      () => {
        this.finish(request, record)
      },
      (error: unknown) => {
        this.fail(request, opcode, error)
        this.finish(request, record)
      },
    )
  }

  private refuse(request: Request, opcode: number): void {
    if (!this.session.isInitialized) throw new FsError('EIO', 'a request before INIT')
    if (this.knownUnsupported.size < MAX_TOLD_OPCODES && !this.knownUnsupported.has(opcode)) {
      this.knownUnsupported.add(opcode)
      this.fs.logger.debug({ opcode }, 'unknown FUSE opcode: answered ENOSYS')
    }
    request.refuse(errnoNumber('ENOSYS'))
  }

  /** The one place where an error becomes what the guest is told. */
  private fail(request: Request, opcode: number, error: unknown): void {
    const errno = errnoOf(error)
    this.setMeta(request, META_REPLY_BYTES, 0)
    request.refuse(errno)
    if (error instanceof HostError) {
      this.fs.logger.trace({ opcode, errno: error.message }, 'the host refused')
    } else if (error instanceof FsError) {
      this.fs.logger.trace({ opcode, errno: error.errno, reason: error.message }, 'refused')
    } else if (error instanceof CircuitOpenError) {
      // The log tells of the store as a whole.
      this.fs.logger.trace({ opcode, errno: error.errno }, 'not asked')
    } else if (error instanceof StorageError) {
      this.fs.logger.warn({ opcode, errno: error.errno, reason: error.message }, 'the store refused')
    } else {
      this.tellDefect(opcode, error)
    }
  }

  private tellDefect(opcode: number, error: unknown): void {
    this.fs.logger.error({ opcode, err: error }, 'a request failed by a defect of ours')
  }

  private setMeta(request: Request, index: number, value: number): void {
    this.arena.words[this.arena.metaWordOf(request.slot) + index] = value
  }

  private finish(request: Request, record: RequestRecord | null): void {
    const { opcode } = request
    // INIT belongs to the session it begins.
    if (hasNoReply(opcode)) this.setMeta(request, META_FLAGS, REPLY_FLAG_NONE)
    if (!this.isInBurst) this.countLate(request)
    if (record !== null) this.tellWatchers(request, record)
    this.arena.done[this.doneCount++] = request.slot
    if (this.isInBurst || this.isFlushScheduled) return
    // One crossing for all that the same turn of the loop finishes.
    this.isFlushScheduled = true
    queueMicrotask(() => {
      this.flush()
    })
  }

  /** It was not answered with its burst. */
  private countLate(request: Request): void {
    const { counters, errno } = request
    if (counters === null) return
    const opcode = countedOpcode(request.opcode)
    counters.add(opcode, 1, (performance.now() - request.startMs) * US_PER_MS, request.dataBytes)
    if (errno !== 0) counters.addErrors(opcode, errno, 1)
  }

  private tellWatchers(request: Request, record: RequestRecord): void {
    // Data that is only named would be copied after this.
    this.deferred.copyNow()
    this.details.complete(record, request, performance.now())
    for (const watcher of this.watchers) {
      try {
        watcher.onReply(record)
      } catch (error) {
        this.tellDefect(request.opcode, error)
      }
    }
  }

  private flush(): void {
    this.isFlushScheduled = false
    const finished = this.doneCount
    this.doneCount = 0
    if (finished > 0) this.device.complete(finished)
  }
}
