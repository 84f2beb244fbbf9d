import type { BackendWriter, ObjectStat } from '../backends/backend.js'
import { StorageError } from '../backends/storage-error.js'
import type { Block } from './block.js'
import type { FileContent } from './file-content.js'

/** Appending pays where rewriting would be long; a shorter file is replaced in one atomic request. */
const APPEND_MIN_BYTES = 1 << 20

/** A copy of part of a file as it is now, put together from blocks, the stored object and zeros, remembering which dirty bytes it took. */
class Assembler {
  private readonly taken = new Set<Block>()

  constructor(private readonly content: FileContent) {}

  /** The file's bytes [start, end). What is in memory is copied before the first await. `path` is for reading the base. */
  async assemble(start: number, end: number, path: string): Promise<Uint8Array> {
    const part = new Uint8Array(end - start)
    const missing = this.copyBlocks(part, start, end)
    const baseEnd = Math.min(end, this.content.baseLimit)
    const wanted = missing.filter(([low]) => low < baseEnd)
    const first = wanted[0]
    if (first === undefined) return part
    // One read over all gaps: there may be hundreds, and what lies between was copied already.
    const from = first[0]
    const to = Math.min(wanted.at(-1)?.[1] ?? baseEnd, baseEnd)
    const base = await this.readBase(path, from, to)
    for (const [low, high] of wanted) {
      part.set(base.subarray(low - from, Math.min(high, baseEnd) - from), low - start)
    }
    return part
  }

  private async readBase(path: string, from: number, to: number): Promise<Uint8Array> {
    const { source, version } = this.content
    try {
      return await source.backend.read(path, from, to - from, version ?? '')
    } catch (error) {
      if (!(error instanceof StorageError) || error.errno !== 'ESTALE') throw error
      // A reader begins anew with the version that is there now; what was changed of this one never will fit again.
      throw new StorageError('ESTALE', `what ${path} was based on is gone: ${error.message}`, {
        cause: error,
      })
    }
  }

  /** Copy what is in memory; returns the pieces that are not. */
  private copyBlocks(part: Uint8Array, start: number, end: number): [number, number][] {
    const { content } = this
    const { pool } = content.cache
    const missing: [number, number][] = []
    let position = start
    for (const block of content.pages.blocksFrom(start)) {
      if (block.offset >= end) break
      const low = Math.max(block.offset, start)
      const high = Math.min(block.end, end)
      if (position < low) missing.push([position, low])
      block.valid.forEachPiece(low, high, (pieceLow, pieceHigh, isValid) => {
        if (!isValid) missing.push([pieceLow, pieceHigh])
        else part.set(pool.view(block.slabOffsetOf(pieceLow), pieceHigh - pieceLow), pieceLow - start)
      })
      this.take(block, low, high)
      position = high
    }
    if (position < end) missing.push([position, end])
    return missing
  }

  private take(block: Block, low: number, high: number): void {
    if (!block.dirty.intersects(low, high)) return
    this.taken.add(block)
    this.content.markFlushing(block, low, high)
  }

  succeeded(): void {
    for (const block of this.taken) {
      block.flushing.clear()
      this.content.updateEvictable(block)
    }
  }

  failed(): void {
    for (const block of this.taken) this.content.restoreFlushing(block)
  }
}

/** Store the content's present state in one go, by the cheapest way that the store and the dirty ranges allow. */
export async function commitWhole(content: FileContent): Promise<void> {
  const assembler = new Assembler(content)
  await content.source.account.commitBudget.run(1, async () => {
    try {
      await content.source.withPath(async (path) => {
        const stat = await store(content, assembler, path)
        // Before the path is let go: a rename that has waited for it must know that something is stored there.
        assembler.succeeded()
        content.noteStored(stat)
      })
    } catch (error) {
      assembler.failed()
      throw error
    }
  })
}

async function store(content: FileContent, assembler: Assembler, path: string): Promise<ObjectStat> {
  const { backend } = content.source
  const { size } = content
  if (canAppend(content)) return append(content, assembler, path)
  if (size <= backend.capabilities.partSizeBytes) {
    const data = await assembler.assemble(0, size, path)
    return backend.write(path, data, content.expected, content.source.takeAttributes())
  }
  return rebuild(content, assembler, path)
}

/** Write the whole file anew, a part at a time; the stored object stays readable until the last part is in. */
async function rebuild(content: FileContent, assembler: Assembler, path: string): Promise<ObjectStat> {
  const { backend } = content.source
  const { size } = content
  const { partSizeBytes } = backend.capabilities
  await requireSpace(content)
  const writer = await backend.createWriter(path, content.expected, content.source.takeAttributes())
  try {
    for (let start = 0; start < size; start += partSizeBytes) {
      await writer.write(await assembler.assemble(start, Math.min(start + partSizeBytes, size), path))
    }
    return await writer.close()
  } catch (error) {
    await writer.abort()
    throw error
  }
}

/** Growth from which on the store's free space is asked for first. */
const SPACE_CHECK_BYTES = 1 << 30

/** ENOSPC at once where a file has grown, by a truncation for example, beyond what the store could take: better than to fill it up to find out. */
async function requireSpace({ source, size, storedSize }: FileContent): Promise<void> {
  if (size - storedSize < SPACE_CHECK_BYTES) return
  const { availableBlocks, blockSizeBytes } = await source.backend.usage()
  if (size > availableBlocks * blockSizeBytes) throw new StorageError('ENOSPC', `${size} bytes do not fit`)
}

/** All that is new lies behind the stored object's end. */
function canAppend(content: FileContent): boolean {
  const { storedSize } = content
  if (!content.source.backend.capabilities.append || !content.isStored) return false
  if (storedSize < APPEND_MIN_BYTES || content.baseLimit !== storedSize || content.size <= storedSize)
    return false
  for (const block of content.dirtyBlocks) {
    if (block.dirty.startOf(0) < storedSize) return false
  }
  return true
}

async function append(content: FileContent, assembler: Assembler, path: string): Promise<ObjectStat> {
  const { backend } = content.source
  const { size } = content
  const { partSizeBytes } = backend.capabilities
  let stat: ObjectStat | null = null
  try {
    for (let start = content.storedSize; start < size; start += partSizeBytes) {
      const end = Math.min(start + partSizeBytes, size)
      stat = await backend.append(path, await assembler.assemble(start, end, path))
      if (stat.sizeBytes !== end) throw new StorageError('ESTALE', `${path}: somebody else appended to it`)
    }
  } catch (error) {
    await adoptPartialAppend(content, path)
    throw error
  }
  if (stat === null) throw new StorageError('EIO', `${path}: nothing to append`)
  return stat
}

/**
 * Some of the tail may have been stored. The stored object is longer than what shows through now, so the next commit
 * rebuilds it in place of appending a second time.
 */
async function adoptPartialAppend(content: FileContent, path: string): Promise<void> {
  const stat = await content.source.backend.stat(path).catch(() => null)
  if (stat === null) return
  content.version = stat.version
  content.storedSize = stat.sizeBytes
}

/**
 * An upload that runs while its file is being written from front to back. Bytes below `position` have been handed to
 * the writer; their slabs may be evicted, and then only finishing the upload brings them back.
 */
export class StreamingUpload {
  /** Parts that a file written in one run must fill before it is streamed: most files still go in one request. */
  static readonly startParts = 2
  position = 0
  /** Something that only this upload has was evicted: it can't be started anew. */
  hasEvictedData = false
  private readonly assembler: Assembler
  private readonly writer: Promise<BackendWriter>
  private readonly partSizeBytes: number
  /** A writer takes one call at a time: whatever is to be uploaded queues up behind this. */
  private tail: Promise<void> = Promise.resolve()
  private queued = 0
  private error: unknown = null
  private isFinishing = false

  constructor(private readonly content: FileContent) {
    const { backend } = content.source
    this.assembler = new Assembler(content)
    this.partSizeBytes = backend.capabilities.partSizeBytes
    // The attributes as they are now: what is changed until the end is stored behind the contents.
    this.writer = content.source.withPath((path) =>
      backend.createWriter(path, content.expected, content.source.takeAttributes()),
    )
    this.writer.catch((error: unknown) => {
      this.error ??= error
    })
  }

  /** Upload the parts that are complete, in the background. */
  pump(): void {
    if (this.queued > 0 || this.error !== null || this.isFinishing) return
    if (this.content.size - this.position >= this.partSizeBytes) void this.enqueue(this.partSizeBytes)
  }

  /** Upload all there is, a last short part too. False when nothing was left to upload, or the upload has failed: `finish` says why. */
  async pumpAll(): Promise<boolean> {
    if (this.isFinishing) return true
    const start = this.position
    await this.enqueue(1)
    return this.error === null && this.position > start
  }

  private enqueue(minimumBytes: number): Promise<void> {
    this.queued++
    this.tail = this.tail
      .then(() => this.uploadParts(minimumBytes))
      .catch((error: unknown) => {
        this.error ??= error
      })
      .finally(() => {
        this.queued--
      })
    return this.tail
  }

  private async uploadParts(minimumBytes: number): Promise<void> {
    const { content } = this
    const writer = await this.writer
    while (this.error === null && content.upload === this && content.size - this.position >= minimumBytes) {
      await content.source.account.commitBudget.run(1, async () => {
        const start = this.position
        const end = Math.min(start + this.partSizeBytes, content.size)
        if (end <= start) return
        // No base shows through in a stream, so this does not wait, and no byte is evicted before `position` says so.
        this.position = end
        await writer.write(await this.assembler.assemble(start, end, ''))
      })
    }
  }

  /** Upload the rest and make the object visible. */
  async finish(): Promise<ObjectStat> {
    this.isFinishing = true
    try {
      await this.enqueue(1)
      if (this.error !== null) throw this.error as Error
      const stat = await (await this.writer).close()
      this.assembler.succeeded()
      return stat
    } catch (error) {
      await this.abort()
      throw error
    }
  }

  async abort(): Promise<void> {
    this.isFinishing = true
    this.assembler.failed()
    await this.tail
    await this.writer.then((writer) => writer.abort()).catch(() => undefined)
  }
}
