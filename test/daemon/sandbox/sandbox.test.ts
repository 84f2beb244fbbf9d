/** The sandbox and the filter of system calls, as the kernel shows them of a daemon that serves. */
import assert from 'node:assert/strict'
import { spawn, spawnSync } from 'node:child_process'
import {
  appendFileSync,
  closeSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { ROOT_NODEID } from '../../frontend/abi.js'
import { FuseClient } from '../../frontend/fuse-client.js'
import { MAIN, Program } from '../../lib/cli/process.js'
import { ESCAPE, HOST_DIRECTORY_FD, type Attempts } from '../../lib/sandbox/escape.js'

const LISTENING = 'Waiting for vhost-user socket connection'
/** CAP_CHOWN, DAC_OVERRIDE, FOWNER, FSETID, SETGID, SETUID, MKNOD and SETFCAP. */
const EIGHT = '00000000880000db'
const MODE_FILTER = '2'
/** How often what the kernel does in its own time is looked for. */
const POLL_MS = 5

const LAUNCHER = fileURLToPath(new URL('../../../../native/build/Release/ovfsd-launch', import.meta.url))

const skip = process.getuid?.() === 0 ? false : 'a sandbox needs root'

interface Folder {
  readonly root: string
  readonly shared: string
  readonly run: string
  readonly socket: string
}

function folder(test: TestContext): Folder {
  const root = mkdtempSync(join(tmpdir(), 'ovfsd-sandbox-'))
  test.after(() => {
    rmSync(root, { recursive: true, force: true })
  })
  const [shared, run] = [join(root, 'shared'), join(root, 'run')]
  mkdirSync(shared)
  mkdirSync(run)
  writeFileSync(join(root, 'secret'), 'of the host')
  return { root, shared, run, socket: join(run, 'socket') }
}

function statusOf(pid: number): Readonly<Record<string, string>> {
  const lines = readFileSync(`/proc/${pid}/status`, 'utf8').trim().split('\n')
  const entries = lines.map((line): [string, string] => {
    const [, name = '', value = ''] = /^(\w+):\s*(.*?)\s*$/.exec(line) ?? []
    return [name, value]
  })
  return Object.fromEntries(entries)
}

function start(test: TestContext, args: readonly string[], environment: NodeJS.ProcessEnv = {}): Program {
  const program = new Program(MAIN, args, environment)
  test.after(() => {
    program.kill('SIGKILL')
  })
  return program
}

/** As Kata and libvirt start it. */
async function startShared(
  test: TestContext,
  place: Folder,
  ...options: readonly string[]
): Promise<Program> {
  const program = start(test, [
    ...['--sandbox=namespace', '--seccomp=kill'],
    ...[`--shared-dir=${place.shared}`, `--socket-path=${place.socket}`, ...options],
  ])
  await program.says(LISTENING)
  return program
}

function namespaceOf(pid: number, kind: string): string {
  return readlinkSync(`/proc/${pid}/ns/${kind}`)
}

/** In a sandbox, with a directory of the host open that is no part of it. */
function escape(directory: string): Attempts {
  const fd = openSync(directory, 'r')
  try {
    const { stdout, stderr } = spawnSync(
      LAUNCHER,
      [process.execPath, '--', ESCAPE, '--sandbox=namespace', '--config-file=none'],
      { stdio: ['ignore', 'pipe', 'pipe', fd], encoding: 'utf8' },
    )
    assert.equal(HOST_DIRECTORY_FD, 3, 'the first of the descriptors beside the standard ones')
    assert.notEqual(stdout, '', stderr)
    return JSON.parse(stdout) as Attempts
  } finally {
    closeSync(fd)
  }
}

/** Waits until there is no such process, as a file system of the kernel can't tell when. */
async function gone(pid: number): Promise<void> {
  while (existsSync(`/proc/${pid}`) && statusOf(pid)['State']?.startsWith('Z') !== true) await delay(POLL_MS)
}

describe('a daemon in its sandbox', { skip }, () => {
  it('has eight capabilities, no way to more, no groups, and a filter over all threads', async (test) => {
    const program = await startShared(test, folder(test))
    const threads = readdirSync(`/proc/${program.daemonPid}/task`).map(Number)
    for (const thread of [...threads, program.pid]) {
      const status = statusOf(thread)
      for (const set of ['CapPrm', 'CapEff', 'CapBnd']) assert.equal(status[set], EIGHT, set)
      for (const set of ['CapInh', 'CapAmb']) assert.match(status[set] ?? '', /^0+$/, set)
      assert.equal(status['NoNewPrivs'], '1')
      assert.equal(status['Seccomp'], MODE_FILTER)
      assert.equal(status['Groups'], '')
    }
  })

  it('is in namespaces of its own', async (test) => {
    const daemon = (await startShared(test, folder(test))).daemonPid
    for (const kind of ['mnt', 'pid', 'net'])
      assert.notEqual(namespaceOf(daemon, kind), namespaceOf(process.pid, kind), kind)
  })

  it('sees what it serves by its path, and of the host else only what it runs on', async (test) => {
    const place = folder(test)
    writeFileSync(join(place.shared, 'file'), 'shown')
    const daemon = (await startShared(test, place)).daemonPid
    const inside = `/proc/${daemon}/root`
    const known = new Set('dev etc lib lib32 lib64 libx32 proc usr'.split(' '))
    const paths = [place.root, process.execPath, MAIN].map((path) => path.split('/')[1] ?? '')
    for (const name of readdirSync(inside)) assert.ok(known.has(name) || paths.includes(name), name)
    assert.equal(readFileSync(`${inside}${place.shared}/file`, 'utf8'), 'shown')
    assert.ok(!existsSync(`${inside}${place.root}/secret`))
    for (const path of ['/root', '/home', '/boot', '/sys', '/var', '/etc/shadow', '/dev/mem', '/usr/bin/env'])
      assert.ok(!existsSync(`${inside}${path}`), path)
    assert.deepEqual(
      readdirSync(`${inside}/proc`).filter((name) => /^\d+$/.test(name)),
      ['1', '2'],
    )
  })

  it('reaches nothing of the host by a directory outside that it has open', (test) => {
    const place = folder(test)
    const { hasLandlock, ...attempts } = escape(place.root)
    if (!hasLandlock) {
      test.skip('this kernel has no Landlock that lets files be moved (Linux 5.19)')
      return
    }
    const refused = 'EACCES'
    assert.deepEqual(attempts, {
      readOutside: refused,
      writeOutside: refused,
      renameOutside: refused,
      readInside: 'done',
      openCorePattern: 'EROFS',
    })
    assert.deepEqual(readdirSync(place.root).sort(), ['run', 'secret', 'shared'])
  })

  it("can't set what the kernel does for all of the host, though it is user 0", (test) => {
    assert.equal(escape(folder(test).root).openCorePattern, 'EROFS')
  })

  it('can write to what it serves, and to nothing else', async (test) => {
    const place = folder(test)
    const daemon = (await startShared(test, place)).daemonPid
    const mounts = readFileSync(`/proc/${daemon}/mountinfo`, 'utf8').trim().split('\n')
    const writable = mounts
      .map((line) => line.split(' '))
      .filter(([, , , , , options = '']) => options.split(',').includes('rw'))
      .map(([, , , , path = '']) => path)
      .filter((path) => !path.startsWith('/dev/'))
    assert.deepEqual(writable.sort(), [place.run, place.shared])
  })

  it("serves, also in the name of a guest's user, and ends with the front-end", async (test) => {
    const place = folder(test)
    const program = await startShared(test, place)
    const client = await FuseClient.mount({ socketPath: place.socket })
    const { nodeid } = await client.mkdir(ROOT_NODEID, 'made', 0o700)
    const { entry, fh } = await client.create(nodeid, 'file', 2)
    await client.write(entry.nodeid, fh, 0, Buffer.from('written'))
    await client.release(entry.nodeid, fh)
    assert.equal(readFileSync(join(place.shared, 'made/file'), 'utf8'), 'written')
    client.close()
    assert.deepEqual([(await program.outcome()).code, existsSync(place.socket)], [0, false])
  })

  it('tells the host the process id that the host knows', async (test) => {
    const place = folder(test)
    const program = await startShared(test, place)
    assert.equal(readFileSync(`${place.socket}.pid`, 'utf8'), `${program.pid}\n`)
    assert.match(program.stderr, new RegExp(`"pid":${program.pid},`))
    program.kill('SIGTERM')
    assert.equal((await program.outcome()).code, 0)
    assert.ok(!existsSync(`${place.socket}.pid`))
  })

  it('dies with the process that was started, however that ends', async (test) => {
    const program = await startShared(test, folder(test))
    const daemon = program.daemonPid
    program.kill('SIGKILL')
    assert.equal((await program.outcome()).signal, 'SIGKILL')
    await gone(daemon)
  })

  it('ends the process that was started as it ends itself', async (test) => {
    const killed = await startShared(test, folder(test))
    process.kill(killed.daemonPid, 'SIGKILL')
    assert.equal((await killed.outcome()).signal, 'SIGKILL')
    const absent = start(test, [
      '--sandbox=namespace',
      '--shared-dir=/nowhere/at/all',
      '--socket-path=/tmp/s',
    ])
    const { code, stderr } = await absent.outcome()
    assert.equal(code, 1)
    assert.match(stderr, /--shared-dir: \/nowhere\/at\/all does not exist/)
  })

  it('ends as it is told though the process that started it ignores the ends of children', async (test) => {
    const { shared, socket } = folder(test)
    const ignoring = ['sh', '-c', 'trap "" CHLD; exec "$@"', 'sh']
    const args = ['--sandbox=namespace', `--shared-dir=${shared}`, `--socket-path=${socket}`]
    const program = new Program(MAIN, args, {}, ignoring)
    test.after(() => {
      program.kill('SIGKILL')
    })
    await program.says(LISTENING)
    program.kill('SIGTERM')
    assert.equal((await program.outcome()).code, 0)
  })

  it('takes one request to stop for one, though all of a unit are told', async (test) => {
    const program = await startShared(test, folder(test))
    const daemon = program.daemonPid
    process.kill(daemon, 'SIGTERM')
    program.kill('SIGTERM')
    const { code, stderr } = await program.outcome()
    assert.equal(code, 0)
    assert.doesNotMatch(stderr, /second signal/)
  })

  it('may have other capabilities, and says which there are not', async (test) => {
    const daemon = (await startShared(test, folder(test), '--modcaps=+dac_read_search:-MKNOD')).daemonPid
    assert.equal(statusOf(daemon)['CapEff'], '00000000800000df')
    const { code, stderr } = await start(test, [
      ...['--sandbox=namespace', '--modcaps=+fly', '--shared-dir=/tmp', '--socket-path=/tmp/s'],
    ]).outcome()
    assert.equal(code, 2)
    assert.match(stderr, /there is no capability "fly"/)
  })

  it('has the network of the host in a chroot', async (test) => {
    const place = folder(test)
    const daemon = (await startShared(test, place, '--sandbox=chroot', '--seccomp=none')).daemonPid
    assert.equal(namespaceOf(daemon, 'net'), namespaceOf(process.pid, 'net'))
    assert.ok(!existsSync(`/proc/${daemon}/root${place.root}/secret`))
    assert.equal(statusOf(daemon)['Seccomp'], '0')
  })

  it('serves the root directory of the host where it is to', async (test) => {
    const place = folder(test)
    const program = start(test, ['--sandbox=namespace', '--shared-dir=/', `--socket-path=${place.socket}`])
    await program.says(LISTENING)
    const client = await FuseClient.mount({ socketPath: place.socket })
    let { nodeid } = await client.lookup(ROOT_NODEID, 'etc')
    nodeid = (await client.lookup(nodeid, 'hostname')).nodeid
    client.close()
    assert.equal((await program.outcome()).code, 0)
    assert.ok(nodeid > 0)
  })

  it('raises the limit of open files', async (test) => {
    const daemon = (await startShared(test, folder(test), '--rlimit-nofile=700')).daemonPid
    assert.match(readFileSync(`/proc/${daemon}/limits`, 'utf8'), /^Max open files\s+700\s/m)
  })
})

function configuration(place: Folder, ...profiles: readonly string[]): string {
  const file = join(place.root, 'etc/ovfsd.toml')
  mkdirSync(join(place.root, 'etc'), { recursive: true })
  const next = `${file}.next`
  writeFileSync(
    next,
    [
      '[ovfsd_settings]',
      `socket_path = "${place.socket}"`,
      `cache_dir = "${join(place.root, 'cache')}"`,
      `access_log = "${join(place.run, 'access')}"`,
      ...profiles,
      '',
    ].join('\n'),
    { mode: 0o600 },
  )
  renameSync(next, file)
  return file
}

function profile(name: string, root: string): string {
  return `[profiles.${name}]\ntype = "fs"\nmount_point = "${name}"\nroot = "${root}"`
}

describe('a configuration in the sandbox', { skip }, () => {
  it('reaches the roots, the cache directory and the access log', async (test) => {
    const place = folder(test)
    const config = configuration(place, profile('one', place.shared))
    const program = start(test, ['--sandbox=namespace', '--seccomp=kill', `--config-file=${config}`])
    await program.says(LISTENING)
    const client = await FuseClient.mount({ socketPath: place.socket })
    const { nodeid } = await client.lookup(ROOT_NODEID, 'one')
    const { entry, fh } = await client.create(nodeid, 'file', 2)
    await client.write(entry.nodeid, fh, 0, Buffer.from('stored'))
    await client.flush(entry.nodeid, fh)
    await client.release(entry.nodeid, fh)
    assert.equal(readFileSync(join(place.shared, 'file'), 'utf8'), 'stored')
    client.close()
    assert.ok(existsSync(join(place.root, 'cache/lock')))
    program.kill('SIGTERM')
    assert.equal((await program.outcome()).code, 0)
    assert.ok(statSync(join(place.run, 'access')).size > 0)
  })

  it('is loaded again through the launcher, and refused where it needs what was not there', async (test) => {
    const place = folder(test)
    mkdirSync(join(place.shared, 'below'))
    const config = configuration(place, profile('one', place.shared))
    const program = start(test, ['--sandbox=namespace', '--seccomp=kill', `--config-file=${config}`])
    await program.says(LISTENING)
    configuration(place, profile('one', place.shared), profile('two', join(place.shared, 'below')))
    program.kill('SIGHUP')
    await program.says('"added":["two"]')
    const elsewhere = join(place.root, 'elsewhere')
    mkdirSync(elsewhere)
    configuration(place, profile('one', place.shared), profile('three', elsewhere))
    program.kill('SIGHUP')
    await program.says(`the sandbox has been made without ${elsewhere}: that needs a restart`)
    configuration(
      place,
      '[profiles.s]',
      'type = "http"',
      'mount_point = "s"',
      'endpoint = "http://127.0.0.1:9"',
    )
    program.kill('SIGHUP')
    await program.says('the sandbox has been made without a network: that needs a restart')
    program.kill('SIGTERM')
    assert.equal((await program.outcome()).code, 0)
  })

  it('may be a link, and name secrets that are links', async (test) => {
    const place = folder(test)
    for (const name of ['real', 'secrets', 'data']) mkdirSync(join(place.root, name))
    writeFileSync(join(place.root, 'data/key'), 'the key')
    symlinkSync('../data/key', join(place.root, 'secrets/key'))
    const lines = [
      ...[
        '[profiles.s]',
        'type = "s3"',
        'mount_point = "s"',
        'bucket = "b"',
        'endpoint = "http://127.0.0.1:9"',
      ],
      ...[
        'region = "r"',
        'access_key_id = "a"',
        `secret_access_key_file = "${join(place.root, 'secrets/key')}"`,
      ],
    ]
    renameSync(configuration(place, ...lines), join(place.root, 'real/ovfsd.toml'))
    const config = join(place.root, 'etc/ovfsd.toml')
    symlinkSync('../real/ovfsd.toml', config)
    const program = start(test, ['--sandbox=namespace', '--seccomp=kill', `--config-file=${config}`])
    await program.says(LISTENING)
    assert.doesNotMatch(program.stderr, /can't be read/)
    appendFileSync(join(place.root, 'real/ovfsd.toml'), '# changed\n')
    const daemon = program.daemonPid
    // Where servers may have to be reached, the network is the host's.
    assert.equal(namespaceOf(daemon, 'net'), namespaceOf(process.pid, 'net'))
    program.kill('SIGTERM')
    assert.equal((await program.outcome()).code, 0)
  })

  const server = ['[profiles.s]', 'type = "http"', 'mount_point = "s"', 'endpoint = "http://127.0.0.1:9"']

  for (const [what, lines, network] of [
    ['no servers', [], 'own'],
    ['memory alone', ['[profiles.m]', 'type = "memory"', 'mount_point = "m"'], 'own'],
    ['a server', server, 'host'],
    ['a server that only TOML shows', ['[profiles.s]', '"type" = "http"', ...server.slice(2)], 'host'],
    ['a server in a comment', ['# type = "s3"'], 'own'],
    [
      'the word of a server in a text',
      ['[profiles.m]', 'type = "memory"', 'mount_point = "type = \'s3\'"'],
      'own',
    ],
  ] as const) {
    it(`has the network of the ${network === 'own' ? 'sandbox' : 'host'} with ${what}`, async (test) => {
      const place = folder(test)
      const config = configuration(place, profile('one', place.shared), ...lines)
      const program = start(test, ['--sandbox=namespace', `--config-file=${config}`])
      await program.says(LISTENING)
      const isHost = namespaceOf(program.daemonPid, 'net') === namespaceOf(process.pid, 'net')
      assert.equal(isHost ? 'host' : 'own', network)
      assert.equal(namespaceOf(program.daemonPid, 'net'), namespaceOf(program.pid, 'net'))
      const client = await FuseClient.mount({ socketPath: place.socket })
      await client.lookup(ROOT_NODEID, 'one')
      client.close()
      program.kill('SIGTERM')
      assert.equal((await program.outcome()).code, 0)
    })
  }

  it('gets no server by a reload without the network', async (test) => {
    const place = folder(test)
    const config = configuration(place, profile('one', place.shared))
    const program = start(test, ['--sandbox=namespace', '--seccomp=none', `--config-file=${config}`])
    await program.says(LISTENING)
    configuration(place, profile('one', place.shared), ...server)
    program.kill('SIGHUP')
    await program.says('the sandbox has been made without a network: that needs a restart')
  })

  it('has the network of the host where it comes through a pipe', async (test) => {
    const place = folder(test)
    const config = configuration(place, profile('one', place.shared))
    const pipe = join(place.root, 'pipe')
    spawnSync('mkfifo', [pipe])
    const program = start(test, ['--sandbox=namespace', `--config-file=${pipe}`])
    // Opening it waits for the reader.
    const writer = spawn('cp', [config, pipe], { stdio: 'ignore' })
    test.after(() => writer.kill('SIGKILL'))
    await program.says(LISTENING)
    assert.equal(namespaceOf(program.daemonPid, 'net'), namespaceOf(process.pid, 'net'))
  })

  it('gives a directory that is not there yet no place, and says so', async (test) => {
    const place = folder(test)
    const later = join(place.root, 'later')
    const config = configuration(place, profile('one', place.shared), profile('later', later))
    const program = start(test, ['--sandbox=namespace', `--config-file=${config}`])
    await program.says(LISTENING)
    assert.match(program.stderr, /"path":"[^"]*later","msg":"not there, so not in the sandbox/)
    program.kill('SIGTERM')
    assert.equal((await program.outcome()).code, 0)
  })
})
