/** Renames over an open file that fail: neither its contents nor its name are lost. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { Backend } from '../../src/backends/backend.js'
import { RESERVED_DIRECTORY } from '../../src/backends/backend.js'
import { StorageError } from '../../src/backends/storage-error.js'
import { putBackDisplaced } from '../../src/fs/hidden.js'
import { withMembers } from '../support/backends.js'
import type { Driver } from './driver.js'
import { contentsOf, drive, memory, O_RDWR, store } from './driving.js'

const AWAY = new StorageError('EIO', 'away', { retryable: true })

/** Renames of "new" are answered with an error; "before": and not done. */
class Faulty {
  fails: 'before' | 'after' | 'away' | null = null
  readonly stored = memory()
  readonly backend: Backend = withMembers(this.stored, {
    rename: async (from, to, kind) => {
      const isMeant = from === 'new' || this.fails === 'away'
      if (this.fails !== null && this.fails !== 'after' && isMeant && !to.startsWith(RESERVED_DIRECTORY))
        throw AWAY
      await this.stored.rename(from, to, kind)
      if (this.fails === 'after' && isMeant) throw AWAY
    },
  })

  async hiddenFiles(): Promise<number> {
    return (await this.stored.list(RESERVED_DIRECTORY)).length
  }
}

async function openTarget(driver: Driver): Promise<number> {
  await store(driver, ['old'], 'old contents')
  await store(driver, ['new'], 'new')
  return driver.open(['old'], O_RDWR)
}

async function requireBothThere(driver: Driver, store: Faulty): Promise<void> {
  assert.equal(await contentsOf(driver, 'old'), 'old contents')
  assert.equal(await contentsOf(driver, 'new'), 'new')
  assert.deepEqual(await driver.list([]), ['new', 'old'])
  assert.equal((await store.stored.stat('old'))?.sizeBytes, 'old contents'.length)
  assert.equal(await store.hiddenFiles(), 0)
  assert.equal(driver.root.mount.displaced.size, 0)
}

describe('a rename over an open file', () => {
  it('that fails leaves the file its name', async (t) => {
    const faulty = new Faulty()
    const driver = drive(t, faulty.backend)
    const fh = await openTarget(driver)
    faulty.fails = 'before'
    await assert.rejects(driver.rename(['new'], ['old'], 0), { errno: 'EIO' })
    await driver.write(fh, 0, Buffer.from('OLD'))
    await driver.close(fh)
    assert.equal(await contentsOf(driver, 'old'), 'OLD contents')
    await store(driver, ['old'], 'old contents')
    await requireBothThere(driver, faulty)
    faulty.fails = null
    await driver.rename(['new'], ['old'], 0)
    assert.equal(await contentsOf(driver, 'old'), 'new')
  })

  it('that fails while the store is away gives the name back later, though the file was closed', async (t) => {
    const faulty = new Faulty()
    const driver = drive(t, faulty.backend)
    const fh = await openTarget(driver)
    faulty.fails = 'away'
    await assert.rejects(driver.rename(['new'], ['old'], 0), { errno: 'EIO' })
    assert.equal((await driver.read(fh, 0, 100)).toString(), 'old contents')
    await driver.close(fh)
    assert.equal(await faulty.hiddenFiles(), 1)
    await putBackDisplaced(driver.fs, driver.root.mount)
    assert.equal(await faulty.hiddenFiles(), 1)
    faulty.fails = null
    await putBackDisplaced(driver.fs, driver.root.mount)
    await requireBothThere(driver, faulty)
  })

  it('that was done, though its answer was lost, leaves nothing behind', async (t) => {
    const faulty = new Faulty()
    const driver = drive(t, faulty.backend)
    const fh = await openTarget(driver)
    faulty.fails = 'after'
    await assert.rejects(driver.rename(['new'], ['old'], 0), { errno: 'EIO' })
    assert.equal((await driver.read(fh, 0, 100)).toString(), 'old contents')
    await driver.close(fh)
    assert.equal(await contentsOf(driver, 'old'), 'new')
    assert.equal(await faulty.hiddenFiles(), 0)
  })
})
