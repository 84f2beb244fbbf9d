/** What a listing tells, what it does not tell, and what is known of a directory that was forgotten. */
import assert from 'node:assert/strict'
import { describe, it, type TestContext } from 'node:test'
import type { Backend, DirectoryEntry } from '../../../src/backends/backend.js'
import { StorageError } from '../../../src/backends/storage-error.js'
import { lookup } from '../../../src/fs/lookup.js'
import { openDirectory } from '../../../src/fs/open-directory.js'
import { withListedAttributes, withMembers } from '../../support/backends.js'
import type { Driver } from '../../lib/model/driver.js'
import { drive, memory, O_RDWR } from '../../lib/model/driving.js'

async function listed(driver: Driver): Promise<readonly DirectoryEntry[]> {
  const { fh } = openDirectory(driver.fs, driver.root)
  return (await driver.readDirectory(driver.fs.directories.get(fh))).map(([entry]) => entry)
}

/** Files that nobody here knows of yet, and the looks at single ones. */
async function counting(
  t: TestContext,
  names: readonly string[],
): Promise<{ driver: Driver; looks: string[] }> {
  const stored = memory()
  for (const name of names) await stored.write(name, Buffer.from(name), null)
  const looks: string[] = []
  const backend: Backend = withMembers(withListedAttributes(stored), {
    stat: (path, kind) => {
      looks.push(path)
      return stored.stat(path, kind)
    },
  })
  return { driver: drive(t, backend), looks }
}

describe('names whose attributes are asked for after a listing', () => {
  for (const [order, names] of [
    ['in its order', ['a', 'b', 'c', 'd']],
    ['in any order', ['d', 'a', 'c', 'b']],
  ] as const) {
    it(`are answered from it, ${order}`, async (t) => {
      const { driver, looks } = await counting(t, ['a', 'b', 'c', 'd'])
      await listed(driver)
      for (const name of names) {
        const inode = await lookup(driver.fs, driver.root, name)
        assert.equal(inode?.sizeBytes, 1)
      }
      assert.deepEqual(looks, [])
    })
  }

  it('are asked for anew when they were changed here', async (t) => {
    const { driver } = await counting(t, ['a', 'b'])
    await listed(driver)
    await driver.unlink(['a'])
    assert.equal(await lookup(driver.fs, driver.root, 'a'), null)
    const fh = await driver.create(['b'], O_RDWR)
    await driver.write(fh, 0, Buffer.from('longer'))
    await driver.close(fh)
    assert.equal((await driver.stat(['b'])).sizeBytes, 6)
  })
})

it('an entry that can not be looked at is no missing one', async (t) => {
  const stored = memory()
  for (const name of ['a', 'b', 'c']) await stored.write(name, Buffer.from(name), null)
  const driver = drive(
    t,
    withMembers(stored, {
      stat: (path, kind) =>
        path === 'b' ? Promise.reject(new StorageError('EIO', 'busy')) : stored.stat(path, kind),
    }),
  )
  const directory = driver.fs.directories.get(openDirectory(driver.fs, driver.root).fh)
  const read = await driver.readDirectory(directory)
  const told = new Map(read.map(([{ name }, inode]) => [name, inode]))
  assert.equal(told.get('a')?.sizeBytes, 1)
  assert.equal(told.get('b'), undefined)
  assert.ok(told.has('b'))
  assert.equal(told.get('c')?.sizeBytes, 1)
})

it('a long listing is gone through in portions, between which others are served', async (t) => {
  const entries = Array.from({ length: 50_000 }, (_, index) => ({
    name: `file-${index}`,
    kind: 'file' as const,
    stat: null,
  }))
  const driver = drive(
    t,
    withMembers(memory(), { listPage: undefined, list: () => Promise.resolve(entries) }),
  )
  let isDone = false
  let turns = 0
  const count = (): void => {
    if (isDone) return
    turns++
    setImmediate(count)
  }
  setImmediate(count)
  assert.equal((await listed(driver)).length, entries.length)
  isDone = true
  assert.ok(turns >= 10, `${turns} turns of the loop`)
})

describe('the time of a directory', () => {
  /** Whether the store has times of its own, which are those of its last change. */
  for (const isKept of [true, false]) {
    it(`is the same when the guest has forgotten it, ${isKept ? 'and' : 'though not'} kept by the store`, async (t) => {
      const stored = memory()
      const backend = withMembers(stored, {
        stat: async (path, kind) => {
          const stat = await stored.stat(path, kind)
          return stat === null || stat.kind === 'file' || isKept ? stat : { ...stat, mtime: null }
        },
      })
      const driver = drive(t, backend, 0)
      await driver.mkdir(['d'])
      const fh = await driver.create(['d', 'file'], O_RDWR)
      await driver.write(fh, 0, Buffer.from('x'))
      await driver.close(fh)
      const times: string[] = []
      for (let look = 0; look < 3; look++) {
        const file = driver.root.children?.get('d')?.children?.get('file')
        file?.content?.forgetStored()
        if (file !== undefined) driver.fs.inodes.freeIfUnused(file)
        await driver.unusedFreed()
        assert.equal(driver.root.children?.has('d'), false)
        await driver.holding(['d'], () => {
          times.push(JSON.stringify(driver.root.children?.get('d')?.mtime))
          return Promise.resolve()
        })
      }
      assert.equal(new Set(times).size, 1, times.join(' '))
    })
  }

  it('that nobody tells is one and the same', async (t) => {
    const stored = memory()
    await stored.createDirectory('d')
    const backend = withMembers(stored, {
      stat: async (path, kind) => {
        const stat = await stored.stat(path, kind)
        return stat === null ? null : { ...stat, mtime: null }
      },
    })
    const driver = drive(t, backend, 0)
    const first = await lookup(driver.fs, driver.root, 'd')
    const { mtime } = first ?? {}
    driver.root.children?.delete('d')
    const second = await lookup(driver.fs, driver.root, 'd')
    assert.notEqual(first, second)
    assert.deepEqual(second?.mtime, mtime)
  })
})
