/** What guests that were made for virtiofsd rely on, beside the operations themselves. */
import assert from 'node:assert/strict'
import * as host from 'node:fs'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { HostDirectory } from '../../../src/passthrough/directories.js'
import type { Descriptor } from '../../../src/passthrough/descriptor.js'
import type { HostInode } from '../../../src/passthrough/host-inode.js'
import { O_RDWR, O_TRUNC, S_IFDIR, S_IFMT } from '../../frontend/abi.js'
import { codeOf } from '../../frontend/fuse-client.js'
import { serve, type Served } from '../../support/served.js'
import { memoryStore } from '../../support/stores.js'
import { NOT_ROOT, passthroughStore } from '../../lib/passthrough/support.js'

/** fuse_write_in.write_flags, <linux/fuse.h>. */
const FUSE_WRITE_KILL_SUIDGID = 1 << 2
const SEEK_DATA = 3
const SEEK_HOLE = 4
/** Beyond every file, and what a double can't tell apart. */
const BEYOND_DOUBLES = (1n << 53n) + 1n

async function served(t: TestContext, atRoot = true): Promise<Served> {
  const mountPoint = atRoot ? [] : ['share']
  const started = await serve({
    mounts: [
      { store: passthroughStore(), mountPoint },
      { store: memoryStore, mountPoint: ['memory'] },
    ],
  })
  t.after(() => started.close())
  return started
}

describe("requests of Windows's driver", () => {
  for (const atRoot of [true, false]) {
    const where = atRoot ? 'a directory of the host at the root' : 'virtual directories at the root'

    it(`look the root up in itself, and find nothing above it: ${where}`, async (t) => {
      const { client } = await served(t, atRoot)
      const root = await client.lookup(1, '.')
      assert.equal(root.attr.mode & S_IFMT, S_IFDIR)
      for (const name of ['..', '\\']) {
        assert.equal((await client.lookup(1, name)).nodeid, root.nodeid, name)
      }
      assert.equal(await codeOf(client.lookup(1, '\\\\')), 'ENOENT')
    })

    it(`find the type of each directory in a listing: ${where}`, async (t) => {
      const { client, hostDirectory } = await served(t, atRoot)
      host.mkdirSync(join(hostDirectory, 'sub'))
      const { nodeid } = await client.lookup(1, '.')
      const { fh } = await client.opendir(nodeid)
      const modes = new Map<string, number>()
      for (let offset = 0n; ;) {
        const page = await client.readdirplus(nodeid, fh, offset, 8192)
        for (const { name, entry } of page) modes.set(name, entry.attr.mode & S_IFMT)
        const last = page.at(-1)
        if (last === undefined) break
        offset = BigInt(last.off)
      }
      for (const name of ['.', '..', 'memory', atRoot ? 'sub' : 'share'])
        assert.equal(modes.get(name), S_IFDIR, name)
    })
  }

  it('find the directory above one below the root', async (t) => {
    const { client, hostDirectory } = await served(t)
    host.mkdirSync(join(hostDirectory, 'one', 'two'), { recursive: true })
    const one = await client.lookup(1, 'one')
    const two = await client.lookup(one.nodeid, 'two')
    assert.equal((await client.lookup(two.nodeid, '..')).nodeid, one.nodeid)
    assert.equal((await client.lookup(two.nodeid, '.')).nodeid, two.nodeid)
  })

  it('do not lead out of the root by a directory that the host has moved there', async (t) => {
    const { client, hostDirectory } = await served(t)
    host.mkdirSync(join(hostDirectory, 'moved'))
    const outside = host.mkdtempSync(`${hostDirectory}-outside-`)
    t.after(() => {
      host.rmSync(outside, { recursive: true, force: true })
    })
    const moved = await client.lookup(1, 'moved')
    host.renameSync(join(hostDirectory, 'moved'), join(outside, 'moved'))
    assert.equal(await codeOf(client.lookup(moved.nodeid, '..')), 'ESTALE')
  })
})

describe('offsets beyond every file', () => {
  it('have no data and no hole, and can not be written', async (t) => {
    const { client, hostDirectory } = await served(t)
    host.writeFileSync(join(hostDirectory, 'file'), 'contents')
    const { nodeid } = await client.lookup(1, 'file')
    const { fh } = await client.open(nodeid, O_RDWR)
    for (const whence of [SEEK_DATA, SEEK_HOLE])
      assert.equal(await codeOf(client.lseek(nodeid, fh, BEYOND_DOUBLES, whence)), 'ENXIO')
    assert.equal(await codeOf(client.write(nodeid, fh, BEYOND_DOUBLES, Buffer.from('x'))), 'EFBIG')
    assert.equal(await codeOf(client.fallocate(nodeid, fh, BEYOND_DOUBLES, 1)), 'EFBIG')
    const from = { nodeid, fh, offset: 0 }
    assert.equal(await codeOf(client.copyFileRange(from, { nodeid, fh, offset: BEYOND_DOUBLES }, 1)), 'EFBIG')
    // As offsets below zero arrive.
    assert.equal(await codeOf(client.lseek(nodeid, fh, (1n << 64n) - 1n, SEEK_DATA)), 'ENXIO')
  })
})

describe('a write by one who may not keep them', { skip: NOT_ROOT }, () => {
  it('takes the set-user-ID and set-group-ID bits away, and other writes do not', async (t) => {
    const { client, hostDirectory } = await served(t)
    const path = join(hostDirectory, 'tool')
    host.writeFileSync(path, 'old')
    host.chmodSync(path, 0o6755)
    const { nodeid } = await client.lookup(1, 'tool')
    const { fh } = await client.open(nodeid, O_RDWR)
    await client.write(nodeid, fh, 0, Buffer.from('by root'))
    assert.equal(host.statSync(path).mode & 0o7777, 0o6755)
    await client.write(nodeid, fh, 0, Buffer.from('by others'), { writeFlags: FUSE_WRITE_KILL_SUIDGID })
    assert.equal(host.statSync(path).mode & 0o7777, 0o755)
    // The daemon has not lost the right by it.
    host.chmodSync(path, 0o6755)
    await client.write(nodeid, fh, 0, Buffer.from('by root'))
    assert.equal(host.statSync(path).mode & 0o7777, 0o6755)
  })
})

describe('an open that truncates', { skip: NOT_ROOT }, () => {
  const FUSE_OPEN_KILL_SUIDGID = 1 << 0

  it("takes the set-user-ID and set-group-ID bits away, unless it is root's", async (t) => {
    const { client, hostDirectory } = await served(t)
    const path = join(hostDirectory, 'tool')
    host.writeFileSync(path, 'old')
    host.chmodSync(path, 0o6777)
    const { nodeid } = await client.lookup(1, 'tool')
    await client.open(nodeid, O_RDWR | O_TRUNC)
    assert.equal(host.statSync(path).mode & 0o7777, 0o6777)
    await client.open(nodeid, O_RDWR | O_TRUNC, { openFlags: FUSE_OPEN_KILL_SUIDGID })
    assert.equal(host.statSync(path).mode & 0o7777, 0o777)
    host.chmodSync(path, 0o6777)
    await client.open(nodeid, O_RDWR, { uid: 1000, gid: 1000 })
    assert.equal(host.statSync(path).mode & 0o7777, 0o6777)
    await client.open(nodeid, O_RDWR | O_TRUNC, { uid: 1000, gid: 1000 })
    assert.equal(host.statSync(path).mode & 0o7777, 0o777)
  })
})

describe('offsets of directories', () => {
  const nothing: unknown = {}
  const directory = () => new HostDirectory(nothing as HostInode, nothing as Descriptor)
  const SIGN = 0x8000_0000

  it('with bit 63, where the host can not go, are gone on from by what was kept', () => {
    const one = directory()
    one.keep(5, SIGN + 7, Buffer.from('rest'))
    assert.equal(one.takeKept(5, SIGN + 7)?.toString(), 'rest')
    assert.equal(one.takeKept(5, SIGN + 7), null)
  })

  it('that are others than those that were kept for are asked of the host', () => {
    const one = directory()
    one.keep(5, SIGN + 7, Buffer.from('rest'))
    assert.equal(one.takeKept(6, SIGN + 7), null)
  })

  it('without it cost nothing', () => {
    const one = directory()
    one.keep(5, 7, Buffer.from('rest'))
    assert.equal(one.takeKept(5, 7), null)
  })
})
