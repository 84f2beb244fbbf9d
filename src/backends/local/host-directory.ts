/** Names of a directory of the host, looked at and changed by the addon: each call is one hop to a thread, and none leaves the directory. */
import { realpath } from 'node:fs/promises'
import { dirname, join, relative, sep } from 'node:path'
import type { DirectoryEntry, ExpectedVersion, ObjectStat } from '../backend.js'
import { storageAddon, type HostListing, type HostStat } from '../native-addon.js'
import { StorageError } from '../storage-error.js'

/** `HostKind` of native/src/host_directory.h. */
const FILE = 0
const DIRECTORY = 1
const OTHER = 3
const NUMBERS_PER_ENTRY = 4
/** What stands for bytes that are no UTF-8: nothing is found by such a name. */
const REPLACEMENT = '\uFFFD'

const NO_ENTRIES: HostListing = { text: '', numbers: new Float64Array(0) }

function isMissing(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException).code
  return code === 'ENOENT' || code === 'ENOTDIR'
}

function statOf({ kind, sizeBytes, seconds, nanoseconds, version }: HostStat): ObjectStat | null {
  if (kind !== FILE && kind !== DIRECTORY) return null
  const mtime = { seconds, nanoseconds }
  return { kind: kind === DIRECTORY ? 'directory' : 'file', sizeBytes, mtime, version }
}

/**
 * A directory of the host as a store has it. Confinement: links on the way and links as the last name are followed only
 * when they end below the root, which the kernel sees to as it follows them (openat2, Linux 5.6), so that no process of the host can
 * lead a call out. It refuses absolute links altogether; those are looked at first (EACCES when they lead out) and then replaced by
 * where they lead. All paths are below the root; "" is the root.
 */
export class HostDirectory {
  private readonly addon = storageAddon()
  private realRoot: string | null = null
  /** False once the kernel has turned out to know no openat2: then links are looked at before each call, and could change in between. */
  private beneath = true

  constructor(readonly root: string) {}

  pathOf(path: string): string {
    return path === '' ? this.root : join(this.root, path)
  }

  /** null: nothing that is served is there; FIFOs, sockets and devices are not. EACCES for a link that leads out. */
  async stat(path: string): Promise<ObjectStat | null> {
    try {
      const call = ([place]: readonly string[], beneath: boolean): Promise<HostStat> =>
        this.addon.hostDirectory.stat(this.root, place ?? '', beneath)
      return statOf(await this.confined([path], call, true))
    } catch (error) {
      if (isMissing(error)) return null
      throw error
    }
  }

  /** Files, directories and links with what a look at each would tell; of links nothing. [] when the directory is missing. */
  async list(path: string): Promise<DirectoryEntry[]> {
    return entriesOf(await this.listing(path, 0), true)
  }

  /** The names alone, with no look at each; null where there are more than `limit`. */
  async listNames(path: string, limit: number): Promise<DirectoryEntry[] | null> {
    const entries = entriesOf(await this.listing(path, limit), false)
    return entries.length > limit ? null : entries
  }

  private async listing(path: string, limit: number): Promise<HostListing> {
    try {
      const call = ([place]: readonly string[], beneath: boolean): Promise<HostListing> =>
        this.addon.hostDirectory.list(this.root, place ?? '', limit, beneath)
      return await this.confined([path], call, true)
    } catch (error) {
      if (isMissing(error)) return NO_ENTRIES
      throw error
    }
  }

  removeFile(path: string): Promise<void> {
    return this.confined([path], ([place], beneath) =>
      this.addon.hostDirectory.removeFile(this.root, place, beneath),
    )
  }

  removeDirectory(path: string): Promise<void> {
    return this.confined([path], ([place], beneath) =>
      this.addon.hostDirectory.removeDirectory(this.root, place, beneath),
    )
  }

  makeDirectory(path: string): Promise<void> {
    return this.confined([path], ([place], beneath) =>
      this.addon.hostDirectory.makeDirectory(this.root, place, beneath),
    )
  }

  rename(from: string, to: string): Promise<void> {
    return this.confined([from, to], ([source, target], beneath) =>
      this.addon.hostDirectory.rename(this.root, source, target, beneath),
    )
  }

  /** A second name for a file; the directory of `to` is made if need be. */
  link(from: string, to: string): Promise<void> {
    return this.confined(
      [from, to],
      ([source, target], beneath) => this.addon.hostDirectory.link(this.root, source, target, beneath),
      true,
    )
  }

  /**
   * Write a whole file to the path `upload`, whose directory is made if need be, fsync it and rename it over `path`. `data` must not change
   * until the promise is settled. EEXIST where nothing was expected and something is there, ESTALE where another version is; the upload is gone then.
   */
  async store(
    path: string,
    upload: string,
    data: Uint8Array,
    expected: ExpectedVersion,
  ): Promise<ObjectStat> {
    const { seconds, nanoseconds, sizeBytes, version } = await this.confined([path], ([place], beneath) =>
      this.addon.storeFile(upload, this.root, place, beneath, data, expected),
    )
    return { kind: 'file', sizeBytes, mtime: { seconds, nanoseconds }, version }
  }

  /** EACCES when `path`, links followed, lies outside of the root. A missing one is the operation's own ENOENT. Another step than the use that follows. */
  async confine(path: string): Promise<void> {
    await this.resolve(path)
  }

  /** As `confine`, for the directory that holds `path`. */
  async confineParent(path: string): Promise<void> {
    if (path.includes('/')) await this.resolve(dirname(path))
  }

  /** Where the path leads, below the root; the path itself when it is missing. */
  private async resolve(path: string): Promise<string> {
    this.realRoot ??= await realpath(this.root)
    try {
      const real = await realpath(this.pathOf(path))
      if (real === this.realRoot || real.startsWith(this.realRoot.replace(/\/?$/, sep)))
        return relative(this.realRoot, real)
    } catch (error) {
      if (isMissing(error)) return path
      throw error
    }
    throw new StorageError('EACCES', `${path}: a symbolic link leads out of the mount's root`)
  }

  /** Run a call on paths; where a link hides what the kernel does not follow, on where they lead. `follows`: links as last names, too. */
  private async confined<T>(
    paths: readonly [string] | readonly [string, string],
    call: (places: readonly [string, string], beneath: boolean) => Promise<T>,
    follows = false,
  ): Promise<T> {
    const [first, second = ''] = paths
    if (this.beneath) {
      try {
        return await call([first, second], true)
      } catch (error) {
        if (isMarked(error, 'cannotConfine')) this.beneath = false
        else if (!isMarked(error, 'leadsOut')) throw error
      }
    }
    try {
      return await call(
        [await this.placeOf(first, follows), await this.placeOf(second, follows)],
        this.beneath,
      )
    } catch (error) {
      if (isMarked(error, 'leadsOut'))
        throw new StorageError('EACCES', `${first}: a symbolic link leads nowhere below the root`)
      throw error
    }
  }

  /** Where the path leads; its last name may be missing. */
  private async placeOf(path: string, follows: boolean): Promise<string> {
    const slash = path.lastIndexOf('/')
    const place = slash < 0 ? path : join(await this.resolve(path.slice(0, slash)), path.slice(slash + 1))
    return follows && place !== '' ? this.resolve(place) : place
  }
}

/** See `HostDirectoryCalls`. */
function isMarked(error: unknown, mark: 'leadsOut' | 'cannotConfine'): boolean {
  return (error as Readonly<Record<string, unknown>>)[mark] === true
}

/** `hasStats`: the listing tells more than names and kinds. */
function entriesOf({ text, numbers }: HostListing, hasStats: boolean): DirectoryEntry[] {
  const texts = text.split('\0')
  const entries: DirectoryEntry[] = []
  for (let at = 0, next = 0; at < numbers.length; at += NUMBERS_PER_ENTRY, next += 2) {
    const [name, version] = [texts[next] ?? '', texts[next + 1] ?? '']
    const kind = numbers[at] ?? OTHER
    const mtime = { seconds: numbers[at + 2] ?? 0, nanoseconds: numbers[at + 3] ?? 0 }
    const isKnown = hasStats && !name.includes(REPLACEMENT)
    const stat = isKnown ? statOf({ kind, sizeBytes: numbers[at + 1] ?? 0, ...mtime, version }) : null
    entries.push({ name, kind: kind === DIRECTORY ? 'directory' : 'file', stat })
  }
  return entries
}
