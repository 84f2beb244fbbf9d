/** Random numbers that a failing test can repeat: set OVFSD_TEST_SEED to the seed that it printed. */
import type { TestContext } from 'node:test'

export interface Random {
  /** Whole number, 0 to below `bound`. */
  below(bound: number): number
  pick<T>(items: readonly [T, ...T[]]): T
}

export function seededRandom(test: TestContext): Random {
  const given = process.env['OVFSD_TEST_SEED']
  const seed = given === undefined ? Math.floor(Math.random() * 2 ** 32) : Number(given)
  test.diagnostic(`OVFSD_TEST_SEED=${seed}`)
  let state = seed >>> 0
  // mulberry32: 32 bits of state are plenty for test data.
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
  const below = (bound: number): number => Math.floor(next() * bound)
  return { below, pick: (items) => items[below(items.length)] ?? items[0] }
}
