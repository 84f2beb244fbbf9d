import { StorageError } from '../backends/storage-error.js'
import { mayWaitFor } from '../observability/lock-order.js'
import { Block } from './block.js'
import type { FileContent } from './file-content.js'
import { PartBuffers } from './part-buffers.js'
import { LARGEST_CLASS, slabBytes, type SlabPool } from './slab-pool.js'
import { Semaphore } from '../backends/semaphore.js'
import type { StoreAccount } from './store-account.js'

/** Commits of one store that make room at the same time; each holds a part of an upload in memory. */
const RELIEF_CONCURRENCY = 4
/** Streams that are compared to find the one with most to upload. */
const RELIEF_CANDIDATES = 256
/** Share of the pool that a store's unsaved data may hold before write-back starts by itself, if not said otherwise: so that writers seldom have to wait. */
const DIRTY_SHARE = 0.5
/** After a failed commit the store is left alone this long, so that one that refuses at once is not hammered. */
const RELIEF_RETRY_MS = 1000
/** Share of the pool that reads of one store may keep from eviction until they have all that they need; the rest is for who needs a slab to get on. */
const READ_SHARE = 0.25
/** A request waits this long for a slab before it is told EIO: longer than a commit's own deadlines, so it ends only when its store stays away. */
const SLAB_WAIT_MS = 120_000

/**
 * What a block is taken to cost beside its slab: with the inode and the contents of a file that has no other, 1.5 KB on the heap
 * (measured), and what the heap may grow before it is collected. Only a cache full of the smallest slabs has fewer for it.
 */
const BLOCK_OVERHEAD_BYTES = 2048

interface Waiter {
  readonly resolve: () => void
  readonly reject: (error: StorageError) => void
  readonly timer: NodeJS.Timeout
}

export interface BlockCacheStats {
  readonly poolBytes: number
  readonly leasedBytes: number
  readonly leasedSlabs: number
  /** Of leased slabs: behind the ends of files, and what was neither read nor written. Blocks that are being read are not counted. */
  readonly wastedBytes: number
  readonly evictableBlocks: number
  readonly heldBytes: number
  readonly dirtyFiles: number
  readonly evictions: number
  readonly waiters: number
}

/**
 * The blocks of all files and the budget they share. Clean blocks are evicted by a clock (a hit only sets a bit);
 * when none is left, writers wait while the oldest dirty files of their store are committed.
 */
export class BlockCache {
  private readonly accounts = new Set<StoreAccount>()
  private newest: Block | null = null
  private oldest: Block | null = null
  private evictableBlocks = 0
  private evictions = 0
  private waiters: Waiter[] = []

  /** Of the windows of all files that are read ahead of, and of files that were fetched before they were opened. */
  readAheadBytes = 0
  /** For what is on its way from slabs to a store. */
  readonly parts = new PartBuffers()

  private dirtyMaxBytes = 0
  private blocks = 0
  /** So many of the smallest, overhead included, are as large as the pool. */
  private readonly maxBlocks: number

  constructor(
    readonly pool: SlabPool,
    dirtyMaxBytes: number | null = null,
  ) {
    this.maxBlocks = Math.floor(pool.sizeBytes / (slabBytes(0) + BLOCK_OVERHEAD_BYTES))
    this.setDirtyMax(dirtyMaxBytes)
  }

  /** Unsaved data of one store beyond which the oldest is committed; null: DIRTY_SHARE of the pool. It takes effect with the next write. */
  setDirtyMax(bytes: number | null): void {
    this.dirtyMaxBytes = bytes ?? this.pool.sizeBytes * DIRTY_SHARE
  }

  /** Run a read that may keep `weightBytes` of the pool from eviction while it waits for its store. */
  runRead<T>(account: StoreAccount, weightBytes: number, work: () => Promise<T>): Promise<T> {
    account.readBudget ??= new Semaphore(this.pool.sizeBytes * READ_SHARE, 'reads')
    return account.readBudget.run(weightBytes, work)
  }

  /** Everything that has something to commit. */
  dirtyContents(): FileContent[] {
    return [...this.accounts].flatMap((account) => [...account.dirtyContents])
  }

  /** Requests that wait for a slab. */
  get waiterCount(): number {
    return this.waiters.length
  }

  /** Looks at every block. */
  private wastedBytes(): number {
    let bytes = 0
    for (let block = this.oldest; block !== null; block = block.newer) bytes += block.wastedBytes
    for (const account of this.accounts) {
      for (const content of account.dirtyContents) {
        for (const block of content.pages.blocksFrom(0)) if (!block.isListed) bytes += block.wastedBytes
      }
    }
    return bytes
  }

  /** Looks at every block: not for a hot path. */
  stats(): BlockCacheStats {
    const accounts = [...this.accounts]
    return {
      poolBytes: this.pool.sizeBytes,
      leasedBytes: this.pool.leasedBytes,
      leasedSlabs: this.pool.leasedSlabs,
      wastedBytes: this.wastedBytes(),
      evictableBlocks: this.evictableBlocks,
      heldBytes: accounts.reduce((total, { heldBytes }) => total + heldBytes, 0),
      dirtyFiles: accounts.reduce((total, { dirtyContents }) => total + dirtyContents.size, 0),
      evictions: this.evictions,
      waiters: this.waiters.length,
    }
  }

  /**
   * A block of at most `maxClass` for the file's bytes from `offset` on, smaller where the pool is short; null when
   * even evicting gives no page. `offset` is aligned to the class.
   */
  createBlock(content: FileContent, offset: number, maxClass: number): Block | null {
    while (this.blocks >= this.maxBlocks) if (this.evictOne() === 0) return null
    for (let sizeClass = Math.min(maxClass, LARGEST_CLASS); sizeClass >= 0; sizeClass--) {
      const slab = this.leaseEvicting(sizeClass)
      if (slab < 0) continue
      this.blocks++
      return new Block(content, offset, slabBytes(sizeClass), slab)
    }
    return null
  }

  private leaseEvicting(sizeClass: number): number {
    let slab = this.pool.lease(sizeClass)
    // Evict four times what is needed before a smaller class is tried: freed neighbours merge, but not always at once.
    let budgetBytes = 4 * slabBytes(sizeClass)
    while (slab < 0 && budgetBytes > 0) {
      const evictedBytes = this.evictOne()
      if (evictedBytes === 0) return -1
      budgetBytes -= evictedBytes
      slab = this.pool.lease(sizeClass)
    }
    return slab
  }

  /** Bytes that were freed; 0 when nothing can be evicted. */
  private evictOne(): number {
    for (let tries = 2 * this.evictableBlocks; tries > 0; tries--) {
      const block = this.oldest
      if (block === null) return 0
      if (block.isReferenced || block.pins > 0) {
        block.isReferenced = false
        this.unlist(block)
        this.link(block)
        continue
      }
      this.evictions++
      block.content.counters.evictions++
      const { sizeBytes } = block
      block.content.evicted(block)
      return sizeBytes
    }
    return 0
  }

  /** The block has no data that only it has: it may be evicted. */
  list(block: Block): void {
    if (block.isListed) return
    this.link(block)
    if (block.pins === 0) this.wakeOne()
  }

  private link(block: Block): void {
    block.isListed = true
    this.evictableBlocks++
    block.older = this.newest
    block.newer = null
    if (this.newest !== null) this.newest.newer = block
    this.newest = block
    this.oldest ??= block
  }

  /** Keep the block from being evicted until `unpin`. */
  pin(block: Block): void {
    block.pins++
  }

  unpin(block: Block): void {
    block.pins--
    if (block.pins === 0 && block.isListed) this.wakeOne()
  }

  unlist(block: Block): void {
    if (!block.isListed) return
    block.isListed = false
    this.evictableBlocks--
    if (block.newer === null) this.newest = block.older
    else block.newer.older = block.older
    if (block.older === null) this.oldest = block.newer
    else block.older.newer = block.newer
    block.newer = null
    block.older = null
  }

  /** Give a dead block's slab back. */
  free(block: Block): void {
    this.unlist(block)
    block.isAlive = false
    this.blocks--
    this.pool.release(block.slab)
    this.wakeOne()
  }

  /** The block has data now that only it has, or no longer. */
  setHeld(block: Block, isHeld: boolean): void {
    if (block.isHeld === isHeld) return
    block.isHeld = isHeld
    const { account } = block.content.source
    account.heldBytes += isHeld ? block.sizeBytes : -block.sizeBytes
    account.heldBlocks += isHeld ? 1 : -1
    if (!isHeld) return
    if (account.heldBytes > this.dirtyMaxBytes || account.heldBlocks > this.maxBlocks * DIRTY_SHARE)
      this.writeBackForRoom(account)
  }

  /** The store may hold no more unsaved data. */
  isAtLimit(account: StoreAccount): boolean {
    return account.isAtLimit(this.pool.sizeBytes, this.maxBlocks)
  }

  becameDirty(content: FileContent): void {
    const { account } = content.source
    this.accounts.add(account)
    account.dirtyContents.add(content)
  }

  /** The store was unmounted and nothing of it is cached any more. */
  forgetAccount(account: StoreAccount): void {
    this.accounts.delete(account)
  }

  /** The store is being unmounted: what waits for room for more unsaved data is told EIO. */
  closeAccount(account: StoreAccount): void {
    account.isClosed = true
    this.wakeAll()
  }

  becameClean(content: FileContent): void {
    content.source.account.dirtyContents.delete(content)
  }

  /** Resolves when it is worth another try; EIO after SLAB_WAIT_MS. Who waits holds no pin, so commits always get on. */
  waitForSlab(account: StoreAccount): Promise<void> {
    mayWaitFor('slabs')
    if (account.isClosed) return Promise.reject(new StorageError('EIO', 'the store was unmounted'))
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.waiters = this.waiters.filter((other) => other !== waiter)
        reject(new StorageError('EIO', 'the cache is full of data that the store does not take'))
      }, SLAB_WAIT_MS)
      const waiter: Waiter = { resolve, reject, timer }
      this.waiters.push(waiter)
      this.writeBackForRoom(account)
      // Other stores may hold what is missing here.
      if (!this.isAtLimit(account)) for (const other of this.accounts) this.writeBackForRoom(other)
    })
  }

  private wakeOne(): void {
    const waiter = this.waiters.shift()
    if (waiter === undefined) return
    clearTimeout(waiter.timer)
    waiter.resolve()
  }

  private wakeAll(): void {
    while (this.waiters.length > 0) this.wakeOne()
  }

  /** Bring the unsaved data of some files to the store, of a few at once. */
  private writeBackForRoom(account: StoreAccount): void {
    while (!account.isBackingOff && account.reliefs < RELIEF_CONCURRENCY) {
      const content = nextToRelieve(account)
      if (content === null) return
      account.reliefs++
      content.writeBack.forRoom().then(
        () => {
          account.reliefs--
          this.wakeAll()
        },
        () => {
          account.reliefs--
          this.backOff(account, content)
        },
      )
    }
  }

  /** The data stays dirty, and the file's next fsync or close tells; here others come first. */
  private backOff(account: StoreAccount, failed: FileContent): void {
    if (account.dirtyContents.delete(failed)) account.dirtyContents.add(failed)
    if (account.isBackingOff) return
    account.isBackingOff = true
    setTimeout(() => {
      account.isBackingOff = false
      this.wakeAll()
    }, RELIEF_RETRY_MS).unref()
  }
}

/**
 * The file that has been dirty longest. Of open files that are uploaded while they are written, one that has a whole part by now or,
 * where memory is short before any has, the one with most: the parts stay as long as they can be.
 */
function nextToRelieve({ dirtyContents }: StoreAccount): FileContent | null {
  let most: FileContent | null = null
  let mostBytes = 0
  let looked = 0
  for (const content of dirtyContents) {
    const bytes = content.writeBack.bytes
    if (bytes >= content.source.backend.capabilities.partSizeBytes) return content
    if (bytes <= mostBytes) continue
    most = content
    mostBytes = bytes
    if (++looked === RELIEF_CANDIDATES) break
  }
  return most
}
