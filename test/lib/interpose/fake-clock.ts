import type { Clock } from '../../../src/interpose/clock.js'

interface Alarm {
  readonly atMs: number
  readonly callback: () => void
}

/** A clock that stands still until it is wound. */
export class FakeClock implements Clock {
  private timeMs = 1000
  private readonly alarms = new Set<Alarm>()

  /** `latenessMs`: by how much the next alarm of `wakeAbout` is late, and a part of one early where it is below 0. */
  constructor(private readonly latenessMs: () => number = () => 0) {}

  nowMs(): number {
    return this.timeMs
  }

  wakeAt(atMs: number, callback: () => void): () => void {
    const alarm = { atMs: Math.max(atMs, this.timeMs), callback }
    this.alarms.add(alarm)
    return () => {
      this.alarms.delete(alarm)
    }
  }

  wakeAbout(atMs: number, callback: () => void): () => void {
    return this.wakeAt(atMs + this.latenessMs(), callback)
  }

  /** Whether anybody waits to be woken. */
  get isIdle(): boolean {
    return this.alarms.size === 0
  }

  /** Let time pass, and each alarm ring in its time. What is woken has run when this resolves. */
  async wind(ms: number): Promise<void> {
    const endMs = this.timeMs + ms
    for (;;) {
      const next = [...this.alarms].sort((a, b) => a.atMs - b.atMs)[0]
      if (next === undefined || next.atMs > endMs) break
      this.alarms.delete(next)
      this.timeMs = next.atMs
      next.callback()
      await settled()
    }
    this.timeMs = endMs
    await settled()
  }
}

/** Every microtask that is due has run. */
function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}
