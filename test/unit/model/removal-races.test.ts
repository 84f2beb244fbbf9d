/** What still waits to change a file when its name goes finds that it is gone: nothing of it is stored any more, and nothing is left. */
import assert from 'node:assert/strict'
import { describe, it, type TestContext } from 'node:test'
import { RESERVED_DIRECTORY, type Backend } from '../../../src/backends/backend.js'
import { StorageError } from '../../../src/backends/storage-error.js'
import { FsError } from '../../../src/fs/fs-error.js'
import { withMembers } from '../../support/backends.js'
import type { Driver } from '../../lib/model/driver.js'
import { contentsOf, driveWriteBack, memory, O_RDWR, store } from '../../lib/model/driving.js'

interface Deferred {
  readonly promise: Promise<void>
  readonly resolve: () => void
}

function deferred(): Deferred {
  let resolve = (): void => undefined
  const promise = new Promise<void>((resolved) => (resolve = resolved))
  return { promise, resolve }
}

/** A store whose next write waits until it is let go. */
class HeldStore {
  readonly stored = memory()
  private held: { readonly came: Deferred; readonly release: Deferred } | null = null

  readonly backend: Backend = withMembers(this.stored, {
    write: async (path, data, expected, options) => {
      const { held } = this
      this.held = null
      held?.came.resolve()
      await held?.release.promise
      return this.stored.write(path, data, expected, options)
    },
  })

  /** `came` resolves when the write has come, which waits for `release`. */
  holdNext(): { readonly came: Deferred; readonly release: Deferred } {
    this.held = { came: deferred(), release: deferred() }
    return this.held
  }
}

function errnoOf(error: unknown): string {
  if (error instanceof FsError || error instanceof StorageError) return error.errno
  throw error
}

async function namesIn(backend: Backend, directory: string): Promise<string[]> {
  return (await backend.list(directory)).map(({ name }) => name)
}

async function expectNothingLeft(driver: Driver, stored: Backend, names: readonly string[]): Promise<void> {
  assert.equal(driver.fs.cache.dirtyContents().length, 0, 'something is to be stored of a file that is gone')
  assert.equal(await driver.fs.commitAll(() => undefined), 0)
  assert.deepEqual(await namesIn(stored, RESERVED_DIRECTORY), [])
  assert.deepEqual((await namesIn(stored, '')).filter((name) => name !== RESERVED_DIRECTORY).sort(), names)
}

/** Begin to store `file`, and while that is under way cut it by its name and then do `remove`. */
async function whileCut(t: TestContext, remove: (driver: Driver) => Promise<void>): Promise<HeldStore> {
  const held = new HeldStore()
  const driver = driveWriteBack(t, held.backend)
  await store(driver, ['source'], 'source')
  await driver.fs.commitAll(() => undefined)
  await store(driver, ['file'], 'contents')
  const { came, release } = held.holdNext()
  const stored = driver.fs.commitAll(() => undefined)
  await came.promise
  const cut = driver.truncate(['file'], 3).then(() => 'OK', errnoOf)
  const removed = remove(driver)
  release.resolve()
  const [code] = await Promise.all([cut, removed, stored])
  assert.ok(['OK', 'ENOENT', 'ESTALE'].includes(code), code)
  return held
}

describe('a file that is cut by its name while it is stored', () => {
  it('and is removed stays removed', async (t) => {
    let driver: Driver | undefined
    const { stored } = await whileCut(t, async (its) => {
      driver = its
      await its.unlink(['file'])
    })
    assert.ok(driver)
    await expectNothingLeft(driver, stored, ['source'])
  })

  it('and is replaced by another one leaves that as it is', async (t) => {
    let driver: Driver | undefined
    const { stored } = await whileCut(t, async (its) => {
      driver = its
      await its.rename(['source'], ['file'], 0)
    })
    assert.ok(driver)
    await expectNothingLeft(driver, stored, ['file'])
    assert.equal(await contentsOf(driver, 'file'), 'source')
  })
})

it('a file whose last handle is released while it is removed leaves no hidden file', async (t) => {
  const held = new HeldStore()
  const rename = deferred()
  const begun = deferred()
  const backend = withMembers(held.backend, {
    rename: async (from, to, kind, options) => {
      begun.resolve()
      await rename.promise
      return held.stored.rename(from, to, kind, options)
    },
  })
  const driver = driveWriteBack(t, backend)
  await store(driver, ['file'], 'contents')
  await driver.fs.commitAll(() => undefined)
  const fh = await driver.open(['file'], O_RDWR)
  const unlinked = driver.unlink(['file'])
  await begun.promise
  const released = driver.release(fh)
  rename.resolve()
  await Promise.all([unlinked, released])
  await expectNothingLeft(driver, held.stored, [])
})
