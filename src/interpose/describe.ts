/** Rules in words, for the log: nobody should wonder why storage is slow. */
import type {
  DelayDistribution,
  DelayRule,
  FaultRule,
  InterposeRules,
  RuleScope,
  ThrottleRule,
} from './rules.js'

const PERCENT = 100
const BINARY_UNITS: readonly (readonly [string, number])[] = [
  ['KiB', 2 ** 10],
  ['MiB', 2 ** 20],
  ['GiB', 2 ** 30],
]

/** A sentence for each rule. */
export function describeRules({ throttle, delays, faults }: InterposeRules): string[] {
  return [
    ...(throttle === null ? [] : describeThrottle(throttle)),
    ...delays.map(describeDelay),
    ...faults.map(describeFault),
  ]
}

function describeThrottle(rule: ThrottleRule): string[] {
  const rates: [string, string | null][] = [
    ['reads', bytesText(rule.readBytes)],
    ['writes', bytesText(rule.writeBytes)],
    ['reads', countText(rule.readOperations)],
    ['writes', countText(rule.writeOperations)],
    ['operations other than reads and writes', countText(rule.otherOperations)],
  ]
  return rates.flatMap(([what, rate]) => (rate === null ? [] : [`${what} are throttled to ${rate} a second`]))
}

function bytesText(bytes: number | null): string | null {
  if (bytes === null) return null
  const unit = BINARY_UNITS.findLast(([, unitBytes]) => bytes >= unitBytes)
  return unit === undefined ? `${bytes} bytes` : `${+(bytes / unit[1]).toPrecision(6)} ${unit[0]}`
}

function countText(operations: number | null): string | null {
  return operations === null ? null : `${operations}`
}

function describeDelay(rule: DelayRule): string {
  return `${describeScope(rule)} are delayed by ${describeDistribution(rule.distribution)}`
}

function describeDistribution(distribution: DelayDistribution): string {
  switch (distribution.kind) {
    case 'fixed':
      return `${distribution.timeMs} ms`
    case 'uniform':
      return `${distribution.minMs} to ${distribution.maxMs} ms, uniformly distributed`
    case 'exponential':
      return `${distribution.meanMs} ms on average, exponentially distributed`
  }
}

function describeFault(rule: FaultRule): string {
  const share = rule.probability === 1 ? '' : `${+(rule.probability * PERCENT).toPrecision(6)} % of `
  const what =
    rule.errno === null ? `do only ${rule.short ?? 1} of what they are asked for` : `fail with ${rule.errno}`
  const limits = [
    ...(rule.after > 0 ? [`after the first ${rule.after}`] : []),
    ...(rule.count === null ? [] : [`at most ${rule.count} times`]),
  ]
  return [`${share}${describeScope(rule)} ${what}`, ...limits].join(', ')
}

function describeScope({ operations, paths }: RuleScope): string {
  const what = operations === null ? 'all operations' : `${operations.join(', ')} operations`
  return paths === null ? what : `${what} on ${paths.join(', ')}`
}
