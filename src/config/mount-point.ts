/** `mount_point`: where in the guest's tree a profile appears. */
import { describeValue, quote, ValueError } from './problem.js'

/** As Linux: NAME_MAX and PATH_MAX, less the terminating NUL. */
const NAME_BYTES_MAX = 255
const PATH_BYTES_MAX = 4095

/**
 * The segments of a mount point: "a/b", "/a/b" and "a/b/" are ["a", "b"]; "/" is [].
 * @throws ValueError saying what would be right
 */
export function parseMountPoint(value: unknown): string[] {
  if (typeof value !== 'string') {
    throw new ValueError(`expected a path such as "data" or "team/data", found ${describeValue(value)}`)
  }
  if (value === '/') return []
  if (value === '') throw new ValueError('is empty; write a path such as "data", or "/" for the root itself')
  if (value.includes('\0')) throw new ValueError('holds a NUL character, which no path may')
  if (Buffer.byteLength(value) > PATH_BYTES_MAX) {
    throw new ValueError(`is longer than the ${PATH_BYTES_MAX} bytes that Linux allows a path`)
  }
  const segments = value.replace(/^\//, '').replace(/\/$/, '').split('/')
  for (const segment of segments) checkSegment(segment, value)
  return segments
}

/** How a mount point is written in messages and compared with others. */
export function formatMountPoint(segments: readonly string[]): string {
  return `/${segments.join('/')}`
}

function checkSegment(segment: string, path: string): void {
  if (segment === '') throw new ValueError(`${quote(path)} has an empty name between two slashes; write one`)
  if (segment === '.' || segment === '..') {
    throw new ValueError(`${quote(path)} holds "${segment}"; write the path without "." and ".."`)
  }
  if (Buffer.byteLength(segment) > NAME_BYTES_MAX) {
    throw new ValueError(`has a name longer than the ${NAME_BYTES_MAX} bytes that Linux allows`)
  }
}
