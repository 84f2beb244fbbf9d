/** The daemon in virtiofsd's place: started as Kata, libvirt and people start it. */
import assert from 'node:assert/strict'
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { once } from 'node:events'
import { describe, it, type TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'
import { O_RDWR, ROOT_NODEID } from '../../frontend/abi.js'
import { Daemon } from '../../frontend/daemon.js'
import { FuseClient } from '../../frontend/fuse-client.js'
import { inheriting } from '../../support/inherited-socket.js'
import { MAIN, Program, runOvfsd, temporaryFile } from '../../lib/cli/process.js'

/** The bundle, which starts no thread before the command line is read. */
const BIN = fileURLToPath(new URL('../../../../bin/ovfsd.cjs', import.meta.url))
const LISTENING = 'Waiting for vhost-user socket connection'
const PERMISSION_BITS = 0o777

function temporaryDirectory(test: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), 'ovfsd-drop-in-'))
  test.after(() => {
    rmSync(directory, { recursive: true, force: true })
  })
  return directory
}

function ovfsd(...args: readonly string[]): Program {
  return new Program(MAIN, args)
}

function inheritingDaemon(fd: number, loudness: 'quiet' | 'loud', ...args: readonly string[]): Daemon {
  return new Daemon((socketPath) => inheriting(socketPath, fd, loudness, [process.execPath, MAIN, ...args]))
}

/** A daemon that was started for one machine shows it the directory, and ends with it. */
async function assertServesOnce(daemon: Daemon, shared: string): Promise<void> {
  symlinkSync('nowhere', join(shared, 'link'))
  const client = await daemon.mount()
  const link = await client.lookup(ROOT_NODEID, 'link')
  assert.equal(await client.readlink(link.nodeid), 'nowhere')
  await client.mkdir(ROOT_NODEID, 'made', 0o700)
  assert.ok(statSync(join(shared, 'made')).isDirectory())
  const ended = once(daemon.process, 'exit')
  client.close()
  assert.deepEqual(await ended, [0, null])
}

describe('ovfsd in place of virtiofsd', () => {
  it("serves Kata's runtime in Go, without any standard stream", async (test) => {
    const shared = temporaryDirectory(test)
    const daemon = inheritingDaemon(
      3,
      'quiet',
      ...['--syslog', '--cache=auto', `--shared-dir=${shared}`, '--fd=3'],
      ...['--thread-pool-size=1', '--announce-submounts'],
    )
    test.after(() => daemon.stop('SIGKILL'))
    await assertServesOnce(daemon, shared)
    assert.ok(existsSync(daemon.socketPath), 'the socket is whose who made it')
  })

  it("serves Kata's runtime in Rust, which reads standard error", async (test) => {
    const shared = temporaryDirectory(test)
    const daemon = new Daemon((socketPath) => [
      ...[process.execPath, MAIN, '--socket-path', socketPath, '--shared-dir', shared],
      ...['--cache', 'auto', '--thread-pool-size=1', '-o', 'announce_submounts'],
    ])
    test.after(() => daemon.stop('SIGKILL'))
    const client = await daemon.mount()
    // It has said so before anybody could connect, or says it now.
    while (!daemon.stderr.includes(LISTENING)) await once(daemon.process.stderr ?? daemon.process, 'data')
    assert.equal(statSync(daemon.socketPath).mode & PERMISSION_BITS, 0o700)
    assert.equal(readFileSync(`${daemon.socketPath}.pid`, 'utf8'), `${daemon.process.pid ?? 0}\n`)
    const ended = once(daemon.process, 'exit')
    client.close()
    assert.deepEqual(await ended, [0, null])
    assert.ok(!existsSync(daemon.socketPath))
    assert.ok(!existsSync(`${daemon.socketPath}.pid`))
    assert.doesNotMatch(daemon.stderr, /has no effect/)
  })

  it('waits on the host in as many threads as --thread-pool-size says', async (test) => {
    const shared = temporaryDirectory(test)
    const threadsWith = async (size: number): Promise<number> => {
      const daemon = new Daemon((socketPath) => [
        ...[process.execPath, BIN, '--socket-path', socketPath, '--shared-dir', shared],
        ...['--sandbox=none', '--seccomp=none', `--thread-pool-size=${size}`],
      ])
      test.after(() => daemon.stop('SIGKILL'))
      const client = await daemon.mount()
      const { entry, fh } = await client.create(ROOT_NODEID, `file-${size}`, O_RDWR)
      await client.fsync(entry.nodeid, fh)
      const threads = readdirSync(`/proc/${daemon.process.pid ?? 0}/task`).length
      client.close()
      return threads
    }
    // Those of V8 come and go with its work: a few.
    const more = 32
    assert.ok((await threadsWith(more + 1)) - (await threadsWith(1)) > more / 2)
  })

  it('serves libvirt', async (test) => {
    const shared = temporaryDirectory(test)
    const list = `source=${shared},cache=always,sandbox=chroot,xattr,no_flock`
    const daemon = inheritingDaemon(25, 'loud', '--fd=25', '-o', list, '-d')
    test.after(() => daemon.stop('SIGKILL'))
    await assertServesOnce(daemon, shared)
    assert.match(daemon.stderr, /"socketFd":25/)
  })

  it('mounts a configuration beside the shared directory', async (test) => {
    const shared = temporaryDirectory(test)
    const config = temporaryFile(
      test,
      'ovfsd.toml',
      '[ovfsd_settings]\nenabled_services = "memory"\n[profiles.m]\ntype = "memory"\nmount_point = "m"\n',
    )
    const socketPath = join(shared, 's')
    const args = [`--config-file=${config}`, `--shared-dir=${shared}`, `--socket-path=${socketPath}`]
    const { stdout } = await runOvfsd('--check', ...args)
    assert.equal(stdout, `${config}: good; mounts shared-dir (passthrough) at /, m (memory) at /m\n`)
    const program = ovfsd(...args, '--readonly')
    await program.says(LISTENING)
    const client = await FuseClient.mount({ socketPath })
    test.after(() => {
      client.close()
    })
    writeFileSync(join(shared, 'file'), 'here')
    assert.notEqual(
      (await client.lookup(ROOT_NODEID, 'm')).nodeid,
      (await client.lookup(ROOT_NODEID, 'file')).nodeid,
    )
    await assert.rejects(client.mkdir(ROOT_NODEID, 'new'), { code: 'EROFS' })
    program.kill('SIGTERM')
    const { code, stderr } = await program.outcome()
    assert.equal(code, 0)
    assert.match(stderr, /"mount":"shared-dir",.*"mountPoint":"\/","readOnly":true/)
    assert.match(stderr, /"mount":"m",.*"mountPoint":"\/m","readOnly":true/)
  })

  it('lets a group connect', async (test) => {
    const shared = temporaryDirectory(test)
    const socketPath = join(shared, 's')
    // Another group is root's to give.
    const [group, gid] = process.getuid?.() === 0 ? ['daemon', idOfGroup('daemon')] : groupOfOurs()
    const program = ovfsd(`--shared-dir=${shared}`, `--socket-path=${socketPath}`, `--socket-group=${group}`)
    await program.says(LISTENING)
    const { mode, gid: found } = statSync(socketPath)
    program.kill('SIGTERM')
    assert.equal((await program.outcome()).code, 0)
    assert.equal(mode & PERMISSION_BITS, 0o770)
    assert.equal(found, gid)
  })

  it('sets the limit of open files', async (test) => {
    const shared = temporaryDirectory(test)
    const program = ovfsd(
      `--shared-dir=${shared}`,
      `--socket-path=${join(shared, 's')}`,
      '--rlimit-nofile=512',
    )
    await program.says(LISTENING)
    const limits = readFileSync(`/proc/${program.daemonPid}/limits`, 'utf8')
    program.kill('SIGTERM')
    assert.equal((await program.outcome()).code, 0)
    assert.match(limits, /^Max open files\s+512\s/m)
  })

  it('answers SIGHUP where there is no file to load', async (test) => {
    const shared = temporaryDirectory(test)
    const program = ovfsd(`--shared-dir=${shared}`, `--socket-path=${join(shared, 's')}`)
    await program.says(LISTENING)
    program.kill('SIGHUP')
    await program.says('SIGHUP changes nothing')
    program.kill('SIGTERM')
    assert.equal((await program.outcome()).code, 0)
  })

  it('says what it can, as libvirt reads it', async () => {
    const { code, stdout } = await runOvfsd('--print-capabilities')
    assert.equal(code, 0)
    assert.deepEqual(JSON.parse(stdout), { type: 'fs', features: ['separate-options'] })
  })

  it('replaces what lies in the place of its pid file, and follows no link there', async (test) => {
    const shared = temporaryDirectory(test)
    const socketPath = join(shared, 's')
    const victim = join(shared, 'victim')
    writeFileSync(victim, 'precious')
    symlinkSync(victim, `${socketPath}.pid`)
    const program = ovfsd(`--shared-dir=${shared}`, `--socket-path=${socketPath}`)
    await program.says(LISTENING)
    assert.equal(readFileSync(`${socketPath}.pid`, 'utf8'), `${program.pid}\n`)
    const second = await runOvfsd(`--shared-dir=${shared}`, `--socket-path=${socketPath}`)
    assert.equal(second.code, 1)
    assert.match(second.stderr, /can't start: another process listens on/)
    assert.equal(readFileSync(`${socketPath}.pid`, 'utf8'), `${program.pid}\n`)
    program.kill('SIGTERM')
    assert.equal((await program.outcome()).code, 0)
    assert.equal(readFileSync(victim, 'utf8'), 'precious')
  })

  const faults: readonly (readonly [string, readonly string[], number, RegExp])[] = [
    [
      'a directory that is not there',
      ['--shared-dir=/nowhere/at/all'],
      1,
      /: \/nowhere\/at\/all does not exist\n$/,
    ],
    ['a file in its place', ['--shared-dir=/etc/passwd'], 1, /\/etc\/passwd is not a directory\n$/],
    [
      'a group that there is not',
      ['--shared-dir=/', '--socket-group=no-such-group'],
      1,
      /there is no group "no-such-group"/,
    ],
    ['an unknown option', ['--shared-dir=/', '--cahce=auto'], 2, /did you mean "--cache"\?/],
  ]
  for (const [what, args, code, message] of faults) {
    it(`ends with ${code} for ${what}`, async (test) => {
      const outcome = await runOvfsd(`--socket-path=${join(temporaryDirectory(test), 's')}`, ...args)
      assert.equal(outcome.code, code)
      assert.match(outcome.stderr, message)
    })
  }

  it('ends with 1 for a descriptor that is no listening socket', async () => {
    const { code, stderr } = await runOvfsd('--shared-dir=/', '--fd=1000')
    assert.equal(code, 1)
    assert.match(stderr, /can't start: .*1000/)
  })
})

function idOfGroup(name: string): number {
  const line = readFileSync('/etc/group', 'utf8')
    .split('\n')
    .find((entry) => entry.startsWith(`${name}:`))
  return Number(line?.split(':')[2])
}

function groupOfOurs(): [string, number] {
  const gid = process.getgid?.() ?? 0
  return [String(gid), gid]
}
