/**
 * A request as a line of the access log, and back:
 *
 *     2026.11.21 22:36:05.123456 [uid:0,gid:0,pid:4403] s3 read ("/s3/a.bin",fh:3,size:4096,offset:8192): OK (4096) <0.000123>
 *
 * The time is UTC, of the answer. Paths are JSON texts, so that a name may hold anything. After OK: the bytes of data that the guest got
 * or gave, and the handle that was opened; a failed request has the name of its errno there. Last: seconds that it took.
 */
import { errnoName } from './errno-name.js'
import type { HostClock } from './host-clock.js'
import type { RequestRecord } from './request-record.js'

export interface AccessEntry {
  /** When it was answered: "2026-11-21T22:36:05.123456Z". */
  readonly time: string
  readonly uid: number
  readonly gid: number
  readonly pid: number
  readonly mount: string
  readonly operation: string
  readonly path: string
  /** Of a rename or link. */
  readonly newPath: string | null
  readonly fh: number | null
  /** Bytes that were asked for. */
  readonly size: number | null
  readonly offset: number | null
  /** "ENOENT", or the number where it has no name; null: it succeeded. */
  readonly errno: string | null
  /** Bytes of data. */
  readonly bytes: number
  /** The handle that was given out. */
  readonly openedFh: number | null
  /** Whole microseconds. */
  readonly durationUs: number
}

const US_PER_MS = 1000
const NS_PER_US = 1000
const US_PER_SECOND = 1e6
const MS_PER_SECOND = 1000

/** "2026-11-21T22:36:05.123456Z" */
function timestamp([seconds, nanoseconds]: readonly [number, number]): string {
  const micros = String(Math.floor(nanoseconds / NS_PER_US)).padStart(6, '0')
  return `${new Date(seconds * MS_PER_SECOND).toISOString().slice(0, -'.000Z'.length)}.${micros}Z`
}

export function entryOf(record: RequestRecord, clock: HostClock): AccessEntry {
  const { uid, gid, pid, mount, operation, path, newPath, fh, offset, bytes, openedFh, durationUs } = record
  clock.adjust()
  return {
    time: timestamp(clock.at(record.startMs + durationUs / US_PER_MS)),
    ...{ uid, gid, pid, mount, operation, path, newPath, fh, size: record.sizeBytes, offset },
    errno: record.errno === 0 ? null : errnoName(record.errno),
    ...{ bytes, openedFh, durationUs: Math.round(durationUs) },
  }
}

/** Without the line's end. */
export function formatEntry(entry: AccessEntry): string {
  const { uid, gid, pid, mount, operation, path, newPath, fh, size, offset } = entry
  const date = entry.time.slice(0, 10).replaceAll('-', '.')
  const clock = entry.time.slice(11, -1)
  const parameters = [
    quote(path),
    ...(newPath === null ? [] : [quote(newPath)]),
    ...(fh === null ? [] : [`fh:${fh}`]),
    ...(size === null ? [] : [`size:${size}`]),
    ...(offset === null ? [] : [`offset:${offset}`]),
  ].join()
  const who = `[uid:${uid},gid:${gid},pid:${pid}]`
  const seconds = (entry.durationUs / US_PER_SECOND).toFixed(6)
  return `${date} ${clock} ${who} ${mount} ${operation} (${parameters}): ${outcomeOf(entry)} <${seconds}>`
}

function outcomeOf({ errno, bytes, size, openedFh }: AccessEntry): string {
  if (errno !== null) return errno
  const data = bytes > 0 || size !== null ? ` (${bytes})` : ''
  return `OK${data}${openedFh === null ? '' : ` [fh:${openedFh}]`}`
}

/** JSON leaves these as they are; a terminal may take them for commands, and readers for the end of a line. */

const UNSAFE = /[\u007f-\u009f\u2028\u2029]/g

function quote(path: string): string {
  return JSON.stringify(path).replaceAll(
    UNSAFE,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  )
}

const TEXT = String.raw`"(?:[^"\\]|\\.)*"`
const LINE = new RegExp(
  [
    String.raw`^(\d{4})\.(\d\d)\.(\d\d) (\d\d:\d\d:\d\d\.\d{6}) `,
    String.raw`\[uid:(\d+),gid:(\d+),pid:(\d+)\] (\S+) (\S+) `,
    String.raw`\((${TEXT})(?:,(${TEXT}))?(?:,fh:(\d+))?(?:,size:(\d+))?(?:,offset:(\d+))?\): `,
    String.raw`(?:OK(?: \((\d+)\))?(?: \[fh:(\d+)\])?|(E[A-Z0-9]+|\d+)) <(\d+\.\d{6})>$`,
  ].join(''),
)

/** null for what is no line of an access log. */
export function parseEntry(line: string): AccessEntry | null {
  const match = LINE.exec(line)
  if (match === null) return null
  const [, year, month, day, clock, uid, gid, pid, mount = '', operation = '', path = '', newPath] = match
  const [fh, size, offset, bytes, openedFh, errno, seconds] = match.slice(12)
  const texts = [path, newPath].map((text) => (text === undefined ? null : unquote(text)))
  const [pathText = null, newPathText = null] = texts
  if (pathText === null || (newPath !== undefined && newPathText === null)) return null
  return {
    time: `${year ?? ''}-${month ?? ''}-${day ?? ''}T${clock ?? ''}Z`,
    ...{ uid: Number(uid), gid: Number(gid), pid: Number(pid), mount, operation },
    ...{ path: pathText, newPath: newPathText },
    ...{ fh: numberOf(fh), size: numberOf(size), offset: numberOf(offset) },
    errno: errno ?? null,
    bytes: numberOf(bytes) ?? 0,
    openedFh: numberOf(openedFh),
    durationUs: Math.round(Number(seconds) * US_PER_SECOND),
  }
}

function numberOf(digits: string | undefined): number | null {
  return digits === undefined ? null : Number(digits)
}

function unquote(text: string): string | null {
  try {
    return JSON.parse(text) as string
  } catch {
    return null
  }
}
