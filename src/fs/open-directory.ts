import { setImmediate as nextTurn } from 'node:timers/promises'
import type { DirectoryEntry } from '../backends/backend.js'
import { forEachConcurrently } from '../backends/concurrency.js'
import { requireMounted } from './access.js'
import type { FileSystem } from './file-system.js'
import type { FileHandle } from './handle-table.js'
import type { Inode, Listing } from './inode.js'
import { isReserved, lookup, requireDirectory, resolveListed } from './lookup.js'

/** Attributes asked for at once where a listing carries none. */
const STAT_CONCURRENCY = 16

/** An open directory of the guest. It holds a snapshot of the names, so that offsets stay valid while entries come and go. */
export class OpenDirectory {
  /** Names as of the last rewind, without "." and ".."; null until the first READDIR. */
  snapshot: readonly DirectoryEntry[] | null = null
  /** The mount's change counter when the store was asked for the snapshot, and the monotonic ms. */
  change = 0
  askedMs = 0

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

/** The names for a READDIR at `offset`; offset 0 takes a new snapshot. At once when there is one. */
export function snapshotAt(
  fs: FileSystem,
  directory: OpenDirectory,
  offset: number,
): readonly DirectoryEntry[] | Promise<readonly DirectoryEntry[]> {
  if (directory.snapshot !== null && offset > 0) return directory.snapshot
  return takeSnapshot(fs, directory)
}

async function takeSnapshot(fs: FileSystem, directory: OpenDirectory): Promise<readonly DirectoryEntry[]> {
  const { inode } = directory
  inode.listers++
  try {
    const listing = await freshListing(inode)
    inode.guestListing = listing
    directory.change = listing.change
    directory.askedMs = listing.askedMs
    directory.snapshot = await overlay(inode, listing.entries, listing.change)
    return directory.snapshot
  } finally {
    inode.listers--
    if (inode.listers === 0) freeChildren(fs, inode)
  }
}

/** What had to stay because of the listing. */
function freeChildren(fs: FileSystem, inode: Inode): void {
  for (const child of [...(inode.children?.values() ?? [])]) {
    if (child.nlookup === 0) fs.inodes.freeIfUnused(child)
  }
}

async function freshListing(inode: Inode): Promise<Listing> {
  const { mount, listing } = inode
  const askedMs = performance.now()
  const change = mount.changeCount
  if (inode.isUnlinked) return { entries: [], askedMs, change }
  if (listing !== null && inode.isListingFresh(listing)) return listing
  const entries = await mount.guard.use(inode, () => mount.backend.list(inode.path()))
  const fresh = { entries, askedMs, change }
  inode.keepListing(fresh)
  return fresh
}

/** Entries that are gone through before others are served: a fraction of a millisecond. */
const ENTRIES_PER_TURN = 4096

/**
 * What was made, renamed or removed here and is not in the listing yet, or still. In portions: a directory of a million names must not keep
 * everybody else waiting.
 */
async function overlay(
  inode: Inode,
  entries: readonly DirectoryEntry[],
  change: number,
): Promise<readonly DirectoryEntry[]> {
  const merged: DirectoryEntry[] = []
  for (let start = 0; start < entries.length; start += ENTRIES_PER_TURN) {
    if (start > 0) await nextTurn()
    const end = Math.min(start + ENTRIES_PER_TURN, entries.length)
    for (let index = start; index < end; index++) {
      const entry = entries[index]
      if (entry === undefined) break
      const child = inode.children?.get(entry.name)
      const removedSince = child === undefined && (inode.negative(entry.name)?.change ?? 0) > change
      if (removedSince || isReserved(inode, entry.name)) continue
      merged.push(child === undefined ? entry : { ...entry, kind: child.kind })
    }
  }
  const ours = new Map<string, Inode>()
  for (const [name, child] of inode.children ?? []) {
    if (child.isFixed || !child.mayBeStored || child.namedAtChange > change) ours.set(name, child)
  }
  if (ours.size > 0) for (const { name } of merged) ours.delete(name)
  for (const [name, { kind }] of ours) merged.push({ name, kind, stat: null })
  return merged
}

/** What a name leads to: null where it is gone by now, undefined where the store did not say: whoever wants to know asks for it by LOOKUP, and is told the error. */
export type Resolved = Inode | null | undefined

/**
 * What some entries of a snapshot lead to. Attributes come from memory or the listing; only where neither has them is the store
 * asked, several at once.
 */
export function resolveEntries(
  fs: FileSystem,
  directory: OpenDirectory,
  entries: readonly DirectoryEntry[],
): Resolved[] | Promise<Resolved[]> {
  const inodes: Resolved[] = []
  const unknown: number[] = []
  const nowMs = performance.now()
  for (const [index, entry] of entries.entries()) {
    const known = resolveListed(directory.inode, entry, directory, nowMs)
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
