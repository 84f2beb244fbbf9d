/** Drives the daemon's file system by its functions, as the FUSE handlers do, with paths in place of nodeids. */
import type { Backend, DirectoryEntry } from '../../../src/backends/backend.js'
import type { Block } from '../../../src/cache/block.js'
import { BlockCache } from '../../../src/cache/block-cache.js'
import type { ReadSink, WriteSource } from '../../../src/cache/content-source.js'
import type { Staging } from '../../../src/cache/staging.js'
import type { FileContent } from '../../../src/cache/file-content.js'
import { SlabPool, type SlabMemory } from '../../../src/cache/slab-pool.js'
import { setattr, type SetattrChanges } from '../../../src/fs/attributes.js'
import { copyFileRange } from '../../../src/fs/copy.js'
import { makeDirectory } from '../../../src/fs/create.js'
import { FileSystem, type FileSystemOptions } from '../../../src/fs/file-system.js'
import { FsError } from '../../../src/fs/fs-error.js'
import { GuestBudgets } from '../../../src/fs/guest-budgets.js'
import { Inode } from '../../../src/fs/inode.js'
import { lookup, requireDirectory } from '../../../src/fs/lookup.js'
import { MountTable } from '../../../src/fs/mount-table.js'
import {
  indexAt,
  openDirectory,
  portionAt,
  releaseDirectory,
  resolveEntries,
  shownAt,
  type OpenDirectory,
} from '../../../src/fs/open-directory.js'
import { create, flush, fsync, open, release } from '../../../src/fs/open-file.js'
import { fallocate, read, write } from '../../../src/fs/read-write.js'
import { removeDirectory, unlink } from '../../../src/fs/remove.js'
import { rename } from '../../../src/fs/rename.js'
import { assertLockOrder } from '../../../src/observability/lock-order.js'
import { createLogger } from '../../../src/observability/logger.js'
import type { Path } from './reference.js'

assertLockOrder()

/** What names are made with; no store of the model keeps it. */
const CREATION = { mode: 0o644, uid: 0, gid: 0 }

/** Slab memory on the heap: what the addon's pool is to the daemon. */
export function heapMemory(sizeBytes: number): SlabMemory {
  const window = new ArrayBuffer(sizeBytes)
  const bytes = new Uint8Array(window)
  return {
    sizeBytes,
    windows: [window],
    copy: (target, source, length) => bytes.copyWithin(target, source, source + length),
    zero: (offset, length) => bytes.fill(0, offset, offset + length),
  }
}

export interface DriverOptions extends Omit<FileSystemOptions, 'guestWriteback'> {
  readonly backend: Backend
  readonly poolBytes: number
  readonly expirationMs: number
  /** Where closes with write-back stage. Default: nowhere. */
  readonly staging?: Staging | null
  /** Unsaved data beyond which the oldest is committed. Default: half of the pool. */
  readonly dirtyMaxBytes?: number | null
}

export class Driver {
  readonly fs: FileSystem
  readonly pool: SlabPool
  /** What the daemon would have told of errors, a JSON line each. */
  readonly log: string[] = []
  readonly root: Inode

  constructor(options: DriverOptions) {
    const mountOptions = {
      name: 'model',
      type: 'model',
      mountPoint: [],
      readOnly: false,
      uid: 0,
      gid: 0,
      fileMode: 0o644,
      dirMode: 0o755,
      guestCache: 'auto' as const,
      expirationMs: options.expirationMs,
    }
    const { backend, staging } = options
    const table = new MountTable([{ options: mountOptions, backend, staging: staging ?? null }])
    this.pool = new SlabPool(heapMemory(options.poolBytes))
    const logger = createLogger({ level: 'warn', stream: { write: (line: string) => this.log.push(line) } })
    const cache = new BlockCache(this.pool, options.dirtyMaxBytes ?? null)
    this.fs = new FileSystem(table, cache, { ...options, guestWriteback: false }, logger, new GuestBudgets())
    this.root = table.root
  }

  /** The inode at `path`, held as a guest's kernel would; `drop` lets it go. */
  private async walk(path: Path): Promise<Inode> {
    let inode = this.root
    this.fs.inodes.countLookup(inode)
    for (const name of path) {
      let next: Inode | null
      try {
        next = await lookup(this.fs, inode, name)
        if (next !== null) this.fs.inodes.countLookup(next)
      } finally {
        this.drop(inode)
      }
      if (next === null) throw new FsError('ENOENT')
      inode = next
    }
    return inode
  }

  private drop(inode: Inode): void {
    this.fs.inodes.forget(inode.nodeid, 1)
  }

  private async at<T>(path: Path, work: (inode: Inode) => T | Promise<T>): Promise<T> {
    const inode = await this.walk(path)
    try {
      return await work(inode)
    } finally {
      this.drop(inode)
    }
  }

  /** Resolves when what nobody uses has been let go of: at the end of the turn. */
  unusedFreed(): Promise<void> {
    return new Promise((resolve) => setImmediate(resolve))
  }

  /** Run `work` while the guest knows what is at `path`. */
  holding(path: Path, work: (inode: Inode) => Promise<void>): Promise<void> {
    return this.at(path, work)
  }

  private inParent<T>(path: Path, work: (parent: Inode, name: string) => T | Promise<T>): Promise<T> {
    return this.at(path.slice(0, -1), (parent) => work(requireDirectory(parent), path.at(-1) ?? ''))
  }

  /** Take all slabs, as other files would, so that everything that can be evicted is. The function that is returned gives them back. */
  fillPool(): () => void {
    const inode = new Inode(this.root.mount, null, 'other', 'file')
    // It is stored, so that nobody tries to.
    inode.storedVersion = 'other'
    const other = this.fs.contentOf(inode)
    const blocks: Block[] = []
    for (let block = this.takeSlab(other); block !== null; block = this.takeSlab(other)) blocks.push(block)
    return () => {
      for (const block of blocks) this.fs.cache.free(block)
    }
  }

  private takeSlab(other: FileContent): Block | null {
    return this.fs.cache.createBlock(other, 0, 0)
  }

  mkdir(path: Path): Promise<unknown> {
    return this.inParent(path, (parent, name) => makeDirectory(this.fs, parent, name, CREATION))
  }

  create(path: Path, flags: number): Promise<number> {
    return this.inParent(
      path,
      async (parent, name) => (await create(this.fs, parent, name, flags, CREATION)).fh,
    )
  }

  open(path: Path, flags: number): Promise<number> {
    return this.at(path, async (inode) => (await open(this.fs, inode, flags)).fh)
  }

  async read(fh: number, offset: number, length: number): Promise<Buffer> {
    const pieces: Buffer[] = []
    const sink: ReadSink = {
      push: (poolOffset, bytes) => pieces.push(Buffer.from(this.pool.view(poolOffset, bytes))),
      pushZeros: (bytes) => pieces.push(Buffer.alloc(bytes)),
    }
    await read(this.fs.files.get(fh), offset, length, sink)
    return Buffer.concat(pieces)
  }

  async write(fh: number, offset: number, bytes: Buffer, flags = 0): Promise<number> {
    const source: WriteSource = {
      pull: (from, poolOffset, length) => {
        this.pool.view(poolOffset, length).set(bytes.subarray(from, from + length))
      },
    }
    return write(this.fs.files.get(fh), offset, bytes.length, flags, source)
  }

  async fsync(fh: number): Promise<void> {
    await fsync(this.fs.files.get(fh))
  }

  async close(fh: number): Promise<void> {
    await flush(this.fs, this.fs.files.get(fh))
    await release(this.fs, fh)
  }

  /** FLUSH: of a descriptor; others of the same open file may go on. */
  async flush(fh: number): Promise<void> {
    await flush(this.fs, this.fs.files.get(fh))
  }

  /** RELEASE: of the last descriptor. */
  async release(fh: number): Promise<void> {
    await release(this.fs, fh)
  }

  copyRange(from: number, to: number, lengthBytes: number): Promise<number> {
    return copyFileRange(this.fs.files.get(from), 0, this.fs.files.get(to), 0, lengthBytes)
  }

  setattr(path: Path, changes: SetattrChanges): Promise<unknown> {
    return this.at(path, (inode) => setattr(this.fs, inode, changes, false))
  }

  /** What is known to be at `path`; null: nobody here knows. */
  known(path: Path): Inode | null {
    let inode: Inode | undefined = this.root
    for (const name of path) inode = inode?.children?.get(name)
    return inode ?? null
  }

  async fallocate(fh: number, mode: number, offset: number, length: number): Promise<void> {
    await fallocate(this.fs, this.fs.files.get(fh), mode, offset, length)
  }

  inodeOf(fh: number): Inode {
    return this.fs.files.get(fh).inode
  }

  sizeOf(fh: number): number {
    return this.inodeOf(fh).sizeBytes
  }

  async truncateHandle(fh: number, size: number): Promise<void> {
    await setattr(this.fs, this.fs.files.get(fh).inode, { sizeBytes: size }, true)
  }

  truncate(path: Path, size: number): Promise<unknown> {
    return this.at(path, (inode) => setattr(this.fs, inode, { sizeBytes: size }, false))
  }

  unlink(path: Path): Promise<void> {
    return this.inParent(path, (parent, name) => unlink(this.fs, parent, name))
  }

  rmdir(path: Path): Promise<void> {
    return this.inParent(path, (parent, name) => removeDirectory(this.fs, parent, name))
  }

  rename(from: Path, to: Path, flags: number): Promise<void> {
    return this.inParent(from, (oldParent, oldName) =>
      this.inParent(to, (newParent, newName) =>
        rename(this.fs, oldParent, oldName, newParent, newName, flags),
      ),
    )
  }

  stat(path: Path): Promise<{ kind: string; sizeBytes: number }> {
    return this.at(path, (inode) => ({ kind: inode.kind, sizeBytes: inode.sizeBytes }))
  }

  /** All entries of an open directory from its beginning on, and what each leads to. */
  async readDirectory(directory: OpenDirectory): Promise<[DirectoryEntry, Inode | null | undefined][]> {
    const read: [DirectoryEntry, Inode | null | undefined][] = []
    for (let place = 0; ;) {
      const portion = await portionAt(this.fs, directory, place, place === 0)
      const entries: DirectoryEntry[] = []
      for (let index = indexAt(portion, place); index < portion.entries.length; index++) {
        const entry = shownAt(directory, portion, index)
        if (entry !== null) entries.push(entry)
      }
      const inodes = await resolveEntries(this.fs, directory, entries, portion.asked)
      for (const [index, entry] of entries.entries()) read.push([entry, inodes[index]])
      if (portion.isLast) return read
      place = portion.start + portion.entries.length
    }
  }

  list(path: Path): Promise<string[]> {
    return this.at(path, async (inode) => {
      const { fh } = openDirectory(this.fs, inode)
      try {
        const directory = this.fs.directories.get(fh)
        const inodes = (await this.readDirectory(directory)).map(([, child]) => child)
        if (inodes.includes(undefined)) throw new FsError('EIO', 'an entry could not be looked at')
        return inodes
          .filter((child) => child != null)
          .map((child) => (child.isDirectory ? `${child.name}/` : child.name))
          .sort()
      } finally {
        releaseDirectory(this.fs, fh)
      }
    })
  }
}
