/** Pages of a listing, and which of the names in it can be shown. */
import { StorageError } from '../storage-error.js'
import type { ObjectClient, ObjectPage } from './object-client.js'

/** Pages without an entry that a server may give in a row, as some do after removals; more is no listing that ends. */
const MAX_EMPTY_PAGES = 100
/** NAME_MAX of Linux. */
const MAX_NAME_BYTES = 255

export interface ListRequest {
  readonly prefix: string
  /** Keys with a further "/" are told by what stands before it. */
  readonly isFlat: boolean
  /** Of a page. undefined: as many as the server gives. */
  readonly maxKeys?: number
}

/**
 * Page after page, each asked for when the one before was dealt with.
 * @throws StorageError EIO where the server goes round in circles
 */
export async function* listPages(client: ObjectClient, request: ListRequest): AsyncGenerator<ObjectPage> {
  let token: string | null = null
  let previousFirst: string | null = null
  let emptyPages = 0
  do {
    const page: ObjectPage = await client.listPage({ ...request, token })
    const first = page.objects[0]?.key ?? page.prefixes[0] ?? null
    emptyPages = first === null ? emptyPages + 1 : 0
    const repeats = (first !== null && first === previousFirst) || (page.next !== null && page.next === token)
    if (repeats || emptyPages > MAX_EMPTY_PAGES)
      throw new StorageError('EIO', `the list of ${JSON.stringify(request.prefix)} does not advance`, {
        retryable: true,
      })
    previousFirst = first
    token = page.next
    yield page
  } while (token !== null)
}

/** Whether a guest can have a file of this name. */
export function canBeShown(name: string): boolean {
  if (name === '' || name === '.' || name === '..') return false
  return !name.includes('/') && !name.includes('\0') && Buffer.byteLength(name) <= MAX_NAME_BYTES
}
