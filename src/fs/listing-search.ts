import type { DirectoryEntry } from '../backends/backend.js'
import type { AskedAt, ListedPage, Listing } from './listing.js'
import { nameHash } from './name-hash.js'

/** A longer listing that is in no order is searched forwards only: to go through all its names takes too long for each. */
const MAX_SEARCHED_ENTRIES = 65_536
/** Who looks at the names of a listing in its order may leave out so many. */
const NEAR_ENTRIES = 64
/** Looks into one page, out of order, that are worth asking for the page. */
const PAGE_LOOKS = 4

/** What a listing tells of a name: its entry, or the page that has it, which is to be asked for again. */
export type FoundName =
  { readonly entry: DirectoryEntry; readonly asked: AskedAt } | { readonly page: ListedPage }

/** Finds the entries of a listing by their names, which are mostly asked for in its order: `ls -l` after `ls`. */
export class ListingSearch {
  /** Behind the entry that was found last. */
  private next = 0
  /** The page of the last look that nothing was known of any more, and the looks into it in a row. */
  private missed: ListedPage | null = null
  private looks = 0

  constructor(readonly listing: Listing) {}

  /** undefined: the listing does not tell. */
  find(name: string, nowMs: number): FoundName | undefined {
    const hash = nameHash(name)
    const near = this.nearPlace(hash)
    const place = near >= 0 ? near : this.farPlace(hash, name)
    const page = place < 0 ? undefined : this.listing.pageAt(place)
    if (page === undefined) return undefined
    if (this.isFresh(page, nowMs)) {
      const entry = page.content?.entries[place - page.start]
      if (page.content === null || entry == null || entry.name !== name) return undefined
      this.next = place + 1
      this.listing.noteUse(page, nowMs)
      return { entry, asked: page.content }
    }
    this.looks = this.missed === page ? this.looks + 1 : 1
    this.missed = page
    return near >= 0 || this.looks >= PAGE_LOOKS ? { page } : undefined
  }

  /** What it has told may be believed still. */
  private isFresh(page: ListedPage, nowMs: number): boolean {
    const { options } = this.listing.directory.mount
    return this.listing.isKnown(page) && nowMs < page.content.askedMs + options.expirationMs
  }

  private nearPlace(hash: number): number {
    const { listing, next } = this
    const end = Math.min(next + NEAR_ENTRIES, listing.count)
    for (let place = next, page = listing.pageAt(place); page !== undefined && place < end; place++) {
      if (place >= page.end) page = listing.pageAt(place)
      if (page?.hashes[place - page.start] === hash) return place
      if (page === undefined) break
    }
    return -1
  }

  private farPlace(hash: number, name: string): number {
    const { listing } = this
    if (listing.count <= MAX_SEARCHED_ENTRIES) return listing.placeOf(hash)
    if (listing.isAscending) {
      const page = pageByName(listing.pages, name)
      const index = page?.hashes.indexOf(hash) ?? -1
      return page === undefined || index < 0 ? -1 : page.start + index
    }
    // Another program begins at the beginning.
    return listing.pages[0]?.hashes[0] === hash ? 0 : -1
  }
}

/** The page that would have the name, of pages in the order of their names. */
function pageByName(pages: readonly ListedPage[], name: string): ListedPage | undefined {
  let [low, high] = [0, pages.length]
  while (low < high) {
    const middle = (low + high) >>> 1
    if ((pages[middle]?.lastName ?? '') < name) low = middle + 1
    else high = middle
  }
  return pages[low]
}
