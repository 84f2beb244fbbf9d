/** `ovfsd status` and its like, the control socket below them, and the access log: against a daemon that a guest uses. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { once } from 'node:events'
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { request, type IncomingMessage } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import type { Rates } from '../../../src/cli/rates.js'
import type { Profile } from '../../../src/cli/profile.js'
import type { MountView, StatsView, StatusView } from '../../../src/control/views.js'
import { parseEntry, type AccessEntry } from '../../../src/observability/access-line.js'
import { MAIN, Program, runOvfsd, type Outcome } from '../../lib/cli/process.js'
import { O_CREAT, O_RDWR } from '../../frontend/abi.js'
import { Daemon } from '../../frontend/daemon.js'
import type { FuseClient } from '../../frontend/fuse-client.js'
import { GuestFs } from '../../frontend/guest-fs.js'
import { eventually } from '../../support/served.js'

const NOBODY = 65_534
const EXIT_USAGE = 2
/** A name of the longest kind: traces of it fill a buffer soon. */
const LONG_NAME = 'n'.repeat(255)

describe('operators of a daemon', () => {
  const directory = mkdtempSync(join(tmpdir(), 'ovfsd-operators-'))
  const store = join(directory, 'store')
  const host = join(directory, 'host')
  const controlSocket = join(directory, 'control.sock')
  const accessLog = join(directory, 'access.log')
  const configFile = join(directory, 'ovfsd.toml')
  let daemon: Daemon
  let client: FuseClient
  let files: GuestFs

  function configure(socketPath: string, settings = ''): void {
    const text = `[ovfsd_settings]
socket_path = ${JSON.stringify(socketPath)}
control_socket = ${JSON.stringify(controlSocket)}
cache_expiration_time = "1h"
enabled_cache_write_back = true
dirty_expire = "1h"
${settings}
[profiles.files]
type = "fs"
mount_point = "files"
root = ${JSON.stringify(store)}
[profiles.host]
type = "passthrough"
mount_point = "host"
root = ${JSON.stringify(host)}
[profiles.later]
type = "fs"
mount_point = "later"
root = "/dev/null/nothing"
read_only = true
`
    // In one step, as editors do.
    writeFileSync(`${configFile}.new`, text, { mode: 0o600 })
    renameSync(`${configFile}.new`, configFile)
  }

  before(async () => {
    mkdirSync(store)
    mkdirSync(host)
    chmodSync(directory, 0o755)
    daemon = new Daemon((socketPath) => {
      configure(socketPath)
      return [process.execPath, MAIN, `--config-file=${configFile}`]
    })
    client = await daemon.mount()
    files = new GuestFs(client, { base: 'files', forget: false })
    await eventually('the control socket is there', () => existsSync(controlSocket))
  })
  after(async () => {
    client.close()
    await daemon.stop()
    rmSync(directory, { recursive: true })
  })

  const ask = (...args: readonly string[]): Promise<Outcome> =>
    runOvfsd(...args, `--control-socket=${controlSocket}`)

  async function json<T>(...args: readonly string[]): Promise<T> {
    const { code, stdout, stderr } = await ask(...args, '--json')
    assert.deepEqual([code, stderr], [0, ''])
    return JSON.parse(stdout) as T
  }

  /** The answer's beginning; `stop` ends it. */
  async function open(method: string, path: string): Promise<IncomingMessage> {
    const asked = request({ socketPath: controlSocket, method, path, agent: false })
    asked.end()
    const [response] = (await once(asked, 'response')) as [IncomingMessage]
    return response
  }

  async function statusOf(method: string, path: string): Promise<[number, string]> {
    const response = await open(method, path)
    let text = ''
    for await (const chunk of response.setEncoding('utf8') as AsyncIterable<string>) text += chunk
    return [response.statusCode ?? 0, (JSON.parse(text) as { error: string }).error]
  }

  it('see what it is, by its socket or by its configuration', async () => {
    const [status, text] = await Promise.all([
      json<StatusView>('status'),
      runOvfsd('status', '--config-file', configFile),
    ])
    assert.equal(status.pid, daemon.process.pid)
    assert.equal(status.configFile, configFile)
    assert.equal(status.socketPath, daemon.socketPath)
    assert.deepEqual(status.frontEnd, { connected: true, mounted: true, sessionsEnded: 0 })
    assert.ok(status.memory.residentBytes > 1 << 20)
    assert.equal(text.code, 0)
    assert.match(text.stdout, new RegExp(`^pid +${status.pid}$`, 'm'))
    assert.match(text.stdout, /^front-end +connected, the guest has mounted$/m)
  })

  it('see its mounts, and why one can not be used', async () => {
    await files.writeFile('seen', 'x')
    const [mounts, text] = await Promise.all([json<readonly MountView[]>('mounts'), ask('mounts')])
    assert.deepEqual(
      mounts.map(({ name, type, mountPoint, readOnly, state }) => [name, type, mountPoint, readOnly, state]),
      [
        ['files', 'fs', '/files', false, 'ready'],
        ['host', 'passthrough', '/host', false, 'ready'],
        ['later', 'fs', '/later', true, 'unavailable'],
      ],
    )
    assert.ok((mounts[0]?.requests ?? 0) > 0 && mounts[0]?.dirtyFiles === 1, text.stdout)
    assert.match(mounts[2]?.error ?? '', /not a directory/i)
    assert.match(text.stdout, /^later +fs +\/later +read-only +not available yet/m)
  })

  it('have unsaved data stored', async () => {
    await files.writeFile('unsaved', 'data')
    assert.equal(existsSync(join(store, 'unsaved')), false)
    const { files: count, failed } = await json<{ files: number; failed: number }>('flush', '--mount=files')
    assert.ok(count > 0 && failed === 0)
    assert.equal(readFileSync(join(store, 'unsaved'), 'utf8'), 'data')
    assert.equal((await ask('flush')).stdout, '0 of 0 files with unsaved data were stored\n')
    const { code, stderr } = await ask('flush', '--mount=nobody')
    assert.deepEqual([code, stderr], [1, 'ovfsd: there is no mount "nobody"\n'])
  })

  it('have changes from outside seen at once', async () => {
    writeFileSync(join(store, 'outside'), 'one')
    assert.equal((await files.stat('outside')).size, 3)
    assert.equal(await files.exists('made-outside'), false)
    writeFileSync(join(store, 'outside'), 'three')
    writeFileSync(join(store, 'made-outside'), '')
    assert.equal((await files.stat('outside')).size, 3)
    assert.equal(await files.exists('made-outside'), false)
    assert.match((await ask('invalidate', '/files')).stdout, /^\/files: \d+ names and .* forgotten\n$/)
    assert.equal((await files.stat('outside')).size, 5)
    assert.equal(await files.exists('made-outside'), true)
    assert.deepEqual((await json<{ passthrough: string[] }>('invalidate', '/host/x')).passthrough, ['host'])
    const { code, stderr } = await ask('invalidate', '/files/../etc')
    assert.deepEqual([code, stderr], [1, 'ovfsd: write "/files/../etc" without "." and ".."\n'])
  })

  it('change what is logged', async () => {
    assert.deepEqual(await json('log-level', 'debug'), { before: 'info', level: 'debug' })
    assert.equal((await json<StatusView>('status')).logLevel, 'debug')
    assert.equal((await ask('log-level', 'info')).stdout, 'the log level was debug and is info\n')
    assert.equal((await ask('log-level', 'loud')).code, EXIT_USAGE)
  })

  it('see rates', async () => {
    const busy = { goesOn: true }
    const work = (async () => {
      while (busy.goesOn) await files.readFile('outside')
    })()
    const [rates, text, top, topJson] = await Promise.all([
      json<Rates>('stats', '--count=1', '--interval=0.3'),
      ask('stats', '--count=2', '--interval=0.3'),
      ask('top', '--count=1', '--interval=0.3'),
      json<Rates>('top', '--count=1', '--interval=0.3'),
    ])
    busy.goesOn = false
    await work
    assert.ok(rates.requests.perSecond > 0 && rates.requests.readBytesPerSecond > 0, JSON.stringify(rates))
    assert.ok(topJson.operations.some(({ mount, operation }) => mount === 'files' && operation === 'read'))
    const lines = text.stdout.trimEnd().split('\n')
    assert.equal(lines.length, 4, text.stdout)
    assert.equal(new Set(lines.map((line) => line.length)).size, 1, text.stdout)
    assert.match(top.stdout, /^files +ready /m)
    assert.match(top.stdout, /^files +read +[\d.]+ /m)

    assert.doesNotMatch(top.stdout, /\u001b/)
  })

  it('see them redrawn in a terminal, which is as before afterwards', () => {
    const command = `${process.execPath} ${MAIN} top --count=2 --interval=0.1 --control-socket=${controlSocket}`
    const { stdout } = spawnSync('script', ['-qec', command, '/dev/null'], { encoding: 'utf8' })
    assert.equal(stdout.split('\u001b[H\u001b[J').length, 3, JSON.stringify(stdout))
    assert.ok(stdout.includes('\u001b[?1049h') && stdout.trimEnd().endsWith('\u001b[?1049l'))
  })

  it('load neither the addon nor a library of stores for it, and end by Ctrl-C', async () => {
    const top = new Program(MAIN, ['top', '--interval=0.1', `--control-socket=${controlSocket}`])
    await top.prints('OPERATION')
    assert.doesNotMatch(readFileSync(`/proc/${top.pid}/maps`, 'utf8'), /opendal|ovfsd_native/)
    top.kill('SIGINT')
    const { code, stderr } = await top.outcome()
    assert.deepEqual([code, stderr], [0, ''])
  })

  it('trace what is done below a path, each for himself', async () => {
    await files.mkdir('traced')
    const args = [`--control-socket=${controlSocket}`]
    const all = new Program(MAIN, ['trace', '/files/traced', ...args])
    const logs = new Program(MAIN, ['trace', '/**/*.log', '--json', ...args])
    await eventually('both see', async () => {
      await files.exists('traced/a "b"\n.log')
      await files.exists('other')
      return [all, logs].every(({ stdout }) => stdout.includes('.log'))
    })
    for (const program of [all, logs]) program.kill('SIGINT')
    const [allSaid, logsSaid] = [await all.outcome(), await logs.outcome()]
    assert.deepEqual([allSaid.code, allSaid.stderr, logsSaid.code], [0, '', 0])
    const entries = allSaid.stdout
      .trimEnd()
      .split('\n')
      .map((line) => parseEntry(line))
    const traced = ['/files/traced', '/files/traced/a "b"\n.log']
    assert.ok(
      entries.length > 0 && entries.every((entry) => traced.includes(entry?.path ?? '')),
      allSaid.stdout,
    )
    const records = logsSaid.stdout
      .trimEnd()
      .split('\n')
      .map((line) => JSON.parse(line) as AccessEntry)
    assert.ok(
      records.every(({ path }) => path === traced[1]),
      logsSaid.stdout,
    )
  })

  it('profile what is being done', async () => {
    const busy = { goesOn: true }
    const work = (async () => {
      while (busy.goesOn) await files.readFile('outside')
    })()
    const { groups } = await json<Profile>('profile', '--live', '--seconds=0.5', '--by=path')
    busy.goesOn = false
    await work
    assert.ok(
      groups.some(({ key, bytes }) => key === '/files/outside' && bytes > 0),
      JSON.stringify(groups),
    )
  })

  it('do not make the daemon grow by not reading, and are told what they have missed', async () => {
    const response = await open('GET', '/trace?path=/files')
    response.pause()
    const deep = [LONG_NAME, LONG_NAME, LONG_NAME, LONG_NAME].join('/')
    await files.mkdir(LONG_NAME)
    for (const depth of [2, 3, 4]) await files.mkdir(deep.split('/').slice(0, depth).join('/'))
    const nodeid = (await files.stat(deep)).ino
    assert.notEqual(nodeid, 0)
    const { fh, entry } = await client.create(
      await nodeidOf(client, `files/${deep}`),
      LONG_NAME,
      O_RDWR | O_CREAT,
    )
    // A line is some 1.5 KiB: more than sockets and the daemon's buffer hold.
    for (let round = 0; round < 6000; round++) await client.read(entry.nodeid, fh, 0, 1)
    response.resume()
    let text = ''
    for await (const chunk of response.setEncoding('utf8') as AsyncIterable<string>) {
      text += chunk
      if (text.includes('{"dropped":')) break
    }
    response.destroy()
    // What the daemon keeps, and what sockets do.
    assert.ok(text.length < 4 << 20, `${text.length} bytes were kept`)
    await client.release(entry.nodeid, fh)
  })

  it('are told what is wrong with a request', async () => {
    assert.deepEqual(await statusOf('POST', '/status'), [405, '/status takes GET'])
    assert.equal((await statusOf('GET', '/nothing'))[0], 404)
    assert.deepEqual(await statusOf('GET', '/trace'), [400, '?path=... is missing'])
    assert.deepEqual(await statusOf('POST', '/flush?mout=x'), [400, 'there is no parameter "mout"'])
    assert.deepEqual(await statusOf('POST', '/invalidate?path=a&path=b'), [400, 'path is given twice'])
    assert.equal((await statusOf('POST', '/log-level?level=loud'))[0], 400)
    assert.equal((await statusOf('POST', '/flush?mount=%ff%00'))[0], 404)
  })

  it('are its own user and root', (test) => {
    assert.equal(statSync(controlSocket).mode & 0o777, 0o600)
    if (process.getuid?.() !== 0) {
      test.skip('only root can be somebody else')
      return
    }
    const script = `require('node:net').connect(${JSON.stringify(controlSocket)})
      .once('error', ({ code }) => console.log(code)).once('connect', () => process.exit(1))`
    const { stdout } = spawnSync(process.execPath, ['-e', script], {
      uid: NOBODY,
      gid: NOBODY,
      encoding: 'utf8',
    })
    assert.equal(stdout, 'EACCES\n')
  })

  it('get what the guest does in an access log, while the daemon runs', async () => {
    const lines = (file: string): string[] =>
      existsSync(file) ? readFileSync(file, 'utf8').split('\n').slice(0, -1) : []
    const linkOf = (fd: string): string | null => {
      try {
        return readlinkSync(`/proc/${daemon.process.pid ?? 0}/fd/${fd}`)
      } catch {
        // Closed meanwhile.
        return null
      }
    }
    const has = (file: string, path: string): boolean =>
      lines(file).some((line) => parseEntry(line)?.path === path)
    configure(daemon.socketPath, `access_log = ${JSON.stringify(accessLog)}`)
    await eventually('it is opened', () => existsSync(accessLog))
    await eventually('requests are logged', async () => {
      await files.exists('first')
      return has(accessLog, '/files/first')
    })
    assert.equal(statSync(accessLog).mode & 0o777, 0o600)
    assert.equal((await json<StatusView>('status')).accessLog, accessLog)
    assert.equal((await json<StatusView>('status')).lastReload?.outcome, 'applied')

    renameSync(accessLog, `${accessLog}.1`)
    daemon.process.kill('SIGHUP')
    await eventually('a new file is begun', () => existsSync(accessLog))
    await eventually('requests are logged there', async () => {
      await files.exists('second')
      return has(accessLog, '/files/second')
    })
    assert.equal(has(`${accessLog}.1`, '/files/first'), true)

    configure(daemon.socketPath, '# no access log')
    await eventually('it is closed', async () => (await json<StatusView>('status')).accessLog === null)
    await eventually('nobody has it open', () =>
      readdirSync(`/proc/${daemon.process.pid ?? 0}/fd`).every((fd) => linkOf(fd) !== accessLog),
    )
    for (const file of [accessLog, `${accessLog}.1`])
      for (const line of lines(file)) assert.notEqual(parseEntry(line), null, line)
    const { code, stdout } = await runOvfsd('profile', `${accessLog}.1`)
    assert.equal(code, 0)
    assert.match(stdout, /^lookup +\d+ /m)
  })

  it('are told of a configuration that was refused', async () => {
    configure(daemon.socketPath, 'log_level = "loud"')
    await eventually('it is tried', async () => {
      const { lastReload } = await json<StatusView>('status')
      return lastReload?.outcome === 'refused' && lastReload.detail?.includes('log_level') === true
    })
    configure(daemon.socketPath)
  })

  it('ask cheaply, and get numbers that only grow', async () => {
    const [before, later] = [await read<StatsView>('/stats'), await read<StatsView>('/stats')]
    assert.ok(later.timeMs > before.timeMs && later.device.requests >= before.device.requests)
  })

  async function read<T>(path: string): Promise<T> {
    const response = await open('GET', path)
    let text = ''
    for await (const chunk of response.setEncoding('utf8') as AsyncIterable<string>) text += chunk
    return JSON.parse(text) as T
  }

  // The last: it ends the daemon.
  it('are told when it goes away, and that it is not there', async () => {
    const top = new Program(MAIN, ['top', '--interval=0.1', `--control-socket=${controlSocket}`])
    const traced = new Program(MAIN, ['trace', '/', `--control-socket=${controlSocket}`])
    await top.prints('OPERATION')
    await eventually('it traces', async () => {
      await files.exists('x')
      return traced.stdout !== ''
    })
    client.close()
    assert.equal(await daemon.stop(), 0)
    for (const program of [top, traced]) {
      const { code, stderr } = await program.outcome()
      assert.deepEqual([code, stderr], [1, 'ovfsd: the daemon has gone\n'])
    }
    const missing = await ask('status')
    assert.equal(missing.code, 1)
    assert.match(missing.stderr, /^ovfsd: .*control\.sock: there is no such socket;.*\n$/)
    assert.equal(existsSync(controlSocket), false)
  })
})

describe('a command for a daemon', () => {
  const directory = mkdtempSync(join(tmpdir(), 'ovfsd-operate-'))
  after(() => {
    rmSync(directory, { recursive: true })
  })

  it('says where the daemon could be', async () => {
    const file = join(directory, 'ovfsd.toml')
    writeFileSync(
      file,
      '[ovfsd_settings]\nsocket_path = "/s"\n[profiles.s3]\nsecret_access_key = "${NOT_SET}"\n',
    )
    const none = await runOvfsd('status', `--config-file=${file}`)
    assert.equal(none.code, 1)
    assert.match(none.stderr, /it has no control_socket; add control_socket = /)
    writeFileSync(file, '[ovfsd_settings]\ncontrol_socket = 7\n')
    const wrong = await runOvfsd('status', `--config-file=${file}`)
    assert.equal(wrong.code, EXIT_USAGE)
    assert.match(wrong.stderr, /:2: ovfsd_settings\.control_socket: expected the path of a socket/)
    const plain = join(directory, 'plain')
    writeFileSync(plain, '')
    const refused = await runOvfsd('mounts', `--control-socket=${plain}`)
    assert.equal(refused.code, 1)
    assert.match(refused.stderr, /^ovfsd: .*plain: nobody listens there; the daemon has ended\n$/)
  })

  it('is not started with a log or a socket that can not be opened', async () => {
    for (const [key, path, why] of [
      ['access_log', '/nowhere/access.log', 'ENOENT'],
      ['control_socket', '/nowhere/control.sock', 'ENOENT|EACCES'],
    ] as const) {
      const file = join(directory, `${key}.toml`)
      const socketPath = join(directory, `${key}.sock`)
      writeFileSync(
        file,
        `[ovfsd_settings]\nsocket_path = ${JSON.stringify(socketPath)}\n${key} = "${path}"\n[profiles.m]\ntype = "memory"\nmount_point = "m"\n`,
        { mode: 0o600 },
      )
      const { code, stderr } = await runOvfsd(`--config-file=${file}`)
      assert.equal(code, 1)
      assert.match(stderr, new RegExp(`^ovfsd: can't start: ${key} ${path}: .*(${why})`, 'm'))
    }
  })
})

async function nodeidOf(client: FuseClient, path: string): Promise<number> {
  let nodeid = 1
  for (const name of path.split('/')) nodeid = (await client.lookup(nodeid, name)).nodeid
  return nodeid
}
