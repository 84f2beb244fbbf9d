import { StorageError } from '../storage-error.js'
import { timestampOfRfc3339 } from '../timestamp.js'
import type { ListedObject, ObjectPage, PageRequest } from '../objects/object-client.js'
import type { SwiftContainer } from './swift-container.js'
import { isMarker, LARGE_OBJECT_HEADERS, quoteEtag } from './swift-head.js'

interface ListedEntry {
  readonly subdir?: string
  readonly name?: string
  readonly bytes?: number
  readonly hash?: string
  readonly slo_etag?: string
  readonly last_modified?: string
  readonly content_type?: string
}

/** One page, in the server's order, which is by bytes. */
export async function listPage(container: SwiftContainer, request: PageRequest): Promise<ObjectPage> {
  const { prefix, isFlat, token, maxKeys } = request
  // More than the server's own limit would be refused, so it is told only where it is known.
  const { listingLimit } = await container.limits()
  const limit = maxKeys === undefined ? listingLimit : Math.min(maxKeys, listingLimit ?? maxKeys)
  const entries = entriesOf(
    await container.listPage({
      prefix: container.prefix + prefix,
      ...(isFlat ? { delimiter: '/' } : {}),
      ...(limit === undefined ? {} : { limit: String(limit) }),
      ...(token === null ? {} : { marker: token }),
    }),
  )
  const last = entries.at(-1)
  const isLast = last === undefined || (limit !== undefined && entries.length < limit)
  const next = isLast ? null : (last.name ?? last.subdir ?? '')
  if (next !== null && next === token)
    throw new StorageError('EIO', `listing ${prefix}: the server repeats a page`, { retryable: true })
  const nameOf = (name: string): string => name.slice(container.prefix.length)
  return {
    objects: entries.flatMap((entry) =>
      entry.name === undefined ? [] : [listedOf(nameOf(entry.name), entry)],
    ),
    prefixes: entries.flatMap(({ subdir }) => (subdir === undefined ? [] : [nameOf(subdir)])),
    next,
  }
}

function entriesOf(answer: unknown): readonly ListedEntry[] {
  if (Array.isArray(answer)) return answer as ListedEntry[]
  throw new StorageError('EIO', 'the answer to a listing is no list', { retryable: true })
}

function listedOf(key: string, entry: ListedEntry): ListedObject {
  const { bytes, hash, slo_etag: segmentsEtag, last_modified: lastModified, content_type: type } = entry
  const isDirectory = isMarker(type, bytes ?? NaN)
  // A dynamic large object is listed as empty, and is as long as its segments: only a look tells.
  const isTold = bytes !== undefined && Number.isSafeInteger(bytes) && bytes > 0
  return {
    key,
    sizeBytes: isDirectory ? 0 : isTold ? bytes : null,
    // Universal time, though it does not say so.
    mtime: lastModified === undefined ? null : timestampOfRfc3339(`${lastModified.replace(/Z$/, '')}Z`),
    // Of an object made of segments, `hash` is that of the list of segments, and HEAD tells the other.
    version: quoteEtag(segmentsEtag ?? hash ?? ''),
    isMarker: isDirectory,
    ...(segmentsEtag === undefined ? {} : { keptHeaders: { [LARGE_OBJECT_HEADERS.static]: 'True' } }),
  }
}
