/** Renames over an open file, and those that fail: neither its contents nor its name are lost. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { withChangingVersions } from '../../support/backends.js'
import type { Driver } from '../../lib/model/driver.js'
import { contentsOf, drive, O_RDWR, store } from '../../lib/model/driving.js'
import { FailingStore, type Failure } from '../../lib/model/failing-store.js'

const OLD = 'old contents'

async function openTarget(driver: Driver): Promise<number> {
  await store(driver, ['old'], OLD)
  await store(driver, ['new'], 'new')
  return driver.open(['old'], O_RDWR)
}

describe('a rename over an open file', () => {
  it('leaves the name to one or the other at every moment, and the file to its handles', async (t) => {
    const failing = new FailingStore()
    const driver = drive(t, failing.backend)
    const fh = await openTarget(driver)
    const seen = failing.watch('old')
    await driver.rename(['new'], ['old'], 0)
    assert.ok(seen.length > 0 && seen.every(Boolean), seen.join(' '))
    driver.inodeOf(fh).content?.forgetStored()
    assert.equal((await driver.read(fh, 0, 100)).toString(), OLD)
    assert.equal(await failing.hiddenFiles(), 1)
    await driver.close(fh)
    assert.equal(await failing.hiddenFiles(), 0)
    assert.equal(await failing.contentsOf('old'), 'new')
  })

  it('by one that is not stored yet leaves the old one there until it is', async (t) => {
    const failing = new FailingStore()
    const driver = drive(t, failing.backend)
    const old = await openTarget(driver)
    const seen = failing.watch('old')
    const fh = await driver.create(['unsaved'], O_RDWR)
    await driver.write(fh, 0, Buffer.from('unsaved'))
    await driver.rename(['unsaved'], ['old'], 0)
    assert.equal(await failing.contentsOf('old'), OLD)
    await driver.close(fh)
    assert.equal(await failing.contentsOf('old'), 'unsaved')
    assert.ok(seen.every(Boolean))
    driver.inodeOf(old).content?.forgetStored()
    assert.equal((await driver.read(old, 0, 100)).toString(), OLD)
    await driver.close(old)
    assert.equal(await failing.hiddenFiles(), 0)
  })

  it('by one after the other that are not stored yet leaves the last one', async (t) => {
    const failing = new FailingStore()
    const driver = drive(t, withChangingVersions(failing.backend))
    await store(driver, ['old'], OLD)
    const first = await driver.create(['first'], O_RDWR)
    const second = await driver.create(['second'], O_RDWR)
    await driver.write(second, 0, Buffer.from('second'))
    await driver.rename(['first'], ['old'], 0)
    await driver.rename(['second'], ['old'], 0)
    await driver.rename(['old'], ['moved'], 0)
    await driver.close(second)
    await driver.close(first)
    assert.deepEqual(await driver.list([]), ['moved'])
    assert.equal(await failing.contentsOf('moved'), 'second')
  })

  for (const failure of ['refused', 'not done'] as const satisfies Failure[]) {
    it(`that is ${failure} leaves the file its name, its unsaved changes and its handles`, async (t) => {
      const failing = new FailingStore()
      const driver = drive(t, failing.backend)
      const fh = await openTarget(driver)
      await driver.write(fh, 0, Buffer.from('OLD'))
      failing.failures.set('rename', failure)
      await assert.rejects(driver.rename(['new'], ['old'], 0), { name: 'StorageError' })
      assert.deepEqual(await driver.list([]), ['new', 'old'])
      assert.equal(await contentsOf(driver, 'new'), 'new')
      await driver.close(fh)
      assert.equal(await failing.contentsOf('old'), 'OLD contents')
      assert.equal(await failing.hiddenFiles(), 0)
      failing.failures.clear()
      await driver.rename(['new'], ['old'], 0)
      assert.equal(await contentsOf(driver, 'old'), 'new')
    })
  }

  it('that was done, though its answer was lost, is done', async (t) => {
    const failing = new FailingStore()
    const driver = drive(t, failing.backend)
    const fh = await openTarget(driver)
    failing.failures.set('rename', 'done')
    await driver.rename(['new'], ['old'], 0)
    assert.equal((await driver.read(fh, 0, 100)).toString(), OLD)
    await driver.close(fh)
    assert.deepEqual(await driver.list([]), ['old'])
    assert.equal(await contentsOf(driver, 'old'), 'new')
    assert.equal(await failing.hiddenFiles(), 0)
  })
})
