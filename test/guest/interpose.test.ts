/**
 * Interposers, measured by fio in a Linux guest: rates, faults and delays are those that are configured. Every request is one of fio's, as the
 * guest's kernel may keep nothing of these mounts. The server runs in the test's process, which sees each request too.
 */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { after, before, describe, it, type TestContext } from 'node:test'
import type { InterposeRules } from '../../src/interpose/rules.js'
import { createLogger } from '../../src/observability/logger.js'
import type { RequestRecord } from '../../src/observability/request-record.js'
import { Server, type ServerMount } from '../../src/server/server.js'
import { delay, fault, rules, throttle } from '../lib/interpose/rules.js'
import { RELOAD_SETTINGS } from '../support/served.js'
import { isReferenceDaemon } from './daemon.js'
import { Guest } from './guest.js'

const MIB = 1 << 20
const EIO = 5
const RUN_SECONDS = 10
/** It comes on top of what a run's time allows: 2 % of it. */
const BURST_MS = 200
/** By how much what is measured may be off. */
const RATE_TOLERANCE = 0.05
const DELAY_TOLERANCE = { ms: 1, share: 0.05 }
const ATTEMPTS = 3
const FIO_TIMEOUT_MS = 60_000
const FOLDER = '/mnt/null'

/** What is read of a job in fio's JSON. */
interface FioSide {
  readonly total_ios: number
  readonly iops: number
  readonly bw_bytes: number
  readonly short_ios: number
  readonly clat_ns: { readonly mean: number }
}
interface FioJob {
  readonly jobname: string
  readonly error: number
  readonly total_err: number
  readonly read: FioSide
  readonly write: FioSide
}

/** Jobs by their names, each with fio's own options. */
type Jobs = Readonly<Record<string, string>>

const directory = mkdtempSync(path.join(os.tmpdir(), 'ovfsd-guest-interpose-'))
const socketPath = path.join(directory, 'vhost.sock')

function mountWith(interpose: InterposeRules | null): ServerMount {
  return {
    ...{ name: 'null', type: 'null', options: {}, storeKey: 'null', mountPoint: ['null'], readOnly: false },
    ...{ uid: 0, gid: 0, fileMode: 0o644, dirMode: 0o755, expirationMs: 60_000, timeoutMs: 30_000 },
    ...{ guestCache: 'none', interpose },
  }
}

const RELOAD = { ...RELOAD_SETTINGS, reloadGraceMs: 0 }

describe('a Linux guest on an interposed mount', { skip: isReferenceDaemon }, () => {
  let server: Server
  let booted: Guest | undefined
  let mount = mountWith(null)

  before(async () => {
    server = await Server.start({
      settings: {
        ...{ socketPath, socketMode: 0o600, enabledCache: true, cacheSizeBytes: 64 * MIB, requestQueues: 2 },
        ...{ cacheDir: null, cacheDirSizeBytes: 64 * MIB, guestWriteback: false, pollWindowUs: 50 },
        ...RELOAD,
      },
      mounts: [mount],
      logger: createLogger({ level: 'error', stream: process.stderr }),
    })
    booted = await Guest.boot({ devices: [{ tag: 'ovfsd', socketPath }] })
    const files = ['reads', 'writes', 'fixed', 'uniform', 'exponential']
    const make = files.map((name) => `truncate -s 64M null/${name}`).join('; ')
    await sh(`mount -t virtiofs ovfsd /mnt; cd /mnt; ${make}`)
  })
  after(async () => {
    await booted?.close()
    await server.close()
    rmSync(directory, { recursive: true, force: true })
  })

  async function sh(script: string): Promise<string> {
    assert(booted !== undefined, 'the guest was not started')
    const { exitCode, stdout } = await booted.run(script, { timeoutMs: FIO_TIMEOUT_MS })
    assert.equal(exitCode, 0, stdout)
    return stdout
  }

  /** The mount's rules from now on. */
  async function interpose(next: InterposeRules | null): Promise<void> {
    const change = { before: mount, after: mountWith(next) }
    mount = change.after
    assert.deepEqual(await server.reload({ settings: RELOAD, added: [], removed: [], changed: [change] }), [])
  }

  /** Run jobs side by side. */
  async function fio(jobs: Jobs): Promise<Map<string, FioJob>> {
    const common = [
      'direct=1',
      'thread=1',
      `directory=${FOLDER}`,
      'size=64m',
      'fallocate=none',
      'norandommap=1',
    ]
    const sections = Object.entries(jobs).map(([name, options]) => `[${name}]\nfilename=${name}\n${options}`)
    const file = ['[global]', ...common, ...sections].join('\n')
    const output = await sh(
      `cat > /tmp/jobs <<'END'\n${file}\nEND\nfio --output-format=json --output=/tmp/fio /tmp/jobs\ncat /tmp/fio`,
    )
    const { jobs: results } = JSON.parse(output.slice(output.indexOf('{'))) as { jobs: FioJob[] }
    return new Map(results.map((job) => [job.jobname, job]))
  }

  function jobOf(results: Map<string, FioJob>, name: string): FioJob {
    const job = results.get(name)
    assert(job !== undefined, `fio says nothing of ${name}`)
    return job
  }

  /** All requests to the mount while `work` is done. */
  async function watched(work: () => Promise<unknown>): Promise<RequestRecord[]> {
    const seen: RequestRecord[] = []
    const watcher = {
      onReply: (record: RequestRecord) => {
        if (record.mount === 'null') seen.push(record)
      },
    }
    server.control.watch(watcher)
    try {
      await work()
    } finally {
      server.control.unwatch(watcher)
    }
    return seen
  }

  interface Rate {
    readonly what: string
    readonly found: number
    readonly wanted: number
  }

  /** Nothing is let through too often. A host that is busy with others keeps the guest from asking often enough, and is given another chance. */
  async function areAsConfigured(t: TestContext, measure: () => Promise<readonly Rate[]>): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      const rates = await measure()
      const said = rates.map(({ what, found, wanted }) => `${what} ${found} of ${wanted}`).join(', ')
      t.diagnostic(`a second: ${said}`)
      for (const { found, wanted } of rates) assert.ok(found <= wanted * (1 + RATE_TOLERANCE), said)
      if (rates.every(({ found, wanted }) => found >= wanted * (1 - RATE_TOLERANCE))) return
      assert.ok(attempt < ATTEMPTS, said)
    }
  }

  // Enough wait at any time to make up for a guest that a busy host stops for some hundred ms.
  const timed = `ioengine=libaio\niodepth=64\ntime_based=1\nruntime=${RUN_SECONDS}s`

  it('reads and writes as many bytes a second as it may', async (t) => {
    const [readBytes, writeBytes] = [8 * MIB, 4 * MIB]
    await interpose(rules({ throttle: throttle({ readBytes, writeBytes, burstMs: BURST_MS }) }))
    await areAsConfigured(t, async () => {
      const results = await fio({
        reads: `rw=read\nbs=128k\n${timed}`,
        writes: `rw=randwrite\nbs=64k\n${timed}`,
      })
      return [
        { what: 'bytes read', found: jobOf(results, 'reads').read.bw_bytes, wanted: readBytes },
        { what: 'bytes written', found: jobOf(results, 'writes').write.bw_bytes, wanted: writeBytes },
      ]
    })
  })

  it('reads and writes as often a second as it may', async (t) => {
    const [readOperations, writeOperations] = [200, 75]
    await interpose(rules({ throttle: throttle({ readOperations, writeOperations, burstMs: BURST_MS }) }))
    await areAsConfigured(t, async () => {
      const jobs = { reads: `rw=randread\nbs=4k\n${timed}`, writes: `rw=write\nbs=4k\n${timed}` }
      const results = await fio(jobs)
      return [
        { what: 'reads', found: jobOf(results, 'reads').read.iops, wanted: readOperations },
        { what: 'writes', found: jobOf(results, 'writes').write.iops, wanted: writeOperations },
      ]
    })
  })

  it('meets as many faults as it should, and the same ones with the same seed', async (t) => {
    const [probability, count, seed] = [0.1, 1000, 42]
    const faulty = rules({ faults: [fault({ probability, operations: ['read'], seed })] })
    const job = `rw=read\nbs=4k\nioengine=psync\nnumber_ios=${count}\ncontinue_on_error=all`
    const runs: number[][] = []
    for (let run = 0; run < 2; run++) {
      // Other rules in between: these begin anew.
      await interpose(null)
      await interpose(faulty)
      let failed = 0
      const seen = await watched(async () => {
        failed = jobOf(await fio({ reads: job }), 'reads').total_err
      })
      const reads = seen.filter(({ operation }) => operation === 'read')
      assert.ok(reads.length >= count, `${reads.length} reads`)
      const errnos = reads.map(({ errno }) => errno)
      runs.push(errnos)
      assert.equal(failed, errnos.filter((errno) => errno === EIO).length)
      const sigma = Math.sqrt(reads.length * probability * (1 - probability))
      t.diagnostic(`${failed} of ${reads.length} reads failed; 3 sigma are ${3 * sigma}`)
      assert.ok(Math.abs(failed - reads.length * probability) <= 3 * sigma)
    }
    assert.deepEqual(runs[0], runs[1])
  })

  it('reads and writes only a part where it may do no more', async () => {
    await interpose(rules({ faults: [fault({ errno: null, short: 0.25, operations: ['read', 'write'] })] }))
    const said = await sh(`cd ${FOLDER}; LC_ALL=C dd if=reads of=/dev/null bs=64k count=8 2>&1`)
    assert.match(said, /^0\+8 records in\n(.*\n)?131072 bytes/m)
    const written = await sh(
      `cd ${FOLDER}; LC_ALL=C dd if=/dev/zero of=short bs=4k count=1 2>&1; stat -c %s short`,
    )
    // dd goes on until all is written.
    assert.match(written, /4096$/m)
    await interpose(null)
  })

  interface Delayed {
    readonly name: string
    readonly wantedMs: number
    /** Beyond what the same reads take without a delay. */
    readonly inGuestMs: number
    readonly inDaemonMs: number
  }

  /** Mean delays of reads, by rules of each distribution for a file of its own. */
  async function measureDelays(): Promise<Delayed[]> {
    const [fixedMs, minMs, maxMs, meanMs] = [25, 10, 50, 30]
    // Its first 200 delays have a mean within 1.2 % of what is configured, which leaves the tolerance to the clocks. Whether
    // the distributions are right, test/interpose says.
    const seed = 39
    const meansMs = { fixed: fixedMs, uniform: (minMs + maxMs) / 2, exponential: meanMs }
    // As many requests a second as there are with the delay, so that the guest has as much to do.
    const job = 'rw=read\nbs=4k\nioengine=psync\nnumber_ios=200\nrate_iops=30'
    const jobs: Jobs = { fixed: job, uniform: job, exponential: job }
    await interpose(null)
    const undelayed = await fio(jobs)
    const delays = [
      delay({ kind: 'fixed', timeMs: fixedMs }, { paths: ['fixed'], operations: ['read'] }),
      delay({ kind: 'uniform', minMs, maxMs }, { paths: ['uniform'], operations: ['read'], seed }),
      delay({ kind: 'exponential', meanMs }, { paths: ['exponential'], operations: ['read'], seed }),
    ]
    await interpose(rules({ delays }))
    let delayed = new Map<string, FioJob>()
    const seen = await watched(async () => {
      delayed = await fio(jobs)
    })
    const latencyMs = (results: Map<string, FioJob>, name: string): number =>
      jobOf(results, name).read.clat_ns.mean / 1e6
    return Object.entries(meansMs).map(([name, wantedMs]) => {
      const reads = seen.filter(({ operation, path: of }) => operation === 'read' && of === `/null/${name}`)
      const inDaemonMs = reads.reduce((sum, { durationUs }) => sum + durationUs, 0) / reads.length / 1000
      return { name, wantedMs, inGuestMs: latencyMs(delayed, name) - latencyMs(undelayed, name), inDaemonMs }
    })
  }

  it('is delayed by as much as is configured', async (t) => {
    const toleratedMs = ({ wantedMs }: Delayed): number =>
      DELAY_TOLERANCE.ms + DELAY_TOLERANCE.share * wantedMs
    const isNear = (foundMs: number, found: Delayed): boolean =>
      Math.abs(foundMs - found.wantedMs) <= toleratedMs(found)
    const shown = new Set<string>()
    for (let attempt = 1; ; attempt++) {
      const all = await measureDelays()
      for (const { name, wantedMs, inGuestMs, inDaemonMs } of all)
        t.diagnostic(
          `${name}: ${wantedMs} ms configured, ${inGuestMs} in the guest, ${inDaemonMs} in the daemon`,
        )
      for (const found of all) {
        // No host makes a wait shorter. One that is busy with others makes some longer, and is given another chance.
        assert.ok(found.inDaemonMs >= found.wantedMs - toleratedMs(found), `${found.name}: too short`)
        if (isNear(found.inGuestMs, found)) shown.add(`${found.name} in the guest`)
        if (isNear(found.inDaemonMs, found)) shown.add(`${found.name} in the daemon`)
      }
      if (shown.size === 2 * all.length) return
      assert.ok(attempt < ATTEMPTS, `within the tolerance: only ${[...shown].join(', ')}`)
    }
  })
})
