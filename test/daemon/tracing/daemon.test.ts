/** The daemon with a collector: that gets its spans, comes and goes by the configuration, or is away. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { writeFileSync } from 'node:fs'
import { createServer, type AddressInfo } from 'node:net'
import { dirname, join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { MAIN, Program, temporaryFile } from '../../lib/cli/process.js'
import { O_RDWR } from '../../frontend/abi.js'
import { FuseClient } from '../../frontend/fuse-client.js'
import { eventually } from '../../support/served.js'
import { durationUs, Receiver } from '../../lib/tracing/spans.js'

const TOKEN = 'a-token-that-nobody-may-see'
/** A flush waits for three seconds at most; the rest is for a slow machine. */
const END_DEADLINE_MS = 15_000

interface Daemon {
  readonly program: Program
  readonly client: FuseClient
  /** Write the configuration anew. */
  configure(tracing: string): void
  /** A file of 64 KiB. */
  readonly file: { readonly nodeid: number; readonly fh: bigint | number }
}

async function start(test: TestContext, tracing: string): Promise<Daemon> {
  const config = temporaryFile(test, 'ovfsd.toml', '')
  const socketPath = join(dirname(config), 'socket')
  const configure = (text: string): void => {
    const rest = `[ovfsd_settings]\nsocket_path = "${socketPath}"\n[profiles.m]\ntype = "memory"\nmount_point = "m"\n`
    writeFileSync(config, `${rest}${text}`, { mode: 0o600 })
  }
  configure(tracing)
  const program = new Program(MAIN, [`--config-file=${config}`], { OTLP_TOKEN: TOKEN })
  test.after(() => {
    program.kill('SIGKILL')
  })
  await program.says('Waiting for vhost-user socket connection')
  const client = await FuseClient.mount({ socketPath })
  test.after(() => {
    client.close()
  })
  const { nodeid } = await client.lookup(1, 'm')
  const { entry, fh } = await client.create(nodeid, 'file', O_RDWR)
  await client.write(entry.nodeid, fh, 0, Buffer.alloc(65_536, 1))
  return { program, client, configure, file: { nodeid: entry.nodeid, fh } }
}

async function read({ client, file }: Daemon, count: number): Promise<void> {
  for (let i = 0; i < count; i++) {
    const data = await client.read(file.nodeid, file.fh, (i % 16) * 4096, 4096, { pid: 1000 + i })
    assert.equal(data.length, 4096)
  }
}

function table(endpoint: string, more = ''): string {
  return `[tracing]\nendpoint = "${endpoint}"\nexport_interval = "100ms"\n${more}`
}

async function receiver(test: TestContext): Promise<Receiver> {
  const collector = await Receiver.start()
  test.after(() => collector.close())
  return collector
}

describe('a daemon with a collector', () => {
  it('sends spans from when the configuration says so until it does not, and what is left at its end', async (test) => {
    const collector = await receiver(test)
    const daemon = await start(test, '')
    const { program } = daemon
    await read(daemon, 3)
    daemon.configure(
      table(
        collector.endpoint,
        'service_name = "vm-1"\nheaders = { authorization = "Bearer ${OTLP_TOKEN}" }\n',
      ),
    )
    await program.says('tracing started')
    await read(daemon, 20)
    await eventually('20 spans', () => collector.named('fuse.read').length >= 20)
    const reads = collector.named('fuse.read')
    assert.deepEqual(
      reads.map(({ attributes }) => attributes['ovfsd.pid']),
      Array.from({ length: 20 }, (_, i) => 1000 + i),
    )
    for (const [i, span] of reads.entries()) {
      assert.equal(span.attributes['ovfsd.size'], 4096)
      assert.equal(span.attributes['ovfsd.bytes'], 4096)
      assert.equal(span.attributes['ovfsd.offset'], (i % 16) * 4096)
      assert.equal(span.attributes['file.path'], '/m/file')
      assert.match(span.traceId, /^[0-9a-f]{32}$/)
      assert.equal(span.kind, 2)
      assert.ok(durationUs(span) > 0 && durationUs(span) < 10e6)
    }
    assert.equal(collector.resource['service.name'], 'vm-1')
    assert.equal(collector.resource['process.pid'], program.pid)
    assert.equal(collector.headers.authorization, `Bearer ${TOKEN}`)

    // Another service, and nothing but one process.
    daemon.configure(table(collector.endpoint, 'service_name = "vm-2"\nfilters = [{ pids = [1002] }]\n'))
    collector.spans.length = 0
    await eventually('the other service', async () => {
      await read(daemon, 5)
      return collector.resource['service.name'] === 'vm-2'
    })
    const byNow = collector.spans.length
    await read(daemon, 5)
    await eventually('one span more', () => collector.spans.length > byNow)
    assert.equal(collector.spans.at(-1)?.attributes['ovfsd.pid'], 1002)

    daemon.configure('')
    await program.says('tracing stopped')
    const { requests } = collector
    const count = collector.named('fuse.read').length
    await read(daemon, 20)

    // What is waiting when the daemon ends is sent.
    const again = collector.endpoint.replace('/v1/', '/again/v1/')
    daemon.configure(table(again, 'sample_ratio = 1\n').replace('100ms', '1m'))
    await program.says('/again/v1/traces')
    assert.equal(collector.requests, requests)
    await read(daemon, 7)
    program.kill('SIGTERM')
    const { code, stderr } = await program.outcome()
    assert.equal(code, 0)
    assert.equal(collector.named('fuse.read').length, count + 7)
    assert.ok(!stderr.includes(TOKEN), 'the log has the secret')
    assert.ok(!stderr.includes('dropped'), stderr)
  })

  it('serves all the same when nobody listens', async (test) => {
    const server = createServer().listen(0, '127.0.0.1')
    await once(server, 'listening')
    const { port } = server.address() as AddressInfo
    await new Promise((resolve) => server.close(resolve))
    const daemon = await start(
      test,
      table(`http://127.0.0.1:${port}/v1/traces`, 'export_timeout = "100ms"\n'),
    )
    await read(daemon, 100)
    await daemon.program.says('spans were dropped')
    await read(daemon, 100)
    await endsSoon(daemon)
    const { stderr } = await daemon.program.outcome()
    // Once when it begins, and once at the end.
    const told = stderr.split('\n').filter((line) => line.includes('spans were dropped'))
    assert.equal(told.length, 2, stderr)
    const dropped = told.map((line) => (JSON.parse(line) as { dropped: number }).dropped)
    // Besides the reads: the file that was made before them, and what it did.
    assert.ok((dropped[0] as number) + (dropped[1] as number) >= 200, String(dropped))
    assert.match(told[0] ?? '', /ECONNREFUSED/)
  })

  it('drops what a collector that hangs does not take', async (test) => {
    const collector = await receiver(test)
    collector.answer = () => undefined
    const daemon = await start(test, table(collector.endpoint, 'queue_size = 512\n'))
    await read(daemon, 1500)
    await daemon.program.says('more are made than the collector takes')
    await read(daemon, 100)
    await endsSoon(daemon)
    assert.ok(collector.requests > 0)
  })
})

async function endsSoon({ program }: Daemon): Promise<void> {
  const started = performance.now()
  program.kill('SIGTERM')
  const { code, stderr } = await program.outcome()
  assert.equal(code, 0, stderr)
  assert.ok(performance.now() - started < END_DEADLINE_MS)
}
