import type { Clock } from './clock.js'

/** Those who wait for a while, and can all be let go. */
export class Waits {
  private readonly waiting = new Set<() => void>()

  constructor(private readonly clock: Clock) {}

  /** Resolves when `ms` are over, or at `release`. */
  forMs(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const goOn = (): void => {
        this.waiting.delete(goOn)
        cancel()
        resolve()
      }
      const cancel = this.clock.wakeAt(this.clock.nowMs() + ms, goOn)
      this.waiting.add(goOn)
    })
  }

  release(): void {
    for (const goOn of [...this.waiting]) goOn()
  }
}
