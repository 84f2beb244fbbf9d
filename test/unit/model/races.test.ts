/** Answers of the store that are older than what was done here meanwhile. */
import assert from 'node:assert/strict'
import { describe, it, type TestContext } from 'node:test'
import { StorageError } from '../../../src/backends/storage-error.js'
import { createFile, makeDirectory } from '../../../src/fs/create.js'
import { revalidate } from '../../../src/fs/lookup.js'
import { rename } from '../../../src/fs/rename.js'
import { openDirectory, portionAt, resolveEntries } from '../../../src/fs/open-directory.js'
import { withListedAttributes, withMembers } from '../../support/backends.js'
import type { Driver } from '../../lib/model/driver.js'
import { contentsOf, drive, memory, O_RDWR, POOL_BYTES, store } from '../../lib/model/driving.js'

const CREATION = { mode: 0o644, uid: 0, gid: 0 }

/** The cache lets go of every other file for one in a directory of its own. */
async function evictAll(driver: Driver): Promise<void> {
  await store(driver, ['other', 'large'], 'x'.repeat(2 * POOL_BYTES))
}

describe('a listing with attributes', () => {
  it('that is kept is not believed about a file that was stored since', async (t) => {
    const driver = drive(t, withListedAttributes(memory()))
    await driver.mkdir(['other'])
    await store(driver, ['a'], 'old')
    assert.deepEqual(await driver.list([]), ['a', 'other/'])
    await store(driver, ['a'], 'longer and new')
    await evictAll(driver)
    assert.deepEqual(await driver.list([]), ['a', 'other/'])
    assert.equal(await contentsOf(driver, 'a'), 'longer and new')
  })

  it('that is being read is not believed about a file that was stored since', async (t) => {
    const driver = drive(t, withListedAttributes(memory()))
    await driver.mkdir(['other'])
    await store(driver, ['a'], 'old')
    const directory = driver.fs.directories.get(openDirectory(driver.fs, driver.root).fh)
    const { entries, asked } = await portionAt(driver.fs, directory, 0, true)
    await store(driver, ['a'], 'longer and new')
    await evictAll(driver)
    await resolveEntries(
      driver.fs,
      directory,
      entries.filter((entry) => entry !== null),
      asked,
    )
    assert.equal(await contentsOf(driver, 'a'), 'longer and new')
  })
})

describe('a rename that comes while the file is stored for the first time', () => {
  it('takes along what is being stored', async (t) => {
    const backend = memory()
    const driver = drive(t, backend)
    const fh = await driver.create(['a'], O_RDWR)
    await driver.write(fh, 0, Buffer.from('data'))
    // So that the rename needs no answer of the store and waits for nothing but the commit.
    await assert.rejects(driver.stat(['b']))
    await Promise.all([driver.fsync(fh), driver.rename(['a'], ['b'], 0)])
    await driver.close(fh)
    assert.equal(await backend.stat('a'), null)
    assert.equal((await backend.stat('b'))?.sizeBytes, 4)
  })
})

describe('a directory that the guest forgets', () => {
  it('stays in the tree while something is moved into it', async (t) => {
    const { fs, root } = drive(t, memory())
    const directory = await makeDirectory(fs, root, 'directory', CREATION)
    const file = await createFile(fs, root, 'file', true, CREATION)
    for (const inode of [directory, file]) fs.inodes.countLookup(inode)
    const renamed = rename(fs, root, 'file', directory, 'renamed', 0)
    fs.inodes.forget(directory.nodeid, 1)
    await renamed
    assert.equal(root.children?.get('directory'), directory)
    assert.equal(directory.children?.get('renamed'), file)
  })
})

describe('an object that the store misses for a moment, while somebody replaces it', () => {
  async function missedOnce(t: TestContext, member: 'read' | 'stat'): Promise<void> {
    const stored = memory()
    let misses = 0
    const missesNow = (asked: string): boolean => asked === member && misses > 0 && misses-- > 0
    const backend = withMembers(stored, {
      read: (path, offset, lengthBytes, version) => {
        if (missesNow('read')) return Promise.reject(new StorageError('ENOENT', path))
        return stored.read(path, offset, lengthBytes, version)
      },
      stat: (path, kind) => {
        if (missesNow('stat')) return Promise.resolve(null)
        return stored.stat(path, kind)
      },
    })
    const driver = drive(t, backend, 0)
    await driver.mkdir(['other'])
    await store(driver, ['a'], 'contents')
    const file = driver.inodeOf(await driver.open(['a'], 0))
    await evictAll(driver)
    misses = 1
    if (member === 'read') assert.equal(await contentsOf(driver, 'a'), 'contents')
    else assert.equal((await revalidate(file)).sizeBytes, 'contents'.length)
    assert.equal(misses, 0)
  }

  it('is read all the same', (t) => missedOnce(t, 'read'))
  it('is still known', (t) => missedOnce(t, 'stat'))
})
