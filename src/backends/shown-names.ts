/** NAME_MAX of Linux: bytes, not characters. */
const MAX_NAME_BYTES = 255
/** A unit of UTF-16 is at most three bytes of UTF-8, so a shorter name need not be counted. */
const SURELY_SHORT = MAX_NAME_BYTES / 3

/**
 * Whether a guest can have a file of this name: the one place where names that stores tell are judged, before anything else sees
 * them. Empty names, ".", "..", what has "/" or NUL in it, and what is too long.
 */
export function canBeShown(name: string): boolean {
  if (name === '' || name === '.' || name === '..') return false
  if (name.includes('/') || name.includes('\0')) return false
  return name.length <= SURELY_SHORT || Buffer.byteLength(name) <= MAX_NAME_BYTES
}
