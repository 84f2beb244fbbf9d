import { ERRNO_BY_NAME } from './errnos.js'
import type { InterposedRequest } from './interposer.js'
import type { FaultRule } from './rules.js'
import { Scope, type RuleLibraries } from './scope.js'

/** One rule: which requests fail, or do less than they are asked for. */
export class Fault {
  /** The errno, positive; 0: the rule makes requests short. */
  readonly errno: number
  private readonly scope: Scope
  private passed = 0
  private made = 0

  /** `place`: see Scope. */
  constructor(
    private readonly rule: FaultRule,
    place: number,
    libraries: RuleLibraries,
  ) {
    this.scope = new Scope(rule, place, libraries)
    this.errno = rule.errno === null ? 0 : (ERRNO_BY_NAME.get(rule.errno) ?? 0)
  }

  /**
   * Whether this request is one of them. Asked for each, in the order in which they come, so that a rule decides alike whatever
   * the others do.
   */
  strikes(request: InterposedRequest): boolean {
    const { rule } = this
    if (!this.scope.includes(request)) return false
    if (this.passed < rule.after) {
      this.passed++
      return false
    }
    const isDrawn = this.scope.random() < rule.probability
    if (!isDrawn || (rule.count !== null && this.made >= rule.count)) return false
    this.made++
    return true
  }

  /** How much is done of `sizeBytes`. */
  partOf(sizeBytes: number): number {
    if (this.rule.short === null || sizeBytes === 0) return sizeBytes
    return Math.max(1, Math.floor(sizeBytes * this.rule.short))
  }
}
