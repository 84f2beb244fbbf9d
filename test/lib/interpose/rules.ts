/** Rules with everything left out that a test does not say. */
import type {
  DelayDistribution,
  DelayRule,
  FaultRule,
  InterposeRules,
  ThrottleRule,
} from '../../../src/interpose/rules.js'

const ANY_SCOPE = { operations: null, paths: null, seed: 0 }

export function fault(rule: Partial<FaultRule> = {}): FaultRule {
  return { ...ANY_SCOPE, errno: 'EIO', short: null, probability: 1, after: 0, count: null, ...rule }
}

export function delay(distribution: DelayDistribution, rule: Partial<DelayRule> = {}): DelayRule {
  return { ...ANY_SCOPE, distribution, ...rule }
}

export function throttle(rule: Partial<ThrottleRule>): ThrottleRule {
  return {
    ...{ readBytes: null, writeBytes: null, readOperations: null, writeOperations: null },
    ...{ otherOperations: null, burstMs: 100, ...rule },
  }
}

export function rules(parts: Partial<InterposeRules>): InterposeRules {
  return { faults: [], delays: [], throttle: null, ...parts }
}
