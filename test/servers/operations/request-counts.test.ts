/** What is counted and watched of the guest's requests. */
import assert from 'node:assert/strict'
import { constants } from 'node:os'
import { it } from 'node:test'
import { operationOf, OPERATION_BY_OPCODE } from '../../../src/observability/operations.js'
import {
  latencyBoundUs,
  latencyBucket,
  LATENCY_BOUNDS,
  type OperationTotals,
} from '../../../src/observability/operation-counters.js'
import type { RequestRecord, RequestWatcher } from '../../../src/observability/request-record.js'
import { O_CREAT, O_RDWR, Opcode } from '../../frontend/abi.js'
import { codeOf } from '../../frontend/fuse-client.js'
import { describeStores, RELOAD_SETTINGS, serve, type Served } from '../../support/served.js'
import { memoryStore } from '../../support/stores.js'

const FILE_BYTES = 10_000

it('every opcode has its name, and one beyond them has none', () => {
  for (const [name, opcode] of Object.entries(Opcode)) {
    const expected = name.toLowerCase().replace('rename2', 'rename').replace('batch_forget', 'forget')
    if (OPERATION_BY_OPCODE[opcode] !== 'unknown') assert.equal(operationOf(opcode), expected)
  }
  assert.equal(operationOf(5000), 'unknown')
  assert.equal(operationOf(0), 'unknown')
})

it('a latency falls into the first bucket that holds it', () => {
  for (const us of [0, 0.5, 1, 1.01, 2, 3, 4, 5, 1000, 2 ** 26, 2 ** 26 + 1, 1e12]) {
    const bucket = latencyBucket(us)
    assert.ok(us <= latencyBoundUs(bucket), `${us} us in bucket ${bucket}`)
    if (bucket > 0) assert.ok(us > latencyBoundUs(bucket - 1), `${us} us in bucket ${bucket}`)
  }
  assert.equal(latencyBoundUs(LATENCY_BOUNDS), Infinity)
})

function totalsOf(served: Served, operation: string): OperationTotals {
  const mount = served.server.control.operations().find(({ mount: name }) => name === 'mount0')
  const found = mount?.operations.find((totals) => totals.operation === operation)
  return found ?? { operation, count: 0, totalUs: 0, bytes: 0, buckets: [], errors: [] }
}

class Recorder implements RequestWatcher {
  readonly records: RequestRecord[] = []
  private depth = 0
  within<T>(_record: RequestRecord, work: () => T): T {
    assert.equal(this.depth, 0)
    this.depth++
    try {
      return work()
    } finally {
      this.depth--
    }
  }
  onReply(record: RequestRecord): void {
    this.records.push(record)
  }
  of(operation: string): RequestRecord[] {
    return this.records.filter((record) => record.operation === operation)
  }
}

describeStores('requests', { stores: [memoryStore] }, (served) => {
  it('are counted with what they moved, and with how they failed', async () => {
    const fs = served().guestFs()
    await fs.writeFile('counted', Buffer.alloc(FILE_BYTES))
    const [reads, writes] = [totalsOf(served(), 'read'), totalsOf(served(), 'write')]
    assert.equal(writes.bytes, FILE_BYTES)
    const file = await fs.open('counted')
    // Twice as much as there is: what counts is what the guest gets.
    assert.equal((await file.read(0, 2 * FILE_BYTES)).length, FILE_BYTES)
    await file.close()
    const after = totalsOf(served(), 'read')
    assert.equal(after.count, reads.count + 1)
    assert.equal(after.bytes, reads.bytes + FILE_BYTES)
    assert.equal(
      after.buckets.reduce((sum, count) => sum + count, 0),
      after.count,
    )
    assert.ok(after.totalUs > reads.totalUs)
    assert.equal(await codeOf(fs.rmdir('missing')), 'ENOENT')
    assert.equal(await codeOf(served().client.read(1, 12345n, 0n, 10)), 'EBADF')
    const root = served()
      .server.control.operations()
      .find(({ mount }) => mount === '(root)')
    const failed = root?.operations.find(({ operation }) => operation === 'read')
    assert.deepEqual(failed?.errors, [{ errno: constants.errno.EBADF, count: 1 }])
  })

  it('of several mounts at once are counted for each', async () => {
    const own = await serve({
      mounts: [
        { store: memoryStore, mountPoint: ['a'] },
        { store: memoryStore, mountPoint: ['b'] },
      ],
    })
    const { client, server } = own
    try {
      const [a, b] = [await own.nodeid('a'), await own.nodeid('b')]
      const counts = (): number[] =>
        ['(root)', 'mount0', 'mount1'].flatMap((name) => {
          const mount = server.control.operations().find(({ mount: found }) => found === name)
          const totals = mount?.operations.find(({ operation }) => operation === 'getattr')
          return [totals?.count ?? 0, ...(totals?.errors ?? []).map(({ count }) => count)]
        })
      const [before, stats] = [counts(), server.stats().device]
      assert.equal(before.length, 3)
      await Promise.all(
        [a, a, b, 1, b, a, b, b, 999_999, b].map((nodeid) => client.getattr(nodeid).catch(() => undefined)),
      )
      const after = counts()
      // The one that is nowhere is the root's.
      const [root = 0, ofA = 0, ofB = 0] = before
      assert.deepEqual(after, [root + 2, 1, ofA + 3, ofB + 5])
      const { requests, bursts } = server.stats().device
      assert.ok(bursts - stats.bursts < requests - stats.requests, 'no two came together')
    } finally {
      await own.close()
    }
  })

  it('are counted when the configuration says so, and from when it does', async () => {
    const fs = served().guestFs()
    const count = async (requestMetrics: boolean): Promise<void> => {
      const settings = { ...RELOAD_SETTINGS, requestMetrics }
      await served().server.reload({ settings, added: [], removed: [], changed: [] })
    }
    const mkdirs = (): number => totalsOf(served(), 'mkdir').count
    const before = mkdirs()
    await fs.mkdir('counted-1')
    await count(false)
    await fs.mkdir('not-counted')
    assert.equal(mkdirs(), before + 1)
    await count(true)
    await fs.mkdir('counted-2')
    assert.equal(mkdirs(), before + 2)
  })

  it('are shown to who watches, with path, process, place and outcome, and not after that', async () => {
    const fs = served().guestFs()
    const { server } = served()
    const recorder = new Recorder()
    server.control.watch(recorder)
    await fs.mkdir('w')
    const file = await fs.open('w/file', O_RDWR | O_CREAT)
    await file.write(100, Buffer.alloc(FILE_BYTES))
    await file.read(50, FILE_BYTES)
    await file.close()
    await fs.rename('w/file', 'w/other')
    assert.equal(await codeOf(fs.rmdir('w')), 'ENOTEMPTY')
    server.control.unwatch(recorder)
    const seen = recorder.records.length
    await fs.unlink('w/other')
    assert.equal(recorder.records.length, seen)

    const [created] = recorder.of('create')
    assert.ok(created !== undefined)
    assert.deepEqual([created.mount, created.path, created.errno], ['mount0', '/m/w/file', 0])
    const [write] = recorder.of('write')
    assert.ok(write !== undefined)
    assert.deepEqual(
      [write.path, write.offset, write.sizeBytes, write.bytes, write.fh],
      ['/m/w/file', 100, FILE_BYTES, FILE_BYTES, created.openedFh],
    )
    assert.ok(write.durationUs > 0)
    assert.deepEqual(
      recorder.of('read').map(({ offset, bytes }) => [offset, bytes]),
      [[50, FILE_BYTES]],
    )
    const [rename] = recorder.of('rename')
    assert.deepEqual([rename?.path, rename?.newPath], ['/m/w/file', '/m/w/other'])
    assert.deepEqual(
      recorder.of('rmdir').map(({ path, errno }) => [path, errno]),
      [['/m/w', constants.errno.ENOTEMPTY]],
    )
    assert.equal(new Set(recorder.records.map(({ id }) => id)).size, recorder.records.length)
  })
})
