/** Where calls below a directory of the host lead, and that they do not lead out of it. */
import { realpath } from 'node:fs/promises'
import { join, relative, sep } from 'node:path'
import { StorageError } from '../storage-error.js'

export function isMissing(error: unknown): boolean {
  const code = (error as NodeJS.ErrnoException).code
  return code === 'ENOENT' || code === 'ENOTDIR'
}

/** See `HostDirectoryCalls` and `HostFileCalls`. */
export function isMarked(error: unknown, mark: 'leadsOut' | 'cannotConfine' | 'isTorn'): boolean {
  return (error as Readonly<Record<string, unknown>>)[mark] === true
}

/**
 * Confinement: links on the way and links as the last name are followed only
 * when they end below the root, which the kernel sees to as it follows them (openat2, Linux 5.6), so that no process of the host can
 * lead a call out. It refuses absolute links altogether; those are looked at first (EACCES when they lead out) and then replaced by
 * where they lead. All paths are below the root; "" is the root. The root is found by its path in each call: it may be mounted anew.
 */
export class HostRoot {
  private realRoot: string | null = null
  /** False once the kernel has turned out to know no openat2: then links are looked at before each call, and could change in between. */
  private beneath = true

  constructor(readonly path: string) {}

  /** Where the path leads, below the root; the path itself when it is missing. */
  private async resolve(path: string): Promise<string> {
    this.realRoot ??= await realpath(this.path)
    try {
      const real = await realpath(join(this.path, path))
      if (real === this.realRoot || real.startsWith(this.realRoot.replace(/\/?$/, sep)))
        return relative(this.realRoot, real)
    } catch (error) {
      if (isMissing(error)) return path
      throw error
    }
    throw new StorageError('EACCES', `${path}: a symbolic link leads out of the mount's root`)
  }

  /** Run a call on paths; where a link hides what the kernel does not follow, on where they lead. `follows`: links as last names, too. */
  async confined<T>(
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
