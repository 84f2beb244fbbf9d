/** Thousands of FUSE requests that no kernel would send: each is answered by the rules, and nothing stays behind. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { O_CREAT, O_RDWR } from '../../frontend/abi.js'
import { GuestFs } from '../../frontend/guest-fs.js'
import { assertSameBytes, randomBytes } from '../../support/bytes.js'
import { delay, fault, rules, throttle } from '../../lib/interpose/rules.js'
import { eventually, serve, TINY_POOL_BYTES, type Served } from '../../support/served.js'
import { directoryStore, memoryStore } from '../../support/stores.js'
import { Attacker } from '../../lib/hostile/attacker.js'
import { caseCount, chooseSeed, Random } from '../../lib/hostile/random.js'

const CASES = 4000
/** Requests in flight at once. */
const BATCH = 80
const QUEUES = 3

/** Waits that overlap, throttles that are paid back, and answers in the place of handlers. */
const INTERPOSED = rules({
  throttle: throttle({ readBytes: 2 ** 30, writeBytes: 2 ** 30, otherOperations: 10_000 }),
  delays: [delay({ kind: 'uniform', minMs: 0, maxMs: 2 }, { paths: ['*', '*/**'] })],
  faults: [
    // Not what the end of the test needs to clean up.
    fault({
      probability: 0.2,
      operations: ['setattr', 'open', 'create', 'mknod', 'rename', 'fsync', 'write'],
    }),
    fault({ errno: null, short: 0.5, probability: 0.5, operations: ['read', 'write'] }),
  ],
})

function hostileServer(enabledCache: boolean): Promise<Served> {
  return serve({
    mounts: [
      { store: directoryStore, mountPoint: ['m'] },
      { store: memoryStore, mountPoint: ['memory'] },
      { store: directoryStore, mountPoint: ['ro'], readOnly: true },
      { store: memoryStore, mountPoint: ['deep', 'er'], interpose: INTERPOSED },
    ],
    settings: { enabledCache, cacheSizeBytes: TINY_POOL_BYTES },
    client: { queues: QUEUES },
  })
}

/** A new session that works as if nothing had been. */
async function wellBehaved(served: Served, round: number): Promise<void> {
  await served.client.init()
  const fs = new GuestFs(served.client)
  assert.deepEqual(await fs.list(), ['deep', 'm', 'memory', 'ro'])
  const data = randomBytes(10_000, round + 1)
  for (const mount of ['m', 'memory']) {
    const path = `${mount}/well-behaved`
    await fs.writeFile(path, data)
    assertSameBytes(await fs.readFile(path), data, path)
    const file = await fs.open(path, O_RDWR | O_CREAT)
    await file.write(5000, 'patch')
    assert.equal((await file.read(5000, 5)).toString(), 'patch')
    await file.close()
    await fs.unlink(path)
    assert.ok(!(await fs.list(mount)).includes('well-behaved'))
  }
}

/** What an empty tree holds; clean cached blocks may stay. */
function held({ server }: Served): Record<string, number> {
  const { inodes, treeInodes, openFiles, openDirectories, cache, device } = server.stats()
  return {
    inodes,
    treeInodes,
    openFiles,
    openDirectories,
    leasedSlabs: cache.leasedSlabs,
    dirtyFiles: cache.dirtyFiles,
    waiters: cache.waiters,
    slotsInFlight: device.slotsInFlight,
    mappedRegions: device.mappedRegions,
  }
}

for (const enabledCache of [true, false]) {
  describe(`hostile requests, cache ${enabledCache ? 'on' : 'off'}`, () => {
    it('are answered by the rules, and leave the daemon as it was', async (t) => {
      const seed = chooseSeed((message) => {
        t.diagnostic(message)
      })
      const served = await hostileServer(enabledCache)
      t.after(() => served.close())
      const random = new Random(seed)
      await wellBehaved(served, 0)
      for (const path of ['m', 'memory', 'ro', 'deep/er']) await served.nodeid(path)
      await served.client.init()
      await eventually('the first session is forgotten', () => held(served)['openFiles'] === 0)
      const before = held(served)

      const rounds = Math.ceil(caseCount(CASES) / BATCH)
      for (let round = 1; round <= rounds; round++) {
        const attacker = new Attacker(served.client, random, QUEUES)
        for (const path of ['m', 'memory', 'ro']) attacker.learn(BigInt(await served.nodeid(path)))
        const waves = 5
        for (let wave = 0; wave < waves; wave++) {
          await Promise.all(Array.from({ length: Math.ceil(BATCH / waves) }, () => attacker.attack()))
        }
        await wellBehaved(served, round)
        assert.deepEqual(served.defects(), [], `OVFSD_SEED=${seed}, round ${round}`)
      }

      await removeAll(served)
      await served.client.init()
      await eventually(
        () =>
          `OVFSD_SEED=${seed}: all is let go: ${JSON.stringify(held(served))}, was ${JSON.stringify(before)}`,
        () => sameHoldings(held(served), before),
      )
      const leftovers = (await served.view.paths()).filter((path) => path !== '.ovfsd/')
      assert.deepEqual(leftovers, [])
    })
  })
}

function sameHoldings(actual: Record<string, number>, expected: Record<string, number>): boolean {
  return Object.entries(expected).every(([key, value]) => actual[key] === value)
}

async function removeAll(served: Served): Promise<void> {
  const fs = new GuestFs(served.client)
  for (const mount of ['m', 'memory', 'deep/er']) {
    for (const name of await fs.list(mount)) await fs.removeTree(`${mount}/${name}`)
  }
}

describe('single hostile requests', () => {
  it('of more arguments than a request can have are refused', async (t) => {
    const served = await hostileServer(true)
    t.after(() => served.close())
    const { client } = served
    for (let opcode = 0; opcode < 70; opcode++) {
      for (const size of [0, 1, 39, 40, 599, 600, 601, 5000, 1 << 20]) {
        const { error } = await client
          .request(opcode, 1, Buffer.alloc(size, 0x41), 0, { replyDataBytes: 4096 })
          .catch(silent)
        assert.ok(error <= 0, `opcode ${opcode} with ${size} bytes`)
      }
    }
    await wellBehaved(served, 1)
  })
})

/** FORGET and its like have no reply, which `request` takes for a broken rule where room was given for one. */
function silent(error: unknown): { error: number } {
  assert.match(String(error), /^DeviceError: 0 bytes in the reply to opcode (2|36|42)$/)
  return { error: 0 }
}
