/** What becomes of data that a server does not take: the error is told, and nothing is given up that could still be stored. */
import assert from 'node:assert/strict'
import { describe, it, test, type TestContext } from 'node:test'
import { O_CREAT, O_RDWR } from '../../frontend/abi.js'
import { codeOf } from '../../frontend/fuse-client.js'
import { hdfsProblem } from '../hdfs.js'
import {
  heal,
  proxiedCeph,
  proxiedHdfs,
  proxiedSwift,
  takeAway,
  type ProxiedStore,
} from '../../support/proxied-stores.js'
import { eventually, serve, type Served } from '../../support/served.js'

/** Longer than a server needs, shorter than a test should. */
const TIMEOUT_MS = 5000
const AWAY = ['EIO', 'ETIMEDOUT']

const HDFS_DENIED = {
  exception: 'AccessControlException',
  javaClassName: 'org.apache.hadoop.security.AccessControlException',
  message: 'Permission denied',
}

/** How each server says that a write is not allowed. */
const SERVERS = {
  s3: { start: proxiedCeph, denial: { status: 403, method: 'PUT' } },
  swift: { start: proxiedSwift, denial: { status: 403, method: 'PUT' } },
  hdfs: {
    start: proxiedHdfs,
    denial: {
      ...{ status: 403, method: 'PUT', path: /op=CREATE/ },
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ RemoteException: HDFS_DENIED }),
    },
  },
} as const

for (const [name, server] of Object.entries(SERVERS)) {
  const problem = name === 'hdfs' ? hdfsProblem() : null
  const title = `data that is refused (${name})`
  if (problem !== null) test(title, { skip: `NO HDFS TESTS: ${problem}` })
  else {
    describe(title, () => {
      refusalTests(server)
    })
  }
}

function refusalTests({ start, denial }: (typeof SERVERS)[keyof typeof SERVERS]): void {
  async function behindProxy(
    t: TestContext,
    settings: { writeBack?: boolean; dirtyExpireMs?: number } = {},
  ): Promise<{ store: ProxiedStore; served: Served }> {
    const store = await start()
    const served = await serve({ mounts: [{ store, timeoutMs: TIMEOUT_MS }], settings })
    t.after(() => served.close())
    return { store, served }
  }

  async function stored(store: ProxiedStore, path: string): Promise<string | undefined> {
    return (await store.view.read(path))?.toString()
  }

  async function isAway(work: Promise<unknown>): Promise<void> {
    const code = await codeOf(work)
    assert.ok(AWAY.includes(code), code)
  }

  it('for good is told at close, then dropped, and the log says so', async (t) => {
    const { store, served } = await behindProxy(t)
    const fs = served.guestFs()
    await fs.writeFile('present', 'as it was')
    store.proxies[0].answer(denial)
    for (const name of ['new', 'present']) {
      const file = await fs.open(name, O_RDWR | O_CREAT)
      await file.write(0, 'REFUSED')
      assert.equal(await codeOf(file.fsync()), 'EACCES', name)
      // Until the last close it is still there, and may be tried again.
      assert.equal((await file.read(0, 7)).toString(), 'REFUSED')
      assert.equal(await codeOf(file.close()), 'EACCES', name)
    }
    await heal(store)
    assert.equal(served.stats().cache.dirtyFiles, 0)
    assert.equal(await fs.exists('new'), false)
    assert.equal(await fs.readText('present'), 'as it was')
    assert.equal(await stored(store, 'present'), 'as it was')
    const lines = served.log.map((line) => JSON.parse(line) as { path?: string; lost?: boolean })
    assert.deepEqual(
      lines.filter((line) => line.lost).map((line) => line.path),
      ['new', 'present'],
    )
    await fs.writeFile('new', 'is made again')
    assert.equal(await stored(store, 'new'), 'is made again')
  })

  it('because the server is away is told each time, kept, and stored by the next fsync', async (t) => {
    const { store, served } = await behindProxy(t)
    const file = await served.guestFs().open('kept', O_RDWR | O_CREAT)
    await file.write(0, 'kept')
    await takeAway(store)
    await isAway(file.fsync())
    await isAway(file.flush())
    await heal(store)
    await file.fsync()
    assert.equal(await stored(store, 'kept'), 'kept')
    await file.close()
  })

  it('because the server is away at the last close is stored when it is back, without anybody asking', async (t) => {
    const { store, served } = await behindProxy(t, { dirtyExpireMs: 10 })
    const fs = served.guestFs()
    const file = await fs.open('later', O_RDWR | O_CREAT)
    await file.write(0, 'later')
    await takeAway(store)
    await isAway(file.close())
    assert.equal(served.stats().cache.dirtyFiles, 1)
    await heal(store)
    await eventually('it is stored', async () => (await stored(store, 'later')) === 'later')
    assert.equal(await fs.readText('later'), 'later')
  })

  it('makes SYNCFS fail, which succeeds when all is stored', async (t) => {
    const { store, served } = await behindProxy(t, { writeBack: true, dirtyExpireMs: 3_600_000 })
    const fs = served.guestFs()
    await fs.writeFile('one', '1')
    await fs.writeFile('two', '2')
    await takeAway(store)
    assert.equal(await codeOf(served.client.syncfs()), 'EIO')
    await heal(store)
    await served.client.syncfs()
    assert.deepEqual([await stored(store, 'one'), await stored(store, 'two')], ['1', '2'])
  })

  it('with write-back is told by fsync, not by close, and the cleaner goes on', async (t) => {
    const { store, served } = await behindProxy(t, { writeBack: true, dirtyExpireMs: 10 })
    const fs = served.guestFs()
    const file = await fs.open('lazy', O_RDWR | O_CREAT)
    await file.write(0, 'lazy')
    await takeAway(store)
    await isAway(file.fsync())
    await file.close()
    await heal(store)
    await eventually('it is stored', async () => (await stored(store, 'lazy')) === 'lazy')
  })

  it('in the middle of a long upload loses nothing that is still in memory', async (t) => {
    const { store, served } = await behindProxy(t)
    const fs = served.guestFs()
    const data = Buffer.alloc(20 << 20, 'long upload ')
    const file = await fs.open('long', O_RDWR | O_CREAT)
    await file.write(0, data.subarray(0, 18 << 20))
    await takeAway(store)
    await file.write(18 << 20, data.subarray(18 << 20))
    await isAway(file.fsync())
    assert.equal(await stored(store, 'long'), undefined)
    await heal(store)
    // A part that was on its way when the server went may fail only now, and is told once more.
    await eventually('it can be stored', async () => (await codeOf(file.flush())) === 'OK')
    await file.close()
    assert.ok(data.equals((await store.view.read('long')) ?? Buffer.alloc(0)))
  })
}
