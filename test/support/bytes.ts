/** Bytes for tests, the same for the same seed. */

/** mulberry32: a small generator with a period of 2^32, good enough to mix test data. Numbers in [0, 1). */
export function randomNumbers(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** `length` bytes that no shift, swap or repetition of pages leaves the same. */
export function randomBytes(length: number, seed = 1): Buffer {
  const words = new Uint32Array(Math.ceil(length / 4))
  let state = (seed * 2654435761) >>> 0 || 1
  for (let i = 0; i < words.length; i++) {
    // xorshift32
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    words[i] = state
  }
  return Buffer.from(words.buffer, 0, length)
}

/** Fails with the first difference instead of a dump of megabytes. */
export function assertSameBytes(actual: Uint8Array, expected: Uint8Array, what = 'contents'): void {
  if (actual.length !== expected.length) {
    throw new Error(`${what}: ${actual.length} bytes instead of ${expected.length}`)
  }
  if (Buffer.compare(actual, expected) === 0) return
  const at = actual.findIndex((byte, index) => byte !== expected[index])
  throw new Error(
    `${what}: byte ${at} of ${actual.length} is ${actual[at] ?? -1} instead of ${expected[at] ?? -1}`,
  )
}
