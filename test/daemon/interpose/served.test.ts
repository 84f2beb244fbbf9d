/** Interposed mounts as a guest sees them: what waits, what is let go, and what is never held up. */
import assert from 'node:assert/strict'
import { after, before, describe, it, type TestContext } from 'node:test'
import type { InterposeRules } from '../../../src/interpose/rules.js'
import type { RequestRecord } from '../../../src/observability/request-record.js'
import type { ServerMount } from '../../../src/server/server.js'
import { Opcode, O_CREAT, O_RDWR } from '../../frontend/abi.js'
import { codeOf, FuseError } from '../../frontend/fuse-client.js'
import { Writer } from '../../frontend/fuse-structs.js'
import { passthroughStore } from '../../lib/passthrough/support.js'
import { eventually, RELOAD_SETTINGS, serve, type MountSpec, type Served } from '../../support/served.js'
import { memoryStore } from '../../support/stores.js'
import { delay, fault, rules, throttle } from '../../lib/interpose/rules.js'

const EIO = 5
/** Whoever waits this long waits for ever, as far as a test is concerned. */
const FOREVER_MS = 3_600_000
const FOREVER = { kind: 'fixed', timeMs: FOREVER_MS } as const
const MOUNTS = ['m', 'other']

async function interposed(
  t: TestContext,
  interpose: InterposeRules,
  spec?: Partial<MountSpec>,
): Promise<Served> {
  const served = await serve({
    mounts: [
      { store: memoryStore, mountPoint: ['m'], interpose, ...spec },
      { store: memoryStore, mountPoint: ['other'] },
    ],
  })
  t.after(() => served.close())
  return served
}

function inFlight(served: Served, count: number): Promise<void> {
  return eventually(`${count} requests wait`, () => served.stats().device.slotsInFlight === count)
}

/** The first mount as the server knows it, with something else in it. */
function mountOf(served: Served, change: Partial<ServerMount>): ServerMount {
  const [store] = served.stores
  if (store === undefined) throw new Error('no store')
  return {
    ...{ name: 'mount0', type: store.type, options: store.options, mountPoint: ['m'] },
    storeKey: JSON.stringify([store.type, store.options]),
    ...{ readOnly: false, uid: 0, gid: 0, fileMode: 0o644, dirMode: 0o755, guestCache: 'auto' },
    ...{ expirationMs: 60_000, timeoutMs: 30_000, interpose: null, ...change },
  }
}

async function change(served: Served, after: Partial<ServerMount>): Promise<void> {
  const settings = { ...RELOAD_SETTINGS, reloadGraceMs: 0 }
  const changed = [{ before: mountOf(served, {}), after: mountOf(served, after) }]
  assert.deepEqual(await served.server.reload({ settings, added: [], removed: [], changed }), [])
}

/** The rules that the log says have begun, and how many interposers have ended. */
function logged(served: Served): { begun: string[]; ended: number } {
  const lines = served.log.map((line) => JSON.parse(line) as { level: string; msg: string; rule?: string })
  const begun = lines.flatMap(({ rule }) => rule ?? [])
  return { begun, ended: lines.filter(({ msg }) => msg === 'interposing has ended').length }
}

const waitingReads = rules({ delays: [delay(FOREVER, { operations: ['getattr', 'read'] })] })

describe('an interposed mount', () => {
  it('holds up nobody else', async (t) => {
    const served = await interposed(t, waitingReads)
    const [slow, quick] = await Promise.all(MOUNTS.map((mount) => served.nodeid(mount)))
    const waiting = codeOf(served.client.getattr(slow ?? 0))
    await inFlight(served, 1)
    const files = served.guestFs('other')
    await files.writeFile('a', 'b')
    assert.equal(await files.readText('a'), 'b')
    await served.client.getattr(quick ?? 0)
    // Other operations of the same mount neither.
    await served.guestFs('m').mkdir('d')
    assert.equal(served.stats().device.slotsInFlight, 1)
    await change(served, {})
    assert.equal(await waiting, 'OK')
  })

  it('lets a server that stops go at once', async (t) => {
    const queued = throttle({ readOperations: 0.001, otherOperations: 0.001, burstMs: 10 })
    const served = await interposed(t, rules({ throttle: queued, delays: waitingReads.delays }))
    const nodeid = await served.nodeid('m')
    const codes = [1, 2, 3].map(() => codeOf(served.client.getattr(nodeid)))
    await inFlight(served, 3)
    await served.server.close()
    assert.deepEqual(await Promise.all(codes), ['OK', 'OK', 'OK'])
    assert.equal(logged(served).ended, 1)
  })

  it('says what it does, with a warning for each rule', async (t) => {
    const both = rules({ throttle: throttle({ readBytes: 10 << 20 }), faults: [fault({ probability: 0.5 })] })
    const served = await interposed(t, both)
    const said = ['reads are throttled to 10 MiB a second', '50 % of all operations fail with EIO']
    assert.deepEqual(logged(served), { begun: said, ended: 0 })
    assert.ok(served.log.some((line) => line.includes('10 MiB') && line.includes('"mount":"mount0"')))
    await change(served, { interpose: null })
    assert.deepEqual(logged(served), { begun: said, ended: 1 })
  })
})

describe('a reload', () => {
  it('brings other rules, and lets go who waits by the old ones', async (t) => {
    const served = await interposed(t, waitingReads)
    const nodeid = await served.nodeid('m')
    const waiting = codeOf(served.client.getattr(nodeid))
    await inFlight(served, 1)
    await change(served, { interpose: rules({ faults: [fault({ errno: 'ENODATA', paths: ['**'] })] }) })
    assert.equal(await waiting, 'OK')
    assert.equal(await codeOf(served.client.getattr(nodeid)), 'ENODATA')
    await change(served, { interpose: null })
    assert.equal(await codeOf(served.client.getattr(nodeid)), 'OK')
    await change(served, { interpose: waitingReads })
    const again = codeOf(served.client.getattr(nodeid))
    await inFlight(served, 1)
    await change(served, {})
    assert.equal(await again, 'OK')
  })

  it('leaves rules that stay the same as far as they are', async (t) => {
    const once = (): InterposeRules => rules({ faults: [fault({ count: 1, operations: ['getattr'] })] })
    const served = await interposed(t, once())
    const nodeid = await served.nodeid('m')
    assert.equal(await codeOf(served.client.getattr(nodeid)), 'EIO')
    await change(served, { interpose: once(), uid: 7 })
    assert.equal((await served.client.getattr(nodeid)).attr.uid, 7)
    assert.deepEqual(logged(served), {
      begun: ['getattr operations fail with EIO, at most 1 times'],
      ended: 0,
    })
  })

  it('that removes the mount ends what waits there', async (t) => {
    const served = await interposed(t, waitingReads)
    const nodeid = await served.nodeid('m')
    const waiting = codeOf(served.client.getattr(nodeid))
    await inFlight(served, 1)
    const settings = { ...RELOAD_SETTINGS, reloadGraceMs: 0 }
    await served.server.reload({ settings, added: [], removed: [mountOf(served, {})], changed: [] })
    assert.notEqual(await waiting, 'OK')
    assert.equal(logged(served).ended, 1)
  })
})

describe('a session that ends while requests wait', () => {
  it('by a new INIT: they fail, and touch nothing of the new one', async (t) => {
    const served = await interposed(t, waitingReads)
    const file = await served.guestFs('m').open('f', O_CREAT | O_RDWR)
    await file.write(0, 'old')
    const waiting = codeOf(served.client.read(file.nodeid, file.fh, 0, 3))
    await inFlight(served, 1)
    await served.client.init()
    // The same nodeid and handle, most likely, of another file.
    const other = await served.guestFs('other').open('f', O_CREAT | O_RDWR)
    await other.write(0, 'new')
    assert.equal(await waiting, 'EIO')
    assert.equal((await other.read(0, 3)).toString(), 'new')
    // The rules go on.
    const nodeid = await served.nodeid('m')
    const later = codeOf(served.client.getattr(nodeid))
    await inFlight(served, 1)
    await served.client.destroy()
    assert.equal(await later, 'EIO')
  })

  it('by a front-end that is killed: nothing is left of them', async (t) => {
    const served = await interposed(t, waitingReads)
    const nodeid = await served.nodeid('m')
    for (let i = 0; i < 20; i++) served.client.getattr(nodeid).catch(() => undefined)
    await inFlight(served, 20)
    await served.disconnect()
    await inFlight(served, 0)
    await served.reconnect()
    assert.deepEqual((await served.guestFs('').list('')).sort(), MOUNTS)
  })
})

describe('requests of an interposed mount', () => {
  it('are forgotten whatever the rules say', async (t) => {
    const queued = throttle({ otherOperations: 0.001, burstMs: 10 })
    const served = await interposed(t, rules({ faults: [fault({ after: 1 })], throttle: queued }))
    // The way into the mount belongs to the directory above it.
    const nodeid = await served.nodeid('m')
    const before = served.stats().inodes
    const made = await served.client.mkdir(nodeid, 'd')
    assert.equal(served.stats().inodes, before + 1)
    const waiting = codeOf(served.client.getattr(nodeid))
    await inFlight(served, 1)
    await served.client.forget(made.nodeid)
    await eventually('it is forgotten', () => served.stats().inodes === before)
    assert.equal(served.stats().device.slotsInFlight, 1)
    await change(served, {})
    assert.equal(await waiting, 'EIO')
  })

  it('are counted and timed with their wait, and shown to watchers', async (t) => {
    const timeMs = 30
    const faults = [fault({ operations: ['getattr'], after: 1 })]
    const served = await interposed(t, rules({ faults, delays: [delay({ kind: 'fixed', timeMs })] }))
    const records: RequestRecord[] = []
    served.server.control.watch({ onReply: (record) => records.push({ ...record }) })
    const nodeid = await served.nodeid('m')
    await served.client.getattr(nodeid)
    assert.equal(await codeOf(served.client.getattr(nodeid)), 'EIO')
    const [found] = served.server.control.operations().filter(({ mount }) => mount === 'mount0')
    const totals = found?.operations.find(({ operation }) => operation === 'getattr')
    assert.equal(totals?.count, 2)
    assert.ok(totals.totalUs >= 2 * timeMs * 1000, `${totals.totalUs} us`)
    assert.deepEqual(totals.errors, [{ errno: EIO, count: 1 }])
    const seen = records.filter(({ operation }) => operation === 'getattr')
    assert.deepEqual(
      seen.map(({ errno, path, durationUs }) => [errno, path, durationUs >= timeMs * 1000]),
      [
        [0, '/m', true],
        [EIO, '/m', true],
      ],
    )
  })

  it('that no kernel would send take nothing from the throttle', async (t) => {
    // What is not given back would keep the next one waiting for a thousand seconds.
    const rates = throttle({ readBytes: 0.001, writeBytes: 0.001 })
    const served = await interposed(
      t,
      rules({ throttle: rates, faults: [fault({ errno: null, short: 0.5, operations: ['read', 'write'] })] }),
    )
    const { client } = served
    const file = await served.guestFs('m').open('f', O_CREAT | O_RDWR)
    for (const opcode of [Opcode.READ, Opcode.WRITE]) {
      const lie = new Writer().u64(file.fh).u64(0).u32(0xffff_ffff).bytes(new Uint8Array(20)).done()
      for (const [payload, room] of [
        [new Uint8Array(), 0],
        [new Uint8Array(8), 4096],
        [lie, 100],
        [lie, 0],
      ] as const) {
        const { error } = await client.request(opcode, file.nodeid, payload, room)
        assert.ok(error <= 0, `${opcode} with ${payload.length} bytes: ${error}`)
      }
      // A handle that nobody has.
      const unknown =
        opcode === Opcode.READ
          ? client.read(file.nodeid, 999, 0, 10)
          : client.write(file.nodeid, 999, 0, Buffer.alloc(10))
      await assert.rejects(unknown, FuseError)
    }
    assert.equal(await client.write(file.nodeid, file.fh, 0, Buffer.from('abcdef')), 3)
  })
})

for (const [name, store] of [
  ['memory', memoryStore],
  ['pass-through', passthroughStore()],
] as const) {
  describe(`rules on a mount (${name})`, () => {
    let served: Served
    before(async () => {
      const faults = [
        fault({ errno: null, short: 0.25, operations: ['read', 'write'], paths: ['short*'] }),
        fault({ errno: 'EDQUOT', operations: ['create', 'mkdir'], paths: ['full/*'] }),
        fault({ errno: 'EUCLEAN', operations: ['flush', 'fsync'], paths: ['**/bad'], count: 2 }),
      ]
      served = await serve({ mounts: [{ store, interpose: rules({ faults }) }] })
    })
    after(() => served.close())

    it('make reads and writes short', async () => {
      const files = served.guestFs('m')
      const file = await files.open('short', O_CREAT | O_RDWR)
      const data = Buffer.from('0123456789abcdef')
      assert.equal(await served.client.write(file.nodeid, file.fh, 0, data), 4)
      for (let offset = 4; offset < 16;)
        offset += await served.client.write(file.nodeid, file.fh, offset, data.subarray(offset))
      const part = await served.client.read(file.nodeid, file.fh, 2, 10)
      assert.equal(Buffer.from(part).toString(), '23')
      assert.equal((await served.client.getattr(file.nodeid)).attr.size, 16)
      await file.close()
      await files.rename('short', 'whole')
      assert.equal(await files.readText('whole'), data.toString())
    })

    it('go by paths', async () => {
      const files = served.guestFs('m')
      await files.mkdir('full')
      assert.equal(await codeOf(files.mkdir('full/d')), 'EDQUOT')
      assert.equal(await codeOf(files.open('full/f', O_CREAT | O_RDWR)), 'EDQUOT')
      await files.mkdir('fuller')
      assert.deepEqual(await files.list('full'), [])
    })

    it('make a flush and an fsync fail, and lose nothing', async () => {
      const file = await served.guestFs('m').open('fuller/bad', O_CREAT | O_RDWR)
      await file.write(0, 'kept')
      const { client } = served
      const unclean = new FuseError(117, '').code
      assert.equal(await codeOf(client.fsync(file.nodeid, file.fh)), unclean)
      assert.equal(await codeOf(client.flush(file.nodeid, file.fh)), unclean)
      assert.equal(await codeOf(client.fsync(file.nodeid, file.fh)), 'OK')
      await file.close()
      assert.equal(await served.guestFs('m').readText('fuller/bad'), 'kept')
    })
  })
}
