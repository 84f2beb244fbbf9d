import type { Timestamp } from './backend.js'

const MILLISECONDS_PER_SECOND = 1000
const NANOSECONDS_PER_MILLISECOND = 1_000_000
const NANOSECOND_DIGITS = 9
const FRACTION_PATTERN = /\.(\d+)/

/** OpenDAL's lastModified (RFC 3339, with up to nine digits of fraction) -> Timestamp; null stays null. */
export function timestampOfRfc3339(text: string | null): Timestamp | null {
  if (text === null) return null
  const milliseconds = Date.parse(text)
  if (Number.isNaN(milliseconds)) return null
  const fraction = FRACTION_PATTERN.exec(text)?.[1] ?? ''
  return {
    seconds: Math.floor(milliseconds / MILLISECONDS_PER_SECOND),
    nanoseconds: Number(fraction.slice(0, NANOSECOND_DIGITS).padEnd(NANOSECOND_DIGITS, '0')),
  }
}

/** Now, to the millisecond that JavaScript's clock has. */
export function timestampNow(): Timestamp {
  const milliseconds = Date.now()
  const seconds = Math.floor(milliseconds / MILLISECONDS_PER_SECOND)
  return {
    seconds,
    nanoseconds: (milliseconds - seconds * MILLISECONDS_PER_SECOND) * NANOSECONDS_PER_MILLISECOND,
  }
}
