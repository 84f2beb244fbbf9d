/** Names of a directory of the host, looked at and changed by the addon: each call is one hop to a thread, and none leaves the directory. */
import type { DirectoryEntry, DirectoryPage, ObjectStat, StorageUsage } from '../backend.js'
import { storageAddon, type HostListing, type HostPage, type HostStat } from '../native-addon.js'
import { ownText } from '../own-text.js'
import { HostListings } from './host-listings.js'
import { isMissing, type HostRoot } from './host-root.js'

/** `HostKind` of native/src/host_directory.h. */
const FILE = 0
const DIRECTORY = 1
const OTHER = 3
const NUMBERS_PER_ENTRY = 4
/** Of a page: a look at each on a thread, and a millisecond or two to make JavaScript of them. */
const PAGE_ENTRIES = 2000
/** What stands for bytes that are no UTF-8: nothing is found by such a name. */
const REPLACEMENT = '\uFFFD'

const NO_ENTRIES: HostListing = { text: '', numbers: new Float64Array(0) }

export function statOf({ kind, sizeBytes, seconds, nanoseconds, version }: HostStat): ObjectStat | null {
  if (kind !== FILE && kind !== DIRECTORY) return null
  const mtime = { seconds, nanoseconds }
  return { kind: kind === DIRECTORY ? 'directory' : 'file', sizeBytes, mtime, version }
}

/** Names of a directory of the host. */
export class HostDirectory {
  private readonly calls = storageAddon().hostDirectory
  private readonly listings = new HostListings()

  constructor(private readonly root: HostRoot) {}

  /** null: nothing that is served is there; FIFOs, sockets and devices are not. EACCES for a link that leads out. */
  async stat(path: string): Promise<ObjectStat | null> {
    try {
      const call = ([place]: readonly string[], beneath: boolean): Promise<HostStat> =>
        this.calls.stat(this.root.path, place ?? '', beneath)
      return statOf(await this.root.confined([path], call, true))
    } catch (error) {
      if (isMissing(error)) return null
      throw error
    }
  }

  /** Files, directories and links with what a look at each would tell; of links nothing. [] when the directory is missing. */
  async list(path: string): Promise<DirectoryEntry[]> {
    const entries: DirectoryEntry[] = []
    for (let token: string | null = null; ;) {
      const page = await this.listPage(path, token, PAGE_ENTRIES)
      for (const entry of page.entries) entries.push(entry)
      token = page.next
      if (token === null) return entries
    }
  }

  /** The same, page by page. */
  async listPage(path: string, token: string | null, maxEntries = PAGE_ENTRIES): Promise<DirectoryPage> {
    const limit = Math.min(maxEntries, PAGE_ENTRIES)
    const { page, next } = await this.listings.page<HostPage>(token, (fd, from) =>
      this.readPage(path, fd, from, limit),
    )
    return { entries: entriesOf(page, true), next }
  }

  private async readPage(path: string, fd: number, from: string, limit: number): Promise<HostPage> {
    const call = ([place]: readonly string[], beneath: boolean): Promise<HostPage> =>
      this.calls.listPage(this.root.path, place ?? '', fd, from, limit, beneath)
    if (fd >= 0) return call([path], true)
    try {
      return await this.root.confined([path], call, true)
    } catch (error) {
      if (isMissing(error)) return { ...NO_ENTRIES, next: null, opened: -1 }
      throw error
    }
  }

  /** The names alone, with no look at each; null where there are more than `limit`. */
  async listNames(path: string, limit: number): Promise<DirectoryEntry[] | null> {
    const entries = entriesOf(await this.listing(path, limit), false)
    return entries.length > limit ? null : entries
  }

  private async listing(path: string, limit: number): Promise<HostListing> {
    try {
      const call = ([place]: readonly string[], beneath: boolean): Promise<HostListing> =>
        this.calls.list(this.root.path, place ?? '', limit, beneath)
      return await this.root.confined([path], call, true)
    } catch (error) {
      if (isMissing(error)) return NO_ENTRIES
      throw error
    }
  }

  removeFile(path: string): Promise<void> {
    return this.root.confined([path], ([place], beneath) =>
      this.calls.removeFile(this.root.path, place, beneath),
    )
  }

  removeDirectory(path: string): Promise<void> {
    return this.root.confined([path], ([place], beneath) =>
      this.calls.removeDirectory(this.root.path, place, beneath),
    )
  }

  makeDirectory(path: string): Promise<void> {
    return this.root.confined([path], ([place], beneath) =>
      this.calls.makeDirectory(this.root.path, place, beneath),
    )
  }

  rename(from: string, to: string): Promise<void> {
    return this.root.confined([from, to], ([source, target], beneath) =>
      this.calls.rename(this.root.path, source, target, beneath),
    )
  }

  /** A second name for a file; the directory of `to` is made if need be. */
  link(from: string, to: string): Promise<void> {
    return this.root.confined(
      [from, to],
      ([source, target], beneath) => this.calls.link(this.root.path, source, target, beneath),
      true,
    )
  }

  /** What was made, moved and removed in the directory outlives a crash of the host from now on. Nothing is to do for one that is gone. */
  async sync(path: string): Promise<void> {
    try {
      await this.root.confined(
        [path],
        ([place], beneath) => this.calls.sync(this.root.path, place, beneath),
        true,
      )
    } catch (error) {
      if (!isMissing(error)) throw error
    }
  }

  usage(): Promise<StorageUsage> {
    return this.calls.usage(this.root.path, '', true)
  }
}

/** `hasStats`: the listing tells more than names and kinds. */
function entriesOf({ text, numbers }: HostListing, hasStats: boolean): DirectoryEntry[] {
  const texts = text.split('\0')
  const entries: DirectoryEntry[] = []
  for (let at = 0, next = 0; at < numbers.length; at += NUMBERS_PER_ENTRY, next += 2) {
    const [name, version] = [ownText(texts[next] ?? ''), ownText(texts[next + 1] ?? '')]
    const kind = numbers[at] ?? OTHER
    const mtime = { seconds: numbers[at + 2] ?? 0, nanoseconds: numbers[at + 3] ?? 0 }
    const isKnown = hasStats && !name.includes(REPLACEMENT)
    const stat = isKnown ? statOf({ kind, sizeBytes: numbers[at + 1] ?? 0, ...mtime, version }) : null
    entries.push({ name, kind: kind === DIRECTORY ? 'directory' : 'file', stat })
  }
  return entries
}
