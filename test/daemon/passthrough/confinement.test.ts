/** A guest that wants out of its directory, or to bring the daemon down; and a host that moves things under its feet. */
import assert from 'node:assert/strict'
import * as host from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setImmediate as turn } from 'node:timers/promises'
import { after, before, describe, it } from 'node:test'
import {
  O_CREAT,
  O_EXCL,
  O_RDONLY,
  O_RDWR,
  O_TRUNC,
  Opcode,
  S_IFIFO,
  StructBytes,
} from '../../frontend/abi.js'
import { codeOf, FuseError, type FuseClient } from '../../frontend/fuse-client.js'
import { serve, type Served } from '../../support/served.js'
import { passthroughStore } from '../../lib/passthrough/support.js'

const BASE = 2 ** 32
const SECRET = 'not for guests'
const ROUNDS = 400

/** All at once. */
function codesOf(results: readonly Promise<unknown>[]): Promise<string[]> {
  return Promise.all(results.map((result) => codeOf(result)))
}

describe('a hostile guest on a pass-through mount', () => {
  let served: Served
  let client: FuseClient
  let root = 0
  let outside = ''
  before(async () => {
    served = await serve({ mounts: [{ store: passthroughStore({ xattr: true }) }] })
    client = served.client
    root = await served.nodeid()
    outside = host.mkdtempSync(join(tmpdir(), 'ovfsd-outside-'))
    host.writeFileSync(join(outside, 'secret'), SECRET)
  })
  after(async () => {
    await served.close()
    host.rmSync(outside, { recursive: true, force: true })
  })
  const at = (...names: string[]): string => join(served.hostDirectory, ...names)

  it('names that are no single entry are refused by every operation, but dots can be looked up', async () => {
    host.writeFileSync(at('file'), 'x')
    const { nodeid } = await client.lookup(root, 'file')
    const names: (string | Uint8Array)[] = ['..', '.', '', '/', 'a/b', '../x', '/etc/passwd', './file']
    for (const name of names) {
      const refused = [
        ...(name === '.' || name === '..' ? [] : [client.lookup(root, name)]),
        client.create(root, name, O_RDWR | O_CREAT),
        client.mkdir(root, name),
        client.mknod(root, name, S_IFIFO),
        client.symlink(root, name, 'x'),
        client.link(nodeid, root, name),
        client.unlink(root, name),
        client.rmdir(root, name),
        client.rename(root, name, root, 'y'),
        client.rename(root, 'file', root, name),
      ]
      for (const [index, code] of (await codesOf(refused)).entries())
        assert.equal(code, 'EINVAL', `${String(name)}, operation ${index}`)
    }
    assert.deepEqual(host.readdirSync(served.hostDirectory), ['file'])
  })

  it('links are never followed', async () => {
    host.symlinkSync(outside, at('to-directory'))
    host.symlinkSync(join(outside, 'secret'), at('to-file'))
    host.symlinkSync('/', at('to-root'))
    for (const name of ['to-directory', 'to-root']) {
      const { nodeid } = await client.lookup(root, name)
      assert.equal(await codeOf(client.lookup(nodeid, 'secret')), 'ENOTDIR')
      assert.equal(await codeOf(client.mkdir(nodeid, 'made')), 'ENOTDIR')
      assert.equal(await codeOf(client.opendir(nodeid)), 'ENOTDIR')
      assert.equal(await codeOf(client.open(nodeid)), 'ELOOP')
      assert.equal(await codeOf(client.setattr(nodeid, { size: 0 })), 'EINVAL')
      await codeOf(client.setattr(nodeid, { mode: 0o777 }))
    }
    const { nodeid } = await client.lookup(root, 'to-file')
    const mode = host.statSync(join(outside, 'secret')).mode
    for (const code of await codesOf([
      client.open(nodeid, O_RDWR),
      client.create(root, 'to-file', O_RDWR | O_CREAT | O_TRUNC),
      client.create(root, 'to-file', O_RDWR | O_CREAT | O_EXCL),
      client.setattr(nodeid, { mode: 0o777 }),
      client.setattr(nodeid, { size: 0 }),
      client.setxattr(nodeid, 'user.x', Buffer.from('x')),
    ]))
      assert.notEqual(code, 'OK')
    assert.equal(host.readFileSync(join(outside, 'secret'), 'utf8'), SECRET)
    assert.equal(host.statSync(join(outside, 'secret')).mode, mode)
  })

  it('a host that swaps a directory for a link out, again and again, lets nothing through', async () => {
    host.mkdirSync(at('swapped'))
    host.writeFileSync(at('swapped/secret'), 'inside')
    host.symlinkSync(outside, at('swapping'))
    const work = { goesOn: true }
    const swap = (async () => {
      while (work.goesOn) {
        host.renameSync(at('swapped'), at('spare'))
        host.renameSync(at('swapping'), at('swapped'))
        await turn()
        host.renameSync(at('swapped'), at('swapping'))
        host.renameSync(at('spare'), at('swapped'))
        await turn()
      }
    })()
    const fs = served.guestFs()
    let read = 0
    for (let round = 0; round < ROUNDS; round++) {
      try {
        assert.equal(await fs.readText('swapped/secret'), 'inside')
        await fs.writeFile('swapped/made', 'x')
        read++
      } catch (error) {
        if (!(error instanceof FuseError)) throw error
        assert.ok(['ENOENT', 'ENOTDIR', 'ELOOP', 'ESTALE'].includes(error.code), error.message)
      }
    }
    work.goesOn = false
    await swap
    assert.ok(read > 0)
    assert.deepEqual(host.readdirSync(outside), ['secret'])
  })

  it('a directory that the host moves out keeps its descriptor, and leads no further', async () => {
    host.mkdirSync(at('leaves'))
    const { nodeid } = await client.lookup(root, 'leaves')
    host.renameSync(at('leaves'), join(outside, 'left'))
    assert.equal(await codeOf(client.lookup(nodeid, '..')), 'ESTALE')
    assert.equal(await codeOf(client.lookup(nodeid, 'secret')), 'ENOENT')
    host.rmdirSync(join(outside, 'left'))
    assert.equal(await codeOf(client.mkdir(nodeid, 'x')), 'ENOENT')
  })

  it('nodeids and handles that nobody gave out', async () => {
    for (const nodeid of [BASE, BASE + 9999, 2 ** 40, 2n ** 63n, 2n ** 64n - 1n]) {
      assert.equal(await codeOf(client.getattr(nodeid)), 'ESTALE')
      assert.equal(await codeOf(client.lookup(nodeid, 'x')), 'ESTALE')
      assert.equal(await codeOf(client.open(nodeid)), 'ESTALE')
      assert.equal(await codeOf(client.rename(root, 'file', nodeid, 'x')), 'ESTALE')
      assert.equal(await codeOf(client.link(nodeid, root, 'x')), 'ESTALE')
      await client.forget(nodeid, 2n ** 64n - 1n)
    }
    for (const fh of [0, 77, 2 ** 33, 2n ** 64n - 1n]) {
      assert.equal(await codeOf(client.read(root, fh, 0, 10)), 'EBADF')
      assert.equal(await codeOf(client.write(root, fh, 0, Buffer.from('x'))), 'EBADF')
      assert.equal(await codeOf(client.release(root, fh)), 'EBADF')
      assert.equal(await codeOf(client.fsync(root, fh)), 'EBADF')
      assert.equal(await codeOf(client.readdir(root, fh)), 'EBADF')
      assert.equal(await codeOf(client.fallocate(root, fh, 0, 1)), 'EBADF')
    }
  })

  it('offsets, sizes and times beyond all bounds', async () => {
    const { entry, fh } = await client.create(root, 'bounds', O_RDWR | O_CREAT)
    const { nodeid } = entry
    for (const offset of [2n ** 53n, 2n ** 63n - 1n, 2n ** 63n, 2n ** 64n - 1n]) {
      for (const code of await codesOf([
        client.read(nodeid, fh, offset, 10),
        client.write(nodeid, fh, offset, Buffer.from('x')),
        client.fallocate(nodeid, fh, offset, 1),
        client.fallocate(nodeid, fh, 0, offset),
        client.lseek(nodeid, fh, offset, 3),
      ]))
        assert.notEqual(code, 'OK')
    }
    assert.equal(await codeOf(client.lseek(nodeid, fh, 0, 0)), 'EINVAL')
    assert.equal(await codeOf(client.fallocate(nodeid, fh, 0, 0)), 'EINVAL')
    assert.notEqual(await codeOf(client.fallocate(nodeid, fh, 0, 100, 0xffffffff)), 'OK')
    assert.notEqual(await codeOf(client.write(nodeid, fh, 2 ** 52, Buffer.from('x'))), 'OK')
    assert.equal(host.statSync(at('bounds')).size, 0)
    await client.release(nodeid, fh)
  })

  it('requests that are shorter than their arguments, for every opcode', async () => {
    for (const opcode of Object.values(Opcode)) {
      if (
        [Opcode.INIT, Opcode.DESTROY, Opcode.FORGET, Opcode.BATCH_FORGET, Opcode.INTERRUPT].some(
          (one) => one === opcode,
        )
      )
        continue
      for (const bytes of [0, 1, 7, 16, 39, 100]) {
        const { error } = await client.request(
          opcode,
          root,
          new Uint8Array(bytes),
          StructBytes.entry_out + StructBytes.open_out,
        )
        assert.ok(error <= 0 && error > -4096)
      }
    }
    assert.equal((await client.getattr(root)).attr.nlink > 0, true)
  })

  it('random arguments for every opcode', async () => {
    let state = 12_345
    const random = (below: number): number => {
      state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0
      return Math.floor((state / 2 ** 32) * below)
    }
    const opcodes = Object.values(Opcode).filter(
      (opcode) =>
        ![Opcode.INIT, Opcode.DESTROY, Opcode.FORGET, Opcode.BATCH_FORGET, Opcode.INTERRUPT].some(
          (one) => one === opcode,
        ),
    )
    for (let round = 0; round < 3000; round++) {
      const args = Uint8Array.from({ length: random(120) }, () => (random(3) === 0 ? random(256) : 0))
      const opcode = opcodes[random(opcodes.length)] ?? Opcode.GETATTR
      await client.request(opcode, root, args, 300, { replyDataBytes: random(5000) })
    }
    await served.disconnect()
    await served.reconnect()
    client = served.client
    root = await served.nodeid()
    const { inodes, openFiles, openDirectories, descriptors } = served.stats().passthrough
    assert.deepEqual([inodes, openFiles, openDirectories, descriptors], [1, 0, 0, 1])
    assert.deepEqual(host.readdirSync(outside), ['secret'])
  })

  it('an inode that is forgotten while its file is open, and used in threads', async () => {
    const { entry, fh } = await client.create(root, 'forgotten', O_RDWR | O_CREAT)
    await client.write(entry.nodeid, fh, 0, Buffer.alloc(1 << 20, 'x'))
    const syncs = Array.from({ length: 20 }, () => codeOf(client.fsync(entry.nodeid, fh)))
    const size = codeOf(client.setattr(entry.nodeid, { size: 10 }))
    await client.forget(entry.nodeid, 100)
    await client.release(entry.nodeid, fh)
    for (const code of await Promise.all([...syncs, size]))
      assert.ok(['OK', 'EIO', 'ESTALE', 'EBADF'].includes(code), code)
    assert.equal(await codeOf(client.getattr(entry.nodeid)), 'ESTALE')
  })

  it('looking up and forgetting leaves no descriptor', async () => {
    const before = host.readdirSync('/proc/self/fd').length
    const { descriptors } = served.stats().passthrough
    for (let round = 0; round < 200; round++) {
      host.writeFileSync(at(`many-${round}`), '')
      const { nodeid } = await client.lookup(root, `many-${round}`)
      const { fh } = await client.open(nodeid, O_RDONLY)
      await client.release(nodeid, fh)
      await client.forget(nodeid, 1)
      host.rmSync(at(`many-${round}`))
    }
    assert.equal(served.stats().passthrough.descriptors, descriptors)
    assert.ok(host.readdirSync('/proc/self/fd').length <= before + 2)
  })
})
