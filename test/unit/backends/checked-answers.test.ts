import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { Backend, DirectoryEntry, ObjectStat } from '../../../src/backends/backend.js'
import { createBackend } from '../../../src/backends/create-backend.js'
import { CheckedAnswers } from '../../../src/backends/layers/checked-answers.js'
import { canBeShown } from '../../../src/backends/shown-names.js'

const IMPOSSIBLE = ['', '.', '..', 'a/b', '../x', 'nul\0', 'x'.repeat(256), 'é'.repeat(128)]
const POSSIBLE = ['a', '...', '.hidden', ' ', 'new\nline', 'x'.repeat(255), 'é'.repeat(127), '\\']

const stat = (sizeBytes: number): ObjectStat => ({ kind: 'file', sizeBytes, mtime: null, version: 'v' })

/** A store that lists these and tells this size. */
function lying(names: readonly string[], sizeBytes: number): Backend {
  const store = createBackend({ type: 'memory', options: {}, timeoutMs: 1000 })
  const entries = names.map((name): DirectoryEntry => ({ name, kind: 'file', stat: stat(sizeBytes) }))
  store.list = () => Promise.resolve(entries)
  store.listSmall = () => Promise.resolve(entries)
  store.stat = () => Promise.resolve(stat(sizeBytes))
  return new CheckedAnswers(
    Object.assign(store, { listPage: () => Promise.resolve({ entries, next: null }) }),
  )
}

describe('what a store tells', () => {
  it('has no names that no file can have', async () => {
    for (const name of IMPOSSIBLE) assert.equal(canBeShown(name), false, JSON.stringify(name))
    for (const name of POSSIBLE) assert.equal(canBeShown(name), true, JSON.stringify(name))
    const store = lying([...IMPOSSIBLE, ...POSSIBLE], 5)
    const namesOf = (entries: readonly DirectoryEntry[] | null | undefined) =>
      entries?.map(({ name }) => name)
    assert.deepEqual(namesOf(await store.list('')), POSSIBLE)
    assert.deepEqual(namesOf(await store.listSmall?.('')), POSSIBLE)
    assert.deepEqual(namesOf((await store.listPage?.('', null))?.entries), POSSIBLE)
  })

  it('has no sizes that no file has', async () => {
    for (const sizeBytes of [1e18, -1, NaN, Infinity, 0.5, 2 ** 53]) {
      const store = lying(['a'], sizeBytes)
      await assert.rejects(store.stat('a'), { errno: 'EIO' })
      assert.deepEqual(await store.list(''), [{ name: 'a', kind: 'file', stat: null }])
    }
    assert.equal((await lying([], 2 ** 40).stat('a'))?.sizeBytes, 2 ** 40)
  })
})
