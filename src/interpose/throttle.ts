/** Token buckets of a whole mount: requests begin no sooner than the rates allow. */
import type { Clock } from './clock.js'
import type { ThrottleRule } from './rules.js'

const MS_PER_SECOND = 1000

/**
 * A rate, kept as the time at which the bucket is no longer in debt (the generic cell rate algorithm). A request may begin when
 * that has come, and moves it on by what it costs. Who is woken late does not move it later, so timers take nothing from the rate as long as
 * they are late by less than the burst.
 */
class Bucket {
  /** When the next request may begin. A new bucket is full. */
  readyMs = -Infinity

  constructor(
    private readonly perSecond: number,
    private readonly burstMs: number,
  ) {}

  /** What is not used is saved up for `burstMs` and then lost. */
  take(units: number, nowMs: number): void {
    this.readyMs = Math.max(this.readyMs, nowMs - this.burstMs) + (units * MS_PER_SECOND) / this.perSecond
  }

  giveBack(units: number): void {
    this.readyMs -= (units * MS_PER_SECOND) / this.perSecond
  }
}

interface Waiter {
  readonly sizeBytes: number
  readonly resolve: () => void
}

/** Requests that share their rates, in the order in which they come. */
class Lane {
  private readonly waiting: Waiter[] = []
  private cancelWake: (() => void) | null = null

  constructor(
    private readonly bytes: Bucket | null,
    private readonly operations: Bucket | null,
    private readonly clock: Clock,
  ) {}

  get isLimited(): boolean {
    return this.bytes !== null || this.operations !== null
  }

  /** null: it may begin at once. */
  enter(sizeBytes: number): Promise<void> | null {
    if (this.waiting.length === 0 && this.begin(sizeBytes)) return null
    const turn = new Promise<void>((resolve) => {
      this.waiting.push({ sizeBytes, resolve })
    })
    if (this.waiting.length === 1) this.setWake()
    return turn
  }

  giveBack(unusedBytes: number): void {
    this.bytes?.giveBack(unusedBytes)
    if (this.waiting.length > 0) this.wake()
  }

  /** All that wait begin now, and still count. */
  release(): void {
    const nowMs = this.clock.nowMs()
    this.stopWake()
    for (const { sizeBytes, resolve } of this.waiting.splice(0)) {
      this.take(sizeBytes, nowMs)
      resolve()
    }
  }

  private get readyMs(): number {
    return Math.max(this.bytes?.readyMs ?? -Infinity, this.operations?.readyMs ?? -Infinity)
  }

  /** False when it may not yet. */
  private begin(sizeBytes: number): boolean {
    const nowMs = this.clock.nowMs()
    if (this.readyMs > nowMs) return false
    this.take(sizeBytes, nowMs)
    return true
  }

  private take(sizeBytes: number, nowMs: number): void {
    this.bytes?.take(sizeBytes, nowMs)
    this.operations?.take(1, nowMs)
  }

  private wake(): void {
    this.stopWake()
    for (;;) {
      const [first] = this.waiting
      if (first === undefined) return
      if (!this.begin(first.sizeBytes)) break
      this.waiting.shift()
      first.resolve()
    }
    this.setWake()
  }

  private setWake(): void {
    this.cancelWake = this.clock.wakeAbout(this.readyMs, () => {
      this.wake()
    })
  }

  private stopWake(): void {
    this.cancelWake?.()
    this.cancelWake = null
  }
}

/** The rates of one mount: reads, writes and everything else, each by itself. */
export class Throttle {
  private readonly reads: Lane
  private readonly writes: Lane
  private readonly others: Lane

  constructor(rule: ThrottleRule, clock: Clock) {
    const bucket = (perSecond: number | null): Bucket | null =>
      perSecond === null ? null : new Bucket(perSecond, rule.burstMs)
    this.reads = new Lane(bucket(rule.readBytes), bucket(rule.readOperations), clock)
    this.writes = new Lane(bucket(rule.writeBytes), bucket(rule.writeOperations), clock)
    this.others = new Lane(null, bucket(rule.otherOperations), clock)
  }

  isFor(operation: string): boolean {
    return this.laneOf(operation).isLimited
  }

  /** Resolves when the request may begin; null: at once. */
  enter(operation: string, sizeBytes: number): Promise<void> | null {
    return this.laneOf(operation).enter(sizeBytes)
  }

  giveBack(operation: string, unusedBytes: number): void {
    this.laneOf(operation).giveBack(unusedBytes)
  }

  /** All that wait begin now. */
  release(): void {
    for (const lane of [this.reads, this.writes, this.others]) lane.release()
  }

  private laneOf(operation: string): Lane {
    if (operation === 'read') return this.reads
    return operation === 'write' ? this.writes : this.others
  }
}
