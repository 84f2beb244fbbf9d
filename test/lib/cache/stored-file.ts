/** One file over a store, as the cache sees it. */
import type { Backend } from '../../../src/backends/backend.js'
import { StorageError } from '../../../src/backends/storage-error.js'
import type { BlockCache } from '../../../src/cache/block-cache.js'
import type { ContentSource, ReadSink } from '../../../src/cache/content-source.js'
import { FileContent } from '../../../src/cache/file-content.js'
import type { StoredObject } from '../../../src/cache/stored-base.js'
import { StoreAccount } from '../../../src/cache/store-account.js'

export class StoredFile implements ContentSource {
  isOpen = true
  readonly hasUnsavedAttributes = false
  readonly content: FileContent
  /** Conflicts that have ended a content. */
  conflicts = 0

  constructor(
    cache: BlockCache,
    readonly backend: Backend,
    stored: StoredObject | null = null,
    readonly path = 'file',
    readonly account = new StoreAccount(),
  ) {
    this.content = new FileContent(cache, this, stored)
  }

  write(offset: number, bytes: Buffer | string): number | Promise<number> {
    const data = Buffer.from(bytes)
    const { pool } = this.content.cache
    return this.content.write(offset, data.length, {
      pull: (from, poolOffset, length) => {
        pool.view(poolOffset, length).set(data.subarray(from, from + length))
      },
    })
  }

  async read(): Promise<Buffer> {
    const { content } = this
    const { pool } = content.cache
    const pieces: Buffer[] = []
    const sink: ReadSink = {
      push: (poolOffset, length) => pieces.push(Buffer.from(pool.view(poolOffset, length))),
      pushZeros: (length) => pieces.push(Buffer.alloc(length)),
    }
    await content.read(0, content.size, sink)
    return Buffer.concat(pieces)
  }

  isAtOrBelow(): boolean {
    return false
  }

  withPath<T>(work: (path: string) => Promise<T>): Promise<T> {
    return work(this.path)
  }

  revalidate(): Promise<void> {
    return Promise.reject(new StorageError('ESTALE', 'another version'))
  }

  conflicted(): void {
    this.conflicts++
  }

  noteStored(): void {
    // nobody asks for its size
  }

  committed(): Promise<void> {
    return Promise.resolve()
  }

  takeAttributes(): undefined {
    return undefined
  }

  storeAttributes(): Promise<void> {
    return Promise.resolve()
  }

  attributesToStage(): { mtime: null; attributes: undefined } {
    return { mtime: null, attributes: undefined }
  }

  discardAttributes(): void {
    // there are none
  }

  settled(): void {
    // nobody waits for it
  }
}
