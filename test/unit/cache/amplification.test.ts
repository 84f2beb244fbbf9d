/** Bytes and requests that a store sees of many files that are written from front to back at once, whatever the cache has room for. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { BackendWriter } from '../../../src/backends/backend.js'
import { BlockCache } from '../../../src/cache/block-cache.js'
import { SlabPool } from '../../../src/cache/slab-pool.js'
import { StoreAccount } from '../../../src/cache/store-account.js'
import { heapMemory } from '../../lib/model/driver.js'
import { StoredFile } from '../../lib/cache/stored-file.js'
import { VersionedStore } from '../../lib/cache/versioned-store.js'

const MIB = 1 << 20
/** A quarter of what they are in a daemon, as are the caches: of 16 MiB to 1 GiB. */
const PART_BYTES = 2 * MIB
const FILE_BYTES = 6 * MIB
const POOLS_MIB = [4, 16, 64, 256]
const WRITERS = [1, 8, 32, 64]
/** One request of a guest. */
const PIECE_BYTES = 128 << 10
const MOST_PER_BYTE = 1.1

/** Counts, and keeps only how long the files are. */
class CountingStore extends VersionedStore {
  parts = 0
  readonly sizes = new Map<string, number>()

  override createWriter(path: string): Promise<BackendWriter> {
    let sizeBytes = 0
    const takesTurns = async (): Promise<void> => new Promise((resolve) => setImmediate(resolve))
    return Promise.resolve({
      write: async (part: Uint8Array) => {
        this.parts++
        this.putBytes += part.length
        sizeBytes += part.length
        await takesTurns()
      },
      close: async () => {
        await takesTurns()
        this.sizes.set(path, sizeBytes)
        return { ...this.put(path, ''), sizeBytes }
      },
      abort: () => Promise.resolve(),
    })
  }
}

async function writeFile(file: StoredFile, end: 'closed' | 'synced'): Promise<void> {
  const piece = Buffer.alloc(PIECE_BYTES, 'w')
  for (let offset = 0; offset < FILE_BYTES; offset += PIECE_BYTES) await file.write(offset, piece)
  if (end === 'closed') file.isOpen = false
  await file.content.sync({ errorCursor: 0 })
}

describe('write amplification', () => {
  for (const poolMiB of POOLS_MIB) {
    for (const writers of WRITERS) {
      it(`of ${writers} writers over a cache of ${poolMiB} MiB`, { timeout: 60_000 }, async (t) => {
        const store = new CountingStore(PART_BYTES)
        const cache = new BlockCache(new SlabPool(heapMemory(poolMiB * MIB)))
        const account = new StoreAccount()
        const files = Array.from(
          { length: writers },
          (_, i) => new StoredFile(cache, store, null, `file${i}`, account),
        )
        await Promise.all(files.map((file, i) => writeFile(file, i % 2 === 0 ? 'closed' : 'synced')))
        const wrote = writers * FILE_BYTES
        t.diagnostic(`${(store.putBytes / wrote).toFixed(2)} bytes a byte, ${store.parts} parts`)
        assert.ok(store.putBytes <= MOST_PER_BYTE * wrote, `${store.putBytes} bytes for ${wrote}`)
        assert.equal(store.gotBytes, 0, 'nothing is read back')
        for (const file of files) assert.equal(store.sizes.get(file.path), FILE_BYTES)
        // With room for its parts, no writer sends short ones.
        if (poolMiB * MIB >= 4 * wrote) assert.equal(store.parts, wrote / PART_BYTES)
        assert.equal(cache.stats().heldBytes, 0)
      })
    }
  }
})
