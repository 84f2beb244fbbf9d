/** The form of what is amended of a record: the CRC-32 of the rest in hexadecimal digits, a space, JSON. */
import { crc32 } from 'node:zlib'
import { BrokenRecordError } from './record-reader.js'
import type { StagedPlace } from './staged-record.js'

const CRC_DIGITS = 8

export function placeText({
  paths,
  mtime,
  attributes,
  base,
  expected,
  marks,
  next,
  amended,
  replacesAny,
}: StagedPlace): string {
  const json = JSON.stringify({ paths, mtime, attributes, base, expected, marks, next, amended, replacesAny })
  return `${crcText(Buffer.from(json))} ${json}`
}

function crcText(json: Uint8Array): string {
  return crc32(json).toString(16).padStart(CRC_DIGITS, '0')
}

/** @throws BrokenRecordError. What older daemons wrote has no checksum, and less in it. */
export function parsePlace(bytes: Buffer): Partial<StagedPlace> {
  const hasChecksum = bytes[CRC_DIGITS] === 0x20
  const json = hasChecksum ? bytes.subarray(CRC_DIGITS + 1) : bytes
  if (hasChecksum && crcText(json) !== bytes.toString('latin1', 0, CRC_DIGITS))
    throw new BrokenRecordError('what was amended of it is wrong')
  let place: unknown
  try {
    place = JSON.parse(json.toString())
  } catch (error) {
    throw new BrokenRecordError('what was amended of it is no JSON', { cause: error })
  }
  if (!isPlace(place)) throw new BrokenRecordError('what was amended of it tells no path')
  return place
}

function isPlace(value: unknown): value is Partial<StagedPlace> {
  if (typeof value !== 'object' || value === null || !('paths' in value)) return false
  const { paths } = value
  return Array.isArray(paths) && paths.length > 0 && paths.every((entry) => typeof entry === 'string')
}
