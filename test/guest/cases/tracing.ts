import assert from 'node:assert/strict'
import { readFileSync, writeFileSync } from 'node:fs'
import { mkdir, rm, writeFile } from 'node:fs/promises'
import path from 'node:path'
import { it } from 'node:test'
import { randomBytes } from '../../support/bytes.js'
import { durationUs, Receiver, type Shown } from '../../lib/tracing/spans.js'
import { mountRoot, type GuestSuite, type MountUnderTest } from '../suite.js'

const BLOCK_BYTES = 64 << 10
const DD_READS = 32
const FIO_BLOCK_BYTES = 4096
const FIO_READS = 200
/** Spans are sent ten times a second. */
const ARRIVAL_DEADLINE_MS = 20_000

/** What programs in the guest do and how long it takes is what the spans say: the daemon takes its `[tracing]` over while it runs. */
export function tracingCase(suite: GuestSuite, mount: MountUnderTest): void {
  it('spans agree with what dd and fio did, in number, sizes, offsets, processes and microseconds', async (test) => {
    const receiver = await Receiver.start()
    test.after(() => receiver.close())
    const { configPath, process } = suite.daemon(mount.tag)
    const config = readFileSync(configPath, 'utf8')
    const folder = path.join(suite.hostFolder(mount), 'traced')
    await mkdir(folder)
    await writeFile(path.join(folder, 'file'), randomBytes(DD_READS * BLOCK_BYTES))
    const says = (text: string): Promise<void> =>
      new Promise((resolve) => {
        process.onLine((line) => {
          if (line.includes(text)) resolve()
        })
      })
    const started = says('tracing started')
    const filter = `{ operations = ["read"], paths = ["/${mount.mountPoint}/traced/*"] }`
    const table = `endpoint = "${receiver.endpoint}"\nexport_interval = "100ms"\nfilters = [${filter}]\n`
    writeFileSync(configPath, `${config}\n[tracing]\n${table}`)
    await started

    const directory = `${mountRoot(mount.tag)}/${mount.mountPoint}/traced`
    const output = await suite.sh(`cd ${directory}
      dd if=file of=/dev/null bs=${BLOCK_BYTES} iflag=direct status=none & echo $!; wait $!
      fio --name=traced --filename=file --readonly --rw=randread --bs=${FIO_BLOCK_BYTES} --number_ios=${FIO_READS} --direct=1 \\
        --ioengine=psync --thread --write_lat_log=/tmp/traced --log_offset=1 --output=/tmp/traced.out || { cat /tmp/traced.out; exit 1; }
      cat /tmp/traced_clat.1.log`)
    const [pid = '', ...log] = output.trim().split('\n')
    const all = await arrived(receiver, DD_READS + FIO_READS)

    const [byDd, byFio] = [all.slice(0, DD_READS), all.slice(DD_READS)]
    for (const [i, span] of byDd.entries()) {
      assert.deepEqual(
        about(span),
        [Number(pid), i * BLOCK_BYTES, BLOCK_BYTES, BLOCK_BYTES, 0],
        `dd's read ${i}`,
      )
    }
    // The file was never read before: some read waits, and its wait for the store.
    const waits = receiver.named('cache.wait')
    assert.ok(waits.length > 0)
    const calls = receiver.named('backend.read')
    for (const wait of waits) {
      const read = byDd.find(({ spanId }) => spanId === wait.parentSpanId) as Shown
      assert.ok(read.startNs <= wait.startNs && wait.endNs <= read.endNs)
      for (const call of calls.filter(({ parentSpanId }) => parentSpanId === wait.spanId))
        assert.ok(wait.startNs <= call.startNs && call.endNs <= wait.endNs)
    }
    const above = new Set([...waits, ...receiver.named('cache.read_ahead')].map(({ spanId }) => spanId))
    assert.ok(calls.length > 0)
    for (const call of calls) assert.ok(above.has(call.parentSpanId), 'what the call is for')
    // ms, ns, direction, bytes, offset...
    const reads = log.map((line) => line.split(',').map(Number) as [number, number, number, number, number])
    assert.equal(reads.length, FIO_READS)
    assert.equal(new Set(byFio.map(({ attributes }) => attributes['ovfsd.pid'])).size, 1)
    for (const [i, span] of byFio.entries()) {
      const [, latencyNs, , bytes, offset] = reads[i] as (typeof reads)[number]
      assert.deepEqual(about(span).slice(1), [offset, bytes, bytes, 0], `fio's read ${i}`)
      // What the daemon takes is a part of what the program waits for.
      const us = durationUs(span)
      assert.ok(us > 0 && us <= latencyNs / 1000, `read ${i}: ${us} us of ${latencyNs} ns`)
      const next = byFio[i + 1]
      if (next !== undefined) assert.ok(span.endNs <= next.startNs, `read ${i} ends before the next begins`)
    }

    const stopped = says('tracing stopped')
    writeFileSync(configPath, config)
    await stopped
    await suite.sh(`cat ${directory}/file > /dev/null`)
    assert.equal(receiver.named('fuse.read').length, DD_READS + FIO_READS)
    await rm(folder, { recursive: true })
  })
}

function about({ attributes }: Shown): unknown[] {
  return ['pid', 'offset', 'size', 'bytes', 'errno'].map((name) => attributes[`ovfsd.${name}`])
}

/** The spans of READs in the order in which they began. */
async function arrived(receiver: Receiver, count: number): Promise<Shown[]> {
  const deadline = performance.now() + ARRIVAL_DEADLINE_MS
  while (receiver.named('fuse.read').length < count && performance.now() < deadline)
    await new Promise((resolve) => setImmediate(resolve))
  const spans = receiver.named('fuse.read').sort((a, b) => Number(a.startNs - b.startNs))
  assert.equal(spans.length, count)
  return spans
}
