/** What the exporter says of a daemon whose work is known. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { after, before, describe, it } from 'node:test'
import { Metrics } from '../../../src/control/metrics.js'
import { BACKEND_OPERATION_NAMES } from '../../../src/observability/backend-counters.js'
import { METRICS, type MetricDefinition } from '../../../src/observability/metric-definitions.js'
import { OPERATION_NAMES } from '../../../src/observability/operations.js'
import { O_CREAT, O_RDWR } from '../../frontend/abi.js'
import { codeOf } from '../../frontend/fuse-client.js'
import { passthroughStore } from '../../lib/passthrough/support.js'
import { promtool } from '../prometheus.js'
import { Exposition } from '../../support/exposition.js'
import { eventually, serve, TINY_POOL_BYTES, type MountSpec, type Served } from '../../support/served.js'
import { directoryStore, memoryStore } from '../../support/stores.js'
import { FORBIDDEN, STUMBLING, WebServer } from '../../support/web-server.js'

const MIB = 1 << 20
const DEFINITIONS: readonly MetricDefinition[] = Object.values(METRICS)
const SUFFIXES = /_(?:bucket|sum|count)$/
const WEB_FILE = Buffer.alloc(100_000, 'w')
/** So few that a test is quick, and one call fewer than opens the circuit is made before. */
const CIRCUIT = { failures: 2, pauseMs: 60_000 }

function webMount(server: WebServer, mountPoint: string, more: Partial<MountSpec> = {}): MountSpec {
  const prepared = {
    ...{ type: 'http', options: { endpoint: server.endpoint }, view: null, hostDirectory: null },
    dispose: () => Promise.resolve(),
  }
  return {
    ...{ store: { prepare: () => Promise.resolve(prepared) }, mountPoint: [mountPoint] },
    ...{ readOnly: true, ...more },
  }
}

describe('metrics', () => {
  let web: WebServer
  let away: WebServer
  let served: Served
  let metrics: Metrics

  before(async () => {
    web = await WebServer.start(WEB_FILE)
    away = await WebServer.start(WEB_FILE)
    served = await serve({
      mounts: [
        { store: directoryStore, mountPoint: ['files'] },
        { store: memoryStore, mountPoint: ['mem'] },
        webMount(web, 'web'),
        webMount(away, 'away', { circuit: CIRCUIT, timeoutMs: 1000 }),
        { store: passthroughStore({}), mountPoint: ['host'] },
      ],
      settings: { cacheSizeBytes: TINY_POOL_BYTES, writeBack: true, dirtyExpireMs: 3_600_000 },
    })
    metrics = new Metrics(served.server.control)
  })
  after(async () => {
    metrics.close()
    await served.close()
    await web.stop()
  })

  async function read(): Promise<Exposition> {
    return new Exposition(await metrics.text())
  }
  const FILES = { mount: 'mount0' }

  it('are those that are defined, with the labels that they have', async () => {
    const fs = served.guestFs('mem')
    await fs.writeFile('some', 'thing')
    await fs.readFile('some')
    assert.equal(await codeOf(served.client.unlink(await served.nodeid('mem'), 'missing')), 'ENOENT')
    const exposition = await read()
    assert.deepEqual(
      [...exposition.types],
      DEFINITIONS.map(({ name, type }) => [name, type]),
    )
    for (const { name, labels } of exposition.samples) {
      const known = DEFINITIONS.find((definition) => definition.name === name)
      const definition = known ?? DEFINITIONS.find((other) => other.name === name.replace(SUFFIXES, ''))
      assert.ok(definition !== undefined, name)
      const { le, ...others } = labels
      assert.deepEqual(Object.keys(others), definition.labels, name)
      assert.equal(le !== undefined, name.endsWith('_bucket'), name)
      const { operation } = labels
      if (operation === undefined) continue
      const names = name.startsWith('ovfsd_backend') ? BACKEND_OPERATION_NAMES : OPERATION_NAMES
      assert.ok(names.includes(operation), `${name}: ${operation}`)
    }
  })

  it("please Prometheus's own linter", async () => {
    const { status, stdout, stderr } = spawnSync(promtool, ['check', 'metrics'], {
      input: await metrics.text(),
      encoding: 'utf8',
    })
    assert.equal(status, 0, `${stdout}${stderr}`)
  })

  it('are whole however many there are, and let others work meanwhile', async () => {
    const operations = served.server.control.operations()
    const many = Array.from({ length: 200 }, (_, index) =>
      operations.map((mount) => ({ ...mount, mount: `${mount.mount}/${index}` })),
    )
    const manyMetrics = new Metrics({
      operations: () => many.flat(),
      gauges: () => served.server.control.gauges(),
    })
    let turns = 0
    let isDone = false
    const count = (): void => {
      turns++
      if (!isDone) setImmediate(count)
    }
    count()
    const [text, other] = await Promise.all([manyMetrics.text(), metrics.text()])
    isDone = true
    manyMetrics.close()
    const series = operations.reduce((sum, mount) => sum + mount.operations.length, 0) * many.length
    const exposition = new Exposition(text)
    assert.equal(exposition.all('ovfsd_operation_duration_seconds_count').length, series)
    assert.equal(exposition.all('ovfsd_operation_duration_seconds_bucket').length, 28 * series)
    assert.equal(text.split('# TYPE ovfsd_operation_duration_seconds ').length, 2)
    assert.ok(turns > series / 50, `${turns} turns`)
    assert.deepEqual([...new Exposition(other).types], [...exposition.types])
    const { status, stdout, stderr } = spawnSync(promtool, ['check', 'metrics'], {
      input: text,
      encoding: 'utf8',
    })
    assert.equal(status, 0, `${stdout}${stderr}`)
  })

  it('count requests, bytes and errors, and their histograms agree', async () => {
    const fs = served.guestFs('mem')
    await fs.writeFile('counted', Buffer.alloc(10_000))
    const MEM = { mount: 'mount1' }
    const before = await read()
    const file = await fs.open('counted', O_RDWR)
    await file.read(0, 20_000)
    await file.read(9_000, 20_000)
    await file.write(0, Buffer.alloc(3_000))
    await file.close()
    // A look-up of a missing name succeeds: the guest is told that there is nothing, and may keep it.
    assert.equal(await codeOf(fs.stat('missing')), 'ENOENT')
    assert.equal(await codeOf(served.client.unlink(await served.nodeid('mem'), 'missing')), 'ENOENT')
    const later = await read()
    const grown = (name: string, labels = {}): number =>
      later.value(name, { ...MEM, ...labels }) - before.value(name, { ...MEM, ...labels })
    assert.equal(grown('ovfsd_operations_total', { operation: 'read' }), 2)
    assert.equal(grown('ovfsd_read_bytes_total'), 11_000)
    assert.equal(grown('ovfsd_written_bytes_total'), 3_000)
    assert.equal(grown('ovfsd_operation_errors_total', { operation: 'unlink', errno: 'ENOENT' }), 1)
    assert.equal(grown('ovfsd_operation_errors_total'), 1)
    for (const { labels, value } of later.all('ovfsd_operations_total')) {
      const buckets = later.all('ovfsd_operation_duration_seconds_bucket', labels)
      assert.equal(buckets.length, 28)
      assert.deepEqual(buckets.at(-1)?.labels['le'], '+Inf')
      assert.equal(buckets.at(-1)?.value, value)
      assert.equal(later.value('ovfsd_operation_duration_seconds_count', labels), value)
      buckets.reduce((below, bucket) => {
        assert.ok(bucket.value >= below, 'buckets are cumulative')
        return bucket.value
      }, 0)
      assert.ok(later.value('ovfsd_operation_duration_seconds_sum', labels) > 0)
    }
    assert.equal(buckets0(later), '0.000001')
  })

  it('tell hits from misses, and what read-ahead fetched for nothing', async () => {
    const fs = served.guestFs('web')
    const WEB = { mount: 'mount2' }
    const before = await read()
    const file = await fs.open('file')
    // Small files are fetched when they are opened: the first read may have to wait for that.
    await file.read(0, 4096)
    await file.read(0, 4096)
    await file.read(4096, 4096)
    await file.close()
    const later = await read()
    const grown = (name: string): number => later.value(name, WEB) - before.value(name, WEB)
    assert.equal(grown('ovfsd_cache_hits_total') + grown('ovfsd_cache_misses_total'), 3)
    assert.ok(grown('ovfsd_cache_hits_total') >= 2)
    assert.equal(grown('ovfsd_read_ahead_fetched_bytes_total'), WEB_FILE.length)
    assert.equal(grown('ovfsd_read_ahead_used_bytes_total'), 3 * 4096)
    assert.equal(grown('ovfsd_backend_read_bytes_total'), WEB_FILE.length)
  })

  it('show unsaved data with its age until it is stored', async () => {
    const fs = served.guestFs('files')
    const file = await fs.open('unsaved', O_RDWR | O_CREAT)
    await file.write(0, Buffer.alloc(100_000))
    const before = await read()
    assert.ok(before.value('ovfsd_cache_dirty_bytes', FILES) >= 100_000)
    assert.equal(before.value('ovfsd_cache_dirty_files', FILES), 1)
    const later = await read()
    const ages = [before, later].map((at) => at.value('ovfsd_cache_dirty_age_seconds', FILES))
    assert.ok((ages[0] ?? 0) > 0 && (ages[1] ?? 0) > (ages[0] ?? 0), String(ages))
    await file.fsync()
    await file.close()
    const stored = await read()
    for (const name of ['bytes', 'files', 'age_seconds'])
      assert.equal(stored.value(`ovfsd_cache_dirty_${name}`, FILES), 0, name)
    const grown = (name: string): number => stored.value(name, FILES) - before.value(name, FILES)
    assert.equal(grown('ovfsd_backend_written_bytes_total'), 100_000)
  })

  it('count what has to make room, for the mount that loses it', async () => {
    const fs = served.guestFs('files')
    await fs.writeFile('large', Buffer.alloc(2 * TINY_POOL_BYTES))
    const file = await fs.open('large')
    for (let offset = 0; offset < 2 * TINY_POOL_BYTES; offset += MIB) await file.read(offset, MIB)
    await file.close()
    const exposition = await read()
    assert.ok(exposition.value('ovfsd_cache_evictions_total', FILES) > 0)
    assert.ok(exposition.value('ovfsd_cache_used_bytes') <= exposition.value('ovfsd_cache_size_bytes'))
    assert.equal(exposition.value('ovfsd_cache_size_bytes'), TINY_POOL_BYTES)
  })

  it('count the calls of a store, what it refused and what was asked twice', async () => {
    const fs = served.guestFs('web')
    const WEB = { mount: 'mount2' }
    const before = await read()
    await fs.stat(`${STUMBLING}-1`)
    assert.equal(await codeOf(fs.stat(`${FORBIDDEN}-1`)), 'EACCES')
    const later = await read()
    const grown = (name: string, labels = {}): number =>
      later.value(name, { ...WEB, ...labels }) - before.value(name, { ...WEB, ...labels })
    assert.equal(grown('ovfsd_backend_requests_total', { operation: 'stat' }), 2)
    assert.equal(grown('ovfsd_backend_request_duration_seconds_count', { operation: 'stat' }), 2)
    assert.equal(grown('ovfsd_backend_errors_total', { operation: 'stat', errno: 'EACCES' }), 1)
    assert.equal(grown('ovfsd_backend_errors_total'), 1)
    assert.equal(grown('ovfsd_backend_retries_total'), 1)
    assert.equal(later.value('ovfsd_backend_requests_in_flight', WEB), 0)
  })

  it('show a store that is left alone, and do not count what it is not asked', async () => {
    const fs = served.guestFs('away')
    const AWAY = { mount: 'mount3' }
    await fs.stat('there')
    assert.equal((await read()).value('ovfsd_backend_circuit_open', AWAY), 0)
    await away.stop()
    for (let i = 0; i < CIRCUIT.failures; i++) assert.equal(await codeOf(fs.stat(`gone-${i}`)), 'EIO')
    const open = await read()
    assert.equal(open.value('ovfsd_backend_circuit_open', AWAY), 1)
    assert.equal(open.value('ovfsd_backend_errors_total', AWAY), CIRCUIT.failures)
    assert.equal(await codeOf(fs.stat('not-asked')), 'EIO')
    assert.equal(
      (await read()).value('ovfsd_backend_requests_total', AWAY),
      open.value('ovfsd_backend_requests_total', AWAY),
    )
  })

  it('tell what is open and known, and whether somebody is connected', async () => {
    const fs = served.guestFs('host')
    const none = await read()
    const file = await fs.open('mine', O_RDWR | O_CREAT)
    const open = await read()
    assert.equal(open.value('ovfsd_open_files'), none.value('ovfsd_open_files') + 1)
    assert.ok(open.value('ovfsd_inodes') > none.value('ovfsd_inodes'))
    await file.close()
    assert.equal((await read()).value('ovfsd_open_files'), none.value('ovfsd_open_files'))
    assert.deepEqual(open.all('ovfsd_mount_info', { mount: 'mount4' })[0]?.labels['type'], 'passthrough')
    assert.deepEqual(open.all('ovfsd_cache_hits_total', { mount: 'mount4' }), [])
    assert.ok(open.value('ovfsd_operations_total', { mount: 'mount4', operation: 'create' }) > 0)
    assert.ok(open.value('ovfsd_bursts_total') > 0)

    assert.equal(open.value('ovfsd_frontend_connected'), 1)
    await served.disconnect()
    assert.equal((await read()).value('ovfsd_frontend_connected'), 0)
    await served.reconnect()
    assert.equal((await read()).value('ovfsd_frontend_connected'), 1)
  })

  it('tell of the process', async () => {
    const exposition = await read()
    assert.ok(exposition.value('process_resident_memory_bytes') > MIB)
    assert.ok(exposition.value('process_cpu_seconds_total') > 0)
    const uptime = Date.now() / 1000 - exposition.value('process_start_time_seconds')
    assert.ok(Math.abs(uptime - process.uptime()) < 1)
    // Something keeps the loop busy for longer than its timers' period, and that is seen once.
    const lagOf = async (): Promise<number> => (await read()).value('ovfsd_event_loop_lag_max_seconds')
    await eventually('a lag was measured', async () => {
      const end = performance.now() + 100
      while (performance.now() < end);
      await new Promise((resolve) => setTimeout(resolve, 20))
      return (await lagOf()) > 0.05
    })
  })
})

/** The lowest bound of a histogram. */
function buckets0(exposition: Exposition): string | undefined {
  return exposition.all('ovfsd_operation_duration_seconds_bucket')[0]?.labels['le']
}
