import type { DirectoryEntry } from '../backends/backend.js'
import type { AskedAt } from './listing.js'

/** So many looks at names, none further than PAUSE_MS behind the one before, are a burst. */
const WALK_LOOKS = 8
const PAUSE_MS = 1000
/** A listing that was made for a burst answers for as long as OPEN believes a LOOKUP: others may make a name at any time. */
export const LISTING_ANSWERS_MS = 1000

/** A small directory's entries as the store listed them at once. */
export interface WalkListing extends AskedAt {
  readonly entries: readonly DirectoryEntry[]
}

/** The store is to be asked for this name. */
const UNKNOWN = Symbol('unknown')

/**
 * A program that looks at one name after the other in a directory, to read the file by it, to make one or to know that there
 * is none: one listing of the directory spares the store all further looks, until it is LISTING_ANSWERS_MS old. What is changed
 * here meanwhile is asked for. Where listings do not tell enough of what is there, only missing names count.
 */
export class LookupBurst {
  /** Looks that a listing would have answered, one after the other. */
  private looks = 0
  private lastLookMs = -Infinity
  /** The last listing; null: there is none that still counts. */
  listing: WalkListing | null = null
  /** What it has told, by name. */
  private names: Map<string, DirectoryEntry | typeof UNKNOWN> | null = null
  /** Names that were changed while a listing is under way; null: none is. */
  private changed: Set<string> | null = null
  /** The directory is too large to be listed for this, until then. */
  private largeUntilMs = -Infinity

  /** True when a listing is due, should it tell of the next name as well. */
  isListingDue(nowMs: number): boolean {
    const isWalk = this.looks >= WALK_LOOKS && nowMs - this.lastLookMs <= PAUSE_MS
    return isWalk && this.changed === null && nowMs >= this.largeUntilMs
  }

  /** A name was looked for, or at; `isTold`: a listing would have told what was asked for. */
  looked(nowMs: number, isTold: boolean): void {
    this.looks = isTold && nowMs - this.lastLookMs <= PAUSE_MS ? this.looks + 1 : Number(isTold)
    this.lastLookMs = nowMs
  }

  /** Monotonic ms until which the listing answers. */
  get expiresMs(): number {
    return (this.listing?.askedMs ?? -Infinity) + LISTING_ANSWERS_MS
  }

  /** What the listing tells of a name: its entry, null when it is missing, undefined when it does not tell. */
  find(name: string, nowMs: number): DirectoryEntry | null | undefined {
    if (this.names === null || nowMs >= this.expiresMs) return undefined
    const found = this.names.get(name)
    return found === UNKNOWN ? undefined : (found ?? null)
  }

  /** Let go of a listing that answers nothing any more. True when there is none. */
  forgetOld(nowMs: number): boolean {
    if (nowMs >= this.expiresMs) this.listing = this.names = null
    return this.listing === null
  }

  /** `name` is being changed here: no listing tells what becomes of it. */
  nameChanged(name: string): void {
    this.names?.set(name, UNKNOWN)
    this.changed?.add(name)
  }

  beginListing(): void {
    this.changed = new Set()
  }

  endListing(listing: WalkListing): void {
    this.listing = listing
    this.names = new Map(listing.entries.map((entry) => [entry.name, entry]))
    for (const name of this.takeChanged()) this.nameChanged(name)
  }

  /** The directory is too large, and is not tried again before then. */
  noteLarge(untilMs: number): void {
    this.takeChanged()
    this.listing = this.names = null
    this.largeUntilMs = untilMs
  }

  /** The store did not answer. */
  failListing(): void {
    this.takeChanged()
    this.looks = 0
  }

  private takeChanged(): ReadonlySet<string> {
    const changed = this.changed ?? new Set()
    this.changed = null
    return changed
  }
}
