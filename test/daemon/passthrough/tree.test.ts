/** Pass-through mounts in the tree of mounts: at the root, beside and below others, added and removed while a guest works. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import * as host from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, dirname, join } from 'node:path'
import { it, describe, type TestContext } from 'node:test'
import type { ServerChange, ServerMount } from '../../../src/server/server.js'
import { ATTR_SUBMOUNT, O_CREAT, O_RDONLY, O_RDWR, O_TRUNC, O_WRONLY, OpenFlags } from '../../frontend/abi.js'
import { codeOf } from '../../frontend/fuse-client.js'
import { eventually, RELOAD_SETTINGS, serve, type MountSpec, type Served } from '../../support/served.js'
import { directoryStore, memoryStore } from '../../support/stores.js'
import { NOT_ROOT, passthroughStore } from '../../lib/passthrough/support.js'

async function served(t: TestContext, ...mounts: MountSpec[]): Promise<Served> {
  const started = await serve({ mounts })
  t.after(() => started.close())
  return started
}

function folder(t: TestContext): string {
  const path = host.mkdtempSync(join(tmpdir(), 'ovfsd-passthrough-'))
  t.after(() => {
    host.rmSync(path, { recursive: true, force: true })
  })
  return path
}

function reload(server: Served, change: Partial<ServerChange>, reloadGraceMs = 120_000): Promise<string[]> {
  const settings = { ...RELOAD_SETTINGS, reloadGraceMs }
  return server.server.reload({ settings, added: [], removed: [], changed: [], ...change })
}

function mountOf(name: string, root: string, change: Partial<ServerMount> = {}): ServerMount {
  return {
    ...{
      name,
      type: 'passthrough',
      mountPoint: [name],
      readOnly: false,
      uid: 0,
      gid: 0,
      fileMode: 0,
      dirMode: 0,
    },
    ...{ guestCache: 'auto', expirationMs: 1000, timeoutMs: 30_000, options: { root } },
    storeKey: root,
    ...change,
  }
}

describe('pass-through mounts in the tree', () => {
  it('at the root: other mounts lie in it, covering what the host has there', async (t) => {
    const server = await served(
      t,
      { store: passthroughStore(), mountPoint: [] },
      { store: directoryStore, mountPoint: ['data'] },
      { store: memoryStore, mountPoint: ['deep', 'er', 'memory'] },
      { store: passthroughStore(), mountPoint: ['other'] },
    )
    const { client } = server
    const root = server.hostDirectory
    host.mkdirSync(join(root, 'deep/er'), { recursive: true })
    host.writeFileSync(join(root, 'deep/er/file'), 'beside it')
    host.mkdirSync(join(root, 'data/covered'), { recursive: true })
    const fs = server.guestFs('')
    assert.deepEqual((await fs.list()).sort(), ['data', 'deep', 'other'])
    assert.deepEqual([...(await fs.listWithAttributes()).keys()].sort(), ['data', 'deep', 'other'])
    assert.deepEqual((await fs.list('deep/er')).sort(), ['file', 'memory'])
    assert.deepEqual(await fs.list('data'), [])
    for (const path of ['data/file', 'deep/er/memory/file', 'other/file', 'file']) {
      await fs.writeFile(path, path)
      assert.equal(await fs.readText(path), path)
    }
    assert.equal(host.readFileSync(join(root, 'file'), 'utf8'), 'file')
    assert.ok(!host.existsSync(join(root, 'data/file')))

    for (const name of ['data', 'other']) {
      assert.equal(await codeOf(client.rmdir(1, name)), 'EBUSY')
      assert.equal(await codeOf(client.unlink(1, name)), 'EBUSY')
      assert.equal(await codeOf(client.rename(1, name, 1, 'x')), 'EBUSY')
      assert.equal(await codeOf(client.rename(1, 'file', 1, name)), 'EBUSY')
      assert.equal(await codeOf(client.mkdir(1, name)), 'EEXIST')
      assert.equal(await codeOf(client.symlink(1, name, 'x')), 'EEXIST')
      assert.equal(await codeOf(client.create(1, name, O_RDWR | O_CREAT)), 'EEXIST')
    }
    assert.equal(await codeOf(client.rename(1, 'deep', 1, 'x')), 'EBUSY')
    assert.equal(await codeOf(client.rename(1, 'file', await server.nodeid('deep'), 'er')), 'EBUSY')

    const places = ['', 'data', 'deep/er/memory', 'other']
    for (const from of places) {
      for (const to of places.filter((place) => place !== from)) {
        const [fromId, toId] = [await server.nodeid(from), await server.nodeid(to)]
        assert.equal(await codeOf(client.rename(fromId, 'file', toId, 'moved')), 'EXDEV', `${from} -> ${to}`)
        const linked = await codeOf(client.link((await client.lookup(fromId, 'file')).nodeid, toId, 'linked'))
        assert.ok(linked === 'EXDEV' || linked === 'EPERM', `${from} -> ${to}: ${linked}`)
        const [source, target] = [await fs.open(join(from, 'file')), await fs.open(join(to, 'file'), O_RDWR)]
        const copied = codeOf(
          client.copyFileRange(
            { nodeid: source.nodeid, fh: source.fh, offset: 0 },
            { nodeid: target.nodeid, fh: target.fh, offset: 0 },
            4,
          ),
        )
        assert.equal(await copied, 'EXDEV')
        await source.close()
        await target.close()
      }
    }
    await client.syncfs()
  })

  it('a mount point whose directory the host has not is not visible, until it has', async (t) => {
    const server = await served(
      t,
      { store: passthroughStore(), mountPoint: [] },
      { store: memoryStore, mountPoint: ['way', 'memory'] },
    )
    assert.equal(await codeOf(server.client.lookup(1, 'way')), 'ENOENT')
    assert.deepEqual(await server.guestFs('').list(), [])
    assert.ok(server.log.some((line) => line.includes('is missing on the host')))
    host.mkdirSync(join(server.hostDirectory, 'way'))
    assert.deepEqual(await server.guestFs('').list('way'), ['memory'])
    await server.guestFs('way/memory').writeFile('file', 'x')
  })

  it('below a virtual directory, and in a store', async (t) => {
    const server = await served(
      t,
      { store: directoryStore, mountPoint: ['store'] },
      { store: passthroughStore(), mountPoint: ['store', 'in'] },
      { store: passthroughStore(), mountPoint: ['a', 'b'] },
    )
    const fs = server.guestFs('')
    assert.deepEqual((await fs.list()).sort(), ['a', 'store'])
    assert.deepEqual([...(await fs.listWithAttributes('a')).keys()], ['b'])
    assert.deepEqual(await fs.list('store'), ['in'])
    await fs.writeFile('store/in/file', 'x')
    await fs.writeFile('a/b/file', 'y')
    assert.equal(await fs.readText('store/in/file'), 'x')
    const [inside, other] = [await server.nodeid('store/in'), await server.nodeid('a/b')]
    assert.equal(await codeOf(server.client.rename(inside, 'file', other, 'file')), 'EXDEV')
    assert.equal(await codeOf(server.client.rmdir(await server.nodeid('store'), 'in')), 'EBUSY')
  })

  it('read_only: every change is EROFS', async (t) => {
    const root = folder(t)
    host.writeFileSync(join(root, 'file'), 'contents')
    const server = await served(t, { store: passthroughStore({ root, xattr: true }), readOnly: true })
    const { client } = server
    const mount = await server.nodeid()
    const { nodeid } = await client.lookup(mount, 'file')
    const { fh } = await client.open(nodeid, O_RDONLY)
    const refused: Record<string, Promise<unknown>> = {
      write: client.open(nodeid, O_WRONLY),
      truncate: client.open(nodeid, O_RDONLY | O_TRUNC),
      create: client.create(mount, 'new', O_RDONLY | O_CREAT),
      mkdir: client.mkdir(mount, 'new'),
      mknod: client.mknod(mount, 'new', 0o100644),
      symlink: client.symlink(mount, 'new', 'x'),
      link: client.link(nodeid, mount, 'new'),
      unlink: client.unlink(mount, 'file'),
      rmdir: client.rmdir(mount, 'file'),
      rename: client.rename(mount, 'file', mount, 'new'),
      chmod: client.setattr(nodeid, { mode: 0o777 }),
      size: client.setattr(nodeid, { size: 0, fh }),
      fallocate: client.fallocate(nodeid, fh, 0, 100),
      setxattr: client.setxattr(nodeid, 'user.x', Buffer.from('x')),
      removexattr: client.removexattr(nodeid, 'user.x'),
      tmpfile: client.tmpfile(mount, O_RDWR),
      copy: client.copyFileRange({ nodeid, fh, offset: 0 }, { nodeid, fh, offset: 4 }, 4),
    }
    const codes = await Promise.all(Object.values(refused).map((result) => codeOf(result)))
    for (const [index, what] of Object.keys(refused).entries()) assert.equal(codes[index], 'EROFS', what)
    assert.equal(Buffer.from(await client.read(nodeid, fh, 0, 100)).toString(), 'contents')
  })

  it('guest_cache says what the guest may keep', async (t) => {
    const server = await served(
      t,
      { store: passthroughStore(), mountPoint: ['none'], guestCache: 'none' },
      { store: passthroughStore(), mountPoint: ['auto'], guestCache: 'auto', expirationMs: 1500 },
      { store: passthroughStore(), mountPoint: ['always'], guestCache: 'always' },
    )
    const { client } = server
    const DAY_SECONDS = 86_400
    const expected = {
      none: [0, OpenFlags.DIRECT_IO],
      auto: [1.5, 0],
      always: [DAY_SECONDS, OpenFlags.KEEP_CACHE],
    }
    for (const [name, [seconds = 0, flags]] of Object.entries(expected)) {
      const mount = await server.nodeid(name)
      const { entry, fh, openFlags } = await client.create(mount, 'file', O_RDWR | O_CREAT)
      await client.release(entry.nodeid, fh)
      for (const valid of [entry.entryValid, entry.attrValid, (await client.getattr(entry.nodeid)).attrValid])
        assert.ok(name === 'always' ? valid >= seconds : valid === seconds, `${name}: ${valid}`)
      assert.equal(openFlags, flags, name)
      if (name === 'always') assert.equal((await client.lookupEntry(mount, 'missing')).nodeid, 0)
    }
  })

  it('a root that is missing is an error of its mount, until it is there', async (t) => {
    const root = join(folder(t), 'later')
    const server = await served(
      t,
      { store: directoryStore, mountPoint: ['m'] },
      { store: passthroughStore({ root }), mountPoint: ['p'] },
    )
    assert.equal(await codeOf(server.client.lookup(1, 'p')), 'ENOENT')
    await server.guestFs('m').writeFile('file', 'works')
    await server.client.syncfs()
    host.mkdirSync(root)
    await server.guestFs('p').writeFile('file', 'works')
    assert.equal(host.readFileSync(join(root, 'file'), 'utf8'), 'works')
  })

  it('comes and goes with a reload: open files live through the grace', async (t) => {
    const root = folder(t)
    const server = await served(t, { store: directoryStore })
    const mount = mountOf('added', root)
    assert.deepEqual(await reload(server, { added: [mount] }), [])
    const fs = server.guestFs('added')
    await fs.writeFile('file', 'contents')
    const nodeid = await server.nodeid('added/file')
    const { fh } = await server.client.open(nodeid, O_RDWR)
    await reload(server, { removed: [mount] })
    assert.equal(await codeOf(server.client.lookup(1, 'added')), 'ENOENT')
    assert.equal(await codeOf(server.client.getattr(nodeid)), 'EIO')
    assert.equal(Buffer.from(await server.client.read(nodeid, fh, 0, 100)).toString(), 'contents')
    await server.client.release(nodeid, fh)
    await eventually('the mount ends', () => server.stats().passthrough.descriptors === 0)
    assert.equal(await codeOf(server.client.getattr(nodeid)), 'EIO')
    await server.client.batchForget([
      [nodeid, 10],
      [await server.nodeid('m'), 1],
    ])
  })

  it('handles that outlast the grace give EIO', async (t) => {
    const root = folder(t)
    host.writeFileSync(join(root, 'file'), 'contents')
    const server = await served(t, { store: directoryStore })
    const mount = mountOf('added', root)
    await reload(server, { added: [mount] })
    const nodeid = await server.nodeid('added/file')
    const { fh } = await server.client.open(nodeid, O_RDWR)
    const directory = await server.client.opendir(await server.nodeid('added'))
    await reload(server, { removed: [mount] }, 0)
    await eventually('the handles are closed', () => server.stats().passthrough.descriptors === 0)
    assert.equal(await codeOf(server.client.read(nodeid, fh, 0, 10)), 'EIO')
    assert.equal(await codeOf(server.client.readdir(nodeid, directory.fh)), 'EIO')
    await server.client.release(nodeid, fh)
    // The same place again is another mount.
    await reload(server, { added: [mount] })
    assert.notEqual(await server.nodeid('added/file'), nodeid)
  })

  it('options change while files are open', async (t) => {
    const root = folder(t)
    const server = await served(t, { store: directoryStore })
    const before = mountOf('added', root)
    await reload(server, { added: [before] })
    const fs = server.guestFs('added')
    const file = await fs.open('file', O_RDWR | O_CREAT)
    const after = mountOf('added', root, { readOnly: true, options: { root, xattr: 'true' } })
    assert.deepEqual(await reload(server, { changed: [{ before, after }] }), [])
    assert.equal(await codeOf(fs.mkdir('new')), 'EROFS')
    assert.equal(await codeOf(server.client.listxattr(await server.nodeid('added'))), 'OK')
    await file.write(0, 'what is open goes on')
    await file.close()
    assert.equal(host.readFileSync(join(root, 'file'), 'utf8'), 'what is open goes on')
  })

  it('file systems of the host below the root are announced', { skip: NOT_ROOT }, async (t) => {
    const root = host.mkdtempSync(join(tmpdir(), 'ovfsd-passthrough-'))
    for (const name of ['other', 'plain']) host.mkdirSync(join(root, name))
    execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', join(root, 'other')])
    t.after(() => {
      // The daemon may still have it open.
      execFileSync('umount', ['--lazy', join(root, 'other')])
      host.rmSync(root, { recursive: true })
    })
    host.mkdirSync(join(root, 'other/below'))
    const server = await served(
      t,
      { store: passthroughStore({ root, announceSubmounts: true }), mountPoint: ['told'] },
      { store: passthroughStore({ root }), mountPoint: ['untold'] },
    )
    assert.ok(server.client.has('SUBMOUNTS'))
    const flagsOf = async (path: string): Promise<number> => {
      const { nodeid } = await server.client.lookup(await server.nodeid(dirname(path)), basename(path))
      await server.client.forget(nodeid)
      return (await server.client.lookup(await server.nodeid(dirname(path)), basename(path))).attr.flags
    }
    assert.equal(await flagsOf('told/other'), ATTR_SUBMOUNT)
    for (const path of ['told/plain', 'told/other/below', 'untold/other'])
      assert.equal(await flagsOf(path), 0, path)
    await server.guestFs('told/other').writeFile('file', 'x')
    assert.equal(host.readFileSync(join(root, 'other/file'), 'utf8'), 'x')
  })

  it('without xattr, no mount has them, and the guest need not ask again', async (t) => {
    const server = await served(
      t,
      { store: passthroughStore() },
      { store: directoryStore, mountPoint: ['fs'] },
    )
    for (const path of ['m', 'fs', ''])
      assert.equal(await codeOf(server.client.getxattr(await server.nodeid(path), 'user.x')), 'ENOSYS')
  })
})
