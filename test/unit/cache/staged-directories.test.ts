/** What is staged for stores that no mount has now: found, counted, told with its owner, and taken over where it is the same store. */
import assert from 'node:assert/strict'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, it } from 'node:test'
import { CacheDirectory } from '../../../src/cache/cache-directory.js'
import type { StagedDescription } from '../../../src/cache/staged-record.js'
import type { StagedDirectory } from '../../../src/cache/staged-directories.js'

const TIER_BYTES = 64 << 20
const OWNER = { profile: 'files', type: 's3', mountPoint: 'a/b' }

const root = mkdtempSync(join(tmpdir(), 'ovfsd-staged-'))
after(() => {
  rmSync(root, { recursive: true, force: true })
})

const RECORD: StagedDescription = {
  paths: ['file'],
  mtime: null,
  attributes: undefined,
  base: null,
  expected: null,
  marks: [],
  next: null,
  sizeBytes: 4,
  baseLimit: 0,
  ranges: [[0, 4]],
  replaces: null,
}

/** Run `work` as a daemon that has the cache directory. */
async function daemon<T>(directory: string, work: (cache: CacheDirectory) => Promise<T>): Promise<T> {
  const cache = await CacheDirectory.open(directory, TIER_BYTES)
  try {
    return await work(cache)
  } finally {
    cache.close()
  }
}

function counts({ owner, isClaimed, files, conflicts, broken }: StagedDirectory): unknown {
  return { owner, isClaimed, files, conflicts, broken }
}

describe('the staging directories of a cache_dir', () => {
  it('are told with their owner and what is in them, whether a mount has them or not', async () => {
    const directory = join(root, 'owners')
    await daemon(directory, async (cache) => {
      const staging = cache.stagingOf('one', OWNER)
      const ids = []
      for (let i = 0; i < 4; i++) ids.push(await staging.write(RECORD, [Buffer.from('data')]))
      await staging.setAside(ids[0] ?? '')
      await staging.setBroken(ids[1] ?? '')
      await cache.stagingOf('empty', OWNER).forget('nothing')
      const told = await cache.staged()
      assert.deepEqual(told.map(counts), [
        { owner: OWNER, isClaimed: true, files: 2, conflicts: 1, broken: 1 },
      ])
      assert.ok((told[0]?.bytes ?? 0) > 8)
    })
    await daemon(directory, async (cache) => {
      cache.stagingOf('another', OWNER)
      const told = await cache.staged()
      assert.deepEqual(told.map(counts), [
        { owner: OWNER, isClaimed: false, files: 2, conflicts: 1, broken: 1 },
      ])
    })
  })

  it('of older daemons have no owner, and one that is damaged is none', async () => {
    const directory = join(root, 'older')
    await daemon(directory, (cache) => cache.stagingOf('one', OWNER).write(RECORD, [Buffer.from('data')]))
    const [name = ''] = readdirSync(join(directory, 'stores'))
    writeFileSync(join(directory, 'stores', name), '{"profile":')
    await daemon(directory, async (cache) => {
      assert.deepEqual(
        (await cache.staged()).map(({ owner, files }) => [owner, files]),
        [[null, 1]],
      )
    })
  })

  it('go on by another key of the same store', async () => {
    const directory = join(root, 'former')
    await daemon(directory, (cache) => cache.stagingOf('former', OWNER).write(RECORD, [Buffer.from('data')]))
    await daemon(directory, async (cache) => {
      const staging = cache.stagingOf('present', OWNER, 'former')
      assert.deepEqual(
        (await staging.found()).map(({ paths }) => paths),
        [['file']],
      )
      assert.deepEqual(
        (await cache.staged()).map(({ isClaimed }) => isClaimed),
        [true],
      )
    })
    assert.equal(readdirSync(join(directory, 'staged')).length, 1)
  })

  it('are never made one of two that both have something', async () => {
    const directory = join(root, 'both')
    await daemon(directory, async (cache) => {
      for (const key of ['former', 'present'])
        await cache.stagingOf(key, OWNER).write(RECORD, [Buffer.from('data')])
    })
    await daemon(directory, async (cache) => {
      assert.equal((await cache.stagingOf('present', OWNER, 'former').found()).length, 1)
      assert.deepEqual((await cache.staged()).map(({ isClaimed }) => isClaimed).sort(), [false, true])
    })
  })

  it('do not keep a daemon from starting where their owners can not be told', async () => {
    const directory = join(root, 'unwritable')
    mkdirSync(directory)
    writeFileSync(join(directory, 'stores'), 'a file has the place of the directory')
    await daemon(directory, (cache) => cache.stagingOf('one', OWNER).write(RECORD, [Buffer.from('data')]))
    assert.ok(existsSync(join(directory, 'staged')))
  })
})
