/** Stores that keep mode, owner and time with the objects, on real servers; another client looks at what is stored. */
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import type { Backend, FileAttributes } from '../../../src/backends/backend.js'
import { createBackend } from '../../../src/backends/create-backend.js'
import { ObjectStoreBackend } from '../../../src/backends/objects/object-store-backend.js'
import { S3ObjectClient } from '../../../src/backends/s3/s3-object-client.js'
import { StorageError } from '../../../src/backends/storage-error.js'
import { SwiftClient } from '../clients.js'
import { sharedServers } from '../shared.js'
import { randomBytes } from '../../support/bytes.js'
import { freshObjectStore, type ObjectStore } from '../../support/object-stores.js'
import { FaultyFront } from '../../lib/backends/faulty-front.js'

const TIMEOUT_MS = 20_000
const PART_BYTES = 8 << 20
const MTIME = { seconds: 1_600_000_000, nanoseconds: 123_456_789 }
const ATTRIBUTES: FileAttributes = { mode: 0o4751, uid: 1234, gid: 5678, mtime: MTIME }
const STORED = { mode: '35305', uid: '1234', gid: '5678', mtime: '1600000000.123456789' }
const PERMISSIONS = { mode: 0o4751, uid: 1234, gid: 5678 }
const NOTHING = { mode: null, uid: null, gid: null }

function open({ type, options }: ObjectStore, extra: Record<string, string> = {}): Backend {
  return createBackend({
    ...{ type, options: { ...options, ...extra } },
    ...{ timeoutMs: TIMEOUT_MS, keepAttributes: true },
  })
}

async function statOf(backend: Backend, path: string) {
  const stat = await backend.stat(path)
  assert.ok(stat !== null, `${path} is not there`)
  return stat
}

for (const type of ['s3', 'swift'] as const) {
  describe(`attributes kept in ${type}`, () => {
    let store: ObjectStore
    let backend: Backend
    before(async () => {
      store = await freshObjectStore(type)
      backend = open(store)
    })

    /** The object's metadata without the mark that Swift's new objects have. */
    const metadataOf = async (name: string) => {
      const metadata = Object.entries((await store.metadata(name)) ?? {})
      return Object.fromEntries(metadata.filter(([key]) => key !== 'ovfsd-write'))
    }

    it('are written with the contents, and read by anybody', async () => {
      const written = await backend.write('a file', Buffer.from('contents'), null, { attributes: ATTRIBUTES })
      assert.deepEqual([written.permissions, written.mtime], [PERMISSIONS, MTIME])
      assert.deepEqual(await metadataOf('a file'), STORED)
      const { permissions, mtime, version } = await statOf(open(store), 'a file')
      assert.deepEqual([permissions, mtime, version], [PERMISSIONS, MTIME, written.version])
    })

    it('are replaced with the contents', async () => {
      const { version } = await backend.write('again', Buffer.from('1'), null, { attributes: ATTRIBUTES })
      await backend.write('again', Buffer.from('2'), version, {
        attributes: { ...ATTRIBUTES, mode: 0o600, uid: null },
      })
      assert.deepEqual(await metadataOf('again'), { mode: '33152', gid: '5678', mtime: STORED.mtime })
    })

    it('are written with an upload in parts', async () => {
      const data = randomBytes(2 * PART_BYTES + 1)
      const writer = await backend.createWriter('parts', null, { attributes: ATTRIBUTES })
      for (let at = 0; at < data.length; at += PART_BYTES)
        await writer.write(data.subarray(at, at + PART_BYTES))
      const written = await writer.close()
      assert.deepEqual([written.permissions, written.mtime], [PERMISSIONS, MTIME])
      assert.deepEqual(await metadataOf('parts'), STORED)
      const { version, sizeBytes } = await statOf(backend, 'parts')
      assert.deepEqual([version, sizeBytes], [written.version, data.length])
      assert.ok(data.equals((await store.contents('parts')) ?? Buffer.alloc(0)))
    })

    it('are written with an upload of nothing, and of little', async () => {
      for (const data of [Buffer.alloc(0), Buffer.from('little')]) {
        const writer = await backend.createWriter(`of-${data.length}`, null, { attributes: ATTRIBUTES })
        if (data.length > 0) await writer.write(data)
        await writer.close()
        assert.deepEqual(await metadataOf(`of-${data.length}`), STORED)
        assert.ok(data.equals((await store.contents(`of-${data.length}`)) ?? Buffer.from('gone')))
      }
    })

    it('change without moving the contents', async () => {
      const { version } = await backend.write('changed', randomBytes(100_000), null, {
        attributes: ATTRIBUTES,
      })
      const changed = await backend.setAttributes('changed', 'file', { mode: 0o644, gid: 1 })
      assert.equal(changed.previousVersion, version)
      assert.deepEqual(changed.stat.permissions, { mode: 0o644, uid: 1234, gid: 1 })
      assert.deepEqual(await metadataOf('changed'), { ...STORED, mode: '33188', gid: '1' })
      assert.deepEqual(await statOf(backend, 'changed'), changed.stat)
      assert.ok(randomBytes(100_000).equals((await store.contents('changed')) ?? Buffer.alloc(0)))
    })

    it('of an object from parts change, and its new version is told', async () => {
      const writer = await backend.createWriter('from-parts', null, { attributes: ATTRIBUTES })
      for (let part = 0; part < 2; part++) await writer.write(randomBytes(PART_BYTES, part))
      const { version } = await writer.close()
      const changed = await backend.setAttributes('from-parts', 'file', { uid: 9 })
      assert.equal(changed.previousVersion, version)
      assert.deepEqual(await statOf(backend, 'from-parts'), changed.stat)
      const bytes = await backend.read('from-parts', PART_BYTES, 10, changed.stat.version)
      assert.ok(randomBytes(PART_BYTES, 1).subarray(0, 10).equals(bytes))
    })

    it('change on objects of other programs, whose metadata and headers stay', async () => {
      const headers = { 'content-type': 'text/x-odd', 'cache-control': 'no-cache' }
      await store.put('foreign', 'x', { owner: 'somebody', mode: 'garbage' }, headers)
      const before = await statOf(backend, 'foreign')
      assert.deepEqual(before.permissions, NOTHING)
      const { stat } = await backend.setAttributes('foreign', 'file', { uid: 5 })
      assert.deepEqual(stat.permissions, { ...NOTHING, uid: 5 })
      const { owner, mode, uid, mtime } = await metadataOf('foreign')
      assert.deepEqual([owner, mode, uid], ['somebody', 'garbage', '5'])
      // The change moved the object's own time, so what it was is written down.
      assert.equal(Math.floor(Number(mtime)), before.mtime?.seconds)
      assert.equal(await store.contentType('foreign'), 'text/x-odd')
      assert.equal((await statOf(backend, 'foreign')).mtime?.seconds, before.mtime?.seconds)
    })

    it('that are garbage are ignored', async () => {
      const metadata = { mode: '99', uid: '-5', gid: '4294967295', mtime: 'yesterday' }
      await store.put('garbage', 'x', metadata)
      const { permissions, mtime } = await statOf(backend, 'garbage')
      assert.deepEqual(permissions, NOTHING)
      assert.ok(mtime !== null && mtime.seconds > MTIME.seconds, 'the object has a time of its own')
    })

    it('go along with a rename, and not with a copy that has its own', async () => {
      await backend.write('moving', Buffer.from('x'), null, { attributes: ATTRIBUTES })
      await backend.rename('moving', 'moved', 'file')
      assert.deepEqual(await metadataOf('moved'), STORED)
      const copy = await backend.copy('moved', 'copied', null, {
        attributes: { ...ATTRIBUTES, mode: 0o600, uid: null },
      })
      assert.deepEqual(copy.permissions, { mode: 0o600, uid: null, gid: 5678 })
      assert.deepEqual(await metadataOf('copied'), { mode: '33152', gid: '5678', mtime: STORED.mtime })
      assert.deepEqual((await statOf(backend, 'copied')).permissions, copy.permissions)
    })

    it('of a directory are in its marker', async () => {
      await backend.createDirectory('directory', { ...ATTRIBUTES, mode: 0o1770 })
      const directory = { ...STORED, mode: '17400' }
      assert.deepEqual(await metadataOf('directory/'), directory)
      assert.deepEqual((await statOf(backend, 'directory')).permissions, { ...PERMISSIONS, mode: 0o1770 })
      const { stat } = await backend.setAttributes('directory', 'directory', { uid: 3 })
      assert.deepEqual(stat.permissions, { mode: 0o1770, uid: 3, gid: 5678 })
      assert.deepEqual(await metadataOf('directory/'), { ...directory, uid: '3' })
    })

    it('of a directory stay when its last entry goes', async () => {
      await backend.createDirectory('kept', ATTRIBUTES)
      await backend.write('kept/only', Buffer.from('x'), null, { attributes: ATTRIBUTES })
      // A backend that has not seen the marker being made.
      await open(store).removeFile('kept/only')
      assert.deepEqual(await metadataOf('kept/'), { ...STORED, mode: '18921' })
      assert.deepEqual((await statOf(backend, 'kept')).permissions, PERMISSIONS)
    })

    it('of a whole tree go along with its rename', async () => {
      await backend.createDirectory('tree', ATTRIBUTES)
      await backend.createDirectory('tree/below', { ...ATTRIBUTES, uid: 1 })
      await backend.write('tree/below/file', Buffer.from('x'), null, { attributes: ATTRIBUTES })
      await backend.rename('tree', 'grown', 'directory')
      assert.deepEqual((await statOf(backend, 'grown')).permissions, PERMISSIONS)
      assert.deepEqual((await statOf(backend, 'grown/below')).permissions, { ...PERMISSIONS, uid: 1 })
      assert.deepEqual((await statOf(backend, 'grown/below/file')).permissions, PERMISSIONS)
      assert.equal(await backend.stat('tree'), null)
    })

    it('of a directory without a marker are the mount’s, until some are set', async () => {
      await store.put('implied/file', 'x')
      assert.deepEqual((await statOf(backend, 'implied')).permissions, NOTHING)
      await backend.setAttributes('implied', 'directory', { mode: 0o700 })
      assert.deepEqual((await statOf(backend, 'implied')).permissions, { ...NOTHING, mode: 0o700 })
    })

    it('are not in listings, which say so', async () => {
      const entries = await backend.list('directory')
      assert.deepEqual(entries, [])
      await backend.write('directory/entry', Buffer.from('x'), null, { attributes: ATTRIBUTES })
      assert.deepEqual(await backend.list('directory'), [{ name: 'entry', kind: 'file', stat: null }])
      assert.deepEqual((await backend.stat('directory/entry', 'file'))?.permissions, PERMISSIONS)
      assert.equal((await backend.stat('directory', 'file'))?.kind, 'directory', 'a hint may be wrong')
    })

    it('of what is not there are ENOENT', async () => {
      await assert.rejects(
        backend.setAttributes('missing', 'file', { mode: 0o600 }),
        (error) => error instanceof StorageError && error.errno === 'ENOENT',
      )
    })

    it('are left alone by a mount that keeps none', async () => {
      const plain = createBackend({ type, options: store.options, timeoutMs: TIMEOUT_MS })
      const { permissions, mtime } = await statOf(plain, 'moved')
      assert.equal(permissions, undefined)
      assert.ok((mtime?.seconds ?? 0) > MTIME.seconds)
      assert.equal(plain.capabilities.attributes, false)
      const [entry] = await plain.list('directory')
      assert.equal(entry?.stat?.kind, 'file')
    })
  })
}

describe('attributes in S3 and other writers', () => {
  let store: ObjectStore
  let front: FaultyFront
  before(async () => {
    store = await freshObjectStore('s3')
    front = await FaultyFront.start(store.options['endpoint'] ?? '')
  })
  after(() => front.stop())

  it('are set on the version that somebody else has just written', async () => {
    const backend = open(store, { endpoint: front.origin })
    await store.put('contended', 'first', { mode: '33188' })
    let copies = 0
    front.decide = async ({ headers }) => {
      // Between our look at the object and its copy onto itself.
      if ('x-amz-copy-source' in headers && copies++ === 0) {
        await store.put('contended', 'second', { mode: '33152' })
      }
      return null
    }
    const { stat, previousVersion } = await backend.setAttributes('contended', 'file', { uid: 7 })
    assert.equal(copies, 2, 'the first copy was refused')
    assert.equal(stat.sizeBytes, 'second'.length)
    assert.equal(previousVersion, stat.version, 'the contents are those of the other')
    assert.deepEqual(stat.permissions, { mode: 0o600, uid: 7, gid: null })
    assert.equal((await store.contents('contended'))?.toString(), 'second')
  })

  it('of an object that never stops changing are EBUSY', async () => {
    const backend = open(store, { endpoint: front.origin })
    await store.put('restless', '0')
    let copies = 0
    front.decide = async ({ headers }) => {
      if ('x-amz-copy-source' in headers) await store.put('restless', String(++copies))
      return null
    }
    await assert.rejects(
      backend.setAttributes('restless', 'file', { uid: 7 }),
      (error) => error instanceof StorageError && error.errno === 'EBUSY' && error.retryable,
    )
    front.decide = () => null
    assert.equal((await store.contents('restless'))?.toString(), String(copies))
  })

  it('of an object too large for one copy are set by a copy in parts', async () => {
    const { options } = store
    const settings = { timeoutMs: TIMEOUT_MS, maxPathBytes: 1024, maxCopyBytes: 5 << 20 }
    const backend = new ObjectStoreBackend(new S3ObjectClient(options, settings), { keepsAttributes: true })
    const data = randomBytes((12 << 20) + 3)
    await store.put('large', data, { owner: 'me' }, { 'content-type': 'text/x-large' })
    const { stat } = await backend.setAttributes('large', 'file', { mode: 0o640 })
    assert.match(stat.version, /-3"$/, 'three parts')
    assert.deepEqual(await backend.stat('large'), stat)
    assert.ok(data.equals((await store.contents('large')) ?? Buffer.alloc(0)))
    const { owner, mode } = (await store.metadata('large')) ?? {}
    assert.deepEqual([owner, mode], ['me', '33184'])
    assert.equal(await store.contentType('large'), 'text/x-large')
    assert.deepEqual(await store.names(), ['contended', 'large', 'restless'], 'nothing is left of the upload')
  })
})

describe('attributes in Swift', () => {
  it('keep what a change of metadata would take away', async () => {
    const store = await freshObjectStore('swift')
    const access = { ...(await sharedServers().swift()), container: store.options['container'] ?? '' }
    const client = new SwiftClient(access)
    const backend = open(store)
    const expires = Math.floor(Date.now() / 1000) + 86_400
    await client.put('dated', 'x', {
      headers: { 'x-delete-at': String(expires), 'content-disposition': 'attachment' },
    })
    await client.put('segments/1', 'dynamic')
    await client.put('dynamic', '', { headers: { 'x-object-manifest': `${access.container}/segments/` } })
    for (const name of ['dated', 'dynamic']) await backend.setAttributes(name, 'file', { mode: 0o600 })
    const { headers } = await client.request('HEAD', { object: 'dated' })
    assert.equal(headers['x-delete-at'], String(expires))
    assert.equal(headers['content-disposition'], 'attachment')
    assert.equal((await store.contents('dynamic'))?.toString(), 'dynamic')
  })
})
