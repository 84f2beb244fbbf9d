/**
 * Mode, owner and time in an object's user metadata, by the keys that s3fs (`mode`, `uid`, `gid`, `mtime`) and rclone
 * (`mtime`) use, so that each sees what the other has stored:
 *
 *     mode   st_mode in decimal, with the file's type: 33188 is a regular file with 0644
 *     uid    in decimal; `gid` as well
 *     mtime  seconds since the epoch; a fraction always has nine digits, since s3fs takes it for a number of nanoseconds
 *
 * Others may have stored anything there. What can't be what it should be counts as if it were not there.
 */
import type { IncomingHttpHeaders } from 'node:http'
import type {
  AttributeChanges,
  EntryKind,
  FileAttributes,
  ObjectStat,
  Permissions,
  Timestamp,
} from '../backend.js'

export type Headers = Readonly<Record<string, string>>
/** User metadata: names in lower case, without the prefix that their headers have. */
export type Metadata = Readonly<Record<string, string>>

const PERMISSION_BITS = 0o7777
const S_IFMT = 0o170000
const TYPE_OF_KIND: Readonly<Record<EntryKind, number>> = { file: 0o100000, directory: 0o040000 }
/** The highest means "no id". */
const MAX_ID = 0xffff_fffe
const ID_PATTERN = /^\d{1,10}$/
const MODE_PATTERN = /^(?:0o)?(\d{1,7})$/
const OCTAL_PATTERN = /^[0-7]+$/
/** Eleven digits of seconds reach past the year 5000. */
const MTIME_PATTERN = /^(-?)(\d{1,11})(?:\.(\d+))?$/
const NANOSECOND_DIGITS = 9
const NANOSECONDS_PER_SECOND = 1e9

/** The user metadata in an answer's headers, which begin with `prefix`. */
export function metadataOf(headers: IncomingHttpHeaders, prefix: string): Metadata {
  const metadata: Record<string, string> = {}
  for (const [name, value] of Object.entries(headers)) {
    if (name.startsWith(prefix)) metadata[name.slice(prefix.length)] = String(value)
  }
  return metadata
}

export function metadataHeaders(metadata: Metadata, prefix: string): Headers {
  return Object.fromEntries(Object.entries(metadata).map(([name, value]) => [prefix + name, value]))
}

/** Those of the named headers that the answer has. */
export function headersNamed(headers: IncomingHttpHeaders, names: readonly string[]): Headers {
  const found: Record<string, string> = {}
  for (const name of names) {
    const value = headers[name]
    if (typeof value === 'string') found[name] = value
  }
  return found
}

/** A stat with what the object's metadata tells. */
export function withMetadata(stat: ObjectStat, metadata: Metadata): ObjectStat {
  const permissions = decodePermissions(metadata, stat.kind)
  return { ...stat, mtime: decodeMtime(metadata) ?? stat.mtime, permissions }
}

/** A stat with attributes that have just been stored; as it is where none were. */
export function withAttributes(stat: ObjectStat, attributes: FileAttributes | undefined): ObjectStat {
  if (attributes === undefined) return stat
  const { mtime, ...permissions } = attributes
  return { ...stat, mtime, permissions }
}

/** Of a file that has just been stored: the store's own time for it is not known without asking, and not needed. */
export function storedStat(
  sizeBytes: number,
  version: string,
  attributes: FileAttributes | undefined,
): ObjectStat {
  return withAttributes({ kind: 'file', sizeBytes, mtime: null, version }, attributes)
}

/** Only what is not null has a key. */
export function encodeAttributes({ mode, uid, gid, mtime }: FileAttributes, kind: EntryKind): Metadata {
  return {
    ...(mode === null ? {} : { mode: String((mode & PERMISSION_BITS) | TYPE_OF_KIND[kind]) }),
    ...(uid === null ? {} : { uid: String(uid) }),
    ...(gid === null ? {} : { gid: String(gid) }),
    mtime: encodeTime(mtime),
  }
}

/** The metadata with the changes made. `mtime` is the object's time where neither tells one: a change of metadata would move it. */
export function changeMetadata(
  metadata: Metadata,
  kind: EntryKind,
  changes: AttributeChanges,
  mtime: Timestamp,
): { readonly metadata: Metadata; readonly attributes: FileAttributes } {
  const present = decodePermissions(metadata, kind)
  const attributes = {
    mode: changes.mode ?? present.mode,
    uid: changes.uid ?? present.uid,
    gid: changes.gid ?? present.gid,
    mtime: changes.mtime ?? decodeMtime(metadata) ?? mtime,
  }
  return { metadata: { ...metadata, ...encodeAttributes(attributes, kind) }, attributes }
}

export function decodePermissions(metadata: Metadata, kind: EntryKind): Permissions {
  const { mode, uid, gid } = metadata
  return { mode: decodeMode(mode, kind), uid: decodeId(uid), gid: decodeId(gid) }
}

export function decodeMtime({ mtime }: Metadata): Timestamp | null {
  const match = MTIME_PATTERN.exec(mtime ?? '')
  if (match === null) return null
  const [, sign, whole, fraction = ''] = match
  const seconds = Number(whole)
  const nanoseconds = Number(fraction.slice(0, NANOSECOND_DIGITS).padEnd(NANOSECOND_DIGITS, '0'))
  if (sign === '') return { seconds, nanoseconds }
  if (nanoseconds === 0) return { seconds: 0 - seconds, nanoseconds }
  return { seconds: -seconds - 1, nanoseconds: NANOSECONDS_PER_SECOND - nanoseconds }
}

function encodeTime({ seconds, nanoseconds }: Timestamp): string {
  if (nanoseconds === 0) return String(seconds)
  const isNegative = seconds < 0
  const whole = isNegative ? -seconds - 1 : seconds
  const fraction = isNegative ? NANOSECONDS_PER_SECOND - nanoseconds : nanoseconds
  return `${isNegative ? '-' : ''}${whole}.${String(fraction).padStart(NANOSECOND_DIGITS, '0')}`
}

function decodeId(text: string | undefined): number | null {
  if (text === undefined || !ID_PATTERN.test(text)) return null
  const id = Number(text)
  return id <= MAX_ID ? id : null
}

/**
 * Decimal as s3fs has it, else octal as `rclone --metadata` has it: the file's type, which both include, tells which of the
 * two was meant. Without a type it is octal if it begins with 0.
 */
function decodeMode(text: string | undefined, kind: EntryKind): number | null {
  const digits = MODE_PATTERN.exec(text ?? '')?.[1]
  if (digits === undefined) return null
  const type = TYPE_OF_KIND[kind]
  const decimal = Number(digits)
  if ((decimal & S_IFMT) === type && decimal <= (S_IFMT | PERMISSION_BITS)) return decimal & PERMISSION_BITS
  if (!OCTAL_PATTERN.test(digits)) return null
  const octal = parseInt(digits, 8)
  if ((octal & S_IFMT) === type && octal <= (S_IFMT | PERMISSION_BITS)) return octal & PERMISSION_BITS
  return digits.startsWith('0') && octal <= PERMISSION_BITS ? octal : null
}
