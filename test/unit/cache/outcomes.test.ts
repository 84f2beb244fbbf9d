/** What becomes of a file when a call that stores it is refused, or done with its answer lost, and when somebody else was quicker. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { BlockCache } from '../../../src/cache/block-cache.js'
import { SlabPool } from '../../../src/cache/slab-pool.js'
import { truncate } from '../../../src/cache/resizing.js'
import { heapMemory } from '../../lib/model/driver.js'
import { randomBytes } from '../../support/bytes.js'
import { StoredFile } from '../../lib/cache/stored-file.js'
import { VersionedStore } from '../../lib/cache/versioned-store.js'

const PART_BYTES = 64 << 10
const POOL_BYTES = 4 << 20
/** So much is written that parts of it must leave memory. */
const STREAM_BYTES = 3 * POOL_BYTES
const PIECE_BYTES = 32 << 10
const THEIRS = "somebody else's"

interface Setup {
  readonly store: VersionedStore
  readonly file: StoredFile
}

function setUp(stored: Buffer | string | null = null, append = false): Setup {
  const store = new VersionedStore(PART_BYTES, append)
  const stat = stored === null ? null : store.put('file', stored)
  return { store, file: new StoredFile(new BlockCache(new SlabPool(heapMemory(POOL_BYTES))), store, stat) }
}

async function writeAll(file: StoredFile, data: Buffer, offset = 0): Promise<void> {
  for (let at = 0; at < data.length; at += PIECE_BYTES)
    await file.write(offset + at, data.subarray(at, at + PIECE_BYTES))
}

function assertStored(store: VersionedStore, data: Buffer): void {
  assert.ok(store.objects.get('file')?.data.equals(data), 'the store has other bytes')
}

describe('a write that was refused', () => {
  for (const [name, before, errno] of [
    ['a changed file', 'before', 'ESTALE'],
    ['a new file', null, 'EEXIST'],
  ] as const) {
    it(`is repeated under the same condition: ${name}`, async () => {
      const { store, file } = setUp(before)
      await file.write(0, 'guest')
      for (const fault of ['refused', 'gone'] as const) {
        store.fail('write', fault)
        await assert.rejects(file.content.commit(), { errno: 'EIO' })
      }
      store.put('file', THEIRS)
      await assert.rejects(file.content.commit(), { errno })
      assert.equal(store.text('file'), THEIRS)
    })
  }

  it('changes nothing, and the next commit stores the file', async () => {
    const { store, file } = setUp('before')
    await file.write(0, 'after!')
    store.fail('write', 'refused')
    await assert.rejects(file.content.commit(), { errno: 'EIO' })
    await file.content.commit()
    assert.equal(store.text('file'), 'after!')
    assert.equal(file.content.committer.kind, 'clean')
  })
})

describe('a write whose answer was lost', () => {
  for (const before of ['before', null]) {
    it(`is recognised, ${before === null ? 'new' : 'changed'}, and not sent again`, async () => {
      const { store, file } = setUp(before)
      await file.write(0, 'guest!')
      store.fail('write', 'lost')
      await assert.rejects(file.content.commit(), { errno: 'EIO' })
      assert.equal(file.content.committer.kind, 'unknown')
      await file.content.commit()
      assert.equal(store.text('file'), 'guest!')
      assert.deepEqual(
        store.calls.filter((call) => call === 'write'),
        ['write'],
      )
      assert.equal(file.content.committer.kind, 'clean')
    })
  }

  it('is the base of what is written after it', async () => {
    const { store, file } = setUp('before')
    await file.write(0, 'one')
    store.fail('write', 'lost')
    await assert.rejects(file.content.commit())
    await file.write(3, 'two')
    await file.content.commit()
    assert.equal(store.text('file'), 'onetwo')
  })

  it('is recognised after more of them than one', async () => {
    const { store, file } = setUp('before')
    await file.write(0, 'one')
    store.fail('write', 'lost')
    await assert.rejects(file.content.commit())
    await file.write(0, 'two')
    store.fail('identify', 'gone', 'gone')
    await assert.rejects(file.content.commit())
    await assert.rejects(file.content.commit())
    await file.content.commit()
    assert.equal(store.text('file'), 'twoore')
  })

  it('does not show again what was cut since', async () => {
    const { store, file } = setUp('0123456789')
    await file.write(0, 'abc')
    store.fail('write', 'lost')
    await assert.rejects(file.content.commit())
    await truncate(file.content, 2)
    await truncate(file.content, 6)
    await file.content.commit()
    assert.equal(store.text('file'), 'ab\0\0\0\0')
  })

  it("is not taken for somebody else's work, nor theirs for ours", async () => {
    const { store, file } = setUp('before')
    await file.write(0, 'one')
    store.fail('write', 'lost')
    await assert.rejects(file.content.commit())
    store.put('file', THEIRS)
    await assert.rejects(file.content.commit(), { errno: 'ESTALE' })
    assert.equal(store.text('file'), THEIRS)
  })

  it('can be read meanwhile', async () => {
    const data = randomBytes(PART_BYTES)
    const { store, file } = setUp(data)
    await file.write(10, 'guest')
    store.fail('write', 'lost')
    await assert.rejects(file.content.commit())
    file.content.forgetStored()
    data.set(Buffer.from('guest'), 10)
    assert.ok((await file.read()).equals(data))
    assert.equal(file.content.committer.kind, 'clean')
    assert.equal(file.account.dirtyContents.size, 0)
  })
})

describe('an upload', () => {
  for (const fault of ['refused', 'lost', 'gone'] as const) {
    it(`in a stream is ended by the next commit when its end was ${fault}`, async () => {
      const { store, file } = setUp()
      const data = randomBytes(STREAM_BYTES)
      await writeAll(file, data)
      assert.equal(file.content.committer.kind, 'streaming')
      store.fail('close', fault, fault)
      await assert.rejects(file.content.commit(), { errno: 'EIO' })
      await assert.rejects(file.content.commit(), { errno: 'EIO' })
      await file.content.commit()
      assertStored(store, data)
      assert.equal(store.putBytes, data.length, 'no byte is sent again')
      assert.equal(file.content.committer.kind, 'clean')
    })

    it(`of a changed file is ended by the next commit when its end was ${fault}`, async () => {
      const data = randomBytes(4 * PART_BYTES)
      const { store, file } = setUp(data)
      await file.write(PART_BYTES, 'guest')
      data.set(Buffer.from('guest'), PART_BYTES)
      store.fail('close', fault)
      await assert.rejects(file.content.commit(), { errno: 'EIO' })
      await file.write(0, 'more')
      data.set(Buffer.from('more'))
      await file.content.commit()
      assertStored(store, data)
      assert.equal(store.openUploads, 0)
      assert.equal(file.content.cache.stats().heldBytes, 0)
    })
  }

  for (const more of ['', 'more']) {
    it(`can be read before it is known whether it has come to its end${more && ', and written to'}`, async () => {
      const data = randomBytes(4 * PART_BYTES)
      const { store, file } = setUp(data)
      await file.write(PART_BYTES, 'guest')
      data.set(Buffer.from('guest'), PART_BYTES)
      store.fail('close', 'lost')
      await assert.rejects(file.content.commit(), { errno: 'EIO' })
      if (more !== '') await file.write(2 * PART_BYTES, more)
      data.set(Buffer.from(more), 2 * PART_BYTES)
      file.content.forgetStored()
      assert.ok((await file.read()).equals(data))
      assert.equal(file.content.committer.kind, more === '' ? 'clean' : 'dirty')
      assert.equal(file.account.dirtyContents.size, more === '' ? 0 : 1)
      await file.content.commit()
      assertStored(store, data)
    })
  }

  it('goes on with what was written after its end was refused', async () => {
    const { store, file } = setUp()
    const data = randomBytes(STREAM_BYTES)
    await writeAll(file, data)
    store.fail('close', 'refused')
    await assert.rejects(file.content.commit())
    await file.write(data.length, 'tail')
    await file.content.commit()
    assertStored(store, Buffer.concat([data, Buffer.from('tail')]))
  })

  it('that is gone with bytes that were nowhere else makes no file at all', async () => {
    const { store, file } = setUp()
    const handle = { errorCursor: file.content.errors.sample() }
    const other = { errorCursor: file.content.errors.sample() }
    await writeAll(file, randomBytes(STREAM_BYTES))
    store.fail('close', 'final')
    await assert.rejects(file.content.sync(handle), { errno: 'EACCES' })
    assert.equal(file.content.committer.kind, 'lost')
    await assert.rejects(file.content.sync(other), { errno: 'EACCES' })
    await file.content.sync(handle)
    await file.content.sync(other)
    await file.content.sync({ errorCursor: file.content.errors.sample() })
    assert.equal(store.objects.size, 0, 'an empty file was stored')
    assert.equal(file.account.losses.lost, 1)
    // Where the lost bytes were, nothing may be put behind them.
    await assert.rejects(async () => file.write(STREAM_BYTES, 'tail'), { errno: 'EACCES' })
    await file.write(0, 'anew')
    await file.content.commit()
    assert.equal(store.text('file'), 'anew')
  })

  it('goes on with the part that was not taken', async () => {
    const { store, file } = setUp()
    const data = randomBytes(2 * STREAM_BYTES)
    await writeAll(file, data.subarray(0, STREAM_BYTES))
    store.fail('part', 'refused', 'gone')
    await writeAll(file, data.subarray(STREAM_BYTES), STREAM_BYTES)
    await file.content.commit()
    assertStored(store, data)
    assert.equal(file.account.losses.count, 0)
  })

  it('that was ended by somebody else is lost only if it was not done', async () => {
    const { store, file } = setUp()
    const data = randomBytes(STREAM_BYTES)
    await writeAll(file, data)
    store.fail('close', 'lost', 'final')
    await assert.rejects(file.content.commit(), { errno: 'EIO' })
    await file.content.commit()
    assertStored(store, data)
  })
})

describe('a conflict', () => {
  it('ends: theirs stays, ours is kept once, and handles are told', async () => {
    const { store, file } = setUp('before')
    const handle = { errorCursor: file.content.errors.sample() }
    await file.write(0, 'guest!')
    store.put('file', THEIRS)
    await assert.rejects(file.content.sync(handle), { errno: 'ESTALE' })
    const { losses } = file.account
    assert.equal(losses.conflicts, 1)
    const keptAs = losses.recent[0]?.keptAs ?? ''
    assert.equal(store.text(keptAs), 'guest!')
    assert.equal(file.conflicts, 1)
    const calls = store.calls.length
    await assert.rejects(file.content.sync(handle), { errno: 'ESTALE' })
    await assert.rejects(async () => file.write(0, 'x'), { errno: 'ESTALE' })
    assert.equal(file.content.isDirty, false)
    assert.equal(store.calls.length, calls, 'nothing is tried again')
    assert.equal(store.text('file'), THEIRS)
    assert.equal(file.content.cache.pool.leasedSlabs, 0)
  })

  for (const [name, size] of [
    ['appended', (2 << 20) + 50],
    ['replaced by one of the same size', 2 << 20],
  ] as const) {
    it(`of an append with a file that was ${name} leaves that as it is`, async () => {
      const { store, file } = setUp(randomBytes(2 << 20), true)
      await file.write(2 << 20, 'guest')
      const theirs = randomBytes(size, 2)
      store.put('file', theirs)
      await assert.rejects(file.content.commit(), { errno: 'ESTALE' })
      await file.content.commit()
      assertStored(store, theirs)
    })
  }

  it('is none where the store has what was to be replaced', async () => {
    const { store, file } = setUp(randomBytes(4 * PART_BYTES))
    await file.write(0, 'guest')
    const read = store.read.bind(store)
    let stale = 1
    store.read = (path, offset, length, version) =>
      read(path, offset, length, stale-- > 0 ? 'another' : version)
    await assert.rejects(file.content.commit(), { errno: 'EIO', retryable: true })
    await file.content.commit()
    assert.equal(file.conflicts, 0)
    assert.equal(store.text('file')?.slice(0, 5), 'guest')
  })
})
