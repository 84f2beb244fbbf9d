/** `[profiles.NAME.interpose]`: what a mount is made to do to its requests. The keys, their defaults and ranges. */
import * as v from 'valibot'
import { ERRNO_BY_NAME } from '../interpose/errnos.js'
import {
  INTERPOSABLE_OPERATIONS,
  SHORTENED_OPERATIONS,
  type DelayDistribution,
  type DelayRule,
  type FaultRule,
  type InterposeRules,
  type ThrottleRule,
} from '../interpose/rules.js'
import { globFault } from '../observability/glob-fault.js'
import type { DurationRange } from './duration.js'
import { describeValue, listChoices, quote, ValueError } from './problem.js'
import type { Report } from './profiles.js'
import { choices, durationFractionMs, integer, number, setting, size } from './schema.js'
import type { SizeRange } from './size.js'
import { didYouMean } from './suggestion.js'
import type { IntegerRange, NumberRange } from './values.js'

/** Longer, and the guest's kernel would only say that a task hangs, which an hour shows as well. */
const DELAY_RANGE: DurationRange = { min: '1us', max: '1h' }
/** The least of a uniform delay may be none. */
const DELAY_MIN_RANGE: DurationRange = { min: '0', max: '1h' }
/** Shorter, and timers of the host, which fire a few milliseconds late when it is busy, would take from the rate. */
const BURST_RANGE: DurationRange = { min: '10ms', max: '1h' }
/** Slower, and one request of 1 MiB would take a quarter of an hour. */
const BYTE_RATE_RANGE: SizeRange = { min: '1KiB', max: '1TiB' }
/** One in 100 s, and more than the daemon could do. */
const OPERATION_RATE_RANGE: NumberRange = { min: 0.01, max: 10_000_000 }
/** A generator's state is made of 32 bits. */
const SEED_RANGE: IntegerRange = { min: 0, max: 0xffff_ffff }
const COUNT_RANGE: IntegerRange = { min: 0, max: Number.MAX_SAFE_INTEGER }
/** As many as a person could oversee; each is asked for every request. */
const RULES_MAX = 64
const LIST_MAX = 64

const DISTRIBUTIONS = ['fixed', 'uniform', 'exponential'] as const

const seed = v.optional(integer(SEED_RANGE), 0)
const operations = v.optional(
  setting(parseOperations, { kind: 'list', range: 'names of operations, see above', absent: 'all' }),
)
const paths = v.optional(
  setting(parseGlobs, { kind: 'list', range: 'globs of paths in the mount', absent: 'all' }),
)

/** `[[profiles.NAME.interpose.fault]]` */
export const faultSchema = v.strictObject({
  errno: v.optional(
    setting(parseErrno, { kind: 'text', range: 'a name of Linux, save `"ENOSYS"`', absent: 'none' }),
  ),
  short: v.optional(setting(parsePart, { kind: 'number', range: 'above 0 and below 1', absent: 'none' })),
  probability: v.optional(number({ min: 0, max: 1 }), 1),
  operations: v.optional(
    setting(parseOperations, {
      ...{ kind: 'list', range: 'names of operations, see above' },
      absent: 'all; with `short`: `read`, `write`',
    }),
  ),
  paths,
  seed,
  after: v.optional(integer(COUNT_RANGE), 0),
  count: v.optional(integer(COUNT_RANGE, 'no end')),
})

/** `[[profiles.NAME.interpose.delay]]` */
export const delaySchema = v.strictObject({
  distribution: v.optional(
    setting(parseDistribution, { kind: 'text', range: choices(DISTRIBUTIONS) }),
    'fixed',
  ),
  time: v.optional(durationFractionMs(DELAY_RANGE, 'required with `fixed`')),
  min: v.optional(durationFractionMs(DELAY_MIN_RANGE, 'required with `uniform`')),
  max: v.optional(durationFractionMs(DELAY_RANGE, 'required with `uniform`')),
  mean: v.optional(durationFractionMs(DELAY_RANGE, 'required with `exponential`')),
  operations,
  paths,
  seed,
})

/** `[profiles.NAME.interpose.throttle]` */
export const throttleSchema = v.strictObject({
  read_bytes_per_second: v.optional(size(BYTE_RATE_RANGE, 'no limit')),
  write_bytes_per_second: v.optional(size(BYTE_RATE_RANGE, 'no limit')),
  read_operations_per_second: v.optional(number(OPERATION_RATE_RANGE, 'no limit')),
  write_operations_per_second: v.optional(number(OPERATION_RATE_RANGE, 'no limit')),
  other_operations_per_second: v.optional(number(OPERATION_RATE_RANGE, 'no limit')),
  burst: v.optional(durationFractionMs(BURST_RANGE), '100ms'),
})

const TABLES = ['fault', 'delay', 'throttle'] as const

type Table = Readonly<Record<string, unknown>>
type FaultKeys = v.InferOutput<typeof faultSchema>
type DelayKeys = v.InferOutput<typeof delaySchema>

/** The rules of `interpose`; null where it has none, or where something was reported. */
export function parseInterpose(value: unknown, report: Report): InterposeRules | null {
  if (!isTable(value)) {
    report([], `expected the tables fault, delay and throttle, found ${describeValue(value)}`)
    return null
  }
  for (const key of Object.keys(value)) {
    if (!TABLES.some((name) => name === key))
      report([key], `unknown key${didYouMean(key, TABLES) || `; known are ${listChoices(TABLES)}`}`)
  }
  const faults = rulesOf(value, 'fault', report).map(([keys, reportHere]) => parseFault(keys, reportHere))
  const delays = rulesOf(value, 'delay', report).map(([keys, reportHere]) => parseDelay(keys, reportHere))
  const throttle =
    value['throttle'] === undefined ? null : parseThrottle(value['throttle'], below(report, 'throttle'))
  if (faults.length + delays.length === 0 && throttle === null) return null
  return {
    faults: faults.filter((rule) => rule !== null),
    delays: delays.filter((rule) => rule !== null),
    throttle,
  }
}

function below(report: Report, ...path: readonly string[]): Report {
  return (inner, message) => {
    report([...path, ...inner], message)
  }
}

/** The tables of one `[[...]]`, each with the report of its place. */
function rulesOf(value: Table, name: string, report: Report): (readonly [Table, Report])[] {
  const written = value[name]
  if (written === undefined) return []
  if (!Array.isArray(written)) {
    report([name], `is a list of rules; write [[profiles.NAME.interpose.${name}]] with double brackets`)
    return []
  }
  if (written.length > RULES_MAX) report([name], `has ${written.length} rules; ${RULES_MAX} are the most`)
  return (written as unknown[]).slice(0, RULES_MAX).flatMap((rule, index) => {
    const reportHere = below(report, name, String(index))
    if (isTable(rule)) return [[rule, reportHere] as const]
    reportHere([], `expected a table, found ${describeValue(rule)}`)
    return []
  })
}

/** Undefined where something was reported. */
function parseKeys<S extends typeof faultSchema | typeof delaySchema | typeof throttleSchema>(
  schema: S,
  table: Table,
  report: Report,
): v.InferOutput<S> | undefined {
  const known = Object.keys(schema.entries)
  const result = v.safeParse(schema, table)
  if (result.success) return result.output
  for (const issue of result.issues) {
    const [key = ''] = v.getDotPath(issue)?.split('.') ?? []
    if (known.includes(key)) report([key], issue.message)
    else report([key], `unknown key${didYouMean(key, known) || `; known are ${listChoices(known)}`}`)
  }
  return undefined
}

function parseFault(table: Table, report: Report): FaultRule | null {
  const keys = parseKeys(faultSchema, table, report)
  if (keys === undefined) return null
  const { errno = null, short = null } = keys
  if ((errno === null) === (short === null)) {
    report([], 'needs either errno, such as errno = "EIO", or short, such as short = 0.5')
    return null
  }
  const { probability, seed: ofRule, after, count = null } = keys
  const scope = { operations: operationsOf(keys, report), paths: keys.paths ?? null, seed: ofRule }
  return { errno, short, probability, after, count, ...scope }
}

function operationsOf({ short, operations: named }: FaultKeys, report: Report): readonly string[] | null {
  if (short === undefined) return named ?? null
  const other = named?.find((name) => !SHORTENED_OPERATIONS.includes(name))
  if (other !== undefined)
    report(['operations'], `${quote(other)} can't be short; only ${listChoices(SHORTENED_OPERATIONS)} can`)
  return named ?? SHORTENED_OPERATIONS
}

function parseDelay(table: Table, report: Report): DelayRule | null {
  const keys = parseKeys(delaySchema, table, report)
  const distribution = keys === undefined ? null : distributionOf(keys, report)
  if (keys === undefined || distribution === null) return null
  return { distribution, operations: keys.operations ?? null, paths: keys.paths ?? null, seed: keys.seed }
}

const TIMES = ['time', 'min', 'max', 'mean'] as const
const TIMES_OF: Readonly<Record<(typeof DISTRIBUTIONS)[number], readonly (typeof TIMES)[number][]>> = {
  fixed: ['time'],
  uniform: ['min', 'max'],
  exponential: ['mean'],
}

function distributionOf(keys: DelayKeys, report: Report): DelayDistribution | null {
  const { distribution: kind, time: timeMs, min: minMs, max: maxMs, mean: meanMs } = keys
  const wanted = TIMES_OF[kind]
  for (const name of TIMES) {
    if (keys[name] !== undefined && !wanted.includes(name))
      report([name], `has no meaning with distribution = ${quote(kind)}, which needs ${wanted.join(' and ')}`)
    if (keys[name] === undefined && wanted.includes(name))
      report([name], `is missing; distribution = ${quote(kind)} needs it, such as ${name} = "20ms"`)
  }
  if (kind === 'fixed') return timeMs === undefined ? null : { kind, timeMs }
  if (kind === 'exponential') return meanMs === undefined ? null : { kind, meanMs }
  if (minMs === undefined || maxMs === undefined) return null
  if (minMs > maxMs) report(['min'], 'is more than max; swap them')
  return { kind, minMs, maxMs }
}

function parseThrottle(value: unknown, report: Report): ThrottleRule | null {
  if (!isTable(value)) {
    report([], `expected a table, found ${describeValue(value)}; write [profiles.NAME.interpose.throttle]`)
    return null
  }
  const keys = parseKeys(throttleSchema, value, report)
  if (keys === undefined) return null
  const rates = {
    readBytes: keys.read_bytes_per_second ?? null,
    writeBytes: keys.write_bytes_per_second ?? null,
    readOperations: keys.read_operations_per_second ?? null,
    writeOperations: keys.write_operations_per_second ?? null,
    otherOperations: keys.other_operations_per_second ?? null,
  }
  if (Object.values(rates).some((rate) => rate !== null)) return { ...rates, burstMs: keys.burst }
  report([], 'limits nothing; add a rate, such as read_bytes_per_second = "10MiB", or leave it out')
  return null
}

function parseErrno(value: unknown): string {
  if (typeof value === 'string' && ERRNO_BY_NAME.has(value)) return value
  if (value === 'ENOSYS')
    throw new ValueError(`"ENOSYS" would keep the guest's kernel from ever asking again; take "EOPNOTSUPP"`)
  const nearest = typeof value === 'string' ? didYouMean(value, [...ERRNO_BY_NAME.keys()]) : ''
  throw new ValueError(`expected the name of an error such as "EIO", found ${describeValue(value)}${nearest}`)
}

function parsePart(value: unknown): number {
  if (typeof value === 'number' && value > 0 && value < 1) return value
  throw new ValueError(`expected a number above 0 and below 1 such as 0.5, found ${describeValue(value)}`)
}

function parseDistribution(value: unknown): (typeof DISTRIBUTIONS)[number] {
  const found = DISTRIBUTIONS.find((name) => name === value)
  if (found !== undefined) return found
  throw new ValueError(`expected ${listChoices(DISTRIBUTIONS)}, found ${describeValue(value)}`)
}

function parseList(value: unknown, example: string): readonly string[] {
  const isList = Array.isArray(value) && value.every((entry) => typeof entry === 'string')
  if (!isList) throw new ValueError(`expected a list such as ${example}, found ${describeValue(value)}`)
  if (value.length === 0)
    throw new ValueError('is empty, so that the rule would be for nothing; leave it out to mean all')
  if (value.length > LIST_MAX) throw new ValueError(`has ${value.length} entries; ${LIST_MAX} are the most`)
  return [...new Set(value)]
}

function parseOperations(value: unknown): readonly string[] {
  const names = parseList(value, '["read", "write"]')
  for (const name of names) {
    if (INTERPOSABLE_OPERATIONS.includes(name)) continue
    const nearest = didYouMean(name, INTERPOSABLE_OPERATIONS)
    throw new ValueError(
      `${quote(name)} is no operation that can be interposed${nearest || `; known are ${listChoices(INTERPOSABLE_OPERATIONS)}`}`,
    )
  }
  return names
}

function parseGlobs(value: unknown): readonly string[] {
  const globs = parseList(value, '["logs/**", "*.db"]')
  for (const glob of globs) checkGlob(glob)
  return globs
}

function checkGlob(glob: string): void {
  if (glob === '') throw new ValueError('"" matches nothing; write a glob such as "logs/**"')
  if (glob.startsWith('/'))
    throw new ValueError(`${quote(glob)} begins with "/"; paths are relative to the mount's root`)
  const fault = globFault(glob)
  if (fault !== null) throw new ValueError(`${quote(glob)} ${fault}`)
}

function isTable(value: unknown): value is Table {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date)
}
