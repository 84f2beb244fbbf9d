/** `[tracing]`: where the spans of requests go, and which requests have any. */
import * as v from 'valibot'
import { globFault } from '../observability/glob-fault.js'
import { OPERATION_NAMES } from '../observability/operations.js'
import { BACKGROUND_OPERATION } from '../observability/traced.js'
import type { TraceFilter, TracingSettings } from '../observability/tracing-settings.js'
import { parseDurationWithinUs } from './duration.js'
import { describeValue, listChoices, quote, ValueError } from './problem.js'
import { misspelt, reportIssues, type Report } from './profiles.js'
import { boolean, durationMs, integer, setting } from './schema.js'
import { expandVariables } from './secrets.js'
import { didYouMean } from './suggestion.js'

type Table = Readonly<Record<string, unknown>>

/** What directories above the mounts belong to. */
const ROOT_MOUNT = '(root)'
/** The kernel's PID_MAX_LIMIT; 0 is the kernel itself. */
const PID_RANGE = { min: 0, max: 4_194_304 }
/** Below a batch, each batch would be sent by itself; above, one batch of a flush is longer than a collector takes (20 MiB). */
const QUEUE_RANGE = { min: 512, max: 16_384 }
/** Shorter, and there would be a request for a handful of spans; longer, and nobody would wait for what he just did. */
const INTERVAL_RANGE = { min: '100ms', max: '1m' }
const EXPORT_TIMEOUT_RANGE = { min: '100ms', max: '1m' }
const LATENCY_RANGE = { min: '0', max: '1h' }
/** Filters and their entries are gone through for each request. */
const ENTRIES_MAX = 64
const HEADER_NAME = /^[A-Za-z0-9!#$%&'*+.^_`|~-]+$/
/** RFC 9110: visible characters, blanks and tabs. */
const HEADER_VALUE = /^[\t\u0020-\u007e\u0080-\u00ff]*$/
/** The exporter's own. */
const OWN_HEADERS: readonly string[] = [
  'content-type',
  'content-length',
  'content-encoding',
  'host',
  'user-agent',
]

const text = (kindOf: string) => ({ kind: 'text', range: kindOf }) as const

/** One of `[[tracing.filters]]`: a request passes when it fits all that is given. The keys hold for a filter of one mount alone too. */
export const traceFilterSchema = v.object({
  mounts: v.optional(
    setting((value) => entries(value, parseName), { ...text('names of profiles'), absent: 'all' }),
  ),
  paths: v.optional(setting((value) => entries(value, parseGlob), { ...text('globs'), absent: 'all' })),
  operations: v.optional(
    setting((value) => entries(value, parseOperation), {
      ...text('names of operations, or `background`'),
      absent: 'all',
    }),
  ),
  pids: v.optional(
    setting((value) => entries(value, parsePid), {
      ...{ kind: 'number', range: `\`${PID_RANGE.min}\` to \`${PID_RANGE.max}\` each`, absent: 'all' },
    }),
  ),
  min_latency: v.optional(
    setting((value) => parseDurationWithinUs(value, LATENCY_RANGE), {
      ...{ kind: 'duration', range: `\`${LATENCY_RANGE.min}\` to \`${LATENCY_RANGE.max}\`` },
    }),
    '0',
  ),
})

/** `[tracing]`, without `headers` and `filters`, which are tables. */
export const tracingSchema = v.object({
  endpoint: v.optional(setting(parseEndpoint, { ...text('`http://` or `https://`'), absent: 'none' })),
  service_name: v.optional(setting(parseServiceName, text('1 to 255 characters')), 'ovfsd'),
  sample_ratio: v.optional(setting(parseRatio, { kind: 'number', range: '`0` to `1`' }), 1),
  per_open_file: v.optional(boolean(), false),
  queue_size: v.optional(integer(QUEUE_RANGE), 8192),
  export_interval: v.optional(durationMs(INTERVAL_RANGE), '1s'),
  export_timeout: v.optional(durationMs(EXPORT_TIMEOUT_RANGE), '10s'),
})

export const TRACING_KEY_NAMES: readonly string[] = [
  ...Object.keys(tracingSchema.entries),
  'headers',
  'filters',
]
export const TRACE_FILTER_KEY_NAMES: readonly string[] = Object.keys(traceFilterSchema.entries)

/**
 * @param table what the file has below `[tracing]`; undefined: nothing
 * @param profiles names of all profiles, enabled or not
 * @returns null: nothing is traced
 */
export function parseTracing(
  table: Table | undefined,
  profiles: readonly string[],
  report: Report,
): TracingSettings | null {
  if (table === undefined) return null
  reportUnknown(table, TRACING_KEY_NAMES, report)
  const result = v.safeParse(tracingSchema, table)
  if (!result.success) reportIssues(result.issues, {}, misspelt(table, TRACING_KEY_NAMES), report)
  const headers = parseHeaders(table['headers'], table['endpoint'] !== undefined, report)
  const filters = parseFilters(table['filters'], profiles, report)
  if (!result.success || result.output.endpoint === undefined) return null
  const keys = result.output
  return {
    endpoint: result.output.endpoint,
    headers,
    serviceName: keys.service_name,
    sampleRatio: keys.sample_ratio,
    perOpenFile: keys.per_open_file,
    queueSize: keys.queue_size,
    exportIntervalMs: keys.export_interval,
    exportTimeoutMs: keys.export_timeout,
    filters,
  }
}

/** Values that must never be printed. */
export function tracingSecrets(settings: TracingSettings | null): string[] {
  return Object.values(settings?.headers ?? {}).flatMap((value) => [value, ...value.split(' ').slice(1)])
}

function parseFilters(value: unknown, profiles: readonly string[], report: Report): TraceFilter[] {
  if (value === undefined) return []
  if (!Array.isArray(value) || value.length > ENTRIES_MAX) {
    report(['filters'], `expected up to ${ENTRIES_MAX} tables [[tracing.filters]]`)
    return []
  }
  return value.flatMap((table: unknown, index) => {
    const reportHere: Report = (path, message) => {
      report(['filters', String(index), ...path], message)
    }
    return parseTraceFilter(table, profiles, reportHere) ?? []
  })
}

/** One filter; undefined when something was reported. */
export function parseTraceFilter(
  table: unknown,
  profiles: readonly string[],
  report: Report,
): TraceFilter | undefined {
  if (typeof table !== 'object' || table === null || Array.isArray(table)) {
    report([], `expected a table, found ${describeValue(table)}`)
    return undefined
  }
  reportUnknown(table as Table, TRACE_FILTER_KEY_NAMES, report)
  const result = v.safeParse(traceFilterSchema, table)
  if (!result.success) {
    reportIssues(result.issues, {}, misspelt(table as Table, TRACE_FILTER_KEY_NAMES), report)
    return undefined
  }
  const { mounts, paths, operations, pids, min_latency: minLatencyUs } = result.output
  const known = [...profiles, ROOT_MOUNT]
  for (const name of mounts ?? []) {
    if (!known.includes(name)) report(['mounts'], `${quote(name)} is no profile; write ${listChoices(known)}`)
  }
  return {
    mounts: mounts ?? null,
    paths: paths ?? null,
    operations: operations ?? null,
    pids: pids ?? null,
    minLatencyUs,
  }
}

function parseHeaders(value: unknown, isEnabled: boolean, report: Report): Record<string, string> {
  if (value === undefined) return {}
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    report(
      ['headers'],
      `expected a table such as headers = { authorization = "Bearer \${TOKEN}" }, found ${describeValue(value)}`,
    )
    return {}
  }
  const headers: Record<string, string> = {}
  for (const [name, written] of Object.entries(value)) {
    try {
      headers[name.toLowerCase()] = parseHeader(name, written, isEnabled)
    } catch (error) {
      if (!(error instanceof ValueError)) throw error
      report(['headers', name], error.message)
    }
  }
  return headers
}

/** Says nothing of the value, which may be a secret. */
function parseHeader(name: string, written: unknown, isEnabled: boolean): string {
  if (!HEADER_NAME.test(name)) throw new ValueError('is no name of an HTTP header')
  if (OWN_HEADERS.includes(name.toLowerCase())) throw new ValueError('is set by the exporter; leave it out')
  if (typeof written !== 'string') throw new ValueError('expected the text of an HTTP header, in quotes')
  // The machine that checks a file need not have the secrets of what it does not use.
  const value = isEnabled ? expandVariables(written, process.env) : written
  if (!HEADER_VALUE.test(value)) throw new ValueError('holds a character that no HTTP header may')
  return value
}

function parseEndpoint(value: unknown): string {
  const expected = 'a URL such as "http://127.0.0.1:4318/v1/traces"'
  if (typeof value !== 'string') throw new ValueError(`expected ${expected}, found ${describeValue(value)}`)
  if (!URL.canParse(value) || !/^https?:\/\//i.test(value)) throw new ValueError(`expected ${expected}`)
  const url = new URL(value)
  if (url.username !== '' || url.password !== '')
    throw new ValueError('holds a user or a password; write tracing.headers.authorization in its place')
  return url.href
}

function parseServiceName(value: unknown): string {
  if (typeof value === 'string' && /^[^\p{Cc}]{1,255}$/u.test(value)) return value
  throw new ValueError(`expected a name of 1 to 255 characters, found ${describeValue(value)}`)
}

function parseRatio(value: unknown): number {
  if (typeof value === 'number' && value >= 0 && value <= 1) return value
  throw new ValueError(`expected a number from 0 (nothing) to 1 (all), found ${describeValue(value)}`)
}

function entries<T>(value: unknown, parse: (entry: unknown) => T): T[] {
  if (!Array.isArray(value) || value.length === 0 || value.length > ENTRIES_MAX)
    throw new ValueError(`expected an array of 1 to ${ENTRIES_MAX} entries, found ${describeValue(value)}`)
  return value.map(parse)
}

function parseName(value: unknown): string {
  if (typeof value === 'string') return value
  throw new ValueError(`expected names of profiles, found ${describeValue(value)}`)
}

function parseGlob(value: unknown): string {
  const expected = 'a glob over the whole path in the guest, such as "/s3/logs/**"'
  if (typeof value !== 'string') throw new ValueError(`expected ${expected}, found ${describeValue(value)}`)
  const fault = globFault(value)
  if (fault !== null) throw new ValueError(`${describeValue(value)} ${fault}`)
  if (!/^(\/|\*\*|\{)/.test(value))
    throw new ValueError(`expected ${expected}, found ${describeValue(value)}`)
  return value
}

function parseOperation(value: unknown): string {
  const known = [...OPERATION_NAMES, BACKGROUND_OPERATION]
  if (typeof value === 'string' && known.includes(value)) return value
  const nearest = typeof value === 'string' ? didYouMean(value, known) : ''
  throw new ValueError(`expected names of operations such as "read", found ${describeValue(value)}${nearest}`)
}

function parsePid(value: unknown): number {
  if (
    typeof value === 'number' &&
    Number.isInteger(value) &&
    value >= PID_RANGE.min &&
    value <= PID_RANGE.max
  )
    return value
  throw new ValueError(
    `expected process ids from ${PID_RANGE.min} to ${PID_RANGE.max}, found ${describeValue(value)}`,
  )
}

function reportUnknown(table: Table, known: readonly string[], report: Report): void {
  for (const key of Object.keys(table)) {
    if (known.includes(key)) continue
    const nearest = didYouMean(key, known)
    report([key], `unknown key${nearest === '' ? `; known are ${listChoices(known)}` : nearest}`)
  }
}
