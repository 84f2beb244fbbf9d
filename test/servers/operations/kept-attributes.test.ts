/** Mounts with `keep_attributes`: mode, owner and time are the guest's to set, and outlive the daemon. */
import assert from 'node:assert/strict'
import { after, afterEach, before, describe, it } from 'node:test'
import { FaultyFront } from '../../lib/backends/faulty-front.js'
import { O_CREAT, O_RDWR, O_WRONLY, S_IFDIR, S_IFMT, S_IFREG } from '../../frontend/abi.js'
import { codeOf } from '../../frontend/fuse-client.js'
import type { Attr } from '../../frontend/fuse-structs.js'
import type { GuestFs } from '../../frontend/guest-fs.js'
import { startFaultProxy, type FaultProxy } from '../fault-proxy.js'
import { assertSameBytes, randomBytes } from '../../support/bytes.js'
import { freshObjectStore, type ObjectStore } from '../../support/object-stores.js'
import { RELOAD_SETTINGS, serve, type MountSpec, type Served } from '../../support/served.js'

const DEFAULTS = { uid: 100, gid: 200, fileMode: 0o640, dirMode: 0o750 }
/** 2020-09-13 12:26:40 UTC and a quarter: exact in the guest's double of seconds. */
const MTIME = 1_600_000_000.25
const STORED_MTIME = '1600000000.250000000'
const MEBIBYTE = 1 << 20
/** Streamed while it is written: more than two parts of 8 MiB. */
const STREAM_MEBIBYTES = 20

function mount(store: ObjectStore, extra: Partial<MountSpec> = {}): Promise<Served> {
  return serve({ mounts: [{ ...DEFAULTS, keepAttributes: true, store, ...extra }] })
}

/** The same store by another way. */
function reachedBy(store: ObjectStore, endpoint: string): ObjectStore {
  const options = { ...store.options, endpoint }
  return { ...store, options, prepare: async () => ({ ...(await store.prepare()), options }) }
}

function permissions({ mode, uid, gid }: Attr): [mode: number, uid: number, gid: number] {
  return [mode & ~S_IFMT, uid, gid]
}

function mtimeOf(attr: Attr): number {
  return attr.mtime + attr.mtimensec / 1e9
}

for (const type of ['s3', 'swift'] as const) {
  describe(`attributes that ${type} keeps`, () => {
    let store: ObjectStore
    let served: Served
    let fs: GuestFs

    before(async () => {
      store = await freshObjectStore(type)
      served = await mount(store)
      fs = served.guestFs()
    })
    after(() => served.close())

    /** The daemon ends and another one begins. */
    async function restart(extra: Partial<MountSpec> = {}): Promise<void> {
      await served.close()
      served = await mount(store, extra)
      fs = served.guestFs()
    }

    it('are those that a file and a directory were made with', async () => {
      const { client } = served
      const root = await served.nodeid()
      const who = { uid: 1000, gid: 1001 }
      const { entry, fh } = await client.create(root, 'made', O_WRONLY | O_CREAT, 0o100666, 0o027, who)
      assert.deepEqual(permissions(entry.attr), [0o640, 1000, 1001])
      await client.write(entry.nodeid, fh, 0, Buffer.from('x'))
      await client.flush(entry.nodeid, fh)
      await client.release(entry.nodeid, fh)
      const directory = await client.mkdir(root, 'made-directory', 0o777, 0o022, who)
      assert.deepEqual(permissions(directory.attr), [0o755, 1000, 1001])
      assert.equal(directory.attr.mode & S_IFMT, S_IFDIR)
      const node = await client.mknod(root, 'made-node', S_IFREG | 0o604, 0, 0, who)
      assert.deepEqual(permissions(node.attr), [0o604, 1000, 1001])
      const before = [await fs.stat('made'), await fs.stat('made-directory'), await fs.stat('made-node')]
      await restart()
      const names = ['made', 'made-directory', 'made-node']
      for (const [index, name] of names.entries()) {
        const now = await fs.stat(name)
        assert.deepEqual(permissions(now), permissions(before[index] ?? now), name)
        assert.equal(mtimeOf(now), mtimeOf(before[index] ?? now), name)
      }
      assert.deepEqual((await store.metadata('made'))?.['mode'], String(S_IFREG | 0o640))
      assert.deepEqual((await store.metadata('made-directory/'))?.['mode'], String(S_IFDIR | 0o755))
    })

    it('of a directory with the set-group-ID bit are handed on', async () => {
      const { client } = served
      await fs.mkdir('shared')
      await fs.setattr('shared', { mode: S_IFDIR | 0o2775, gid: 77 })
      const shared = await served.nodeid('m/shared')
      const { entry, fh } = await client.create(shared, 'file', O_WRONLY | O_CREAT, 0o644, 0, {
        uid: 5,
        gid: 6,
      })
      await client.release(entry.nodeid, fh)
      assert.deepEqual(permissions(entry.attr), [0o644, 5, 77])
      const below = await client.mkdir(shared, 'below', 0o755, 0, { uid: 5, gid: 6 })
      assert.deepEqual(permissions(below.attr), [0o2755, 5, 77])
    })

    it('are in the store when a change of them is answered', async () => {
      await fs.writeFile('changed', 'contents')
      await fs.chmod('changed', S_IFREG | 0o4711)
      assert.equal((await store.metadata('changed'))?.['mode'], String(S_IFREG | 0o4711))
      await fs.setattr('changed', { uid: 7, gid: 8 })
      await fs.utimes('changed', 0, MTIME)
      const { mode, uid, gid, mtime } = (await store.metadata('changed')) ?? {}
      assert.deepEqual([mode, uid, gid, mtime], [String(S_IFREG | 0o4711), '7', '8', STORED_MTIME])
      assert.equal((await store.contents('changed'))?.toString(), 'contents')
      await fs.mkdir('changed-directory')
      await fs.setattr('changed-directory', { mode: S_IFDIR | 0o1777, uid: 7, mtime: MTIME })
      const directory = (await store.metadata('changed-directory/')) ?? {}
      assert.deepEqual([directory['mode'], directory['uid']], [String(S_IFDIR | 0o1777), '7'])
      await restart()
      const file = await fs.stat('changed')
      assert.deepEqual([...permissions(file), mtimeOf(file)], [0o4711, 7, 8, MTIME])
      assert.deepEqual(permissions(await fs.stat('changed-directory')).slice(0, 2), [0o1777, 7])
      assert.equal(mtimeOf(await fs.stat('changed-directory')), MTIME)
    })

    it('stay through a rename, a rewrite and an append, and the time moves with the contents', async () => {
      await fs.mkdir('from')
      await fs.writeFile('from/file', 'one')
      await fs.setattr('from/file', { mode: 0o600, uid: 7, gid: 8, mtime: MTIME })
      await fs.setattr('from', { mode: 0o700, uid: 9 })
      await fs.rename('from/file', 'from/renamed')
      assert.equal(mtimeOf(await fs.stat('from/renamed')), MTIME)
      await fs.rename('from', 'to')
      await restart()
      assert.deepEqual(permissions(await fs.stat('to')).slice(0, 2), [0o700, 9])
      const renamed = await fs.stat('to/renamed')
      assert.deepEqual([...permissions(renamed), mtimeOf(renamed)], [0o600, 7, 8, MTIME])
      await fs.writeFile('to/renamed', 'two')
      await fs.appendFile('to/renamed', ' three')
      const written = await fs.stat('to/renamed')
      assert.ok(mtimeOf(written) > MTIME)
      await restart()
      const after = await fs.stat('to/renamed')
      assert.deepEqual([...permissions(after), mtimeOf(after)], [0o600, 7, 8, mtimeOf(written)])
      assert.equal(await fs.readText('to/renamed'), 'two three')
    })

    it('that are changed while a file is open are stored with its contents', async () => {
      const file = await fs.open('open', O_RDWR | O_CREAT)
      await file.write(0, 'first')
      await fs.setattr('open', { mode: 0o600, uid: 7 })
      await fs.utimes('open', 0, MTIME)
      await file.close()
      const { mode, uid, mtime } = (await store.metadata('open')) ?? {}
      assert.deepEqual([mode, uid, mtime], [String(S_IFREG | 0o600), '7', STORED_MTIME])
    })

    it('of a large file that is copied with cp -p are those of the original', async () => {
      const data = randomBytes(STREAM_MEBIBYTES * MEBIBYTE)
      const file = await fs.open('large', O_RDWR | O_CREAT, 0o600)
      await file.write(0, data)
      await fs.setattr('large', { mode: 0o751, uid: 7, gid: 8 })
      await fs.utimes('large', 0, MTIME)
      await file.close()
      const large = await fs.stat('large')
      assert.deepEqual([...permissions(large), mtimeOf(large)], [0o751, 7, 8, MTIME])
      assertSameBytes(await fs.readFile('large'), data)
      await restart()
      const again = await fs.stat('large')
      assert.deepEqual([...permissions(again), mtimeOf(again)], [0o751, 7, 8, MTIME])
      assertSameBytes(await fs.readFile('large'), data)
    })

    it('of a large file that was only written are the same before and after', async () => {
      await fs.writeFile('written', randomBytes(STREAM_MEBIBYTES * MEBIBYTE))
      const before = await fs.stat('written')
      await restart()
      assert.equal(mtimeOf(await fs.stat('written')), mtimeOf(before))
    })

    it('of a large file that was changed in the middle stay', async () => {
      const data = randomBytes(STREAM_MEBIBYTES * MEBIBYTE)
      await fs.writeFile('rebuilt', data)
      await fs.setattr('rebuilt', { mode: 0o600, uid: 7, gid: 8 })
      const file = await fs.open('rebuilt', O_RDWR)
      await file.write(9 * MEBIBYTE, 'changed')
      await file.close()
      data.write('changed', 9 * MEBIBYTE)
      await restart()
      assert.deepEqual(permissions(await fs.stat('rebuilt')), [0o600, 7, 8])
      assertSameBytes(await fs.readFile('rebuilt'), data)
    })

    it('of a file that the server copies are the copy’s own', async () => {
      await fs.writeFile('source', randomBytes(200_000))
      await fs.setattr('source', { mode: 0o4755, uid: 7 })
      const { client } = served
      const from = await fs.open('source')
      const to = await fs.open('target', O_RDWR | O_CREAT, 0o600)
      const [source, target] = [await served.nodeid('m/source'), await served.nodeid('m/target')]
      const whole = { nodeid: source, fh: from.fh, offset: 0 }
      const copied = await client.copyFileRange(whole, { nodeid: target, fh: to.fh, offset: 0 }, 200_000)
      assert.equal(copied, 200_000)
      await from.close()
      await to.close()
      const mtime = mtimeOf(await fs.stat('target'))
      await restart()
      const attr = await fs.stat('target')
      assert.deepEqual([attr.mode & ~S_IFMT, attr.uid, attr.size, mtimeOf(attr)], [0o600, 0, 200_000, mtime])
    })

    it('of other programs’ objects are the mount’s where they have none', async () => {
      await store.put('theirs/plain', 'x')
      await store.put('theirs/garbage', 'x', { mode: 'rwx', uid: '-7', gid: 'wheel', mtime: '1e3' })
      await store.put('theirs/s3fs', 'x', { mode: '33261', uid: '7', gid: '8', mtime: '1600000000' })
      assert.deepEqual(permissions(await fs.stat('theirs')), [0o750, 100, 200])
      assert.deepEqual(permissions(await fs.stat('theirs/plain')), [0o640, 100, 200])
      assert.deepEqual(permissions(await fs.stat('theirs/garbage')), [0o640, 100, 200])
      const s3fs = await fs.stat('theirs/s3fs')
      assert.deepEqual([...permissions(s3fs), mtimeOf(s3fs)], [0o755, 7, 8, 1_600_000_000])
      // What nobody has set is not made the object's own by setting something else.
      const { mtime } = await fs.stat('theirs/plain')
      await fs.chmod('theirs/plain', 0o600)
      await restart({ uid: 300 })
      const plain = await fs.stat('theirs/plain')
      assert.deepEqual([...permissions(plain), plain.mtime], [0o600, 300, 200, mtime])
    })

    it('are in a listing', async () => {
      await fs.mkdir('listed')
      await fs.mkdir('listed/directory')
      await fs.chmod('listed/directory', 0o711)
      for (let index = 0; index < 20; index++) {
        await fs.writeFile(`listed/file-${index}`, 'x')
        await fs.setattr(`listed/file-${index}`, { uid: index, mtime: MTIME + index })
      }
      await store.put('listed/foreign', 'x')
      await restart()
      const entries = await fs.listWithAttributes('listed')
      assert.equal(entries.size, 22)
      for (let index = 0; index < 20; index++) {
        const attr = entries.get(`file-${index}`) ?? assert.fail(`file-${index} is not listed`)
        assert.deepEqual([attr.uid, mtimeOf(attr)], [index, MTIME + index])
      }
      assert.equal((entries.get('directory')?.mode ?? 0) & ~S_IFMT, 0o711)
      assert.equal(entries.get('foreign')?.uid, DEFAULTS.uid)
    })

    it('are changed on what somebody else has just stored, without harm to it', async () => {
      await fs.writeFile('contended', 'mine')
      await store.put('contended', 'theirs, and longer')
      await fs.chmod('contended', 0o600)
      assert.equal((await store.contents('contended'))?.toString(), 'theirs, and longer')
      const attr = await fs.stat('contended')
      assert.deepEqual([attr.mode & ~S_IFMT, attr.size], [0o600, 18])
      assert.equal(await fs.readText('contended'), 'theirs, and longer')
    })

    it('of an unlinked file are kept for its handles only', async () => {
      const file = await fs.open('unlinked', O_RDWR | O_CREAT)
      await file.write(0, 'x')
      await file.flush()
      const { client } = served
      const nodeid = await served.nodeid('m/unlinked')
      await fs.unlink('unlinked')
      const attr = await client.setattr(nodeid, { mode: 0o600, mtime: MTIME })
      assert.deepEqual([attr.mode & ~S_IFMT, mtimeOf(attr)], [0o600, MTIME])
      await file.close()
      assert.deepEqual(
        (await store.names()).filter((name) => name.includes('unlinked')),
        [],
      )
    })

    it('of the mount’s own root are the configuration’s', async () => {
      assert.deepEqual(permissions(await fs.stat('')), [0o750, 100, 200])
      assert.equal(await codeOf(fs.chmod('', 0o700)), 'EPERM')
      await fs.chmod('', 0o750)
    })

    it('are not changed through a mount that is read-only', async () => {
      await fs.writeFile('read-only', 'x')
      await restart({ readOnly: true })
      assert.equal(await codeOf(fs.chmod('read-only', 0o600)), 'EROFS')
      await restart()
    })

    it('come and go with the setting, while a guest has the mount', async () => {
      await fs.writeFile('switched', 'x')
      await fs.setattr('switched', { mode: 0o600, uid: 7 })
      const mounted = {
        ...{ name: 'mount0', type, options: store.options, timeoutMs: 30_000, mountPoint: ['m'] },
        ...{
          ...DEFAULTS,
          readOnly: false,
          expirationMs: 60_000,
          storeKey: type,
          guestCache: 'auto' as const,
        },
      }
      const settings = RELOAD_SETTINGS
      const switchTo = async (keepAttributes: boolean): Promise<void> => {
        const change = {
          before: { ...mounted, keepAttributes: !keepAttributes },
          after: { ...mounted, keepAttributes },
        }
        assert.deepEqual(
          await served.server.reload({ settings, added: [], removed: [], changed: [change] }),
          [],
        )
      }
      await switchTo(false)
      assert.deepEqual(permissions(await fs.stat('switched')), [0o640, 100, 200])
      assert.equal(await codeOf(fs.chmod('switched', 0o777)), 'EPERM')
      await switchTo(true)
      assert.deepEqual(permissions(await fs.stat('switched')), [0o600, 7, 0])
    })
  })
}

describe('attributes that a store keeps, over a bad network', () => {
  let store: ObjectStore
  let front: FaultyFront
  let served: Served
  before(async () => {
    store = await freshObjectStore('s3')
    front = await FaultyFront.start(store.options['endpoint'] ?? '')
    served = await mount(reachedBy(store, front.origin))
  })
  afterEach(() => {
    front.decide = () => null
  })
  after(async () => {
    await served.close()
    await front.stop()
  })

  it('are as before when a change is refused', async () => {
    const fs = served.guestFs()
    await fs.writeFile('refused', 'x')
    await fs.mkdir('refused-directory')
    await fs.chmod('refused', 0o644)
    const before = [await fs.stat('refused'), await fs.stat('refused-directory')]
    front.decide = ({ method }) => (method === 'PUT' ? { status: 403 } : null)
    assert.equal(await codeOf(fs.setattr('refused', { mode: 0o600, uid: 7, mtime: MTIME })), 'EACCES')
    assert.equal(await codeOf(fs.setattr('refused-directory', { mode: 0o700 })), 'EACCES')
    for (const [index, name] of ['refused', 'refused-directory'].entries()) {
      const [now, then] = [await fs.stat(name), before[index] ?? assert.fail()]
      assert.deepEqual([...permissions(now), mtimeOf(now)], [...permissions(then), mtimeOf(then)], name)
    }
    front.decide = () => null
    await fs.chmod('refused', 0o600)
    assert.equal((await store.metadata('refused'))?.['mode'], String(S_IFREG | 0o600))
    assert.equal((await store.metadata('refused'))?.['uid'], '0')
    await fs.writeFile('refused', 'still works')
    assert.equal(await fs.readText('refused'), 'still works')
  })

  it('that could not be stored behind the contents are stored by the next close', async () => {
    const fs = served.guestFs()
    const file = await fs.open('later', O_RDWR | O_CREAT, 0o644)
    await file.write(0, randomBytes(STREAM_MEBIBYTES * MEBIBYTE))
    await fs.chmod('later', 0o600)
    front.decide = ({ headers }) => ('x-amz-copy-source' in headers ? { status: 503 } : null)
    assert.equal(await codeOf(file.flush()), 'EIO')
    front.decide = () => null
    await file.flush()
    assert.equal((await store.metadata('later'))?.['mode'], String(S_IFREG | 0o600))
    assertSameBytes(await fs.readFile('later'), randomBytes(STREAM_MEBIBYTES * MEBIBYTE))
    await file.close()
  })
})

describe('attributes that a store keeps, in requests', () => {
  let proxy: FaultProxy
  let served: Served
  before(async () => {
    const store = await freshObjectStore('s3')
    for (let index = 0; index < 30; index++) await store.put(`directory/file-${index}`, 'x', { uid: '7' })
    proxy = await startFaultProxy(store.options['endpoint'] ?? '')
    served = await mount(reachedBy(store, proxy.endpoint))
  })
  after(async () => {
    await served.close()
    await proxy.stop()
  })

  it('cost one for each entry that is listed with them, and none for names', async () => {
    const fs = served.guestFs('m', { forget: false })
    await fs.stat('directory')
    proxy.resetCounters()
    assert.equal((await fs.list('directory')).length, 30)
    assert.deepEqual([proxy.countRequests('HEAD'), proxy.countRequests('GET')], [0, 1])
    proxy.resetCounters()
    assert.equal((await fs.listWithAttributes('directory')).size, 30)
    assert.equal(proxy.countRequests('HEAD'), 30)
    assert.ok(proxy.countRequests('GET') <= 1, 'no listing for each entry')
  })
})
