import type { DirectoryEntry } from '../backends/backend.js'
import type { Listing } from './inode.js'

/** A longer listing is searched forwards only: an index of it takes long to make, and 100 bytes for each name. */
const MAX_INDEXED_ENTRIES = 65_536
/** Who looks at the names of a listing in its order may leave out so many. */
const SEARCHED_ENTRIES = 64

/** Finds the entries of a listing by their names, which are mostly asked for in its order: `ls -l` after `ls`. */
export class ListingIndex {
  /** Behind the entry that was found last. */
  private next = 0
  private byName: Map<string, DirectoryEntry> | null = null

  constructor(readonly listing: Listing) {}

  find(name: string): DirectoryEntry | undefined {
    const { entries } = this.listing
    const end = Math.min(this.next + SEARCHED_ENTRIES, entries.length)
    for (let place = this.next; place < end; place++) {
      const entry = entries[place]
      if (entry?.name !== name) continue
      this.next = place + 1
      return entry
    }
    if (entries.length > MAX_INDEXED_ENTRIES) return this.findFirst(name)
    this.byName ??= new Map(entries.map((entry) => [entry.name, entry]))
    return this.byName.get(name)
  }

  /** Another program begins at the beginning. */
  private findFirst(name: string): DirectoryEntry | undefined {
    const [first] = this.listing.entries
    if (first?.name !== name) return undefined
    this.next = 1
    return first
  }
}
