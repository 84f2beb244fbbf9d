/** Memory that slabs are cut from: the addon's pool, or any other in tests. */
export interface SlabMemory {
  readonly sizeBytes: number
  /** The memory in pieces of WINDOW_BYTES; the last may be shorter. */
  readonly windows: readonly ArrayBuffer[]
  copy(targetOffset: number, sourceOffset: number, lengthBytes: number): void
  zero(offset: number, lengthBytes: number): void
}

export const WINDOW_BYTES = 1 << 30
/** The smallest slab is a page: what a guest caches and sends. */
export const PAGE_BYTES = 4096
/** 4 KiB, 16 KiB, 64 KiB, 256 KiB, 1 MiB, 4 MiB: each class is four of the one below. */
export const SIZE_CLASSES = 6
export const LARGEST_CLASS = SIZE_CLASSES - 1
export const LARGEST_SLAB_BYTES = PAGE_BYTES << (2 * LARGEST_CLASS)

/** Bytes of a slab of class 0..LARGEST_CLASS. */
export function slabBytes(sizeClass: number): number {
  return PAGE_BYTES << (2 * sizeClass)
}

/** The smallest class that holds `bytes`; the largest class when none does. */
export function classHolding(bytes: number): number {
  let sizeClass = 0
  while (sizeClass < LARGEST_CLASS && slabBytes(sizeClass) < bytes) sizeClass++
  return sizeClass
}

const NONE = -1
/** Page states: a page that starts a slab holds its class in the low bits; others are 0. */
const CLASS_MASK = 0x07
const FREE_BIT = 0x10
const LEASED_BIT = 0x20

/**
 * A fixed budget of slab memory, handed out in size classes by splitting in four and merging again (a buddy system of
 * base four): lease and release take at most SIZE_CLASSES steps whatever is in use, and nothing is ever moved.
 *
 *     4 MiB slab   [                                   ]
 *     1 MiB slabs  [        |        |        | leased ]   three free, on the 1 MiB list
 */
export class SlabPool {
  readonly sizeBytes: number
  leasedBytes = 0
  leasedSlabs = 0
  /** Told before memory that was in use is given out again, for whoever has still to read what it held. */
  beforeLease: (() => void) | null = null
  private readonly state: Uint8Array
  private readonly next: Int32Array
  private readonly previous: Int32Array
  private readonly heads = new Int32Array(SIZE_CLASSES).fill(NONE)
  private readonly windows: readonly Uint8Array[]

  /** `memory.sizeBytes` is rounded down to whole largest slabs. */
  constructor(private readonly memory: SlabMemory) {
    this.sizeBytes = memory.sizeBytes - (memory.sizeBytes % LARGEST_SLAB_BYTES)
    const pages = this.sizeBytes / PAGE_BYTES
    this.state = new Uint8Array(pages)
    this.next = new Int32Array(pages)
    this.previous = new Int32Array(pages)
    this.windows = memory.windows.map((window) => new Uint8Array(window))
    const step = 1 << (2 * LARGEST_CLASS)
    for (let page = pages - step; page >= 0; page -= step) this.pushFree(page, LARGEST_CLASS)
  }

  /** Byte offset of a slab, or -1 when none of this class can be had. The contents are whatever was there before. */
  lease(sizeClass: number): number {
    this.beforeLease?.()
    let from = sizeClass
    while (from < SIZE_CLASSES && this.heads[from] === NONE) from++
    if (from === SIZE_CLASSES) return NONE
    const page = this.heads[from] as number
    this.removeFree(page, from)
    while (from > sizeClass) {
      from--
      const quarter = 1 << (2 * from)
      for (let sibling = 3; sibling >= 1; sibling--) this.pushFree(page + sibling * quarter, from)
    }
    this.state[page] = LEASED_BIT | sizeClass
    this.leasedBytes += slabBytes(sizeClass)
    this.leasedSlabs++
    return page * PAGE_BYTES
  }

  /** Give a slab back. Throws when `offset` is not a leased slab: that would be a defect of ours, better loud than silent. */
  release(offset: number): void {
    let page = offset / PAGE_BYTES
    const state = this.state[page] ?? 0
    if ((state & LEASED_BIT) === 0) throw new Error(`slab pool: ${offset} is not leased`)
    let sizeClass = state & CLASS_MASK
    this.leasedBytes -= slabBytes(sizeClass)
    this.leasedSlabs--
    this.state[page] = 0
    while (sizeClass < LARGEST_CLASS) {
      const quarter = 1 << (2 * sizeClass)
      const base = page & ~(4 * quarter - 1)
      if (!this.siblingsFree(base, page, quarter, sizeClass)) break
      for (let sibling = base; sibling < base + 4 * quarter; sibling += quarter) {
        if (sibling !== page) this.removeFree(sibling, sizeClass)
      }
      page = base
      sizeClass++
    }
    this.pushFree(page, sizeClass)
  }

  private siblingsFree(base: number, except: number, quarter: number, sizeClass: number): boolean {
    for (let sibling = base; sibling < base + 4 * quarter; sibling += quarter) {
      if (sibling !== except && this.state[sibling] !== (FREE_BIT | sizeClass)) return false
    }
    return true
  }

  private pushFree(page: number, sizeClass: number): void {
    const head = this.heads[sizeClass] as number
    this.state[page] = FREE_BIT | sizeClass
    this.previous[page] = NONE
    this.next[page] = head
    if (head !== NONE) this.previous[head] = page
    this.heads[sizeClass] = page
  }

  private removeFree(page: number, sizeClass: number): void {
    const next = this.next[page] as number
    const previous = this.previous[page] as number
    if (next !== NONE) this.previous[next] = previous
    if (previous === NONE) this.heads[sizeClass] = next
    else this.next[previous] = next
    this.state[page] = 0
  }

  /** Bytes of leased memory as JavaScript sees them. Not for the hit path: each call makes an object. */
  view(offset: number, lengthBytes: number): Uint8Array {
    const window = this.windows[offset >= WINDOW_BYTES ? Math.floor(offset / WINDOW_BYTES) : 0] as Uint8Array
    const start = offset % WINDOW_BYTES
    return window.subarray(start, start + lengthBytes)
  }

  copy(targetOffset: number, sourceOffset: number, lengthBytes: number): void {
    this.memory.copy(targetOffset, sourceOffset, lengthBytes)
  }

  zero(offset: number, lengthBytes: number): void {
    this.memory.zero(offset, lengthBytes)
  }
}
