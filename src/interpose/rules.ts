/** What a mount is made to do to its requests: `[profiles.NAME.interpose]` with every default filled in. */
import { OPERATION_NAMES } from '../observability/operations.js'

/** The kernel counts on these: what it forgets, closes or begins has no answer, or none that it could do anything with. */
const NEVER_INTERPOSED = ['forget', 'init', 'destroy', 'interrupt', 'release', 'releasedir']

/** Operations that rules may name. Every other one goes its way. */
export const INTERPOSABLE_OPERATIONS: readonly string[] = OPERATION_NAMES.filter(
  (name) => !NEVER_INTERPOSED.includes(name),
)

/** Operations that move as many bytes as they ask for, and so can do a part. */
export const SHORTENED_OPERATIONS: readonly string[] = ['read', 'write']

/** Which requests a rule is for. */
export interface RuleScope {
  /** null: all that may be interposed. */
  readonly operations: readonly string[] | null
  /** Globs of paths relative to the mount's root; null: all. */
  readonly paths: readonly string[] | null
  /** Of the rule's own generator: 0..2^32-1. */
  readonly seed: number
}

export interface FaultRule extends RuleScope {
  /** What matching requests fail with. */
  readonly errno: string | null
  /** Reads and writes do this part of what they are asked for, in (0, 1), and at least a byte. One of the two is null. */
  readonly short: number | null
  /** Of each matching request, 0..1. */
  readonly probability: number
  /** So many matching requests are left alone first. */
  readonly after: number
  /** At most so many faults; null: no end. */
  readonly count: number | null
}

export type DelayDistribution =
  | { readonly kind: 'fixed'; readonly timeMs: number }
  | { readonly kind: 'uniform'; readonly minMs: number; readonly maxMs: number }
  | { readonly kind: 'exponential'; readonly meanMs: number }

export interface DelayRule extends RuleScope {
  readonly distribution: DelayDistribution
}

/** Rates a second, each null where there is no limit. */
export interface ThrottleRule {
  readonly readBytes: number | null
  readonly writeBytes: number | null
  readonly readOperations: number | null
  readonly writeOperations: number | null
  readonly otherOperations: number | null
  /** The time whose unused share of a rate may be saved up. */
  readonly burstMs: number
}

export interface InterposeRules {
  readonly faults: readonly FaultRule[]
  readonly delays: readonly DelayRule[]
  readonly throttle: ThrottleRule | null
}
