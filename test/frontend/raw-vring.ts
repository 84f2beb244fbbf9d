/**
 * A vring written by hand, for hostile tests: nothing is checked, any index, address and length goes.
 *
 * `FrontEnd.submit` can't be used on the same queue until `release`: the driver's own bookkeeping does not know what
 * was written here.
 */
import type { FrontEnd, VringLayout } from './front-end.js'

export const DESC_F_NEXT = 1
export const DESC_F_WRITE = 2
export const DESC_F_INDIRECT = 4
export const DESC_BYTES = 16

export interface Descriptor {
  /** Guest-physical address. */
  readonly addr: bigint
  readonly len: number
  readonly flags?: number
  readonly next?: number
}

export interface UsedElement {
  readonly id: number
  readonly len: number
}

/** One vring_desc as it lies in memory. */
export function encodeDescriptor(descriptor: Descriptor): Uint8Array {
  const bytes = Buffer.alloc(DESC_BYTES)
  bytes.writeBigUInt64LE(BigInt.asUintN(64, descriptor.addr), 0)
  bytes.writeUInt32LE(descriptor.len >>> 0, 8)
  bytes.writeUInt16LE((descriptor.flags ?? 0) & 0xffff, 12)
  bytes.writeUInt16LE((descriptor.next ?? 0) & 0xffff, 14)
  return bytes
}

export class RawVring {
  readonly layout: VringLayout
  readonly #front: FrontEnd
  readonly #queue: number

  /** Takes the queue over; nothing may be in flight on it. */
  constructor(front: FrontEnd, queue: number) {
    front.takeOver(queue, true)
    this.#front = front
    this.#queue = queue
    this.layout = front.vringLayout(queue)
  }

  writeDescriptor(index: number, descriptor: Descriptor): void {
    this.#front.writeMemory(this.layout.descTable + index * DESC_BYTES, encodeDescriptor(descriptor))
  }
  /** Write an indirect table (or any list of descriptors) at an offset in guest memory. */
  writeTable(offset: number, descriptors: readonly Descriptor[]): void {
    this.#front.writeMemory(offset, Buffer.concat(descriptors.map(encodeDescriptor)))
  }
  /** avail.ring[position mod size]. */
  writeAvailEntry(position: number, head: number): void {
    this.#writeU16(this.layout.availRing + 4 + (position % this.layout.size) * 2, head)
  }
  get availIdx(): number {
    return this.#readU16(this.layout.availRing + 2)
  }
  set availIdx(idx: number) {
    this.#writeU16(this.layout.availRing + 2, idx)
  }
  set availFlags(flags: number) {
    this.#writeU16(this.layout.availRing, flags)
  }
  set usedEvent(idx: number) {
    this.#writeU16(this.layout.availRing + 4 + this.layout.size * 2, idx)
  }
  get usedIdx(): number {
    return this.#readU16(this.layout.usedRing + 2)
  }
  get usedFlags(): number {
    return this.#readU16(this.layout.usedRing)
  }
  get availEvent(): number {
    return this.#readU16(this.layout.usedRing + 4 + this.layout.size * 8)
  }
  /** used.ring[position mod size]. */
  usedElement(position: number): UsedElement {
    const bytes = Buffer.from(
      this.#front.readMemory(this.layout.usedRing + 4 + (position % this.layout.size) * 8, 8),
    )
    return { id: bytes.readUInt32LE(0), len: bytes.readUInt32LE(4) }
  }
  /** Put a head into the avail ring, move the index and kick. */
  push(head: number): void {
    const idx = this.availIdx
    this.writeAvailEntry(idx, head)
    this.availIdx = idx + 1
    this.kick()
  }
  kick(): void {
    this.#front.kick(this.#queue)
  }

  /** Give the queue back to `FrontEnd.submit`, set up anew: the daemon drains it, then starts from zeroed rings. */
  async release(): Promise<void> {
    await this.#front.stopVring(this.#queue)
    this.#front.takeOver(this.#queue, false)
    await this.#front.startVring(this.#queue)
  }
  /** Wait until used.idx equals `idx`. Rejects when the time is over: a device that ignores a broken ring is right to. */
  async waitUsed(idx: number, timeoutMs: number): Promise<void> {
    this.usedEvent = idx - 1
    await new Promise<void>((resolve, reject) => {
      const check = (): void => {
        if (this.usedIdx === (idx & 0xffff)) settle(resolve)
      }
      const timer = setTimeout(() => {
        settle(() => {
          reject(new Error(`used.idx is ${this.usedIdx} after ${timeoutMs} ms, not ${idx}`))
        })
      }, timeoutMs)
      const stop = this.#front.onCall(this.#queue, check)
      const settle = (done: () => void): void => {
        clearTimeout(timer)
        stop()
        done()
      }
      check()
    })
  }

  #readU16(offset: number): number {
    return Buffer.from(this.#front.readMemory(offset, 2)).readUInt16LE(0)
  }
  #writeU16(offset: number, value: number): void {
    const bytes = Buffer.alloc(2)
    bytes.writeUInt16LE(value & 0xffff, 0)
    this.#front.writeMemory(offset, bytes)
  }
}
