/** INIT, DESTROY, reconnects and FORGET: what begins anew, what is kept, and that nothing is left over. */
import assert from 'node:assert/strict'
import { describe, it, type TestContext } from 'node:test'
import { InitFlags, O_CREAT, O_RDWR } from '../../frontend/abi.js'
import { codeOf, FuseClient } from '../../frontend/fuse-client.js'
import { FrontEnd } from '../../frontend/front-end.js'
import { assertSameBytes, randomBytes } from '../../support/bytes.js'
import { describeEachStore, eventually, serve, type ServeOptions, type Served } from '../../support/served.js'
import { STORES, directoryStore, type Store } from '../../support/stores.js'

const MIB = 1 << 20
/** A day of work, and one on a server. */
const LOCAL_WORK = { rounds: 3, fileCount: 30, listedCount: 100 }
const SERVER_WORK = { rounds: 2, fileCount: 8, listedCount: 40 }

async function servedFor(
  t: TestContext,
  store: Store,
  options: Omit<ServeOptions, 'mounts'> = {},
): Promise<Served> {
  const served = await serve({ ...options, mounts: [{ store }] })
  t.after(() => served.close())
  return served
}

/** What must be the same before and after; clean cached blocks may stay, and with them their inodes. */
function held(served: Served): Record<string, number> {
  const { inodes, treeInodes, openFiles, openDirectories, cache, device } = served.stats()
  return {
    inodes,
    treeInodes,
    openFiles,
    openDirectories,
    leasedSlabs: cache.leasedSlabs,
    dirtyFiles: cache.dirtyFiles,
    slotsInFlight: device.slotsInFlight,
  }
}

describe('INIT', () => {
  it('agrees on the protocol and what makes large requests large', async (t) => {
    const served = await servedFor(t, directoryStore)
    const { session } = served.client
    assert.equal(session.major, 7)
    assert.ok(session.minor >= 31 && session.minor <= 38)
    assert.equal(session.maxWrite, MIB)
    assert.equal(session.maxPages, 256)
    assert.ok(session.maxBackground >= 64 && session.congestionThreshold > 0)
    assert.equal(session.timeGran, 1)
    for (const flag of [
      'ASYNC_READ',
      'BIG_WRITES',
      'MAX_PAGES',
      'PARALLEL_DIROPS',
      'ASYNC_DIO',
      'ATOMIC_O_TRUNC',
      'AUTO_INVAL_DATA',
      'DO_READDIRPLUS',
    ] as const) {
      assert.ok(served.client.has(flag), flag)
    }
  })

  it('takes no flag that the guest did not offer', async (t) => {
    const served = await servedFor(t, directoryStore)
    await served.client.init({ flags: InitFlags.BIG_WRITES | InitFlags.MAX_PAGES })
    assert.equal(served.client.session.flags & ~(InitFlags.BIG_WRITES | InitFlags.MAX_PAGES), 0n)
    await served.client.init({ flags: 0n })
    assert.equal(served.client.session.flags, 0n)
  })

  it('speaks with every minor version from 27 on, and as its own with newer ones', async (t) => {
    const served = await servedFor(t, directoryStore)
    await served.guestFs().writeFile('file', 'x')
    for (const minor of [27, 28, 31, 36, 38, 39, 45, 1000]) {
      const { major, minor: agreed } = await served.client.init({ minor, short: minor < 36 })
      assert.deepEqual([major, agreed], [7, Math.min(minor, 38)])
      assert.equal(await served.guestFs().readText('file'), 'x')
    }
  })

  it('refuses older versions, and says what it speaks to a newer major one', async (t) => {
    const served = await servedFor(t, directoryStore)
    assert.equal(await codeOf(served.client.init({ minor: 26 })), 'EPROTO')
    assert.equal(await codeOf(served.client.init({ major: 6 })), 'EPROTO')
    const { major } = await served.client.init({ major: 8, minor: 0 })
    assert.equal(major, 7)
    await served.client.init()
    assert.equal((await served.client.getattr(1)).attr.nlink >= 2, true)
  })

  it('comes first: everything before it is EIO', async (t) => {
    const served = await servedFor(t, directoryStore)
    await served.disconnect()
    const client = new FuseClient(await FrontEnd.connect({ socketPath: served.socketPath }))
    served.client = client
    assert.equal(await codeOf(client.getattr(1)), 'EIO')
    assert.equal(await codeOf(client.lookup(1, 'm')), 'EIO')
    assert.equal(await codeOf(client.destroy()), 'EIO')
    await client.forget(1)
    await client.init()
    assert.ok((await client.lookup(1, 'm')).nodeid > 0)
  })
})

describeEachStore('sessions', STORES, (store) => {
  it('a second INIT begins anew and saves what the first had not', async (t) => {
    const served = await servedFor(t, store)
    const fs = served.guestFs()
    const before = held(served)
    const unsaved = await fs.open('unsaved', O_RDWR | O_CREAT)
    await unsaved.write(0, 'written before the reboot')
    const temporary = await fs.open('temporary', O_RDWR | O_CREAT)
    await temporary.write(0, 'x')
    await fs.unlink('temporary')
    const { fh } = await served.client.opendir(1)
    await served.client.init()
    assert.equal(await codeOf(served.client.read(unsaved.nodeid, unsaved.fh, 0, 1)), 'EBADF')
    assert.equal(await codeOf(served.client.readdir(1, fh)), 'EBADF')
    await eventually('the data is saved', () => served.stats().cache.dirtyFiles === 0)
    const after = served.guestFs()
    assert.equal(await after.readText('unsaved'), 'written before the reboot')
    assert.deepEqual(await after.list(), ['unsaved'])
    if (served.hasView) {
      assert.equal((await served.view.read('unsaved'))?.toString(), 'written before the reboot')
      await eventually('nothing hidden is left', async () =>
        (await served.view.paths()).every((path) => path === 'unsaved' || path === '.ovfsd/'),
      )
    }
    await after.unlink('unsaved')
    assert.deepEqual(held(served), { ...before, inodes: 2, treeInodes: 2 })
  })

  it('DESTROY ends the session; nothing is answered until the next INIT', async (t) => {
    const served = await servedFor(t, store)
    const file = await served.guestFs().open('file', O_RDWR | O_CREAT)
    await file.write(0, 'x')
    await served.client.destroy()
    assert.equal(await codeOf(served.client.getattr(1)), 'EIO')
    await served.client.init()
    assert.equal(await served.guestFs().readText('file'), 'x')
  })

  for (const writeBack of [false, true]) {
    it(`a guest that vanishes loses nothing it has written (write-back ${writeBack ? 'on' : 'off'})`, async (t) => {
      const served = await servedFor(t, store, { settings: { writeBack } })
      const fs = served.guestFs()
      const large = randomBytes(20 * MIB)
      const files = [
        ['small', randomBytes(10)],
        ['pages', randomBytes(100_000)],
        ['large', large],
      ] as const
      for (const [name, data] of files) {
        const file = await fs.open(name, O_RDWR | O_CREAT)
        await file.write(0, data)
      }
      const hidden = await fs.open('hidden', O_RDWR | O_CREAT)
      await hidden.fsync()
      await fs.unlink('hidden')
      await served.disconnect()
      assert.equal(served.stats().openFiles, 0)
      await eventually('all is saved', () => served.stats().cache.dirtyFiles === 0)
      if (served.hasView) {
        for (const [name, data] of files)
          assertSameBytes((await served.view.read(name)) ?? Buffer.alloc(0), data, name)
        await eventually('nothing hidden is left', async () =>
          (await served.view.paths()).every((path) => !path.startsWith('.ovfsd/') || path === '.ovfsd/'),
        )
      }
      await served.reconnect()
      for (const [name, data] of files) assertSameBytes(await served.guestFs().readFile(name), data, name)
      assert.deepEqual(await served.guestFs().list(), ['large', 'pages', 'small'])
    })
  }

  it('a guest that vanishes in the middle of requests harms nobody', async (t) => {
    const served = await servedFor(t, store)
    for (let round = 0; round < 5; round++) {
      const { client } = served
      const fs = served.guestFs()
      const file = await fs.open('busy', O_RDWR | O_CREAT)
      const requests = Array.from({ length: 64 }, (_, i) => [
        client.write(file.nodeid, file.fh, i * MIB, randomBytes(MIB)).catch(() => 0),
        client.lookup(1, `missing${i}`).catch(() => 0),
        fs.list().catch(() => []),
      ]).flat()
      await served.disconnect()
      await Promise.allSettled(requests)
      await served.reconnect()
      assert.equal(await served.guestFs().exists('busy'), true)
    }
    await eventually('all is settled', () => {
      const { device, cache } = served.stats()
      return device.slotsInFlight === 0 && cache.dirtyFiles === 0 && cache.waiters === 0
    })
  })

  it('the server can be closed in the middle of requests', async () => {
    const served = await serve({ mounts: [{ store }], settings: { cacheSizeBytes: 16 * MIB } })
    const fs = served.guestFs()
    await fs.writeFile('large', randomBytes(30 * MIB))
    const file = await fs.open('large', O_RDWR)
    const requests = Array.from({ length: 30 }, (_, i) => [
      served.client.read(file.nodeid, file.fh, i * MIB, MIB),
      served.client.lookup(1, `missing${i}`),
    ]).flat()
    const settled = Promise.allSettled(requests)
    await eventually('requests are under way', () => served.stats().device.slotsInFlight > 0)
    await served.server.close()
    served.client.close()
    await settled
    assert.equal(served.stats().device.slotsInFlight, 0)
    assert.deepEqual(served.defects(), [])
    for (const prepared of served.stores) await prepared.dispose()
  })

  it('the server saves all that is dirty when it is closed', async () => {
    const served = await serve({
      mounts: [{ store }],
      settings: { writeBack: true, dirtyExpireMs: 3_600_000 },
    })
    await served.guestFs().writeFile('unsaved', 'contents')
    const { view } = { view: served.hasView ? served.view : null }
    await served.server.close()
    if (view !== null) assert.equal((await view.read('unsaved'))?.toString(), 'contents')
    served.client.close()
    for (const prepared of served.stores) await prepared.dispose()
  })
})

describeEachStore('accounts', STORES, (store) => {
  const { rounds, fileCount, listedCount } = store.properties.isServer ? SERVER_WORK : LOCAL_WORK

  it('are back to where they started after a day of work', async (t) => {
    const served = await servedFor(t, store, { settings: { enabledCache: false } })
    await served.nodeid('m')
    const before = held(served)
    for (let round = 0; round < rounds; round++) {
      const fs = served.guestFs()
      await fs.mkdirs('a/b/c')
      for (let i = 0; i < fileCount; i++) await fs.writeFile(`a/b/c/file${i}`, randomBytes(5000 * i))
      for (let i = 0; i < fileCount; i++) await fs.readFile(`a/b/c/file${i}`)
      await fs.listWithAttributes('a/b/c')
      await fs.list('a')
      await fs.rename('a/b/c/file1', 'a/moved')
      await fs.rename('a/b', 'b')
      const open = await fs.open('b/c/file2', O_RDWR)
      await fs.unlink('b/c/file2')
      await open.write(0, 'x')
      await open.close()
      for (const code of [codeOf(fs.stat('missing')), codeOf(fs.rmdir('b')), codeOf(fs.rename('a', 'b'))]) {
        assert.notEqual(await code, 'OK')
      }
      await fs.removeTree('a')
      await fs.removeTree('b')
      assert.deepEqual(held(served), before, `round ${round}`)
    }
  })

  it('with a cache keep inodes only for what is cached', async (t) => {
    const served = await servedFor(t, store)
    await served.nodeid('m')
    const before = held(served)
    const fs = served.guestFs()
    for (let i = 0; i < fileCount; i++) await fs.writeFile(`file${i}`, 'x')
    for (let i = 0; i < fileCount; i++) await fs.writeFile(`empty${i}`, '')
    const cached = served.stats()
    assert.equal(cached.inodes, (before['inodes'] ?? 0) + fileCount)
    assert.equal(cached.cache.leasedSlabs, fileCount)
    for (let i = 0; i < fileCount; i++) await fs.unlink(`file${i}`)
    assert.deepEqual(held(served), before)
  })

  it("let the cache's inodes go when their blocks are evicted", async (t) => {
    const served = await servedFor(t, store, { settings: { cacheSizeBytes: 16 * MIB } })
    await served.nodeid('m')
    const fs = served.guestFs()
    for (let i = 0; i < 60; i++) await fs.writeFile(`file${i}`, randomBytes(MIB))
    const { inodes, treeInodes } = served.stats()
    assert.ok(inodes < 25, `${inodes} inodes for a pool of 16 files`)
    assert.ok(treeInodes < 25, `${treeInodes} inodes in the tree`)
  })

  it('do not count names that were listed and forgotten', async (t) => {
    const served = await servedFor(t, store, { settings: { enabledCache: false } })
    const { client } = served
    const fs = served.guestFs()
    for (let i = 0; i < listedCount; i++) await fs.writeFile(`listed${i}`, '')
    const nodeid = await served.nodeid('m')
    const before = held(served)
    for (const size of [600, 4096, 20_000]) {
      const { fh } = await client.opendir(nodeid)
      // The first page only, as a program that has seen enough.
      const entries = await client.readdirplus(nodeid, fh, 0, size)
      await client.releasedir(nodeid, fh)
      await client.batchForget(
        entries.filter(({ entry }) => entry.nodeid !== 0).map(({ entry }) => [entry.nodeid, 1]),
      )
    }
    await eventually('the rest is let go', () => held(served)['treeInodes'] === before['treeInodes'])
    assert.deepEqual(held(served), before)
  })

  it('do not count what was moved by those who never looked it up', async (t) => {
    const served = await servedFor(t, store, { settings: { enabledCache: false } })
    const { client } = served
    const fs = served.guestFs()
    await fs.writeFile('name0', 'x')
    const nodeid = await served.nodeid('m')
    const before = held(served)
    for (let i = 0; i < 10; i++) await client.rename(nodeid, `name${i}`, nodeid, `name${i + 1}`)
    assert.equal(await codeOf(client.create(nodeid, 'name10', O_RDWR | O_CREAT | 0o200)), 'EEXIST')
    assert.equal(await codeOf(client.mkdir(nodeid, 'name10')), 'EEXIST')
    assert.equal(await codeOf(client.rmdir(nodeid, 'name10')), 'ENOTDIR')
    await eventually('the inodes are let go', () => held(served)['treeInodes'] === before['treeInodes'])
    assert.deepEqual(held(served), before)
  })
})
