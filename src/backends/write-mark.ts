import { randomBytes } from 'node:crypto'
import type { WriteMark } from './backend.js'

/** 128 bits: no two writes ever draw the same. */
const MARK_BYTES = 16

/** The key of the mark among an object's user metadata, on every service that keeps such. */
export const WRITE_MARK_KEY = 'ovfsd-write'

export function newWriteMark(): WriteMark {
  return randomBytes(MARK_BYTES).toString('hex')
}
