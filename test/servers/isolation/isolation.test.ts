/**
 * One daemon with a mount on each kind of server. Whatever one server does, its own mount answers with a clear errno and
 * recovers by itself, and the other mounts do not notice.
 */
import assert from 'node:assert/strict'
import { after, before, describe, it, type TestContext } from 'node:test'
import { O_CREAT, O_RDWR } from '../../frontend/abi.js'
import { codeOf } from '../../frontend/fuse-client.js'
import type { GuestFs } from '../../frontend/guest-fs.js'
import { hdfsProblem } from '../hdfs.js'
import { assertSameBytes, randomBytes } from '../../support/bytes.js'
import {
  heal,
  proxiedCeph,
  proxiedHdfs,
  proxiedSwift,
  setFault,
  takeAway,
  type ProxiedStore,
} from '../../support/proxied-stores.js'
import { eventually, serve, TINY_POOL_BYTES, type Served } from '../../support/served.js'
import { directoryStore } from '../../support/stores.js'

/** Short, since with a server that is silent each call takes three of them. */
const TIMEOUT_MS = 500
/** No test lasts as long. */
const ENDLESS_MS = 3_600_000
const CIRCUIT = { failures: 3, pauseMs: 100 }
const CHUNK_BYTES = 1 << 20

const problem = hdfsProblem()
const starters = [proxiedCeph, proxiedSwift, ...(problem === null ? [proxiedHdfs] : [])]
if (problem !== null) it('HDFS beside the others', { skip: `NO HDFS TESTS: ${problem}` })

interface Daemon {
  readonly served: Served
  readonly stores: readonly ProxiedStore[]
}

async function start(timeoutMs: number): Promise<Daemon> {
  const stores = await Promise.all(starters.map((starter) => starter()))
  const mount = { expirationMs: 0, timeoutMs, circuit: CIRCUIT }
  const served = await serve({
    mounts: [
      { store: directoryStore, mountPoint: ['local'], expirationMs: 0 },
      ...stores.map((store) => ({ ...mount, store, mountPoint: [store.name] })),
    ],
    settings: { cacheSizeBytes: TINY_POOL_BYTES },
  })
  return { served, stores }
}

/** What works on a mount that is well: every kind of operation. */
async function use(served: Served, mount: string): Promise<void> {
  const fs = served.guestFs(mount)
  const data = randomBytes(100_000)
  await fs.mkdir('dir')
  await fs.writeFile('dir/file', data)
  assertSameBytes(await fs.readFile('dir/file'), data, mount)
  await fs.rename('dir/file', 'dir/renamed')
  assert.deepEqual(await fs.list('dir'), ['renamed'])
  await fs.truncate('dir/renamed', 10)
  assertSameBytes(await fs.readFile('dir/renamed'), data.subarray(0, 10), mount)
  await fs.unlink('dir/renamed')
  await fs.rmdir('dir')
}

async function useOthers({ served, stores }: Daemon, victim: ProxiedStore): Promise<void> {
  const others = ['local', ...stores.filter((store) => store !== victim).map(({ name }) => name)]
  await Promise.all(others.map((name) => use(served, name)))
}

/** One of each kind, on a mount whose server is away. */
function attempts(served: Served, mount: string): Promise<unknown>[] {
  const fs = served.guestFs(mount)
  return [
    fs.stat('other'),
    fs.readFile('kept'),
    fs.list(),
    fs.writeFile('new', 'data'),
    fs.mkdir('dir'),
    fs.unlink('kept'),
    fs.rename('kept', 'gone'),
    fs.truncate('kept', 0),
  ]
}

const ERRNOS = ['EIO', 'ETIMEDOUT']

async function failsClearly(work: Promise<unknown>): Promise<void> {
  const code = await codeOf(work)
  assert.ok(ERRNOS.includes(code), `the errno is ${code}`)
}

const FAULTS: Readonly<Record<string, (store: ProxiedStore) => Promise<void> | void>> = {
  'refuses connections': takeAway,
  'is silent': (store) => {
    setFault(store, { kind: 'stall' })
  },
  'resets connections': (store) => {
    setFault(store, { kind: 'reset' })
  },
  'answers 503': (store) => {
    for (const proxy of store.proxies) proxy.answer({ status: 503 })
  },
}

describe('one daemon with every kind of server', () => {
  let daemon: Daemon
  before(async () => {
    daemon = await start(TIMEOUT_MS)
  })
  after(() => daemon.served.close())

  it('serves all mounts at once', async () => {
    await Promise.all(
      ['local', ...daemon.stores.map(({ name }) => name)].map((name) => use(daemon.served, name)),
    )
  })

  for (const [index, { name: starter }] of starters.entries()) {
    const title = starter.replace('proxied', '')
    for (const [what, begin] of Object.entries(FAULTS)) {
      it(`${title} ${what}: its mount says so, the others go on, and all is well afterwards`, async (t) => {
        const victim = victimOf(daemon, index, t)
        const { served } = daemon
        const fs = served.guestFs(victim.name)
        await fs.writeFile('kept', 'data that was stored')
        const file = await fs.open('unsaved', O_CREAT | O_RDWR)
        await file.write(0, 'written before')
        await begin(victim)
        await Promise.all([
          ...attempts(served, victim.name).map(failsClearly),
          failsClearly(file.fsync()),
          useOthers(daemon, victim),
        ])
        await heal(victim)
        // The circuit lets somebody try within its pause.
        await eventually('the mount is back', async () => (await codeOf(fs.list())) === 'OK')
        await eventually('the file can be stored', async () => (await codeOf(file.fsync())) === 'OK')
        await file.close()
        assert.equal(await fs.readText('kept'), 'data that was stored')
        assert.equal(await fs.readText('unsaved'), 'written before')
        assert.ok((await victim.view.paths()).includes('unsaved'))
        await removeAll(fs)
        await use(served, victim.name)
      })
    }
  }
})

describe('a server that is silent for ever', () => {
  let daemon: Daemon
  before(async () => {
    daemon = await start(ENDLESS_MS)
  })
  after(() => daemon.served.close())

  for (const [index, { name: starter }] of starters.entries()) {
    it(`${starter.replace('proxied', '')}: keeps its own requests waiting and nobody else's`, async (t) => {
      const victim = victimOf(daemon, index, t)
      const { served } = daemon
      const fs = served.guestFs(victim.name)
      await fs.writeFile('kept', 'data')
      const file = await fs.open('large', O_CREAT | O_RDWR)
      setFault(victim, { kind: 'stall' })
      const answered: string[] = []
      const wait = (name: string, work: Promise<unknown>): Promise<unknown> =>
        work.then(
          () => answered.push(name),
          (error: unknown) => answered.push(`${name}: ${String(error)}`),
        )
      const waiting = [
        wait('read', fs.readFile('kept')),
        wait('list', fs.list()),
        wait('stat', fs.stat('other')),
        wait('mkdir', fs.mkdir('dir')),
        // More than the pool and the parts under way hold: the writer is made to wait, and only it.
        wait('write', writeMuch(file.write.bind(file), (5 * TINY_POOL_BYTES) / CHUNK_BYTES)),
      ]
      for (let round = 0; round < 3; round++) await useOthers(daemon, victim)
      const large = randomBytes(TINY_POOL_BYTES)
      await served.guestFs('local').writeFile('large', large)
      assertSameBytes(await served.guestFs('local').readFile('large'), large, 'beside a store that waits')
      await served.guestFs('local').unlink('large')
      assert.deepEqual(answered, [])
      await heal(victim)
      for (const proxy of victim.proxies) proxy.resetConnections()
      await Promise.all(waiting)
      await file.close()
      await removeAll(fs)
      await use(served, victim.name)
    })
  }
})

async function removeAll(fs: GuestFs): Promise<void> {
  for (const name of await fs.list()) await fs.removeTree(name)
}

async function writeMuch(
  write: (offset: number, data: Uint8Array) => Promise<number>,
  chunks: number,
): Promise<void> {
  const chunk = randomBytes(CHUNK_BYTES)
  for (let i = 0; i < chunks; i++) await write(i * CHUNK_BYTES, chunk)
}

/** Well again at the end, whatever the test found. */
function victimOf({ stores }: Daemon, index: number, t: TestContext): ProxiedStore {
  const victim = stores[index]
  assert.ok(victim)
  t.after(() => heal(victim))
  return victim
}
