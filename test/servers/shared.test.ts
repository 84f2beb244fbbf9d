import assert from 'node:assert/strict'
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { it } from 'node:test'
import { SwiftClient } from './clients.js'
import { descendantsOf } from './descendants.js'
import { identityOf, isRunning } from './process-id.js'
import { freshContainer, sharedServers } from './shared.js'
import { waitUntil } from './wait.js'

const DEADLINE_MS = 60_000
const SHARED_URL = new URL('shared.js', import.meta.url).href

/** A program that asks for the shared Swift of the run that `owner` owns, and tells its address. */
function ask(owner: number): ChildProcess {
  const program = `const { sharedServers } = await import(${JSON.stringify(SHARED_URL)}); console.log((await sharedServers().swift()).storageUrl)`
  return spawn(process.execPath, ['--input-type=module', '-e', program], {
    stdio: ['ignore', 'pipe', 'inherit'],
    env: { ...process.env, OVFSD_TEST_RUN: String(owner) },
  })
}

async function answerOf(child: ChildProcess): Promise<string> {
  let text = ''
  child.stdout?.setEncoding('utf8').on('data', (chunk: string) => (text += chunk))
  await once(child, 'close')
  return text.trim()
}

it('gives one server to all programs of a run, and ends it with the run', async () => {
  const owner = spawn('sleep', ['1000'], { stdio: 'ignore' })
  const ownerId = owner.pid ?? 0
  const addresses = await Promise.all([1, 2, 3].map(() => answerOf(ask(ownerId))))
  assert.match(addresses[0] ?? '', /^http:/)
  assert.deepEqual(new Set(addresses).size, 1)
  const directory = readdirSync(tmpdir()).find((name) => name.startsWith(`ovfsd-server-shared-${ownerId}-`))
  assert.ok(directory !== undefined)
  const hosts = hostsOf(`${tmpdir()}/${directory}/socket`)
  assert.equal(hosts.length, 1, 'one host')
  const processes = hosts
    .flatMap((pid) => [identityOf(pid), ...descendantsOf(pid)])
    .filter((id) => id !== null)
  assert.ok(processes.length >= 6, 'Swift runs')
  owner.kill('SIGKILL')
  await once(owner, 'exit')
  await waitUntil('the end of the host and its servers', DEADLINE_MS, () => !processes.some(isRunning))
  assert.equal(existsSync(`${tmpdir()}/${directory}`), false)
})

it('gives every test a container of its own', async () => {
  const swift = await sharedServers().swift()
  const [one, other] = [await freshContainer(swift), await freshContainer(swift)]
  await new SwiftClient(one).put('a', 'b')
  assert.deepEqual(await new SwiftClient(one).names(), ['a'])
  assert.deepEqual(await new SwiftClient(other).names(), [])
})

/** Ids of the host processes that were given this socket. */
function hostsOf(socketPath: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((name) => commandLineOf(name).includes(socketPath))
    .map(Number)
}

function commandLineOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8')
  } catch {
    return ''
  }
}
