import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { randomBytes } from '../support/bytes.js'
import { startCeph, type Ceph } from './ceph.js'
import { S3Client } from './clients.js'
import { descendantsOf } from './descendants.js'
import { ODD_NAMES } from './odd-names.js'
import { isRunning, type ProcessIdentity } from './process-id.js'

describe('Ceph for tests', () => {
  let ceph: Ceph
  let client: S3Client
  before(async () => {
    ceph = await startCeph()
    client = new S3Client(ceph)
  })
  after(() => ceph.stop())

  it('stores, lists and deletes objects with odd names', async () => {
    const keys = ODD_NAMES.map((name) => `odd/${name}`).sort()
    for (const key of keys) await client.put(key, `data of ${key}`)
    assert.deepEqual(await client.keys('odd/'), keys)
    for (const key of keys) assert.equal((await client.get(key))?.data.toString(), `data of ${key}`)
    for (const key of keys) await client.delete(key)
    assert.deepEqual(await client.keys('odd/'), [])
  })

  it('keeps metadata, and gives ranges', async () => {
    const data = randomBytes(100_000)
    const etag = await client.put('a', data, { metadata: { mode: '0640' } })
    const head = await client.head('a')
    assert.deepEqual(
      { etag: head?.etag, size: head?.sizeBytes, metadata: head?.metadata },
      { etag, size: data.length, metadata: { mode: '0640' } },
    )
    const range = await client.get('a', { offset: 1000, lengthBytes: 500 })
    assert.deepEqual(range?.data, data.subarray(1000, 1500))
    assert.equal(await client.get('b'), null)
  })

  it('lists more than a page, and common prefixes', async () => {
    const bucket = client.withBucket('pages')
    await bucket.createBucket()
    const keys = Array.from({ length: 1050 }, (_, i) => `${i % 2}/${String(i).padStart(4, '0')}`).sort()
    for (let i = 0; i < keys.length; i += 50) {
      await Promise.all(keys.slice(i, i + 50).map((key) => bucket.put(key, '')))
    }
    assert.deepEqual(await bucket.keys(), keys)
    assert.deepEqual((await bucket.list({ delimiter: '/' })).prefixes, ['0/', '1/'])
  })

  it('tells of unfinished uploads', async () => {
    await client.request('POST', { key: 'big file', query: { uploads: '' } })
    const uploads = await client.multipartUploads()
    assert.deepEqual(
      uploads.map(({ key }) => key),
      ['big file'],
    )
    await client.empty()
    assert.deepEqual([await client.multipartUploads(), await client.keys()], [[], []])
  })

  it('refuses a wrong key, and a write over the quota', async () => {
    const wrong = new S3Client({ ...ceph.access, secretAccessKey: 'wrong' })
    await assert.rejects(wrong.keys(), { status: 403 })
    await ceph.admin('quota', 'set', '--quota-scope=bucket', '--uid=tester', '--max-objects=1')
    await ceph.admin('quota', 'enable', '--quota-scope=bucket', '--uid=tester')
    // The gateway remembers a quota for some minutes: a new one has to read it.
    await ceph.restart()
    await client.put('one', '')
    await assert.rejects(client.put('two', ''), { status: 403, body: /QuotaExceeded/ })
    await ceph.admin('quota', 'disable', '--quota-scope=bucket', '--uid=tester')
    await ceph.restart()
    await client.put('two', '')
  })

  it('has every object after a crash of the gateway', async () => {
    await client.put('kept', 'still here')
    await ceph.kill()
    await assert.rejects(client.get('kept'), { code: 'ECONNREFUSED' })
    await ceph.restart()
    assert.equal((await client.get('kept'))?.data.toString(), 'still here')
  })

  it('leaves no process', async () => {
    const processes: ProcessIdentity[] = descendantsOf(process.pid)
    assert.ok(processes.length >= 3, 'monitor, OSD and gateway run')
    await ceph.stop()
    assert.deepEqual(processes.filter(isRunning), [])
  })
})
