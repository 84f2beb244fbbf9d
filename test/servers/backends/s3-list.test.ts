/** Lists of S3: how their pages are read, and that a small directory's says what a large one's does. */
import assert from 'node:assert/strict'
import { before, describe, it } from 'node:test'
import type { Backend, DirectoryEntry } from '../../../src/backends/backend.js'
import { forEachConcurrently } from '../../../src/backends/concurrency.js'
import { createBackend } from '../../../src/backends/create-backend.js'
import type { ObjectPage } from '../../../src/backends/objects/object-client.js'
import { parsePage } from '../../../src/backends/s3/s3-list.js'
import { S3Client as OtherClient, type S3Access } from '../clients.js'
import { ODD_NAMES } from '../odd-names.js'
import { freshBucket, sharedServers } from '../shared.js'
import { s3Options } from '../../support/object-stores.js'

const TIMEOUT_MS = 20_000
/** See SMALL_LISTING_ENTRIES. */
const PAGE_KEYS = 1000

describe('the page of a list', () => {
  const parse = (xml: string, byVersion1 = false, token: string | null = null): ObjectPage =>
    parsePage(`<ListBucketResult>${xml}</ListBucketResult>`, byVersion1, { prefix: 'd/', token })
  const keys = (page: ObjectPage): string[] => page.objects.map(({ key }) => key)
  const refused = { errno: 'EIO', outcome: 'refused' }

  it('is read as it is written, entities included', () => {
    const xml = `<Name>b</Name><Prefix>d/</Prefix><IsTruncated>false</IsTruncated>
      <Contents><Key>d/a&amp;b&#x1;&#13;</Key><LastModified>2026-11-30T01:02:03.004Z</LastModified>
        <ETag>&quot;abc&quot;</ETag><Size>12</Size><Owner><ID>x</ID></Owner></Contents>
      <Contents><Key>d/</Key><Size>0</Size></Contents>
      <CommonPrefixes><Prefix>d/e/</Prefix></CommonPrefixes>`
    const mtime = { seconds: 1_796_000_523, nanoseconds: 4_000_000 }
    assert.deepEqual(parse(xml), {
      objects: [
        { key: 'd/a&b\u0001\r', sizeBytes: 12, version: '"abc"', mtime },
        { key: 'd/', sizeBytes: 0, version: '/0', mtime: null },
      ],
      prefixes: ['d/e/'],
      next: null,
    })
  })

  it('has no size where none is told, and none is 0', () => {
    const { objects } = parse('<Contents><Key>d/a</Key><ETag>x</ETag></Contents>')
    assert.deepEqual([objects[0]?.sizeBytes, objects[0]?.version], [null, '"x"'])
  })

  it('with more behind it tells how to ask for that, or is an error', () => {
    const truncated = '<IsTruncated>true</IsTruncated><Contents><Key>d/z</Key></Contents>'
    assert.equal(parse(`${truncated}<NextContinuationToken>t&amp;</NextContinuationToken>`).next, 't&')
    assert.throws(() => parse(truncated), refused)
    assert.throws(
      () => parse(`${truncated}<NextContinuationToken>same</NextContinuationToken>`, false, 'same'),
      refused,
    )
    // The first version tells it of lists with a delimiter only.
    assert.equal(parse(truncated, true).next, 'd/z')
    assert.throws(() => parse(truncated, true, 'd/z'), refused)
  })

  it('may be written as a URL is, in either way', () => {
    const page = (key: string): string =>
      `<EncodingType>url</EncodingType><Contents><Key>${key}</Key></Contents>`
    assert.deepEqual(keys(parse(page('d/a+b%2Bc%01'))), ['d/a b+c\u0001'])
    assert.deepEqual(keys(parse(page('d/a%20b+c'))), ['d/a b+c'])
  })

  it('that is none, or is of other keys, is an error', () => {
    assert.throws(() => parsePage('<html></html>', false, { prefix: '', token: null }), refused)
    assert.throws(() => parse('<Contents><Key>other</Key></Contents>'), refused)
  })
})

describe('the list of a small directory of S3', () => {
  let access: S3Access
  let other: OtherClient
  const put = async (key: string, content: string): Promise<void> => {
    await other.put(key, content)
  }
  before(async () => {
    access = await freshBucket(await sharedServers().ceph())
    other = new OtherClient(access)
    await other.put('root/d/', '')
    await forEachConcurrently(ODD_NAMES, 8, (name) => put(`root/d/${name}`, name))
    await other.put('root/d/sub/file', 'below')
    await other.put('root/d/marked/', '')
    await other.put('root/d/both', 'an object')
    await other.put('root/d/both/below', 'and a directory')
    await other.put('root/top', 'top')
    await other.put('other/file', 'not below the root')
  })

  const open = (root: string, keepAttributes = false): Backend =>
    createBackend({
      ...{ type: 's3', options: { ...s3Options(access), root }, timeoutMs: TIMEOUT_MS, keepAttributes },
    })
  const listSmall = async (backend: Backend, path: string): Promise<DirectoryEntry[]> =>
    sorted((await backend.listSmall?.(path)) ?? assert.fail('it is not small'))
  const sorted = (entries: readonly DirectoryEntry[]): DirectoryEntry[] =>
    [...entries].sort((a, b) => (a.name < b.name ? -1 : 1))

  for (const keepAttributes of [false, true]) {
    it(`says what the other list says${keepAttributes ? ', of mounts that keep attributes' : ''}`, async () => {
      const backend = open('/root', keepAttributes)
      for (const path of ['', 'd', 'd/sub', 'd/marked', 'd/missing']) {
        assert.deepEqual(await listSmall(backend, path), sorted(await backend.list(path)), path)
      }
      const names = (await listSmall(backend, 'd')).map(({ name }) => name)
      assert.deepEqual(names, [...ODD_NAMES, 'sub', 'marked', 'both'].sort())
    })
  }

  it('works without a root', async () => {
    const backend = open('/')
    assert.deepEqual(
      (await listSmall(backend, '')).map(({ name, kind }) => [name, kind]),
      [
        ['other', 'directory'],
        ['root', 'directory'],
      ],
    )
  })

  it('is none of a directory that takes more than a page', async () => {
    const names = Array.from({ length: PAGE_KEYS + 1 }, (_, index) => `root/large/${index}`)
    await forEachConcurrently(names, 16, (name) => put(name, ''))
    const backend = open('/root')
    assert.equal(await backend.listSmall?.('large'), null)
    assert.equal((await backend.list('large')).length, names.length)
  })
})
