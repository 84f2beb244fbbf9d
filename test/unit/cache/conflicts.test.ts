/** The guest's version of a file that others have changed: kept whole, where a person finds it, and over no other one. */
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, it } from 'node:test'
import { StorageError } from '../../../src/backends/storage-error.js'
import { BlockCache } from '../../../src/cache/block-cache.js'
import { keepConflict } from '../../../src/cache/conflicts.js'
import type { ContentSource } from '../../../src/cache/content-source.js'
import { FileContent } from '../../../src/cache/file-content.js'
import { SlabPool } from '../../../src/cache/slab-pool.js'
import { Staging } from '../../../src/cache/staging.js'
import { StoreAccount } from '../../../src/cache/store-account.js'
import { heapMemory } from '../../lib/model/driver.js'
import { assertSameBytes, randomBytes } from '../../support/bytes.js'
import { VersionedStore } from '../../support/versioned-store.js'

const POOL_BYTES = 4 << 20
/** Several parts of the store. */
const LARGE_BYTES = 300_000

const directory = mkdtempSync(join(tmpdir(), 'ovfsd-conflicts-'))
after(() => {
  rmSync(directory, { recursive: true, force: true })
})

function contentOf(store: VersionedStore, path: string, staging: Staging | null): FileContent {
  const account = new StoreAccount()
  account.staging = staging
  const stored = store.objects.get(path)
  const source = {
    backend: store,
    account,
    path,
    isOpen: true,
    attributesToStage: () => ({ mtime: null, attributes: undefined }),
    takeAttributes: () => undefined,
  } as unknown as ContentSource
  return new FileContent(
    new BlockCache(new SlabPool(heapMemory(POOL_BYTES))),
    source,
    stored === undefined ? null : { sizeBytes: stored.data.length, version: stored.version },
  )
}

async function write(content: FileContent, offset: number, data: Buffer): Promise<void> {
  const { pool } = content.cache
  await content.write(offset, data.length, {
    pull: (from, poolOffset, length) => {
      pool.view(poolOffset, length).set(data.subarray(from, from + length))
    },
  })
}

const ESTALE = new StorageError('ESTALE', 'another version')

interface Told {
  readonly path: string
  readonly base: string | null
  readonly sizeBytes: number
  readonly certain: readonly (readonly [number, number])[]
}

describe('a conflict', () => {
  it('is kept in cache_dir: what was written over what the store still has of the base', async () => {
    const store = new VersionedStore()
    const data = randomBytes(LARGE_BYTES)
    const base = store.put('a/file', data)
    const content = contentOf(store, 'a/file', new Staging(join(directory, 'over')))
    await write(content, 100_000, Buffer.from('CHANGED'))
    const keptAs = await keepConflict(content, ESTALE)
    assert.ok(keptAs.startsWith(join(directory, 'over/conflicts/file.')))
    const expected = Buffer.from(data)
    expected.write('CHANGED', 100_000)
    assertSameBytes(readFileSync(keptAs), expected, 'kept')
    const told = JSON.parse(readFileSync(`${keptAs}.json`, 'utf8')) as Told
    assert.deepEqual([told.path, told.base, told.sizeBytes], ['a/file', base, LARGE_BYTES])
    assert.deepEqual(told.certain, [[0, LARGE_BYTES]])
  })

  it('tells which bytes are certain where the base was replaced', async () => {
    const store = new VersionedStore()
    store.put('file', randomBytes(10_000))
    const content = contentOf(store, 'file', new Staging(join(directory, 'replaced')))
    await write(content, 5000, Buffer.from('CHANGED'))
    content.resize(20_000)
    store.put('file', 'somebody else')
    const keptAs = await keepConflict(content, ESTALE)
    const kept = readFileSync(keptAs)
    assert.equal(kept.length, 20_000)
    assert.equal(kept.toString('latin1', 5000, 5007), 'CHANGED')
    const told = JSON.parse(readFileSync(`${keptAs}.json`, 'utf8')) as Told
    assert.deepEqual(told.certain, [
      [5000, 5007],
      [10_000, 20_000],
    ])
    assert.equal(store.text('file'), 'somebody else')
  })

  it('is kept below the root of the mount where there is no cache_dir, in one request or in parts', async () => {
    for (const length of [10, LARGE_BYTES]) {
      const store = new VersionedStore()
      const content = contentOf(store, 'a/new', null)
      const data = randomBytes(length)
      // Not from front to back: that would be on its way to the store already.
      await write(content, 5, data.subarray(5))
      await write(content, 0, data.subarray(0, 5))
      store.put('a/new', 'somebody else')
      const keptAs = await keepConflict(content, ESTALE)
      assert.match(keptAs, /^\.ovfsd\/conflicts\/new\./)
      assertSameBytes(store.objects.get(keptAs)?.data ?? Buffer.alloc(0), data, 'kept')
      assert.ok(store.objects.has(`${keptAs}.json`))
      assert.equal(store.text('a/new'), 'somebody else')
    }
  })

  it('is kept in the mount where the local disk fails', async () => {
    const store = new VersionedStore()
    const staging = new Staging(join(directory, 'gone'))
    rmSync(staging.directory, { recursive: true })
    writeFileSync(staging.directory, 'a file has the place of the directory')
    const content = contentOf(store, 'new', staging)
    await write(content, 0, Buffer.from('precious'))
    const keptAs = await keepConflict(content, ESTALE)
    assert.equal(store.text(keptAs), 'precious')
  })

  it('never takes the place of another one', async () => {
    const store = new VersionedStore()
    const staging = new Staging(join(directory, 'twice'))
    for (const text of ['one', 'two', 'three']) {
      const content = contentOf(store, 'file', staging)
      await write(content, 0, Buffer.from(text))
      await keepConflict(content, ESTALE)
    }
    const kept = readdirSync(join(staging.directory, 'conflicts')).filter((name) => !name.endsWith('.json'))
    const texts = kept.map((name) => readFileSync(join(staging.directory, 'conflicts', name), 'utf8'))
    assert.deepEqual(texts.sort(), ['one', 'three', 'two'])
  })
})
