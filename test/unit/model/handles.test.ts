/** What handles are told when somebody else's version wins, and when data is lost: each what concerns it, and once. */
import assert from 'node:assert/strict'
import { describe, it, type TestContext } from 'node:test'
import { O_CREAT, O_RDWR, O_TRUNC } from '../../frontend/abi.js'
import { randomBytes } from '../../support/bytes.js'
import { VersionedStore } from '../../lib/cache/versioned-store.js'
import { Driver } from '../../lib/model/driver.js'

const PART_BYTES = 64 << 10
const POOL_BYTES = 4 << 20
const LARGE_BYTES = 3 * POOL_BYTES
const PIECE_BYTES = 128 << 10
const FILE = ['file']
const THEIRS = "somebody else's"

function setUp(t: TestContext, writeBack = false): { store: VersionedStore; driver: Driver } {
  const store = new VersionedStore(PART_BYTES)
  const driver = new Driver({
    backend: store,
    poolBytes: POOL_BYTES,
    expirationMs: 0,
    writeBack,
    dirtyExpireMs: 600_000,
    cacheEnabled: true,
  })
  t.after(() => driver.fs.close(() => undefined))
  return { store, driver }
}

async function writeLarge(driver: Driver, fh: number): Promise<void> {
  const data = randomBytes(LARGE_BYTES)
  for (let offset = 0; offset < data.length; offset += PIECE_BYTES)
    await driver.write(fh, offset, data.subarray(offset, offset + PIECE_BYTES))
}

describe('handles after a conflict', () => {
  it('get ESTALE, and a new open sees theirs', async (t) => {
    const { store, driver } = setUp(t)
    store.put('file', 'before')
    const writer = await driver.open(FILE, O_RDWR)
    const other = await driver.open(FILE, O_RDWR)
    await driver.write(writer, 0, Buffer.from('guest!'))
    store.put('file', THEIRS)
    await assert.rejects(driver.fsync(writer), { errno: 'ESTALE' })
    for (const fh of [writer, other]) {
      await assert.rejects(driver.fsync(fh), { errno: 'ESTALE' })
      await assert.rejects(driver.read(fh, 0, 100), { errno: 'ESTALE' })
      await assert.rejects(driver.write(fh, 0, Buffer.from('x')), { errno: 'ESTALE' })
    }
    const fresh = await driver.open(FILE, O_RDWR)
    assert.equal((await driver.read(fresh, 0, 100)).toString(), THEIRS)
    await driver.write(fresh, 0, Buffer.from('S'))
    await driver.close(fresh)
    assert.equal(store.text('file'), THEIRS.replace('s', 'S'))
    await assert.rejects(driver.close(writer), { errno: 'ESTALE' })
    await driver.release(other)
    assert.equal(store.text('file'), THEIRS.replace('s', 'S'))
  })

  it('of a file that is closed already: told once, kept once, and not tried again', async (t) => {
    const { store, driver } = setUp(t, true)
    const fh = await driver.create(FILE, O_RDWR | O_CREAT)
    await driver.write(fh, 0, Buffer.from('guest!'))
    await driver.close(fh)
    store.put('file', THEIRS)
    await driver.fs.commitAll(() => undefined)
    const calls = store.calls.filter((call) => call === 'write').length
    assert.equal(await driver.fs.commitAll(() => undefined), 0)
    assert.equal(store.calls.filter((call) => call === 'write').length, calls)
    assert.equal(store.text('file'), THEIRS)
    const { losses } = driver.root.mount.account
    assert.equal(losses.conflicts, 1)
    const keptAs = losses.recent[0]?.keptAs ?? ''
    assert.equal(store.text(keptAs), 'guest!')
    const fresh = await driver.open(FILE, O_RDWR)
    assert.equal((await driver.read(fresh, 0, 100)).toString(), THEIRS)
    await driver.close(fresh)
  })
})

describe('handles after a loss', () => {
  it('that were open are told once, and a later one is not', async (t) => {
    const { store, driver } = setUp(t)
    const one = await driver.create(FILE, O_RDWR | O_CREAT)
    const two = await driver.open(FILE, O_RDWR)
    await writeLarge(driver, one)
    store.fail('close', 'final')
    await assert.rejects(driver.fsync(one), { errno: 'EACCES' })
    const later = await driver.open(FILE, O_RDWR)
    await driver.fsync(one)
    await driver.fsync(later)
    await assert.rejects(driver.fsync(two), { errno: 'EACCES' })
    await driver.fsync(two)
    for (const fh of [one, two, later]) await driver.close(fh)
    assert.equal(store.objects.size, 0, 'an empty file was stored')
    assert.equal(driver.known(FILE), null)
  })

  it('a file that was closed before is not there any more', async (t) => {
    const { store, driver } = setUp(t, true)
    const fh = await driver.create(FILE, O_RDWR | O_CREAT)
    await writeLarge(driver, fh)
    await driver.close(fh)
    store.fail('close', 'final')
    await driver.fs.commitAll(() => undefined)
    assert.equal(driver.root.mount.account.losses.lost, 1)
    await assert.rejects(driver.open(FILE, O_RDWR), { errno: 'ENOENT' })
    assert.equal(driver.known(FILE), null)
    assert.equal(store.objects.size, 0)
  })

  it('a second copy over it is stored, and told nothing of the first', async (t) => {
    const { store, driver } = setUp(t)
    const first = await driver.create(FILE, O_RDWR | O_CREAT)
    await writeLarge(driver, first)
    store.fail('close', 'final')
    await assert.rejects(driver.flush(first), { errno: 'EACCES' })
    const second = await driver.open(FILE, O_RDWR | O_TRUNC)
    await driver.release(first)
    await driver.write(second, 0, Buffer.from('second'))
    await driver.close(second)
    assert.equal(store.text('file'), 'second')
  })

  it('an empty one over it is stored, too', async (t) => {
    const { store, driver } = setUp(t)
    const first = await driver.create(FILE, O_RDWR | O_CREAT)
    await writeLarge(driver, first)
    store.fail('close', 'final')
    await assert.rejects(driver.flush(first), { errno: 'EACCES' })
    await driver.close(await driver.open(FILE, O_RDWR | O_TRUNC))
    await driver.release(first)
    assert.equal(store.text('file'), '')
  })
})

describe('fallocate', () => {
  it('never makes a file shorter', async (t) => {
    const { driver } = setUp(t)
    const fh = await driver.create(FILE, O_RDWR | O_CREAT)
    await driver.write(fh, 0, Buffer.from('data'))
    const stored = driver.fsync(fh)
    // It waits for the commit, and what is written meanwhile lies behind its end.
    const grown = driver.fallocate(fh, 0, 0, 1000)
    await driver.write(fh, 5000, Buffer.from('tail'))
    await Promise.all([stored, grown])
    assert.equal(driver.sizeOf(fh), 5004)
    await driver.close(fh)
  })
})
