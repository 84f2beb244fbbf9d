/** bin/ovfsd.cjs, which people and services start: the daemon as one file. Whatever is loaded late must be found from there, too. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:http'
import { createRequire } from 'node:module'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import type { Script } from 'node:vm'
import { O_RDWR } from '../../frontend/abi.js'
import { Program } from '../../lib/cli/process.js'
import { codeOf, FuseClient } from '../../frontend/fuse-client.js'
import { eventually } from '../../support/served.js'
import { Receiver } from '../../lib/tracing/spans.js'

// dist/test/daemon/packaging/ -> the package's root
const BIN = fileURLToPath(new URL('../../../../bin/ovfsd.cjs', import.meta.url))
const VERSION = (
  JSON.parse(readFileSync(new URL('../../../../package.json', import.meta.url), 'utf8')) as {
    version: string
  }
).version

function configuration(test: TestContext, profiles: string): { config: string; socketPath: string } {
  const directory = mkdtempSync(join(tmpdir(), 'ovfsd-bundle-'))
  test.after(() => {
    rmSync(directory, { recursive: true })
  })
  const config = join(directory, 'ovfsd.toml')
  const socketPath = join(directory, 'socket')
  writeFileSync(config, `[ovfsd_settings]\nsocket_path = "${socketPath}"\n${profiles}`, { mode: 0o600 })
  return { config, socketPath }
}

const MEMORY = '[profiles.m]\ntype = "memory"\nmount_point = "m"\n'

describe('the bundled daemon', () => {
  it('has code that this version of V8 takes', () => {
    const { compile } = createRequire(import.meta.url)(BIN) as { compile: () => Script }
    assert.equal(compile().cachedDataRejected, false)
  })

  it('knows its version', async () => {
    const { code, stdout } = await new Program(BIN, ['--version']).outcome()
    assert.equal(code, 0)
    assert.equal(stdout, `ovfsd ${VERSION}\n`)
  })

  it('serves a guest, follows its configuration, and ends as asked', async (test) => {
    const { config, socketPath } = configuration(test, MEMORY)
    const program = new Program(BIN, [`--config-file=${config}`])
    await program.says('Waiting for vhost-user socket connection')
    test.after(() => {
      program.kill('SIGKILL')
    })
    const client = await FuseClient.mount({ socketPath })
    test.after(() => {
      client.close()
    })
    const mount = await client.lookup(1, 'm')
    const { entry, fh } = await client.create(mount.nodeid, 'file', O_RDWR)
    await client.write(entry.nodeid, fh, 0, Buffer.from('hello'))
    assert.equal(Buffer.from(await client.read(entry.nodeid, fh, 0, 10)).toString(), 'hello')
    writeFileSync(config, readFileSync(config, 'utf8') + '[profiles.n]\ntype = "memory"\nmount_point = "n"\n')
    await program.says('configuration reloaded')
    assert.notEqual((await client.lookup(1, 'n')).nodeid, 0)
    program.kill('SIGTERM')
    assert.equal((await program.outcome()).code, 0)
  })

  it('loads no module of Node.js that it does not need', async (test) => {
    const { config } = configuration(test, MEMORY)
    const seen = `${config}.modules`
    const probe = `${config}.cjs`
    writeFileSync(
      probe,
      `process.on('exit', () => require('fs').writeFileSync(${JSON.stringify(seen)}, process.moduleLoadList.join('\\n')))`,
    )
    const program = new Program(BIN, [`--config-file=${config}`], { NODE_OPTIONS: `--require=${probe}` })
    await program.says('Waiting for vhost-user socket connection')
    program.kill('SIGTERM')
    assert.equal((await program.outcome()).code, 0)
    const modules = readFileSync(seen, 'utf8').split('\n')
    assert.ok(modules.includes('NativeModule fs'))
    // In the order in which they take time.
    for (const name of ['crypto', 'tls', 'http', 'https', 'child_process', 'zlib'])
      assert.ok(!modules.includes(`NativeModule ${name}`), name)
  })

  it('serves metrics', async (test) => {
    const { config } = configuration(test, `metrics_address = "127.0.0.1:0"\n${MEMORY}`)
    const program = new Program(BIN, [`--config-file=${config}`])
    await program.says('Waiting for vhost-user socket connection')
    const address = /"address":"([^"]+)"/.exec(program.stderr)?.[1] ?? ''
    const text = await (await fetch(`http://${address}/metrics`)).text()
    assert.ok(text.includes(`ovfsd_build_info{version="${VERSION}"`), text)
    program.kill('SIGTERM')
    assert.equal((await program.outcome()).code, 0)
  })

  it('is asked by commands of its own, and logs requests', async (test) => {
    const { config, socketPath } = configuration(test, MEMORY)
    const [control, log] = [`${socketPath}.control`, `${socketPath}.log`]
    const settings = `control_socket = "${control}"\naccess_log = "${log}"\n[profiles.m]`
    writeFileSync(config, readFileSync(config, 'utf8').replace('[profiles.m]', settings))
    const program = new Program(BIN, [`--config-file=${config}`])
    await program.says('Waiting for vhost-user socket connection')
    test.after(() => {
      program.kill('SIGKILL')
    })
    const client = await FuseClient.mount({ socketPath })
    const place = `--config-file=${config}`
    const trace = new Program(BIN, ['trace', '/m/**', place])
    await eventually('a look is traced', async () => {
      await codeOf(client.lookup((await client.lookup(1, 'm')).nodeid, 'traced'))
      return trace.stdout.includes('m lookup ("/m/traced"): OK <')
    })
    trace.kill('SIGINT')
    assert.equal((await trace.outcome()).code, 0)
    for (const args of [['status'], ['mounts'], ['flush'], ['stats', '--count=1', '--interval=0.1']]) {
      const { code, stdout, stderr } = await new Program(BIN, [...args, '--json', place]).outcome()
      assert.deepEqual([code, stderr], [0, ''])
      JSON.parse(stdout)
    }
    client.close()
    program.kill('SIGTERM')
    assert.equal((await program.outcome()).code, 0)
    const { stdout } = await new Program(BIN, ['profile', log]).outcome()
    assert.match(stdout, /^lookup +\d+ /m)
  })

  it('loads OpenTelemetry when the configuration asks for traces, and not before', async (test) => {
    const collector = await Receiver.start()
    test.after(() => collector.close())
    const { config, socketPath } = configuration(test, MEMORY)
    // Node.js itself tells what is loaded.
    const program = new Program(BIN, [`--config-file=${config}`], { NODE_DEBUG: 'module' })
    await program.says('Waiting for vhost-user socket connection')
    test.after(() => {
      program.kill('SIGKILL')
    })
    const client = await FuseClient.mount({ socketPath })
    test.after(() => {
      client.close()
    })
    await client.lookup(1, 'm')
    await program.says('guest mounted')
    const whileIdle = program.stderr
    const endpoint = `[tracing]\nendpoint = "${collector.endpoint}"\nexport_interval = "100ms"\n`
    writeFileSync(config, readFileSync(config, 'utf8') + endpoint)
    await program.says('tracing started')
    await client.lookup(1, 'm')
    await eventually('a span', () => collector.named('fuse.lookup').length === 1)
    program.kill('SIGTERM')
    const { code, stderr } = await program.outcome()
    assert.equal(code, 0)
    assert.doesNotMatch(whileIdle, /opentelemetry|picomatch/)
    assert.match(stderr, /@opentelemetry\/sdk-trace/)
  })

  it('signs requests with credentials that its environment has', async (test) => {
    let authorization = ''
    const store = createServer((request, response) => {
      authorization = request.headers.authorization ?? ''
      response.writeHead(403).end()
    }).listen(0, '127.0.0.1')
    test.after(() => store.close())
    await once(store, 'listening')
    const { port } = store.address() as AddressInfo
    const { config } = configuration(
      test,
      `[profiles.s]\ntype = "s3"\nmount_point = "s"\nbucket = "b"\nendpoint = "http://127.0.0.1:${port}"\n`,
    )
    const environment = { AWS_ACCESS_KEY_ID: 'WHOEVER', AWS_SECRET_ACCESS_KEY: 'secret' }
    const program = new Program(BIN, ['--check', '--connect', `--config-file=${config}`], environment)
    const { code, stdout, stderr } = await program.outcome()
    assert.equal(code, 1, stderr)
    assert.match(stdout, /^s \(s3\) at \/s: EACCES/)
    assert.match(authorization, /^AWS4-HMAC-SHA256 Credential=WHOEVER\//)
  })

  it('writes for people where a terminal is', async () => {
    // It can't start, having said why one option has no effect.
    const args = ['--shared-dir=/', '--fd=1000', '--tag=fs']
    const terminal = 'import pty, sys; pty.spawn(sys.argv[1:])'
    const { stdout } = await promisify(execFile)('python3', ['-c', terminal, process.execPath, BIN, ...args])
    assert.match(stdout, /INFO.*: .*--tag has no effect: the hypervisor gives the device its tag/)
  })
})
