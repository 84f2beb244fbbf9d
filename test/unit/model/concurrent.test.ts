/** Everything at once, with budgets that hold one request each: whatever order it happens in, it ends. */
import assert from 'node:assert/strict'
import { it, type TestContext } from 'node:test'
import type { Backend } from '../../../src/backends/backend.js'
import { Semaphore } from '../../../src/backends/semaphore.js'
import { StorageError } from '../../../src/backends/storage-error.js'
import { FsError } from '../../../src/fs/fs-error.js'
import { withMembers } from '../../support/backends.js'
import { Driver } from '../../lib/model/driver.js'
import { memory, O_RDWR } from '../../lib/model/driving.js'
import { chooseSeed, Random } from '../../lib/model/random.js'
import type { Path } from '../../lib/model/reference.js'

const KIB = 1 << 10
const PART_BYTES = 64 * KIB
const FILE_BYTES = 6 * PART_BYTES
/** The smallest that has a slab of each size. */
const POOL_BYTES = 4 << 20
/** What one request needs, so that the second waits for the first. */
const BUDGET_BYTES = PART_BYTES
const WORKERS = 12
const STEPS = 60
/** Far longer than the steps take on any machine. */
const DEADLINE_MS = 20_000

/** Parts so small that files of a few have uploads in parts and streams; each call takes a few turns of the loop. */
function slow(backend: Backend, random: Random): Backend {
  const later = async <T>(call: () => Promise<T>): Promise<T> => {
    for (let turn = random.below(4); turn > 0; turn--) await new Promise((resolve) => setImmediate(resolve))
    return call()
  }
  return withMembers(backend, {
    capabilities: { ...backend.capabilities, partSizeBytes: PART_BYTES },
    stat: (...args) => later(() => backend.stat(...args)),
    read: (...args) => later(() => backend.read(...args)),
    write: (...args) => later(() => backend.write(...args)),
    rename: (...args) => later(() => backend.rename(...args)),
    removeFile: (...args) => later(() => backend.removeFile(...args)),
  })
}

function tinyDriver(t: TestContext, random: Random): Driver {
  const driver = new Driver({
    backend: slow(memory(), random),
    poolBytes: POOL_BYTES,
    expirationMs: 0,
    cacheEnabled: true,
    writeBack: random.chance(0.5),
    dirtyExpireMs: 60_000,
  })
  Object.assign(driver.root.mount.account, {
    fetchBudget: new Semaphore(BUDGET_BYTES, 'fetches'),
    commitBudget: new Semaphore(BUDGET_BYTES, 'parts'),
  })
  t.after(() => driver.fs.close(() => undefined))
  return driver
}

const PATHS: readonly Path[] = ['a', 'b', 'd/a', 'd/b', 'd/e/a', 'd/e/b'].map((path) => path.split('/'))
const DIRECTORIES: readonly Path[] = [['d'], ['d', 'e'], ['f']]

/** One step of a worker; what it is refused is of no interest. */
async function step(driver: Driver, random: Random): Promise<void> {
  const path = random.pick(PATHS)
  switch (random.below(8)) {
    case 0:
      return driver.rename(path, random.pick(PATHS), 0)
    case 1:
      return driver.rename(random.pick(DIRECTORIES), random.pick(DIRECTORIES), 0)
    case 2:
      return driver.unlink(path)
    case 3:
      return driver.rmdir(random.pick(DIRECTORIES))
    case 4:
      await driver.mkdir(random.pick(DIRECTORIES))
      return
    case 5:
      await driver.truncate(path, random.below(FILE_BYTES))
      return
    default:
      return useFile(driver, path, random)
  }
}

async function useFile(driver: Driver, path: Path, random: Random): Promise<void> {
  const fh = await driver.create(path, O_RDWR)
  try {
    for (let rounds = 1 + random.below(6); rounds > 0; rounds--) {
      const offset = random.below(FILE_BYTES)
      if (random.chance(0.5)) await driver.read(fh, offset, PART_BYTES)
      else await driver.write(fh, random.chance(0.3) ? driver.sizeOf(fh) : offset, random.bytes(16 * KIB))
      if (random.chance(0.2)) await driver.fsync(fh)
    }
  } finally {
    await driver.close(fh)
  }
}

async function work(driver: Driver, random: Random, note: (where: string) => void): Promise<void> {
  for (let done = 0; done < STEPS; done++) {
    note(`step ${done}`)
    try {
      await step(driver, random)
    } catch (error) {
      if (!(error instanceof FsError) && !(error instanceof StorageError)) throw error
    }
  }
  note('done')
}

it('operations on the same few files, all at once', async (t) => {
  const seed = chooseSeed()
  t.diagnostic(`OVFSD_SEED=${seed}`)
  const random = new Random(seed)
  const driver = tinyDriver(t, random)
  const places: string[] = []
  const workers = Array.from({ length: WORKERS }, (_, index) =>
    work(driver, new Random(seed + index), (where) => (places[index] = where)),
  )
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => {
      reject(new Error(`seed ${seed} does not end: ${places.join(', ')}`))
    }, DEADLINE_MS)
  })
  try {
    await Promise.race([Promise.all(workers), late])
  } finally {
    clearTimeout(timer)
  }
  assert.ok(driver.root.mount.guard.isIdle, `seed ${seed}: a path is still held`)
})

it('nothing is moved into a directory that was removed while the rename waited', async (t) => {
  const driver = tinyDriver(t, new Random(1))
  for (const name of ['d', 'f']) await driver.mkdir([name])
  await driver.holding(['d'], async () => {
    const renamed = driver.rename(['f'], ['d', 'f'], 0)
    const results = await Promise.allSettled([driver.rmdir(['d']), driver.mkdir(['d']), renamed])
    assert.deepEqual(
      results.map(({ status }) => status),
      ['fulfilled', 'fulfilled', 'rejected'],
    )
  })
  assert.deepEqual(await driver.list([]), ['d/', 'f/'])
})

it('a directory is removed while its file is moved out of it', async (t) => {
  const driver = tinyDriver(t, new Random(1))
  await driver.mkdir(['d'])
  await driver.close(await driver.create(['d', 'file'], O_RDWR))
  await driver.stat(['d', 'file'])
  const both = Promise.allSettled([driver.rmdir(['d']), driver.rename(['d', 'file'], ['file'], 0)])
  const ended = await Promise.race([
    both.then(() => true),
    new Promise((resolve) => setTimeout(resolve, DEADLINE_MS, false).unref()),
  ])
  assert.equal(ended, true)
  assert.ok((await driver.list([])).includes('file'))
})
