/**
 * Seeded randomness of the hostile tests: each run prints its seed, and takes one to repeat it.
 *   OVFSD_SEED=n   this seed
 *   OVFSD_CASES=n  as many times the cases (0.1 for fewer)
 */
import { randomInt } from 'node:crypto'
import { randomNumbers } from '../../support/bytes.js'

export class Random {
  readonly #next: () => number

  constructor(seed: number) {
    this.#next = randomNumbers(seed)
  }

  /** A whole number in [0, limit), limit <= 2^32. */
  below(limit: number): number {
    return Math.floor(this.#next() * limit)
  }
  oneIn(n: number): boolean {
    return this.below(n) === 0
  }
  pick<T>(choices: readonly T[]): T {
    return choices[this.below(choices.length)] as T
  }
  bytes(length: number): Buffer {
    const bytes = Buffer.alloc(length)
    for (let i = 0; i < length; i++) bytes[i] = this.below(256)
    return bytes
  }
}

/** The run's seed, told to the test's diagnostics. */
export function chooseSeed(tell: (message: string) => void): number {
  const given = process.env['OVFSD_SEED']
  const seed = given === undefined ? randomInt(2 ** 32) : Number(given)
  tell(`OVFSD_SEED=${seed}`)
  return seed
}

/** `count` cases, or as many as the environment wants. */
export function caseCount(count: number): number {
  return Math.ceil(count * Number(process.env['OVFSD_CASES'] ?? 1))
}
