/** `metrics_address` as the daemon's own process has it, and the guide's words for it. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { once } from 'node:events'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, it } from 'node:test'
import { MAIN, Program, runOvfsd } from '../../lib/cli/process.js'
import { Exposition } from '../../support/exposition.js'

const guide = readFileSync(new URL('../../../../docs/guides/monitoring.md', import.meta.url), 'utf8')
const directory = mkdtempSync(join(tmpdir(), 'ovfsd-metrics-'))
after(() => {
  rmSync(directory, { recursive: true })
})

/** The guide's configuration, with this address and sockets of our own. */
function configuration(name: string, address: string): { file: string; socket: string } {
  const [, toml = ''] = /^```toml\n([^]*?)^```$/m.exec(guide) ?? []
  const [file, socket] = [join(directory, `${name}.toml`), join(directory, `${name}.sock`)]
  const text = toml.replace('/run/ovfsd/ovfsd.sock', socket).replace('127.0.0.1:9464', address)
  assert.ok(text.includes(socket) && text.includes(address))
  writeFileSync(file, text)
  return { file, socket }
}

describe('metrics_address', () => {
  it("is a socket that the guide's curl asks, and is gone after the daemon", async () => {
    const socket = join(directory, 'metrics.sock')
    const { file } = configuration('unix', `unix:${socket}`)
    const program = new Program(MAIN, [`--config-file=${file}`])
    await program.says('Waiting for vhost-user socket connection')
    assert.equal(statSync(socket).mode & 0o777, 0o600)
    const [, command = ''] = /^(curl --silent --unix-socket .*)$/m.exec(guide) ?? []
    const ask = (more: string): string =>
      execFileSync('bash', ['-c', command.replace('/run/ovfsd/metrics.sock', socket) + more], {
        encoding: 'utf8',
      })
    const exposition = new Exposition(ask(''))
    assert.equal(exposition.all('ovfsd_mount_info')[0]?.labels['mount'], 'scratch')
    assert.match(ask(' -w "%{content_type}" -o /dev/null'), /^text\/plain; version=0\.0\.4/)
    // A stop that waits for a store can be watched: the endpoint goes last.
    program.kill('SIGTERM')
    const outcome = await program.outcome()
    assert.equal(outcome.code, 0, outcome.stderr)
    assert.ok(!existsSync(socket))
  })

  it('is a port that the log tells, where anything else than the metrics is explained', async () => {
    const { file } = configuration('tcp', '127.0.0.1:0')
    const program = new Program(MAIN, [`--config-file=${file}`])
    await program.says('Waiting for vhost-user socket connection')
    program.kill('SIGHUP')
    await program.says('configuration reloaded')
    const line = program.stderr.split('\n').find((text) => text.includes('metrics are served')) ?? ''
    const { address } = JSON.parse(line) as { address: string }
    const answer = await fetch(`http://${address}/`)
    assert.match(await answer.text(), /\/metrics/)
    assert.equal((await fetch(`http://${address}/other`)).status, 404)
    assert.equal((await fetch(`http://${address}/metrics`, { method: 'POST' })).status, 405)
    assert.ok(new Exposition(await (await fetch(`http://${address}/metrics`)).text()).samples.length > 0)
    program.kill('SIGTERM')
    assert.equal((await program.outcome()).code, 0)
  })

  it('keeps the daemon from starting where it is taken, and leaves no socket behind', async () => {
    const other = createServer().listen(0, '127.0.0.1')
    await once(other, 'listening')
    const { port } = other.address() as { port: number }
    const { file, socket } = configuration('taken', `127.0.0.1:${port}`)
    const { code, stderr } = await runOvfsd(`--config-file=${file}`)
    other.close()
    assert.equal(code, 1)
    const said = `ovfsd: can't start: metrics_address: can't listen at 127.0.0.1:${port}: listen EADDRINUSE`
    assert.ok(stderr.includes(said), stderr)
    assert.ok(!existsSync(socket))
  })
})
