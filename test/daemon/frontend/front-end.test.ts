/**
 * The driver itself: held against the kernel's headers, against a daemon that is not ours, and the same tests against
 * the one that is.
 */
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it, type TestContext } from 'node:test'
import {
  O_CREAT,
  O_EXCL,
  O_RDWR,
  Opcode,
  ROOT_NODEID,
  S_IFDIR,
  S_IFMT,
  StructBytes,
} from '../../frontend/abi.js'
import { Daemon, OVFSD_MOUNT_POINT } from '../../frontend/daemon.js'
import { FUSE_STRUCT_BYTES, type FrontEndOptions } from '../../frontend/front-end.js'
import { codeOf, type FuseClient, type Layout } from '../../frontend/fuse-client.js'
import { GuestFs } from '../../frontend/guest-fs.js'
import { RawVring } from '../../frontend/raw-vring.js'

type Options = Omit<FrontEndOptions, 'socketPath'>

interface Guest {
  readonly client: FuseClient
  /** The host's directory, and the nodeid and path it has in the guest. */
  readonly directory: string
  readonly root: number
  readonly base: string
}

type MountGuest = (t: TestContext, options?: Options) => Promise<Guest>

/** virtiofsd ends with its front-end: one for each test. */
const virtiofsdGuest: MountGuest = async (t, options) => {
  const directory = mkdtempSync(join(tmpdir(), 'ovfsd-front-'))
  const daemon = Daemon.virtiofsd(directory)
  t.after(async () => {
    await daemon.stop()
    rmSync(directory, { recursive: true })
  })
  const client = await daemon.mount(options)
  t.after(() => {
    client.close()
  })
  return { client, directory, root: ROOT_NODEID, base: '' }
}

/** ovfsd takes one front-end after another: one daemon for all tests, a directory for each. */
class SharedOvfsd {
  readonly #directory = mkdtempSync(join(tmpdir(), 'ovfsd-front-'))
  readonly daemon = Daemon.ovfsd(this.#directory)

  readonly guest: MountGuest = async (t, options) => {
    const name = String(readdirSync(this.#directory).length)
    const directory = join(this.#directory, name)
    mkdirSync(directory)
    const client = await this.daemon.mount(options)
    t.after(() => {
      client.close()
    })
    const mount = await client.lookup(ROOT_NODEID, OVFSD_MOUNT_POINT)
    const root = (await client.lookup(mount.nodeid, name)).nodeid
    return { client, directory, root, base: `${OVFSD_MOUNT_POINT}/${name}` }
  }
  async stop(): Promise<void> {
    const code = await this.daemon.stop()
    rmSync(this.#directory, { recursive: true })
    assert.equal(code, 0, this.daemon.stderr)
  }
}

/** Every byte differs from its neighbours and from those a page further. */
function pattern(length: number): Buffer {
  return Buffer.from(Uint8Array.from({ length }, (_, i) => (i * 31 + (i >> 12) * 7) & 0xff))
}

const LAYOUTS = ['kernel', 'single', 'shredded'] satisfies Layout[]
const VARIANTS: readonly Options[] = [
  {},
  { indirectDesc: false },
  { eventIdx: false },
  { addMemReg: true, regions: 5, ackAll: true },
]

/** What every vhost-user-fs daemon must do. */
function commonTests(guest: MountGuest, brokenShortReads: boolean): void {
  it('initialises and reads the root', async (t) => {
    const { client } = await guest(t)
    assert.equal(client.session.major, 7)
    const { attr } = await client.getattr(ROOT_NODEID)
    assert.equal(attr.mode & S_IFMT, S_IFDIR)
    assert.ok((await client.statfs()).bsize > 0)
  })

  it('turns an errno into a FuseError with its name', async (t) => {
    const { client, root } = await guest(t)
    assert.equal(await codeOf(client.lookup(root, 'missing')), 'ENOENT')
    assert.equal((await client.request(9999, root, new Uint8Array(), 0)).error, -38)
  })

  for (const layout of LAYOUTS) {
    for (const variant of VARIANTS) {
      it(`moves 300,000 bytes both ways: ${layout} ${JSON.stringify(variant)}`, async (t) => {
        const { client, directory, root } = await guest(t, variant)
        client.defaults.layout = layout
        const data = pattern(300_000)
        const { entry, fh } = await client.create(root, 'file', O_RDWR | O_CREAT, 0o600)
        assert.equal(await client.write(entry.nodeid, fh, 0, data), data.length)
        await client.flush(entry.nodeid, fh)
        assert.ok(readFileSync(join(directory, 'file')).equals(data))
        assert.ok(Buffer.from(await client.read(entry.nodeid, fh, 0, data.length)).equals(data))
        if (layout !== 'shredded' || !brokenShortReads) {
          const tail = await client.read(entry.nodeid, fh, 299_000, 4096)
          assert.ok(Buffer.from(tail).equals(data.subarray(299_000)))
        }
        await client.release(entry.nodeid, fh)
        await client.forget(entry.nodeid)
      })
    }
  }

  it('lists a directory with attributes, page by page', async (t) => {
    const { client, directory, root } = await guest(t)
    const names = Array.from({ length: 200 }, (_, i) => `file-${i}`)
    for (const name of names) writeFileSync(join(directory, name), name)
    const { fh } = await client.opendir(root)
    const seen: string[] = []
    for (let offset: number | bigint = 0; ;) {
      const entries = await client.readdirplus(root, fh, offset)
      const last = entries.at(-1)
      if (!last) break
      offset = last.off
      for (const { name, entry } of entries) {
        if (name === '.' || name === '..') continue
        seen.push(name)
        assert.equal(entry.attr.size, name.length)
      }
      const lookups = entries.filter(({ name, entry }) => !name.startsWith('.') && entry.nodeid > 1)
      await client.batchForget(lookups.map(({ entry }) => [entry.nodeid, 1]))
    }
    assert.deepEqual(seen.sort(), names.sort())
    assert.ok((await client.readdir(root, fh)).some(({ name }) => name.startsWith('file-')))
    await client.releasedir(root, fh)
  })

  it('queues more requests than the ring holds, in one burst', async (t) => {
    const { client, directory, root } = await guest(t, { queueSize: 64 })
    mkdirSync(join(directory, 'd'))
    client.front.cork(1)
    const all = Promise.all(Array.from({ length: 1000 }, () => client.lookup(root, 'd')))
    assert.equal(client.front.pending, 1000)
    client.front.uncork(1)
    assert.equal(new Set((await all).map(({ nodeid }) => nodeid)).size, 1)
  })

  it('walks paths as a guest does', async (t) => {
    const { client, directory, base } = await guest(t)
    const fs = new GuestFs(client, { base })
    await fs.mkdirs('a/b')
    await fs.writeFile('a/b/file', 'hello')
    await fs.appendFile('a/b/file', ' world')
    assert.equal(readFileSync(join(directory, 'a/b/file'), 'utf8'), 'hello world')
    assert.equal(await codeOf(fs.unlink('a/b')), 'EISDIR')
    assert.equal(await codeOf(fs.rename('a', 'a/b/c')), 'EINVAL')
    assert.equal(await codeOf(fs.rmdir('a')), 'ENOTEMPTY')
    assert.equal(await codeOf(fs.open('a/b/file', O_CREAT | O_EXCL)), 'EEXIST')
    const large = pattern(3 * 1024 * 1024 + 17)
    await fs.writeFile('large', large)
    assert.ok((await fs.readFile('large')).equals(large))
    await fs.truncate('large', 4000)
    await fs.utimes('large', 77, 1234.5)
    const attr = (await fs.listWithAttributes()).get('large')
    assert.deepEqual([attr?.size, attr?.mtime, attr?.mtimensec], [4000, 1234, 500_000_000])
    await fs.rename('large', 'a/b/file')
    assert.deepEqual([...(await fs.snapshot()).keys()], ['a', 'a/b', 'a/b/file'])
    await fs.removeTree('a')
    assert.deepEqual(await fs.list(), [])
  })

  it('writes rings by hand, and gives the queue back', async (t) => {
    const { client } = await guest(t)
    const ring = new RawVring(client.front, 1)
    const { buffersOffset } = client.front.memoryLayout()
    const request = Buffer.alloc(56)
    request.writeUInt32LE(56, 0)
    request.writeUInt32LE(Opcode.GETATTR, 4)
    request.writeBigUInt64LE(77n, 8)
    request.writeBigUInt64LE(BigInt(ROOT_NODEID), 16)
    client.front.writeMemory(buffersOffset, request)
    ring.writeDescriptor(3, { addr: client.front.gpa(buffersOffset), len: 56, flags: 1, next: 9 })
    ring.writeDescriptor(9, { addr: client.front.gpa(buffersOffset + 4096), len: 200, flags: 2 })
    const before = ring.usedIdx
    ring.push(3)
    await ring.waitUsed(before + 1, 5000)
    assert.deepEqual(ring.usedElement(before), { id: 3, len: 120 })
    assert.equal(Buffer.from(client.front.readMemory(buffersOffset + 4096 + 8, 8)).readBigUInt64LE(), 77n)
    await ring.release()
    assert.equal((await client.getattr(ROOT_NODEID)).attr.mode & S_IFMT, S_IFDIR)
  })
}

/** Decides nothing but that a daemon which does not answer ends the test. */
const HANG_MS = 120_000
const skipVirtiofsd = Daemon.virtiofsdAvailable() ? false : 'needs /usr/lib/qemu/virtiofsd and root'

it('knows the struct sizes of <linux/fuse.h>', () => {
  assert.deepEqual({ ...FUSE_STRUCT_BYTES }, { ...StructBytes })
})

describe('the front-end and virtiofsd', { skip: skipVirtiofsd, timeout: HANG_MS }, () => {
  const guest = virtiofsdGuest
  // virtiofsd 7.2 writes behind a descriptor when a short read meets a fuse_out_header in pieces.
  commonTests(guest, true)

  it('sets attributes, links, renames and removes', async (t) => {
    const { client } = await guest(t)
    const directory = await client.mkdir(1, 'dir')
    const file = await client.mknod(1, 'file', 0o100644)
    const attr = await client.setattr(file.nodeid, { size: 5000, mtime: 1234.5, mode: 0o600 })
    assert.deepEqual([attr.size, attr.mtime, attr.mtimensec, attr.mode], [5000, 1234, 500_000_000, 0o100600])
    await client.symlink(1, 'link', 'some/where')
    assert.equal(await client.readlink((await client.lookup(1, 'link')).nodeid), 'some/where')
    assert.equal((await client.link(file.nodeid, directory.nodeid, 'hard')).attr.nlink, 2)
    assert.equal(await codeOf(client.rmdir(1, 'dir')), 'ENOTEMPTY')
    await client.rename(1, 'file', directory.nodeid, 'moved')
    assert.equal(await codeOf(client.rename2(1, 'link', directory.nodeid, 'moved', 1)), 'EEXIST')
    await client.unlink(directory.nodeid, 'moved')
    await client.unlink(directory.nodeid, 'hard')
    await client.rmdir(1, 'dir')
  })

  it('sees a device that writes behind a descriptor', async (t) => {
    const { client } = await guest(t)
    const { entry, fh } = await client.create(1, 'file', O_RDWR | O_CREAT)
    await client.write(entry.nodeid, fh, 0, pattern(1000))
    const read = client.read(entry.nodeid, fh, 0, 2000, { layout: 'shredded' })
    await assert.rejects(read, { name: 'DeviceError', message: /behind a descriptor/ })
  })

  it('notices the end of the daemon', async (t) => {
    const daemon = Daemon.virtiofsd(tmpdir())
    t.after(() => daemon.stop())
    const client = await daemon.mount()
    await daemon.stop('SIGKILL')
    await client.front.disconnected()
    await assert.rejects(client.getattr(1), { name: 'DeviceError' })
  })
})

describe('the front-end and ovfsd', { timeout: HANG_MS }, () => {
  let shared: SharedOvfsd
  before(() => {
    shared = new SharedOvfsd()
  })
  after(() => shared.stop())
  const guest: MountGuest = (t, options) => shared.guest(t, options)
  commonTests(guest, false)

  it('uses several request queues', async (t) => {
    const { client, root } = await guest(t, { queues: 4 })
    const queues = Array.from({ length: 30 }, (_, i) => 1 + (i % 3))
    const replies = await Promise.all(queues.map((queue) => client.getattr(root, undefined, { queue })))
    assert.equal(replies.length, 30)
  })

  it('stops a vring and goes on where it stopped', async (t) => {
    const { client, root } = await guest(t)
    // Some of these are answered before the vring stops, the others when it goes on.
    const requests = Promise.all(Array.from({ length: 20 }, () => client.getattr(root)))
    const base = await client.front.stopVring(1)
    const late = client.getattr(root)
    // INIT and the lookups of the directory came first.
    assert.ok(base >= 3 && base <= 23, `base ${base}`)
    await client.front.resumeVring(1, base)
    assert.equal((await requests).length, 20)
    await late
    assert.equal(await client.front.stopVring(1), 24)
  })

  it('sees a used ring that claims what was never asked for', async (t) => {
    const { client } = await guest(t)
    const { usedRing } = client.front.vringLayout(1)
    const idx = Buffer.from(client.front.readMemory(usedRing + 2, 2)).readUInt16LE()
    client.front.writeMemory(usedRing + 2, Uint8Array.of(idx + 1, 0))
    const looked = new Promise<void>((resolve) => {
      client.front.onCall(1, resolve)
    })
    await client.front.stopVring(1)
    await looked
    await assert.rejects(client.getattr(ROOT_NODEID), { name: 'DeviceError', message: /ahead of/ })
  })

  it('connects again after a killed hypervisor', async () => {
    for (let i = 0; i < 3; i++) {
      const client = await shared.daemon.mount()
      const pending = client.getattr(ROOT_NODEID)
      client.close()
      await assert.rejects(pending, { name: 'DeviceError' })
    }
  })
})
