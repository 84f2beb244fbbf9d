import { endSession } from '../fs/end-session.js'
import type { FileSystem } from '../fs/file-system.js'
import { FsError } from '../fs/fs-error.js'
import type { HostMount, HostMountOptions } from '../passthrough/host-mount.js'
import type { Passthrough } from '../passthrough/passthrough.js'
import {
  FUSE_KERNEL_MINOR_VERSION,
  FUSE_KERNEL_VERSION,
  FUSE_MIN_MINOR_VERSION,
  InitFlags,
  InitFlags2,
  INIT_OUT_BYTES,
} from './fuse-abi.js'
import type { Request } from './request.js'

/** What we use of what a kernel offers. Without these a 2 MiB read is 544 requests in place of 21. */
const WANTED_FLAGS =
  InitFlags.ASYNC_READ |
  InitFlags.ATOMIC_O_TRUNC |
  InitFlags.BIG_WRITES |
  InitFlags.AUTO_INVAL_DATA |
  InitFlags.DO_READDIRPLUS |
  InitFlags.READDIRPLUS_AUTO |
  InitFlags.ASYNC_DIO |
  InitFlags.PARALLEL_DIROPS |
  InitFlags.MAX_PAGES |
  InitFlags.INIT_EXT

/**
 * Not ALLOW_IDMAP: the kernel then names no caller but of what makes a file (FUSE_INVALID_UIDGID in fs/fuse/dev.c of Linux
 * 6.12), so that nothing would tell whether an O_TRUNC keeps set-user-ID bits, and every trace would be of nobody.
 */
const WANTED_FLAGS_2 = InitFlags2.CREATE_SUPP_GROUP

/** 1 MiB: the most that a request of MAX_PAGES pages carries. */
export const MAX_WRITE_BYTES = 1 << 20
const MAX_PAGES = 256
/** Background requests (read-ahead, asynchronous direct I/O) that the guest may have in flight: as many as a queue of the usual size holds. */
const MAX_BACKGROUND = 1024
/** From here on the guest counts us as congested: three quarters, as in the kernel's own default. */
const CONGESTION_THRESHOLD = 768
/** Times are kept to the nanosecond. */
const TIME_GRANULARITY_NS = 1

/**
 * One guest kernel's use of the connection, from its INIT on. A guest that reboots sends a new INIT and nothing
 * before it, so that is where the old session ends.
 */
export class Session {
  /** Counts sessions: a request that began in an earlier one may not hand out nodeids or handles in this one. */
  epoch = 0
  isInitialized = false
  /** Of InitFlags, those that are in force. */
  private flags = 0

  constructor(
    private readonly fs: FileSystem,
    private readonly passthrough: Passthrough,
    /** Called when a session has ended, before anything of it is given back. */
    private readonly onEnd: () => void = () => undefined,
  ) {}

  /** INIT: agree on version and flags, and begin anew. */
  init(request: Request): void {
    const initArgumentBytes = 16
    request.require(initArgumentBytes, INIT_OUT_BYTES)
    const major = request.u32(0)
    const minor = request.u32(4)
    if (major < FUSE_KERNEL_VERSION || (major === FUSE_KERNEL_VERSION && minor < FUSE_MIN_MINOR_VERSION)) {
      this.fs.logger.error({ major, minor }, 'the guest kernel speaks too old a FUSE protocol')
      throw new FsError('EPROTO')
    }
    if (major > FUSE_KERNEL_VERSION) {
      // Say what we speak; the kernel sends a second INIT by that.
      this.reply(request, FUSE_KERNEL_MINOR_VERSION, 0, 0, 0)
      return
    }
    this.end()
    this.isInitialized = true
    const offered = request.u32(12)
    this.flags = offered & this.wantedFlags
    const flags2Offset = 16
    const hasFlags2 = (offered & InitFlags.INIT_EXT) !== 0 && request.argumentBytes >= flags2Offset + 4
    const flags2 = hasFlags2 ? request.u32(flags2Offset) & this.wantedFlags2 : 0
    this.reply(request, Math.min(minor, FUSE_KERNEL_MINOR_VERSION), request.u32(8), this.flags, flags2)
    this.fs.logger.info({ minor }, 'guest mounted')
  }

  /** fuse_setxattr_in has its second half. */
  get hasLongSetxattr(): boolean {
    return (this.flags & InitFlags.SETXATTR_EXT) !== 0
  }

  private get wantedFlags(): number {
    const { passthrough } = this
    // A kernel that collects writes believes the mode that it knows, bits and all, for as long as it may.
    const killpriv = !this.fs.options.guestWriteback && this.areAll(({ killprivV2 }) => killprivV2)
    let flags = WANTED_FLAGS
    if (this.fs.options.guestWriteback) flags |= InitFlags.WRITEBACK_CACHE
    if (passthrough.has('announceSubmounts')) flags |= InitFlags.SUBMOUNTS
    if (passthrough.has('posixAcl')) flags |= InitFlags.POSIX_ACL | InitFlags.DONT_MASK
    if (killpriv) flags |= InitFlags.HANDLE_KILLPRIV_V2
    if (killpriv || passthrough.has('posixAcl')) flags |= InitFlags.SETXATTR_EXT
    // What a listing would bring is looked up again before it is used.
    const isPlain = this.areAll((options, { guestCache }) => !options.readdirplus || guestCache === 'none')
    return isPlain ? flags & ~(InitFlags.DO_READDIRPLUS | InitFlags.READDIRPLUS_AUTO) : flags
  }

  private get wantedFlags2(): number {
    const { passthrough } = this
    let flags = WANTED_FLAGS_2
    if (passthrough.has('securityLabel')) flags |= InitFlags2.SECURITY_CTX
    if (passthrough.has('allowMmap')) flags |= InitFlags2.DIRECT_IO_ALLOW_MMAP
    return flags
  }

  /** The guest has pass-through mounts only, and of each it holds: its kernel has one mind for all of them. */
  private areAll(holds: (options: HostMountOptions, mount: HostMount) => boolean): boolean {
    const mounts = this.fs.mounts.mounts.map(({ root }) => this.passthrough.find(root))
    return mounts.length > 0 && mounts.every((mount) => mount !== undefined && holds(mount.options, mount))
  }

  private reply(
    request: Request,
    minor: number,
    maxReadAheadBytes: number,
    flags: number,
    flags2: number,
  ): void {
    const word = request.beginReply(INIT_OUT_BYTES)
    request.put32(word, FUSE_KERNEL_VERSION)
    request.put32(word + 1, minor)
    request.put32(word + 2, maxReadAheadBytes)
    request.put32(word + 3, flags)
    request.put32(word + 4, MAX_BACKGROUND | (CONGESTION_THRESHOLD << 16))
    request.put32(word + 5, MAX_WRITE_BYTES)
    request.put32(word + 6, TIME_GRANULARITY_NS)
    request.put32(word + 7, MAX_PAGES)
    request.put32(word + 8, flags2)
  }

  /** DESTROY, a new INIT, or the front-end went away: nothing of the guest's is open any more. */
  end(): void {
    if (!this.isInitialized) return
    this.isInitialized = false
    this.epoch++
    this.onEnd()
    this.passthrough.endSession()
    void endSession(this.fs)
  }
}
