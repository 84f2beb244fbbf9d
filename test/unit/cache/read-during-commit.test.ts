/** A file that is read, written and committed at once: its version changes by our own doing, and no reader may take that for another's. */
import assert from 'node:assert/strict'
import { it } from 'node:test'
import type { ObjectStat } from '../../../src/backends/backend.js'
import { MemoryBackend } from '../../../src/backends/local/memory-backend.js'
import { createOperator } from '../../../src/backends/opendal/operator.js'
import { StorageError } from '../../../src/backends/storage-error.js'
import { O_RDWR } from '../../frontend/abi.js'
import { Driver } from '../../lib/model/driver.js'
import { randomBytes } from '../../support/bytes.js'

const FILE_BYTES = 300_000
const PAGE_BYTES = 4096
/** Beyond what a miss at 0 reads along. */
const FAR_BYTES = 200_000

/** Holds up one call. */
class Gate {
  arrive = (): void => undefined
  open = (): void => undefined
  leave = (): void => undefined
  /** The call has come. */
  readonly reached = new Promise<void>((resolve) => (this.arrive = resolve))
  readonly opened = new Promise<void>((resolve) => (this.open = resolve))
  /** The call has its answer. */
  readonly left = new Promise<void>((resolve) => (this.leave = resolve))
}

/** A store that knows versions, and whose calls can be held up. */
class GatedBackend extends MemoryBackend {
  private readonly gates = new Map<string, Gate>()

  constructor() {
    super(createOperator({ scheme: 'memory', options: {}, timeoutMs: 60_000 }))
  }

  /** The next `call` waits: a read or a stat before the store is asked, a write before its answer is given. */
  gate(call: 'read' | 'stat' | 'write'): Gate {
    const gate = new Gate()
    this.gates.set(call, gate)
    return gate
  }

  private async pass(call: 'read' | 'stat' | 'write'): Promise<Gate | undefined> {
    const gate = this.gates.get(call)
    this.gates.delete(call)
    gate?.arrive()
    await gate?.opened
    return gate
  }

  override async read(
    path: string,
    offset: number,
    lengthBytes: number,
    version: string,
  ): Promise<Uint8Array> {
    await this.pass('read')
    if ((await super.stat(path))?.version !== version)
      throw new StorageError('ESTALE', 'another version', { retryable: true })
    return super.read(path, offset, lengthBytes, version)
  }

  override async stat(path: string): Promise<ObjectStat | null> {
    const gate = await this.pass('stat')
    const stat = await super.stat(path)
    gate?.leave()
    return stat
  }

  override async write(path: string, data: Uint8Array): Promise<ObjectStat> {
    const stat = await super.write(path, data)
    await this.pass('write')
    return stat
  }
}

async function setUp(): Promise<{ backend: GatedBackend; driver: Driver; fh: number; data: Buffer }> {
  const backend = new GatedBackend()
  const data = randomBytes(FILE_BYTES)
  await backend.write('file', data)
  const driver = new Driver({
    backend,
    poolBytes: 4 << 20,
    expirationMs: 60_000,
    cacheEnabled: true,
    writeBack: true,
    dirtyExpireMs: 3_600_000,
  })
  const fh = await driver.open(['file'], O_RDWR)
  return { backend, driver, fh, data }
}

it('a reader that comes after a commit may wait for an answer of before it, and asks again', async () => {
  const { backend, driver, fh, data } = await setUp()
  const gate = backend.gate('read')
  const first = driver.read(fh, 0, PAGE_BYTES)
  await gate.reached
  await driver.write(fh, FAR_BYTES, Buffer.from('committed'))
  await driver.fsync(fh)
  await driver.write(fh, FAR_BYTES, Buffer.from('not yet'))
  const second = driver.read(fh, 0, PAGE_BYTES)
  gate.open()
  assert.deepEqual(await first, data.subarray(0, PAGE_BYTES))
  assert.deepEqual(await second, data.subarray(0, PAGE_BYTES))
  await driver.close(fh)
})

it('a version that a commit under way has made is not somebody else’s', async () => {
  const { backend, driver, fh, data } = await setUp()
  const read = backend.gate('read')
  const first = driver.read(fh, 0, PAGE_BYTES)
  await read.reached
  await driver.write(fh, FAR_BYTES, Buffer.from('committed'))
  await driver.fsync(fh)
  const second = driver.read(fh, 0, PAGE_BYTES)
  const look = backend.gate('stat')
  read.open()
  assert.deepEqual(await first, data.subarray(0, PAGE_BYTES))
  await look.reached
  // The second reader is about to look: it sees a third version, which nobody here knows yet.
  await driver.write(fh, FAR_BYTES, Buffer.from('again'))
  const write = backend.gate('write')
  const committed = driver.fsync(fh)
  await write.reached
  await driver.write(fh, FAR_BYTES, Buffer.from('and again'))
  look.open()
  await look.left
  write.open()
  assert.deepEqual(await second, data.subarray(0, PAGE_BYTES))
  await committed
  await driver.close(fh)
})
