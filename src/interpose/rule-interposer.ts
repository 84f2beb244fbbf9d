import { hostClock, type Clock } from './clock.js'
import { Delay } from './delay.js'
import { Fault } from './fault.js'
import type { InterposedRequest, Interposer, Verdict } from './interposer.js'
import { INTERPOSABLE_OPERATIONS, type InterposeRules } from './rules.js'
import type { RuleLibraries } from './scope.js'
import { Throttle } from './throttle.js'
import { Waits } from './waits.js'

const interposable: ReadonlySet<string> = new Set(INTERPOSABLE_OPERATIONS)

/**
 * The rules of one mount. A request waits for the throttle, then for its delays, and then it fails, does a part or does all. What is random
 * about it is decided when it comes, so the same requests in the same order get the same.
 */
export class RuleInterposer implements Interposer {
  private readonly faults: readonly Fault[]
  private readonly delays: readonly Delay[]
  private readonly throttle: Throttle | null
  private readonly waits: Waits
  /** Counts releases: who was let go by the throttle then must not begin to wait for a delay. */
  private releases = 0
  private hasEnded = false

  constructor(rules: InterposeRules, libraries: RuleLibraries, clock: Clock = hostClock) {
    let place = 0
    this.faults = rules.faults.map((rule) => new Fault(rule, place++, libraries))
    this.delays = rules.delays.map((rule) => new Delay(rule, place++, libraries))
    this.throttle = rules.throttle === null ? null : new Throttle(rules.throttle, clock)
    this.waits = new Waits(clock)
  }

  decide(request: InterposedRequest): Verdict | null {
    const { operation, sizeBytes } = request
    if (this.hasEnded || !interposable.has(operation)) return null
    const fault = this.faultOf(request)
    let delayMs = 0
    for (const delay of this.delays) delayMs += delay.msOf(request)
    const isThrottled = this.throttle?.isFor(operation) === true
    if (fault === null && delayMs === 0 && !isThrottled) return null
    return {
      errno: fault?.errno ?? 0,
      sizeBytes: fault?.partOf(sizeBytes) ?? sizeBytes,
      wait: this.waitOf(request, isThrottled, delayMs),
    }
  }

  giveBack(operation: string, unusedBytes: number): void {
    if (!this.hasEnded) this.throttle?.giveBack(operation, unusedBytes)
  }

  release(): void {
    this.releases++
    this.throttle?.release()
    this.waits.release()
  }

  end(): void {
    this.hasEnded = true
    this.release()
  }

  /** Each rule is asked, whatever the others say; the first one of the file counts. */
  private faultOf(request: InterposedRequest): Fault | null {
    let first: Fault | null = null
    for (const fault of this.faults) {
      if (fault.strikes(request)) first ??= fault
    }
    return first
  }

  private waitOf(
    { operation, sizeBytes }: InterposedRequest,
    isThrottled: boolean,
    delayMs: number,
  ): Promise<void> | null {
    const turn = isThrottled ? (this.throttle?.enter(operation, sizeBytes) ?? null) : null
    if (delayMs === 0) return turn
    if (turn === null) return this.waits.forMs(delayMs)
    const { releases } = this
    return turn.then(() => (releases === this.releases ? this.waits.forMs(delayMs) : undefined))
  }
}
