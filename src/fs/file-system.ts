import type { Logger } from '../observability/logger.js'
import { StorageError } from '../backends/storage-error.js'
import type { BlockCache } from '../cache/block-cache.js'
import { FileContent } from '../cache/file-content.js'
import { endIdleReadAheads, type DirectoryReadAhead } from './directory-read-ahead.js'
import { flush } from './flush.js'
import type { GuestBudgets } from './guest-budgets.js'
import { HandleTable } from './handle-table.js'
import type { Inode } from './inode.js'
import { InodeSource } from './inode-source.js'
import { InodeTable } from './inode-table.js'
import { KeptListings } from './kept-listings.js'
import type { Mount } from './mount.js'
import type { MountTable } from './mount-table.js'
import type { OpenDirectory } from './open-directory.js'
import type { OpenFile } from './open-file.js'
import { eraseLeftovers } from './silly-rename.js'

export interface FileSystemOptions {
  /** False: nothing is kept beyond its use; every open asks the store. */
  readonly cacheEnabled: boolean
  /** True: close does not wait for the store; fsync, eviction and the cleaner commit. */
  readonly writeBack: boolean
  /** With write-back: files are committed when they have been dirty this long. */
  readonly dirtyExpireMs: number
  /** The guest's kernel may collect writes before it sends them; it then reads by handles that were opened for writing only. */
  readonly guestWriteback: boolean
}

/** How often the cleaner looks for files that have been dirty for too long. */
const CLEANER_PERIOD_MS = 1000
/** So often the log says of a file that it still could not be stored. */
const TELL_PERIOD_MS = 60_000

/**
 * The state that the operations share: the tree, what the guest holds of it, and the cache. The operations themselves
 * are functions in the files beside this one.
 */
export class FileSystem {
  readonly inodes: InodeTable
  readonly files: HandleTable<OpenFile>
  readonly directories: HandleTable<OpenDirectory>
  readonly listings = new KeptListings()
  /** Of directories whose files are being opened for reading. */
  readonly directoryReadAheads = new Map<Inode, DirectoryReadAhead>()
  private readonly cleaner: NodeJS.Timeout
  /** Monotonic ms at which the log last said that a file could not be stored. */
  private readonly toldMs = new WeakMap<FileContent, number>()

  constructor(
    readonly mounts: MountTable,
    readonly cache: BlockCache,
    public options: FileSystemOptions,
    readonly logger: Logger,
    readonly budgets: GuestBudgets,
  ) {
    this.inodes = new InodeTable(mounts.root, budgets.inodes)
    this.files = budgets.handles.over(new HandleTable())
    this.directories = budgets.handles.over(new HandleTable())
    this.cleaner = setInterval(() => {
      this.commitExpired()
      this.inodes.sweep(mounts.mounts)
      endIdleReadAheads(this)
      const nowMs = performance.now()
      this.listings.forgetOld(nowMs)
      for (const mount of mounts.mounts) {
        for (const burst of mount.lookupBursts) if (burst.forgetOld(nowMs)) mount.lookupBursts.delete(burst)
        void eraseLeftovers(mount)
      }
    }, CLEANER_PERIOD_MS)
    this.cleaner.unref()
  }

  /** The file's contents, made when they are first needed. */
  contentOf(inode: Inode): FileContent {
    inode.content ??= new FileContent(
      this.cache,
      new InodeSource(inode, this.inodes),
      inode.storedVersion === null
        ? null
        : { sizeBytes: inode.storedSizeBytes, version: inode.storedVersion },
    )
    return inode.content
  }

  /** Commit what has been dirty for too long; with write-back off only what no handle will commit. */
  private commitExpired(): void {
    const before = performance.now() - this.options.dirtyExpireMs
    for (const content of this.cache.dirtyContents()) {
      if (content.dirtySinceMs === 0 || content.dirtySinceMs > before || content.isBeingWrittenBack) continue
      if (!this.options.writeBack && content.source.isOpen) continue
      content.writeBack.expired(this.options.dirtyExpireMs).catch((error: unknown) => {
        // What has come to its end is told as a loss, and is not tried again.
        if (content.failure !== null || content.isLost || !this.isTellDue(content)) return
        this.logger.warn({ err: error }, 'a file could not be committed; it will be tried again')
      })
    }
  }

  /** A store that is away is told of once a minute for each file, however often that is tried. */
  private isTellDue(content: FileContent): boolean {
    const nowMs = performance.now()
    if (nowMs - (this.toldMs.get(content) ?? -Infinity) < TELL_PERIOD_MS) return false
    this.toldMs.set(content, nowMs)
    return true
  }

  /** Commit everything. `report` is told how many files are left. Returns the number of files that could not be. */
  async commitAll(report: (filesLeft: number) => void): Promise<number> {
    return (await flush(this, null, report)).failed
  }

  /** Commit all that is dirty, keep on the local disk what could not be, and stop. Returns the number of files whose data is lost. */
  async close(report: (filesLeft: number) => void): Promise<number> {
    clearInterval(this.cleaner)
    if ((await this.commitAll(report)) === 0) return 0
    const lost = await Promise.all(this.mounts.mounts.map((mount) => this.secureRest(mount)))
    return lost.reduce((total, files) => total + files, 0)
  }

  /** What the mount's store does not take is kept in cache_dir, where there is one. Returns the number of files whose data is lost. */
  async secureRest({ account, options }: Mount): Promise<number> {
    const contents = [...account.dirtyContents]
    await Promise.allSettled(contents.map((content) => content.staged.persistLocally() ?? Promise.resolve()))
    const lost = contents.filter((content) => !content.staged.isSecure)
    const kept = contents.length - lost.length
    const error = new StorageError('EIO', 'its store has not taken it before the mount ended')
    for (const { source } of lost)
      account.losses.note({ path: source.path, kind: 'lost', error, keptAs: null })
    if (kept > 0)
      this.logger.warn({ mount: options.name, files: kept }, 'what could not be stored is kept in cache_dir')
    return lost.length
  }
}
