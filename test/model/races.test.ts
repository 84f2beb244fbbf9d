/** Answers of the store that are older than what was done here meanwhile. */
import assert from 'node:assert/strict'
import { describe, it, type TestContext } from 'node:test'
import type { Backend } from '../../src/backends/backend.js'
import { createBackend } from '../../src/backends/create-backend.js'
import { createFile, makeDirectory } from '../../src/fs/create.js'
import { rename } from '../../src/fs/rename.js'
import { openDirectory, resolveEntries, snapshotAt } from '../../src/fs/open-directory.js'
import { withListedAttributes } from '../support/backends.js'
import { Driver } from './driver.js'
import type { Path } from './reference.js'

const POOL_BYTES = 4 << 20
const CREATION = { mode: 0o644, uid: 0, gid: 0 }
const O_RDWR = 2
const O_TRUNC = 0o1000

function memory(): Backend {
  return createBackend({ type: 'memory', options: { root: '/' }, timeoutMs: 10_000 })
}

function drive(t: TestContext, backend: Backend): Driver {
  const driver = new Driver({
    backend,
    poolBytes: POOL_BYTES,
    expirationMs: Infinity,
    cacheEnabled: true,
    writeBack: false,
    dirtyExpireMs: 60_000,
  })
  t.after(() => driver.fs.close(() => undefined))
  return driver
}

async function store(driver: Driver, path: Path, data: string): Promise<void> {
  const fh = await driver.create(path, O_RDWR | O_TRUNC)
  await driver.write(fh, 0, Buffer.from(data))
  await driver.close(fh)
}

/** The cache lets go of every other file for one in a directory of its own. */
async function evictAll(driver: Driver): Promise<void> {
  await store(driver, ['other', 'large'], 'x'.repeat(2 * POOL_BYTES))
}

/** The file as a guest finds it that had forgotten it. */
async function contentsOf(driver: Driver, name: string): Promise<string> {
  const fh = await driver.open([name], 0)
  const data = await driver.read(fh, 0, driver.sizeOf(fh))
  await driver.close(fh)
  return data.toString()
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
    const directory = driver.fs.directories.get(openDirectory(driver.fs, driver.root))
    const entries = await snapshotAt(driver.fs, directory, 0)
    await store(driver, ['a'], 'longer and new')
    await evictAll(driver)
    await resolveEntries(driver.fs, directory, entries)
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
