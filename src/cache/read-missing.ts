/** Reading what is not all in memory. */
import { StorageError } from '../backends/storage-error.js'
import { traced } from '../observability/traced.js'
import { alignDown, alignUp } from './align.js'
import type { Block } from './block.js'
import type { ReadSink } from './content-source.js'
import type { FileContent } from './file-content.js'
import { RANDOM_FETCH_CLASS } from './fetch.js'
import { slabBytes } from './slab-pool.js'

/** A read looks this often whether all has come before it gives up: the object may change underneath, or others may be quicker to take a slab. */
const READ_ATTEMPTS = 1000

/**
 * What a store says of an object that is not what we knew. ENOENT too: measured on Swift with one replica, an object that is
 * being replaced is not there for a moment.
 */
const OTHER_VERSION: readonly string[] = ['ESTALE', 'ENOENT']

/**
 * Push bytes [offset, end) to the sink once they are there, or up to `wantedEnd` where the file is that long by then: all of them are
 * of one version, and its end is where the read ends. The cache bounds how much such reads keep from eviction.
 */
export function readMissing(
  content: FileContent,
  offset: number,
  end: number,
  wantedEnd: number,
  sink: ReadSink,
): Promise<void> {
  const about = () => content.subject({ 'ovfsd.offset': offset, 'ovfsd.size': end - offset })
  return traced('cache.wait', about, async () => {
    let next: number | null = end
    while (next !== null) next = await readOnce(content, offset, next, wantedEnd, sink)
  })
}

/** See `PinnedRead.run`. */
function readOnce(
  content: FileContent,
  offset: number,
  end: number,
  wantedEnd: number,
  sink: ReadSink,
): Promise<number | null> {
  const from = alignDown(offset, slabBytes(RANDOM_FETCH_CLASS))
  const weight = alignUp(end, slabBytes(RANDOM_FETCH_CLASS)) - from
  const read = new PinnedRead(content, offset, wantedEnd, sink)
  return content.cache.runRead(content.source.account, weight, () => read.run(end))
}

/**
 * Gathers all of a read and pushes it in one go: pieces that are pushed as they come could be of two versions. What is
 * there already is pinned meanwhile, or readers would evict each other's pieces and never get done.
 */
class PinnedRead {
  private readonly pinned = new Set<Block>()

  constructor(
    private readonly content: FileContent,
    private readonly offset: number,
    private readonly wantedEnd: number,
    private readonly sink: ReadSink,
  ) {}

  /** Returns null when all was pushed; else nothing was, and this is where the read ends now, for which it needs more memory. */
  async run(requestedEnd: number): Promise<number | null> {
    const { content, offset } = this
    try {
      for (let attempt = 0; attempt < READ_ATTEMPTS; attempt++) {
        const longerEnd = Math.min(this.wantedEnd, content.size)
        if (longerEnd > requestedEnd) return longerEnd
        // The file may have been cut short meanwhile: what is gone reads as nothing.
        const end = Math.min(requestedEnd, content.size)
        const missing = this.firstMissing(end)
        if (missing >= end) {
          for (let position = offset; position < end;)
            position = content.reader.pushPiece(position, end, this.sink)
          return null
        }
        await this.makeReadable(missing, end)
      }
      throw new StorageError('EIO', 'the object keeps changing while it is read')
    } finally {
      this.unpinAll()
      content.readEnded()
    }
  }

  /** Where the first piece that is not in memory begins; `end` when there is none. */
  private firstMissing(end: number): number {
    let position = this.offset
    while (position < end) {
      const pieceEnd = this.content.reader.pieceEnd(position, end)
      if (!this.content.reader.isInMemory(position, pieceEnd)) break
      position = pieceEnd
    }
    return position
  }

  /** Wait for what keeps `position` from being read; the caller looks again. */
  private async makeReadable(position: number, end: number): Promise<void> {
    const { content } = this
    if (content.upload !== null && position < content.upload.position) {
      // Those bytes left memory for an upload that nobody can read yet: finish it.
      await content.commit()
      return
    }
    this.pin(this.offset, end)
    let block = content.pages.get(position)
    if (block === undefined || block.fetch === null) content.reader.fetch(position, end, RANDOM_FETCH_CLASS)
    block = content.pages.get(position)
    if (block === undefined) {
      // Who waits for a slab holds none, so that somebody always gets on.
      this.unpinAll()
      await content.cache.waitForSlab(content.source.account)
      return
    }
    this.pin(position, end)
    if (block.fetch !== null) await this.waitForFetch(block.fetch)
  }

  private async waitForFetch(fetch: Promise<void>): Promise<void> {
    const { content } = this
    const { version } = content
    try {
      await fetch
    } catch (error) {
      if (!(error instanceof StorageError) || !OTHER_VERSION.includes(error.errno)) throw error
      // Another version than we knew, ours, just committed, or somebody else's; or none, for a moment or for good.
      await content.committer.recognise()
      if (content.version === version) await content.source.revalidate()
    }
  }

  private pin(start: number, end: number): void {
    const { content, pinned } = this
    for (let position = start; position < end; position = content.reader.pieceEnd(position, end)) {
      const block = content.pages.get(position)
      if (block === undefined || pinned.has(block)) continue
      pinned.add(block)
      content.cache.pin(block)
    }
  }

  private unpinAll(): void {
    for (const block of this.pinned) this.content.cache.unpin(block)
    this.pinned.clear()
  }
}
