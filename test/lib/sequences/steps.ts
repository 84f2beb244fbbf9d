/** Random sequences of operations and faults, as plain data: so that a failing one can be cut short and run again. */
import type { Random } from '../model/random.js'
import { BUSY, FORBIDDEN, FULL, LOST, UNSENT, type Fault } from '../reference-store/faults.js'

export const FILES = ['a', 'b', 'c'] as const
/** Descriptors that a sequence may have open at a time. */
export const SLOTS = 4

export type Step =
  | { readonly kind: 'open'; readonly slot: number; readonly file: string; readonly truncates: boolean }
  | { readonly kind: 'write'; readonly slot: number; readonly place: number; readonly lengthBytes: number }
  /** Piece after piece from the end on. */
  | { readonly kind: 'stream'; readonly slot: number; readonly pieces: number }
  | { readonly kind: 'ftruncate'; readonly slot: number; readonly sizeBytes: number }
  | { readonly kind: 'fsync' | 'flush' | 'close'; readonly slot: number }
  | { readonly kind: 'truncate'; readonly file: string; readonly sizeBytes: number }
  | { readonly kind: 'rename'; readonly file: string; readonly to: string }
  | { readonly kind: 'unlink'; readonly file: string }
  /** All that is dirty is committed, as by `sync` or by the cleaner. */
  | { readonly kind: 'sync' }
  /** Other files need the memory of all that can be spared. */
  | { readonly kind: 'evict' }
  /** The next calls that change the store fail so. */
  | { readonly kind: 'fault'; readonly fault: Fault; readonly calls: number }
  /** The store is well again. */
  | { readonly kind: 'calm' }

const LONGEST_WRITE_BYTES = 20_000
const LARGEST_BYTES = 60_000

const FAULTS: readonly Fault[] = [
  BUSY,
  FORBIDDEN,
  FULL,
  LOST,
  UNSENT,
  { kind: 'late', calls: 2 },
  { kind: 'late', calls: 6 },
]

export function randomSteps(random: Random, count: number): Step[] {
  return Array.from({ length: count }, () => randomStep(random))
}

function randomStep(random: Random): Step {
  const slot = random.below(SLOTS)
  const file = random.pick(FILES)
  const chance = random.below(100)
  if (chance < 18) return { kind: 'open', slot, file, truncates: random.chance(0.4) }
  if (chance < 38) {
    const lengthBytes = 1 + random.below(random.pick([10, 4096, LONGEST_WRITE_BYTES]))
    return { kind: 'write', slot, place: random.next(), lengthBytes }
  }
  if (chance < 45) return { kind: 'stream', slot, pieces: 2 + random.below(8) }
  if (chance < 48)
    return { kind: 'ftruncate', slot, sizeBytes: random.pick([0, random.below(LARGEST_BYTES)]) }
  if (chance < 58) return { kind: 'fsync', slot }
  if (chance < 61) return { kind: 'flush', slot }
  if (chance < 70) return { kind: 'close', slot }
  if (chance < 72) return { kind: 'truncate', file, sizeBytes: random.below(LARGEST_BYTES) }
  if (chance < 75) return { kind: 'rename', file, to: random.pick(FILES) }
  if (chance < 77) return { kind: 'unlink', file }
  if (chance < 80) return { kind: 'sync' }
  if (chance < 84) return { kind: 'evict' }
  if (chance < 93) return { kind: 'fault', fault: random.pick(FAULTS), calls: 1 + random.below(4) }
  return { kind: 'calm' }
}

/** The shortest sequence that fails as `steps` does, as far as leaving out steps leads to one. */
export async function shrink(
  steps: readonly Step[],
  fails: (steps: readonly Step[]) => Promise<boolean>,
): Promise<readonly Step[]> {
  let shortest = steps
  for (let size = Math.ceil(steps.length / 2); size >= 1; size = size === 1 ? 0 : Math.ceil(size / 2)) {
    for (let start = 0; start < shortest.length;) {
      const shorter = [...shortest.slice(0, start), ...shortest.slice(start + size)]
      if (await fails(shorter)) shortest = shorter
      else start += size
    }
  }
  return shortest
}
