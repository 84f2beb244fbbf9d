const MS_PER_S = 1000
const NS_PER_MS = 1e6
/** The host's clock was set when it is further from ours than this: well above what Date.now() rounds off. */
const STEP_MS = 20

/** How often that is looked for. */
const PERIOD_MS = 1000

/** Times of performance.now() as times since the epoch, precise to a microsecond and in step with the host's clock. */
export class HostClock {
  private originS = 0
  /** Of the second. */
  private originMs = 0
  private lookAgainMs = 0

  constructor() {
    this.setOrigin(performance.timeOrigin)
  }

  /** Follow the host's clock, if it was set. */
  adjust(): void {
    const beforeMs = performance.now()
    if (beforeMs < this.lookAgainMs) return
    this.lookAgainMs = beforeMs + PERIOD_MS
    const originMs = Date.now() - beforeMs
    // Between the two we may have been kept waiting.
    if (performance.now() - beforeMs > STEP_MS / 2) return
    if (Math.abs(originMs - this.originS * MS_PER_S - this.originMs) > STEP_MS) this.setOrigin(originMs)
  }

  /** `ms`: as performance.now(). Returns seconds and, of the second, nanoseconds. */
  at(ms: number): [seconds: number, nanoseconds: number] {
    const sum = this.originMs + ms
    const seconds = Math.floor(sum / MS_PER_S)
    return [this.originS + seconds, Math.floor((sum - seconds * MS_PER_S) * NS_PER_MS)]
  }

  private setOrigin(originMs: number): void {
    this.originS = Math.floor(originMs / MS_PER_S)
    this.originMs = originMs - this.originS * MS_PER_S
  }
}
