/** Listings of large directories of the host that are under way: their descriptors stay open between two pages. */
import { close } from 'node:fs'
import { StorageError } from '../storage-error.js'

/**
 * Descriptors that are open for this at once, of a mount; beyond it the one that waits longest is closed. Without it the next page
 * costs an open and a seek, and some file systems then know less well what was listed already.
 */
const MAX_OPEN = 32
/** Nobody has asked for a page for so long: a host that wants to unmount is not kept from it. */
const IDLE_MS = 5000

/** One listing, whose pages are read one after the other: they move the descriptor's offset. */
class HostListingUnderWay {
  fd = -1
  usedMs = performance.now()
  private last: Promise<unknown> = Promise.resolve()

  run<T>(work: () => Promise<T>): Promise<T> {
    this.usedMs = performance.now()
    const run = this.last.then(work, work)
    this.last = run.catch(() => undefined)
    return run
  }

  close(): void {
    void this.run(() => {
      if (this.fd >= 0) close(this.fd)
      this.fd = -1
      return Promise.resolve()
    })
  }
}

/** What a page needs of the host: `fd` is -1 where the directory is to be opened. */
export type ReadPage<T> = (fd: number, from: string) => Promise<T & ReadPlace>

interface ReadPlace {
  readonly next: string | null
  readonly opened: number
}

export class HostListings {
  /** In the order of their last use. */
  private readonly open = new Map<string, HostListingUnderWay>()
  private lastId = 0
  private sweeper: NodeJS.Timeout | null = null

  /** `token`: null, or what was told of an earlier page as `next`. */
  async page<T>(token: string | null, read: ReadPage<T>): Promise<{ page: T; next: string | null }> {
    const { id, from } = token === null ? { id: String(++this.lastId), from: '0' } : parseToken(token)
    const listing = this.use(id)
    const page = await listing.run(async () => {
      const found = await read(listing.fd, from).catch((error: unknown) => {
        if (listing.fd < 0) this.open.delete(id)
        throw error
      })
      if (found.opened >= 0) listing.fd = found.opened
      return found
    })
    if (page.next === null) this.end(id)
    return { page, next: page.next === null ? null : `${id}:${page.next}` }
  }

  private use(id: string): HostListingUnderWay {
    const listing = this.open.get(id) ?? new HostListingUnderWay()
    this.open.delete(id)
    this.open.set(id, listing)
    const [oldest] = this.open.keys()
    if (this.open.size > MAX_OPEN && oldest !== undefined) this.end(oldest)
    this.sweeper ??= setInterval(() => {
      this.endIdle()
    }, IDLE_MS).unref()
    return listing
  }

  private end(id: string): void {
    this.open.get(id)?.close()
    this.open.delete(id)
  }

  private endIdle(): void {
    const beforeMs = performance.now() - IDLE_MS
    for (const [id, { usedMs }] of this.open) if (usedMs < beforeMs) this.end(id)
    if (this.open.size > 0 || this.sweeper === null) return
    clearInterval(this.sweeper)
    this.sweeper = null
  }
}

function parseToken(token: string): { readonly id: string; readonly from: string } {
  const [id, from] = token.split(':')
  if (id === undefined || from === undefined || !/^-?\d+$/.test(from))
    throw new StorageError('EINVAL', 'no page of a listing has this token')
  return { id, from }
}
