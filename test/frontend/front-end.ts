/**
 * A vhost-user front-end with a guest's memory and vrings: the typed face of `test/frontend/native/`.
 *
 * `FrontEnd` sends chains and gives their completions; `fuse-client.ts` speaks FUSE over it. For hostile tests it also
 * gives raw access: any bytes and fds on the socket, any bytes in guest memory and in the rings (`raw-vring.ts`).
 */
import bindings from 'bindings'
import { EventEmitter, once } from 'node:events'
import { fileURLToPath } from 'node:url'

export interface FrontEndOptions {
  /** The daemon's listening socket. */
  readonly socketPath: string
  /** Guest memory; default 64 MiB. Vrings of 1024 entries take 10 pages each, the rest is for buffers. */
  readonly memoryBytes?: number
  /** Memory regions the back-end is shown, 1..8, apart in guest-physical space; default 2. */
  readonly regions?: number
  /** One ADD_MEM_REG a region where the back-end offers CONFIGURE_MEM_SLOTS; default one SET_MEM_TABLE. */
  readonly addMemReg?: boolean
  /** Vrings, the hiprio queue included; default 2. */
  readonly queues?: number
  /** Entries a vring has: a power of two; default 1024, as QEMU is told in practice. */
  readonly queueSize?: number
  /** Accept VIRTIO_F_INDIRECT_DESC and use it for every chain of two or more descriptors; default true. */
  readonly indirectDesc?: boolean
  /** Accept VIRTIO_F_EVENT_IDX; default true. */
  readonly eventIdx?: boolean
  /** Ask for an acknowledgement of every message that may have one; default false: as few as QEMU does. */
  readonly ackAll?: boolean
  /** How long the back-end may think about a vhost-user message; default 10 s. */
  readonly replyTimeoutMs?: number
}

interface NativeOptions extends Required<FrontEndOptions> {
  readonly onBurst: (queue: number, completions: readonly NativeCompletion[], broken: string) => void
  readonly onDisconnect: () => void
}

interface NativeCompletion {
  readonly id: number
  readonly usedBytes: number
  readonly data: Uint8Array
  readonly violation: string
}

/** A vhost-user message from the back-end. */
export interface BackEndMessage {
  readonly request: number
  readonly flags: number
  readonly payload: Uint8Array
  /** How many fds came with it; they are closed already. */
  readonly fds: number
}

export interface MemoryRegion {
  readonly gpa: bigint
  readonly sizeBytes: number
  readonly userAddr: bigint
  readonly mmapOffset: number
}

export interface MemoryLayout {
  /** The memfd; ours to keep, may be attached to messages. */
  readonly fd: number
  readonly sizeBytes: number
  /** First byte after the vrings. Requests take their buffers from here on upwards, first fit. */
  readonly buffersOffset: number
  readonly regions: readonly MemoryRegion[]
}

/** Byte offsets in guest memory, and the eventfds. */
export interface VringLayout {
  readonly size: number
  readonly descTable: number
  readonly availRing: number
  readonly usedRing: number
  readonly kickFd: number
  readonly callFd: number
  /** Nobody reads it; a test may, to see that the device has called the ring broken. */
  readonly errFd: number
}

export interface Negotiated {
  /** What GET_FEATURES offered. */
  readonly deviceFeatures: bigint
  readonly features: bigint
  readonly protocolFeatures: bigint
  /** GET_QUEUE_NUM's answer, 0 without MQ. */
  readonly maxQueues: number
}

interface NativeFrontEnd {
  negotiate(): Promise<void>
  negotiateFeatures(): Promise<void>
  shareMemory(): Promise<void>
  startVring(queue: number, base: number, zero: boolean): Promise<void>
  stopVring(queue: number): Promise<number>
  negotiated(): Negotiated
  submit(
    queue: number,
    id: number,
    readable: Uint8Array,
    readableSizes: Uint32Array,
    writableSizes: Uint32Array,
  ): boolean
  publish(queue: number): void
  sendBytes(bytes: Uint8Array, fds: readonly number[]): number
  receive(timeoutMs: number): Promise<BackEndMessage | null>
  readMemory(offset: number, lengthBytes: number): Uint8Array
  writeMemory(offset: number, bytes: Uint8Array): void
  truncateMemory(sizeBytes: number): void
  memoryLayout(): MemoryLayout
  vringLayout(queue: number): VringLayout
  kick(queue: number): void
  reap(queue: number): void
  takeOver(queue: number, on: boolean): void
  watchDisconnect(on: boolean): void
  close(): void
}

interface FrontEndAddon {
  readonly NativeFrontEnd: new (options: NativeOptions) => NativeFrontEnd
  readonly fuseStructBytes: Readonly<Record<string, number>>
}

// dist/test/frontend/ -> the package's root -> test/frontend/native/
const addon = bindings({
  bindings: 'ovfsd_frontend',
  module_root: fileURLToPath(new URL('../../../test/frontend/native', import.meta.url)),
}) as FrontEndAddon

/** `sizeof` of the structs of <linux/fuse.h>, by name without `fuse_`; dirents without their name. */
export const FUSE_STRUCT_BYTES = addon.fuseStructBytes

/** One descriptor chain. */
export interface Chain {
  /** All readable bytes. */
  readonly readable: Uint8Array
  /** Lengths of the readable segments; their sum is `readable.length`. Default: one segment. */
  readonly readableSizes?: readonly number[]
  /** Lengths of the writable segments; default none. */
  readonly writableSizes?: readonly number[]
}

export interface ChainResult {
  /** used_elem.len. */
  readonly usedBytes: number
  /** The first `usedBytes` bytes of the writable part. */
  readonly data: Uint8Array
}

/** The device broke the rules of virtio or FUSE; or it went away, or this side closed. Never an errno. */
export class DeviceError extends Error {
  override readonly name = 'DeviceError'
}

interface Pending {
  readonly queue: number
  readonly chain: Chain
  readonly resolve: (result: ChainResult) => void
  readonly reject: (error: Error) => void
}

const DEFAULTS = {
  memoryBytes: 64 * 1024 * 1024,
  regions: 2,
  addMemReg: false,
  queues: 2,
  queueSize: 1024,
  indirectDesc: true,
  eventIdx: true,
  ackAll: false,
  replyTimeoutMs: 10_000,
} as const

/**
 * One connection to a daemon. A request in flight keeps the process alive, an idle front-end does not; `close` it all
 * the same (`t.after(() => front.close())`), for a daemon serves one front-end at a time.
 */
export class FrontEnd {
  readonly #native: NativeFrontEnd
  readonly #inFlight = new Map<number, Pending>()
  /** Per queue: chains that wait for descriptors or memory, in order. */
  readonly #waiting: Pending[][]
  readonly #corked = new Set<number>()
  readonly #events = new EventEmitter()
  #nextId = 1
  #end: DeviceError | undefined
  #disconnected = false

  /** Connect to the socket, which must be listening. Says nothing to the back-end yet. Throws Error. */
  constructor(options: FrontEndOptions) {
    const all = { ...DEFAULTS, ...options }
    this.#waiting = Array.from({ length: all.queues }, () => [])
    this.#native = new addon.NativeFrontEnd({
      ...all,
      onBurst: (queue, completions, broken) => {
        this.#onBurst(queue, completions, broken)
      },
      onDisconnect: () => {
        this.#disconnected = true
        this.#fail(new DeviceError('the back-end closed the connection'))
        this.#events.emit('disconnect')
      },
    })
  }

  /** Connect and set everything up as QEMU does. */
  static async connect(options: FrontEndOptions): Promise<FrontEnd> {
    const front = new FrontEnd(options)
    try {
      await front.negotiate()
    } catch (error) {
      front.close()
      throw error
    }
    return front
  }

  /** Features, memory, all vrings started and enabled. */
  negotiate(): Promise<void> {
    return this.#native.negotiate()
  }
  /** Only GET/SET_FEATURES, GET/SET_PROTOCOL_FEATURES, GET_QUEUE_NUM, SET_BACKEND_REQ_FD, SET_OWNER. */
  negotiateFeatures(): Promise<void> {
    return this.#native.negotiateFeatures()
  }
  /** Only SET_MEM_TABLE or ADD_MEM_REG. */
  shareMemory(): Promise<void> {
    return this.#native.shareMemory()
  }
  /** Zero the rings and set the vring up (NUM, BASE, ADDR, KICK, ENABLE, CALL). Nothing of it may be in flight. */
  startVring(queue: number): Promise<void> {
    return this.#native.startVring(queue, 0, true)
  }
  /** After `stopVring`, with the index it gave: the rings stay as they are, chains still in them are used now. */
  async resumeVring(queue: number, base: number): Promise<void> {
    await this.#native.startVring(queue, base, false)
    // QEMU kicks, too: the device can't know what was made available in between.
    this.#native.kick(queue)
  }
  /** ENABLE 0 and GET_VRING_BASE: resolves once the back-end has completed what it has taken, to the index to go on at. */
  async stopVring(queue: number): Promise<number> {
    const base = await this.#native.stopVring(queue)
    // The back-end has pushed everything by now; its call may still be on the way.
    this.#native.reap(queue)
    return base
  }
  negotiated(): Negotiated {
    return this.#native.negotiated()
  }

  /**
   * Send one chain; resolves when the device has used it. Waits its turn when the ring is full. Rejects with
   * DeviceError when the device broke a rule or went away.
   */
  submit(queue: number, chain: Chain): Promise<ChainResult> {
    return new Promise((resolve, reject) => {
      if (this.#end) {
        reject(this.#end)
        return
      }
      const pending = { queue, chain, resolve, reject }
      const waiting = this.#waiting[queue]
      if (!waiting) throw new RangeError(`no such queue: ${queue}`)
      if (waiting.length > 0 || !this.#start(pending)) waiting.push(pending)
      else if (!this.#corked.has(queue)) this.#native.publish(queue)
    })
  }

  /** Hold back what is submitted from now on, then show it to the device at once with `uncork`: one kick, one burst. */
  cork(queue: number): void {
    this.#corked.add(queue)
  }
  uncork(queue: number): void {
    this.#corked.delete(queue)
    this.#native.publish(queue)
  }

  /** Chains in flight or waiting. */
  get pending(): number {
    return this.#inFlight.size + this.#waiting.reduce((sum, list) => sum + list.length, 0)
  }

  // ---- raw access ----

  /** Send any bytes with any fds attached. Returns the bytes that the socket took. Throws EPIPE when the peer is gone. */
  sendBytes(bytes: Uint8Array, fds: readonly number[] = []): number {
    return this.#native.sendBytes(bytes, fds)
  }
  /** Send a framed vhost-user message; `flags` default to version 1, 0x9 asks for an acknowledgement too. */
  sendMessage(
    request: number,
    payload: Uint8Array = new Uint8Array(),
    fds: readonly number[] = [],
    flags = 0x1,
  ): void {
    const bytes = Buffer.alloc(12 + payload.length)
    bytes.writeUInt32LE(request, 0)
    bytes.writeUInt32LE(flags, 4)
    bytes.writeUInt32LE(payload.length, 8)
    bytes.set(payload, 12)
    this.sendBytes(bytes, fds)
  }
  /** The next message from the back-end; null when it closed the connection. Rejects when the time is over. */
  receive(timeoutMs = DEFAULTS.replyTimeoutMs): Promise<BackEndMessage | null> {
    return this.#native.receive(timeoutMs)
  }
  /** Copy from guest memory; shorter at its end. Safe after `truncateMemory`. */
  readMemory(offset: number, lengthBytes: number): Uint8Array {
    return this.#native.readMemory(offset, lengthBytes)
  }
  /** Overwrite guest memory, rings included. */
  writeMemory(offset: number, bytes: Uint8Array): void {
    this.#native.writeMemory(offset, bytes)
  }
  /** Truncate the memfd under everyone's mapping. `submit` throws from now on; raw access goes on. */
  truncateMemory(sizeBytes: number): void {
    this.#native.truncateMemory(sizeBytes)
  }
  memoryLayout(): MemoryLayout {
    return this.#native.memoryLayout()
  }
  vringLayout(queue: number): VringLayout {
    return this.#native.vringLayout(queue)
  }
  /** Guest-physical address of an offset in guest memory. */
  gpa(offset: number): bigint {
    for (const region of this.memoryLayout().regions) {
      if (offset >= region.mmapOffset && offset < region.mmapOffset + region.sizeBytes) {
        return region.gpa + BigInt(offset - region.mmapOffset)
      }
    }
    throw new RangeError(`offset ${offset} is outside guest memory`)
  }
  /** Kick whether the device wants it or not. */
  kick(queue: number): void {
    this.#native.kick(queue)
  }

  /** Leave a vring's rings to the caller (`RawVring`): used elements are not looked at until it is given back. */
  takeOver(queue: number, on: boolean): void {
    this.#native.takeOver(queue, on)
  }
  /** Call `listener` at every call (interrupt) of the vring. Returns the function that ends it. */
  onCall(queue: number, listener: () => void): () => void {
    const name = `call ${queue}`
    this.#events.on(name, listener)
    return () => {
      this.#events.off(name, listener)
    }
  }

  // ---- the end ----

  /** Resolves when the back-end has closed the connection; keeps the process alive until then. */
  async disconnected(): Promise<void> {
    if (this.#disconnected) return
    this.#native.watchDisconnect(true)
    await once(this.#events, 'disconnect')
  }

  /** Close the socket and drop the memory at once, as a hypervisor that was killed. Pending chains are rejected. */
  close(): void {
    this.#native.close()
    this.#fail(new DeviceError('the front-end was closed'))
  }

  #start(pending: Pending): boolean {
    const { readable, readableSizes, writableSizes } = pending.chain
    const id = this.#nextId++
    const sizes = Uint32Array.from(readableSizes ?? (readable.length > 0 ? [readable.length] : []))
    const started = this.#native.submit(
      pending.queue,
      id,
      readable,
      sizes,
      Uint32Array.from(writableSizes ?? []),
    )
    if (started) this.#inFlight.set(id, pending)
    else if (this.#inFlight.size === 0) throw new RangeError('the chain does not fit into guest memory')
    return started
  }

  #onBurst(queue: number, completions: readonly NativeCompletion[], broken: string): void {
    for (const { id, usedBytes, data, violation } of completions) {
      const pending = this.#inFlight.get(id)
      this.#inFlight.delete(id)
      if (violation !== '') pending?.reject(new DeviceError(violation))
      else pending?.resolve({ usedBytes, data })
    }
    if (broken !== '') this.#fail(new DeviceError(broken))
    if (completions.length > 0 && !this.#end) this.#startWaiting()
    this.#events.emit(`call ${queue}`)
  }

  // Buffers are shared by the queues: a completion on one may let a chain of another start.
  #startWaiting(): void {
    this.#waiting.forEach((list, queue) => {
      let started = false
      for (let first = list[0]; first !== undefined && this.#start(first); first = list[0]) {
        list.shift()
        started = true
      }
      if (started && !this.#corked.has(queue)) this.#native.publish(queue)
    })
  }

  #fail(error: DeviceError): void {
    this.#end ??= error
    const pending = [...this.#inFlight.values(), ...this.#waiting.flat()]
    this.#inFlight.clear()
    for (const list of this.#waiting) list.length = 0
    for (const { reject } of pending) reject(this.#end)
  }
}
