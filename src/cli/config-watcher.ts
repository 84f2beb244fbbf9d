/**
 * Tells when the configuration, or a file with a secret, may have changed.
 *
 * What is watched are directories: a file that is replaced by a rename is another inode, and a watch on the old one would hear
 * nothing of it. A name may be a symbolic link, or lie behind one, as a Kubernetes ConfigMap does:
 *
 *     ovfsd.toml -> ..data/ovfsd.toml
 *     ..data     -> ..2025_11_21     replaced by a rename when the ConfigMap changes
 *
 * so every link on the way to the file counts, with the directory that it is in.
 */
import { lstatSync, readlinkSync } from 'node:fs'
import { dirname, join, parse, resolve, sep } from 'node:path'
import type { FSWatcher } from 'chokidar'
import type { Logger } from '../observability/logger.js'

/** Saving takes several steps, and so does swapping a ConfigMap: what is read in between is not what was meant. */
const QUIET_MS = 200
/** As in the kernel: more links than this are a loop. */
const LINKS_MAX = 40

export class ConfigWatcher {
  readonly #logger: Logger
  readonly #changed: () => void
  readonly #Watcher: typeof FSWatcher
  #watcher: FSWatcher | undefined
  /** Every path that counts. */
  #paths: ReadonlySet<string> = new Set()
  #timer: NodeJS.Timeout | undefined

  private constructor(Watcher: typeof FSWatcher, logger: Logger, changed: () => void) {
    this.#Watcher = Watcher
    this.#logger = logger
    this.#changed = changed
  }

  /**
   * `changed` is called when nothing was heard for a moment after a change, and once whenever a watch begins: something may
   * have changed before.
   */
  static async load(logger: Logger, changed: () => void): Promise<ConfigWatcher> {
    // Loaded when the daemon listens already: it is in nobody's way then.
    const { FSWatcher: Watcher } = await import('chokidar')
    return new ConfigWatcher(Watcher, logger, changed)
  }

  /** Watch these files from now on, by whatever links they are reached now. */
  watch(files: readonly string[]): void {
    const paths = new Set(files.flatMap(pathsLeadingTo))
    if (paths.size === this.#paths.size && [...paths].every((path) => this.#paths.has(path))) return
    this.#paths = paths
    void this.#watcher?.close()
    const directories = new Set([...paths].map((path) => dirname(path)))
    // A watch that is widened overlooks what it has passed over before, so it begins anew.
    const watcher = new this.#Watcher({
      depth: 0,
      followSymlinks: false,
      ignoreInitial: true,
      ignored: (path) => !paths.has(path) && !directories.has(path),
    })
    this.#watcher = watcher
    watcher.on('all', () => {
      this.#schedule()
    })
    // What the kernel says, since `all` leaves out what comes quickly one after the other.
    watcher.on('raw', (_event, name, details: unknown) => {
      const { watchedPath = '' } = details as { readonly watchedPath?: string }
      if (paths.has(watchedPath) || paths.has(join(watchedPath, name))) this.#schedule()
    })
    watcher.on('ready', () => {
      this.#schedule()
    })
    watcher.on('error', (error) => {
      this.#logger.warn(
        { err: error },
        'the configuration file can not be watched: send SIGHUP to have it loaded again',
      )
    })
    watcher.add([...directories])
  }

  async close(): Promise<void> {
    clearTimeout(this.#timer)
    await this.#watcher?.close()
  }

  #schedule(): void {
    clearTimeout(this.#timer)
    this.#timer = setTimeout(this.#changed, QUIET_MS)
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
