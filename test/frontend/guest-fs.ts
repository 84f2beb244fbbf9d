/**
 * Paths instead of nodeids: does over FUSE what a guest's kernel does, with no cache of its own. Every operation walks
 * from the root by LOOKUP and forgets what it looked up, so that each step asks the daemon.
 *
 *     const fs = new GuestFs(client, { base: 'mount' })
 *     await fs.writeFile('a/b', 'text')
 *     assert.deepEqual(await fs.list('a'), ['b'])
 *     assert.equal(await codeOf(fs.rmdir('a')), 'ENOTEMPTY')
 *
 * What a kernel refuses of itself is refused here, too (EISDIR of unlink, ENOTDIR of a walk, EBADF of a read from a
 * write-only file), as a FuseError. Symlinks are not followed.
 */
import {
  O_APPEND,
  O_CREAT,
  O_EXCL,
  O_NOCTTY,
  O_RDONLY,
  O_TRUNC,
  O_WRONLY,
  PAGE_BYTES,
  RENAME_EXCHANGE,
  RENAME_NOREPLACE,
  ROOT_NODEID,
  S_IFDIR,
  S_IFMT,
} from './abi.js'
import { FuseError, type FuseClient } from './fuse-client.js'
import type { Attr, Dirent, DirentPlus, Entry, SetattrFields, Statfs, U64 } from './fuse-structs.js'
import { GuestFile } from './guest-file.js'

export { GuestFile } from './guest-file.js'

export interface GuestFsOptions {
  /** Directory that all paths are relative to, e.g. a mount point; default the root. */
  readonly base?: string
  /** Send FORGET for every LOOKUP after each operation; default true. False: as a guest with much memory. */
  readonly forget?: boolean
  /** Room for one READDIR or READDIRPLUS reply; default a page, the kernel's until 6.12. */
  readonly readdirBytes?: number
}

export function isDirectory(attr: Attr): boolean {
  return (attr.mode & S_IFMT) === S_IFDIR
}

/** The lookups of one operation, to be forgotten at its end. */
class Lookups {
  readonly counts = new Map<number, number>()

  add(nodeid: number, count = 1): void {
    if (nodeid !== 0 && nodeid !== ROOT_NODEID)
      this.counts.set(nodeid, (this.counts.get(nodeid) ?? 0) + count)
  }
  /** This lookup lives on, e.g. in an open file. */
  keep(nodeid: number): void {
    this.add(nodeid, -1)
  }
}

interface Node {
  readonly nodeid: number
  readonly directory: boolean
}

interface Parent {
  readonly nodeid: number
  readonly name: string
}

export class GuestFs {
  readonly client: FuseClient
  readonly #base: readonly string[]
  readonly #forget: boolean
  readonly #readdirBytes: number

  constructor(client: FuseClient, options: GuestFsOptions = {}) {
    this.client = client
    this.#base = split(options.base ?? '')
    this.#forget = options.forget ?? true
    this.#readdirBytes = options.readdirBytes ?? PAGE_BYTES
  }

  // ---- attributes ----

  async stat(path: string): Promise<Attr> {
    return this.#scoped(async (lookups) => {
      const { nodeid } = await this.#walk(path, lookups)
      return (await this.client.getattr(nodeid)).attr
    })
  }
  async exists(path: string): Promise<boolean> {
    try {
      await this.stat(path)
      return true
    } catch (error) {
      if (error instanceof FuseError && error.code === 'ENOENT') return false
      throw error
    }
  }
  /** chmod, chown, utimensat and truncate in one. */
  async setattr(path: string, fields: SetattrFields): Promise<Attr> {
    return this.#scoped(async (lookups) => {
      const node = await this.#walk(path, lookups)
      if (fields.size !== undefined && node.directory) throw FuseError.of('EISDIR', path)
      return this.client.setattr(node.nodeid, fields)
    })
  }
  async truncate(path: string, size: U64): Promise<void> {
    await this.setattr(path, { size })
  }
  /** Seconds, fractions included. */
  async utimes(path: string, atime: number | 'now', mtime: number | 'now'): Promise<void> {
    await this.setattr(path, { atime, mtime })
  }
  async chmod(path: string, mode: number): Promise<void> {
    await this.setattr(path, { mode })
  }
  async statfs(path = ''): Promise<Statfs> {
    return this.#scoped(async (lookups) => this.client.statfs((await this.#walk(path, lookups)).nodeid))
  }

  // ---- files ----

  /** open(2). O_CREAT, O_EXCL, O_TRUNC and O_APPEND do what they say. */
  async open(path: string, flags: number = O_RDONLY, mode = 0o644): Promise<GuestFile> {
    return this.#scoped(async (lookups) => {
      if ((flags & O_CREAT) !== 0) return this.#openOrCreate(path, flags, mode, lookups)
      return this.#openNode(await this.#walk(path, lookups), path, flags, lookups)
    })
  }
  async readFile(path: string): Promise<Buffer> {
    return this.#withFile(path, O_RDONLY, 0, (file) => file.readAll())
  }
  async readText(path: string): Promise<string> {
    return (await this.readFile(path)).toString('utf8')
  }
  /** open, write, close; the error of any of them rejects. */
  async writeFile(
    path: string,
    data: string | Uint8Array,
    flags: number = O_WRONLY | O_CREAT | O_TRUNC,
    mode = 0o644,
  ): Promise<void> {
    await this.#withFile(path, flags, mode, (file) => file.write(0, Buffer.from(data)))
  }
  async appendFile(path: string, data: string | Uint8Array): Promise<void> {
    await this.writeFile(path, data, O_WRONLY | O_CREAT | O_APPEND)
  }

  // ---- names ----

  async mkdir(path: string, mode = 0o755): Promise<void> {
    await this.#scoped(async (lookups) => {
      const parent = await this.#walkParent(path, lookups)
      if (await this.#find(parent, lookups)) throw FuseError.of('EEXIST', path)
      lookups.add((await this.client.mkdir(parent.nodeid, parent.name, mode)).nodeid)
    })
  }
  /** mkdir -p. */
  async mkdirs(path: string): Promise<void> {
    const parts = split(path)
    for (let i = 1; i <= parts.length; i++) {
      const prefix = parts.slice(0, i).join('/')
      if (!(await this.exists(prefix))) await this.mkdir(prefix)
    }
  }
  async rmdir(path: string): Promise<void> {
    await this.#scoped(async (lookups) => {
      const parent = await this.#walkParent(path, lookups)
      const node = await this.#child(parent, lookups)
      if (!isDirectory(node.attr)) throw FuseError.of('ENOTDIR', path)
      await this.client.rmdir(parent.nodeid, parent.name)
    })
  }
  async unlink(path: string): Promise<void> {
    await this.#scoped(async (lookups) => {
      const parent = await this.#walkParent(path, lookups)
      const node = await this.#child(parent, lookups)
      if (isDirectory(node.attr)) throw FuseError.of('EISDIR', path)
      await this.client.unlink(parent.nodeid, parent.name)
    })
  }
  /** rename(2), or renameat2(2) with `flags` of RENAME_*. */
  async rename(from: string, to: string, flags = 0): Promise<void> {
    await this.#scoped(async (lookups) => {
      const source = await this.#walkParent(from, lookups)
      const target = await this.#walkParent(to, lookups)
      const sourceEntry = await this.#child(source, lookups)
      const targetEntry = await this.#find(target, lookups)
      checkRename(from, to, flags, sourceEntry, targetEntry)
      if (flags === 0 && sourceEntry.nodeid === targetEntry?.nodeid) return
      const { client } = this
      if (flags === 0) await client.rename(source.nodeid, source.name, target.nodeid, target.name)
      else await client.rename2(source.nodeid, source.name, target.nodeid, target.name, flags)
    })
  }
  async symlink(target: string, path: string): Promise<void> {
    await this.#scoped(async (lookups) => {
      const parent = await this.#walkParent(path, lookups)
      if (await this.#find(parent, lookups)) throw FuseError.of('EEXIST', path)
      lookups.add((await this.client.symlink(parent.nodeid, parent.name, target)).nodeid)
    })
  }
  async readlink(path: string): Promise<string> {
    return this.#scoped(async (lookups) => this.client.readlink((await this.#walk(path, lookups)).nodeid))
  }
  async link(existing: string, path: string): Promise<void> {
    await this.#scoped(async (lookups) => {
      const node = await this.#walk(existing, lookups)
      const parent = await this.#walkParent(path, lookups)
      if (await this.#find(parent, lookups)) throw FuseError.of('EEXIST', path)
      lookups.add((await this.client.link(node.nodeid, parent.nodeid, parent.name)).nodeid)
    })
  }

  // ---- directories ----

  /** Names without "." and "..", sorted by code unit. */
  async list(path = ''): Promise<string[]> {
    return [...(await this.#entries(path, false)).keys()].sort()
  }
  /**
   * Names and attributes, by READDIRPLUS; of names that came without any, by LOOKUP, as a kernel asks for them. What is gone by
   * then or may not be looked at has none.
   */
  async listWithAttributes(path = ''): Promise<Map<string, Attr>> {
    const attributes = new Map<string, Attr>()
    for (const [name, entry] of await this.#entries(path, true)) {
      const hasAttributes = 'entry' in entry && entry.entry.nodeid !== 0
      const attr = hasAttributes ? entry.entry.attr : await this.#attributesOf(join(path, name))
      if (attr !== null) attributes.set(name, attr)
    }
    return attributes
  }
  async #attributesOf(path: string): Promise<Attr | null> {
    try {
      return await this.stat(path)
    } catch (error) {
      if (error instanceof FuseError && ['ENOENT', 'EACCES', 'ELOOP'].includes(error.code)) return null
      throw error
    }
  }
  /** Everything below `path`, by path relative to it: contents of files, null for directories. */
  async snapshot(path = ''): Promise<Map<string, Buffer | null>> {
    const tree = new Map<string, Buffer | null>()
    const visit = async (directory: string): Promise<void> => {
      for (const name of await this.list(join(path, directory))) {
        const child = join(directory, name)
        if (isDirectory(await this.stat(join(path, child)))) {
          tree.set(child, null)
          await visit(child)
        } else {
          tree.set(child, await this.readFile(join(path, child)))
        }
      }
    }
    await visit('')
    return tree
  }
  /** rm -r. */
  async removeTree(path: string): Promise<void> {
    if (!isDirectory(await this.stat(path))) {
      await this.unlink(path)
      return
    }
    for (const name of await this.list(path)) await this.removeTree(join(path, name))
    await this.rmdir(path)
  }

  // ---- inside ----

  async #scoped<T>(operation: (lookups: Lookups) => Promise<T>): Promise<T> {
    const lookups = new Lookups()
    try {
      return await operation(lookups)
    } finally {
      const items = [...lookups.counts].filter(([, count]) => count > 0)
      if (this.#forget && items.length > 0) await this.client.batchForget(items)
    }
  }

  async #walk(path: string, lookups: Lookups): Promise<Node> {
    return this.#descend([...this.#base, ...split(path)], path, lookups)
  }

  async #descend(parts: readonly string[], path: string, lookups: Lookups): Promise<Node> {
    let node: Node = { nodeid: ROOT_NODEID, directory: true }
    for (const name of parts) {
      if (!node.directory) throw FuseError.of('ENOTDIR', path)
      const entry = await this.#child({ nodeid: node.nodeid, name }, lookups)
      node = { nodeid: entry.nodeid, directory: isDirectory(entry.attr) }
    }
    return node
  }

  async #walkParent(path: string, lookups: Lookups): Promise<Parent> {
    const parts = [...this.#base, ...split(path)]
    const name = parts.pop()
    if (name === undefined) throw FuseError.of('EBUSY', 'the root has no parent')
    const node = await this.#descend(parts, path, lookups)
    if (!node.directory) throw FuseError.of('ENOTDIR', path)
    return { nodeid: node.nodeid, name }
  }

  async #child(parent: Parent, lookups: Lookups): Promise<Entry> {
    const entry = await this.client.lookup(parent.nodeid, parent.name)
    lookups.add(entry.nodeid)
    return entry
  }

  async #find(parent: Parent, lookups: Lookups): Promise<Entry | undefined> {
    try {
      return await this.#child(parent, lookups)
    } catch (error) {
      if (error instanceof FuseError && error.code === 'ENOENT') return undefined
      throw error
    }
  }

  async #openOrCreate(path: string, flags: number, mode: number, lookups: Lookups): Promise<GuestFile> {
    const parent = await this.#walkParent(path, lookups)
    const found = await this.#find(parent, lookups)
    if (found) {
      if ((flags & O_EXCL) !== 0) throw FuseError.of('EEXIST', path)
      if (isDirectory(found.attr)) throw FuseError.of('EISDIR', path)
      return this.#openNode({ nodeid: found.nodeid, directory: false }, path, flags, lookups)
    }
    const { entry, fh } = await this.client.create(parent.nodeid, parent.name, flags & ~O_NOCTTY, mode)
    return new GuestFile(this.client, entry.nodeid, fh, flags, this.#forget)
  }

  async #openNode(node: Node, path: string, flags: number, lookups: Lookups): Promise<GuestFile> {
    if (node.directory) throw FuseError.of('EISDIR', path)
    let wireFlags = flags & ~(O_CREAT | O_EXCL | O_NOCTTY)
    const truncateApart = (flags & O_TRUNC) !== 0 && !this.client.has('ATOMIC_O_TRUNC')
    if (truncateApart) wireFlags &= ~O_TRUNC
    const { fh } = await this.client.open(node.nodeid, wireFlags)
    if (truncateApart) await this.client.setattr(node.nodeid, { size: 0 })
    lookups.keep(node.nodeid)
    return new GuestFile(this.client, node.nodeid, fh, flags, this.#forget)
  }

  async #withFile<T>(
    path: string,
    flags: number,
    mode: number,
    use: (file: GuestFile) => Promise<T>,
  ): Promise<T> {
    const file = await this.open(path, flags, mode)
    let result: T
    try {
      result = await use(file)
    } catch (error) {
      // The first error counts; close all the same.
      await file.close().catch(() => undefined)
      throw error
    }
    await file.close()
    return result
  }

  async #entries(path: string, plus: boolean): Promise<Map<string, Dirent | DirentPlus>> {
    return this.#scoped(async (lookups) => {
      const node = await this.#walk(path, lookups)
      if (!node.directory) throw FuseError.of('ENOTDIR', path)
      const { fh } = await this.client.opendir(node.nodeid)
      try {
        return await this.#readAll(node.nodeid, fh, plus, lookups)
      } finally {
        await this.client.releasedir(node.nodeid, fh)
      }
    })
  }

  async #readAll(
    nodeid: number,
    fh: bigint,
    plus: boolean,
    lookups: Lookups,
  ): Promise<Map<string, Dirent | DirentPlus>> {
    const all = new Map<string, Dirent | DirentPlus>()
    for (let offset: U64 = 0; ;) {
      const page: (Dirent | DirentPlus)[] = plus
        ? await this.client.readdirplus(nodeid, fh, offset, this.#readdirBytes)
        : await this.client.readdir(nodeid, fh, offset, this.#readdirBytes)
      const last = page.at(-1)
      if (!last) return all
      offset = last.off
      for (const entry of page) {
        if ('entry' in entry) lookups.add(entry.entry.nodeid)
        if (entry.name === '.' || entry.name === '..') continue
        if (all.has(entry.name)) throw new Error(`listed twice: ${entry.name}`)
        all.set(entry.name, entry)
      }
    }
  }
}

function split(path: string): string[] {
  const parts: string[] = []
  for (const part of path.split('/')) {
    if (part === '..') parts.pop()
    else if (part !== '' && part !== '.') parts.push(part)
  }
  return parts
}

function join(directory: string, name: string): string {
  return directory === '' ? name : name === '' ? directory : `${directory}/${name}`
}

/** What vfs_rename checks before it asks the file system. */
function checkRename(
  from: string,
  to: string,
  flags: number,
  source: Entry,
  target: Entry | undefined,
): void {
  const what = `${from} -> ${to}`
  if ((flags & RENAME_NOREPLACE) !== 0 && target) throw FuseError.of('EEXIST', what)
  if ((flags & RENAME_EXCHANGE) !== 0 && !target) throw FuseError.of('ENOENT', what)
  const [fromParts, toParts] = [split(from), split(to)]
  const below = (a: string[], b: string[]): boolean =>
    a.length < b.length && a.every((part, i) => part === b[i])
  if (below(fromParts, toParts)) throw FuseError.of('EINVAL', what)
  if (below(toParts, fromParts))
    throw FuseError.of((flags & RENAME_EXCHANGE) !== 0 ? 'EINVAL' : 'ENOTEMPTY', what)
  if (!target || source.nodeid === target.nodeid || (flags & RENAME_EXCHANGE) !== 0) return
  if (isDirectory(source.attr) && !isDirectory(target.attr)) throw FuseError.of('ENOTDIR', what)
  if (!isDirectory(source.attr) && isDirectory(target.attr)) throw FuseError.of('EISDIR', what)
}
