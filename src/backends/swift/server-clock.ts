/** A server's `Date` has no fractions of a second. */
const DATE_STEP_MS = 1000

/**
 * What the server's clock showed at a moment of ours, as bounds that narrow with each answer: a `Date` is of a time between
 * the request and the end of its answer, and is rounded down. Monotonic ms here; ms since the epoch there.
 */
export class ServerClock {
  /** Bounds of what the server's clock is ahead of ours by. */
  private leastMs = -Infinity
  private mostMs = Infinity

  /** An answer with this `Date` came to a request that was sent at `sentMs`. */
  note(date: string | undefined, sentMs: number, receivedMs: number): void {
    const dateMs = Date.parse(date ?? '')
    if (Number.isNaN(dateMs)) return
    this.leastMs = Math.max(this.leastMs, dateMs - receivedMs)
    this.mostMs = Math.min(this.mostMs, dateMs + DATE_STEP_MS - sentMs)
  }

  /** Whether the time `thereMs` of the server's is before or after our `hereMs`; 'unknown' within the bounds, and where they contradict each other. */
  compare(thereMs: number, hereMs: number): 'before' | 'after' | 'unknown' {
    if (this.leastMs > this.mostMs) return 'unknown'
    if (thereMs < hereMs + this.leastMs) return 'before'
    return thereMs > hereMs + this.mostMs ? 'after' : 'unknown'
  }
}
