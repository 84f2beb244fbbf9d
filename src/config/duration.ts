/** Durations as people write them: "60s", "1m30s", "50us", "1.5h". */
import { describeValue, quote, ValueError } from './problem.js'

/** Largest first: the order in which the parts of "1h30m" have to come. */
const UNITS: readonly (readonly [name: string, microseconds: bigint])[] = [
  ['d', 86_400_000_000n],
  ['h', 3_600_000_000n],
  ['m', 60_000_000n],
  ['s', 1_000_000n],
  ['ms', 1_000n],
  ['us', 1n],
]

export const US_PER_MS = 1_000

/** Digits before the point of one part: 999,999,999 days is past every range, and the sum stays exact. */
const PART = /(\d{1,9})(?:\.(\d{1,6}))?(us|µs|μs|ms|s|m|h|d)/y

export interface DurationRange {
  /** Inclusive, written as a duration. */
  readonly min: string
  readonly max: string
}

/**
 * A duration in whole microseconds. Zero may be written "0" or 0, without a unit; every other number needs one.
 * @throws ValueError saying what would be right
 */
export function parseDurationUs(value: unknown): number {
  if (value === 0 || value === '0') return 0
  if (typeof value === 'number') throw missingUnit(String(value))
  if (typeof value !== 'string') {
    throw new ValueError(`expected a duration such as "60s", found ${describeValue(value)}`)
  }
  if (/^\d+(\.\d+)?$/.test(value)) throw missingUnit(value)
  const total = sumOfParts(value)
  if (total === undefined) {
    throw new ValueError(
      `${quote(value)} is not a duration; write numbers with units (d, h, m, s, ms, us), largest first, such as "60s", "1m30s" or "500ms"`,
    )
  }
  return total
}

/** The same, within a range. */
export function parseDurationWithinUs(value: unknown, range: DurationRange): number {
  const durationUs = parseDurationUs(value)
  if (durationUs < parseDurationUs(range.min) || durationUs > parseDurationUs(range.max)) {
    throw new ValueError(
      `${formatDuration(durationUs)} is out of range; allowed is ${range.min} to ${range.max}`,
    )
  }
  return durationUs
}

/** The shortest way to write a duration: 90000000 -> "1m30s". `durationUs` is a whole number, 0 or more. */
export function formatDuration(durationUs: number): string {
  let rest = BigInt(durationUs)
  let text = ''
  for (const [name, unit] of UNITS) {
    if (rest >= unit) text += `${rest / unit}${name}`
    rest %= unit
  }
  return text === '' ? '0s' : text
}

function sumOfParts(text: string): number | undefined {
  let total = 0n
  let smallestSeen = Infinity
  let position = 0
  while (position < text.length) {
    PART.lastIndex = position
    const match = PART.exec(text)
    if (match === null) return undefined
    const [part, whole = '', fraction = '', unitName = ''] = match
    const rank = UNITS.length - UNITS.findIndex(([name]) => name === unitName.replace(/^[µμ]/, 'u'))
    const unit = UNITS[UNITS.length - rank]?.[1]
    if (unit === undefined || rank >= smallestSeen) return undefined
    smallestSeen = rank
    const scaled = BigInt(whole + fraction) * unit
    const scale = 10n ** BigInt(fraction.length)
    if (scaled % scale !== 0n) return undefined
    total += scaled / scale
    position += part.length
  }
  return position === 0 || total > BigInt(Number.MAX_SAFE_INTEGER) ? undefined : Number(total)
}

function missingUnit(number: string): ValueError {
  if (number.startsWith('-')) return new ValueError(`${number} is negative; a duration such as "60s" is not`)
  return new ValueError(`a duration needs a unit: write "${number}s" for ${number} seconds`)
}
