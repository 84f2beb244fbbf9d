import type { DirectoryEntry, EntryKind } from '../backends/backend.js'
import { forEachConcurrently } from '../backends/concurrency.js'
import { requireMounted } from './access.js'
import type { FileSystem } from './file-system.js'
import type { FileHandle } from './handle-table.js'
import type { Inode } from './inode.js'
import { Listing, type AskedAt, type PageContent } from './listing.js'
import { isReserved, lookup, requireDirectory, resolveListed } from './lookup.js'
import { nameHash } from './name-hash.js'

/** Attributes asked for at once where a listing carries none. */
const STAT_CONCURRENCY = 16

/**
 * The place of the first name that the store does not have, behind all that it may list. With what stands before the entries it
 * fits in 31 bits, which is all that programs of 32 bits have for an offset.
 */
const OWN_PLACE = 2 ** 30

/** Neighbours among an open directory's entries. */
export interface Portion {
  /** null: it is not there any more. */
  readonly entries: readonly (DirectoryEntry | null)[]
  /** The place of the first of them. */
  readonly start: number
  /** From here on they are such that only we know. */
  readonly ownFrom: number
  /** When the store was asked for the others. */
  readonly asked: AskedAt
  readonly isLast: boolean
}

/** What a reading of a directory from its beginning began with: offsets of one are of no use to another. */
interface Reading {
  readonly listing: Listing
  /** Names that the store may not have told, or not as they are now: unsaved, mount points, or named while it was asked. */
  readonly ours: ReadonlyMap<string, EntryKind>
  /** Those in their places, once somebody has come so far. */
  own: readonly DirectoryEntry[] | null
}

/**
 * An open directory of the guest: what the store lists, page by page, and behind it the names that only we know. Each name has a place
 * that stays its own while others come and go; what was read last is held, so that a read goes on without asking anew.
 */
export class OpenDirectory {
  /** Since the last rewind; null until the first READDIR. */
  reading: Reading | null = null
  held: Portion | null = null

  constructor(readonly inode: Inode) {}
}

export interface OpenedDirectory {
  readonly fh: FileHandle
  readonly inode: Inode
  /** The names that the guest read last are still those that are there. */
  readonly keepCache: boolean
}

export function openDirectory(fs: FileSystem, inode: Inode): OpenedDirectory {
  requireDirectory(inode)
  requireMounted(inode)
  inode.handles++
  fs.inodes.add(inode)
  const { listing } = inode
  const keepCache = listing !== null && listing === inode.guestListing && inode.isListingFresh(listing)
  return { fh: fs.directories.add(new OpenDirectory(inode)), inode, keepCache }
}

export function releaseDirectory(fs: FileSystem, fh: number): void {
  const directory = fs.directories.take(fh)
  if (directory !== null) closeDirectory(fs, directory)
}

export function closeDirectory(fs: FileSystem, { inode }: OpenDirectory): void {
  inode.handles--
  fs.inodes.freeIfUnused(inode)
}

/** The entries from a place on; a READDIR that `rewinds` begins anew. At once where they are known. */
export function portionAt(
  fs: FileSystem,
  directory: OpenDirectory,
  place: number,
  rewinds: boolean,
): Portion | Promise<Portion> {
  const { reading, held } = directory
  if (reading === null || rewinds) return beginReading(fs, directory, place)
  if (held !== null && isIn(held, place, directory.inode.mount.invalidatedMs)) return held
  const content = place < OWN_PLACE ? reading.listing.contentAt(place) : null
  return content instanceof Promise
    ? content.then((told) => portionOf(directory, reading, told))
    : portionOf(directory, reading, content)
}

function isIn({ start, ownFrom, isLast, asked }: Portion, place: number, invalidatedMs: number): boolean {
  return place >= start && (isLast || place < start + ownFrom) && asked.askedMs >= invalidatedMs
}

/** The place of the portion's entry `index`. */
export function placeAt({ start, ownFrom }: Portion, index: number): number {
  return index < ownFrom ? start + index : OWN_PLACE + index - ownFrom
}

/** The first entry of a portion at or behind a place that is in it. */
export function indexAt({ start, ownFrom }: Portion, place: number): number {
  return place < OWN_PLACE ? Math.min(Math.max(0, place - start), ownFrom) : ownFrom + place - OWN_PLACE
}

/** Of the store's, what is not ours; behind the last one, ours. */
function portionOf(directory: OpenDirectory, reading: Reading, content: PageContent | null): Portion {
  const { listing } = reading
  const { entries, start } = content ?? { entries: [], start: listing.count }
  const isLast = listing.isComplete && start + entries.length >= listing.count
  const own = isLast ? ownOf(directory, reading) : []
  const portion = {
    entries: own.length === 0 ? entries : [...entries, ...own],
    ...{ start, ownFrom: entries.length, asked: content ?? listing, isLast },
  }
  if (directory.reading === reading) directory.held = portion
  return portion
}

/** Ours, and what was stored since and the store did not tell: it may have put that where it had been already. */
function ownOf({ inode }: OpenDirectory, reading: Reading): readonly DirectoryEntry[] {
  const { listing, ours } = reading
  if (reading.own !== null) return reading.own
  const own = Array.from(ours, ([name, kind]) => ({ name, kind, stat: null }))
  for (const name of inode.storedSince(listing.askedMs) ?? []) {
    const child = inode.children?.get(name)
    if (child === undefined || ours.has(name) || listing.placeOf(nameHash(name)) >= 0) continue
    own.push({ name, kind: child.kind, stat: null })
  }
  reading.own = own
  return own
}

/** What the guest is to see of a portion at `index`: nothing that was removed since, nor what is reserved; null for that. */
export function shownAt(
  { inode, reading }: OpenDirectory,
  { entries, ownFrom, asked }: Portion,
  index: number,
): DirectoryEntry | null {
  const entry = entries[index]
  if (entry == null || reading === null || isReserved(inode, entry.name)) return null
  const isOwn = index >= ownFrom
  if (!isOwn && reading.ours.has(entry.name)) return null
  const { change } = isOwn ? reading.listing : asked
  const isThere =
    inode.children?.has(entry.name) === true || (inode.negative(entry.name)?.change ?? 0) <= change
  return isThere ? entry : null
}

async function beginReading(fs: FileSystem, directory: OpenDirectory, place: number): Promise<Portion> {
  const { inode } = directory
  inode.listers++
  try {
    const listing = await freshListing(fs, inode)
    inode.guestListing = listing
    directory.held = null
    directory.reading = { listing, ours: oursIn(inode, listing), own: null }
    return await portionAt(fs, directory, place, false)
  } finally {
    inode.listers--
    if (inode.listers === 0) freeChildren(fs, inode)
  }
}

function oursIn(inode: Inode, { change }: AskedAt): ReadonlyMap<string, EntryKind> {
  const ours = new Map<string, EntryKind>()
  for (const [name, child] of inode.children ?? []) {
    if (child.isFixed || !child.mayBeStored || child.namedAtChange > change) ours.set(name, child.kind)
  }
  return ours
}

/** What had to stay because of the listing. */
function freeChildren(fs: FileSystem, inode: Inode): void {
  for (const child of [...(inode.children?.values() ?? [])]) {
    if (child.nlookup === 0) fs.inodes.freeIfUnused(child)
  }
}

async function freshListing(fs: FileSystem, inode: Inode): Promise<Listing> {
  const { listing } = inode
  if (listing !== null && inode.isListingFresh(listing)) return listing
  const fresh = new Listing(inode, fs.listings)
  if (inode.isUnlinked) fresh.isComplete = true
  // What comes meanwhile is to be known before it is said which names are only ours.
  await fresh.contentAt(0)
  inode.keepListing(fresh)
  return fresh
}

/** What a name leads to: null where it is gone by now, undefined where the store did not say: whoever wants to know asks for it by LOOKUP, and is told the error. */
export type Resolved = Inode | null | undefined

/**
 * What some entries of a portion lead to. Attributes come from memory or the listing; only where neither has them is the store
 * asked, several at once.
 */
export function resolveEntries(
  fs: FileSystem,
  directory: OpenDirectory,
  entries: readonly DirectoryEntry[],
  asked: AskedAt,
): Resolved[] | Promise<Resolved[]> {
  const inodes: Resolved[] = []
  const unknown: number[] = []
  const nowMs = performance.now()
  for (const [index, entry] of entries.entries()) {
    const known = resolveListed(directory.inode, entry, asked, nowMs)
    if (known === undefined) unknown.push(index)
    inodes.push(known)
  }
  return unknown.length === 0 ? inodes : resolveUnknown(fs, directory, entries, inodes, unknown)
}

async function resolveUnknown(
  fs: FileSystem,
  { inode }: OpenDirectory,
  entries: readonly DirectoryEntry[],
  inodes: Resolved[],
  unknown: readonly number[],
): Promise<Resolved[]> {
  await forEachConcurrently(unknown, STAT_CONCURRENCY, async (index) => {
    const entry = entries[index]
    if (entry === undefined) return
    // The others are still worth listing, and a name that is left out would be taken for removed.
    inodes[index] = await Promise.resolve(lookup(fs, inode, entry.name, entry.kind)).catch(() => undefined)
  })
  return inodes
}
