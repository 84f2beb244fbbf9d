import type { InterposedRequest } from './interposer.js'
import type { DelayRule } from './rules.js'
import { Scope, type RuleLibraries } from './scope.js'

/** One rule: how much longer requests take. */
export class Delay {
  private readonly scope: Scope

  /** `place`: see Scope. */
  constructor(
    private readonly rule: DelayRule,
    place: number,
    libraries: RuleLibraries,
  ) {
    this.scope = new Scope(rule, place, libraries)
  }

  /** 0: the rule is not for this request. */
  msOf(request: InterposedRequest): number {
    if (!this.scope.includes(request)) return 0
    const { distribution } = this.rule
    switch (distribution.kind) {
      case 'fixed':
        return distribution.timeMs
      case 'uniform':
        return distribution.minMs + (distribution.maxMs - distribution.minMs) * this.scope.random()
      case 'exponential':
        // 1 - u is never 0.
        return -distribution.meanMs * Math.log(1 - this.scope.random())
    }
  }
}
