/**
 * Tells when the configuration, or a file with a secret, may have changed.
 *
 * What is watched are directories: a file that is replaced by a rename is another inode, and a watch on the old one would hear
 * nothing of it. A name may be a symbolic link, or lie behind one, as a Kubernetes ConfigMap does:
 *
 *     ovfsd.toml -> ..data/ovfsd.toml
 *     ..data     -> ..2025_11_21     replaced by a rename when the ConfigMap changes
 *
 * so every link on the way to the file counts, with the directory that it is in. Where a directory is missing, the nearest one above it
 * is watched until it comes.
 */
import { lstatSync, readlinkSync, statSync, watch, type FSWatcher } from 'node:fs'
import { basename, dirname, join, parse, resolve, sep } from 'node:path'
import type { Logger } from '../observability/logger.js'

/** Saving takes several steps, and so does swapping a ConfigMap: what is read in between is not what was meant. */
const QUIET_MS = 200
/** As in the kernel: more links than this are a loop. */
const LINKS_MAX = 40

/** A directory that is watched, and what of it counts. */
interface WatchedDirectory {
  readonly watcher: FSWatcher
  /** The directory itself: another one by the same name needs a watch of its own. */
  readonly identity: string
  names: ReadonlySet<string>
}

export class ConfigWatcher {
  readonly #logger: Logger
  readonly #changed: () => void
  #files: readonly string[] = []
  readonly #directories = new Map<string, WatchedDirectory>()
  #timer: NodeJS.Timeout | undefined
  /** The complaint that was made: one is enough for as long as it holds. */
  #complaint = ''

  /**
   * `changed` is called when nothing was heard for a moment after a change, and once whenever a watch begins: something may
   * have changed before.
   */
  constructor(logger: Logger, changed: () => void) {
    this.#logger = logger
    this.#changed = changed
  }

  /** Watch these files from now on, by whatever links and directories they are reached now. */
  watch(files: readonly string[]): void {
    this.#files = files
    const wanted = new Map<string, Set<string>>()
    for (const path of files.flatMap(pathsLeadingTo).map(nearestExisting)) {
      const names = wanted.get(dirname(path)) ?? new Set()
      wanted.set(dirname(path), names.add(basename(path)))
    }
    for (const [directory, watched] of this.#directories) {
      if (wanted.has(directory) && identityOf(directory) === watched.identity) continue
      watched.watcher.close()
      this.#directories.delete(directory)
    }
    for (const [directory, names] of wanted) {
      const watched = this.#directories.get(directory)
      if (watched !== undefined) watched.names = names
      else this.#begin(directory, names)
    }
  }

  close(): void {
    clearTimeout(this.#timer)
    for (const { watcher } of this.#directories.values()) watcher.close()
    this.#directories.clear()
  }

  #begin(directory: string, names: ReadonlySet<string>): void {
    try {
      const identity = identityOf(directory)
      const watcher = watch(directory, { persistent: false }, (_event, name) => {
        // Without a name, or with the directory's own, it may have gone.
        if (name === null || name === basename(directory) || watched.names.has(name)) this.#schedule()
      })
      const watched: WatchedDirectory = { watcher, identity, names }
      watcher.on('error', (error) => {
        this.#complain(error)
      })
      this.#directories.set(directory, watched)
      this.#complaint = ''
      this.#schedule()
    } catch (error) {
      // It has gone since it was found: what is left is found in a moment.
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') this.#schedule()
      else this.#complain(error)
    }
  }

  #complain(error: unknown): void {
    const complaint = String(error)
    if (complaint === this.#complaint) return
    this.#complaint = complaint
    this.#logger.warn(
      { err: error },
      'the configuration file can not be watched: send SIGHUP to have it loaded again',
    )
  }

  #schedule(): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(() => {
      // What leads to the files may be something else now, and watched anew.
      this.watch(this.#files)
      this.#changed()
    }, QUIET_MS)
  }
}

/** Device and inode; '' where there is none. */
function identityOf(directory: string): string {
  try {
    const { dev, ino } = statSync(directory, { bigint: true })
    return `${dev}:${ino}`
  } catch {
    return ''
  }
}

/** The path, or, where its directory is missing, what is missing in the nearest directory above it. */
function nearestExisting(path: string): string {
  let current = path
  while (dirname(current) !== current && !isDirectory(dirname(current))) current = dirname(current)
  return current
}

function isDirectory(path: string): boolean {
  try {
    return statSync(path).isDirectory()
  } catch {
    return false
  }
}

/**
 * What the file's name leads to, and every symbolic link that is followed on the way there. The directories of these paths
 * have no links in them.
 */
export function pathsLeadingTo(file: string): string[] {
  const found = new Set<string>()
  let pending = resolve(file)
    .split(sep)
    .filter((part) => part !== '')
  let current = parse(resolve(file)).root
  for (let links = 0; pending.length > 0 && links < LINKS_MAX;) {
    const path = join(current, pending[0] ?? '')
    const rest = pending.slice(1)
    const target = linkTarget(path)
    if (target === undefined) {
      current = path
      pending = rest
    } else {
      links++
      found.add(path)
      const resolved = resolve(dirname(path), target)
      pending = [...resolved.split(sep).filter((part) => part !== ''), ...rest]
      current = parse(resolved).root
    }
  }
  found.add(join(current, ...pending))
  return [...found]
}

/** Undefined for what is no link, or is not there. */
function linkTarget(path: string): string | undefined {
  try {
    return lstatSync(path).isSymbolicLink() ? readlinkSync(path) : undefined
  } catch {
    return undefined
  }
}
