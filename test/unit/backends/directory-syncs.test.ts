/** Directories are fsynced for all who wait, and never too early for one of them. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { DirectorySyncs } from '../../../src/backends/local/directory-syncs.js'

interface Call {
  readonly directory: string
  readonly end: (error?: Error) => void
}

/** fsyncs that end when the test says so. */
function heldSyncs(): { readonly calls: Call[]; readonly syncs: DirectorySyncs } {
  const calls: Call[] = []
  const syncs = new DirectorySyncs(
    (directory) =>
      new Promise((resolve, reject) => {
        calls.push({
          directory,
          end: (error) => {
            if (error === undefined) resolve()
            else reject(error)
          },
        })
      }),
  )
  return { calls, syncs }
}

/** All that is ready to run has run. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

describe('fsyncs of directories', () => {
  it('are left to a commit that is alone in its directory', async () => {
    const { calls, syncs } = heldSyncs()
    const { result, syncError } = await syncs.commit('a/file', (syncsDirectory) =>
      Promise.resolve(syncsDirectory),
    )
    assert.deepEqual([result, syncError, calls.length], [true, null, 0])
  })

  it('are shared by commits that end together, and are not those that began before them', async () => {
    const { calls, syncs } = heldSyncs()
    let endFirst: () => void = () => undefined
    const first = syncs.commit('a/0', () => new Promise<void>((resolve) => (endFirst = resolve)))
    const others = Array.from({ length: 20 }, (_, index) =>
      syncs.commit(`a/${index + 1}`, (syncsDirectory) => {
        assert.ok(!syncsDirectory)
        return Promise.resolve()
      }),
    )
    await turn()
    assert.equal(calls.length, 1)
    // Those that came while it ran wait for the next one: it may have missed them.
    calls[0]?.end()
    await turn()
    assert.equal(calls.length, 2)
    calls[1]?.end()
    await Promise.all(others)
    endFirst()
    await first
    assert.equal(calls.length, 2)
  })

  it('that fail are told to all who waited for them, and to nobody after', async () => {
    const { calls, syncs } = heldSyncs()
    const waiting = [syncs.sync('a'), syncs.sync('a'), syncs.sync('a')]
    const failures = Promise.allSettled(waiting)
    calls[0]?.end(new Error('one'))
    await turn()
    calls[1]?.end(new Error('two'))
    const messages = (await failures).map((answer) =>
      answer.status === 'rejected' ? (answer.reason as Error).message : '',
    )
    assert.deepEqual(messages, ['one', 'two', 'two'])
    const later = syncs.sync('a')
    calls[2]?.end()
    await later
  })

  it('that are under way are waited for by all whom they concern', async () => {
    const { calls, syncs } = heldSyncs()
    await syncs.noteChange('new', true)
    let stored = 0
    const store = async (path: string): Promise<void> => {
      await syncs.commit(path, () => Promise.resolve())
      stored++
    }
    const commits = [store('new/one'), store('new/two')]
    const names = syncs.syncChanges('').then(() => stored++)
    await turn()
    // The fsync of the root was for the first of them; the others find it under way.
    const directories = calls.map(({ directory }) => directory)
    assert.deepEqual(directories, ['', 'new'])
    calls[1]?.end()
    await turn()
    assert.equal(stored, 0)
    calls[0]?.end()
    await turn()
    assert.equal(stored, 3)
    await Promise.all([...commits, names])
  })

  it('follow a directory to its new path, and what is below it', async () => {
    const { calls, syncs } = heldSyncs()
    await syncs.noteChange('a', true)
    await syncs.noteChange('a/b', true)
    await syncs.noteChange('target', false)
    syncs.move('a', 'target')
    await syncs.noteChange('a', false)
    await syncs.noteChange('target', true)
    const commit = syncs.commit('target/b/file', () => Promise.resolve())
    for (const directory of ['target', '']) {
      await turn()
      assert.equal(calls.at(-1)?.directory, directory)
      calls.at(-1)?.end()
    }
    assert.equal((await commit).syncError, null)
  })

  it('are done of the way to a file whose directories are new', async () => {
    const { calls, syncs } = heldSyncs()
    await syncs.noteChange('a', true)
    await syncs.noteChange('a/b', true)
    await syncs.noteChange('other', false)
    const commit = syncs.commit('a/b/file', () => Promise.resolve())
    for (const directory of ['a', '']) {
      await turn()
      assert.equal(calls.at(-1)?.directory, directory)
      calls.at(-1)?.end()
    }
    await commit
    // It is known by now.
    await syncs.commit('a/b/second', () => Promise.resolve())
    assert.equal(calls.length, 2)
  })

  it('are done of changes of names when that is asked for, once', async () => {
    const { calls, syncs } = heldSyncs()
    await syncs.noteChange('a/file', false)
    await syncs.noteChange('b/file', false)
    await syncs.noteChange('c/file', false)
    syncs.forget('c')
    const all = syncs.syncChanges()
    assert.deepEqual(
      calls.map(({ directory }) => directory),
      ['a', 'b'],
    )
    calls[0]?.end()
    calls[1]?.end(new Error('disk'))
    await assert.rejects(all, /disk/)
    // What failed is still to be done.
    const again = syncs.syncChanges()
    assert.deepEqual(
      calls.slice(2).map(({ directory }) => directory),
      ['b'],
    )
    calls[2]?.end()
    await again
    await syncs.syncChanges()
    assert.equal(calls.length, 3)
  })
})
