const FIRST_BASIS = 0x811c9dc5
const SECOND_BASIS = 0x9747b28c
const FIRST_PRIME = 0x01000193
const SECOND_PRIME = 0x5bd1e995
/** Bits of the second hash that a double still has room for. */
const SECOND_BITS = 20

/** 52 bits that stand for a name: two in a directory of a million have the same once in ten thousand such directories. */
export function nameHash(name: string): number {
  let first = FIRST_BASIS
  let second = SECOND_BASIS
  for (let index = 0; index < name.length; index++) {
    const unit = name.charCodeAt(index)
    first = Math.imul(first ^ unit, FIRST_PRIME)
    second = Math.imul(second ^ unit, SECOND_PRIME)
    second ^= second >>> 15
  }
  return (first >>> 0) * 2 ** SECOND_BITS + (second >>> (32 - SECOND_BITS))
}
