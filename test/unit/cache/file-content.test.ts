/** Contents over a store that fails when told to: what was written is stored, or the error is told and nothing is forgotten. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type {
  Backend,
  BackendCapabilities,
  BackendWriter,
  ObjectStat,
} from '../../../src/backends/backend.js'
import { StorageError } from '../../../src/backends/storage-error.js'
import { BlockCache } from '../../../src/cache/block-cache.js'
import type { ContentSource, ReadSink, WriteSource } from '../../../src/cache/content-source.js'
import { FileContent } from '../../../src/cache/file-content.js'
import type { Staging } from '../../../src/cache/staging.js'
import { SlabPool } from '../../../src/cache/slab-pool.js'
import { StoreAccount } from '../../../src/cache/store-account.js'
import { truncate } from '../../../src/cache/resizing.js'
import { heapMemory } from '../../lib/model/driver.js'
import { Random, chooseSeed } from '../../lib/model/random.js'

const PART_BYTES = 64 << 10
const POOL_BYTES = 4 << 20
/** Parts long enough that their memory is used again. */
const LARGE_PART_BYTES = 1 << 20
const LARGE_PARTS = 20
/** Of a file of six parts with a change over three of them: open the upload, read five bases, write six parts, close. */
const CALLS_OF_A_REBUILD = 13

function unused(): Promise<never> {
  return Promise.reject(new Error('not used here'))
}

/** One object, with failures on demand. */
class OneObjectBackend implements Backend {
  capabilities: BackendCapabilities
  data: Buffer | null = null
  version = 0
  /** Calls left until one fails; Infinity = never. */
  failAfter = Infinity
  reads = 0
  writers = 0
  readonly list = unused
  readonly copy = unused
  readonly createDirectory = unused
  readonly removeDirectory = unused
  readonly removeFile = unused
  readonly rename = unused
  readonly setModificationTime = unused
  readonly setAttributes = unused
  readonly usage = unused

  constructor(append: boolean) {
    this.capabilities = {
      write: true,
      append,
      copy: false,
      setModificationTime: false,
      attributes: false,
      maxFileBytes: Number.MAX_SAFE_INTEGER,
      maxPathBytes: Number.MAX_SAFE_INTEGER,
      partSizeBytes: PART_BYTES,
    }
  }

  accepts(): boolean {
    return true
  }

  /** Every call takes a turn of the loop, and may be the one that fails. */
  private async step(): Promise<void> {
    await Promise.resolve()
    if (this.failAfter-- <= 0) throw new StorageError('ENOSPC', 'told to fail')
  }

  private put(data: Buffer): ObjectStat {
    this.data = data
    this.version++
    return this.statNow()
  }

  private statNow(): ObjectStat {
    return { kind: 'file', sizeBytes: this.data?.length ?? 0, mtime: null, version: String(this.version) }
  }

  stat(): Promise<ObjectStat> {
    return Promise.resolve(this.statNow())
  }

  async read(_path: string, offset: number, length: number, version: string): Promise<Uint8Array> {
    this.reads++
    await this.step()
    if (version !== String(this.version)) throw new StorageError('ESTALE', 'another version')
    return Buffer.from(this.data?.subarray(offset, offset + length) ?? [])
  }

  async write(_path: string, data: Uint8Array): Promise<ObjectStat> {
    await this.step()
    return this.put(Buffer.from(data))
  }

  async append(_path: string, data: Uint8Array): Promise<ObjectStat> {
    await this.step()
    return this.put(Buffer.concat([this.data ?? Buffer.alloc(0), data]))
  }

  async createWriter(): Promise<BackendWriter> {
    await this.step()
    this.writers++
    const parts: Buffer[] = []
    let isBusy = false
    const alone = async (): Promise<void> => {
      assert.ok(!isBusy, 'a writer takes one call at a time')
      isBusy = true
      await this.step().finally(() => {
        isBusy = false
      })
    }
    return {
      write: async (part) => {
        await alone()
        parts.push(Buffer.from(part))
      },
      close: async () => {
        await alone()
        this.writers--
        return this.put(Buffer.concat(parts))
      },
      abort: () => {
        this.writers--
        return Promise.resolve()
      },
    }
  }
}

class TestSource implements ContentSource {
  readonly isOpen = true
  readonly account = new StoreAccount()

  constructor(readonly backend: Backend) {}

  readonly path = 'file'
  attributesToStage(): { mtime: null; attributes: undefined } {
    return { mtime: null, attributes: undefined }
  }
  isAtOrBelow(): boolean {
    return false
  }

  withPath<T>(work: (path: string) => Promise<T>): Promise<T> {
    return work('file')
  }

  revalidate(): Promise<void> {
    return Promise.reject(new StorageError('ESTALE', 'not expected'))
  }

  conflicted(): void {
    // nobody opens it again
  }

  noteStored(): void {
    // nobody asks the source for its size
  }

  committed(): Promise<void> {
    return Promise.resolve()
  }

  readonly hasUnsavedAttributes = false
  readonly storeAttributes = unused

  takeAttributes(): undefined {
    return undefined
  }

  discardAttributes(): void {
    // there are none
  }

  settled(): void {
    // nobody waits for it
  }
}

interface Setup {
  readonly backend: OneObjectBackend
  readonly pool: SlabPool
  readonly content: FileContent
  readonly write: (offset: number, bytes: Buffer) => number | Promise<number>
  readonly read: (offset: number, end: number) => Promise<Buffer>
}

function setUp(stored: Buffer | null = null, canAppend = false): Setup {
  const backend = new OneObjectBackend(canAppend)
  backend.data = stored
  const pool = new SlabPool(heapMemory(POOL_BYTES))
  const content = new FileContent(
    new BlockCache(pool),
    new TestSource(backend),
    stored === null ? null : { sizeBytes: stored.length, version: '0' },
  )
  return {
    backend,
    pool,
    content,
    write: (offset, bytes) => {
      const source: WriteSource = {
        pull: (from, poolOffset, length) => {
          pool.view(poolOffset, length).set(bytes.subarray(from, from + length))
        },
      }
      return content.write(offset, bytes.length, source)
    },
    read: async (offset, end) => {
      const pieces: Buffer[] = []
      const sink: ReadSink = {
        push: (poolOffset, length) => pieces.push(Buffer.from(pool.view(poolOffset, length))),
        pushZeros: (length) => pieces.push(Buffer.alloc(length)),
      }
      await content.read(offset, Math.min(end, content.size), sink)
      return Buffer.concat(pieces)
    },
  }
}

function bytes(length: number, seed = 1): Buffer {
  return new Random(seed).bytes(length)
}

describe('FileContent', () => {
  it('answers a hit without a promise and a miss with one', async () => {
    const { content, pool, read } = setUp(bytes(100_000))
    const pushed: number[] = []
    const sink: ReadSink = { push: (offset) => pushed.push(offset), pushZeros: () => undefined }
    assert.ok(content.read(0, 4096, sink) instanceof Promise)
    await read(0, 4096)
    assert.equal(content.read(0, 4096, sink), undefined)
    assert.ok(pushed.length > 0)
    content.discard()
    assert.equal(pool.leasedSlabs, 0)
  })

  it('asks once for what several readers miss', async () => {
    const data = bytes(60_000)
    const { backend, read } = setUp(data)
    const results = await Promise.all(Array.from({ length: 10 }, () => read(1000, 50_000)))
    for (const result of results) assert.ok(result.equals(data.subarray(1000, 50_000)))
    assert.equal(backend.reads, 1)
  })

  it('reads nothing of a small file that it has just stored, nor where it ends, nor when it grows', async () => {
    const { backend, content, write, read } = setUp()
    const data = bytes(5000)
    await write(0, data)
    await content.commit()
    content.reader.prefetch(0, 1 << 20, { isGivenUp: false })
    assert.ok((await read(0, 5000)).equals(data))
    await truncate(content, 9000)
    content.reader.prefetch(0, 1 << 20, { isGivenUp: false })
    assert.ok((await read(0, 9000)).equals(Buffer.concat([data, Buffer.alloc(4000)])))
    assert.ok((await read(4990, 5010)).equals(Buffer.concat([data.subarray(4990), Buffer.alloc(10)])))
    assert.equal(backend.reads, 0)
  })

  it('of a store that takes nothing leaves the others room, in slabs of any size', async () => {
    const page = bytes(4096)
    const { backend, content, pool, write } = setUp()
    backend.failAfter = 0
    let pending: Promise<number> | null = null
    // Holes between them, so that each takes one of the smallest slabs.
    for (let offset = 0; pending === null; offset += 2 * page.length) {
      const written = write(offset, page)
      if (written instanceof Promise) pending = written
      assert.ok(offset < 2 * POOL_BYTES, 'it took all slabs')
    }
    const other = new FileContent(content.cache, new TestSource(new OneObjectBackend(false)), null)
    const source: WriteSource = {
      pull: (from, poolOffset, length) => {
        pool.view(poolOffset, length).set(page.subarray(from, from + length))
      },
    }
    assert.equal(other.write(0, page.length, source), page.length)
    content.cache.closeAccount(content.source.account)
    await assert.rejects(pending)
    content.discard()
    other.discard()
    assert.equal(pool.leasedSlabs, 0)
    assert.equal(content.source.account.heldBlocks, 0)
  })

  it('asks for nothing that was given up, unless somebody waits for it', async () => {
    const data = bytes(2 << 20)
    const { backend, content, pool, read } = setUp(data)
    const { fetchBudget } = content.source.account
    await fetchBudget.take(Infinity)
    const window = { isGivenUp: false }
    content.reader.prefetch(0, 2 << 20, window)
    const waiting = read(300_000, 400_000)
    window.isGivenUp = true
    fetchBudget.give(Infinity)
    assert.ok((await waiting).equals(data.subarray(300_000, 400_000)))
    assert.equal(backend.reads, 1)
    assert.ok(pool.leasedBytes <= 1 << 20, `${pool.leasedBytes} bytes are held`)
  })

  it('stores a small file in one request and a long one in parts, and rebuilds the middle of one', async () => {
    const data = bytes(10 * PART_BYTES + 123)
    const { backend, content, write } = setUp(data)
    await write(5 * PART_BYTES + 7, bytes(1000, 2))
    bytes(1000, 2).copy(data, 5 * PART_BYTES + 7)
    await content.commit()
    assert.ok(backend.data?.equals(data))
    assert.equal(content.isDirty, false)
  })

  it('appends where the store can', async () => {
    const data = bytes(2 << 20)
    const { backend, content, write } = setUp(data, true)
    const tail = bytes(100_000, 3)
    await write(data.length, tail)
    await content.commit()
    assert.ok(backend.data?.equals(Buffer.concat([data, tail])))
    assert.equal(backend.reads, 0, 'appending reads nothing')
  })

  it('rebuilds after an append that failed half way', async () => {
    const data = bytes(2 << 20)
    const { backend, content, write } = setUp(data, true)
    const tail = bytes(3 * PART_BYTES, 3)
    await write(data.length, tail)
    backend.failAfter = 1
    await assert.rejects(content.commit(), { errno: 'ENOSPC' })
    backend.failAfter = Infinity
    await content.commit()
    assert.ok(backend.data?.equals(Buffer.concat([data, tail])), 'nothing is there twice')
  })

  it('keeps everything dirty after a failed commit, wherever it fails', async () => {
    for (let failAfter = 0; failAfter < 20; failAfter++) {
      const data = bytes(6 * PART_BYTES)
      const { backend, content, write } = setUp(data)
      const change = bytes(2 * PART_BYTES, 5)
      await write(PART_BYTES / 2, change)
      change.copy(data, PART_BYTES / 2)
      backend.failAfter = failAfter
      const failed = await content.commit().then(
        () => false,
        (error: unknown) => error instanceof StorageError && error.errno === 'ENOSPC',
      )
      backend.failAfter = Infinity
      assert.equal(failed, failAfter < CALLS_OF_A_REBUILD)
      assert.equal(content.isDirty, failed)
      await content.commit()
      assert.ok(backend.data?.equals(data), `after a failure at call ${failAfter}`)
      assert.equal(backend.writers, 0, 'no upload is left open')
    }
  })

  it('streams a file much larger than the pool', async () => {
    const { backend, content, pool, write, read } = setUp()
    const data = bytes(5 * POOL_BYTES)
    for (let offset = 0; offset < data.length; offset += 100_000) {
      await write(offset, data.subarray(offset, Math.min(offset + 100_000, data.length)))
      assert.ok(pool.leasedBytes <= POOL_BYTES)
    }
    assert.equal(backend.version, 0, 'nothing is visible before the commit')
    await content.commit()
    assert.ok(backend.data?.equals(data))
    assert.ok((await read(1_000_000, 3_000_000)).equals(data.subarray(1_000_000, 3_000_000)))
  })

  it('reads back what has left memory for an unfinished upload', async () => {
    const { write, read } = setUp()
    const data = bytes(3 * POOL_BYTES)
    for (let offset = 0; offset < data.length; offset += 100_000) {
      await write(offset, data.subarray(offset, Math.min(offset + 100_000, data.length)))
    }
    assert.ok((await read(0, 50_000)).equals(data.subarray(0, 50_000)))
  })

  it('tells at the commit when an upload failed whose data had left memory', async () => {
    const { backend, content, pool, write } = setUp()
    const data = bytes(3 * POOL_BYTES)
    for (let offset = 0; offset < data.length; offset += 100_000) {
      await write(offset, data.subarray(offset, Math.min(offset + 100_000, data.length)))
    }
    backend.failAfter = 0
    await assert.rejects(content.commit(), { errno: 'ENOSPC' })
    backend.failAfter = Infinity
    const handle = { errorCursor: 0 }
    await assert.rejects(content.sync(handle), /lost/)
    await content.sync(handle)
    content.discard()
    assert.equal(pool.leasedSlabs, 0)
  })

  it('tells a writer that fills the pool when its upload has failed', { timeout: 60_000 }, async () => {
    const { backend, content, pool, write } = setUp()
    const data = bytes(3 * POOL_BYTES)
    const writeAll = async (start: number): Promise<void> => {
      for (let offset = start; offset < data.length; offset += 100_000) {
        await write(offset, data.subarray(offset, Math.min(offset + 100_000, data.length)))
      }
    }
    // The writer is made, and so many parts are taken that some of them have left memory.
    backend.failAfter = (1.5 * POOL_BYTES) / PART_BYTES
    await assert.rejects(writeAll(0), { errno: 'ENOSPC', message: /lost/ })
    backend.failAfter = Infinity
    await assert.rejects(content.sync({ errorCursor: 0 }), { errno: 'ENOSPC' })
    content.discard()
    assert.equal(pool.leasedSlabs, 0)
    assert.equal(backend.writers, 0, 'no upload is left open')
    await writeAll(0)
    await content.commit()
    assert.ok(backend.data?.equals(data))
  })

  it(
    'starts an upload anew that failed before anything of it had left memory',
    { timeout: 60_000 },
    async () => {
      const { backend, content, write } = setUp()
      const data = bytes(3 * POOL_BYTES)
      backend.failAfter = 3
      for (let offset = 0; offset < data.length; offset += 100_000) {
        const written = write(offset, data.subarray(offset, Math.min(offset + 100_000, data.length)))
        // The pool is full, and the store has refused the third part.
        if (written instanceof Promise) backend.failAfter = Infinity
        await written
      }
      await content.commit()
      assert.ok(backend.data?.equals(data))
      assert.equal(backend.writers, 0)
    },
  )

  it('takes nothing for safe that a commit has only begun to store', async () => {
    const { backend, content, write } = setUp()
    const records: string[] = []
    const staging = {
      write: () => Promise.resolve(`record ${records.push('record')}`),
      forget: () => Promise.resolve(),
    }
    content.source.account.staging = staging as unknown as Staging
    let storeNow = (): void => undefined
    const mayStore = new Promise<void>((resolve) => {
      storeNow = resolve
    })
    const put = backend.write.bind(backend)
    backend.write = async (path, data) => {
      await mayStore
      return put(path, data)
    }
    await write(0, bytes(1000))
    const committing = content.commit()
    await new Promise(setImmediate)
    assert.equal(content.staged.isSecure, false)
    const securing = content.staged.persistLocally()
    assert.ok(securing !== undefined, 'there is something to wait for')
    storeNow()
    await Promise.all([committing, securing])
    assert.ok(backend.data?.equals(bytes(1000)))
    assert.equal(records.length, 0, 'the store has it')
    assert.equal(content.staged.persistLocally(), undefined)
  })

  it('makes writers wait for a full pool instead of failing them, and commits on the way', async () => {
    const { backend, content, pool, write } = setUp(bytes(8 << 20))
    const data = Buffer.from(backend.data ?? [])
    const random = new Random(7)
    for (let i = 0; i < 2000; i++) {
      const offset = random.below(data.length - 5000)
      const piece = random.bytes(5000)
      await write(offset, piece)
      piece.copy(data, offset)
      assert.ok(pool.leasedBytes <= POOL_BYTES)
    }
    await content.commit()
    assert.ok(backend.data?.equals(data))
  })

  it('shows zeros, not old bytes, where a file was cut and grown again', async () => {
    const { backend, content, read } = setUp(bytes(200_000))
    await read(0, 200_000)
    await truncate(content, 50_001)
    await truncate(content, 150_000)
    const expected = Buffer.alloc(150_000)
    bytes(200_000).copy(expected, 0, 0, 50_001)
    assert.ok((await read(0, 150_000)).equals(expected))
    await content.commit()
    assert.ok(backend.data?.equals(expected))
  })

  it('uploads one part at a time, whoever asks for more', async () => {
    const { backend, content, write } = setUp()
    const data = bytes(40 * PART_BYTES)
    const others: Promise<void>[] = []
    for (let offset = 0; offset < data.length; offset += 30_000) {
      await write(offset, data.subarray(offset, Math.min(offset + 30_000, data.length)))
      if (offset % 90_000 === 0) others.push(content.writeBack.forRoom(), content.writeBack.forRoom())
    }
    others.push(content.commit(), content.writeBack.forRoom(), content.commit())
    await Promise.all(others)
    await content.commit()
    assert.ok(backend.data?.equals(data))
    assert.equal(backend.writers, 0)
  })

  it('leaves parts alone until they are sent, and uses their memory again', async () => {
    const { backend, content, write } = setUp()
    const taken: Uint8Array[] = []
    const memory = new Set<ArrayBufferLike>()
    let mostUnderWay = 0
    const underWay = new Map<Uint8Array, Promise<void>>()
    const createWriter = backend.createWriter.bind(backend)
    // The part is read only when the next turn of the loop comes, long after `write` has taken it.
    backend.createWriter = async () => {
      const writer = await createWriter()
      let tail = Promise.resolve()
      return {
        ...writer,
        write: (part) => {
          memory.add(part.buffer)
          tail = tail.then(() => new Promise(setImmediate)).then(() => writer.write(part))
          underWay.set(part, tail)
          mostUnderWay = Math.max(mostUnderWay, underWay.size)
          void tail.then(() => underWay.delete(part))
          taken.push(part)
          return Promise.resolve()
        },
        whenSent: (part) => underWay.get(part) ?? Promise.resolve(),
        close: async () => {
          await tail
          return writer.close()
        },
      }
    }
    const data = bytes(LARGE_PARTS * LARGE_PART_BYTES)
    backend.capabilities = { ...backend.capabilities, partSizeBytes: LARGE_PART_BYTES }
    for (let offset = 0; offset < data.length; offset += 1 << 20) {
      await write(offset, data.subarray(offset, offset + (1 << 20)))
    }
    await content.commit()
    assert.ok(backend.data?.equals(data))
    assert.ok(mostUnderWay > 1, 'several are under way at once')
    assert.ok(taken.length >= LARGE_PARTS)
    assert.ok(memory.size <= mostUnderWay, `${memory.size} buffers for ${mostUnderWay} parts at a time`)
  })

  it('stores what is dirty when there is more than dirty_max of it, and nobody asks', async () => {
    const data = bytes(2 << 20)
    const { backend, content, write } = setUp(data)
    content.cache.setDirtyMax(256 << 10)
    for (const offset of [0, 64, 128, 192]) await write(offset << 10, bytes(64 << 10, offset))
    assert.equal(backend.version, 0)
    await write(1 << 20, bytes(1, 3))
    await content.committer.ended()
    assert.equal(backend.version, 1)
  })

  it('tells how much of its slabs holds nothing', async () => {
    const { content, write } = setUp(bytes(100_000))
    await write(200_000, bytes(10))
    await content.commit()
    const { leasedBytes, wastedBytes } = content.cache.stats()
    assert.equal(leasedBytes, 4096)
    assert.equal(wastedBytes, 4096 - 10)
  })

  it('drops a terabyte of nothing at once', async () => {
    const { content, pool, write } = setUp()
    await write(2 ** 40, bytes(10))
    assert.equal(content.size, 2 ** 40 + 10)
    content.discard()
    assert.equal(pool.leasedSlabs, 0)
  })

  it('loses nothing that a commit acknowledged, with failures at random', async (t) => {
    const seed = chooseSeed()
    t.diagnostic(`seed ${seed}`)
    const random = new Random(seed)
    for (let round = 0; round < 30; round++) {
      const { backend, content, write } = setUp(
        random.chance(0.5) ? bytes(300_000) : null,
        random.chance(0.5),
      )
      let model = Buffer.from(backend.data ?? [])
      for (let step = 0; step < 40; step++) {
        const offset = random.chance(0.5) ? model.length : random.below(model.length + 10_000)
        const piece = random.bytes(1 + random.below(40_000))
        if (offset + piece.length > model.length) {
          model = Buffer.concat([model, Buffer.alloc(offset + piece.length - model.length)])
        }
        piece.copy(model, offset)
        await write(offset, piece)
        if (!random.chance(0.3)) continue
        backend.failAfter = random.chance(0.5) ? random.below(8) : Infinity
        const committed = await content.commit().then(
          () => true,
          () => false,
        )
        backend.failAfter = Infinity
        if (committed) assert.ok(backend.data?.equals(model), `round ${round}, step ${step}`)
      }
      await content.commit()
      assert.ok(backend.data?.equals(model), `round ${round}`)
    }
  })
})
