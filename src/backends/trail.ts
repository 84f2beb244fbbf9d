/**
 * A walk from place to place that must not come back, remembered in one of its places (Brent's way to find a cycle): the one at the
 * last step that was a power of two. A walk in a circle is found out before it has gone round three times.
 */
export interface Trail {
  readonly milestone: string | null
  readonly steps: number
}

export const TRAIL_START: Trail = { milestone: null, steps: 0 }

/** null: the walk was there before. */
export function stepTo({ milestone, steps }: Trail, place: string): Trail | null {
  if (place === milestone) return null
  const isPowerOfTwo = ((steps + 1) & steps) === 0
  return { milestone: isPowerOfTwo ? place : milestone, steps: steps + 1 }
}
