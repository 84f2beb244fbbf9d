/** The sandbox of a daemon that an unprivileged user has started, as the kernel shows it. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { MAIN, Program } from '../../lib/cli/process.js'
import { ROOT_NODEID } from '../../frontend/abi.js'
import { FuseClient } from '../../frontend/fuse-client.js'

const LISTENING = 'Waiting for vhost-user socket connection'

/** On every host there is a user of this name, which newuidmap asks for, and nothing runs as it. */
const USER = 'daemon'
const ID = 1
/** What the test's /etc/subuid and /etc/subgid give that user. */
const FIRST_SUB_ID = 200_000
const SUB_IDS = 65_536

/** Of who has no representation in a user namespace. */
const OVERFLOW_ID = 65_534

const EIGHT = '00000000880000db'

const AS_USER = ['setpriv', `--reuid=${ID}`, `--regid=${ID}`, '--clear-groups']

/** Why this host can't show it; false: it can. */
function lacking(): string | false {
  if (process.getuid?.() !== 0) return 'becoming an unprivileged user needs root'
  const [setpriv = '', ...options] = AS_USER
  const tried = spawnSync(setpriv, [...options, 'unshare', '--user', process.execPath, '-e', ''])
  if (tried.status !== 0) return 'here an unprivileged user makes no user namespace'
  const reads = spawnSync(setpriv, [...options, 'test', '-r', MAIN])
  return reads.status === 0 ? false : `others than root can't read ${MAIN}`
}

const skip = lacking()
const hasMapper = spawnSync('newuidmap').error === undefined

interface Folder {
  readonly root: string
  readonly shared: string
  readonly socket: string
}

/** All of it the user's. */
function folder(test: TestContext): Folder {
  const root = mkdtempSync(join(tmpdir(), 'ovfsd-unprivileged-'))
  test.after(() => {
    rmSync(root, { recursive: true, force: true })
  })
  chmodSync(root, 0o755)
  const [shared, run] = [join(root, 'shared'), join(root, 'run')]
  for (const directory of [shared, run]) {
    mkdirSync(directory)
    chownSync(directory, ID, ID)
  }
  writeFileSync(join(shared, "root's"), '')
  writeFileSync(join(root, 'ids'), `${USER}:${FIRST_SUB_ID}:${SUB_IDS}\n`)
  return { root, shared, socket: join(run, 'socket') }
}

function start(test: TestContext, { root, shared, socket }: Folder, ...options: readonly string[]): Program {
  // In a mount namespace of its own the user has ids to map, whatever the host's files say.
  const mount = `mount --bind "$0" /etc/subuid && mount --bind "$0" /etc/subgid && exec "$@"`
  const prefix = hasMapper
    ? ['unshare', '--mount', 'sh', '-c', mount, join(root, 'ids'), ...AS_USER]
    : AS_USER
  const args = [`--shared-dir=${shared}`, `--socket-path=${socket}`, ...options]
  const program = new Program(MAIN, args, {}, prefix)
  test.after(() => {
    program.kill('SIGKILL')
  })
  return program
}

function field(pid: number, name: string): string {
  const [, value = ''] =
    new RegExp(`^${name}:[ \\t]*(.*?)[ \\t]*$`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8')) ?? []
  return value
}

function mapOf(pid: number, kind: 'uid' | 'gid'): string {
  return readFileSync(`/proc/${pid}/${kind}_map`, 'utf8').trim().replaceAll(/ +/g, ' ')
}

/** Who owns on the host what the guest's root makes. */
async function ownerOfMade(
  { shared, socket }: Folder,
  madeByUser?: (client: FuseClient) => Promise<unknown>,
): Promise<readonly [number, number]> {
  const client = await FuseClient.mount({ socketPath: socket })
  const { entry, fh } = await client.create(ROOT_NODEID, 'made', 2)
  await client.write(entry.nodeid, fh, 0, Buffer.from('written'))
  await client.release(entry.nodeid, fh)
  await madeByUser?.(client)
  client.close()
  const { uid, gid } = statSync(join(shared, 'made'))
  assert.equal(readFileSync(join(shared, 'made'), 'utf8'), 'written')
  return [uid, gid]
}

describe('a daemon of an unprivileged user', { skip }, () => {
  it('is in a sandbox unless it is to be in none, in a user namespace with its own id alone', async (test) => {
    const place = folder(test)
    const program = start(test, place)
    await program.says(LISTENING)
    assert.match(program.stderr, /"sandbox":"namespace"/)
    const daemon = program.daemonPid
    for (const kind of ['user', 'mnt', 'pid', 'net'])
      assert.notEqual(readlinkSync(`/proc/${daemon}/ns/${kind}`), readlinkSync(`/proc/self/ns/${kind}`), kind)
    assert.equal(mapOf(daemon, 'uid'), `${ID} ${ID} 1`)
    assert.equal(mapOf(daemon, 'gid'), `${ID} ${ID} 1`)
    for (const process of [daemon, program.pid]) {
      for (const set of ['CapPrm', 'CapEff', 'CapBnd']) assert.equal(field(process, set), EIGHT, set)
      assert.equal(field(process, 'NoNewPrivs'), '1')
      assert.equal(field(process, 'Seccomp'), '2')
    }
    assert.deepEqual(await ownerOfMade(place), [ID, ID])
    assert.equal((await program.outcome()).code, 0)
  })

  it('reaches its servers by a configuration, and what it serves of the host', async (test) => {
    const { root, shared, socket } = folder(test)
    const config = join(root, 'ovfsd.toml')
    const profiles = [
      ...['[profiles.s]', 'type = "http"', 'mount_point = "s"', 'endpoint = "http://127.0.0.1:9"'],
      ...['[profiles.f]', 'type = "fs"', 'mount_point = "f"', `root = "${shared}"`],
    ]
    writeFileSync(config, ['[ovfsd_settings]', `socket_path = "${socket}"`, ...profiles, ''].join('\n'))
    const program = new Program(MAIN, ['--sandbox=namespace', `--config-file=${config}`], {}, AS_USER)
    test.after(() => {
      program.kill('SIGKILL')
    })
    await program.says(LISTENING)
    assert.equal(readlinkSync(`/proc/${program.daemonPid}/ns/net`), readlinkSync('/proc/self/ns/net'))
    const client = await FuseClient.mount({ socketPath: socket })
    const { nodeid } = await client.lookup(ROOT_NODEID, 'f')
    const { entry, fh } = await client.create(nodeid, 'made', 2)
    await client.write(entry.nodeid, fh, 0, Buffer.from('stored'))
    await client.flush(entry.nodeid, fh)
    assert.equal(readFileSync(join(shared, 'made'), 'utf8'), 'stored')
    client.close()
  })

  it('shows files of others as nobody', async (test) => {
    const place = folder(test)
    const program = start(test, place)
    await program.says(LISTENING)
    const client = await FuseClient.mount({ socketPath: place.socket })
    const { attr } = await client.lookup(ROOT_NODEID, "root's")
    assert.deepEqual([attr.uid, attr.gid], [OVERFLOW_ID, OVERFLOW_ID])
    client.close()
    await program.outcome()
  })

  it('is the root of a guest whose root is mapped to it', async (test) => {
    const place = folder(test)
    const program = start(test, place, `--uid-map=:0:${ID}:1:`, `--gid-map=,0,${ID},1,`)
    await program.says(LISTENING)
    assert.equal(mapOf(program.daemonPid, 'uid'), `0 ${ID} 1`)
    assert.deepEqual(await ownerOfMade(place), [ID, ID])
  })

  it('has the ids that it may have', { skip: !hasMapper && 'there is no newuidmap' }, async (test) => {
    const place = folder(test)
    chmodSync(place.shared, 0o777)
    chmodSync(join(place.socket, '..'), 0o777)
    const range = `:0:${FIRST_SUB_ID}:${SUB_IDS}:`
    const program = start(test, place, '--uid-map', range, '--gid-map', range)
    await program.says(LISTENING)
    const daemon = program.daemonPid
    assert.equal(mapOf(daemon, 'uid'), `0 ${FIRST_SUB_ID} ${SUB_IDS}`)
    assert.equal(mapOf(daemon, 'gid'), `0 ${FIRST_SUB_ID} ${SUB_IDS}`)
    assert.equal(field(daemon, 'Groups'), '')
    assert.equal(field(daemon, 'CapEff'), EIGHT)
    const owner = await ownerOfMade(place, (client) =>
      client.mkdir(ROOT_NODEID, 'of a user', 0o755, 0, { uid: 7, gid: 8 }),
    )
    assert.deepEqual(owner, [FIRST_SUB_ID, FIRST_SUB_ID])
    const { uid, gid } = statSync(join(place.shared, 'of a user'))
    assert.deepEqual([uid, gid], [FIRST_SUB_ID + 7, FIRST_SUB_ID + 8])
  })

  it('may have several ranges', { skip: !hasMapper && 'there is no newuidmap' }, async (test) => {
    const place = folder(test)
    const options = ['uid', 'gid'].flatMap((kind) => [
      `--${kind}-map=:0:${ID}:1:`,
      `--${kind}-map=:1:${FIRST_SUB_ID}:${SUB_IDS - 1}:`,
    ])
    const program = start(test, place, ...options)
    await program.says(LISTENING)
    assert.equal(mapOf(program.daemonPid, 'uid'), `0 ${ID} 1\n 1 ${FIRST_SUB_ID} ${SUB_IDS - 1}`)
    assert.deepEqual(await ownerOfMade(place), [ID, ID])
  })

  it(
    'does not start with the ids of others',
    { skip: !hasMapper && 'there is no newuidmap' },
    async (test) => {
      const program = start(test, folder(test), '--uid-map=:0:300000:10:')
      const { code, stderr } = await program.outcome()
      assert.equal(code, 1)
      assert.match(stderr, /the ids of --uid-map and --gid-map can't be mapped/)
    },
  )

  it('does not start as nobody', async (test) => {
    const program = start(test, folder(test), '--uid-map=:5:300000:10:')
    const { code, stderr } = await program.outcome()
    assert.equal(code, 2)
    assert.match(
      stderr,
      /--uid-map: the daemon is nobody inside: neither 0 there nor its own id \(1\) is mapped/,
    )
  })

  it('does not start in a chroot', async (test) => {
    const { code, stderr } = await start(test, folder(test), '--sandbox=chroot').outcome()
    assert.equal(code, 2)
    assert.match(stderr, /--sandbox=chroot needs root/)
  })

  it('does without a sandbox where the kernel makes none, and says so', async (test) => {
    const { shared, socket } = folder(test)
    // As container engines do: nobody mounts a /proc there that shows more.
    const hide = 'mount -t tmpfs none /proc/fs && exec "$@"'
    const prefix = ['unshare', '--mount', 'sh', '-c', hide, 'sh', ...AS_USER]
    const program = new Program(MAIN, [`--shared-dir=${shared}`, `--socket-path=${socket}`], {}, prefix)
    test.after(() => {
      program.kill('SIGKILL')
    })
    await program.says(LISTENING)
    assert.match(program.stderr, /not in a sandbox: that needs CAP_SYS_ADMIN or user namespaces/)
  })

  it('does without a sandbox where it is to', async (test) => {
    const program = start(test, folder(test), '--sandbox=none')
    await program.says(LISTENING)
    assert.equal(readlinkSync(`/proc/${program.pid}/ns/user`), readlinkSync('/proc/self/ns/user'))
  })
})

describe('a daemon of root', { skip }, () => {
  it('maps no ids', async (test) => {
    const { shared, socket } = folder(test)
    const args = [`--shared-dir=${shared}`, `--socket-path=${socket}`, '--uid-map=:0:5:1:']
    const { code, stderr } = await new Program(MAIN, args).outcome()
    assert.equal(code, 2)
    assert.match(stderr, /--uid-map and --gid-map are for a daemon that is not started by root/)
  })
})
