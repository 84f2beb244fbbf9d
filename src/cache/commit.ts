import type { AppendBase, BackendWriter, ObjectStat } from '../backends/backend.js'
import { StorageError } from '../backends/storage-error.js'
import { tracedApart } from '../observability/traced.js'
import { Assembler } from './assembler.js'
import type { FileContent } from './file-content.js'

/** Appending pays where rewriting would be long; a shorter file is replaced in one atomic request. */
const APPEND_MIN_BYTES = 1 << 20

/** Store the content's present state in one go, by the cheapest way that the store and the dirty ranges allow. */
export async function commitWhole(content: FileContent): Promise<void> {
  const assembler = new Assembler(content)
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
}

async function store(content: FileContent, assembler: Assembler, path: string): Promise<ObjectStat> {
  const { backend } = content.source
  const { size } = content
  if (canAppend(content)) return append(content, assembler, path)
  if (size <= backend.capabilities.partSizeBytes) {
    return assembler.withPart(path, { start: 0, end: size }, (part) =>
      backend.write(path, part, content.expected, content.takeOptions()),
    )
  }
  return rebuild(content, assembler, path)
}

/** Write the whole file anew, a part at a time; the stored object stays readable until the last part is in. */
async function rebuild(content: FileContent, assembler: Assembler, path: string): Promise<ObjectStat> {
  const { backend } = content.source
  const { size } = content
  const { partSizeBytes } = backend.capabilities
  await requireSpace(content)
  const writer = await backend.createWriter(path, content.expected, content.takeOptions())
  try {
    for (let start = 0; start < size; start += partSizeBytes) {
      const range = { start, end: Math.min(start + partSizeBytes, size) }
      await assembler.writePart(writer, path, partSizeBytes, () => range)
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
  let base: AppendBase = { version: content.version ?? '', sizeBytes: content.storedSize }
  try {
    for (let start = content.storedSize; start < size; start += partSizeBytes) {
      const end = Math.min(start + partSizeBytes, size)
      stat = await assembler.withPart(path, { start, end }, (part) => backend.append(path, part, base))
      base = stat
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
      backend.createWriter(path, content.expected, content.takeOptions()),
    )
    this.writer.catch((error: unknown) => {
      this.error ??= error
    })
  }

  /** Upload the parts that are complete, in the background. */
  pump(): void {
    if (this.queued > 0 || this.error !== null || this.isFinishing) return
    if (this.content.size - this.position < this.partSizeBytes) return
    // The write that brought it on is long answered when it ends.
    const about = () => this.content.subject({ 'ovfsd.offset': this.position })
    void tracedApart('cache.upload', about, () => this.enqueue(this.partSizeBytes))
  }

  /** Upload the parts that are complete or, if none is, what there is. False when nothing was left to upload, or the upload has failed: `finish` says why. */
  async pumpAll(): Promise<boolean> {
    if (this.isFinishing) return true
    const start = this.position
    await this.enqueue(this.partSizeBytes)
    // Short parts are dear with some stores, so only where there is nothing else.
    if (this.position === start) await this.enqueue(1)
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
      const mostBytes = Math.min(this.partSizeBytes, content.size - this.position)
      // No base shows through in a stream, so it waits for none, and no byte is evicted before `position` says so.
      await this.assembler.writePart(writer, '', mostBytes, () => {
        const start = this.position
        this.position = Math.min(start + mostBytes, content.size)
        return { start, end: this.position }
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
