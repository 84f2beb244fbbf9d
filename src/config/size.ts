/** Sizes as people write them: "256MiB" (binary, 2^20), "256MB" (decimal, 10^6), "4096" (bytes). */
import { describeValue, quote, ValueError } from './problem.js'

const KI = 1024n
const UNITS = new Map<string, bigint>([
  ['b', 1n],
  ['kib', KI],
  ['mib', KI ** 2n],
  ['gib', KI ** 3n],
  ['tib', KI ** 4n],
  ['kb', 10n ** 3n],
  ['mb', 10n ** 6n],
  ['gb', 10n ** 9n],
  ['tb', 10n ** 12n],
])

/** What {@link formatSize} uses, largest first. */
const BINARY_UNITS = ['TiB', 'GiB', 'MiB', 'KiB'] as const

const SIZE = /^(\d{1,15})(?:\.(\d{1,6}))? ?([a-z]*)$/i

export interface SizeRange {
  /** Inclusive, written as a size. */
  readonly min: string
  readonly max: string
}

/**
 * A size in bytes, 0..2^53-1. A number without a unit is bytes. "K", "M" and "G" alone are refused: half of the
 * world reads them as binary, the other half as decimal.
 * @throws ValueError saying what would be right
 */
export function parseSizeBytes(value: unknown): number {
  if (typeof value === 'number' && Number.isSafeInteger(value) && value >= 0) return value
  if (typeof value !== 'string') {
    throw new ValueError(`expected a size such as "256MiB", found ${describeValue(value)}`)
  }
  const [, whole, fraction = '', unitName = ''] = SIZE.exec(value) ?? []
  if (whole === undefined) throw notASize(value)
  if (/^[kmgt]$/i.test(unitName)) {
    const letter = unitName.toUpperCase()
    throw new ValueError(
      `the unit of ${quote(value)} is ambiguous; write ${whole}${letter}iB (binary) or ${whole}${letter}B (decimal)`,
    )
  }
  const unit = UNITS.get(unitName === '' ? 'b' : unitName.toLowerCase())
  if (unit === undefined) throw notASize(value)
  const scaled = BigInt(whole + fraction) * unit
  const scale = 10n ** BigInt(fraction.length)
  if (scaled % scale !== 0n) throw new ValueError(`${quote(value)} is not a whole number of bytes`)
  const sizeBytes = scaled / scale
  if (sizeBytes > BigInt(Number.MAX_SAFE_INTEGER)) throw new ValueError(`${quote(value)} is too large`)
  return Number(sizeBytes)
}

/** The same, within a range. */
export function parseSizeWithinBytes(value: unknown, range: SizeRange): number {
  const sizeBytes = parseSizeBytes(value)
  if (sizeBytes < parseSizeBytes(range.min) || sizeBytes > parseSizeBytes(range.max)) {
    throw new ValueError(`${formatSize(sizeBytes)} is out of range; allowed is ${range.min} to ${range.max}`)
  }
  return sizeBytes
}

/** An exact way to write a size: in the largest binary unit of which it is a whole multiple. */
export function formatSize(sizeBytes: number): string {
  for (const name of BINARY_UNITS) {
    const unit = Number(UNITS.get(name.toLowerCase()))
    if (sizeBytes !== 0 && sizeBytes % unit === 0) return `${sizeBytes / unit}${name}`
  }
  return `${sizeBytes}B`
}

function notASize(value: string): ValueError {
  return new ValueError(
    `${quote(value)} is not a size; write a number with a unit, such as "256MiB" (binary: KiB, MiB, GiB, TiB) or "256MB" (decimal: kB, MB, GB, TB)`,
  )
}
