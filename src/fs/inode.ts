import type {
  AttributeChanges,
  EntryKind,
  FileAttributes,
  ObjectStat,
  Permissions,
  Timestamp,
} from '../backends/backend.js'
import { wallClock } from '../backends/clock.js'
import { timestampNow } from '../backends/timestamp.js'
import type { FileContent } from '../cache/file-content.js'
import { holding, mayWaitFor } from '../observability/lock-order.js'
import { noteReplaced, type GuestSize } from './guest-view.js'
import type { AskedAt, Listing } from './listing.js'
import type { FoundName } from './listing-search.js'
import type { Mount } from './mount.js'
import type { LookupBurst } from './lookup-burst.js'

/** The guest's handle on an inode; 1 is the root. Reused with another generation after the guest forgot it. */
export type Nodeid = number & { readonly brand: 'Nodeid' }

export const ROOT_NODEID = 1 as Nodeid

/** What a look-up found to be missing, and when to look again. */
interface NegativeEntry {
  readonly expiresMs: number
  /** The mount's change counter when it was noted, to order it against a running listing. */
  readonly change: number
}

const NO_PERMISSIONS: Permissions = { mode: null, uid: null, gid: null }

/** Negative entries a directory keeps; a guest that looks up endless missing names starts anew. */
const MAX_NEGATIVE_ENTRIES = 4096
/** Names of stored files that a directory remembers; past this many, what it was told before counts as old for all of them. */
const MAX_STORED_NAMES = 1024

/**
 * A file or directory the guest, an open handle or unsaved data knows of. It holds its parent and its name; the path
 * is put together when a store is asked, so renaming a tree is one step in memory.
 */
export class Inode {
  nodeid = 0 as Nodeid
  generation = 0
  /** Look-ups the guest has not forgotten yet. */
  nlookup = 0
  /** Open file and directory handles. */
  handles = 0
  /** Operations that are under way with it; it stays in the table meanwhile. */
  pins = 0
  /** A mount's root or a directory on the way to one: always there, never asked for. */
  isFixed = false
  /** The store may hold an object at this inode's path: false only for a file that was made here and not committed yet. */
  mayBeStored = true
  /** Its data is being deleted: nobody may open it any more. */
  isErasing = false
  /** Its object was removed: it has no path any more, for the name may be another file's. */
  isGone = false
  /** Its name was unlinked; it lives until its last handle is gone. */
  isUnlinked = false
  /** As the store keeps them, or will: null for the mount's own. */
  permissions: Permissions = NO_PERMISSIONS
  mtime: Timestamp
  ctime: Timestamp
  /** Directories only: ms of the wall clock until which the store's time for it is of changes that were made here. */
  ownChangesUntilMs = 0
  /** Set by utimens and still to be handed to the store. */
  pendingMtime: Timestamp | null = null
  /** Files of a store that keeps attributes: what setattr changed and the store does not know yet. */
  unsavedAttributes: AttributeChanges | null = null
  /** Monotonic ms until which the attributes count as fresh. */
  freshUntilMs = 0
  /** Monotonic ms at which the store was last asked for them. */
  validatedMs = -Infinity
  /** Files only: contents, once they were needed. */
  content: FileContent | null = null
  /** Files only: the content's generation at the last open, which the guest's pages are of. */
  openedGeneration = -1
  /**
   * Files only: the size that the guest's kernel believes, where others have given the file another one since it was told. It reads no
   * further than that: see `guest-view.ts`. null: it knows.
   */
  guestSize: GuestSize | null = null
  /** Files only: size and version as the store last told them; `content` knows better while it exists. */
  storedSizeBytes = 0
  storedVersion: string | null = null
  /** Directories only: the entries we know of. */
  readonly children: Map<string, Inode> | null
  private negatives: Map<string, NegativeEntry> | null = null
  /** The mount's change counter when this inode came to its name by a change of ours; 0 when the store told it. */
  namedAtChange = 0
  /** Directories only: look-ups that are under way, so that each name is asked for once. */
  pendingLookups: Map<string, Promise<Inode | null>> | null = null
  /** Directories only: what the store listed last, unless a name was changed here since. */
  listing: Listing | null = null
  /** Directories only: how often that was forgotten. A listing that was under way then is not kept. */
  listingResets = 0
  /** Directories only: looks for names that are asked for one by one, once there was one. */
  lookupBurst: LookupBurst | null = null
  /** Directories only: the listing that the guest read last, and may have kept. */
  guestListing: Listing | null = null
  /** Directories only: monotonic ms at which a file by this name was last stored from here. */
  private storedMs: Map<string, number> | null = null
  /** As `storedMs`, for all names that are not in it. */
  private allStoredMs = -Infinity
  /** Directories only: listings under way. What leaves memory meanwhile may be too new to be in them, so nothing does. */
  listers = 0
  /** Directories only: names that are being made in the store. */
  private appearing: Map<string, Promise<void>> | null = null
  /** Directories only: the operations that change its names run one after the other. */
  private changes: Promise<unknown> | null = null

  constructor(
    readonly mount: Mount,
    public parent: Inode | null,
    public name: string,
    readonly kind: EntryKind,
  ) {
    this.mtime = timestampNow()
    this.ctime = this.mtime
    this.children = kind === 'directory' ? new Map() : null
  }

  get isDirectory(): boolean {
    return this.kind === 'directory'
  }

  get mode(): number {
    const { dirMode, fileMode } = this.mount.options
    return this.permissions.mode ?? (this.isDirectory ? dirMode : fileMode)
  }

  get uid(): number {
    return this.permissions.uid ?? this.mount.options.uid
  }

  get gid(): number {
    return this.permissions.gid ?? this.mount.options.gid
  }

  /** What a store keeps of it beside the contents. */
  get attributes(): FileAttributes {
    return { ...this.permissions, mtime: this.mtime }
  }

  get sizeBytes(): number {
    return this.content === null ? this.storedSizeBytes : this.content.size
  }

  /** Files only: the version that what the guest sees is based on; null: nothing was stored yet, as far as is known. */
  get baseVersion(): string | null {
    return this.content === null ? this.storedVersion : this.content.version
  }

  /** Files only: the version that is stored at its name, as far as is known: of what it is based on, or of what it is yet to replace. */
  get versionThere(): string | null {
    return this.content === null ? this.storedVersion : this.content.base.expected
  }

  /** The file was made here, and the call that was to store it first got no answer: something of it may be stored. */
  get isUncertain(): boolean {
    const { content } = this
    return !this.mayBeStored && content !== null && (content.isUncertain || content.upload !== null)
  }

  /** Nobody will find its contents again when its last handle is gone, so they need not be stored. */
  get isDoomed(): boolean {
    return this.isUnlinked
  }

  /** Path within the mount, without a leading "/"; "" for the mount's root. */
  path(): string {
    let { parent } = this
    if (parent?.mount !== this.mount) return ''
    let path = this.name
    // No recursion: a guest makes trees deeper than the stack.
    for (; parent.parent?.mount === this.mount; parent = parent.parent) path = `${parent.name}/${path}`
    return path
  }

  /** The path of a child by this name. */
  pathOf(name: string): string {
    const path = this.path()
    return path === '' ? name : `${path}/${name}`
  }

  isAtOrBelow(other: Inode): boolean {
    for (let { parent } = this; parent !== null; { parent } = parent) if (parent === other) return true
    return this === other
  }

  /** Take over what the store said at `askedMs`, except what the guest has changed and the store does not know yet. */
  adopt(stat: ObjectStat, askedMs: number): void {
    if (askedMs < this.validatedMs) return
    const isKnown = this.validatedMs > -Infinity
    this.validatedMs = askedMs
    this.freshUntilMs = askedMs < this.mount.invalidatedMs ? 0 : askedMs + this.mount.options.expirationMs
    if (this.content?.isBusy === true) return
    if (stat.permissions !== undefined) this.adoptKept(stat.permissions, stat.mtime, isKnown)
    else if (!this.isKnownVersion(stat)) {
      this.pendingMtime = null
      if (stat.mtime !== null && !this.isOwnTime(stat.mtime)) this.setMtime(stat.mtime)
      else if (stat.mtime === null && this.isDirectory && !isKnown && this.ownChangesUntilMs === 0)
        this.setMtime(this.mount.beganAt)
    }
    if (!this.isDirectory && this.nlookup > 0) noteReplaced(this, stat.sizeBytes)
    this.storedSizeBytes = stat.sizeBytes
    this.storedVersion = stat.version
    const content = this.content
    if (content !== null && (content.version !== stat.version || content.storedSize !== stat.sizeBytes)) {
      content.replaceBase(stat)
    }
  }

  /** What the store keeps. Changes of names here are not stored as a directory's time, which does not go back for that. */
  private adoptKept(permissions: Permissions, mtime: Timestamp | null, isKnown: boolean): void {
    this.permissions = permissions
    if (
      mtime === null ||
      this.isOwnTime(mtime) ||
      (this.isDirectory && isKnown && isBefore(mtime, this.mtime))
    )
      return
    this.setMtime(mtime)
  }

  /** A directory keeps the time that it has here until others change it: the store's is of our own changes, a little earlier or later. */
  private isOwnTime({ seconds, nanoseconds }: Timestamp): boolean {
    return this.isDirectory && seconds * 1000 + nanoseconds / 1e6 <= this.ownChangesUntilMs
  }

  /** Names in the directory, or what they lead to, were changed here just now. */
  private noteOwnChange(): void {
    if (this.isDirectory) this.ownChangesUntilMs = Date.now()
  }

  /** Attributes mean something else from now on: they are asked for again. */
  forgetAttributes(): void {
    this.permissions = NO_PERMISSIONS
    this.unsavedAttributes = null
    this.forgetListing()
    this.expire()
  }

  /** The store is asked before anything that it told is believed again. */
  expire(): void {
    this.freshUntilMs = 0
    this.validatedMs = -Infinity
    if (this.content !== null) this.content.confirmedMs = -Infinity
  }

  /**
   * Contents that were stored from here, or told of before, keep the time they have here. A store that does not tell its
   * time when it stores would change it at some look later, and tells it in a listing not to the digit as of one object:
   * to a program like tar the file would change while it is read.
   */
  private isKnownVersion(stat: ObjectStat): boolean {
    return stat.version !== '' && stat.version === this.storedVersion
  }

  private setMtime(mtime: Timestamp): void {
    if (mtime.seconds === this.mtime.seconds && mtime.nanoseconds === this.mtime.nanoseconds) return
    this.mtime = mtime
    this.ctime = mtime
  }

  /** Attributes need not be asked for again: they are fresh, or the guest is changing them. */
  isFresh(nowMs: number): boolean {
    return nowMs < this.freshUntilMs || this.isFixed || this.isUnlinked || this.content?.isBusy === true
  }

  /** Contents or names changed just now. */
  touch(): void {
    this.guestListing = null
    this.mtime = wallClock()
    this.ctime = this.mtime
    this.noteOwnChange()
  }

  // ---- names of a directory

  /** What the store has listed, unless a name was changed here since it was asked. */
  keepListing(listing: Listing): void {
    const { listing: before } = this
    if (before === listing) return
    const isOld = listing.resets !== this.listingResets || listing.askedMs < this.mount.invalidatedMs
    if (isOld || listing.isReleased) {
      listing.release()
      return
    }
    this.listing = listing
    before?.release()
  }

  /** What was listed is not the truth any more. */
  forgetListing(): void {
    this.listingResets++
    this.listing?.release()
  }

  /** Nobody keeps `listing` any more. */
  dropListing(listing: Listing): void {
    if (this.listing === listing) this.listing = null
    if (this.guestListing === listing) this.guestListing = null
  }

  /** No listing that was made for a burst counts any more: it may be long, and nobody asks for it again. */
  forgetWalk(): void {
    if (this.lookupBurst === null) return
    this.mount.lookupBursts.delete(this.lookupBurst)
    this.lookupBurst = null
  }

  /** What the listing that is kept tells of a name; undefined: nothing. */
  findListed(name: string, nowMs: number): FoundName | undefined {
    return this.listing?.search.find(name, nowMs)
  }

  /** What was listed then may be believed still. */
  isListingFresh({ askedMs }: AskedAt): boolean {
    return performance.now() < askedMs + this.mount.options.expirationMs
  }

  negative(name: string): NegativeEntry | undefined {
    return this.negatives?.get(name)
  }

  isKnownMissing(name: string, nowMs: number): boolean {
    const entry = this.negatives?.get(name)
    if (entry === undefined) return false
    if (nowMs < entry.expiresMs) return true
    this.forgetMissingName(name)
    return false
  }

  /** The store is asked again for what was missing. Removals made here and not yet listed are younger than any answer. */
  forgetMissing(): void {
    for (const [name, { change }] of this.negatives ?? []) {
      if (change === 0) this.forgetMissingName(name)
    }
  }

  private forgetMissingName(name: string): void {
    const { negatives } = this
    if (negatives?.delete(name) === true) this.mount.missingNames.removed(this, 1, negatives.size > 0)
  }

  /** As one that remembers nothing: the directory leaves memory, or there are too many. */
  forgetAllMissing(): void {
    if (this.negatives === null) return
    this.mount.missingNames.removed(this, this.negatives.size, false)
    this.negatives = null
  }

  /** The store is asked again for whatever was missing. Removals made here stay known as such to answers that were under way. */
  expireMissing(): void {
    for (const [name, { change }] of this.negatives ?? []) {
      if (change === 0) this.forgetMissingName(name)
      else this.negatives?.set(name, { expiresMs: -Infinity, change })
    }
  }

  /**
   * `name` leads nowhere: removed here as the mount's change number `change`, or, with 0, as the store said; `expiresMs` is for
   * what is not known for as long as the mount's options let it be believed.
   */
  addNegative(
    name: string,
    nowMs: number,
    change: number,
    expiresMs: number = nowMs + this.mount.options.expirationMs,
  ): void {
    if (change > 0) this.lookupBurst?.nameChanged(name)
    if (this.negatives !== null && this.negatives.size >= MAX_NEGATIVE_ENTRIES) this.forgetAllMissing()
    this.negatives ??= new Map()
    const before = this.negatives.get(name)
    this.negatives.set(name, { expiresMs, change: Math.max(before?.change ?? 0, change) })
    if (before === undefined) this.mount.missingNames.added(this)
  }

  /** Nobody knows any more whether the name leads anywhere. */
  removeNegative(name: string): void {
    this.lookupBurst?.nameChanged(name)
    this.forgetMissingName(name)
  }

  /** The file `name` was stored from here at `nowMs`: what the store was asked before does not know of it. */
  noteStored(name: string, nowMs: number): void {
    this.noteOwnChange()
    this.lookupBurst?.nameChanged(name)
    this.storedMs ??= new Map()
    if (this.storedMs.size >= MAX_STORED_NAMES) {
      this.storedMs.clear()
      this.allStoredMs = nowMs
      this.forgetListing()
    }
    this.storedMs.set(name, nowMs)
  }

  /** Names of files that were stored from here since `sinceMs`, as far as they are remembered; null: none. */
  storedSince(sinceMs: number): ReadonlySet<string> | null {
    let names: Set<string> | null = null
    for (const [name, ms] of this.storedMs ?? []) if (ms >= sinceMs) (names ??= new Set()).add(name)
    return names
  }

  /** Whether the store's answer to what was asked at `askedMs` may be older than what was stored from here. */
  wasStoredSince(name: string, askedMs: number): boolean {
    return Math.max(this.allStoredMs, this.storedMs?.get(name) ?? -Infinity) >= askedMs
  }

  /** `child` is what the name leads to now. `change` orders it against running look-ups and listings: see `namedAtChange`. */
  addChild(name: string, child: Inode, change: number): void {
    if (change > 0) this.lookupBurst?.nameChanged(name)
    child.parent = this
    child.name = name
    child.namedAtChange = change
    this.children?.set(name, child)
    this.forgetMissingName(name)
  }

  /** The name no longer leads to `child`. */
  removeChild(name: string, child: Inode): void {
    if (this.children?.get(name) === child) this.children.delete(name)
  }

  /** Run `work` after the changes of names before it; their errors are their own. */
  change<T>(work: () => Promise<T>): Promise<T> {
    mayWaitFor('names')
    const begin = (): Promise<T> => holding('names', work)
    const run = this.changes === null ? begin() : this.changes.then(begin, begin)
    const tail: Promise<unknown> = run
      .catch(() => undefined)
      .finally(() => {
        if (this.changes === tail) this.changes = null
      })
    this.changes = tail
    return run
  }

  /**
   * Run `work`, which makes the store have `name` before it is put into the tree. Until then the store
   * tells of it what would become a second inode of the same object: see `appearance`.
   */
  async whileAppearing<T>(name: string, work: () => Promise<T>): Promise<T> {
    const running = work()
    const ended = running.then(
      () => undefined,
      () => undefined,
    )
    this.appearing ??= new Map()
    this.appearing.set(name, ended)
    try {
      return await running
    } finally {
      this.appearing.delete(name)
    }
  }

  /** Resolves when `name` is in the tree, or is not made; undefined where nobody makes it. */
  appearance(name: string): Promise<void> | undefined {
    return this.appearing?.get(name)
  }

  /** No change of names is under way, so one may be made on the spot. */
  get isQuiet(): boolean {
    return this.changes === null
  }
}

function isBefore(one: Timestamp, other: Timestamp): boolean {
  return one.seconds < other.seconds || (one.seconds === other.seconds && one.nanoseconds < other.nanoseconds)
}
