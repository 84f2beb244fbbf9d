/** What is here of a file goes when the store has removed it, and not before. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { describe, it } from 'node:test'
import { RESERVED_DIRECTORY } from '../../../src/backends/backend.js'
import { eraseLeftovers } from '../../../src/fs/silly-rename.js'
import { HiddenNames } from '../../../src/fs/hidden-names.js'
import { withChangingVersions } from '../../support/backends.js'
import type { Driver } from '../../lib/model/driver.js'
import { contentsOf, drive, driveWriteBack, O_RDWR, store } from '../../lib/model/driving.js'
import { FailingStore, type Failure } from '../../lib/model/failing-store.js'

const FAILURES = ['refused', 'not done'] as const satisfies Failure[]

async function storeAll(driver: Driver): Promise<void> {
  assert.equal(await driver.fs.commitAll(() => undefined), 0)
}

describe('an unlink', () => {
  for (const failure of FAILURES) {
    it(`that is ${failure} leaves what is not stored yet readable, and to be stored`, async (t) => {
      const failing = new FailingStore()
      const driver = driveWriteBack(t, failing.backend)
      await store(driver, ['file'], 'first')
      await storeAll(driver)
      await store(driver, ['file'], 'second')
      failing.failures.set('removeFile', failure)
      await assert.rejects(driver.unlink(['file']), { name: 'StorageError' })
      assert.deepEqual(await driver.list([]), ['file'])
      assert.equal(await contentsOf(driver, 'file'), 'second')
      await storeAll(driver)
      assert.equal(await failing.contentsOf('file'), 'second')
      failing.failures.clear()
      await driver.unlink(['file'])
      assert.equal(await failing.contentsOf('file'), null)
    })

    it(`of an open file that is ${failure} leaves it its name`, async (t) => {
      const failing = new FailingStore()
      const driver = drive(t, failing.backend)
      await store(driver, ['file'], 'contents')
      const fh = await driver.open(['file'], O_RDWR)
      await driver.write(fh, 0, Buffer.from('CON'))
      failing.failures.set('rename', failure)
      await assert.rejects(driver.unlink(['file']), { name: 'StorageError' })
      assert.deepEqual(await driver.list([]), ['file'])
      await driver.close(fh)
      assert.equal(await failing.contentsOf('file'), 'CONtents')
      assert.equal(await failing.hiddenFiles(), 0)
    })
  }

  it('that was done, though its answer was lost, is done', async (t) => {
    const failing = new FailingStore()
    const driver = drive(t, failing.backend)
    await store(driver, ['file'], 'contents')
    failing.failures.set('removeFile', 'done')
    await driver.unlink(['file'])
    assert.deepEqual(await driver.list([]), [])
  })

  it('of an open file that was done, though its answer was lost, leaves it to its handles', async (t) => {
    const failing = new FailingStore()
    const driver = drive(t, withChangingVersions(failing.backend))
    await store(driver, ['file'], 'contents')
    const fh = await driver.open(['file'], O_RDWR)
    failing.failures.set('rename', 'done')
    await driver.unlink(['file'])
    driver.inodeOf(fh).content?.forgetStored()
    assert.equal((await driver.read(fh, 0, 100)).toString(), 'contents')
    await driver.close(fh)
    assert.equal(await failing.hiddenFiles(), 0)
  })

  it('of a file whose first commit had no answer removes what that may have stored', async (t) => {
    const failing = new FailingStore()
    const driver = drive(t, failing.backend)
    const fh = await driver.create(['file'], O_RDWR)
    await driver.write(fh, 0, Buffer.from('contents'))
    failing.failures.set('write', 'done')
    await assert.rejects(driver.fsync(fh), { errno: 'ETIMEDOUT' })
    failing.failures.clear()
    await driver.unlink(['file'])
    assert.equal(await failing.contentsOf('file'), null)
    await driver.close(fh)
    assert.equal(await failing.hiddenFiles(), 0)
  })
})

it('an rmdir that was done, though its answer was lost, is done', async (t) => {
  const failing = new FailingStore()
  const driver = drive(t, failing.backend)
  await driver.mkdir(['directory'])
  failing.failures.set('removeDirectory', 'done')
  await driver.rmdir(['directory'])
  assert.deepEqual(await driver.list([]), [])
})

it('hidden files of daemons that were killed are erased, those of living ones stay', async (t) => {
  const failing = new FailingStore()
  const driver = drive(t, failing.backend)
  const living = new HiddenNames().take()
  const { pid } = spawnSync(process.execPath, ['-e', ''])
  const abandoned = living.replace(`.${process.pid}.`, `.${pid}.`)
  assert.notEqual(abandoned, living)
  for (const name of [living, abandoned, 'upload-of-somebody'])
    await failing.stored.write(`${RESERVED_DIRECTORY}/${name}`, Buffer.from('x'), null)
  await eraseLeftovers(driver.root.mount)
  const left = (await failing.stored.list(RESERVED_DIRECTORY)).map(({ name }) => name)
  assert.deepEqual(left.sort(), [living, 'upload-of-somebody'].sort())
})
