/** What the headers of an answer tell of an object. */
import type { IncomingHttpHeaders } from 'node:http'
import type { Timestamp } from '../backend.js'
import { byteCountOf } from '../http/byte-count.js'
import { headersNamed, metadataOf, type Headers } from '../objects/file-attributes.js'
import type { ObjectHead } from '../objects/object-client.js'
import { timestampOfRfc3339 } from '../timestamp.js'
import { METADATA_PREFIX, quoteEtag } from './s3-client.js'

export const STORAGE_CLASS_HEADER = 'x-amz-storage-class'
/** What a copy with new metadata has to be told again, or it would be lost. */
const KEPT_HEADERS = [
  'content-type',
  'content-encoding',
  'content-language',
  'content-disposition',
  'cache-control',
  'expires',
  'x-amz-website-redirect-location',
  'x-amz-server-side-encryption',
  'x-amz-server-side-encryption-aws-kms-key-id',
  'x-amz-server-side-encryption-bucket-key-enabled',
  STORAGE_CLASS_HEADER,
]
const CONTENT_RANGE_PATTERN = /^bytes (?:(\d+)-(\d+)|\*)\/(\d+|\*)$/

/** What a Content-Range says; null in place of what it leaves open. */
export interface ContentRange {
  readonly firstByte: number | null
  readonly lastByte: number | null
  readonly totalBytes: number | null
}

/** Whichever tells versions apart: a server without etags has the time, which a HEAD tells to the second. */
export function versionOf(etag: string, mtime: Timestamp | null, sizeBytes: number): string {
  return etag === '' ? `${mtime?.seconds ?? ''}/${sizeBytes}` : etag
}

/** null where the answer does not tell it, as of an object with a Content-Encoding on some servers. */
export function contentLengthOf(headers: IncomingHttpHeaders): number | null {
  return byteCountOf(headers['content-length'])
}

export function contentRangeOf(headers: IncomingHttpHeaders): ContentRange | null {
  const match = CONTENT_RANGE_PATTERN.exec(headers['content-range'] ?? '')
  if (match === null) return null
  const [firstByte = null, lastByte = null, totalBytes = null] = match
    .slice(1)
    .map((text: string | undefined) => byteCountOf(text))
  return { firstByte, lastByte, totalBytes }
}

export function objectHeadOf(headers: IncomingHttpHeaders, sizeBytes: number): ObjectHead {
  const mtime = timestampOfRfc3339(headers['last-modified'] ?? null)
  return {
    ...{ sizeBytes, mtime },
    version: versionOf(quoteEtag(headers.etag ?? ''), mtime, sizeBytes),
    metadata: metadataOf(headers, METADATA_PREFIX),
    keptHeaders: keptHeadersOf(headers),
  }
}

function keptHeadersOf(headers: IncomingHttpHeaders): Headers {
  return headersNamed(headers, KEPT_HEADERS)
}
