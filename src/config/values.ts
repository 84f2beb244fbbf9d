/** The simpler kinds of values. Each function returns the value or throws a ValueError that says what would be right. */
import { isIPv4 } from 'node:net'
import path from 'node:path'
import { isLogLevel, LOG_LEVELS, type LogLevel } from '../observability/levels.js'
import { describeValue, listChoices, quote, ValueError } from './problem.js'
import { didYouMean } from './suggestion.js'

/** sockaddr_un.sun_path is 108 bytes with its NUL. */
export const SOCKET_PATH_BYTES_MAX = 107

export interface IntegerRange {
  /** Inclusive. */
  readonly min: number
  readonly max: number
}

export type NumberRange = IntegerRange

export function parseBoolean(value: unknown): boolean {
  if (typeof value === 'boolean') return value
  const hint = value === 'true' || value === 'false' ? `; write ${value} without quotes` : ''
  throw new ValueError(`expected true or false, found ${describeValue(value)}${hint}`)
}

export function parseInteger(value: unknown, range: IntegerRange): number {
  if (typeof value !== 'number' || !Number.isInteger(value)) {
    const hint = typeof value === 'string' && /^\d+$/.test(value) ? `; write ${value} without quotes` : ''
    throw new ValueError(`expected a whole number, found ${describeValue(value)}${hint}`)
  }
  if (value < range.min || value > range.max) {
    throw new ValueError(`${value} is out of range; allowed is ${range.min} to ${range.max}`)
  }
  return value
}

/** A number with or without a fraction. */
export function parseNumber(value: unknown, range: NumberRange): number {
  if (typeof value !== 'number' || !Number.isFinite(value)) {
    const hint =
      typeof value === 'string' && /^\d+(\.\d+)?$/.test(value) ? `; write ${value} without quotes` : ''
    throw new ValueError(`expected a number, found ${describeValue(value)}${hint}`)
  }
  if (value < range.min || value > range.max) {
    throw new ValueError(`${value} is out of range; allowed is ${range.min} to ${range.max}`)
  }
  return value
}

/** Permission bits as an octal string, "0644". A TOML number would be decimal to the reader and octal to the kernel. */
export function parseMode(value: unknown): number {
  if (typeof value !== 'string') {
    throw new ValueError(
      `expected permission bits as an octal number in quotes such as "0644", found ${describeValue(value)}`,
    )
  }
  if (!/^0?[0-7]{3}$/.test(value)) {
    throw new ValueError(`${quote(value)} is not a mode; write octal permission bits such as "0644"`)
  }
  return Number.parseInt(value, 8)
}

export function parseLogLevel(value: unknown): LogLevel {
  if (typeof value === 'string' && isLogLevel(value)) return value
  const nearest = typeof value === 'string' ? didYouMean(value, LOG_LEVELS) : ''
  throw new ValueError(`expected ${listChoices(LOG_LEVELS)}, found ${describeValue(value)}${nearest}`)
}

export function parseSocketPath(value: unknown): string {
  if (typeof value !== 'string') {
    throw new ValueError(
      `expected the path of a socket such as "/run/ovfsd/ovfsd.sock", found ${describeValue(value)}`,
    )
  }
  if (value === '')
    throw new ValueError('is empty; write the path of a socket such as "/run/ovfsd/ovfsd.sock"')
  if (value.includes('\0')) throw new ValueError('holds a NUL character, which no path may')
  const lengthBytes = Buffer.byteLength(value)
  if (lengthBytes > SOCKET_PATH_BYTES_MAX) {
    throw new ValueError(
      `is ${lengthBytes} bytes long; Linux allows the path of a socket ${SOCKET_PATH_BYTES_MAX}, so choose a shorter one`,
    )
  }
  return value
}

/** Where an HTTP server listens: a TCP port of this host, or a Unix socket. */
export type ListenAddress = { readonly host: string; readonly port: number } | { readonly path: string }

const UNIX_PREFIX = 'unix:'
const PORT_MAX = 65_535

/** "127.0.0.1:9464", "[::1]:9464", "localhost:9464" or "unix:/run/ovfsd/metrics.sock". Only what this host alone can reach: there is no log-in. */
export function parseListenAddress(value: unknown): ListenAddress {
  const expected = 'an address of this host such as "127.0.0.1:9464", or "unix:/run/ovfsd/metrics.sock"'
  if (typeof value !== 'string') throw new ValueError(`expected ${expected}, found ${describeValue(value)}`)
  if (value.startsWith(UNIX_PREFIX)) return { path: parseSocketPath(value.slice(UNIX_PREFIX.length)) }
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(value)
  const host = match?.[1] ?? match?.[2]
  const port = Number(match?.[3])
  if (host === undefined || port > PORT_MAX)
    throw new ValueError(`expected ${expected}, found ${quote(value)}`)
  if (host !== 'localhost' && host !== '::1' && !(isIPv4(host) && host.startsWith('127.'))) {
    throw new ValueError(
      `${quote(host)} can be reached from elsewhere, and nobody would have to log in; use 127.0.0.1, or a Unix socket`,
    )
  }
  return { host, port }
}

/** The absolute path of a file that the daemon writes. */
export function parseFile(value: unknown): string {
  if (typeof value === 'string' && path.isAbsolute(value) && !value.includes('\0')) return value
  throw new ValueError(
    `expected the absolute path of a file such as "/var/log/ovfsd/access.log", found ${describeValue(value)}`,
  )
}

export const GUEST_CACHES = ['none', 'metadata', 'auto', 'always'] as const

export function parseGuestCache(value: unknown): (typeof GUEST_CACHES)[number] {
  const found = GUEST_CACHES.find((name) => name === value)
  if (found !== undefined) return found
  throw new ValueError(`expected ${listChoices(GUEST_CACHES)}, found ${describeValue(value)}`)
}

export const DURABILITIES = ['host', 'process'] as const

export function parseDurability(value: unknown): (typeof DURABILITIES)[number] {
  const found = DURABILITIES.find((name) => name === value)
  if (found !== undefined) return found
  throw new ValueError(`expected ${listChoices(DURABILITIES)}, found ${describeValue(value)}`)
}

/** The lock is a socket in it. */
export const DIRECTORY_BYTES_MAX = SOCKET_PATH_BYTES_MAX - '/lock'.length

/** An absolute path: a daemon may be started from anywhere. */
export function parseDirectory(value: unknown): string {
  if (typeof value !== 'string' || !path.isAbsolute(value) || value.includes('\0')) {
    throw new ValueError(
      `expected the absolute path of a directory such as "/var/cache/ovfsd", found ${describeValue(value)}`,
    )
  }
  const lengthBytes = Buffer.byteLength(value)
  if (lengthBytes > DIRECTORY_BYTES_MAX) {
    throw new ValueError(
      `is ${lengthBytes} bytes long; a socket has to fit in it, so choose one of at most ${DIRECTORY_BYTES_MAX}`,
    )
  }
  return value
}

/** "s3,hdfs" -> ["s3", "hdfs"]. */
export function parseEnabledServices(value: unknown): string[] {
  if (typeof value !== 'string') {
    throw new ValueError(
      `expected types or names of profiles separated by commas, such as "s3,hdfs", found ${describeValue(value)}`,
    )
  }
  const names = value.split(',').map((name) => name.trim())
  if (names.includes('')) {
    throw new ValueError(
      value.trim() === ''
        ? 'is empty, so that nothing would be mounted; name types or profiles, or leave the key out to enable all'
        : `${quote(value)} has an empty entry; separate names by single commas, such as "s3,hdfs"`,
    )
  }
  return names
}

/** "qemu,1000" -> ["qemu", "1000"]: names or ids of users, or of groups. */
export function parseNames(value: unknown): string[] {
  const names = typeof value === 'string' ? value.split(',').map((name) => name.trim()) : []
  // As useradd; a name that there is not is found when the daemon starts.
  if (names.length === 0 || !names.every((name) => /^[\w.][\w.$@\\-]*$/.test(name)))
    throw new ValueError(
      `expected names or ids separated by commas, such as "qemu,1000", found ${describeValue(value)}`,
    )
  return names
}
