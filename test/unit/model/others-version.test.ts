/** A version counts as ours only if a call of ours made it. */
import assert from 'node:assert/strict'
import { describe, it, type TestContext } from 'node:test'
import type { Backend } from '../../../src/backends/backend.js'
import { setattr } from '../../../src/fs/attributes.js'
import { withChangingVersions } from '../../support/backends.js'
import type { Driver } from '../../lib/model/driver.js'
import { contentsOf, drive, memory, O_RDWR, store } from '../../lib/model/driving.js'

const MTIME = { seconds: 1_600_000_000, nanoseconds: 0 }

interface Shared {
  readonly driver: Driver
  /** What somebody else sees and changes. */
  readonly backend: Backend
}

async function shared(t: TestContext): Promise<Shared> {
  const backend = withChangingVersions(memory())
  const driver = drive(t, backend)
  await store(driver, ['file'], 'AAAA')
  return { driver, backend }
}

/** Of the same length, so that nothing but the version tells. */
async function replaceOutside({ backend }: Shared): Promise<void> {
  const stat = await backend.stat('file')
  await backend.write('file', Buffer.from('BBBB'), stat?.version)
}

describe('the time of a file that somebody has replaced', () => {
  it('is set, and what is read from then on is theirs', async (t) => {
    const one = await shared(t)
    const { driver } = one
    const fh = await driver.open(['file'], O_RDWR)
    assert.equal((await driver.read(fh, 0, 4)).toString(), 'AAAA')
    await replaceOutside(one)
    await setattr(driver.fs, driver.inodeOf(fh), { mtime: MTIME }, false)
    assert.equal((await driver.read(fh, 0, 4)).toString(), 'BBBB')
    await driver.close(fh)
    assert.equal(await contentsOf(driver, 'file'), 'BBBB')
  })

  it('never makes their version the base of what was changed of another one', async (t) => {
    const one = await shared(t)
    const { driver, backend } = one
    const fh = await driver.open(['file'], O_RDWR)
    await replaceOutside(one)
    await setattr(driver.fs, driver.inodeOf(fh), { mtime: MTIME }, false)
    await driver.write(fh, 0, Buffer.from('x'))
    await assert.rejects(driver.fsync(fh), { errno: 'ESTALE' })
    const stat = await backend.stat('file')
    assert.equal(Buffer.from(await backend.read('file', 0, 4, stat?.version ?? '')).toString(), 'BBBB')
  })

  it('that was not replaced keeps what is cached', async (t) => {
    const { driver } = await shared(t)
    const fh = await driver.open(['file'], O_RDWR)
    const { content } = driver.inodeOf(fh)
    const generation = content?.generation
    await setattr(driver.fs, driver.inodeOf(fh), { mtime: MTIME }, false)
    assert.equal((await driver.read(fh, 0, 4)).toString(), 'AAAA')
    assert.equal(content?.generation, generation)
    await driver.close(fh)
  })
})
