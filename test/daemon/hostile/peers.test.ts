/** Who connects to the socket and is not to, as the kernel tells. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import net from 'node:net'
import { join } from 'node:path'
import { it, type TestContext } from 'node:test'
import { MAIN, Program, temporaryFile } from '../../lib/cli/process.js'
import { FuseClient } from '../../frontend/fuse-client.js'

const LISTENING = 'Waiting for vhost-user socket connection'
const REFUSED = 'a connection to the socket was refused'
/** As src/observability/repeated-lines.ts: so many, then one a second, and one that tells how many were held back. */
const BURST_LINES = 64
/** Nobody's. */
const OTHER_ID = 4_000_000_000

interface Guarded {
  readonly program: Program
  readonly socketPath: string
}

function start(test: TestContext, ...lines: readonly string[]): Guarded {
  const configuration = ['[profiles.m]', 'type = "memory"', 'mount_point = "m"', '']
  const file = temporaryFile(test, 'ovfsd.toml', '')
  const socketPath = join(file, '../socket')
  const text = ['[ovfsd_settings]', `socket_path = "${socketPath}"`, ...lines, ...configuration].join('\n')
  const config = temporaryFile(test, 'ovfsd.toml', text)
  const program = new Program(MAIN, [`--config-file=${config}`])
  test.after(() => {
    program.kill('SIGKILL')
  })
  return { program, socketPath }
}

const user = process.geteuid?.() ?? 0
const group = process.getegid?.() ?? 0

for (const line of [`socket_users = "${OTHER_ID}, ${user}"`, `socket_groups = "${group}"`]) {
  it(`who is named is served: ${line}`, async (test) => {
    const { program, socketPath } = start(test, line)
    await program.says(LISTENING)
    const client = await FuseClient.mount({ socketPath })
    assert.notEqual((await client.lookup(1, 'm')).nodeid, 0)
    client.close()
  })
}

for (const line of [`socket_users = "${OTHER_ID}"`, `socket_groups = "${OTHER_ID}"`]) {
  it(`who is not named is disconnected, and the log says who it was, at a bounded rate: ${line}`, async (test) => {
    const { program, socketPath } = start(test, line)
    await program.says(LISTENING)
    const attempts = 200
    const beganMs = performance.now()
    for (let attempt = 0; attempt < attempts; attempt++) {
      const socket = net.connect(socketPath)
      socket.on('error', () => undefined)
      await once(socket, 'close')
    }
    await program.says(REFUSED)
    assert.match(program.stderr, new RegExp(`"peer":"user ${user}, group ${group}, process ${process.pid}"`))
    program.kill('SIGTERM')
    const { code, stderr } = await program.outcome()
    assert.equal(code, 0)
    const elapsedSeconds = (performance.now() - beganMs) / 1000
    const written = stderr.split(REFUSED).length - 1
    assert.ok(written <= BURST_LINES + elapsedSeconds + 1, `${written} lines in ${elapsedSeconds} s`)
  })
}

it('a user that there is not is no reason to let everybody in', async (test) => {
  const { program } = start(test, 'socket_users = "no-such-user-here"')
  const { code, stderr } = await program.outcome()
  assert.equal(code, 1)
  assert.match(stderr, /socket_users: there is no user "no-such-user-here"/)
})

it('what is no name is refused with the configuration', async (test) => {
  const { code, stderr } = await start(test, 'socket_groups = "kvm,,qemu"').program.outcome()
  assert.equal(code, 2)
  assert.match(
    stderr,
    /socket_groups: expected names or ids separated by commas, such as "qemu,1000", found the string "kvm,,qemu"/,
  )
})
