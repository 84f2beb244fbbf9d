/** A small seeded generator (mulberry32): the same seed gives the same run everywhere. */
export class Random {
  private state: number

  constructor(seed: number) {
    this.state = seed >>> 0
  }

  /** [0, 1) */
  next(): number {
    this.state = (this.state + 0x6d2b79f5) >>> 0
    let t = this.state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }

  /** 0 .. limit - 1 */
  below(limit: number): number {
    return Math.floor(this.next() * limit)
  }

  chance(probability: number): boolean {
    return this.next() < probability
  }

  pick<T>(items: readonly T[]): T {
    const item = items[this.below(items.length)]
    if (item === undefined) throw new Error('nothing to pick from')
    return item
  }

  bytes(length: number): Buffer {
    const buffer = Buffer.alloc(length)
    // A pattern that differs at every offset and every call, so that misplaced bytes show.
    let value = this.below(256)
    const step = 1 + 2 * this.below(100)
    for (let i = 0; i < length; i++) {
      buffer[i] = value
      value = (value + step + (i >> 8)) & 0xff
    }
    return buffer
  }
}

/** The seed of this run: OVFSD_SEED, or a new one. */
export function chooseSeed(): number {
  const given = process.env['OVFSD_SEED']
  return given === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(given)
}
