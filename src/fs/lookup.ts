import type { EntryKind, ObjectStat } from '../backends/backend.js'
import { RESERVED_DIRECTORY } from '../backends/backend.js'
import type { FileSystem } from './file-system.js'
import { FsError } from './fs-error.js'
import { Inode } from './inode.js'
import { checkPathLength } from './names.js'

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
  const nowMs = performance.now()
  if (child !== undefined) {
    if (child.isFresh(nowMs)) return child
  } else if (parent.isKnownMissing(name, nowMs)) {
    return null
  }
  if (kind !== undefined) return lookupStored(fs, parent, name, kind)
  const listed = lookupListed(parent, name, nowMs)
  if (listed !== undefined) return listed
  return isBeingWalked(parent, nowMs) ? lookupWalking(fs, parent, name) : lookupStored(fs, parent, name)
}

/** So many looks into one directory, none further than WALK_PAUSE_MS behind the one before, are a walk ... */
const WALK_LOOKS = 8
const WALK_PAUSE_MS = 1000
/** ... for which a directory of fewer entries than this is listed once: a page of most servers, and hardly dearer than a look. */
const WALK_LISTING_ENTRIES = 1000
/** Such a listing is answer enough for as long as OPEN believes a LOOKUP. */
const LISTING_ANSWERS_MS = 1000

/** Whether names are looked up one after the other, as a program does that goes through a list of what might be there. */
function isBeingWalked(parent: Inode, nowMs: number): boolean {
  parent.looks = nowMs - parent.lastLookMs > WALK_PAUSE_MS ? 1 : parent.looks + 1
  parent.lastLookMs = nowMs
  if (parent.looks <= WALK_LOOKS || nowMs < parent.largeUntilMs) return false
  return parent.mount.backend.listUpTo !== undefined && parent.mount.options.expirationMs > 0
}

/** What a listing tells that was made for a walk, and that nothing was changed since; undefined when none does. */
function lookupListed(parent: Inode, name: string, nowMs: number): Inode | null | undefined {
  const { walkListing, mount } = parent
  if (walkListing === null || walkListing !== parent.listing) return undefined
  const { askedMs, change, entries } = walkListing
  if (nowMs >= askedMs + Math.min(LISTING_ANSWERS_MS, mount.options.expirationMs)) return undefined
  if (parent.wasStoredSince(name, askedMs)) return undefined
  walkListing.byName ??= new Map(entries.map((entry) => [entry.name, entry]))
  const entry = walkListing.byName.get(name)
  // It may not tell what is asked for: attributes, that is.
  if (entry !== undefined)
    return entry.stat === null ? undefined : adoptEntry(parent, name, entry.stat, change, askedMs)
  if (parent.children?.has(name) === true) return undefined
  parent.addNegative(name, askedMs, 0)
  return null
}

/** One listing in place of a look at each name that is still to come. */
async function lookupWalking(fs: FileSystem, parent: Inode, name: string): Promise<Inode | null> {
  await fs.inodes.hold([parent], () => listWalked(parent))
  const listed = lookupListed(parent, name, performance.now())
  return listed === undefined ? lookupStored(fs, parent, name) : listed
}

async function listWalked(parent: Inode): Promise<void> {
  const { mount } = parent
  const { backend, guard } = mount
  // Who comes meanwhile looks for himself.
  parent.looks = 0
  const askedMs = performance.now()
  const change = mount.changeCount
  const entries = await guard.use(
    parent,
    async () => (await backend.listUpTo?.(parent.path(), WALK_LISTING_ENTRIES)) ?? null,
  )
  if (entries === null) parent.largeUntilMs = askedMs + mount.options.expirationMs
  else if (mount.changeCount === change) {
    parent.listing = { entries, askedMs, change }
    parent.walkListing = parent.listing
  }
}

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
  for (;;) {
    const change = mount.changeCount
    const askedMs = performance.now()
    const stat = await mount.guard.use(parent, () => mount.backend.stat(parent.pathOf(name), kind))
    // Stored meanwhile and forgotten since: the answer may be of before, and nobody here knows better.
    if (parent.wasStoredSince(name, askedMs) && !parent.children?.has(name)) continue
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
    parent.addNegative(name, askedMs, 0)
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
  const askedMs = performance.now()
  // An object that is being replaced may be missed for a moment: see OTHER_VERSION.
  const stat = (await ask()) ?? (await ask())
  if (inode.content?.isBusy === true || inode.validatedMs > askedMs) return inode
  if (stat === null || stat.kind !== inode.kind) {
    inode.parent?.removeChild(inode.name, inode)
    throw new FsError('ENOENT')
  }
  inode.adopt(stat, askedMs)
  return inode
}
