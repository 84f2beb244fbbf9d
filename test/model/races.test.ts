/** Answers of the store that are older than what was done here meanwhile. */
import assert from 'node:assert/strict'
import { EventEmitter, once } from 'node:events'
import { describe, it, type TestContext } from 'node:test'
import type { Backend } from '../../src/backends/backend.js'
import { createBackend } from '../../src/backends/create-backend.js'
import { Driver } from './driver.js'
import { withListedAttributes, withMembers } from './run.js'

const POOL_BYTES = 4 << 20
const O_RDWR = 2
const O_TRUNC = 0o1000

function memory(): Backend {
  return createBackend({ type: 'memory', options: { root: '/' }, timeoutMs: 10_000 })
}

function drive(t: TestContext, backend: Backend): Driver {
  const driver = new Driver({
    backend,
    poolBytes: POOL_BYTES,
    expirationMs: Infinity,
    cacheEnabled: true,
    writeBack: false,
    dirtyExpireMs: 60_000,
  })
  t.after(() => driver.fs.close(() => undefined))
  return driver
}

async function store(driver: Driver, name: string, data: string): Promise<void> {
  const fh = await driver.create([name], O_RDWR | O_TRUNC)
  await driver.write(fh, 0, Buffer.from(data))
  await driver.close(fh)
}

/** The file as a guest finds it that had forgotten it. */
async function contentsOf(driver: Driver, name: string): Promise<string> {
  const fh = await driver.open([name], 0)
  const data = await driver.read(fh, 0, driver.sizeOf(fh))
  await driver.close(fh)
  return data.toString()
}

describe('a listing with attributes', () => {
  it('that is kept is not believed about a file that was stored since', async (t) => {
    const driver = drive(t, withListedAttributes(memory()))
    await store(driver, 'a', 'old')
    assert.deepEqual(await driver.list([]), ['a'])
    await store(driver, 'a', 'longer and new')
    // The cache lets the file go for another: nothing but the listing is left of it in memory.
    await store(driver, 'b', 'x'.repeat(2 * POOL_BYTES))
    assert.deepEqual(await driver.list([]), ['a', 'b'])
    assert.equal(await contentsOf(driver, 'a'), 'longer and new')
  })

  it('that was under way is not believed about a file that was stored meanwhile', async (t) => {
    const listed = withListedAttributes(memory())
    const events = new EventEmitter()
    const driver = drive(
      t,
      withMembers(listed, {
        list: async (path) => {
          const entries = await listed.list(path)
          const goOn = once(events, 'go on')
          events.emit('answered')
          await goOn
          return entries
        },
      }),
    )
    await store(driver, 'a', 'old')
    const answered = once(events, 'answered')
    const listing = driver.list([])
    await answered
    await store(driver, 'a', 'longer and new')
    events.emit('go on')
    assert.deepEqual(await listing, ['a'])
    assert.equal(await contentsOf(driver, 'a'), 'longer and new')
  })
})

describe('a rename that comes while the file is stored for the first time', () => {
  it('takes along what is being stored', async (t) => {
    const backend = memory()
    const driver = drive(t, backend)
    const fh = await driver.create(['a'], O_RDWR)
    await driver.write(fh, 0, Buffer.from('data'))
    await Promise.all([driver.fsync(fh), driver.rename(['a'], ['b'], 0)])
    await driver.close(fh)
    assert.equal(await backend.stat('a'), null)
    assert.equal((await backend.stat('b'))?.sizeBytes, 4)
  })
})
