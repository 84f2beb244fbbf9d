/**
 * The time of a burst of requests. Asking the host for it takes 0.1 us, a tenth of what a small request takes in all, so all
 * requests that are answered in one go share one answer; a burst lasts less than a millisecond.
 */
import type { Timestamp } from './backend.js'
import { timestampNow } from './timestamp.js'

let isBurst = false
/** NaN until somebody asks. */
let burstMs = NaN
let burstTimestamp: Timestamp | null = null

/** The clock stands still until `endBurst`: nothing may be waited for in between. */
export function beginBurst(): void {
  isBurst = true
}

export function endBurst(): void {
  isBurst = false
  burstMs = NaN
  burstTimestamp = null
}

/** As performance.now(), of the burst if there is one. */
export function monotonicMs(): number {
  if (!isBurst) return performance.now()
  if (Number.isNaN(burstMs)) burstMs = performance.now()
  return burstMs
}

/** As timestampNow(), of the burst if there is one. */
export function wallClock(): Timestamp {
  if (!isBurst) return timestampNow()
  burstTimestamp ??= timestampNow()
  return burstTimestamp
}
