/** What a guest may hold of the daemon's memory is bounded: beyond it requests are refused, and nothing else happens. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { it } from 'node:test'
import { MissingNames } from '../../../src/fs/missing-names.js'
import type { RequestWatcher } from '../../../src/observability/request-record.js'
import { O_RDWR, Opcode } from '../../frontend/abi.js'
import { codeOf } from '../../frontend/fuse-client.js'
import { delay, rules } from '../../lib/interpose/rules.js'
import { serve, type MountSpec, type Served } from '../../support/served.js'
import { memoryStore } from '../../support/stores.js'

const MAX_HANDLES = 64
const MAX_INODES = 1100
const MIB = 1 << 20

/** A directory of the host as it is. */
const hostStore: MountSpec['store'] = {
  prepare: () => {
    const root = mkdtempSync(join(tmpdir(), 'ovfsd-budgets-'))
    const dispose = (): Promise<void> => {
      rmSync(root, { recursive: true })
      return Promise.resolve()
    }
    return Promise.resolve({
      ...{ type: 'passthrough', options: { root }, view: null, hostDirectory: root, dispose },
    })
  },
}

function bounded(): Promise<Served> {
  return serve({
    mounts: [
      { store: memoryStore, mountPoint: ['m'] },
      { store: hostStore, mountPoint: ['h'] },
    ],
    settings: { maxOpenHandles: MAX_HANDLES, maxInodes: MAX_INODES },
  })
}

/** Calls `open` until it is refused. Returns the errno and how often it was not. */
async function untilRefused(open: () => Promise<unknown>): Promise<readonly [string, number]> {
  for (let count = 0; count <= MAX_INODES; count++) {
    const code = await codeOf(open())
    if (code !== 'OK') return [code, count]
  }
  return ['OK', MAX_INODES]
}

it('open files and directories of all kinds of mounts share one budget: ENFILE beyond it', async (t) => {
  const served = await bounded()
  t.after(() => served.close())
  const { client } = served
  const [m, h] = [await served.nodeid('m'), await served.nodeid('h')]
  const stored = await client.create(m, 'stored', O_RDWR)
  const host = await client.create(h, 'host', O_RDWR)
  const open = 2
  const quarter = 10
  for (let count = 0; count < quarter; count++) {
    await client.opendir(m)
    await client.opendir(h)
    await client.open(host.entry.nodeid, O_RDWR)
  }
  const [errno, count] = await untilRefused(() => client.open(stored.entry.nodeid, O_RDWR))
  assert.deepEqual([errno, count], ['ENFILE', MAX_HANDLES - open - 3 * quarter])
  for (const refused of [
    client.open(host.entry.nodeid),
    client.opendir(m),
    client.opendir(h),
    client.create(m, 'new', O_RDWR),
    client.create(h, 'new', O_RDWR),
    client.tmpfile(h, O_RDWR),
  ])
    assert.equal(await codeOf(refused), 'ENFILE')
  // Nothing was made for a handle that was refused.
  assert.equal(await codeOf(client.lookupEntry(h, 'new')), 'ENOENT')
  assert.equal((await client.lookupEntry(m, 'new')).nodeid, 0)
  const { limits, openFiles, openDirectories } = served.server.control.gauges()
  assert.deepEqual([limits.handles, openFiles + openDirectories], [MAX_HANDLES, MAX_HANDLES])
  await client.release(stored.entry.nodeid, stored.fh)
  assert.equal(await codeOf(client.opendir(h)), 'OK')
})

it('what the guest knows of all mounts has one budget: ENOMEM beyond it', async (t) => {
  const served = await bounded()
  t.after(() => served.close())
  const { client } = served
  const [m, h] = [await served.nodeid('m'), await served.nodeid('h')]
  const spare = await client.mkdir(h, 'spare')
  let made = 0
  const [errno] = await untilRefused(() => client.mkdir(m, `d${made++}`))
  assert.equal(errno, 'ENOMEM')
  const { limits, inodes } = served.server.control.gauges()
  assert.deepEqual([limits.inodes, inodes], [MAX_INODES, MAX_INODES])
  for (const refused of [
    client.mkdir(h, 'x'),
    client.mknod(h, 'x', 0o100644),
    client.create(m, 'x', O_RDWR),
    client.create(h, 'x', O_RDWR),
    client.mknod(m, 'x', 0o100644),
  ])
    assert.equal(await codeOf(refused), 'ENOMEM')
  // What it knows it may use, and look up again.
  assert.equal(await codeOf(client.lookup(h, 'spare')), 'OK')
  await client.forget(spare.nodeid, 2)
  assert.equal(await codeOf(client.mkdir(m, 'room')), 'OK')
  assert.equal(await codeOf(client.lookup(h, 'spare')), 'ENOMEM')
  // Listings name what they can't give.
  const { fh } = await client.opendir(h)
  const listed = await client.readdirplus(h, fh, 0, 4096)
  assert.ok(listed.some(({ name, entry }) => name === 'spare' && entry.nodeid === 0))
})

it('paths get no longer by renames than a store is asked for', async (t) => {
  const served = await bounded()
  t.after(() => served.close())
  const { client } = served
  const records: string[] = []
  served.server.control.watch({ onReply: ({ path }) => records.push(path) })
  const m = await served.nodeid('m')
  const chain = async (name: string, depth: number): Promise<number> => {
    let { nodeid } = await client.mkdir(m, name)
    for (let level = 1; level < depth; level++) nodeid = (await client.mkdir(nodeid, 'a'.repeat(200))).nodeid
    return nodeid
  }
  const bottom = await chain('one', 15)
  const other = await chain('two', 15)
  assert.equal(await codeOf(client.rename(m, 'one', other, 'x')), 'ENAMETOOLONG')
  assert.equal(await codeOf(client.lookupEntry(bottom, 'nothing')), 'OK')
  // Back to where there is room.
  assert.equal(await codeOf(client.rename(m, 'one', m, 'six')), 'OK')
  assert.ok(records.every((path) => path.length < 4100))
})

it('names that are known to be missing are as many as all directories may remember', () => {
  const names = new MissingNames(10)
  const forgotten: string[] = []
  const directory = (name: string, count: number) => ({
    forgetAllMissing() {
      forgotten.push(name)
      names.removed(this, count, false)
    },
  })
  const [one, two] = [directory('one', 6), directory('two', 5)]
  for (let count = 0; count < 6; count++) names.added(one)
  for (let count = 0; count < 4; count++) names.added(two)
  assert.deepEqual(forgotten, [])
  names.added(two)
  assert.deepEqual([forgotten, names.count], [['one'], 5])
})

it('a READ or WRITE of more than was agreed on is cut or refused', async (t) => {
  const served = await bounded()
  t.after(() => served.close())
  const { client } = served
  for (const mount of ['m', 'h']) {
    const nodeid = await served.nodeid(mount)
    const { entry, fh } = await client.create(nodeid, 'f', O_RDWR)
    for (let mib = 0; mib < 3; mib++) await client.write(entry.nodeid, fh, mib * MIB, Buffer.alloc(MIB, 65))
    const data = await client.read(entry.nodeid, fh, 0, 3 * MIB)
    assert.equal(data.byteLength, MIB)
    assert.equal(await codeOf(client.write(entry.nodeid, fh, 0, Buffer.alloc(MIB + 1))), 'EINVAL')
  }
})

it('opcodes that no kernel has are told of a few times', async (t) => {
  const served = await bounded()
  t.after(() => served.close())
  for (let opcode = 100; opcode < 400; opcode++)
    assert.equal((await served.client.request(opcode, 1, Buffer.alloc(8), 0)).error, -38)
})

it('who watches a request, or decides on it, does not end the daemon by a defect', async () => {
  const served = await serve({
    mounts: [{ store: memoryStore, interpose: rules({ delays: [delay({ kind: 'fixed', timeMs: 0 })] }) }],
  })
  const m = await served.nodeid()
  const onReply = (): void => {
    throw new TypeError('undefined is not a path')
  }
  const broken: RequestWatcher = {
    within: () => {
      throw new RangeError('Maximum call stack size exceeded')
    },
    onReply,
  }
  served.server.control.watch(broken)
  assert.equal(await codeOf(served.client.getattr(m)), 'EIO')
  served.server.control.unwatch(broken)
  const late: RequestWatcher = { onReply }
  served.server.control.watch(late)
  assert.equal(await codeOf(served.client.getattr(m)), 'OK')
  served.server.control.unwatch(late)
  assert.equal(await codeOf(served.client.lookupEntry(m, 'nothing')), 'OK')
  assert.equal(served.stats().device.slotsInFlight, 0)
  // Each defect is told.
  const opcodes = served.defects().map((line) => (JSON.parse(line) as { opcode: number }).opcode)
  assert.ok(opcodes.includes(Opcode.GETATTR))
  ;(served.log as string[]).length = 0
  await served.close()
})
