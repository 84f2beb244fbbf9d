/** A server that lies: no name appears or vanishes by it, no byte is shown that it did not give for that version, and every call ends. */
import assert from 'node:assert/strict'
import { describe, it, type TestContext } from 'node:test'
import type { Backend } from '../../src/backends/backend.js'
import { createBackend } from '../../src/backends/create-backend.js'
import { StorageError } from '../../src/backends/storage-error.js'
import { Driver } from '../model/driver.js'
import { chooseSeed, Random } from '../model/random.js'
import { LyingS3 } from './lying-s3.js'

const FILES = 13
const CALLS = 150
/** Of one call of the backend: a look asks for an object, its directory and a listing, each a few times. */
const MOST_REQUESTS = 60
/** Of one request, ms: a lie that is a silence ends by it. */
const TIMEOUT_MS = 2000
/** A call may try a few times, ms. */
const DEADLINE_MS = 30_000
const POOL_BYTES = 4 << 20

interface Liar {
  readonly server: LyingS3
  readonly backend: Backend
  readonly random: Random
  readonly seed: number
}

async function liar(t: TestContext): Promise<Liar> {
  const seed = chooseSeed()
  t.diagnostic(`OVFSD_SEED=${seed}`)
  const random = new Random(seed)
  const server = new LyingS3(random)
  const options = await server.start()
  t.after(() => {
    server.stop()
  })
  for (let file = 0; file < FILES; file++)
    server.objects.set(`d/f${file}`, random.bytes(1 + random.below(random.pick([100, 300_000]))))
  server.objects.set('d/sub/x', Buffer.from('x'))
  return { server, random, seed, backend: createBackend({ type: 's3', options, timeoutMs: TIMEOUT_MS }) }
}

/** What the call answers, or null for an error that may be; it ends, after not too many requests. */
async function asked<T>({ server, seed }: Liar, what: string, work: () => Promise<T>): Promise<T | null> {
  const before = server.requests
  let timer: NodeJS.Timeout | undefined
  const deadline = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => {
      reject(new Error(`OVFSD_SEED=${seed}: ${what} never ends:\n${server.trace.slice(-10).join('\n')}`))
    }, DEADLINE_MS)
  })
  try {
    return await Promise.race([work(), deadline])
  } catch (error) {
    if (!isErrno(error)) throw error
    assert.notEqual(
      error.errno,
      'ENOENT',
      `${what}: a lie makes it vanish\n${server.trace.slice(-10).join('\n')}`,
    )
    return null
  } finally {
    clearTimeout(timer)
    const requests = server.requests - before
    assert.ok(requests <= MOST_REQUESTS, `OVFSD_SEED=${seed}: ${what} asks ${requests} times`)
  }
}

function isErrno(error: unknown): error is { readonly errno: string } {
  return error instanceof StorageError || (error instanceof Error && error.name === 'FsError')
}

describe('an S3 server that lies', () => {
  it('makes no name of a listing appear or vanish', async (t) => {
    const it = await liar(t)
    const { server, backend } = it
    const names = ['sub', ...Array.from({ length: FILES }, (_, file) => `f${file}`)].sort()
    assert.deepEqual((await backend.list('d')).map(({ name }) => name).sort(), names)
    server.dishonesty = 0.2
    for (let call = 0; call < CALLS; call++) {
      const entries = await asked(it, 'list', () => backend.list('d'))
      if (entries === null) continue
      assert.deepEqual(entries.map(({ name }) => name).sort(), names, server.trace.slice(-10).join('\n'))
    }
  })

  it('makes no file that is there missing', async (t) => {
    const it = await liar(t)
    const { server, backend, random, seed } = it
    server.dishonesty = 0.3
    for (let call = 0; call < CALLS; call++) {
      const path = `d/f${random.below(FILES)}`
      const before = server.trace.length
      const stat = await asked(it, `stat ${path}`, async () => (await backend.stat(path)) ?? 'missing')
      if (stat === null) continue
      assert.ok(
        stat !== 'missing',
        `OVFSD_SEED=${seed}: ${path} is missing\n${server.trace.slice(before).join('\n')}`,
      )
      assert.equal(stat.kind, 'file')
      // A length alone may be a lie that nobody can tell; none at all is not a length of nothing.
      assert.notEqual(
        stat.sizeBytes,
        0,
        `OVFSD_SEED=${seed}: ${path} is empty\n${server.trace.slice(-5).join('\n')}`,
      )
    }
  })

  it('gives no byte that is not of the version', async (t) => {
    const it = await liar(t)
    const { server, backend, random, seed } = it
    for (let call = 0; call < CALLS; call++) {
      const path = `d/f${random.below(FILES)}`
      const data = server.objects.get(path) ?? Buffer.alloc(0)
      server.dishonesty = 0
      const stat = await backend.stat(path)
      server.dishonesty = 0.4
      const offset = random.below(data.length)
      const length = 1 + random.below(data.length - offset)
      const bytes = await asked(it, `read ${path} ${offset}+${length}`, () =>
        backend.read(path, offset, length, stat?.version ?? ''),
      )
      if (bytes === null) continue
      assert.ok(
        data.subarray(offset, offset + length).equals(bytes),
        `OVFSD_SEED=${seed}: ${path} ${offset}+${length} of ${data.length}\n${server.trace.slice(-5).join('\n')}`,
      )
    }
  })

  it('is read through the file system as it is, or not at all', async (t) => {
    const it = await liar(t)
    const { server, backend, random, seed } = it
    const driver = new Driver({
      ...{ backend, poolBytes: POOL_BYTES, expirationMs: 0, cacheEnabled: true, writeBack: false },
      dirtyExpireMs: 60_000,
    })
    t.after(() => driver.fs.close(() => undefined))
    server.dishonesty = 0.15
    for (let call = 0; call < CALLS / 2; call++) {
      const name = `f${random.below(FILES)}`
      const bytes = await asked(it, `open and read ${name}`, async () => {
        const fh = await driver.open(['d', name], 0)
        try {
          return await driver.read(fh, 0, 1 << 20)
        } finally {
          await driver.close(fh)
        }
      })
      const data = server.objects.get(`d/${name}`) ?? Buffer.alloc(0)
      if (bytes !== null)
        assert.ok(
          data.equals(bytes),
          `OVFSD_SEED=${seed}: ${name}, ${bytes.length} of ${data.length}\n${server.trace.slice(-8).join('\n')}`,
        )
    }
  })
})
