/** Inodes that are known without a descriptor: what is done to them is done to the same file all the same. */
import assert from 'node:assert/strict'
import * as host from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { FsError, HostError } from '../../../src/fs/fs-error.js'
import { open, release } from '../../../src/passthrough/files.js'
import { HANDLE_BYTES_MAX, hostCalls } from '../../../src/passthrough/host-calls.js'
import type { FileHandles } from '../../../src/passthrough/host-mount.js'
import { inoOf, type HostInode } from '../../../src/passthrough/host-inode.js'
import { rename } from '../../../src/passthrough/names.js'
import type { ServerMount } from '../../../src/server/server.js'
import { codeOf } from '../../frontend/fuse-client.js'
import { RELOAD_SETTINGS, serve } from '../../support/served.js'
import { passthroughStore } from '../../lib/passthrough/support.js'
import { knownMount, type KnownMount, nameOf } from '../../lib/passthrough/known-mount.js'

/** Of descriptors: far fewer than there are files. */
const LIMIT = 40
const FILES = 200

/** Whether the file system of the tests has handles, and we may open them. */
function noHandles(): string | false {
  const calls = hostCalls()
  const directory = host.openSync(tmpdir(), 'r')
  try {
    const handle = new Uint8Array(HANDLE_BYTES_MAX)
    const length = calls.handleOf(directory, handle)
    const fd = length < 0 ? length : calls.openHandle(directory, handle.subarray(0, length))
    if (fd >= 0) calls.close(fd)
    return fd < 0 && 'files can not be opened by handles here'
  } finally {
    host.closeSync(directory)
  }
}

/** Of /proc, which has no handles. */
function mountOf(options: Readonly<Record<string, string>>): ServerMount {
  return {
    ...{ name: 'p', type: 'passthrough', mountPoint: ['p'], readOnly: false, uid: 0, gid: 0 },
    ...{ fileMode: 0o644, dirMode: 0o755, guestCache: 'auto', expirationMs: 1000, timeoutMs: 30_000 },
    options: { root: '/proc', ...options },
    storeKey: 'p',
  }
}

/** '' for the descriptor that listed the others. */
function linkOf(path: string): string {
  try {
    return host.readlinkSync(path)
  } catch {
    return ''
  }
}

const known = (t: TestContext, fileHandles: FileHandles = 'prefer'): KnownMount =>
  knownMount(t, { maxDescriptors: LIMIT, fileHandles })

describe('inodes beyond the limit of descriptors', { skip: noHandles() }, () => {
  it('are known, and found again by what they are', async (t) => {
    const { root, pt, look } = known(t)
    host.mkdirSync(join(root, 'sub'))
    const inodes: HostInode[] = []
    for (let index = 0; index < FILES; index++) host.writeFileSync(join(root, 'sub', `${index}`), `${index}`)
    const sub = look('sub')
    for (let index = 0; index < FILES; index++) inodes.push(look(`${index}`, sub))
    assert.ok(pt.stats().descriptors < LIMIT)
    assert.equal(pt.stats().inodes, FILES + 2)
    // Whatever their names have become.
    host.renameSync(join(root, 'sub'), join(root, 'moved'))
    for (const [index, inode] of inodes.entries()) {
      pt.lookAt(inode)
      assert.equal(inoOf(pt.stat), host.statSync(join(root, 'moved', `${index}`)).ino)
      // As between two bursts of requests.
      await nextTurn()
    }
    assert.ok(pt.stats().descriptors < LIMIT)
    for (const [index, inode] of inodes.entries()) assert.equal(look(`${index}`, sub), inode)
    for (const inode of inodes) {
      release(pt, open(pt, inode, 0, true))
      await nextTurn()
    }
  })

  it('are what a call works with until it is over', async (t) => {
    const { root, pt, mount, look } = known(t)
    const directories: HostInode[] = []
    for (let index = 0; index < LIMIT * 2; index++) {
      host.mkdirSync(join(root, `d${index}`))
      directories.push(look(`d${index}`))
    }
    // Both directories have to be opened for it.
    for (let index = 0; index + 1 < directories.length; index += 2) {
      const [from, to] = directories.slice(index, index + 2)
      assert.ok(from !== undefined && to !== undefined)
      host.writeFileSync(join(root, `d${index}`, 'file'), `${index}`)
      rename(pt, from, nameOf('file'), to, nameOf('moved'), 0)
      assert.equal(host.readFileSync(join(root, `d${index + 1}`, 'moved'), 'utf8'), `${index}`)
      await nextTurn()
    }
    assert.ok(pt.stats().descriptors < LIMIT)
    assert.ok(mount.root.descriptor !== null)
  })

  it('are ESTALE once their file has gone, though another has got its number', (t) => {
    const { root, pt, look } = known(t)
    for (let index = 0; index < FILES; index++) host.writeFileSync(join(root, `${index}`), '')
    const first = look('0')
    for (let index = 1; index < FILES; index++) look(`${index}`)
    assert.equal(first.descriptor, null)
    host.unlinkSync(join(root, '0'))
    // ext4 gives the number to the next file.
    host.writeFileSync(join(root, 'other'), '')
    const isStale = (error: unknown): boolean =>
      (error instanceof FsError && error.errno === 'ESTALE') || error instanceof HostError
    assert.throws(() => {
      pt.lookAt(first)
    }, isStale)
    const other = look('other')
    assert.notEqual(other, first)
    pt.lookAt(other)
    assert.equal(inoOf(pt.stat), host.statSync(join(root, 'other')).ino)
    first.nlookup = 0
    pt.inodes.freeIfUnused(first)
    assert.equal(look('other'), other)
  })

  it('keep their descriptors while they have no name', (t) => {
    const { root, pt, look } = known(t)
    host.writeFileSync(join(root, 'unnamed'), 'contents')
    const unnamed = look('unnamed')
    host.unlinkSync(join(root, 'unnamed'))
    for (let index = 0; index < FILES; index++) {
      host.writeFileSync(join(root, `${index}`), '')
      look(`${index}`)
    }
    pt.lookAt(unnamed)
    release(pt, open(pt, unnamed, 0, true))
  })

  it('are opened no more once the guest has forgotten them', async (t) => {
    const { root, pt, look } = known(t)
    const inodes: HostInode[] = []
    for (let index = 0; index < FILES; index++) {
      host.writeFileSync(join(root, `${index}`), '')
      inodes.push(look(`${index}`))
    }
    await nextTurn()
    for (const inode of inodes) {
      inode.nlookup = 0
      pt.inodes.freeIfUnused(inode)
      // As an operation does that has waited meanwhile.
      assert.throws(
        () => {
          pt.lookAt(inode)
        },
        (error) => error instanceof FsError && error.errno === 'ESTALE',
      )
    }
    assert.equal(pt.stats().descriptors, 1)
  })

  it('keep nothing of a mount busy that was removed', async (t) => {
    const { root, pt, mount, look } = known(t)
    for (let index = 0; index < FILES; index++) {
      host.writeFileSync(join(root, `${index}`), '')
      look(`${index}`)
    }
    await nextTurn()
    await pt.retire(mount.place, 0, new AbortController().signal)
    const open = host.readdirSync('/proc/self/fd').map((fd) => linkOf(`/proc/self/fd/${fd}`))
    assert.deepEqual(
      open.filter((path) => path.startsWith(root)),
      [],
    )
  })

  it('are refused where handles are not to be used', (t) => {
    const { root, look } = known(t, 'never')
    for (let index = 0; index < LIMIT; index++) host.writeFileSync(join(root, `${index}`), '')
    assert.throws(
      () => {
        for (let index = 0; index < LIMIT; index++) look(`${index}`)
      },
      (error) => error instanceof FsError && error.errno === 'ENFILE',
    )
  })
})

describe('inode_file_handles = "mandatory"', () => {
  it('keeps a daemon from starting where the file system has none', async () => {
    const options = { inode_file_handles: 'mandatory' }
    // /proc has none.
    const store = passthroughStore({ root: '/proc', options })
    await assert.rejects(serve({ mounts: [{ store, mountPoint: [] }] }), /can't be opened by handles/)
  })

  it('leaves a mount that a reload adds unavailable, with the reason, where the file system has none', async (t) => {
    const served = await serve({ mounts: [{ store: passthroughStore(), mountPoint: ['m'] }] })
    t.after(() => served.close())
    const added = mountOf({ inode_file_handles: 'mandatory' })
    const settings = RELOAD_SETTINGS
    assert.deepEqual(await served.server.reload({ settings, added: [added], removed: [], changed: [] }), [])
    const state = served.server.control.mounts().find(({ name }) => name === added.name)
    assert.equal(state?.state, 'unavailable')
    assert.ok(served.log.some((line) => line.includes("can't be opened by handles")))
    assert.equal(await codeOf(served.client.lookup(1, added.name)), 'EIO')
  })

  it('is no change that a reload makes where the file system has none: the mount stays as it was', async (t) => {
    const served = await serve({ mounts: [{ store: passthroughStore(), mountPoint: ['m'] }] })
    t.after(() => served.close())
    const before = mountOf({})
    const after = mountOf({ inode_file_handles: 'mandatory' })
    const settings = RELOAD_SETTINGS
    await served.server.reload({ settings, added: [before], removed: [], changed: [] })
    const change = { settings, added: [], removed: [], changed: [{ before, after }] }
    assert.deepEqual(await served.server.reload(change), [before.name])
    assert.ok(served.log.some((line) => line.includes("can't be opened by handles")))
    assert.notEqual((await served.client.lookup(1, before.name)).nodeid, 0)
  })

  it('starts one where it has', { skip: noHandles() }, async (t) => {
    const store = passthroughStore({ options: { inode_file_handles: 'mandatory' } })
    const served = await serve({ mounts: [{ store, mountPoint: [] }] })
    t.after(() => served.close())
    assert.equal((await served.client.getattr(1)).attr.ino > 0n, true)
  })
})
