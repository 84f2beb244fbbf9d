import type { Listing, ListedPage, PageContent } from './listing.js'

/**
 * Bytes of all that listings have told and that is kept in case it is asked for again, of all mounts: about 25,000 names with their
 * attributes, the heap's slack beside it. What is beyond it costs a request for each thousand names when it is asked for.
 */
export const KEPT_LISTINGS_BYTES = 8 << 20
/**
 * Names that a directory may have: each that was told takes eight bytes of an open directory, and a store that makes
 * up names must come to an end some time. Directories of a host's file system end at ten to twenty million.
 */
const MAX_LISTED_NAMES = 1 << 25
/** Of a page of a listing without its content, and of each of its names. */
const PAGE_BYTES = 400
const HASH_BYTES = 8

/** What listings have told, as far as there is room for it: what was used last. */
export class KeptListings {
  /** In the order of their last use. */
  private readonly pages = new Map<ListedPage, number>()
  private readonly listings = new Map<Listing, number>()
  private lastUsed: ListedPage | null = null
  bytes = 0

  constructor(
    private readonly maxBytes = KEPT_LISTINGS_BYTES,
    /** Of each listing. */
    readonly maxNames = MAX_LISTED_NAMES,
  ) {}

  /** The page was used. */
  use(page: ListedPage): void {
    if (page === this.lastUsed) return
    const bytes = this.pages.get(page)
    if (bytes === undefined) return
    this.lastUsed = page
    this.pages.delete(page)
    this.pages.set(page, bytes)
  }

  /** The page has a content, which may be let go of. */
  keep(page: ListedPage): void {
    const { listing } = page
    if (listing.isReleased || page.content === null) {
      page.content = null
      return
    }
    this.letGo(page, page.content)
    const { bytes } = page.content
    this.pages.set(page, bytes)
    this.lastUsed = page
    const indexBytes = listing.pages.length * PAGE_BYTES + listing.count * HASH_BYTES
    this.bytes += bytes + indexBytes - (this.listings.get(listing) ?? 0)
    this.listings.delete(listing)
    this.listings.set(listing, indexBytes)
    this.makeRoom(page)
  }

  private makeRoom(used: ListedPage): void {
    for (const page of this.pages.keys()) {
      if (this.bytes <= this.maxBytes) return
      if (page !== used) this.letGo(page, null)
    }
    for (const listing of this.listings.keys()) {
      if (this.bytes <= this.maxBytes) return
      if (listing !== used.listing) listing.release()
    }
  }

  private letGo(page: ListedPage, content: PageContent | null): void {
    page.content = content
    this.bytes -= this.pages.get(page) ?? 0
    this.pages.delete(page)
    if (this.lastUsed === page) this.lastUsed = null
  }

  /** Nobody asks for the listing any more, but who is reading it. */
  release(listing: Listing): void {
    listing.isReleased = true
    for (const page of listing.pages) this.letGo(page, null)
    this.bytes -= this.listings.get(listing) ?? 0
    this.listings.delete(listing)
  }

  /** Give back what may not be believed any more. */
  forgetOld(nowMs: number): void {
    for (const listing of this.listings.keys()) {
      const { directory, usedMs } = listing
      if (nowMs >= usedMs + directory.mount.options.expirationMs) listing.release()
    }
  }
}
