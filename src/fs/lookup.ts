import type { DirectoryEntry, EntryKind, ObjectStat } from '../backends/backend.js'
import { RESERVED_DIRECTORY } from '../backends/backend.js'
import { monotonicMs } from '../backends/clock.js'
import type { FileSystem } from './file-system.js'
import { FsError } from './fs-error.js'
import { Inode } from './inode.js'
import { Listing, type AskedAt, type ListedPage } from './listing.js'
import { checkPathLength } from './names.js'
import { LISTING_ANSWERS_MS, LookupBurst } from './lookup-burst.js'

/** ENOTDIR unless `inode` is a directory. */
export function requireDirectory(inode: Inode): Inode {
  if (!inode.isDirectory) throw new FsError('ENOTDIR')
  return inode
}

export function isReserved(parent: Inode, name: string): boolean {
  return name === RESERVED_DIRECTORY && parent === parent.mount.root
}

/**
 * What `name` leads to in `parent`, null when nothing is there. At once when we know it, else a promise: then the
 * store is asked, once for all who ask at the same time. `kind` is what a listing has told of it.
 */
export function lookup(
  fs: FileSystem,
  parent: Inode,
  name: string,
  kind?: EntryKind,
): Inode | null | Promise<Inode | null> {
  const child = requireDirectory(parent).children?.get(name)
  // The path of a removed directory may be another directory's by now.
  if (parent.isUnlinked || parent.mount.isRemoved) return null
  const nowMs = monotonicMs()
  if (child !== undefined) {
    if (child.isFresh(nowMs)) return child
  } else if (parent.isKnownMissing(name, nowMs)) {
    return null
  }
  if (kind !== undefined) return lookupStored(fs, parent, name, kind)
  const listed = lookupListed(parent, name, nowMs)
  if (listed !== undefined) return listed
  const told = lookupTold(fs, parent, name, nowMs)
  if (told !== undefined) return told
  return parent.lookupBurst?.isListingDue(nowMs) === true && canListSmall(parent)
    ? lookupWalking(fs, parent, name)
    : lookupStored(fs, parent, name)
}

/** What a READDIR of the guest has told of the name; undefined when the store is to be asked. */
function lookupTold(
  fs: FileSystem,
  parent: Inode,
  name: string,
  nowMs: number,
): Inode | null | undefined | Promise<Inode | null> {
  const found = parent.findListed(name, nowMs)
  if (found === undefined) return undefined
  if ('entry' in found)
    return found.entry.stat === null ? undefined : resolveListed(parent, found.entry, found.asked, nowMs)
  return parent.mount.backend.listsStats === true ? lookupInPage(fs, parent, name, found.page) : undefined
}

/** One page of the listing in place of a look at each name in it. */
async function lookupInPage(
  fs: FileSystem,
  parent: Inode,
  name: string,
  page: ListedPage,
): Promise<Inode | null> {
  const { listing } = page
  await fs.inodes.hold([parent], () => Promise.resolve(listing.contentAnew(page)).catch(() => null))
  const nowMs = monotonicMs()
  const found = parent.listing === listing ? parent.findListed(name, nowMs) : undefined
  const told =
    found !== undefined && 'entry' in found
      ? resolveListed(parent, found.entry, found.asked, nowMs)
      : undefined
  return told === undefined ? lookupStored(fs, parent, name) : told
}

/** A listing that outlives what the mount may believe would be made for one name each. */
function canListSmall({ mount }: Inode): boolean {
  return mount.backend.listSmall !== undefined && mount.options.expirationMs >= LISTING_ANSWERS_MS
}

/** What a burst's listing tells; undefined when it does not. */
function lookupListed(parent: Inode, name: string, nowMs: number): Inode | null | undefined {
  const { lookupBurst: burst } = parent
  const entry = burst?.find(name, nowMs)
  if (burst === null || burst.listing === null || entry === undefined) return undefined
  if (parent.appearance(name) !== undefined) return undefined
  if (entry !== null) {
    burst.looked(nowMs, entry.stat !== null)
    return entry.stat === null
      ? undefined
      : adoptEntry(parent, name, entry.stat, burst.listing.change, burst.listing.askedMs)
  }
  if (parent.children?.has(name) === true) return undefined
  burst.looked(nowMs, true)
  parent.addNegative(name, nowMs, 0, burst.expiresMs)
  return null
}

/** One listing in place of a look at each name that is still to come. */
async function lookupWalking(fs: FileSystem, parent: Inode, name: string): Promise<Inode | null> {
  await fs.inodes.hold([parent], () => listWalked(fs, parent))
  const listed = lookupListed(parent, name, performance.now())
  return listed === undefined ? lookupStored(fs, parent, name) : listed
}

async function listWalked(fs: FileSystem, parent: Inode): Promise<void> {
  const { mount, lookupBurst: burst } = parent
  if (burst === null) return
  const askedMs = performance.now()
  const change = mount.changeCount
  burst.beginListing()
  try {
    const list = async (): Promise<DirectoryEntry[] | null> =>
      (await mount.backend.listSmall?.(parent.path())) ?? null
    const entries = await mount.guard.use(parent, list)
    if (entries === null) {
      burst.noteLarge(askedMs + mount.options.expirationMs)
      return
    }
    const listing = { entries, askedMs, change }
    burst.endListing(listing)
    parent.keepListing(Listing.of(parent, fs.listings, entries, listing))
    if (parent.lookupBurst === burst) mount.lookupBursts.add(burst)
  } catch (error) {
    burst.failListing()
    throw error
  }
}

/**
 * The inode of an entry that a listing of `parent` has told of: null when it is gone by now, undefined when the listing does not
 * tell enough, or may be older than what was stored from here.
 */
export function resolveListed(
  parent: Inode,
  { name, stat }: DirectoryEntry,
  { change, askedMs }: AskedAt,
  nowMs: number,
): Inode | null | undefined {
  const child = parent.children?.get(name)
  if (child?.isFresh(nowMs) === true) return child
  if (child === undefined && parent.isKnownMissing(name, nowMs)) return null
  if (stat === null || parent.wasStoredSince(name, askedMs)) return undefined
  if (parent.appearance(name) !== undefined) return undefined
  if (askedMs < parent.mount.invalidatedMs) return undefined
  // Whoever looks it up is told that its path is too long: nothing is known below such a directory.
  if (stat.kind === 'directory' && child === undefined && isPathTooLong(parent, name)) return undefined
  return adoptEntry(parent, name, stat, change, askedMs)
}

function isPathTooLong(parent: Inode, name: string): boolean {
  try {
    checkPathLength(parent.pathOf(name), parent.mount.backend.capabilities.maxPathBytes)
    return false
  } catch {
    return true
  }
}

/** An answer to what was asked before the mount was invalidated is asked for anew, but not for ever. */
const ASKED_AGAIN_MAX = 3

/** What the store has by that name now, whatever we believe to be missing. */
export function lookupStored(
  fs: FileSystem,
  parent: Inode,
  name: string,
  kind?: EntryKind,
): Promise<Inode | null> {
  const pending = parent.pendingLookups?.get(name)
  if (pending !== undefined) return pending
  const lookups = (parent.pendingLookups ??= new Map<string, Promise<Inode | null>>())
  const run = askStore(parent, name, kind).finally(() => {
    lookups.delete(name)
    fs.inodes.freeIfUnused(parent)
  })
  lookups.set(name, run)
  return run
}

async function askStore(parent: Inode, name: string, kind: EntryKind | undefined): Promise<Inode | null> {
  const { mount } = parent
  if (isReserved(parent, name)) return null
  const path = parent.pathOf(name)
  checkPathLength(path, mount.backend.capabilities.maxPathBytes)
  if (!mount.backend.accepts(path)) return null
  for (let asked = 1; ; asked++) {
    await parent.appearance(name)
    const change = mount.changeCount
    const askedMs = performance.now()
    const stat = await mount.guard.use(parent, () => mount.backend.stat(parent.pathOf(name), kind))
    if (parent.appearance(name) !== undefined) continue
    if (askedMs < mount.invalidatedMs && asked <= ASKED_AGAIN_MAX) continue
    // Stored meanwhile and forgotten since: the answer may be of before, and nobody here knows better.
    if (parent.wasStoredSince(name, askedMs) && !parent.children?.has(name)) continue
    ;(parent.lookupBurst ??= new LookupBurst()).looked(
      askedMs,
      stat === null || mount.backend.listsStats === true,
    )
    return adoptEntry(parent, name, stat, change, askedMs)
  }
}

/**
 * The store said `stat` of `name`, asked at `askedMs`, when the mount's change counter stood at `change`. What was changed
 * here since then is newer than the answer.
 */
export function adoptEntry(
  parent: Inode,
  name: string,
  stat: ObjectStat | null,
  change: number,
  askedMs: number,
): Inode | null {
  const child = parent.children?.get(name)
  if (child !== undefined && isNewer(child, change, askedMs)) return child
  if (stat === null) {
    if (child !== undefined) parent.removeChild(name, child)
    const { invalidatedMs, options } = parent.mount
    parent.addNegative(name, askedMs, 0, askedMs < invalidatedMs ? askedMs : askedMs + options.expirationMs)
    return null
  }
  if ((parent.negative(name)?.change ?? 0) > change) return null
  if (child !== undefined && child.kind === stat.kind) {
    child.adopt(stat, askedMs)
    return child
  }
  if (child !== undefined) parent.removeChild(name, child)
  const inode = new Inode(parent.mount, parent, name, stat.kind)
  parent.addChild(name, inode, 0)
  parent.mount.unclaimed.add(inode)
  if (inode.isDirectory) inode.mount.directoryTimes.restore(inode)
  inode.adopt(stat, askedMs)
  return inode
}

/** What we know of the child is younger than an answer to what was asked at `askedMs`, at the change `change`. */
function isNewer(child: Inode, change: number, askedMs: number): boolean {
  return (
    child.namedAtChange > change ||
    child.validatedMs > askedMs ||
    child.isFixed ||
    child.content?.isBusy === true
  )
}

/** Ask the store for the inode's attributes. ENOENT when it is gone. */
export async function revalidate(inode: Inode): Promise<Inode> {
  const { mount } = inode
  const ask = (): Promise<ObjectStat | null> => mount.guard.use(inode, () => mount.backend.stat(inode.path()))
  let askedMs = performance.now()
  // An object that is being replaced may be missed for a moment: see OTHER_VERSION.
  let stat = (await ask()) ?? (await ask())
  for (let asked = 1; askedMs < mount.invalidatedMs && asked <= ASKED_AGAIN_MAX; asked++) {
    askedMs = performance.now()
    stat = (await ask()) ?? (await ask())
  }
  if (inode.content?.isBusy === true || inode.validatedMs > askedMs) return inode
  if (stat === null || stat.kind !== inode.kind) {
    inode.parent?.removeChild(inode.name, inode)
    throw new FsError('ENOENT')
  }
  inode.adopt(stat, askedMs)
  return inode
}
