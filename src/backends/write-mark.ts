import { randomBytes } from 'node:crypto'
import type { WriteMark } from './backend.js'

/** 128 bits: no two writes ever draw the same. */
const MARK_BYTES = 16

/** Marks drawn at a time: each time costs 15 us, which every small file would wait for. */
const DRAWN_MARKS = 64

let drawn = ''
let used = 0

/** The key of the mark among an object's user metadata, on every service that keeps such. */
export const WRITE_MARK_KEY = 'ovfsd-write'

export function newWriteMark(): WriteMark {
  if (used === drawn.length) {
    drawn = randomBytes(DRAWN_MARKS * MARK_BYTES).toString('hex')
    used = 0
  }
  const begin = used
  used += 2 * MARK_BYTES
  return drawn.slice(begin, used)
}
