import { setImmediate as nextTurn } from 'node:timers/promises'
import type { Backend, DirectoryEntry, DirectoryPage } from '../backends/backend.js'
import { listPageOf } from '../backends/list-page.js'
import { StorageError } from '../backends/storage-error.js'
import type { Inode } from './inode.js'
import type { KeptListings } from './kept-listings.js'
import { ListingSearch } from './listing-search.js'
import { nameHash } from './name-hash.js'

/** When the store was asked for what it has told. */
export interface AskedAt {
  /** Monotonic ms. */
  readonly askedMs: number
  /** The mount's change counter then. */
  readonly change: number
}

/** What a page has told. An entry's place never changes; null: it was gone when the page was asked for again. */
export interface PageContent extends AskedAt {
  readonly start: number
  readonly entries: readonly (DirectoryEntry | null)[]
  /** What it takes of memory, about. */
  readonly bytes: number
}

/** Entries that are gone through before others are served: a fraction of a millisecond. */
const ENTRIES_PER_TURN = 4096
/**
 * A page that is asked for again may have been filled up by new names, so that its last ones are told by the pages behind it. Where names
 * are in no order that tells when to stop, so many pages are looked through for what is missing: then it is gone.
 */
const MAX_PAGES_SEARCHED = 8
/** Pages of one listing: each has a token to remember, and stores put a hundred to ten thousand names on one. */
const MAX_PAGES = 1 << 20
/** Pages without a new name that a store may give in a row, beside those that a moved directory tells again. */
const MAX_PAGES_WITHOUT_NEWS = 100
/** Entries at the end of a page by which it is known to be behind another one. */
const TOLD_LATER_ENTRIES = 4

/** Of an entry without its name and its version: the entry itself, its stat and time, and what strings have beside their characters. */
const ENTRY_BYTES = 240

/** Entries that nobody was told of before. */
interface Told {
  readonly entries: readonly DirectoryEntry[]
  readonly hashes: Float64Array
  readonly isAscending: boolean
  readonly bytes: number
}

/** Where a page of the store's begins. */
interface PageSource {
  readonly backend: Backend
  readonly path: string
  readonly token: string | null
}

/** A piece of a listing, as it was told first. What it has told may be let go of, and asked for again. */
export class ListedPage {
  /** null: it is asked for when it is needed. */
  content: PageContent | null = null
  loading: Promise<PageContent> | null = null

  constructor(
    readonly listing: Listing,
    readonly source: PageSource,
    readonly start: number,
    /** Of the names, in their order: which of them were told here. */
    readonly hashes: Float64Array,
    readonly lastName: string,
    /** The names stand in the order of their letters. */
    readonly isAscending: boolean,
  ) {}

  get end(): number {
    return this.start + this.hashes.length
  }
}

/**
 * The listing of a directory, as far as somebody has read it: page by page, each asked for when it is needed. Entries have places, which
 * are READDIR's offsets and stay what they are while names come and go. The names' hashes are kept of all pages, for eight bytes a name,
 * and what the pages have told of the last ones that were used.
 */
export class Listing implements AskedAt {
  readonly askedMs: number
  readonly change: number
  /** The directory's `listingResets` then. */
  readonly resets: number
  readonly pages: ListedPage[] = []
  /** Entries in them. */
  count = 0
  /** All pages are known. */
  isComplete = false
  /** Names are in the order of their letters throughout. */
  isAscending = true
  /** Nobody else will ask: what is told is not kept for others. */
  isReleased = false
  /** Monotonic ms of the last use. */
  usedMs: number
  private next: PageSource | null = null
  /** Tokens of pages: one that comes twice begins a circle. */
  private readonly tokens = new Set<string>()
  private extending: Promise<PageContent | null> | null = null
  /** The directory was moved, or has another store: it is listed from its beginning, and what was told before is left out. */
  private isMoved = false
  private told: Set<number> | null = null
  readonly search = new ListingSearch(this)

  constructor(
    readonly directory: Inode,
    private readonly kept: KeptListings,
    { askedMs, change }: AskedAt = askedNow(directory),
  ) {
    this.askedMs = askedMs
    this.usedMs = askedMs
    this.change = change
    this.resets = directory.listingResets
  }

  /** What was listed at once, by a call that told all of a small directory. */
  static of(
    directory: Inode,
    kept: KeptListings,
    entries: readonly DirectoryEntry[],
    asked: AskedAt,
  ): Listing {
    const listing = new Listing(directory, kept, asked)
    const source = { backend: directory.mount.backend, path: directory.path(), token: null }
    const gathered = new Gathered()
    for (const entry of entries) gathered.add(entry, nameHash(entry.name))
    if (entries.length > 0) listing.push(source, gathered.told(), asked)
    listing.isComplete = true
    return listing
  }

  /** The page with the entry at `place`; null behind the last one. At once where it is known still. */
  contentAt(place: number): PageContent | null | Promise<PageContent | null> {
    this.usedMs = performance.now()
    const page = this.pageAt(place)
    if (page !== undefined) return this.contentOf(page)
    if (this.isComplete) return null
    return this.extend().then((content) => {
      const isWanted = content !== null && place < content.start + content.entries.length
      return isWanted && place >= content.start ? content : this.contentAt(place)
    })
  }

  contentOf(page: ListedPage): PageContent | Promise<PageContent> {
    if (this.isKnown(page)) {
      this.kept.use(page)
      return page.content
    }
    return this.contentAnew(page)
  }

  /** Nobody asks for it any more, but who is reading it. */
  release(): void {
    this.kept.release(this)
    this.directory.dropListing(this)
  }

  noteUse(page: ListedPage, nowMs: number): void {
    this.usedMs = nowMs
    this.kept.use(page)
  }

  /** The page as it is now. */
  contentAnew(page: ListedPage): Promise<PageContent> {
    page.loading ??= this.load(page).finally(() => {
      page.loading = null
    })
    return page.loading
  }

  /** What it has told counts still. */
  isKnown(page: ListedPage): page is ListedPage & { readonly content: PageContent } {
    return page.content !== null && page.content.askedMs >= this.directory.mount.invalidatedMs
  }

  /** The page that has the entry at `place`; undefined behind what is known. */
  pageAt(place: number): ListedPage | undefined {
    let [low, high] = [0, this.pages.length]
    while (low < high) {
      const middle = (low + high) >>> 1
      const page = this.pages[middle]
      if (page !== undefined && page.end <= place) low = middle + 1
      else high = middle
    }
    return this.pages[low]
  }

  /** The name's place in what is known, -1 where it has none. */
  placeOf(hash: number): number {
    for (const { start, hashes } of this.pages) {
      const index = hashes.indexOf(hash)
      if (index >= 0) return start + index
    }
    return -1
  }

  /** All that is known, if that is at most so many entries and nothing was let go of. */
  entriesWithin(limit: number): DirectoryEntry[] | null {
    if (this.count > limit) return null
    const entries: DirectoryEntry[] = []
    for (const page of this.pages) {
      if (!this.isKnown(page)) return null
      for (const entry of page.content.entries) if (entry !== null) entries.push(entry)
    }
    return entries
  }

  /** The next page that has an entry; null behind the last one. */
  private extend(): Promise<PageContent | null> {
    this.extending ??= this.extendOnce().finally(() => {
      this.extending = null
    })
    return this.extending
  }

  private async extendOnce(): Promise<PageContent | null> {
    for (let withoutNews = 0; !this.isComplete; withoutNews++) {
      const asked = askedNow(this.directory)
      const { source, page } = await this.ask((backend, path) => this.nextToken(backend, path))
      this.requireNew(source, page.next)
      const told = await this.notTold(page.entries)
      if (this.count + told.entries.length > this.kept.maxNames) throw tooLong(source)
      if (withoutNews > MAX_PAGES_WITHOUT_NEWS + this.pages.length) throw circle(source)
      this.next = { ...source, token: page.next }
      this.isComplete = page.next === null
      if (told.entries.length > 0) return this.push(source, told, asked)
    }
    return null
  }

  private nextToken(backend: Backend, path: string): string | null {
    const { next } = this
    if (next === null || isAt(next, backend, path)) return next?.token ?? null
    this.tokens.clear()
    this.isMoved = true
    this.told = null
    return null
  }

  private requireNew(source: PageSource, next: string | null): void {
    if (next === null) return
    if (this.tokens.has(next)) throw circle(source)
    if (this.tokens.size >= MAX_PAGES) throw tooLong(source)
    this.tokens.add(next)
  }

  private ask(
    tokenFor: (backend: Backend, path: string) => string | null,
  ): Promise<{ source: PageSource; page: DirectoryPage }> {
    const { directory } = this
    // What is removed is empty, and its path may be another directory's.
    if (directory.isUnlinked) {
      const source = { backend: directory.mount.backend, path: '', token: null }
      return Promise.resolve({ source, page: { entries: [], next: null } })
    }
    return directory.mount.guard.use(directory, async () => {
      const { backend } = directory.mount
      const path = directory.path()
      const source = { backend, path, token: tokenFor(backend, path) }
      return { source, page: await listPageOf(backend, path, source.token) }
    })
  }

  /** In portions: who lists a million names at once must not keep everybody else waiting. */
  private async notTold(entries: readonly DirectoryEntry[]): Promise<Told> {
    const told = this.isMoved ? (this.told ??= await this.allTold()) : null
    const movable = this.directory.storedSince(this.askedMs)
    const gathered = new Gathered()
    for (const [index, entry] of entries.entries()) {
      if (index > 0 && index % ENTRIES_PER_TURN === 0) await nextTurn()
      const hash = nameHash(entry.name)
      if (told?.has(hash) === true) continue
      // A host's file system may move what is replaced to the end of its directory.
      if (movable?.has(entry.name) === true && this.placeOf(hash) >= 0) continue
      gathered.add(entry, hash)
    }
    return gathered.told()
  }

  private async allTold(): Promise<Set<number>> {
    const told = new Set<number>()
    for (const { hashes } of this.pages) {
      for (const hash of hashes) told.add(hash)
      await nextTurn()
    }
    return told
  }

  private push(source: PageSource, told: Told, asked: AskedAt): PageContent {
    const { entries, hashes, bytes } = told
    const [first, last] = [entries[0]?.name ?? '', entries.at(-1)?.name ?? '']
    this.isAscending &&= told.isAscending && first > (this.pages.at(-1)?.lastName ?? '')
    const page = new ListedPage(this, source, this.count, hashes, last, told.isAscending)
    this.pages.push(page)
    this.count = page.end
    const content = { ...asked, start: page.start, entries, bytes }
    this.keep(page, content)
    return content
  }

  private keep(page: ListedPage, content: PageContent): void {
    page.content = content
    this.kept.keep(page)
  }

  /** Ask for a page again: what is there still of what it told. New names are for those who begin anew. */
  private async load(page: ListedPage): Promise<PageContent> {
    const asked = askedNow(this.directory)
    const places = new Map(Array.from(page.hashes, (hash, place) => [hash, place]))
    const entries = new Array<DirectoryEntry | null>(page.hashes.length).fill(null)
    const seen = new Set<string>()
    let bytes = 0
    let token: string | null = null
    for (let searched = 1; ; searched++) {
      const { source, page: found } = await this.ask((backend, path) =>
        searched === 1 && isAt(page.source, backend, path) ? page.source.token : token,
      )
      bytes += this.sort(found.entries, places, entries)
      token = found.next
      if (places.size === 0 || token === null) break
      const isInPlace = isAt(page.source, source.backend, source.path)
      if (isInPlace && this.isBehind(page, found.entries, searched)) break
      if (seen.has(token)) throw circle(source)
      seen.add(token)
    }
    const content = { ...asked, start: page.start, entries, bytes }
    this.keep(page, content)
    return content
  }

  /** What is found leaves `places`. Returns the bytes that it takes. */
  private sort(
    found: readonly DirectoryEntry[],
    places: Map<number, number>,
    entries: (DirectoryEntry | null)[],
  ): number {
    let bytes = 0
    for (const entry of found) {
      const hash = nameHash(entry.name)
      const place = places.get(hash)
      if (place === undefined) continue
      places.delete(hash)
      entries[place] = entry
      bytes += bytesOf(entry)
    }
    return bytes
  }

  /** Whether nothing of `page` follows behind these entries. */
  private isBehind(page: ListedPage, found: readonly DirectoryEntry[], searched: number): boolean {
    if (searched >= MAX_PAGES_SEARCHED && !page.isAscending) return true
    const last = found.at(-1)
    if (last === undefined) return false
    if (page.isAscending && Buffer.compare(Buffer.from(last.name), Buffer.from(page.lastName)) >= 0)
      return true
    return found.slice(-TOLD_LATER_ENTRIES).some(({ name }) => this.placeOf(nameHash(name)) >= page.end)
  }
}

/** Entries on their way to a page. */
class Gathered {
  private readonly entries: DirectoryEntry[] = []
  private readonly hashes: number[] = []
  private isAscending = true
  private last = ''
  private bytes = 0

  add(entry: DirectoryEntry, hash: number): void {
    this.entries.push(entry)
    this.hashes.push(hash)
    this.isAscending &&= entry.name > this.last
    this.last = entry.name
    this.bytes += bytesOf(entry)
  }

  told(): Told {
    const { entries, isAscending, bytes } = this
    return { entries, isAscending, bytes, hashes: Float64Array.from(this.hashes) }
  }
}

function bytesOf({ name, stat }: DirectoryEntry): number {
  return ENTRY_BYTES + name.length + (stat?.version.length ?? 0)
}

/** The directory has neither moved nor got another store since. */
function isAt(source: PageSource, backend: Backend, path: string): boolean {
  return source.backend === backend && source.path === path
}

function askedNow({ mount }: Inode): AskedAt {
  return { askedMs: performance.now(), change: mount.changeCount }
}

function circle({ path }: PageSource): StorageError {
  const message = `the listing of ${JSON.stringify(path)} goes round in circles`
  return new StorageError('EIO', message, { retryable: true })
}

function tooLong({ path }: PageSource): StorageError {
  return new StorageError('EIO', `the listing of ${JSON.stringify(path)} has more names than can be served`)
}
