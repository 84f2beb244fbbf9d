import { hostProcessId } from '../../observability/host-process-id.js'
import type { Operator } from 'opendal'
import {
  RESERVED_DIRECTORY,
  type DirectoryEntry,
  type EntryKind,
  type ObjectStat,
  type RenameOptions,
} from '../backend.js'
import { DirectoryServiceBackend } from '../opendal/directory-service-backend.js'
import { canBeShown } from '../shown-names.js'
import { DIRECTORY } from '../objects/object-store.js'
import { UnlistableNames, type UnlistableListener } from '../objects/unlistable-names.js'
import { StorageError, toStorageError } from '../storage-error.js'
import { nameOf } from './multistatus.js'
import { statOfWeb, type WebStatus } from './web-client.js'
import { WebdavClient } from './webdav-client.js'

/** Servers take request lines of 8 KiB (Apache's LimitRequestLine, nginx's buffers), and a byte of a name may be three there. */
const MAX_PATH_BYTES = 2048

/**
 * WebDAV over OpenDAL, save looking at a name that may be a directory's (Apache leads PROPFIND without a "/" to one with,
 * which OpenDAL follows as a GET), listing (OpenDAL takes an answer that is no listing for an empty one) and moving: OpenDAL
 * moves no directories, and over whatever is there.
 *
 * DELETE takes a whole tree with it, whatever has come into it a moment ago. So a directory that is to be empty is first
 * moved to where nobody else puts anything.
 */
export class WebdavBackend extends DirectoryServiceBackend {
  private readonly client: WebdavClient
  private nextRemoved = 1
  private readonly unlistableNames = new UnlistableNames()
  /** Tells two daemons on one store apart. */
  private readonly removedPrefix = `${RESERVED_DIRECTORY}/removed-${hostProcessId()}-${Date.now().toString(36)}-`
  private hasReserved = false
  /** Directories that are not removed and could not be moved back yet, by where they are now. */
  private readonly stranded = new Map<string, string>()

  constructor(operator: Operator, options: Readonly<Record<string, string>>, timeoutMs: number) {
    // What is changed is changed by our own client.
    super(operator, operator, { maxPathBytes: MAX_PATH_BYTES })
    this.client = new WebdavClient(options, timeoutMs)
  }

  reportRetries(listener: () => void): void {
    this.client.connections.onRetry = listener
  }

  override stat(path: string): Promise<ObjectStat | null> {
    return path === '' ? Promise.resolve(DIRECTORY) : this.statExactly(path)
  }

  /** One answer for a file and a directory of that name. */
  protected override async statExactly(path: string): Promise<ObjectStat | null> {
    const status = await this.client.stat(path.replace(/^\//, ''))
    return status === null ? null : statOfWeb(status)
  }

  override async list(path: string): Promise<DirectoryEntry[]> {
    const found = (await this.client.list(path)) ?? []
    const entries: DirectoryEntry[] = []
    const unlistable: string[] = []
    for (const resource of found) {
      const name = nameOf(resource)
      if (path === '' && name === RESERVED_DIRECTORY) continue
      if (!canBeShown(name)) {
        unlistable.push(resource.path)
        continue
      }
      const { kind, sizeBytes } = resource.status
      entries.push({ name, kind, stat: Number.isNaN(sizeBytes) ? null : statOfWeb(resource.status) })
    }
    this.unlistableNames.note(path, unlistable.length, unlistable[0] ?? '')
    return entries
  }

  get unlistable(): number {
    return this.unlistableNames.total
  }

  reportUnlistable(listener: UnlistableListener): void {
    this.unlistableNames.listener = listener
  }

  override read(path: string, offset: number, lengthBytes: number, version: string): Promise<Uint8Array> {
    return this.client.read(path, offset, lengthBytes, version)
  }

  protected override noteRetry(): void {
    this.client.connections.onRetry()
  }

  /** A file brings its directory back, if somebody has removed that. */
  protected override async writeOnce(path: string, data: Uint8Array): Promise<void> {
    try {
      await this.client.putOnce(path, data)
    } catch (error) {
      if (!(error instanceof StorageError) || error.errno !== 'ENOENT') throw error
      await this.createDirectory(path.includes('/') ? path.slice(0, path.lastIndexOf('/')) : '')
      await this.client.putOnce(path, data)
    }
  }

  override createDirectory(path: string): Promise<void> {
    return path === '' ? Promise.resolve() : this.client.makeDirectory(path)
  }

  protected override copyObject(from: string, to: string): Promise<void> {
    return this.client.copyOnce(from, to)
  }

  override removeFile(path: string): Promise<void> {
    return this.client.deleteFile(path)
  }

  override async removeDirectory(path: string): Promise<void> {
    const aside = `${this.removedPrefix}${this.nextRemoved++}`
    await this.makeReserved()
    // Until it is removed or back: whatever goes wrong from here on, it may be there.
    this.stranded.set(aside, path)
    await this.client.move(path, aside, 'directory', false)
    try {
      if ((await this.list(aside)).length > 0)
        throw new StorageError('ENOTEMPTY', `${path}: somebody else has put something there`)
      await this.client.deleteTree(aside)
      this.stranded.delete(aside)
    } catch (error) {
      await this.moveBack(aside, path).catch(() => undefined)
      throw error
    }
  }

  private async moveBack(aside: string, path: string): Promise<void> {
    try {
      await this.client.move(aside, path, 'directory', false)
    } catch (error) {
      // It was removed after all, or its place is taken: then it stays where it is.
      const { errno, retryable, outcome } = toStorageError(error)
      if (retryable || outcome === 'unknown' || (errno !== 'ENOENT' && errno !== 'EEXIST')) throw error
    }
    this.stranded.delete(aside)
  }

  get hasLeftovers(): boolean {
    return this.stranded.size > 0
  }

  /** Directories that are not removed go back to where they were. */
  async removeLeftovers(): Promise<number> {
    const before = this.stranded.size
    for (const [aside, path] of [...this.stranded]) await this.moveBack(aside, path)
    return before - this.stranded.size
  }

  private async makeReserved(): Promise<void> {
    if (this.hasReserved) return
    await this.createDirectory(RESERVED_DIRECTORY)
    this.hasReserved = true
  }

  override async rename(
    from: string,
    to: string,
    kind: EntryKind,
    { version }: RenameOptions = {},
  ): Promise<void> {
    const isSource = (left: WebStatus): boolean => kind === 'directory' || statOfWeb(left).version === version
    if (to.startsWith(`${RESERVED_DIRECTORY}/`)) await this.makeReserved()
    try {
      await this.client.move(from, to, kind, false, isSource)
      return
    } catch (error) {
      if (!(error instanceof StorageError) || error.errno !== 'EEXIST') throw error
    }
    if (kind === 'directory') {
      await this.removeDirectory(to)
      await this.client.move(from, to, kind, false, isSource)
      return
    }
    if ((await this.stat(to))?.kind === 'directory') throw new StorageError('EISDIR', `${to}: a directory`)
    await this.client.move(from, to, kind, true, isSource)
  }
}
