/** What an operator asks of a running server: to forget what is cached, so that changes from outside are seen at once, and to store what is dirty. */
import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import type { Backend } from '../../../src/backends/backend.js'
import { listPageOf } from '../../../src/backends/list-page.js'
import { StorageError } from '../../../src/backends/storage-error.js'
import type { FileSystem } from '../../../src/fs/file-system.js'
import { FsError } from '../../../src/fs/fs-error.js'
import { O_CREAT, O_RDONLY, O_RDWR } from '../../frontend/abi.js'
import type { GuestFs } from '../../frontend/guest-fs.js'
import { assertSameBytes, randomBytes } from '../../support/bytes.js'
import { describeStores, eventually, RELOAD_SETTINGS, serve, type Served } from '../../support/served.js'
import { directoryStore, SHARED_STORES } from '../../support/stores.js'

/** Nothing expires by itself. */
const NEVER_MS = 3_600_000
const MIB = 1 << 20

/** A guest with much memory: the daemon keeps what it knows as long as the guest does. */
function guest(served: Served, base = 'm'): GuestFs {
  return served.guestFs(base, { forget: false })
}

/** Put something in the place of what the first mount's store does. Returns what puts it back. */
function override(served: Served, change: (backend: Backend) => Partial<Backend>): () => void {
  const { fs } = served.server as unknown as { readonly fs: FileSystem }
  const [mount] = fs.mounts.mounts
  assert.ok(mount !== undefined)
  const { backend } = mount
  const other: Readonly<Record<string | symbol, unknown>> = { ...change(backend) }
  mount.backend = new Proxy(backend, {
    get: (target, key): unknown => {
      if (Object.hasOwn(other, key)) return other[key]
      const value: unknown = Reflect.get(target, key)
      return typeof value === 'function' ? (value.bind(target) as unknown) : value
    },
  })
  return () => {
    mount.backend = backend
  }
}

describeStores('invalidate', { stores: SHARED_STORES, mount: { expirationMs: NEVER_MS } }, (served) => {
  const invalidate = (path: string) => served().server.control.invalidate(path)

  it('shows a name that somebody else has made, and not one that he has removed', async () => {
    const [fs, { view }] = [guest(served()), served()]
    await view.mkdir('names')
    await view.write('names/removed', 'x')
    assert.equal(await fs.exists('names/removed'), true)
    assert.equal(await fs.exists('names/made'), false)
    await view.write('names/made', 'y')
    await view.remove('names/removed')
    assert.equal(await fs.exists('names/made'), false, 'nothing is cached, so this shows nothing')
    assert.equal(await fs.exists('names/removed'), true)
    await invalidate('/m/names')
    assert.equal(await fs.exists('names/made'), true)
    assert.equal(await fs.exists('names/removed'), false)
  })

  it('shows a single file as it is now, whether it was there before or not', async () => {
    const [fs, { view }] = [guest(served()), served()]
    await view.write('single', 'abc')
    assert.equal((await fs.stat('single')).size, 3)
    assert.equal(await fs.exists('single-2'), false)
    await view.write('single', 'abcdef')
    await view.write('single-2', 'x')
    assert.equal((await fs.stat('single')).size, 3)
    await invalidate('/m/single')
    await invalidate('m/single-2/')
    assert.equal((await fs.stat('single')).size, 6)
    assert.equal(await fs.exists('single-2'), true)
  })

  it('shows a name that was removed here and made anew elsewhere', async () => {
    const [fs, { view }] = [guest(served()), served()]
    await fs.writeFile('again', 'one')
    await fs.unlink('again')
    await view.write('again', 'three')
    assert.equal(await fs.exists('again'), false)
    await invalidate('/m/again')
    assert.equal((await fs.stat('again')).size, 5)
  })

  it('lists a directory anew', async () => {
    const [fs, { view }] = [guest(served()), served()]
    await view.mkdir('listed')
    await view.write('listed/a', '')
    assert.deepEqual(await fs.list('listed'), ['a'])
    await view.write('listed/b', '')
    assert.deepEqual(await fs.list('listed'), ['a'])
    await invalidate('/')
    assert.deepEqual((await fs.list('listed')).sort(), ['a', 'b'])
  })

  it('gives back the memory of clean data, and an open file reads what is stored now', async () => {
    const [fs, { view }] = [guest(served()), served()]
    const [old, young] = [randomBytes(MIB, 1), randomBytes(MIB, 2)]
    await view.write('data', old)
    const file = await fs.open('data', O_RDONLY)
    assertSameBytes(await file.read(0, MIB), old)
    await view.write('data', young)
    assertSameBytes(await file.read(0, MIB), old, 'it is cached')
    const { bytes, mounts, inodes } = await invalidate('/m/data')
    assert.ok(bytes >= MIB, `${bytes}`)
    assert.deepEqual([mounts, inodes], [['mount0'], 1])
    assertSameBytes(await file.read(0, MIB), young)
    await file.close()
  })

  it('keeps data that is not stored yet', async () => {
    const fs = guest(served())
    const file = await fs.open('dirty', O_RDWR | O_CREAT)
    const data = randomBytes(100_000, 3)
    await file.write(0, data)
    const { unsavedFiles } = await invalidate('/m')
    assert.ok(unsavedFiles >= 1)
    assertSameBytes(await file.read(0, data.length), data)
    await file.close()
    assertSameBytes((await served().view.read('dirty')) ?? Buffer.alloc(0), data)
  })
})

describe('invalidate', () => {
  let served: Served
  before(async () => {
    served = await serve({ mounts: [{ store: directoryStore, expirationMs: NEVER_MS }] })
  })
  after(() => served.close())

  it('believes no answer to what was asked before', async () => {
    const fs = guest(served)
    await served.view.write('late', 'abc')
    let answer = (): void => undefined
    let asked = 0
    const restore = override(served, (backend) => ({
      stat: async (path, kind) => {
        const found = await backend.stat(path, kind)
        // The first answer is held back.
        if (path === 'late' && asked++ === 0) await new Promise<void>((go) => (answer = go))
        return found
      },
    }))
    const looked = fs.stat('late')
    await eventually('the store is asked', () => asked === 1)
    await served.view.write('late', 'abcdef')
    await served.server.control.invalidate('/m/late')
    answer()
    assert.equal((await looked).size, 6)
    assert.equal((await fs.stat('late')).size, 6)
    restore()
  })

  it('keeps no listing that was under way', async () => {
    const fs = guest(served)
    await served.view.mkdir('slow')
    let answer = (): void => undefined
    let asked = 0
    const restore = override(served, (backend) => ({
      listPage: async (path, token) => {
        const page = await listPageOf(backend, path, token)
        if (asked++ === 0) await new Promise<void>((go) => (answer = go))
        return page
      },
    }))
    const listed = fs.list('slow')
    await eventually('the store is asked', () => asked === 1)
    await served.view.write('slow/new', '')
    await served.server.control.invalidate('/m/slow')
    answer()
    assert.deepEqual(await listed, [])
    assert.deepEqual(await fs.list('slow'), ['new'])
    restore()
  })

  it('forgets what a program that looks at many names was told by one listing', async () => {
    const fs = guest(served)
    await served.view.mkdir('walked')
    let listings = 0
    const restore = override(served, (backend) => ({
      listSmall: (path) => {
        listings++
        return backend.list(path)
      },
    }))
    for (let index = 0; listings === 0; index++) await fs.exists(`walked/missing-${index}`)
    await served.view.write('walked/new', '')
    await served.server.control.invalidate('/m/walked')
    assert.equal(await fs.exists('walked/new'), true)
    restore()
  })

  it('refuses a path that would lead elsewhere', async () => {
    for (const path of ['/m/../x', '.', 'm/./x'])
      await assert.rejects(served.server.control.invalidate(path), FsError, path)
  })

  it('does not keep the guest waiting for a large tree', async () => {
    const fs = guest(served)
    await Promise.all(Array.from({ length: 3000 }, (_, index) => served.view.write(`large-${index}`, '')))
    await fs.list()
    for (let index = 0; index < 3000; index += 1) await fs.exists(`large-${index}`)
    let turns = 0
    const count = (): void => {
      turns++
      next = setImmediate(count)
    }
    let next = setImmediate(count)
    const { inodes } = await served.server.control.invalidate('/m')
    clearImmediate(next)
    assert.ok(inodes > 3000, `${inodes}`)
    assert.ok(turns >= 2, 'the loop did nothing else meanwhile')
  })
})

describe('invalidate and flush of several mounts', () => {
  it('say what they did, pass-through mounts too', async () => {
    const host = await mkdtemp(join(tmpdir(), 'ovfsd-invalidate-'))
    const passthrough = {
      prepare: () =>
        Promise.resolve({
          ...{ type: 'passthrough', options: { root: host }, view: null, hostDirectory: host },
          dispose: () => Promise.resolve(),
        }),
    }
    const served = await serve({
      mounts: [
        { store: directoryStore, expirationMs: NEVER_MS },
        { store: passthrough, mountPoint: ['host'] },
        { store: directoryStore, mountPoint: ['m', 'inner'], expirationMs: NEVER_MS },
      ],
      settings: { writeBack: true },
    })
    try {
      await writeFile(join(host, 'file'), 'x')
      assert.equal(await served.guestFs('host').exists('file'), true)
      const { control } = served.server
      const ofHost = await control.invalidate('/host/file')
      assert.deepEqual([ofHost.mounts, ofHost.passthrough], [[], ['mount1']])
      const ofM = await control.invalidate('/m')
      assert.deepEqual([ofM.mounts, ofM.passthrough], [['mount0', 'mount2'], []])
      assert.deepEqual((await control.invalidate('/')).passthrough, ['mount1'])

      await served.guestFs('m').writeFile('a', 'one')
      await served.guestFs('m/inner').writeFile('b', 'two')
      assert.deepEqual(await control.flush('mount2'), { files: 1, failed: 0, failures: [] })
      assert.equal((await served.stores[2]?.view?.read('b'))?.toString(), 'two')
      assert.equal(await served.view.read('a'), null)
      const restore = override(served, () => ({
        write: () => Promise.reject(new StorageError('ENOSPC', 'the store is full')),
      }))
      assert.deepEqual(await control.flush(null), {
        ...{ files: 1, failed: 1 },
        failures: [{ mount: 'mount0', path: '/m/a', errno: 'ENOSPC' }],
      })
      restore()
      assert.deepEqual(await control.flush(null), { files: 1, failed: 0, failures: [] })
      assert.equal((await served.view.read('a'))?.toString(), 'one')
      await assert.rejects(control.flush('nobody'), /no mount "nobody"/)
    } finally {
      await served.close()
      await rm(host, { recursive: true })
    }
  })
})

describe('the state of mounts', () => {
  it('tells of a store that does not answer, and of a mount that is being removed', async () => {
    // Nobody listens on port 9.
    const options = {
      bucket: 'b',
      endpoint: 'http://127.0.0.1:9',
      access_key_id: 'a',
      secret_access_key: 's',
    }
    const prepared = {
      type: 's3',
      options,
      view: null,
      hostDirectory: null,
      dispose: () => Promise.resolve(),
    }
    const served = await serve({
      mounts: [
        { store: directoryStore },
        {
          ...{ store: { prepare: () => Promise.resolve(prepared) }, mountPoint: ['away'], timeoutMs: 2000 },
          circuit: { failures: 1, pauseMs: 60_000 },
        },
      ],
    })
    try {
      const { control } = served.server
      const states = () => control.mounts().map(({ name, state, error }) => [name, state, error === null])
      assert.deepEqual(states(), [
        ['mount0', 'ready', true],
        ['mount1', 'ready', true],
      ])
      await served
        .guestFs('away')
        .list()
        .catch(() => undefined)
      assert.deepEqual(states(), [
        ['mount0', 'ready', true],
        ['mount1', 'away', false],
      ])
      const file = await served.guestFs('m').open('open', O_RDWR | O_CREAT)
      assert.equal(control.mounts()[0]?.openFiles, 1)
      const { fs } = served.server as unknown as { readonly fs: FileSystem }
      const options = { ...(fs.mounts.find('mount0')?.options ?? assert.fail()) }
      await served.server.reload({
        settings: RELOAD_SETTINGS,
        ...{ added: [], changed: [] },
        removed: [{ ...options, storeKey: 'x', timeoutMs: 1000, options: {} }],
      })
      assert.deepEqual(states(), [
        ['mount1', 'away', false],
        ['mount0', 'removed', true],
      ])
      await file.close()
      await eventually('it has come to its end', () => states().length === 1)
    } finally {
      await served.close()
    }
  })
})
