/** The second, larger tier of the read cache: a file of the host, cut in slabs. */
import { mkdirSync, openSync, closeSync, rmSync } from 'node:fs'
import path from 'node:path'
import type { Backend } from '../backends/backend.js'
import { shareDisposable } from '../backends/disposable.js'
import { loadAddon } from '../backends/native-addon.js'
import { BackendLayer } from '../backends/layers/backend-layer.js'
import { classHolding, LARGEST_SLAB_BYTES, SlabPool } from './slab-pool.js'

/**
 * The allocator counts pages of 4 KiB, and takes 9 bytes of memory for each; here one stands for 64 KiB, so that 10 GiB of disk
 * cost 1.5 MiB of memory. Nothing shorter is read from a store but whole small files.
 */
const SCALE = 16

/** Bytes on their way to the disk at a time: one that is slower than the store must not fill the memory. What comes beyond is not kept. */
const MAX_PENDING_BYTES = 32 << 20

/**
 * What one checksum is over. A shorter read reads so much more: reads of this tier are those of the store, a slab of 64 KiB or more
 * but for small files.
 */
const CHUNK_BYTES = 64 << 10

/** `native/src/checked_file.h`: off the loop, whose time checksums would take three times as long as the rest of a read. */
interface CheckedFileCalls {
  /** Fills `data`; rejects where the file has not as much, or bytes of other checksums. */
  readChecked(file: number, data: Uint8Array, offset: number, checksums: Uint32Array): Promise<void>
  /** Sets `checksums`. */
  writeChecked(file: number, data: Uint8Array, offset: number, checksums: Uint32Array): Promise<void>
}

function chunksIn(lengthBytes: number): number {
  return Math.ceil(lengthBytes / CHUNK_BYTES)
}

/** Bytes [start, end) of an object, in one slab of the file. */
interface Extent {
  readonly object: CachedObject
  readonly start: number
  readonly end: number
  readonly slab: number
  /** CRC-32C of each chunk of its bytes, as they were read from the store. */
  readonly checksums: Uint32Array
  /** Reads under way: the slab is not given to another meanwhile. */
  pins: number
  isForgotten: boolean
}

/** A version of an object, and what of it is here: extents in ascending order, which do not overlap. */
interface CachedObject {
  readonly key: string
  readonly version: string
  readonly extents: Extent[]
}

export interface DiskTierStats {
  readonly limitBytes: number
  /** Of slabs in use: more than the bytes in them. */
  readonly bytes: number
  readonly objects: number
  readonly hits: number
  readonly misses: number
  /** Pieces that were given up to make room. */
  readonly evictions: number
  /** Pieces that the disk gave back as other bytes than it was given, or not at all. */
  readonly errors: number
}

/**
 * Ranges of objects as they were read from the store, the least recently used given up first. It begins empty with each
 * daemon. Whatever goes wrong with the disk, the store is asked.
 */
export class DiskTier {
  private readonly file: number
  private readonly calls = loadAddon() as CheckedFileCalls
  private readonly slabs: SlabPool
  private readonly objects = new Map<string, CachedObject>()
  /** In the order of their last use. */
  private readonly extents = new Set<Extent>()
  private pendingBytes = 0
  private hits = 0
  private misses = 0
  private evictions = 0
  private errors = 0
  private isClosed = false

  /** `limitBytes` is rounded down to whole largest slabs, 64 MiB. */
  constructor(directory: string, limitBytes: number) {
    rmSync(directory, { recursive: true, force: true })
    mkdirSync(directory, { recursive: true, mode: 0o700 })
    const filePath = path.join(directory, 'blocks')
    this.file = openSync(filePath, 'wx+', 0o600)
    // Nobody else needs its name, and its room is given back with the daemon, however that ends.
    rmSync(filePath)
    const nothing = (): void => undefined
    this.slabs = new SlabPool({
      sizeBytes: Math.floor(limitBytes / SCALE),
      windows: [],
      copy: nothing,
      zero: nothing,
    })
  }

  stats(): DiskTierStats {
    const { hits, misses, evictions, errors } = this
    const { sizeBytes, leasedBytes } = this.slabs
    const [limitBytes, bytes] = [sizeBytes * SCALE, leasedBytes * SCALE]
    return { limitBytes, bytes, objects: this.objects.size, hits, misses, evictions, errors }
  }

  /** [start, end) of the object's version; null where not all of it is here. Never rejects. */
  async read(key: string, version: string, start: number, end: number): Promise<Uint8Array | null> {
    const extents = this.covering(key, version, start, end)
    if (extents === null) {
      this.misses++
      return null
    }
    for (const extent of extents) extent.pins++
    try {
      const data = Buffer.allocUnsafe(end - start)
      await Promise.all(extents.map((extent) => this.readExtent(extent, data, start, end)))
      this.hits++
      return data
    } catch {
      this.errors++
      this.misses++
      for (const extent of extents) this.forget(extent)
      return null
    } finally {
      for (const extent of extents) this.unpin(extent)
    }
  }

  /** The extents that hold [start, end), now the most recently used; null where something is missing. */
  private covering(key: string, version: string, start: number, end: number): Extent[] | null {
    const object = this.objects.get(key)
    if (object?.version !== version) return null
    const found: Extent[] = []
    let position = start
    for (let i = firstBehind(object.extents, start); position < end; i++) {
      const extent = object.extents[i]
      if (extent === undefined || extent.start > position) return null
      found.push(extent)
      position = extent.end
    }
    for (const extent of found) {
      this.extents.delete(extent)
      this.extents.add(extent)
    }
    return found
  }

  /** Read whole chunks, or nothing would vouch for the bytes. */
  private async readExtent(extent: Extent, data: Buffer, start: number, end: number): Promise<void> {
    const low = Math.max(start, extent.start)
    const high = Math.min(end, extent.end)
    const firstChunk = Math.floor((low - extent.start) / CHUNK_BYTES)
    const from = extent.start + firstChunk * CHUNK_BYTES
    const to = Math.min(
      extent.end,
      extent.start + Math.ceil((high - extent.start) / CHUNK_BYTES) * CHUNK_BYTES,
    )
    const isWhole = from === low && to === high
    const bytes = isWhole ? data.subarray(low - start, high - start) : Buffer.allocUnsafe(to - from)
    const checksums = extent.checksums.subarray(firstChunk, firstChunk + chunksIn(to - from))
    await this.calls.readChecked(this.file, bytes, extent.slab * SCALE + from - extent.start, checksums)
    if (!isWhole) bytes.copy(data, low - start, low - from, high - from)
  }

  /** Keep what the store has answered; `data` must not change. Never rejects. */
  async keep(key: string, version: string, start: number, data: Uint8Array): Promise<void> {
    const object = this.objectOf(key, version)
    const end = start + data.byteLength
    let position = start
    for (let i = firstBehind(object.extents, start); position < end; i++) {
      const next = object.extents[i]
      const low = position
      const high = Math.min(end, next?.start ?? end)
      position = Math.min(end, next?.end ?? end)
      for (let piece = low; piece < high; piece += LARGEST_SLAB_BYTES) {
        const pieceEnd = Math.min(high, piece + LARGEST_SLAB_BYTES)
        await this.keepPiece(object, piece, data.subarray(piece - start, pieceEnd - start))
      }
    }
  }

  private objectOf(key: string, version: string): CachedObject {
    const present = this.objects.get(key)
    if (present?.version === version) return present
    for (const extent of [...(present?.extents ?? [])]) this.forget(extent)
    const object: CachedObject = { key, version, extents: [] }
    this.objects.set(key, object)
    return object
  }

  private async keepPiece(object: CachedObject, start: number, data: Uint8Array): Promise<void> {
    const { byteLength } = data
    if (this.isClosed || this.pendingBytes + byteLength > MAX_PENDING_BYTES) return
    const slab = this.lease(classHolding(Math.ceil(byteLength / SCALE)))
    if (slab < 0) return
    const extent = {
      object,
      start,
      end: start + byteLength,
      slab,
      checksums: new Uint32Array(chunksIn(byteLength)),
      pins: 1,
      isForgotten: true,
    }
    this.pendingBytes += byteLength
    try {
      await this.calls.writeChecked(this.file, data, slab * SCALE, extent.checksums)
      if (this.objects.get(object.key) === object) this.insert(extent)
    } catch {
      // The disk is full or broken: not kept.
    } finally {
      this.pendingBytes -= byteLength
      this.unpin(extent)
    }
  }

  private insert(extent: Extent): void {
    const { extents } = extent.object
    const index = firstBehind(extents, extent.start)
    // Somebody else may have been quicker.
    if ((extents[index]?.start ?? Infinity) < extent.end) return
    extent.isForgotten = false
    extents.splice(index, 0, extent)
    this.extents.add(extent)
  }

  private lease(sizeClass: number): number {
    let slab = this.slabs.lease(sizeClass)
    for (const oldest of this.extents) {
      if (slab >= 0) break
      this.evictions++
      this.forget(oldest)
      slab = this.slabs.lease(sizeClass)
    }
    return slab
  }

  private forget(extent: Extent): void {
    if (extent.isForgotten) return
    extent.isForgotten = true
    this.extents.delete(extent)
    const { extents, key } = extent.object
    extents.splice(extents.lastIndexOf(extent), 1)
    if (extents.length === 0 && this.objects.get(key) === extent.object) this.objects.delete(key)
    if (extent.pins === 0) this.slabs.release(extent.slab)
  }

  /** Forget the object by this key, or all whose keys begin with it and "/". Looks at every key. */
  forgetBelow(key: string): void {
    const prefix = key.endsWith('/') ? key : `${key}/`
    for (const object of [...this.objects.values()]) {
      if (object.key !== key && !object.key.startsWith(prefix)) continue
      // From the end, so that nothing has to move up.
      for (const extent of [...object.extents].reverse()) this.forget(extent)
      // What is still being written of it is of no use either.
      this.objects.delete(object.key)
    }
  }

  private unpin(extent: Extent): void {
    extent.pins--
    if (extent.pins === 0 && extent.isForgotten) this.slabs.release(extent.slab)
    if (this.isClosed) this.closeWhenIdle()
  }

  /** Reads and writes under way end first. */
  close(): void {
    this.isClosed = true
    for (const extent of [...this.extents]) this.forget(extent)
    this.closeWhenIdle()
  }

  private closeWhenIdle(): void {
    if (this.slabs.leasedSlabs === 0) closeSync(this.file)
  }
}

/** Index of the first extent that ends behind `position`. */
function firstBehind(extents: readonly Extent[], position: number): number {
  let low = 0
  let high = extents.length
  while (low < high) {
    const middle = (low + high) >> 1
    if ((extents[middle]?.end ?? 0) > position) high = middle
    else low = middle + 1
  }
  return low
}

/** The same store, its reads answered from the disk where they can be. `storeKey` tells stores apart. */
export class DiskTierBackend extends BackendLayer {
  constructor(
    inner: Backend,
    private readonly tier: DiskTier,
    private readonly storeKey: string,
  ) {
    super(inner)
  }

  override get readsCopies(): boolean {
    return true
  }

  override async read(
    objectPath: string,
    offset: number,
    lengthBytes: number,
    version: string,
  ): Promise<Uint8Array> {
    const { inner, tier } = this
    // Without a version nobody knows what the bytes belong to.
    if (version === '') return inner.read(objectPath, offset, lengthBytes, version)
    const key = `${this.storeKey}/${objectPath}`
    const kept = await tier.read(key, version, offset, offset + lengthBytes)
    if (kept !== null) return kept
    const data = await inner.read(objectPath, offset, lengthBytes, version)
    shareDisposable(data)
    void tier.keep(key, version, offset, data)
    return data
  }
}
