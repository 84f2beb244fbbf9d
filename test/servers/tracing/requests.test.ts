/** Spans of requests and of what is done for them: the daemon's core in this process, the spans in memory. */
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import type { RequestRecord } from '../../../src/observability/request-record.js'
import { Tracing } from '../../../src/observability/tracing.js'
import type { TracingSettings } from '../../../src/observability/tracing-settings.js'
import { createLogger } from '../../../src/observability/logger.js'
import { O_CREAT, O_RDWR } from '../../frontend/abi.js'
import { codeOf } from '../../frontend/fuse-client.js'
import { randomBytes } from '../../support/bytes.js'
import { eventually, serve, TINY_POOL_BYTES, type Served } from '../../support/served.js'
import { cephStore, directoryStore, memoryStore } from '../../support/stores.js'
import { Collecting, durationUs, TRACING, type Shown } from '../../lib/tracing/spans.js'

const logger = createLogger({ level: 'silent' })
const MIB = 1 << 20
/** More than is fetched when a file is opened. */
const FILE_BYTES = 3 * MIB
/** More than two parts of an upload. */
const LONG_FILE_MIB = 18
const SETTINGS = { ...TRACING, exportIntervalMs: 10 }

interface Traced {
  readonly spans: readonly Shown[]
  /** As another watcher saw the requests. */
  readonly records: readonly RequestRecord[]
  of(name: string): Shown[]
  children(span: Shown): Shown[]
}

/** What is traced while `work` runs. */
async function traced(
  served: Served,
  work: () => Promise<unknown>,
  options: { settings?: Partial<TracingSettings>; random?: () => number } = {},
): Promise<Traced> {
  const exporter = new Collecting()
  const records: RequestRecord[] = []
  const witness = { onReply: (record: RequestRecord) => records.push({ ...record }) }
  const { random } = options
  const tracing = new Tracing({
    ...{ settings: { ...SETTINGS, ...options.settings }, logger, exporter },
    ...(random === undefined ? {} : { random }),
  })
  served.server.control.watch(tracing)
  served.server.control.watch(witness)
  try {
    await work()
  } finally {
    served.server.control.unwatch(tracing)
    served.server.control.unwatch(witness)
    await tracing.stop()
  }
  const { spans } = exporter
  return {
    ...{ spans, records },
    of: (name) => spans.filter((span) => span.name === name),
    children: ({ spanId }) => spans.filter(({ parentSpanId }) => parentSpanId === spanId),
  }
}

const only = <T>(list: readonly T[]): T => {
  assert.equal(
    list.length,
    1,
    JSON.stringify(list, (_, value: unknown) => (typeof value === 'bigint' ? String(value) : value)),
  )
  return list[0] as T
}

describe('spans of requests', () => {
  let served: Served
  before(async () => {
    served = await serve({
      mounts: [
        { store: directoryStore, mountPoint: ['m'] },
        { store: memoryStore, mountPoint: ['other', 'place'] },
      ],
      settings: { cacheSizeBytes: TINY_POOL_BYTES },
    })
  })
  after(() => served.close())

  it('agree with the requests in number, sizes, offsets, processes, errnos and microseconds', async () => {
    const { client } = served
    const nodeid = await served.nodeid('m')
    const trace = await traced(served, async () => {
      const { entry, fh } = await client.create(nodeid, 'numbers', O_RDWR)
      const who = { uid: 1000, gid: 100, pid: 4321 }
      await client.write(entry.nodeid, fh, 0, randomBytes(100_000), who)
      for (let i = 0; i < 20; i++) await client.read(entry.nodeid, fh, i * 4096, 4096, who)
      await client.read(entry.nodeid, fh, 98_304, 4096, who)
      assert.equal(await codeOf(client.lookup(nodeid, 'missing')), 'ENOENT')
      assert.equal(await codeOf(client.rmdir(nodeid, 'numbers')), 'ENOTDIR')
      await client.rename(nodeid, 'numbers', nodeid, 'renamed')
      await client.release(entry.nodeid, fh)
    })
    const requests = trace.spans.filter(({ name }) => name.startsWith('fuse.'))
    assert.equal(requests.length, trace.records.length)
    assert.equal(trace.of('fuse.read').length, 21)
    const seen = [...requests].sort((a, b) => Number(a.startNs - b.startNs))
    const records = [...trace.records].sort((a, b) => a.startMs - b.startMs)
    for (const [i, record] of records.entries()) {
      const span = seen[i] as Shown
      assert.equal(span.name, `fuse.${record.operation}`)
      assert.equal(span.kind, 2)
      assert.equal(span.parentSpanId, '')
      const expected = {
        'ovfsd.mount': 'mount0',
        'ovfsd.operation': record.operation,
        'file.path': record.path,
        ...{ 'ovfsd.uid': record.uid, 'ovfsd.gid': record.gid, 'ovfsd.pid': record.pid },
        ...{ 'ovfsd.nodeid': record.nodeid, 'ovfsd.bytes': record.bytes, 'ovfsd.errno': record.errno },
      }
      for (const [key, value] of Object.entries(expected)) assert.equal(span.attributes[key], value, key)
      assert.equal(span.attributes['ovfsd.size'], record.sizeBytes ?? undefined)
      assert.equal(span.attributes['ovfsd.offset'], record.offset ?? undefined)
      assert.equal(span.attributes['ovfsd.fh'], record.fh ?? record.openedFh ?? undefined)
      assert.ok(
        Math.abs(durationUs(span) - record.durationUs) <= 1,
        `${durationUs(span)} ${record.durationUs}`,
      )
      const startNs = BigInt(Math.round((performance.timeOrigin + record.startMs) * 1e6))
      assert.ok(Math.abs(Number(span.startNs - startNs)) < 20e6, 'the time of day')
    }
    const last = trace.of('fuse.read').at(-1) as Shown
    assert.deepEqual([last.attributes['ovfsd.bytes'], last.attributes['ovfsd.pid']], [1696, 4321])
    assert.equal(only(trace.of('fuse.rename')).attributes['ovfsd.new_path'], '/m/renamed')
  })

  it('are errors where a request failed, and not where a name is looked for in vain', async () => {
    const nodeid = await served.nodeid('m')
    const { client } = served
    const trace = await traced(served, async () => {
      await client.lookupEntry(nodeid, 'nowhere').catch(() => undefined)
      await codeOf(client.unlink(nodeid, 'nowhere'))
    })
    const lookup = only(trace.of('fuse.lookup'))
    assert.equal(lookup.isError, false)
    assert.equal(lookup.attributes['error.type'], undefined)
    const unlink = only(trace.of('fuse.unlink'))
    assert.equal(unlink.isError, true)
    assert.equal(unlink.attributes['error.type'], 'ENOENT')
    assert.equal(unlink.attributes['ovfsd.errno_name'], 'ENOENT')
  })

  it('name the mount and the whole path, and those above mounts too', async () => {
    const fs = served.guestFs('other/place')
    const trace = await traced(served, () => fs.writeFile('file', 'text'))
    const write = only(trace.of('fuse.write'))
    assert.equal(write.attributes['file.path'], '/other/place/file')
    assert.equal(write.attributes['ovfsd.mount'], 'mount1')
    const backend = only(trace.of('backend.write'))
    assert.equal(backend.attributes['file.path'], '/other/place/file')
    assert.equal(backend.attributes['ovfsd.size'], 4)
    assert.ok(trace.of('fuse.lookup').some(({ attributes }) => attributes['ovfsd.mount'] === '(root)'))
  })

  it('of a flush hold its commit and the call of the store', async () => {
    const fs = served.guestFs()
    const trace = await traced(served, () => fs.writeFile('committed', randomBytes(10_000)))
    const commit = only(trace.of('cache.commit'))
    const call = only(trace.of('backend.write'))
    const flush = only(trace.spans.filter(({ spanId }) => spanId === commit.parentSpanId))
    assert.match(flush.name, /^fuse\.(flush|release)$/)
    assert.equal(call.parentSpanId, commit.spanId)
    assert.equal(call.traceId, flush.traceId)
    assert.ok(flush.startNs <= commit.startNs && commit.startNs <= call.startNs)
    assert.ok(call.endNs <= commit.endNs && commit.endNs <= flush.endNs)
  })

  it('tell waiting for room from what makes room', async () => {
    const fs = served.guestFs()
    const file = await fs.open('long', O_CREAT | O_RDWR)
    const trace = await traced(served, async () => {
      // Not from front to back, which would be uploaded on the way.
      for (let i = 0; i < 24; i++) await file.write((24 - i) * MIB, randomBytes(MIB))
      await file.close()
    })
    const waits = trace.of('cache.wait')
    assert.ok(waits.length > 0)
    for (const wait of waits) {
      const writing = only(trace.spans.filter(({ spanId }) => spanId === wait.parentSpanId))
      assert.equal(writing.name, 'fuse.write')
      assert.ok(writing.startNs <= wait.startNs && wait.endNs <= writing.endNs)
    }
    const making = trace.of('cache.writeback')
    assert.ok(making.length > 0)
    for (const span of making) assert.equal(span.parentSpanId, '')
    // Where the last close has been quicker there is nothing left to do.
    const commits = making.flatMap((span) => trace.children(span))
    assert.ok(commits.length > 0)
    for (const commit of commits) assert.equal(commit.name, 'cache.commit')
    // A write brought it on, whether it had to wait or not.
    const causes = new Set([...trace.of('fuse.write'), ...waits].map(({ spanId }) => spanId))
    for (const { links } of making) assert.ok(causes.has(links[0] ?? ''), 'the link')
  })

  it('are below one of the open file, by option', async () => {
    const fs = served.guestFs()
    await fs.writeFile('opened', randomBytes(50_000))
    const work = async (): Promise<void> => {
      const file = await fs.open('opened')
      for (let i = 0; i < 5; i++) await file.read(i * 4096, 4096)
      await file.close()
      await codeOf(fs.open('opened/nothing'))
      await fs.list('')
    }
    const trace = await traced(served, work, { settings: { perOpenFile: true } })
    const file = only(trace.of('fuse.open_file'))
    const below = trace.children(file)
    const names = below.map(({ name }) => name).sort()
    assert.deepEqual(names, [
      'fuse.flush',
      'fuse.open',
      ...new Array<string>(5).fill('fuse.read'),
      'fuse.release',
    ])
    const [open, release] = [only(trace.of('fuse.open')), only(trace.of('fuse.release'))]
    assert.equal(file.startNs, open.startNs)
    assert.equal(file.endNs, release.endNs)
    assert.equal(file.parentSpanId, '')
    assert.ok(below.every(({ traceId }) => traceId === file.traceId))
    for (const listing of trace.of('fuse.opendir')) assert.equal(listing.parentSpanId, '')
    // The lot falls on whole files: on each second one.
    let draws = 0
    const half = await traced(
      served,
      async () => {
        for (let i = 0; i < 4; i++) {
          const opened = await fs.open('opened')
          await opened.read(0, 4096)
          await opened.close()
        }
      },
      {
        settings: { perOpenFile: true, sampleRatio: 0.5, filters: [filter({ operations: ['read'] })] },
        random: () => (draws++ % 2 === 0 ? 0.4 : 0.6),
      },
    )
    assert.equal(half.of('fuse.read').length, 2)
    assert.equal(half.of('fuse.open_file').length, 2)
    assert.equal(half.spans.length, 4)
  })

  it('of files end when the guest goes away', async () => {
    const own = await serve({ mounts: [{ store: memoryStore }] })
    const trace = await traced(
      own,
      async () => {
        const fs = own.guestFs()
        await fs.open('left', O_CREAT | O_RDWR)
        await own.disconnect()
        await own.reconnect()
      },
      { settings: { perOpenFile: true } },
    ).finally(() => own.close())
    const file = only(trace.of('fuse.open_file'))
    assert.equal(only(trace.of('fuse.create')).parentSpanId, file.spanId)
    const again = only(trace.of('fuse.init'))
    assert.ok(file.endNs <= again.startNs)
  })

  it('are only of what fits a filter', async () => {
    const [fs, other] = [served.guestFs(), served.guestFs('other/place')]
    const work = async (): Promise<void> => {
      for (const place of [fs, other]) {
        await place.writeFile('a.log', 'text')
        await place.writeFile('b.txt', 'text')
        await place.readFile('a.log')
        await place.unlink('a.log')
        await place.unlink('b.txt')
      }
    }
    const where = async (...filters: TracingSettings['filters']): Promise<Shown[]> => [
      ...(await traced(served, work, { settings: { filters } })).spans,
    ]
    const mounts = await where(filter({ mounts: ['mount1'] }))
    assert.ok(mounts.length > 10)
    assert.ok(mounts.every(({ attributes }) => attributes['ovfsd.mount'] === 'mount1'))
    const paths = await where(filter({ paths: ['/m/*.log'] }))
    assert.ok(paths.length > 5)
    assert.ok(paths.every(({ attributes }) => attributes['file.path'] === '/m/a.log'))
    const operations = await where(filter({ operations: ['unlink', 'read'] }))
    assert.deepEqual(
      operations
        .filter(({ name }) => name.startsWith('fuse.'))
        .map(({ name }) => name)
        .sort(),
      [...new Array<string>(2).fill('fuse.read'), ...new Array<string>(4).fill('fuse.unlink')],
    )
    assert.deepEqual(await where(filter({ pids: [77_777] })), [])
    const either = await where(
      filter({ mounts: ['mount0'], operations: ['write'] }),
      filter({ mounts: ['mount1'], operations: ['unlink'] }),
    )
    const roots = either.filter(({ name }) => name.startsWith('fuse.'))
    assert.deepEqual(
      roots.map(({ name, attributes }) => `${String(attributes['ovfsd.mount'])} ${name}`).sort(),
      ['mount0 fuse.write', 'mount0 fuse.write', 'mount1 fuse.unlink', 'mount1 fuse.unlink'],
    )
  })

  it('of processes are only theirs', async () => {
    const { client } = served
    const nodeid = await served.nodeid('m')
    const trace = await traced(
      served,
      async () => {
        for (const pid of [0, 1, 2, 3]) await client.getattr(nodeid, undefined, { pid })
      },
      { settings: { filters: [filter({ pids: [0, 3] })] } },
    )
    assert.deepEqual(
      trace.spans.map(({ attributes }) => attributes['ovfsd.pid']),
      [0, 3],
    )
  })

  it('are a share of all requests, with what they did', async () => {
    const fs = served.guestFs()
    const work = () => fs.writeFile('sampled', 'text')
    assert.deepEqual((await traced(served, work, { settings: { sampleRatio: 0 } })).spans, [])
    let draws = 0
    const { spans, records } = await traced(served, work, {
      settings: { sampleRatio: 0.25 },
      random: () => (draws++ % 4) / 4,
    })
    const requests = spans.filter(({ name }) => name.startsWith('fuse.'))
    assert.equal(requests.length, Math.ceil(records.length / 4))
    // Nothing of the others.
    const known = new Set(spans.map(({ spanId }) => spanId))
    for (const { parentSpanId } of spans) assert.ok(parentSpanId === '' || known.has(parentSpanId))
  })

  it('of short requests are left out, with what they did', async () => {
    const fs = served.guestFs()
    const slow: TracingSettings['filters'] = [filter({ minLatencyUs: 3_600_000_000 })]
    const work = () => fs.writeFile('fast', 'text')
    assert.deepEqual((await traced(served, work, { settings: { filters: slow } })).spans, [])
    // A bound in between: what is sent took as long, what is not did not.
    const { records } = await traced(served, work)
    const sorted = records.map((record) => record.durationUs).sort((a, b) => a - b)
    const minLatencyUs = sorted[Math.floor(sorted.length / 2)] as number
    const trace = await traced(served, work, { settings: { filters: [filter({ minLatencyUs })] } })
    const sent = trace.spans.filter(({ name }) => name.startsWith('fuse.'))
    const long = trace.records.filter((record) => record.durationUs >= minLatencyUs)
    assert.deepEqual(
      sent.map(({ name }) => name),
      long.map(({ operation }) => `fuse.${operation}`),
    )
    const known = new Set(trace.spans.map(({ spanId }) => spanId))
    for (const { parentSpanId } of trace.spans) assert.ok(parentSpanId === '' || known.has(parentSpanId))
  })

  it('of the cleaner are traces of their own', async () => {
    const own = await serve({
      mounts: [{ store: directoryStore }],
      settings: { writeBack: true, dirtyExpireMs: 10 },
    })
    const trace = await traced(own, async () => {
      await own.guestFs().writeFile('aged', randomBytes(5000))
      await eventually('the cleaner', async () => (await own.view.read('aged'))?.length === 5000)
      // It is seen on the host before it is durable, and the commit ends only then.
      await own.client.syncfs()
    }).finally(() => own.close())
    const writeback = only(trace.of('cache.writeback'))
    assert.equal(writeback.parentSpanId, '')
    assert.deepEqual(writeback.links, [])
    assert.equal(writeback.attributes['file.path'], '/m/aged')
    const commit = only(trace.children(writeback))
    assert.equal(commit.name, 'cache.commit')
    assert.ok(trace.children(commit).some(({ name }) => name === 'backend.write'))
  })
})

for (const store of [directoryStore, cephStore]) {
  describe(`data on its way (${store.name})`, { skip: store.problem ?? false }, () => {
    it('shows what it waits for, in the order of time', async () => {
      const served = await serve({ mounts: [{ store }] })
      const trace = await (async () => {
        await served.view.write('cold', randomBytes(FILE_BYTES))
        return traced(served, async () => {
          const file = await served.guestFs().open('cold')
          // Two that wait for the same bytes, away from the file's beginning.
          await Promise.all([file.read(MIB, 4096), file.read(MIB + 4096, 4096)])
          await file.close()
        })
      })().finally(() => served.close())
      const reads = trace.of('fuse.read')
      const waits = reads.map((read) => only(trace.children(read)))
      assert.deepEqual(
        waits.map(({ name }) => name),
        ['cache.wait', 'cache.wait'],
      )
      // The request to the store is the first one's.
      const calls = waits.flatMap((wait) => trace.children(wait))
      const call = only(calls)
      assert.equal(call.name, 'backend.read')
      assert.equal(call.kind, 3)
      assert.equal(call.attributes['file.path'], '/m/cold')
      assert.equal(call.attributes['ovfsd.offset'], MIB)
      assert.equal(call.attributes['ovfsd.size'], call.attributes['ovfsd.bytes'])
      const wait = waits.find(({ spanId }) => spanId === call.parentSpanId) as Shown
      const read = reads.find(({ spanId }) => spanId === wait.parentSpanId) as Shown
      const times = [read.startNs, wait.startNs, call.startNs, call.endNs, wait.endNs, read.endNs]
      assert.deepEqual(
        times,
        [...times].sort((a, b) => Number(a - b)),
      )
      // The store's part is nearly all of it: nothing is left out.
      assert.ok(durationUs(call) <= durationUs(wait) && durationUs(wait) <= durationUs(read))
    })

    it('links what it reads ahead', async () => {
      const served = await serve({ mounts: [{ store }] })
      const trace = await (async () => {
        await served.view.write('stream', randomBytes(FILE_BYTES))
        return traced(served, async () => {
          const file = await served.guestFs().open('stream')
          for (let i = 0; i < 4; i++) await file.read(i * 128 * 1024, 128 * 1024)
          await file.close()
          await eventually('nothing under way', () => served.stats().cache.leasedBytes > 0)
        })
      })().finally(() => served.close())
      const ahead = trace.of('cache.read_ahead')
      assert.ok(ahead.length > 0)
      const reads = new Set(trace.of('fuse.read').map(({ spanId }) => spanId))
      for (const span of ahead) {
        assert.equal(span.parentSpanId, '')
        assert.ok(reads.has(span.links[0] ?? ''), 'the link')
        assert.equal(only(trace.children(span)).name, 'backend.read')
      }
    })

    it('links what it stores of a long file while that is written', async () => {
      const served = await serve({ mounts: [{ store }] })
      const trace = await traced(served, async () => {
        const file = await served.guestFs().open('long', O_CREAT | O_RDWR)
        for (let i = 0; i < LONG_FILE_MIB; i++) await file.write(i * MIB, randomBytes(MIB))
        await file.close()
      }).finally(() => served.close())
      const uploads = trace.of('cache.upload')
      assert.ok(uploads.length > 0)
      const writes = new Set(trace.of('fuse.write').map(({ spanId }) => spanId))
      for (const span of uploads) {
        assert.equal(span.parentSpanId, '')
        assert.equal(span.attributes['file.path'], '/m/long')
        assert.ok(writes.has(span.links[0] ?? ''), 'the link')
        assert.ok(trace.children(span).some(({ name }) => name.startsWith('backend.')))
      }
    })
  })
}

function filter(given: Partial<TracingSettings['filters'][number]>): TracingSettings['filters'][number] {
  return { mounts: null, paths: null, operations: null, pids: null, minLatencyUs: 0, ...given }
}
