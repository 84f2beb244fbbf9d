/** A file system to be driven by its functions, and what tests of single cases do with it. */
import type { TestContext } from 'node:test'
import type { Backend } from '../../../src/backends/backend.js'
import { createBackend } from '../../../src/backends/create-backend.js'
import { Driver } from './driver.js'
import type { Path } from './reference.js'

export const POOL_BYTES = 4 << 20
export const O_RDWR = 2
const O_TRUNC = 0o1000

export function memory(): Backend {
  return createBackend({ type: 'memory', options: { root: '/' }, timeoutMs: 10_000 })
}

export function drive(t: TestContext, backend: Backend, expirationMs = Infinity): Driver {
  return start(t, backend, expirationMs, false)
}

/** With write-back: closed files are stored when that is asked for. */
export function driveWriteBack(t: TestContext, backend: Backend): Driver {
  return start(t, backend, Infinity, true)
}

function start(t: TestContext, backend: Backend, expirationMs: number, writeBack: boolean): Driver {
  const driver = new Driver({
    backend,
    poolBytes: POOL_BYTES,
    expirationMs,
    cacheEnabled: true,
    writeBack,
    dirtyExpireMs: 60_000,
  })
  t.after(() => driver.fs.close(() => undefined))
  return driver
}

export async function store(driver: Driver, path: Path, data: string): Promise<void> {
  const fh = await driver.create(path, O_RDWR | O_TRUNC)
  await driver.write(fh, 0, Buffer.from(data))
  await driver.close(fh)
}

/** The file as a guest finds it that had forgotten it. */
export async function contentsOf(driver: Driver, name: string): Promise<string> {
  const fh = await driver.open([name], 0)
  const data = await driver.read(fh, 0, driver.sizeOf(fh))
  await driver.close(fh)
  return data.toString()
}
