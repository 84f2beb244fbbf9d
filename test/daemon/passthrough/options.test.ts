/** What the options of a pass-through mount do, each through FUSE. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import * as host from 'node:fs'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import {
  FOPEN_CACHE_DIR,
  FOPEN_DIRECT_IO,
  InitFlags,
  KERNEL_INIT_FLAGS,
  Opcode,
  O_RDONLY,
  O_RDWR,
  O_WRONLY,
} from '../../frontend/abi.js'
import { codeOf } from '../../frontend/fuse-client.js'
import { serve, type MountSpec, type Served } from '../../support/served.js'
import { hostCodeOf, NOT_ROOT, passthroughStore } from '../../lib/passthrough/support.js'

const { O_APPEND, O_NOATIME } = { ...host.constants }
const O_PATH = 0o10000000
const USER = { uid: 1000, gid: 1001 }
const GROUP = 777
const FUSE_EXT_GROUPS = 32
const FUSE_SETXATTR_ACL_KILL_SGID = 1 << 0
/** A kernel of today offers these, too. */
const TODAY =
  KERNEL_INIT_FLAGS |
  InitFlags.CREATE_SUPP_GROUP |
  InitFlags.DIRECT_IO_ALLOW_MMAP |
  InitFlags.ALLOW_IDMAP |
  InitFlags.OVER_IO_URING |
  InitFlags.REQUEST_TIMEOUT

async function serving(
  t: TestContext,
  options: Readonly<Record<string, string>> = {},
  mount: Partial<MountSpec> = {},
): Promise<Served> {
  const started = await serve({
    mounts: [{ store: passthroughStore({ options }), mountPoint: [], ...mount }],
  })
  t.after(() => started.close())
  await started.client.init({ flags: TODAY })
  return started
}

function modeOf(path: string): number {
  return host.statSync(path).mode & 0o7777
}

function words(...values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 4)
  for (const [index, value] of values.entries()) bytes.writeUInt32LE(value, index * 4)
  return bytes
}

/** posix_acl_xattr.h: what the owner, the group and others may do. */
function accessList(owner: number, group: number, others: number): Buffer {
  const entry = (tag: number, permissions: number): Buffer => words((permissions << 16) | tag, 0xffffffff)
  return Buffer.concat([words(2), entry(1, owner), entry(4, group), entry(0x20, others)])
}

/** struct fuse_secctx_header with one label, as Linux sends it. */
function labelExtension(name: string, value: string): Buffer {
  const label = Buffer.concat([words(value.length, 0), Buffer.from(`${name}\0${value}`)])
  const padded = Buffer.concat([label, Buffer.alloc(-label.length & 7)])
  return Buffer.concat([words(8 + padded.length, 1), padded])
}

describe('INIT', () => {
  it('takes what serves every mount, and nothing that the guest would wait on', async (t) => {
    const { client } = await serving(t)
    for (const flag of ['INIT_EXT', 'CREATE_SUPP_GROUP', 'DO_READDIRPLUS'] as const)
      assert.ok(client.has(flag), flag)
    for (const flag of [
      ...([
        'OVER_IO_URING',
        'REQUEST_TIMEOUT',
        'POSIX_ACL',
        'DONT_MASK',
        'SETXATTR_EXT',
        'SECURITY_CTX',
      ] as const),
      ...([
        'HANDLE_KILLPRIV_V2',
        'DIRECT_IO_ALLOW_MMAP',
        'POSIX_LOCKS',
        'FLOCK_LOCKS',
        'HAS_INODE_DAX',
      ] as const),
    ])
      assert.ok(!client.has(flag), flag)
  })

  it('answers a kernel that has no second word of flags', async (t) => {
    const { client } = await serving(t, { allow_mmap: 'true' })
    const short = await client.init({ flags: KERNEL_INIT_FLAGS & 0x3fffffffn, short: true })
    assert.equal(short.flags >> 30n, 0n)
    // One that says that it has it, and has not sent it.
    const cut = await client.init({ flags: KERNEL_INIT_FLAGS, short: true })
    assert.equal(cut.flags >> 32n, 0n)
  })

  const asked: readonly (readonly [string, string, keyof typeof InitFlags, boolean])[] = [
    ['allow_mmap', 'true', 'DIRECT_IO_ALLOW_MMAP', true],
    ['posix_acl', 'true', 'POSIX_ACL', true],
    ['posix_acl', 'true', 'DONT_MASK', true],
    ['posix_acl', 'true', 'SETXATTR_EXT', true],
    ['security_label', 'true', 'SECURITY_CTX', true],
    ['killpriv_v2', 'true', 'HANDLE_KILLPRIV_V2', true],
    ['killpriv_v2', 'true', 'SETXATTR_EXT', true],
    ['announce_submounts', 'true', 'SUBMOUNTS', true],
    ['readdirplus', 'false', 'DO_READDIRPLUS', false],
  ]
  for (const [option, value, flag, isSet] of asked) {
    it(`says ${flag} ${isSet ? 'with' : 'not with'} ${option} = ${value}`, async (t) => {
      const { client } = await serving(t, { [option]: value })
      assert.equal(client.has(flag), isSet)
    })
  }

  it('says no DO_READDIRPLUS where the guest keeps nothing', async (t) => {
    const { client } = await serving(t, {}, { guestCache: 'none' })
    assert.equal(client.has('DO_READDIRPLUS'), false)
  })
})

describe('guest_cache = "metadata"', () => {
  it('keeps names, attributes and listings, and no data', async (t) => {
    const { client, hostDirectory } = await serving(
      t,
      {},
      { guestCache: 'metadata', expirationMs: 86_400_000 },
    )
    host.writeFileSync(join(hostDirectory, 'file'), 'contents')
    const entry = await client.lookup(1, 'file')
    assert.equal(entry.entryValid, 86_400)
    assert.equal(entry.attrValid, 86_400)
    assert.equal((await client.open(entry.nodeid)).openFlags, FOPEN_DIRECT_IO)
    assert.notEqual((await client.opendir(1)).openFlags & FOPEN_CACHE_DIR, 0)
  })
})

describe('posix_acl', () => {
  it("counts a directory's default list in place of the umask", async (t) => {
    const { client, hostDirectory } = await serving(t, { posix_acl: 'true' })
    await client.mkdir(1, 'plain', 0o777)
    await client.mkdir(1, 'listed', 0o777)
    const listed = await client.lookup(1, 'listed')
    const list = accessList(7, 7, 5)
    await client.setxattr(listed.nodeid, 'system.posix_acl_default', list)
    assert.deepEqual(Buffer.from(await client.getxattr(listed.nodeid, 'system.posix_acl_default')), list)
    assert.deepEqual(await client.listxattr(listed.nodeid), ['system.posix_acl_default'])
    const plain = await client.lookup(1, 'plain')
    await client.create(plain.nodeid, 'file', O_RDWR, 0o666, 0o077)
    await client.create(listed.nodeid, 'file', O_RDWR, 0o666, 0o077)
    assert.equal(modeOf(join(hostDirectory, 'plain/file')), 0o600)
    assert.equal(modeOf(join(hostDirectory, 'listed/file')), 0o664)
  })

  it(
    "lets a list of a caller who is not in the file's group take its set-group-ID bit away",
    { skip: NOT_ROOT },
    async (t) => {
      const { client, hostDirectory } = await serving(t, { posix_acl: 'true' })
      const path = join(hostDirectory, 'file')
      host.writeFileSync(path, '')
      host.chownSync(path, USER.uid, GROUP)
      host.chmodSync(path, 0o2775)
      const { nodeid } = await client.lookup(1, 'file')
      const name = 'system.posix_acl_access'
      await client.setxattr(nodeid, name, accessList(7, 7, 5), 0)
      assert.equal(modeOf(path), 0o2775)
      await client.setxattr(nodeid, name, accessList(7, 7, 4), 0, {
        setxattrFlags: FUSE_SETXATTR_ACL_KILL_SGID,
      })
      assert.equal(modeOf(path), 0o774)
    },
  )

  it('is not there without it', async (t) => {
    const { client } = await serving(t, { xattr: 'true' })
    assert.equal(
      await codeOf(client.setxattr(1, 'system.posix_acl_default', accessList(7, 7, 5))),
      'EOPNOTSUPP',
    )
  })
})

describe('xattrmap', () => {
  it("keeps the guest's attributes behind a prefix", async (t) => {
    const { client, hostDirectory } = await serving(t, { xattrmap: ':map::user.virtiofs.:' })
    const path = join(hostDirectory, 'file')
    host.writeFileSync(path, '')
    const { nodeid } = await client.lookup(1, 'file')
    await client.setxattr(nodeid, 'trusted.overlay.opaque', Buffer.from('y'))
    assert.deepEqual(await client.listxattr(nodeid), ['trusted.overlay.opaque'])
    assert.equal(Buffer.from(await client.getxattr(nodeid, 'trusted.overlay.opaque')).toString(), 'y')
    const shown = await namesOnTheHost(path)
    assert.deepEqual(shown, ['user.virtiofs.trusted.overlay.opaque'])
    await client.removexattr(nodeid, 'trusted.overlay.opaque')
    assert.deepEqual(await client.listxattr(nodeid), [])
  })

  it('refuses what a rule refuses', async (t) => {
    const rules = ':bad:client:user.a.:: :unsupported:client:user.b.:: :ok:all:::'
    const { client, hostDirectory } = await serving(t, { xattrmap: rules })
    host.writeFileSync(join(hostDirectory, 'file'), '')
    const { nodeid } = await client.lookup(1, 'file')
    assert.equal(await codeOf(client.setxattr(nodeid, 'user.a.x', Buffer.from('1'))), 'EPERM')
    assert.equal(await codeOf(client.getxattr(nodeid, 'user.b.x')), 'EOPNOTSUPP')
    assert.equal(await codeOf(client.setxattr(nodeid, 'user.c', Buffer.from('1'))), 'OK')
  })
})

describe('security_label', () => {
  const label = (name: string): Buffer => labelExtension(name, 'system_u:object_r:tmp_t')

  it('is on what is made from the beginning on', async (t) => {
    const { client, hostDirectory } = await serving(t, { security_label: 'true' })
    const extension = label('user.selinux')
    await client.mkdir(1, 'directory', 0o755, 0, { extension })
    await client.create(1, 'file', O_RDWR, 0o644, 0, { extension })
    for (const name of ['directory', 'file']) {
      const { nodeid } = await client.lookup(1, name)
      const value = Buffer.from(await client.getxattr(nodeid, 'user.selinux')).toString()
      assert.equal(value, 'system_u:object_r:tmp_t', name)
    }
    assert.ok(host.existsSync(join(hostDirectory, 'file')))
  })

  it('leaves nothing where the host does not take it', async (t) => {
    const { client, hostDirectory } = await serving(t, { security_label: 'true' })
    // No file system has a namespace of that name, and a symbolic link no attributes of a user.
    const extension = label('nobody.label')
    assert.equal(await codeOf(client.mkdir(1, 'directory', 0o755, 0, { extension })), 'EOPNOTSUPP')
    assert.equal(await codeOf(client.create(1, 'file', O_RDWR, 0o644, 0, { extension })), 'EOPNOTSUPP')
    assert.equal(
      await codeOf(client.symlink(1, 'link', 'target', { extension: label('user.selinux') })),
      'EPERM',
    )
    assert.deepEqual(host.readdirSync(hostDirectory), [])
  })

  it('is no part of what is made without it', async (t) => {
    const { client } = await serving(t, { xattr: 'true' })
    await client.mkdir(1, 'directory', 0o755, 0, { extension: label('user.selinux') })
    const { nodeid } = await client.lookup(1, 'directory')
    assert.deepEqual(await client.listxattr(nodeid), [])
  })

  it('that has no end is EINVAL', async (t) => {
    const { client, hostDirectory } = await serving(t, { security_label: 'true' })
    for (const extension of [words(9, 1, 0, 0), words(4, 1), words(16, 1, 100, 0), words(1000, 32)])
      assert.equal(await codeOf(client.mkdir(1, 'directory', 0o755, 0, { extension })), 'EINVAL')
    assert.deepEqual(host.readdirSync(hostDirectory), [])
  })
})

describe('a file in a directory with a set-group-ID bit', { skip: NOT_ROOT }, () => {
  it('has the bit where the caller is in the group by a supplementary one', async (t) => {
    const { client, hostDirectory } = await serving(t)
    host.chownSync(hostDirectory, 0, GROUP)
    host.chmodSync(hostDirectory, 0o2777)
    const extension = words(16, FUSE_EXT_GROUPS, 1, GROUP)
    await client.create(1, 'member', O_RDWR, 0o2775, 0, { ...USER, extension })
    await client.create(1, 'stranger', O_RDWR, 0o2775, 0, USER)
    assert.equal(modeOf(join(hostDirectory, 'member')), 0o2775)
    assert.equal(modeOf(join(hostDirectory, 'stranger')), 0o775)
    for (const name of ['member', 'stranger'])
      assert.equal(host.statSync(join(hostDirectory, name)).gid, GROUP)
  })
})

describe('translate_uid and translate_gid', { skip: NOT_ROOT }, () => {
  const RULES = { translate_uid: 'map:1000:5000:10 forbid-guest:2000:1', translate_gid: 'map:1001:6001:1' }

  it('show and make owners by their rules', async (t) => {
    const { client, hostDirectory } = await serving(t, RULES)
    await client.create(1, 'file', O_RDWR, 0o644, 0, USER)
    const { uid, gid } = host.statSync(join(hostDirectory, 'file'))
    assert.deepEqual([uid, gid], [5000, 6001])
    const entry = await client.lookup(1, 'file')
    assert.deepEqual([entry.attr.uid, entry.attr.gid], [1000, 1001])
    const attr = await client.setattr(entry.nodeid, { uid: 1003, gid: 5 })
    assert.deepEqual([attr.uid, attr.gid], [1003, 5])
    assert.equal(host.statSync(join(hostDirectory, 'file')).uid, 5003)
    const { fh } = await client.opendir(1)
    const listed = await client.readdirplus(1, fh)
    assert.equal(listed.find(({ name }) => name === 'file')?.entry.attr.uid, 1003)
  })

  it('refuse an id that is forbidden', async (t) => {
    const { client, hostDirectory } = await serving(t, RULES)
    assert.equal(await codeOf(client.create(1, 'file', O_RDWR, 0o644, 0, { uid: 2000, gid: 0 })), 'EPERM')
    assert.equal(await codeOf(client.mkdir(1, 'directory', 0o755, 0, { uid: 2000, gid: 0 })), 'EPERM')
    assert.deepEqual(host.readdirSync(hostDirectory), [])
    await client.mkdir(1, 'directory', 0o755)
    const { nodeid } = await client.lookup(1, 'directory')
    assert.equal(await codeOf(client.setattr(nodeid, { uid: 2000 })), 'EPERM')
  })
})

describe('STATX', () => {
  it('tells the birth time, and all else as GETATTR does', async (t) => {
    const { client, hostDirectory } = await serving(
      t,
      NOT_ROOT === false ? { translate_uid: 'map:1000:5000:1' } : {},
    )
    const path = join(hostDirectory, 'file')
    host.writeFileSync(path, 'contents')
    if (NOT_ROOT === false) host.chownSync(path, 5000, 77)
    const { nodeid, attr } = await client.lookup(1, 'file')
    const { error, data } = await client.request(Opcode.STATX, nodeid, words(0, 0, 0, 0, 0, 0xfff), 288)
    assert.equal(error, 0)
    const statx = Buffer.from(data).subarray(32)
    const STATX_BASIC_STATS = 0x7ff
    assert.equal(statx.readUInt32LE(0) & STATX_BASIC_STATS, STATX_BASIC_STATS)
    assert.deepEqual([statx.readUInt32LE(20), statx.readUInt32LE(24)], [attr.uid, attr.gid])
    assert.equal(statx.readUInt16LE(28), attr.mode)
    assert.equal(statx.readBigUInt64LE(32), BigInt(attr.ino))
    assert.equal(statx.readBigUInt64LE(40), 8n)
    const { birthtimeNs } = host.statSync(path, { bigint: true })
    assert.equal(statx.readBigInt64LE(80) * 1_000_000_000n + BigInt(statx.readUInt32LE(88)), birthtimeNs)
  })
})

describe('killpriv_v2', { skip: NOT_ROOT }, () => {
  it('takes set-user-ID bits away with the size, where the guest asks for it', async (t) => {
    const { client, hostDirectory } = await serving(t, { killpriv_v2: 'true' })
    const path = join(hostDirectory, 'tool')
    host.writeFileSync(path, 'contents')
    host.chmodSync(path, 0o6777)
    const { nodeid } = await client.lookup(1, 'tool')
    await client.setattr(nodeid, { size: 3 })
    assert.equal(modeOf(path), 0o6777)
    await client.setattr(nodeid, { size: 2, killIds: true })
    assert.equal(modeOf(path), 0o777)
  })

  it('is not said where the guest has other mounts, which do not do so', async (t) => {
    const started = await serve({
      mounts: [
        { store: passthroughStore({ options: { killpriv_v2: 'true' } }), mountPoint: [] },
        { store: passthroughStore(), mountPoint: ['other'] },
      ],
    })
    t.after(() => started.close())
    assert.equal(started.client.has('HANDLE_KILLPRIV_V2'), false)
  })
})

describe('killpriv_v2 with guest_writeback', () => {
  it('is not said: the guest would go on with the mode that it knows', async (t) => {
    const started = await serve({
      mounts: [{ store: passthroughStore({ options: { killpriv_v2: 'true' } }), mountPoint: [] }],
      settings: { guestWriteback: true },
    })
    t.after(() => started.close())
    assert.equal(started.client.has('HANDLE_KILLPRIV_V2'), false)
    assert.equal(started.client.has('WRITEBACK_CACHE'), true)
  })
})

describe('preserve_noatime', { skip: NOT_ROOT }, () => {
  for (const value of ['true', 'false']) {
    it(`= ${value} ${value === 'true' ? 'leaves' : 'takes'} O_NOATIME`, async (t) => {
      const { client, hostDirectory } = await serving(t, { preserve_noatime: value })
      const path = join(hostDirectory, 'file')
      host.writeFileSync(path, 'contents')
      const { nodeid } = await client.lookup(1, 'file')
      await client.open(nodeid, O_RDONLY | O_NOATIME)
      const flags = host
        .readdirSync('/proc/self/fd')
        .filter((fd) => hostCodeOf(() => host.readlinkSync(`/proc/self/fd/${fd}`)) === 'OK')
        .filter((fd) => host.readlinkSync(`/proc/self/fd/${fd}`) === path)
        .map((fd) => /^flags:\s*(\d+)/m.exec(host.readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))?.[1] ?? '')
        .map((text) => parseInt(text, 8))
        .filter((opened) => (opened & O_PATH) === 0)
      assert.equal(flags.length, 1)
      assert.equal(((flags[0] ?? 0) & O_NOATIME) !== 0, value === 'true')
    })
  }
})

describe('a file that may only be appended to', { skip: NOT_ROOT }, () => {
  it('is appended to', async (t) => {
    const { client, hostDirectory } = await serving(t)
    const path = join(hostDirectory, 'log')
    host.writeFileSync(path, 'one\n')
    try {
      execFileSync('chattr', ['+a', path], { stdio: 'ignore' })
    } catch {
      t.skip('the file system has no such files')
      return
    }
    try {
      const { nodeid } = await client.lookup(1, 'log')
      const flags = O_WRONLY | O_APPEND
      const { fh } = await client.open(nodeid, flags)
      await client.write(nodeid, fh, 4, Buffer.from('two\n'), { openFlags: flags })
      assert.equal(host.readFileSync(path, 'utf8'), 'one\ntwo\n')
      assert.equal(await codeOf(client.open(nodeid, O_WRONLY)), 'EPERM')
      await client.release(nodeid, fh)
    } finally {
      execFileSync('chattr', ['-a', path])
    }
  })
})

/** The names that the host has, by a program of its own. */
async function namesOnTheHost(path: string): Promise<string[]> {
  const plain = await serve({
    mounts: [{ store: passthroughStore({ root: join(path, '..'), xattr: true }), mountPoint: [] }],
  })
  try {
    const { nodeid } = await plain.client.lookup(1, path.split('/').at(-1) ?? '')
    return await plain.client.listxattr(nodeid)
  } finally {
    await plain.close()
  }
}
