/** Which bytes are fetched before anybody asks for them, by the order in which a file is read. */
import assert from 'node:assert/strict'
import { beforeEach, describe, it } from 'node:test'
import type { FileContent } from '../../../src/cache/file-content.js'
import type { Cancellation } from '../../../src/cache/fetch.js'
import { ReadAhead } from '../../../src/cache/read-ahead.js'
import { Random } from '../../lib/model/random.js'

const KIB = 1 << 10
const MIB = 1 << 20
const POOL_BYTES = 64 * MIB
const FILE_BYTES = 100 * MIB

interface Fetch {
  readonly start: number
  readonly end: number
  readonly cancellation: Cancellation
}

/** As much of a content as read-ahead sees. */
class FakeContent {
  readonly fetches: Fetch[] = []
  readonly reader = this

  constructor(
    readonly baseLimit = FILE_BYTES,
    readonly cache = { pool: { sizeBytes: POOL_BYTES }, readAheadBytes: 0 },
  ) {}

  prefetch(start: number, end: number, cancellation: Cancellation): void {
    assert.ok(start >= 0 && start < end, `[${start}, ${end})`)
    this.fetches.push({ start, end, cancellation })
  }

  get content(): FileContent {
    return this as unknown as FileContent
  }

  has(start: number, end: number): boolean {
    return this.fetches.some((fetch) => fetch.start <= start && end <= fetch.end)
  }
}

describe('read-ahead', () => {
  let fake = new FakeContent()
  let readAhead = new ReadAhead()
  const read = (offset: number, bytes: number): void => {
    readAhead.onRead(fake.content, offset, offset + bytes)
  }
  beforeEach(() => {
    fake = new FakeContent()
    readAhead = new ReadAhead()
  })

  it('fetches each byte of a stream once, before it is read', () => {
    for (let offset = 0; offset < FILE_BYTES; offset += 128 * KIB) {
      if (offset > 0) assert.ok(fake.has(offset, offset + 128 * KIB), String(offset))
      read(offset, 128 * KIB)
    }
    for (const [index, fetch] of fake.fetches.entries()) {
      if (index > 0) assert.equal(fetch.start, fake.fetches[index - 1]?.end)
    }
    assert.ok(fake.fetches.length < 60, 'few requests')
  })

  it('goes on when requests of a stream overtake each other', () => {
    read(0, 64 * KIB)
    for (let offset = 64 * KIB; offset < 20 * MIB; offset += 256 * KIB) {
      for (const piece of [2, 0, 3, 1]) read(offset + piece * 64 * KIB, 64 * KIB)
    }
    assert.ok(fake.fetches.length < 40)
    assert.ok(fake.has(20 * MIB, 20 * MIB + 64 * KIB))
  })

  it('fetches each byte once where a file is read backwards', () => {
    const reads = 4 * KIB
    const before = 3
    for (let i = 1; i * reads <= 20 * MIB; i++) {
      const offset = FILE_BYTES - i * reads
      if (i > before) assert.ok(fake.has(offset, offset + reads), `${i}`)
      read(offset, reads)
    }
    for (const [index, fetch] of fake.fetches.entries()) {
      if (index > 0) assert.equal(fetch.end, fake.fetches[index - 1]?.start)
    }
    assert.ok(fake.fetches.length < 20)
  })

  it('ends at the beginning where a file is read backwards', () => {
    for (let offset = 2 * MIB; offset >= 0; offset -= 64 * KIB) read(offset, 64 * KIB)
    assert.equal(fake.fetches.at(-1)?.start, 0)
  })

  for (const stride of [10 * MIB, 300 * KIB, -5 * MIB, 12_345]) {
    it(`fetches what reads ${stride} bytes apart will want, and no more`, () => {
      const bytes = 8 * KIB
      const first = stride < 0 ? FILE_BYTES - bytes : 7777
      const offsets = Array.from(
        { length: Math.floor(FILE_BYTES / Math.abs(stride)) },
        (_, i) => first + i * stride,
      )
        .filter((offset) => offset >= 0 && offset + bytes <= FILE_BYTES)
        .slice(0, 50)
      for (const [i, offset] of offsets.entries()) {
        if (i > 2) assert.ok(fake.has(offset, offset + bytes), `read ${i}`)
        read(offset, bytes)
      }
      for (const { start, end } of fake.fetches) {
        assert.ok((start - first) % stride === 0)
        assert.equal(end - start, bytes)
      }
      assert.equal(new Set(fake.fetches.map(({ start }) => start)).size, fake.fetches.length, 'none twice')
    })
  }

  it('fetches nothing for reads at random', () => {
    const random = new Random(11)
    for (let i = 0; i < 1000; i++) read(5 * MIB + random.below(FILE_BYTES - 10 * MIB), 4 * KIB)
    assert.ok(fake.fetches.length < 10, `${fake.fetches.length} by chance`)
    readAhead.close(fake.content)
    assert.equal(fake.cache.readAheadBytes, 0)
  })

  it('gives up what a seek has left behind', () => {
    for (let offset = 0; offset < 4 * MIB; offset += MIB) read(offset, MIB)
    const left = [...fake.fetches]
    assert.ok(left.length > 0 && left.every(({ cancellation }) => !cancellation.isGivenUp))
    read(60 * MIB, MIB)
    assert.ok(left.every(({ cancellation }) => cancellation.isGivenUp))
    assert.equal(fake.cache.readAheadBytes, 0)
    for (let offset = 61 * MIB; offset < 65 * MIB; offset += MIB) read(offset, MIB)
    assert.ok(fake.has(65 * MIB, 66 * MIB))
    assert.equal(fake.fetches.at(-1)?.cancellation.isGivenUp, false)
    readAhead.close(fake.content)
    assert.equal(fake.fetches.at(-1)?.cancellation.isGivenUp, true)
  })

  it('takes half of the pool for all files together, and each file its first window', () => {
    const readers = Array.from({ length: 30 }, () => new ReadAhead())
    for (let offset = 0; offset < 40 * MIB; offset += MIB) {
      for (const reader of readers) reader.onRead(fake.content, offset, offset + MIB)
    }
    assert.ok(fake.cache.readAheadBytes <= POOL_BYTES / 2 + readers.length * 256 * KIB)
    assert.ok(fake.cache.readAheadBytes >= POOL_BYTES / 4)
    for (const reader of readers) reader.close(fake.content)
    assert.equal(fake.cache.readAheadBytes, 0)
  })

  it('fetches a small file whole when it is opened, and nothing of a large one', () => {
    readAhead.onOpen(fake.content)
    assert.deepEqual(fake.fetches, [])
    fake = new FakeContent(200 * KIB)
    readAhead.onOpen(fake.content)
    assert.ok(fake.has(0, 200 * KIB))
  })
})
