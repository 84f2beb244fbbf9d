/**
 * The native addon's surface: what `native/` offers and nothing more. This file is the contract between the
 * two languages; a change here is a change there.
 *
 * One kick is one crossing. The addon pops every available descriptor chain of the kicked vring into slots, copies
 * the start of each chain's readable part ONCE into the arena (the guest may change its memory at any time, so we
 * copy first and validate the copy), and calls `onRequests` once with the number of ready slots. JavaScript answers
 * by writing into the arena and returns how many slots it finished; the rest are finished later with `complete`.
 */
import { loadAddon } from '../backends/native-addon.js'

/** Bytes of a request's readable part that are copied into the arena: fuse_in_header (40) + fuse_rename2_in (16) + two names of 255 bytes with their NULs (512), rounded up to 64. Longer payloads are fetched with `pull` or `pullBytes`. */
export const REQUEST_STRIDE_BYTES = 640
/** Bytes a reply's arguments may take in the arena: fuse_statx_out, the longest fixed reply, is 296. The fuse_out_header is the addon's. */
export const REPLY_STRIDE_BYTES = 320
/** 32-bit words of metadata a slot has. */
export const META_STRIDE_WORDS = 8

/** Word indices within a slot's metadata. The addon writes the first two, JavaScript the others, which are 0 when a request comes. */
export const META_READABLE_BYTES = 0
export const META_WRITABLE_BYTES = 1
/** Whose counters it goes into, if it is answered with its burst: see BURST_COUNTERS. 0: it is not counted. */
export const META_COUNTERS = 2
/** int32: 0 or a negative errno, as fuse_out_header.error. */
export const META_ERROR = 3
/** Length of the reply's arguments in bytes, 0..REPLY_STRIDE_BYTES. Must be 0 where data was pushed. */
export const META_REPLY_BYTES = 4
/** Bit set of REPLY_FLAG_*. */
export const META_FLAGS = 5
/** With REPLY_FLAG_DATA: where the data lies in the pool, two words, the low one first. */
export const META_DATA_LOW = 6
export const META_DATA_HIGH = 7
/** The request has no reply (FORGET, BATCH_FORGET, INTERRUPT): the used element has length 0. */
export const REPLY_FLAG_NONE = 1
/** The addon's: a `writeFile` that might wait has done so. */
export const FLAG_WAITED = 4
/** The reply is data of the pool, copied when the slot is completed; META_REPLY_BYTES is its length then. It comes behind what was pushed. */
export const REPLY_FLAG_DATA = 2

/** The pool's memory is seen from JavaScript through windows of this size; no slab crosses a window's border. */
export const POOL_WINDOW_BYTES = 1 << 30

/** Memory mapped once. Offsets into it are plain numbers below `sizeBytes`. */
export interface NativePool {
  readonly sizeBytes: number
  /** `windows[i]` covers bytes [i * POOL_WINDOW_BYTES, ...) of it. Valid until `close`. */
  readonly windows: readonly ArrayBuffer[]
  /** memcpy inside the pool; the ranges may not overlap. */
  copy(targetOffset: number, sourceOffset: number, lengthBytes: number): void
  /** Zero a range. */
  zero(offset: number, lengthBytes: number): void
  /** Unmap. The windows are detached first, so that a late access from JavaScript is an error and not a fault. */
  close(): void
}

/** Byte offsets of the arena's parts from its start; all are multiples of 64. */
export interface ArenaLayout {
  /** slots * REQUEST_STRIDE_BYTES: copies of the readable parts. */
  readonly requestOffset: number
  /** slots * REPLY_STRIDE_BYTES: reply arguments. */
  readonly replyOffset: number
  /** slots * META_STRIDE_WORDS * 4. */
  readonly metaOffset: number
  /** Uint32 per slot: the slots that a burst brought, valid during `onRequests`. */
  readonly readyOffset: number
  /** Uint32 per slot: the slots that JavaScript has finished, in the order in which they are to be completed. */
  readonly doneOffset: number
  /** BURST_REPORT_NUMBERS and then slots * RUN_NUMBERS Float64 of the last burst, written when it is over. */
  readonly burstOffset: number
}

export const BURST_REPORT_NUMBERS = 8
/** When the burst had arrived and when it was answered, data copied and all: ns of the same clock as performance.now(). */
export const BURST_ARRIVED_NS = 0
export const BURST_ANSWERED_NS = 1
/** How many runs it has: requests that were answered with it one after the other and have counters, opcode and errno in common. */
export const BURST_RUNS = 2
/** From JavaScript, before the burst is over: whose counters all its requests go into; 0: what each one's META_COUNTERS says. */
export const BURST_COUNTERS = 3

export const RUN_NUMBERS = 5
/** Of a run: as in BURST_COUNTERS; opcode; a positive errno, or 0; ... */
export const RUN_COUNTERS = 0
export const RUN_OPCODE = 1
export const RUN_ERRNO = 2
/** ... how many requests there are, and the bytes of data that READs returned or that WRITEs and COPY_FILE_RANGEs took. */
export const RUN_COUNT = 3
export const RUN_DATA_BYTES = 4

export type DeviceEvent =
  /** A front-end connected. */
  | 'connect'
  /** The front-end went away; detail says why. In-flight slots stay owned by JavaScript until completed: then they are only freed. */
  | 'disconnect'
  /** value = vring index. */
  | 'vring-start'
  | 'vring-stop'
  /** The guest or the front-end broke this ring; it stays ignored until set up anew. detail = reason, value = vring index. */
  | 'vring-broken'
  /** A vhost-user message was refused; the connection is closed if it can't go on. */
  | 'protocol-error'
  /** Somebody connected who may not, as detail says, and was disconnected. */
  | 'peer-refused'

export interface DeviceOptions {
  /** Request queues besides the hiprio queue 0; 1..64. */
  readonly requestQueues: number
  /** Requests in flight over all vrings; power of two, 16..16384. When all are taken, chains wait in the avail rings. */
  readonly slots: number
  /** Slab memory that `pull` and `push` copy to and from. */
  readonly pool: NativePool
  /** Poll the avail rings this long before sleeping, while requests keep arriving closely. 0 = never. 0..1000 us. */
  readonly pollWindowUs: number
  /** Called once a burst; the slots are in the ready list. Returns the number of slots put into the done list. Must not throw. */
  readonly onRequests: (readyCount: number) => number
  readonly onEvent: (event: DeviceEvent, detail: string, value: number) => void
}

/** Who may connect, by ids: one of the users, or who is in one of the groups. */
export interface AllowedPeers {
  readonly users: readonly number[]
  readonly groups: readonly number[]
}

export interface DeviceStats {
  readonly slotsInFlight: number
  readonly mappedRegions: number
  readonly bursts: number
  readonly requests: number
  readonly calls: number
}

export interface NativeDevice {
  readonly arena: ArrayBuffer
  readonly layout: ArenaLayout
  /**
   * Listen on a new Unix socket at `path` (created with `mode`; a stale socket file is replaced, a live one or another
   * kind of file is an error) or on an inherited listening socket `fd`. With `allowed` nobody else is heard. One front-end at a time: a second connection is
   * accepted when the first has gone. Throws Error with `code` (EADDRINUSE, EACCES...).
   */
  listen(
    target: { readonly path: string; readonly mode: number } | { readonly fd: number },
    allowed?: AllowedPeers,
  ): void
  /** Complete the first `count` slots of the done list: write headers, push used elements, signal each vring: once, or for each half MiB of data. Not from within `onRequests`. */
  complete(count: number): void
  /** Copy from the readable part, `payloadOffset` bytes from its start, into the pool. Returns the bytes copied: fewer than asked for when the chain ends, 0 when the front-end is gone. */
  pull(slot: number, payloadOffset: number, poolOffset: number, lengthBytes: number): number
  /** The same into an array. */
  pullBytes(slot: number, payloadOffset: number, target: Uint8Array): number
  /** Append pool bytes to the reply's data, after the fuse_out_header and what was pushed before. Returns the bytes copied: never more than the writable part holds. */
  push(slot: number, poolOffset: number, lengthBytes: number): number
  pushBytes(slot: number, source: Uint8Array, lengthBytes: number): number
  pushZeros(slot: number, lengthBytes: number): number
  /**
   * Data of a host's file straight into the reply, without waiting: all of `lengthBytes`, or up to the end of the file. Returns the
   * bytes, or an errno below 0: -EAGAIN or -EOPNOTSUPP where `readFileLater` has to go on, -EFAULT where guest memory has vanished.
   */
  readFile(slot: number, fd: number, offset: number, lengthBytes: number): number
  /** The same, less what is in the reply already, in a thread. Never rejects. `fd` and the slot stay until it is settled. */
  readFileLater(slot: number, fd: number, offset: number, lengthBytes: number): Promise<number>
  /**
   * From the readable part, `payloadOffset` bytes from its start. `how`: bit 0 writes at the file's end, bit 1 takes its set-user-ID and set-group-ID bits away. `mayWait`: 0 is -EAGAIN or -EOPNOTSUPP
   * where it would; 1 sets FLAG_WAITED then. Returns the bytes, perhaps fewer than asked for, or an errno below 0.
   */
  writeFile(
    slot: number,
    fd: number,
    offset: number,
    lengthBytes: number,
    payloadOffset: number,
    how: number,
    mayWait: 0 | 1,
  ): number
  /** The same in a thread: fewer bytes than asked for only where an error came after some. Never rejects. */
  writeFileLater(
    slot: number,
    fd: number,
    offset: number,
    lengthBytes: number,
    payloadOffset: number,
    how: number,
  ): Promise<number>
  stats(): DeviceStats
  /** Stop listening and drop the front-end, without waiting. The socket file is removed if `listen` made it. */
  close(): void
}

export interface NativeAddon {
  readonly Pool: new (sizeBytes: number) => NativePool
  readonly Device: new (options: DeviceOptions) => NativeDevice
  /** A non-blocking datagram socket, connected to the Unix socket at `path`. Throws Error with `code` (ENOENT, ECONNREFUSED...). */
  connectDatagram(path: string): number
  /** Set RLIMIT_NOFILE, and the hard limit with it where `limit` is above that. Throws Error with `code` (EPERM...). */
  limitOpenFiles(limit: number): void
  /**
   * A seccomp filter over all threads: `denied` says what becomes of a system call that no daemon makes. Throws Error with `code`.
   */
  filterSystemCalls(
    denied: 'kill' | 'log' | 'trap',
    sockets: 'none' | 'unix' | 'all',
    fileHandles: boolean,
  ): void
  /**
   * Become the program at `path`, with these arguments (the first is its name), this environment, and of the descriptors these. Throws
   * Error with `code`.
   */
  execute(path: string, args: readonly string[], descriptors: readonly number[]): never
}

export function loadNative(): NativeAddon {
  return loadAddon() as NativeAddon
}
