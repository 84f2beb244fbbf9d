import type { ObjectStat, Timestamp } from '../backend.js'
import { StorageError } from '../storage-error.js'
import type { HttpHead } from '../http/http-connection.js'
import type { SwiftContainer } from './swift-container.js'
import { timestampOfRfc3339 } from '../timestamp.js'
import { DIRECTORY } from '../objects/object-store.js'

/** How other clients mark a directory by an object without a slash at its end. */
const DIRECTORY_TYPE = 'application/directory'
const NANOSECONDS_PER_SECOND = 1e9

/** An entry of a listing: an object, or a prefix that ends in "/" and that names below have in common. */
export interface SwiftEntry {
  /** Below the mount's root. */
  readonly name: string
  /** null for a prefix. */
  readonly stat: ObjectStat | null
}

interface ListedEntry {
  readonly subdir?: string
  readonly name?: string
  readonly bytes?: number
  readonly hash?: string
  readonly slo_etag?: string
  readonly last_modified?: string
  readonly content_type?: string
}

/** An etag is unquoted in Swift, unless the object has segments or a filter quotes it: always quoted here. */
export function quoteEtag(etag: string): string {
  return etag === '' ? '' : `"${etag.replace(/^W\//, '').replaceAll('"', '')}"`
}

/** An object's stat by the headers of HEAD and GET. */
export function statOfHead({ headers }: HttpHead): ObjectStat {
  const sizeBytes = Number(headers['content-length'] ?? 0)
  if (isMarker(headers['content-type'], sizeBytes)) return DIRECTORY
  return {
    kind: 'file',
    sizeBytes,
    mtime: mtimeOfHead(headers),
    version: quoteEtag(headers.etag ?? ''),
  }
}

/** X-Timestamp has the fraction that Last-Modified rounds up. */
function mtimeOfHead(headers: HttpHead['headers']): Timestamp | null {
  const exact = /^(\d+)(?:\.(\d+))?$/.exec(String(headers['x-timestamp'] ?? ''))
  if (exact === null) return timestampOfRfc3339(headers['last-modified'] ?? null)
  const fraction = Number(`0.${exact[2] ?? '0'}`)
  return { seconds: Number(exact[1]), nanoseconds: Math.round(fraction * NANOSECONDS_PER_SECOND) }
}

function isMarker(contentType: string | undefined, sizeBytes: number): boolean {
  return sizeBytes === 0 && contentType !== undefined && contentType.split(';')[0]?.trim() === DIRECTORY_TYPE
}

function statOfListed(entry: ListedEntry): ObjectStat {
  const sizeBytes = entry.bytes ?? 0
  if (isMarker(entry.content_type, sizeBytes)) return DIRECTORY
  // Universal time, though it does not say so.
  const modified = entry.last_modified === undefined ? null : `${entry.last_modified.replace(/Z$/, '')}Z`
  return {
    kind: 'file',
    sizeBytes,
    mtime: timestampOfRfc3339(modified),
    // Of an object made of segments, `hash` is that of the list of segments, and HEAD tells the other.
    version: quoteEtag(entry.slo_etag ?? entry.hash ?? ''),
  }
}

export interface ListOptions {
  /** Below the mount's root. */
  readonly prefix: string
  /** Names below a "/" are one entry. */
  readonly isFlat: boolean
  /** Stop after this many entries; all if left out. */
  readonly limit?: number
}

/** The entries whose names begin with the prefix, page by page, in the server's order. */
export async function* listEntries(
  container: SwiftContainer,
  { prefix, isFlat, limit }: ListOptions,
): AsyncGenerator<readonly SwiftEntry[]> {
  // More than the server's own limit would be refused, so it is told only where it is known.
  const pageLimit = limit ?? (await container.limits()).listingLimit
  let marker: string | null = null
  for (;;) {
    const page = entriesOf(
      await container.listPage({
        prefix: container.prefix + prefix,
        ...(isFlat ? {} : { delimiter: '/' }),
        ...(pageLimit === undefined ? {} : { limit: String(pageLimit) }),
        ...(marker === null ? {} : { marker }),
      }),
    )
    const last = page.at(-1)
    if (last === undefined) return
    const next = last.name ?? last.subdir ?? ''
    // The server's order is by bytes, so only equality is compared here: what does not advance would not end.
    if (next === marker)
      throw new StorageError('EIO', `listing ${prefix}: the server repeats a page`, { retryable: true })
    marker = next
    yield page.map((entry) => toEntry(container, entry))
    if (limit !== undefined || (pageLimit !== undefined && page.length < pageLimit)) return
  }
}

function entriesOf(answer: unknown): readonly ListedEntry[] {
  if (Array.isArray(answer)) return answer as ListedEntry[]
  throw new StorageError('EIO', 'the answer to a listing is no list', { retryable: true })
}

function toEntry({ prefix }: SwiftContainer, entry: ListedEntry): SwiftEntry {
  if (entry.subdir !== undefined) return { name: entry.subdir.slice(prefix.length), stat: null }
  return { name: (entry.name ?? '').slice(prefix.length), stat: statOfListed(entry) }
}
