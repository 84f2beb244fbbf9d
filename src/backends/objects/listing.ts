/** Pages of a listing, and which of the names in it can be shown. */
import { StorageError } from '../storage-error.js'
import { stepTo, TRAIL_START, type Trail } from '../trail.js'
import type { ObjectClient, ObjectPage } from './object-client.js'

/** Pages without an entry that a server may give in a row, as some do after removals; more is no listing that ends. */
const MAX_EMPTY_PAGES = 100

export interface ListRequest {
  readonly prefix: string
  /** Keys with a further "/" are told by what stands before it. */
  readonly isFlat: boolean
  /** Of a page. undefined: as many as the server gives. */
  readonly maxKeys?: number
}

/** Between two pages of a listing. */
export interface ListPlace {
  /** The server's. */
  readonly token: string | null
  /** What the pages before began with. */
  readonly trail: Trail
  /** Pages without an entry, in a row, up to here. */
  readonly emptyPages: number
}

export interface PlacedPage {
  readonly page: ObjectPage
  /** null: behind the last one. */
  readonly next: ListPlace | null
}

export const LIST_START: ListPlace = { token: null, trail: TRAIL_START, emptyPages: 0 }

/** @throws StorageError EIO where the server goes round in circles */
export async function listPageAt(
  client: ObjectClient,
  request: ListRequest,
  { token, trail: trailBefore, emptyPages: emptyBefore }: ListPlace,
): Promise<PlacedPage> {
  const page = await client.listPage({ ...request, token })
  const first = page.objects[0]?.key ?? page.prefixes[0] ?? null
  const emptyPages = first === null ? emptyBefore + 1 : 0
  const trail = first === null ? trailBefore : stepTo(trailBefore, first)
  const repeats = page.next !== null && page.next === token
  if (trail === null || repeats || emptyPages > MAX_EMPTY_PAGES)
    throw new StorageError('EIO', `the list of ${JSON.stringify(request.prefix)} does not advance`, {
      retryable: true,
    })
  return { page, next: page.next === null ? null : { token: page.next, trail, emptyPages } }
}

/** Page after page, each asked for when the one before was dealt with. */
export async function* listPages(client: ObjectClient, request: ListRequest): AsyncGenerator<ObjectPage> {
  for (let place: ListPlace | null = LIST_START; place !== null;) {
    const placed: PlacedPage = await listPageAt(client, request, place)
    place = placed.next
    yield placed.page
  }
}
