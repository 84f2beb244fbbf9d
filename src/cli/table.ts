/** Text for people: columns that stand below each other, and numbers that are short. */

/** Columns whose cells are numbers stand to the right. */
export interface Column {
  readonly title: string
  readonly isNumber?: boolean
}

/** Lines, the titles first. */
export function table(columns: readonly Column[], rows: readonly (readonly string[])[]): string[] {
  const widths = columns.map(({ title }, index) =>
    Math.max(title.length, ...rows.map((row) => (row[index] ?? '').length)),
  )
  const line = (cells: readonly string[]): string =>
    columns
      .map(({ isNumber }, index) => {
        const [cell, width] = [cells[index] ?? '', widths[index] ?? 0]
        return isNumber === true ? cell.padStart(width) : cell.padEnd(width)
      })
      .join('  ')
      .trimEnd()
  return [line(columns.map(({ title }) => title)), ...rows.map(line)]
}

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'] as const
const UNIT_STEP = 1024
/** From here on there is no room for a digit behind the point. */
const WHOLE_FROM = 100

/** "4.0 KiB", "123 MiB". */
export function bytesText(bytes: number): string {
  let value = bytes
  let unit = 0
  // What would be shown as 1024 is one of the next unit.
  while (Math.round(value) >= UNIT_STEP && unit < UNITS.length - 1) {
    value /= UNIT_STEP
    unit++
  }
  const digits = unit === 0 || value >= WHOLE_FROM ? 0 : 1
  return `${value.toFixed(digits)} ${UNITS[unit] ?? ''}`
}

const US_PER_MS = 1000
const US_PER_SECOND = 1e6

/** "12 us", "3.4 ms", "1.2 s"; "-" for 0. */
export function durationText(us: number): string {
  if (us === 0) return '-'
  if (us < US_PER_MS) return `${us < 10 ? us.toFixed(1) : us.toFixed(0)} us`
  if (us < US_PER_SECOND) return `${(us / US_PER_MS).toFixed(us < WHOLE_FROM * US_PER_MS ? 1 : 0)} ms`
  return `${(us / US_PER_SECOND).toFixed(1)} s`
}

/** "0", "0.4", "12", "123456". */
export function rateText(perSecond: number): string {
  return perSecond > 0 && perSecond < 10 ? perSecond.toFixed(1) : perSecond.toFixed(0)
}

/** "99.5%"; "-" where nobody knows. */
export function shareText(share: number | null): string {
  return share === null ? '-' : `${(share * 100).toFixed(1)}%`
}

/** "2d 3h", "3h 12m", "12m 5s", "5s". */
export function uptimeText(seconds: number): string {
  const parts: (readonly [number, string])[] = [
    [Math.floor(seconds / 86_400), 'd'],
    [Math.floor(seconds / 3600) % 24, 'h'],
    [Math.floor(seconds / 60) % 60, 'm'],
    [Math.floor(seconds) % 60, 's'],
  ]
  const first = parts.findIndex(([value]) => value > 0)
  if (first < 0) return '0s'
  return parts
    .slice(first, first + 2)
    .map(([value, unit]) => `${value}${unit}`)
    .join(' ')
}

/** What others have named must not move the terminal's cursor. */
export function printable(text: string): string {
  return text.replaceAll(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g, '?')
}
