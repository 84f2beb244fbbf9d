import type { Arena } from './arena.js'
import {
  META_DATA_HIGH,
  META_DATA_LOW,
  META_FLAGS,
  META_REPLY_BYTES,
  REPLY_FLAG_DATA,
  type NativeDevice,
} from './native.js'

const TWO_TO_32 = 2 ** 32

/**
 * Replies of the present burst whose data is only named: the addon copies it when it completes them, which spares each a call.
 * Until then the slabs must stay as they are: before the pool gives one out again, `copyNow` does what is still to be done.
 */
export class DeferredReplies {
  /** Slots with named data, the first `count`. */
  private readonly slots: Uint32Array
  private count = 0
  private isInBurst = false

  constructor(
    private readonly arena: Arena,
    private readonly device: Pick<NativeDevice, 'push'>,
    slots: number,
  ) {
    this.slots = new Uint32Array(slots)
  }

  beginBurst(): void {
    this.isInBurst = true
  }

  /** All that was named belongs to requests that are being completed. */
  endBurst(): void {
    this.isInBurst = false
    this.count = 0
  }

  /** Name data of the pool as the slot's reply. False when it has to be pushed: nothing of it may be on its way already. */
  name(slot: number, poolOffset: number, lengthBytes: number): boolean {
    if (!this.isInBurst) return false
    const { words } = this.arena
    const meta = this.arena.metaWordOf(slot)
    if (((words[meta + META_FLAGS] as number) & REPLY_FLAG_DATA) !== 0) return false
    words[meta + META_FLAGS] = REPLY_FLAG_DATA
    words[meta + META_REPLY_BYTES] = lengthBytes
    words[meta + META_DATA_LOW] = poolOffset
    words[meta + META_DATA_HIGH] = poolOffset / TWO_TO_32
    this.slots[this.count++] = slot
    return true
  }

  /** Copy what is named: its slabs may change now, or more follows it. */
  copyNow(): void {
    if (this.count === 0) return
    const { words } = this.arena
    for (let i = 0; i < this.count; i++) {
      const slot = this.slots[i] as number
      const meta = this.arena.metaWordOf(slot)
      const lengthBytes = words[meta + META_REPLY_BYTES] as number
      const low = words[meta + META_DATA_LOW] as number
      words[meta + META_REPLY_BYTES] = 0
      this.device.push(slot, low + (words[meta + META_DATA_HIGH] as number) * TWO_TO_32, lengthBytes)
    }
    this.count = 0
  }
}
