/** What interposers tell the time by and are woken by; tests have one that they wind by hand. */
export interface Clock {
  /** Monotonic ms, with fractions. */
  nowMs(): number
  /** Calls `callback` once, at `atMs` or as soon after it as can be, never before. Returns what calls it off. */
  wakeAt(atMs: number, callback: () => void): () => void
  /** The same, some ms late or a part of one early: for who looks at the time himself. Takes no processor time meanwhile. */
  wakeAbout(atMs: number, callback: () => void): () => void
}

/** Longer, and Node's timers would fire at once. */
const TIMER_MAX_MS = 2 ** 31 - 1

/**
 * A timer of the host fires some time in the millisecond after the one that was asked for, which would make each delay half
 * a millisecond too long. So it is set for the whole milliseconds before, and the rest is waited out by turns of the event loop,
 * in which everybody else is served.
 */
export const hostClock: Clock = {
  nowMs: () => performance.now(),
  wakeAt: (atMs, callback) => {
    let timer: NodeJS.Timeout | undefined
    let turn: NodeJS.Immediate | undefined
    const look = (): void => {
      const leftMs = atMs - performance.now()
      if (leftMs <= 0) callback()
      else if (leftMs < 1) turn = setImmediate(look)
      else timer = setTimeout(look, Math.min(Math.floor(leftMs), TIMER_MAX_MS))
    }
    turn = setImmediate(look)
    return () => {
      clearTimeout(timer)
      clearImmediate(turn)
    }
  },
  wakeAbout: (atMs, callback) => {
    const timer = setTimeout(callback, Math.min(Math.ceil(atMs - performance.now()), TIMER_MAX_MS))
    return () => {
      clearTimeout(timer)
    }
  },
}
