import { beginBurst, endBurst } from '../backends/clock.js'
import type { FileSystem } from '../fs/file-system.js'
import { errnoNumber, errnoOf } from '../fs/fs-error.js'
import { FsError, HostError } from '../fs/fs-error.js'
import { ROOT_NODEID } from '../fs/inode.js'
import { PASSTHROUGH_NODEID_BASE } from '../passthrough/host-inode-table.js'
import type { Passthrough } from '../passthrough/passthrough.js'
import { StorageError } from '../backends/storage-error.js'
import type { Arena } from './arena.js'
import { Opcode } from './fuse-abi.js'
import { handlers, opcodesWithoutReply, type HandlerContext } from './handlers.js'
import { passthroughHandlers } from './passthrough-handlers.js'
import { NamedData } from './named-data.js'
import { META_ERROR, META_FLAGS, META_REPLY_BYTES, REPLY_FLAG_NONE, type NativeDevice } from './native.js'
import { Request } from './request.js'
import type { Session } from './session.js'

/** Takes bursts of requests from the device, has each handled, and hands the finished ones back. */
export class Dispatcher {
  private readonly requests: Request[] = []
  private readonly context: HandlerContext
  private readonly named: NamedData
  private doneCount = 0
  private isInBurst = false
  private isFlushScheduled = false
  private readonly knownUnsupported = new Set<number>()

  constructor(
    private readonly fs: FileSystem,
    private readonly passthrough: Passthrough,
    private readonly session: Session,
    private readonly device: NativeDevice,
    private readonly arena: Arena,
    slots: number,
  ) {
    this.context = { fs, session, passthrough }
    this.named = new NamedData(arena, device, slots)
    for (let slot = 0; slot < slots; slot++) this.requests.push(new Request(slot, arena, device, this.named))
    // A slab that is given out again would change under a reply that has only named it.
    fs.cache.pool.beforeLease = () => {
      this.named.copyNow()
    }
  }

  /** The device's `onRequests`: handle a burst; returns how many slots are finished. */
  onRequests(readyCount: number): number {
    this.isInBurst = true
    beginBurst()
    this.named.beginBurst()
    for (let i = 0; i < readyCount; i++) this.handle(this.requests[this.arena.ready[i] as number] as Request)
    endBurst()
    this.named.endBurst()
    this.isInBurst = false
    const finished = this.doneCount
    this.doneCount = 0
    return finished
  }

  private handle(request: Request): void {
    const { opcode } = request
    request.epoch = this.session.epoch
    try {
      const table = this.isPassthrough(request.nodeid) ? passthroughHandlers : handlers
      const handler = this.session.isInitialized || opcode === Opcode.INIT ? table[opcode] : undefined
      if (handler === undefined) this.refuse(request, opcode)
      else {
        const pending = handler(this.context, request)
        if (pending !== undefined) {
          this.finishLater(request, opcode, pending)
          return
        }
      }
    } catch (error) {
      this.fail(request, opcode, error)
    }
    // INIT belongs to the session it begins.
    if (opcodesWithoutReply.has(opcode)) this.setMeta(request, META_FLAGS, REPLY_FLAG_NONE)
    this.finish(request)
  }

  private isPassthrough(nodeid: number): boolean {
    return (
      nodeid >= PASSTHROUGH_NODEID_BASE ||
      (nodeid === ROOT_NODEID && this.passthrough.inodes.rootMount !== null)
    )
  }

  private finishLater(request: Request, opcode: number, pending: Promise<void>): void {
    // It is not completed with the burst, so nothing of it may stay named.
    this.named.copyNow()
    pending.then(
      () => {
        this.finish(request)
      },
      (error: unknown) => {
        this.fail(request, opcode, error)
        this.finish(request)
      },
    )
  }

  private refuse(request: Request, opcode: number): void {
    if (!this.session.isInitialized) throw new FsError('EIO', 'a request before INIT')
    if (!this.knownUnsupported.has(opcode)) {
      this.knownUnsupported.add(opcode)
      this.fs.logger.debug({ opcode }, 'unknown FUSE opcode: answered ENOSYS')
    }
    this.setMeta(request, META_ERROR, -errnoNumber('ENOSYS'))
  }

  /** The one place where an error becomes what the guest is told. */
  private fail(request: Request, opcode: number, error: unknown): void {
    const errno = errnoOf(error)
    this.setMeta(request, META_REPLY_BYTES, 0)
    this.setMeta(request, META_ERROR, -errno)
    if (error instanceof HostError) {
      this.fs.logger.trace({ opcode, errno: error.message }, 'the host refused')
    } else if (error instanceof FsError) {
      this.fs.logger.trace({ opcode, errno: error.errno, reason: error.message }, 'refused')
    } else if (error instanceof StorageError) {
      this.fs.logger.warn({ opcode, errno: error.errno, reason: error.message }, 'the store refused')
    } else {
      this.fs.logger.error({ opcode, err: error }, 'a request failed by a defect of ours')
    }
  }

  private setMeta(request: Request, index: number, value: number): void {
    this.arena.words[this.arena.metaWordOf(request.slot) + index] = value
  }

  private finish(request: Request): void {
    this.arena.done[this.doneCount++] = request.slot
    if (this.isInBurst || this.isFlushScheduled) return
    // One crossing for all that the same turn of the loop finishes.
    this.isFlushScheduled = true
    queueMicrotask(() => {
      this.flush()
    })
  }

  private flush(): void {
    this.isFlushScheduled = false
    const finished = this.doneCount
    this.doneCount = 0
    if (finished > 0) this.device.complete(finished)
  }
}
