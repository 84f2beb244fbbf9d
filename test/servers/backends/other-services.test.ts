/**
 * What a guest sees of services that have no suite of their own: WebDAV and plain HTTP by Apache httpd. What the suites of
 * test/operations ask of names on WebDAV is not repeated here.
 */
import assert from 'node:assert/strict'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, before, describe, it } from 'node:test'
import { createBackend } from '../../../src/backends/create-backend.js'
import { O_CREAT, O_RDWR, O_WRONLY } from '../../frontend/abi.js'
import { codeOf } from '../../frontend/fuse-client.js'
import { S3Client, WebdavClient } from '../clients.js'
import { startFaultProxy } from '../fault-proxy.js'
import { ODD_NAMES } from '../odd-names.js'
import { freshBucket, freshCollection, sharedServers } from '../shared.js'
import { assertSameBytes, randomBytes } from '../../support/bytes.js'
import { s3Options } from '../../support/object-stores.js'
import { eventually, serve, type Served } from '../../support/served.js'
import { memoryStore, webdavStore, type PreparedStore } from '../../support/stores.js'

const MIB = 1 << 20
const TIMEOUT_MS = 30_000
/** More than two of the parts that other services take. */
const LARGE_BYTES = 17 * MIB + 123

describe('a mount of webdav', () => {
  let served: Served
  before(async () => {
    // Everything is asked for again each time.
    served = await serve({ mounts: [{ store: webdavStore, expirationMs: 0 }] })
  })
  after(() => served.close())

  it('stores large files, changes them anywhere and cuts them', async () => {
    const fs = served.guestFs()
    const data = randomBytes(LARGE_BYTES)
    await fs.writeFile('large', data)
    assertSameBytes((await served.view.read('large')) ?? Buffer.alloc(0), data, 'as others see it')
    const change = randomBytes(5000, 2)
    const file = await fs.open('large', O_RDWR)
    await file.write(9 * MIB + 1, change)
    await file.close()
    change.copy(data, 9 * MIB + 1)
    assertSameBytes((await served.view.read('large')) ?? Buffer.alloc(0), data, 'changed')
    await fs.truncate('large', 10 * MIB)
    assertSameBytes(await fs.readFile('large'), data.subarray(0, 10 * MIB), 'cut')
    assert.equal((await served.view.read('large'))?.length, 10 * MIB)
  })

  it('stores a file that is longer than the cache', async (t) => {
    const small = await serve({ mounts: [{ store: webdavStore }], settings: { cacheSizeBytes: 16 * MIB } })
    t.after(() => small.close())
    const data = randomBytes(LARGE_BYTES, 3)
    await small.guestFs().writeFile('large', data)
    assertSameBytes((await small.view.read('large')) ?? Buffer.alloc(0), data)
  })

  it('refuses what one request cannot carry with EFBIG', async () => {
    const fs = served.guestFs()
    await fs.writeFile('grows', 'data')
    assert.equal(await codeOf(fs.truncate('grows', 64 * MIB + 1)), 'EFBIG')
    assert.equal(await fs.readText('grows'), 'data')
  })

  it('sees what others change, and does not overwrite it', async () => {
    const fs = served.guestFs()
    await fs.writeFile('shared', 'ours')
    await served.view.write('shared', 'theirs, and longer')
    assert.equal(await fs.readText('shared'), 'theirs, and longer')
    const file = await fs.open('shared', O_RDWR)
    await file.write(0, 'OURS')
    await served.view.write('shared', 'theirs again')
    assert.equal(await codeOf(file.flush()), 'ESTALE')
    await file.close().catch(() => undefined)
    assert.equal((await served.view.read('shared'))?.toString(), 'theirs again')
    await served.view.remove('shared')
    assert.equal(await fs.exists('shared'), false)
    await served.view.mkdir('shared')
    assert.deepEqual(await fs.list('shared'), [])
  })

  it('keeps a file the same while its etag goes from weak to strong', async () => {
    const fs = served.guestFs()
    const file = await fs.open('young', O_CREAT | O_RDWR)
    await file.write(0, 'data')
    await file.flush()
    const access = await sharedServers().httpd()
    const url = `${access.davEndpoint}${served.stores[0]?.options['root'] ?? ''}/young`
    await eventually('the etag is a strong one', async () => {
      const { headers } = await fetch(url, { method: 'HEAD' })
      return headers.get('etag')?.startsWith('"') === true
    })
    await file.write(0, 'more')
    await file.close()
    assert.equal((await served.view.read('young'))?.toString(), 'more')
  })

  it('keeps what others have put into a directory that is removed or replaced meanwhile', async () => {
    const access = await sharedServers().httpd()
    const root = await freshCollection(access)
    const backend = createBackend({
      ...{ type: 'webdav', options: { endpoint: access.davEndpoint, root } },
      timeoutMs: TIMEOUT_MS,
    })
    const others = new WebdavClient(access.davEndpoint)
    await backend.createDirectory('full')
    await backend.createDirectory('moved')
    await backend.write('file', Buffer.from('data'), null)
    await others.put(`${root}/full/theirs`, 'data')
    // The file system has looked, and found them empty, before it asks for these.
    await assert.rejects(backend.removeDirectory('full'), { errno: 'ENOTEMPTY' })
    await assert.rejects(backend.rename('moved', 'full', 'directory'), { errno: 'ENOTEMPTY' })
    await assert.rejects(backend.rename('file', 'full', 'file'), { errno: 'EISDIR' })
    assert.equal((await others.get(`${root}/full/theirs`))?.toString(), 'data')
    await others.delete(`${root}/full/theirs`)
    await backend.rename('moved', 'full', 'directory')
    assert.deepEqual((await backend.list('')).map(({ name }) => name).sort(), ['file', 'full'])
    await others.delete(`${root}/`)
  })

  it('is EIO while the server is away, and other mounts go on', async (t) => {
    const prepared = await webdavStore.prepare()
    const proxy = await startFaultProxy(prepared.options['endpoint'] ?? '')
    t.after(() => proxy.stop())
    const options = { ...prepared.options, endpoint: proxy.endpoint }
    const store = { prepare: (): Promise<PreparedStore> => Promise.resolve({ ...prepared, options }) }
    const both = await serve({
      mounts: [
        { store, mountPoint: ['away'], expirationMs: 0 },
        { store: memoryStore, mountPoint: ['here'] },
      ],
    })
    t.after(() => both.close())
    const fs = both.guestFs('away')
    await fs.writeFile('file', 'before')
    const file = await fs.open('file', O_RDWR)
    await file.write(0, 'behind')
    await proxy.refuse()
    assert.equal(await codeOf(fs.stat('other')), 'EIO')
    assert.equal(await codeOf(file.fsync()), 'EIO')
    await both.guestFs('here').writeFile('file', 'data')
    assert.equal(await both.guestFs('here').readText('file'), 'data')
    await proxy.heal()
    await file.fsync()
    await file.close()
    assert.equal((await prepared.view?.read('file'))?.toString(), 'behind')
  })

  it('logs in with each request, by whichever hand it is sent', async (t) => {
    const seen = new Map<string, string | undefined>()
    const server = createServer((request, response) => {
      seen.set(
        `${request.method ?? ''} ${String(request.headers['depth'] ?? '')}`,
        request.headers.authorization,
      )
      response.writeHead(404).end()
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    t.after(() => server.close())
    const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}/dav`
    const options = { endpoint, username: 'user', password: 'p:ä' }
    const backend = createBackend({ type: 'webdav', options, timeoutMs: TIMEOUT_MS })
    assert.equal(await backend.stat('file'), null)
    assert.deepEqual(await backend.list('directory'), [])
    const expected = `Basic ${Buffer.from('user:p:ä').toString('base64')}`
    assert.deepEqual([seen.get('PROPFIND 0'), seen.get('PROPFIND 1')], [expected, expected])
  })
})

describe('a mount of http', () => {
  let served: Served
  let others: WebdavClient
  let root: string
  before(async () => {
    const access = await sharedServers().httpd()
    root = await freshCollection(access)
    others = new WebdavClient(access.davEndpoint)
    await others.mkdir(`${root}/directory/`)
    await others.put(`${root}/directory/file`, 'contents')
    await others.put(`${root}/large`, randomBytes(LARGE_BYTES))
    const prepared: PreparedStore = {
      ...{ type: 'http', options: { endpoint: access.httpEndpoint, root } },
      ...{ view: null, hostDirectory: null },
      dispose: () => others.delete(`${root}/`),
    }
    served = await serve({
      mounts: [{ store: { prepare: () => Promise.resolve(prepared) }, expirationMs: 0 }],
    })
  })
  after(() => served.close())

  it('reads files whose names are known, in directories too', async () => {
    const fs = served.guestFs()
    assert.equal(await fs.readText('directory/file'), 'contents')
    assert.equal((await fs.stat('directory/file')).size, 8)
    assertSameBytes(await fs.readFile('large'), randomBytes(LARGE_BYTES))
    assert.equal(await codeOf(fs.stat('directory/none')), 'ENOENT')
    assert.equal(await codeOf(fs.stat('none/file')), 'ENOENT')
  })

  it('reads files of any name', async () => {
    const fs = served.guestFs()
    for (const name of ODD_NAMES) {
      await others.put(`${root}/${name}`, `data of ${name}`)
      assert.equal(await fs.readText(name), `data of ${name}`)
    }
  })

  it('sees what others change', async () => {
    const fs = served.guestFs()
    await others.put(`${root}/changing`, 'first')
    const file = await fs.open('changing')
    assert.equal((await file.read(0, 100)).toString(), 'first')
    await file.close()
    await others.put(`${root}/changing`, 'second, and longer')
    assert.equal(await fs.readText('changing'), 'second, and longer')
    await others.delete(`${root}/changing`)
    assert.equal(await fs.exists('changing'), false)
  })

  it('refuses every change with EROFS, and listings with EOPNOTSUPP', async () => {
    const fs = served.guestFs()
    const attempts = {
      create: () => fs.writeFile('new', 'data'),
      openToWrite: () => fs.open('directory/file', O_WRONLY),
      truncate: () => fs.truncate('directory/file', 0),
      mkdir: () => fs.mkdir('new'),
      unlink: () => fs.unlink('directory/file'),
      rmdir: () => fs.rmdir('directory'),
      rename: () => fs.rename('directory/file', 'directory/new'),
    }
    for (const [name, attempt] of Object.entries(attempts))
      assert.equal(await codeOf(attempt()), 'EROFS', name)
    assert.equal(await codeOf(fs.list('directory')), 'EOPNOTSUPP')
    assert.equal(await fs.readText('directory/file'), 'contents')
  })
})

describe('services that take no conditions', () => {
  it('compare before a write, and report a lost update all the same', async () => {
    const access = await freshBucket(await sharedServers().ceph())
    const options = { ...s3Options(access), disable_write_with_if_match: 'true' }
    const backend = createBackend({ type: 's3', options, timeoutMs: TIMEOUT_MS })
    const { version } = await backend.write('file', Buffer.from('ours'), null)
    await new S3Client(access).put('file', 'theirs')
    await assert.rejects(backend.write('file', Buffer.from('ours again'), version), { errno: 'ESTALE' })
    assert.equal((await new S3Client(access).get('file'))?.data.toString(), 'theirs')
  })

  it('are not asked to append to what was not made for it', () => {
    const options = { container: 'c', endpoint: 'http://127.0.0.1:1', account_name: 'a', account_key: 'YQ==' }
    const backend = createBackend({ type: 'azblob', options, timeoutMs: TIMEOUT_MS })
    assert.equal(backend.capabilities.append, false)
    assert.deepEqual([backend.accepts('back\\slash'), backend.accepts('plain')], [false, true])
  })
})
