/** Answers of S3 that are wrong, incomplete or odd: an error, and never what is not so. */
import assert from 'node:assert/strict'
import { afterEach, beforeEach, describe, it } from 'node:test'
import type { Backend } from '../../../src/backends/backend.js'
import { createBackend } from '../../../src/backends/create-backend.js'
import { parseS3Options } from '../../../src/backends/s3/s3-options.js'
import { randomBytes } from '../../support/bytes.js'
import { FakeS3, type FakeCall } from '../../support/fake-s3.js'

const TIMEOUT_MS = 10_000
/** More than a server may send whole in place of a part. */
const LARGE_BYTES = 9 << 20
const RANGE = { offset: 1 << 20, lengthBytes: 1 << 16 }

let s3: FakeS3
let backend: Backend
const open = (extra: Record<string, string> = {}): Backend =>
  createBackend({ type: 's3', options: { ...s3.options, ...extra }, timeoutMs: TIMEOUT_MS })
beforeEach(async () => {
  s3 = await FakeS3.start()
  backend = open()
})
afterEach(() => s3.stop())

describe('a size', () => {
  it('that HEAD does not tell is asked for by a range, and is never 0', async () => {
    s3.put('known', 'contents')
    s3.before = ({ method }) => (method === 'HEAD' ? { status: 200, headers: { etag: '"x"' } } : null)
    assert.equal((await backend.stat('known', 'file'))?.sizeBytes, 8)
    s3.before = ({ key }) =>
      key === 'known' ? { status: 206, headers: { etag: '"x"', 'transfer-encoding': 'chunked' } } : null
    await assert.rejects(backend.stat('known', 'file'), { errno: 'EIO' })
  })
})

describe('a read', () => {
  const data = randomBytes(LARGE_BYTES)
  const read = (version: string): Promise<Uint8Array> =>
    backend.read('file', RANGE.offset, RANGE.lengthBytes, version)
  const isRead = ({ method, headers }: FakeCall): boolean => method === 'GET' && headers.range !== undefined

  it('is of the bytes that were asked for, or an error', async () => {
    const { etag } = s3.put('file', data)
    const half = data.subarray(RANGE.offset, RANGE.offset + RANGE.lengthBytes / 2)
    const atStart = data.subarray(0, RANGE.lengthBytes)
    const answers = {
      'all of it': { status: 200, headers: { etag, 'content-length': data.length }, body: data },
      'others of the same length': {
        ...{ status: 206, body: atStart },
        headers: { etag, 'content-range': `bytes 0-${atStart.length - 1}/${data.length}` },
      },
      half: {
        ...{ status: 206, body: half },
        headers: {
          etag,
          'content-range': `bytes ${RANGE.offset}-${RANGE.offset + half.length - 1}/${data.length}`,
        },
      },
      'a part, and not which': { status: 206, headers: { etag }, body: atStart },
    }
    for (const [what, answer] of Object.entries(answers)) {
      backend = open()
      s3.forget()
      s3.before = (call) => (isRead(call) ? answer : null)
      await assert.rejects(read(etag), { errno: 'EIO' }, what)
      assert.ok(s3.calls.length <= 3, `${what}: ${s3.calls.length} requests`)
      s3.before = () => null
      assert.ok(data.subarray(RANGE.offset, RANGE.offset + RANGE.lengthBytes).equals(await read(etag)), what)
    }
  })

  it('in the middle of an object is compared, after others were right too', async () => {
    s3.put('other', data)
    const { etag } = s3.put('file', data)
    const right = data.subarray(RANGE.offset, RANGE.offset + RANGE.lengthBytes)
    assert.ok(right.equals(await backend.read('other', RANGE.offset, RANGE.lengthBytes, etag)))
    const body = data.subarray(0, RANGE.lengthBytes)
    const headers = { etag, 'content-range': `bytes 0-${body.length - 1}/${data.length}` }
    s3.before = (call) => (isRead(call) ? { status: 206, headers, body } : null)
    await assert.rejects(read(etag), { errno: 'EIO' })
    await assert.rejects(backend.read('other', RANGE.offset, RANGE.lengthBytes, etag), { errno: 'EIO' })
  })

  it('beside the first one of an object shows nothing before that was right', async () => {
    const { etag } = s3.put('file', data)
    const rangeAt = (offset: number): Promise<Uint8Array> =>
      backend.read('file', offset, RANGE.lengthBytes, etag)
    const offsets = [1, 2, 3, 4].map((count) => count * RANGE.lengthBytes)
    await rangeAt(0)
    const body = data.subarray(0, RANGE.lengthBytes)
    const headers = { etag, 'content-range': `bytes 0-${body.length - 1}/${data.length}` }
    s3.before = (call) => (isRead(call) ? { status: 206, headers, body } : null)
    for (const { status } of await Promise.allSettled(offsets.map(rangeAt))) assert.equal(status, 'rejected')
    backend = open()
    s3.before = () => null
    await rangeAt(0)
    s3.forget()
    const right = offsets.map((offset) => data.subarray(offset, offset + RANGE.lengthBytes))
    const read = await Promise.all(offsets.map(rangeAt))
    assert.ok(read.every((bytes, index) => right[index]?.equals(bytes)))
    assert.equal(s3.calls.filter((call) => isRead(call)).length, offsets.length)
  })

  it('of a small object may be answered with all of it', async () => {
    const { etag, data: small } = s3.put('file', '0123456789')
    s3.before = (call) => (isRead(call) ? { status: 200, headers: { etag }, body: small } : null)
    for (let round = 0; round < 3; round++)
      assert.equal(Buffer.from(await backend.read('file', 3, 4, etag)).toString(), '3456')
  })

  it('of a version that has gone is ESTALE, though the server takes no notice of the condition', async () => {
    s3.put('file', 'new')
    s3.before = ({ headers }) => {
      delete headers['if-match']
      return null
    }
    await assert.rejects(backend.read('file', 0, 3, '"other"'), { errno: 'ESTALE' })
    s3.objects.delete('file')
    await assert.rejects(backend.read('file', 0, 3, '"other"'), { errno: 'ENOENT' })
  })
})

describe('a list', () => {
  const manyKeys = (count: number): void => {
    for (let index = 0; index < count; index++) s3.put(`d/${String(index).padStart(5, '0')}`, '')
  }

  it('by the first version is one for every purpose, where the profile says so', async () => {
    manyKeys(1500)
    s3.put('d/sub/file', '')
    backend = open({ disable_list_objects_v2: 'true' })
    assert.equal((await backend.list('d')).length, 1501)
    assert.equal((await backend.stat('d'))?.kind, 'directory')
    assert.equal((await backend.listSmall?.('d/sub'))?.length, 1)
    await backend.rename('d', 'e', 'directory')
    assert.equal(s3.keys().filter((key) => key.startsWith('e/')).length, 1501)
    assert.deepEqual(
      s3.calls.filter(({ query }) => query.has('list-type')),
      [],
    )
  })

  it('that never ends, ends', async () => {
    const page = (contents: string, token: string) => ({
      status: 200,
      body: `<ListBucketResult><IsTruncated>true</IsTruncated>${token}${contents}</ListBucketResult>`,
    })
    const token = (text: string): string => `<NextContinuationToken>${text}</NextContinuationToken>`
    const key = '<Contents><Key>d/a</Key><Size>1</Size><ETag>x</ETag></Contents>'
    let count = 0
    for (const [what, answer] of Object.entries({
      'no token': () => page(key, ''),
      'the same token': () => page(key, token('same')),
      'the same page under new tokens': () => page(key, token(String(count++))),
      'empty pages': () => page('', token(String(count++))),
    })) {
      s3.forget()
      s3.before = ({ method }) => (method === 'GET' ? answer() : null)
      await assert.rejects(backend.list('d'), { errno: 'EIO' }, what)
      assert.ok(s3.calls.length <= 110, `${what}: ${s3.calls.length} requests`)
    }
  })

  it('shows all names that a file can have, exactly, and counts the others', async () => {
    const names = [
      'cr\r',
      'lf\n',
      'tab\t',
      'one\u0001',
      'nel\u0085',
      'ls\u2028',
      'a+b',
      'a%2Fb',
      '&lt;',
      ' x ',
    ]
    for (const name of names) s3.put(`d/${name}`, name)
    const hidden = ['d//x', 'd/./x', 'd/../x', `d/${'n'.repeat(256)}`]
    for (const key of hidden) s3.put(key, 'hidden')
    const told: unknown[] = []
    backend.reportUnlistable?.((directory, count) => told.push([directory, count]))
    for (let round = 0; round < 2; round++) {
      const listed = await backend.list('d')
      assert.deepEqual(listed.map(({ name }) => name).sort(), [...names].sort())
    }
    assert.deepEqual([backend.unlistable, told], [hidden.length, [['d', hidden.length]]])
    for (const name of names) {
      const stat = await backend.stat(`d/${name}`)
      const bytes = await backend.read(`d/${name}`, 0, stat?.sizeBytes ?? 0, stat?.version ?? '')
      assert.equal(Buffer.from(bytes).toString(), name)
    }
  })
})

describe('a directory with keys that no file can have', () => {
  beforeEach(() => {
    for (const key of ['d//x', 'd/../up', 'd/./dot', 'up', 'dot', 'e/../up']) s3.put(key, key)
  })

  it('is moved with all of them, and nothing else is', async () => {
    await backend.rename('d', 'm', 'directory')
    assert.deepEqual(s3.keys(), ['m//x', 'm/../up', 'm/./dot', 'up', 'dot', 'e/../up'].sort())
    for (const key of ['m//x', 'm/../up', 'm/./dot']) assert.equal(s3.text(key), key.replace('m/', 'd/'))
  })

  it('is not empty', async () => {
    await assert.rejects(backend.removeDirectory('e'), { errno: 'ENOTEMPTY' })
    assert.equal(s3.text('e/../up'), 'e/../up')
  })

  it('keeps what its marker contains', async () => {
    s3.put('marked/', 'contents of the marker')
    await assert.rejects(backend.removeDirectory('marked'), { errno: 'ENOTEMPTY' })
    await backend.createDirectory('marked')
    await backend.rename('marked', 'moved', 'directory')
    assert.equal(s3.text('moved/'), 'contents of the marker')
    assert.equal(s3.text('marked/'), null)
  })
})

describe('the host that is asked', () => {
  const origin = (endpoint: string, bucket: string, extra: Record<string, string> = {}): string => {
    const options = parseS3Options({ endpoint, bucket, region: 'eu-west-1', ...extra })
    return options.origin + options.pathPrefix
  }

  it('is that of the endpoint, though it begins like the bucket', () => {
    assert.equal(origin('http://minio.lan:9000', 'minio'), 'http://minio.lan:9000/minio')
    assert.equal(origin('https://s3.example.com', 's3'), 'https://s3.example.com/s3')
    assert.equal(origin('https://b.s3.eu-west-1.amazonaws.com', 'b'), 'https://s3.eu-west-1.amazonaws.com/b')
    const virtual = { enable_virtual_host_style: 'true' }
    assert.equal(origin('https://example.com', 'b', virtual), 'https://b.example.com')
    assert.equal(origin('https://b.example.com', 'b', virtual), 'https://b.example.com')
  })
})
