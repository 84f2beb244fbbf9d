/** Prometheus scrapes a daemon while a guest works: every panel of the dashboard has data, and fio's own numbers are in it. */
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:net'
import { once } from 'node:events'
import os from 'node:os'
import path from 'node:path'
import { after, before, describe, it } from 'node:test'
import { Prometheus, type QuerySample } from '../servers/prometheus.js'
import { waitUntil } from '../servers/wait.js'
import { queriesOf, readDashboard, replaceVariables } from '../support/dashboard.js'
import { FORBIDDEN, STUMBLING, WebServer } from '../support/web-server.js'
import { isReferenceDaemon } from './daemon.js'
import { GuestSuite, mountRoot } from './suite.js'

const TAG = 'ovfsd'
const MIB = 1 << 20
/** The smallest cache: three files of the web server do not fit. */
const CACHE = '16MiB'
const WEB_FILE_BYTES = 8 * MIB
/** All that has been scraped, however slow the machine. */
const RATE_INTERVAL = '30m'
const DATA_DEADLINE_MS = 120_000
/** Of 4 KiB: 4 MiB, read and written at random. */
const FIO_OPERATIONS = 1024
const FIO_BLOCK_BYTES = 4096
const US_PER_SECOND = 1e6
const NS_PER_US = 1000

/** What is 0 while all is well, or at most moments. */
const MAY_BE_ZERO = [
  'Now / Stores left alone / A',
  'Cache / Requests that wait for room / A',
  'Stores / Calls under way / A',
  'Stores / Left alone / A',
  'Daemon / Queue depth / A',
  'Daemon / Inodes and handles / C',
  'Daemon / Event-loop lag / B',
]

const FILES = `${mountRoot(TAG)}/files`
const WEB = `${mountRoot(TAG)}/web`

/** A free port; nobody else asks the kernel for it before the daemon does. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const { port } = server.address() as { port: number }
  server.close()
  await once(server, 'close')
  return port
}

interface FioSide {
  readonly total_ios: number
  readonly io_bytes: number
  /** From the submission until the completion of a request. */
  readonly lat_ns: { readonly mean: number }
}

describe("the dashboard of a guest's work", { skip: isReferenceDaemon }, () => {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'ovfsd-dashboard-'))
  const root = path.join(folder, 'files')
  let web: WebServer
  let prometheus: Prometheus
  let address = ''
  const suite = new GuestSuite(async () => {
    mkdirSync(root)
    web = await WebServer.start(Buffer.alloc(WEB_FILE_BYTES, 'w'))
    address = `127.0.0.1:${await freePort()}`
    return {
      [TAG]: {
        profiles: {
          files: { type: 'fs', mount_point: 'files', root, guest_cache: 'none' },
          web: { type: 'http', mount_point: 'web', endpoint: web.endpoint },
        },
        settings: {
          metrics_address: address,
          cache_size: CACHE,
          cache_dir: path.join(folder, 'cache'),
          dirty_expire: '1h',
          enabled_cache_write_back: true,
        },
      },
    }
  })
  before(async () => {
    prometheus = await Prometheus.start(address)
  })
  after(async () => {
    await prometheus.stop()
    await web.stop()
    rmSync(folder, { recursive: true, force: true })
  })

  /** A query of one number. */
  async function ask(expression: string): Promise<number> {
    const [sample, ...others] = await prometheus.query(expression)
    assert.deepEqual(others, [], expression)
    return Number(sample?.value[1] ?? NaN)
  }

  /** Work of every kind that a panel shows; `round` keeps names apart. */
  async function work(round: number): Promise<void> {
    await suite.sh(
      `mkdir ${FILES}/dir-${round}; dd if=/dev/zero of=${FILES}/dir-${round}/file bs=64k count=4 conv=fsync status=none
      cat ${FILES}/dir-${round}/file > /dev/null
      refuses ENOTEMPTY rmdir ${FILES}/dir-${round}
      stat ${WEB}/${STUMBLING}-${round} > /dev/null
      refuses EACCES unlink ${WEB}/${FORBIDDEN}-${round}
      for file in a b c a b c; do dd if=${WEB}/$file-${round} of=/dev/null bs=128k iflag=direct status=none; done`,
    )
  }

  it('has data in every panel', { timeout: 2 * DATA_DEADLINE_MS }, async () => {
    // A file stays open with data that is not stored, and a directory.
    await suite.sh(`( exec 3> ${FILES}/unsaved; dd if=/dev/zero bs=64k count=16 status=none >&3; exec sleep 1000 ) \\
      < /dev/null > /dev/null 2>&1 &
      until [ "$(stat -c %s ${FILES}/unsaved)" = 1048576 ]; do sleep 0.1; done`)
    const waiting = new Map(queriesOf(readDashboard()).map((query) => [query.name, query]))
    for (const name of MAY_BE_ZERO) assert.ok(waiting.has(name), name)
    const deadline = performance.now() + DATA_DEADLINE_MS
    // A series begins with its first value: its rate is known once it has grown.
    for (let round = 0; waiting.size > 0; round++) {
      const missing = [...waiting.keys()].join(', ')
      assert.ok(performance.now() < deadline, `after ${round} rounds there is no data in ${missing}`)
      await work(round)
      await untilScraped()
      for (const { name, expr } of [...waiting.values()]) {
        const samples = await prometheus.query(replaceVariables(expr, RATE_INTERVAL))
        if (samples.some((sample) => isData(sample, MAY_BE_ZERO.includes(name)))) waiting.delete(name)
      }
    }
  })

  it("shows fio's run: its operations and bytes exactly, its time as far as it was ours", async () => {
    const READ = '{mount="files",operation="read"}'
    const WRITE = '{mount="files",operation="write"}'
    const totals = (): Promise<number[]> =>
      Promise.all([
        ...[READ, WRITE].map((which) => ask(`ovfsd_operation_duration_seconds_count${which}`)),
        ...['read', 'written'].map((which) => ask(`ovfsd_${which}_bytes_total{mount="files"}`)),
        ...[READ, WRITE].map((which) => ask(`ovfsd_operation_duration_seconds_sum${which}`)),
      ])
    await suite.sh(`dd if=/dev/zero of=${FILES}/fio bs=1M count=4 conv=fsync status=none`)
    await untilScraped()
    const before = await totals()
    const output = await suite.sh(
      `fio --name=exact --filename=${FILES}/fio --rw=randrw --bs=${FIO_BLOCK_BYTES} --size=4m --direct=1 --ioengine=psync \\
        --fallocate=none --randrepeat=1 --output-format=json`,
      180_000,
    )
    const { jobs } = JSON.parse(output.slice(output.indexOf('{'))) as {
      jobs: [{ error: number; read: FioSide; write: FioSide }]
    }
    const [{ error, read, write }] = jobs
    assert.equal(error, 0)
    assert.equal(read.total_ios + write.total_ios, FIO_OPERATIONS)
    await untilScraped()
    const grown = (await totals()).map((value, index) => value - (before[index] ?? NaN))
    const [reads, writes, readBytes, writtenBytes, readSeconds = 0, writeSeconds = 0] = grown
    assert.deepEqual(
      [reads, writes, readBytes, writtenBytes],
      [read.total_ios, write.total_ios, read.io_bytes, write.io_bytes],
    )
    for (const [side, seconds] of [
      [read, readSeconds],
      [write, writeSeconds],
    ] as const) {
      const meanUs = (seconds * US_PER_SECOND) / side.total_ios
      const fioUs = side.lat_ns.mean / NS_PER_US
      assert.ok(meanUs > 0 && meanUs < fioUs, `${meanUs} us of the ${fioUs} us that fio saw`)
    }
  })

  /** Until Prometheus has what the daemon says now. */
  async function untilScraped(): Promise<void> {
    const nowSeconds = Date.now() / 1000
    const scraped = (): Promise<number> => ask('timestamp(ovfsd_bursts_total)')
    await waitUntil('a scrape', DATA_DEADLINE_MS, async () => (await scraped()) > nowSeconds)
  }
})

function isData({ value }: QuerySample, mayBeZero: boolean): boolean {
  const number = Number(value[1])
  return Number.isFinite(number) && (mayBeZero || number > 0)
}
