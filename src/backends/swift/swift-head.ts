/** What the headers of an answer tell of an object. */
import type { Timestamp } from '../backend.js'
import { byteCountOf } from '../http/byte-count.js'
import type { HttpHead } from '../http/http-message.js'
import { headersNamed, type Headers, type Metadata } from '../objects/file-attributes.js'
import type { ObjectHead } from '../objects/object-client.js'
import { timestampOfRfc3339 } from '../timestamp.js'

/** How other clients mark a directory by an object without a slash at its end. */
const DIRECTORY_TYPE = 'application/directory'
const NANOSECONDS_PER_SECOND = 1e9
/** Objects that are made of segments elsewhere. */
export const LARGE_OBJECT_HEADERS = { static: 'x-static-large-object', dynamic: 'x-object-manifest' } as const
/** Of an object beside its metadata; a POST takes away what it does not name. */
const KEPT_HEADERS: readonly string[] = [
  ...['cache-control', 'content-disposition', 'content-encoding', 'content-language', 'expires'],
  ...['x-delete-at', 'x-robots-tag'],
  ...Object.values(LARGE_OBJECT_HEADERS),
]

/** A copy of it is a copy of the list of segments. */
export function isLarge(keptHeaders: Headers): boolean {
  return Object.values(LARGE_OBJECT_HEADERS).some((name) => name in keptHeaders)
}

/** An etag is unquoted in Swift, unless the object has segments or a filter quotes it: always quoted here. */
export function quoteEtag(etag: string): string {
  return etag === '' ? '' : `"${etag.replace(/^W\//, '').replaceAll('"', '')}"`
}

export function objectHeadOf({ headers }: HttpHead, sizeBytes: number, metadata: Metadata): ObjectHead {
  return {
    ...{ sizeBytes, metadata },
    mtime: mtimeOf(headers),
    version: quoteEtag(headers.etag ?? ''),
    keptHeaders: headersNamed(headers, KEPT_HEADERS),
    isMarker: isMarker(headers['content-type'], sizeBytes),
  }
}

/** The size of the whole object; null where the answer does not tell it. */
export function totalBytesOf({ status, headers }: HttpHead): number | null {
  const told =
    status === 206
      ? /^bytes [\d-]+\/(\d+)$/.exec(headers['content-range'] ?? '')?.[1]
      : headers['content-length']
  return byteCountOf(told)
}

/** X-Timestamp has the fraction that Last-Modified rounds up. */
function mtimeOf(headers: HttpHead['headers']): Timestamp | null {
  const exact = /^(\d+)(?:\.(\d+))?$/.exec(String(headers['x-timestamp'] ?? ''))
  if (exact === null) return timestampOfRfc3339(headers['last-modified'] ?? null)
  const fraction = Number(`0.${exact[2] ?? '0'}`)
  return { seconds: Number(exact[1]), nanoseconds: Math.round(fraction * NANOSECONDS_PER_SECOND) }
}

export function isMarker(contentType: string | undefined, sizeBytes: number): boolean {
  return sizeBytes === 0 && contentType !== undefined && contentType.split(';')[0]?.trim() === DIRECTORY_TYPE
}
