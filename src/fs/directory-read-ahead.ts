import type { DirectoryEntry } from '../backends/backend.js'
import type { Cancellation } from '../cache/fetch.js'
import { readAheadRoomBytes, SMALL_FILE_BYTES } from '../cache/read-ahead.js'
import type { FileSystem } from './file-system.js'
import type { Inode } from './inode.js'
import type { AskedAt, Listing } from './listing.js'
import { resolveListed } from './lookup.js'

/** So many files that were opened in the order of the listing are a run: two neighbours may be chance. */
const RUN_FILES = 3
/** Files fetched ahead when a run begins; their number doubles with each that is opened ... */
const FIRST_AHEAD_FILES = 2
/** ... up to this: enough requests side by side to hide the latency of each, and at most 4 MiB. */
const LARGEST_AHEAD_FILES = 16
/** Several readers that share a directory overtake each other by this many files, and directories and large files lie between. */
const REORDER_FILES = 8
/** The order of a larger directory is not looked at: all its names would have to be gone through for each new listing. */
const LARGEST_ORDER_ENTRIES = 16_384
/** Nobody has opened a file here for so long: what was fetched ahead is left to the cache. */
const IDLE_MS = 5000

/** The names of a listing, and the place of each. */
interface Order {
  readonly listing: Listing
  /** Entries that it had then: more may have been listed since. */
  readonly count: number
  readonly entries: readonly DirectoryEntry[]
  readonly places: ReadonlyMap<string, number>
}

/**
 * Reads ahead across the small files of one directory that are opened for reading one after the other, as its listing has them: what
 * `cp -r`, `tar` and most loaders of training data do. The next ones are in the cache when they are opened, so that each costs
 * its own request to the store and no time. A file that is opened out of that order ends it.
 */
export class DirectoryReadAhead {
  private order: Order | null = null
  /** The file of the run that is furthest in the listing, and its place there; '' and -1 before the first. */
  private lastName = ''
  private place = -1
  private runFiles = 0
  /** Entries before it have been fetched, or passed over. */
  private aheadTo = 0
  /** Files that were fetched ahead and not opened yet: name -> bytes. */
  private readonly ahead = new Map<string, number>()
  private cancellation: Cancellation = { isGivenUp: false }
  private lastOpenMs = 0

  constructor(
    private readonly fs: FileSystem,
    private readonly directory: Inode,
  ) {}

  /** The directory's file `name` was opened for reading. */
  onOpen(name: string): void {
    this.lastOpenMs = performance.now()
    this.release(name)
    const place = this.orderNow()?.places.get(name)
    if (place === undefined || Math.abs(place - this.place) > REORDER_FILES) this.giveUp()
    if (place === undefined || place > this.place || this.runFiles === 0) {
      this.lastName = name
      this.place = place ?? -1
      this.runFiles++
      this.releasePassed()
    }
    if (this.runFiles >= RUN_FILES) this.fetchAhead()
  }

  /** Give up what is of no use any more. True when nothing is left. */
  endIdle(nowMs: number): boolean {
    if (nowMs - this.lastOpenMs < IDLE_MS) return false
    this.giveUp()
    return true
  }

  /** By the directory's present listing; null while there is none that counts. */
  private orderNow(): Order | null {
    const { listing } = this.directory
    if (listing === null || !this.directory.isListingFresh(listing)) return (this.order = null)
    const { count } = listing
    if (this.order?.listing === listing && this.order.count === count) return this.order
    const entries = listing.entriesWithin(LARGEST_ORDER_ENTRIES)
    if (entries === null) return (this.order = null)
    const places = new Map(entries.map((entry, place) => [entry.name, place]))
    this.order = { listing, count, entries, places }
    this.place = this.order.places.get(this.lastName) ?? -1
    this.aheadTo = 0
    return this.order
  }

  private fetchAhead(): void {
    if (this.order === null) return
    const { listing, entries } = this.order
    const count = Math.min(FIRST_AHEAD_FILES * 2 ** (this.runFiles - RUN_FILES), LARGEST_AHEAD_FILES)
    const end = Math.min(this.place + 1 + count, entries.length)
    for (this.aheadTo = Math.max(this.aheadTo, this.place + 1); this.aheadTo < end; this.aheadTo++) {
      const entry = entries[this.aheadTo]
      if (entry !== undefined && !this.fetch(entry, listing)) return
    }
  }

  /** False when there is no room for more. */
  private fetch(entry: DirectoryEntry, listing: AskedAt): boolean {
    const { name, kind, stat } = entry
    if (kind !== 'file' || stat === null || stat.sizeBytes > SMALL_FILE_BYTES) return true
    // Of a listing before this one.
    if (this.ahead.has(name)) return true
    const inode = resolveListed(this.directory, entry, listing, this.lastOpenMs)
    // What is open is read ahead of by itself; what is being changed is in memory.
    if (inode == null || inode.isDirectory || inode.handles > 0 || inode.content?.isBusy === true) return true
    if (readAheadRoomBytes(this.fs.cache, 0) < inode.sizeBytes) return false
    const content = this.fs.contentOf(inode)
    content.reader.prefetch(0, content.baseLimit, this.cancellation)
    this.ahead.set(name, content.baseLimit)
    this.fs.cache.readAheadBytes += content.baseLimit
    return true
  }

  /** The run has left them behind. */
  private releasePassed(): void {
    for (const name of [...this.ahead.keys()]) {
      const place = this.order?.places.get(name) ?? -1
      if (place < this.place - REORDER_FILES) this.release(name)
    }
  }

  private release(name: string): void {
    this.fs.cache.readAheadBytes -= this.ahead.get(name) ?? 0
    this.ahead.delete(name)
  }

  private giveUp(): void {
    for (const name of [...this.ahead.keys()]) this.release(name)
    this.runFiles = 0
    this.place = -1
    this.aheadTo = 0
    this.cancellation.isGivenUp = true
    this.cancellation = { isGivenUp: false }
  }
}

/** A file was opened for reading, and its cache is of use. */
export function readAheadInDirectory(fs: FileSystem, { parent, name, isUnlinked }: Inode): void {
  if (parent === null || isUnlinked || parent.mount.backend.listsStats !== true) return
  let ahead = fs.directoryReadAheads.get(parent)
  if (ahead === undefined) {
    ahead = new DirectoryReadAhead(fs, parent)
    fs.directoryReadAheads.set(parent, ahead)
  }
  ahead.onOpen(name)
}

/** Let go of those that nobody uses. */
export function endIdleReadAheads({ directoryReadAheads }: FileSystem): void {
  const nowMs = performance.now()
  for (const [directory, ahead] of directoryReadAheads) {
    if (ahead.endIdle(nowMs)) directoryReadAheads.delete(directory)
  }
}
