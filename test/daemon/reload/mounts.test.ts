/** Mounts that are added, removed and changed by Server.reload while a guest works on another one. */
import assert from 'node:assert/strict'
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import type { ServerChange, ServerMount } from '../../../src/server/server.js'
import { O_CREAT, O_RDONLY, O_RDWR } from '../../frontend/abi.js'
import { codeOf } from '../../frontend/fuse-client.js'
import { eventually, RELOAD_SETTINGS, serve, type ServeOptions, type Served } from '../../support/served.js'
import { directoryStore } from '../../support/stores.js'

/** Longer than any test: what ends before has not waited for it. */
const LONG_MS = 120_000
/** What a guest may remember of mount points at most, in seconds. */
const REMEMBERED_SECONDS = 1

function mountOf(name: string, type: string, change: Partial<ServerMount> = {}): ServerMount {
  return {
    name,
    type,
    mountPoint: [name],
    readOnly: false,
    uid: 0,
    gid: 0,
    fileMode: 0o644,
    dirMode: 0o755,
    guestCache: 'auto',
    expirationMs: 60_000,
    timeoutMs: 30_000,
    options: {},
    storeKey: JSON.stringify([type, change.options]),
    ...change,
  }
}

function reload(served: Served, change: Partial<ServerChange>, reloadGraceMs = LONG_MS): Promise<string[]> {
  return served.server.reload({
    settings: { ...RELOAD_SETTINGS, reloadGraceMs },
    added: [],
    removed: [],
    changed: [],
    ...change,
  })
}

/** A server whose mount `m` is busy until the test ends, without an error. */
async function busy(t: TestContext, options: Omit<ServeOptions, 'mounts'> = {}): Promise<Served> {
  const served = await serve({ ...options, mounts: [{ store: directoryStore }] })
  const files = served.guestFs('m')
  const work = { goesOn: true }
  const done = (async () => {
    for (let round = 0; work.goesOn; round++) {
      await files.writeFile('busy', `round ${round}`)
      assert.equal(String(await files.readFile('busy')), `round ${round}`)
    }
  })()
  done.catch(() => undefined)
  t.after(async () => {
    work.goesOn = false
    try {
      await done
    } finally {
      await served.close()
    }
  })
  return served
}

async function directory(t: TestContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'ovfsd-reload-'))
  t.after(() => rm(path, { recursive: true, force: true }))
  return path
}

function hasLogged(served: Served, message: string, mount: string): boolean {
  return served.log.some((line) => {
    const { msg, mount: name } = JSON.parse(line) as { msg: string; mount?: string }
    return msg === message && name === mount
  })
}

function isRemoved(served: Served, mount: string): Promise<void> {
  return eventually(`${mount} is removed`, () => hasLogged(served, 'mount removed', mount))
}

describe('a mount that is added', () => {
  for (const type of ['fs', 'memory']) {
    it(`is there at once (${type})`, async (t) => {
      const served = await busy(t)
      const root = await directory(t)
      const missing = await served.client.lookupEntry(1, 'new')
      assert.equal(missing.nodeid, 0)
      assert.ok(missing.entryValid <= REMEMBERED_SECONDS)
      await reload(served, { added: [mountOf('new', type, { options: type === 'fs' ? { root } : {} })] })
      const files = served.guestFs('new')
      await files.writeFile('a', 'b')
      assert.equal(String(await files.readFile('a')), 'b')
      assert.deepEqual((await served.guestFs('').list('')).sort(), ['m', 'new'])
      const entry = await served.client.lookup(1, 'new')
      assert.ok(entry.entryValid <= REMEMBERED_SECONDS)
    })
  }

  it('covers what a mount around it has by that name, and uncovers it again', async (t) => {
    const served = await busy(t)
    const files = served.guestFs('m')
    await files.mkdir('inner')
    await files.writeFile('inner/covered', 'c')
    const open = await files.open('inner/covered', O_RDWR)
    const inner = mountOf('inner', 'memory', { mountPoint: ['m', 'inner', 'deep'] })
    await reload(served, { added: [inner] })
    assert.deepEqual(await files.list('inner'), ['deep'])
    await files.writeFile('inner/deep/x', 'x')
    await open.write(0, 'C')
    await open.close()
    assert.equal(await readFile(join(served.hostDirectory, 'inner/covered'), 'utf8'), 'C')
    await reload(served, { removed: [inner] })
    assert.deepEqual(await files.list('inner'), ['covered'])
    await isRemoved(served, 'inner')
  })

  it('takes in the mounts below its place, and leaves them there when it goes', async (t) => {
    const served = await busy(t)
    const below = mountOf('below', 'memory', { mountPoint: ['team', 'below'] })
    const team = mountOf('team', 'memory')
    await reload(served, { added: [below] })
    await served.guestFs('team/below').writeFile('x', '1')
    await reload(served, { added: [team] })
    await served.guestFs('team').writeFile('y', '2')
    assert.deepEqual((await served.guestFs('team').list('')).sort(), ['below', 'y'])
    await reload(served, { removed: [team] })
    assert.deepEqual(await served.guestFs('team').list(''), ['below'])
    assert.equal(String(await served.guestFs('team/below').readFile('x')), '1')
    await isRemoved(served, 'team')
    await reload(served, { removed: [below] })
    assert.equal(await codeOf(served.client.lookup(1, 'team')), 'ENOENT')
    await isRemoved(served, 'below')
  })

  it('answers with errors until its part of the cache directory can be had', async (t) => {
    const cacheDir = await directory(t)
    const served = await busy(t, { settings: { cacheDir, cacheDirSizeBytes: 16 << 20 } })
    const staged = join(cacheDir, 'staged')
    await rm(staged, { recursive: true })
    await writeFile(staged, '')
    const mount = mountOf('new', 'fs', { options: { root: await directory(t) } })
    assert.deepEqual(await reload(served, { added: [mount] }), [])
    assert.equal(await codeOf(served.guestFs('new').writeFile('a', 'b')), 'ENOTDIR')
    assert.ok(hasLogged(served, 'a mount is not available yet; requests to it will try again', 'new'))
    await rm(staged)
    await eventually(
      'the mount is available',
      async () => (await codeOf(served.guestFs('new').writeFile('a', 'b'))) === 'OK',
    )
  })

  it('answers with errors until its storage can be set up', async (t) => {
    const served = await busy(t)
    const path = join(await directory(t), 'file')
    await writeFile(path, 'in the way of a directory')
    await reload(served, { added: [mountOf('late', 'fs', { options: { root: join(path, 'root') } })] })
    const late = served.guestFs('late')
    assert.ok(hasLogged(served, 'a mount is not available yet; requests to it will try again', 'late'))
    assert.notEqual(await codeOf(late.readFile('x')), 'OK')
    await rm(path)
    await mkdir(join(path, 'root'), { recursive: true })
    await writeFile(join(path, 'root/x'), 'there')
    await eventually('the mount is available', async () => (await codeOf(late.readFile('x'))) === 'OK')
    assert.ok(hasLogged(served, 'mount available', 'late'))
  })
})

describe('a mount that is removed', () => {
  it('tells of each file that its store did not take before the end', async (t) => {
    const served = await serve({
      mounts: [{ store: directoryStore }],
      settings: { writeBack: true, dirtyExpireMs: LONG_MS },
    })
    t.after(() => served.close().catch(() => undefined))
    const root = await directory(t)
    const gone = mountOf('gone', 'fs', { options: { root } })
    const settings = { ...RELOAD_SETTINGS, writeBack: true, dirtyExpireMs: LONG_MS, reloadGraceMs: 0 }
    await reload(served, { settings, added: [gone] })
    await served.guestFs('gone').writeFile('precious', 'data')
    await rm(root, { recursive: true })
    await writeFile(root, 'in the way of the directory')
    await reload(served, { settings, removed: [gone] })
    await eventually('it is on its way out', () => served.server.unsaved().length === 1)
    assert.deepEqual(served.server.unsaved()[0]?.paths, ['precious'])
    assert.deepEqual(served.server.losses(), { lostFiles: 0, conflicts: 0 })
    await served.server.close()
    assert.deepEqual(served.server.losses(), { lostFiles: 1, conflicts: 0 })
    const line = served.log.find((text) => text.includes('data of a file that the guest has written is lost'))
    assert.match(line ?? '', /"mount":"gone","path":"precious"/)
  })

  it('has its dirty data first, serves what is open for the grace, and then gives EIO', async (t) => {
    const served = await busy(t)
    const root = await directory(t)
    const gone = mountOf('gone', 'fs', { options: { root } })
    await reload(served, { added: [gone] })
    const files = served.guestFs('gone', { forget: false })
    await files.writeFile('closed', '1')
    const open = await files.open('open', O_RDWR | O_CREAT)
    await open.write(0, 'dirty')
    const { nodeid } = await served.client.lookup(1, 'gone')
    const closed = await served.client.lookup(nodeid, 'closed')

    await reload(served, { removed: [gone] })
    assert.equal(await readFile(join(root, 'open'), 'utf8'), 'dirty')
    assert.equal(await codeOf(served.client.lookup(1, 'gone')), 'ENOENT')
    assert.equal(await codeOf(served.client.lookup(nodeid, 'closed')), 'EIO')
    assert.equal(await codeOf(served.client.getattr(closed.nodeid)), 'EIO')
    assert.equal(await codeOf(served.client.open(closed.nodeid, O_RDONLY)), 'EIO')
    assert.equal(await codeOf(served.client.open(open.nodeid, O_RDONLY)), 'EIO')
    assert.equal(await codeOf(served.client.mkdir(nodeid, 'd')), 'EIO')
    await open.write(5, ', still')
    await open.truncate(11)
    assert.equal(String(await open.readAll()), 'dirty, stil')
    await open.close()
    assert.equal(await readFile(join(root, 'open'), 'utf8'), 'dirty, stil')
    // The last handle is closed: the grace, which is longer than the test, is over.
    await isRemoved(served, 'gone')
  })

  it('closes what is still open after the grace, and stores it', async (t) => {
    const served = await busy(t, { settings: { writeBack: true } })
    const root = await directory(t)
    const gone = mountOf('gone', 'fs', { options: { root } })
    await reload(served, { added: [gone] })
    const files = served.guestFs('gone')
    const open = await files.open('open', O_RDWR | O_CREAT)
    await open.write(0, 'dirty')
    const { nodeid } = await served.client.lookup(1, 'gone')
    const { fh } = await served.client.opendir(nodeid)
    await reload(served, { removed: [gone] }, 0)
    await isRemoved(served, 'gone')
    assert.equal(await readFile(join(root, 'open'), 'utf8'), 'dirty')
    assert.equal(await codeOf(open.read(0, 1)), 'EIO')
    assert.equal(await codeOf(open.write(0, 'x')), 'EIO')
    assert.equal(await codeOf(open.fsync()), 'EIO')
    assert.equal(await codeOf(open.stat()), 'EIO')
    assert.equal(await codeOf(served.client.readdir(nodeid, fh, 0n, 4096)), 'EIO')
    // Not given to anybody else while the guest has it.
    const other = await served.guestFs('m').open('other', O_RDWR | O_CREAT)
    assert.notEqual(other.fh, open.fh)
    await other.close()
    await served.client.releasedir(nodeid, fh)
    await served.client.release(open.nodeid, open.fh, O_RDWR)
  })

  it('erases what was unlinked while it was open', async (t) => {
    const served = await busy(t)
    const root = await directory(t)
    const gone = mountOf('gone', 'fs', { options: { root } })
    await reload(served, { added: [gone] })
    const files = served.guestFs('gone')
    await files.writeFile('a', 'data')
    await files.open('a', O_RDWR)
    await files.unlink('a')
    await reload(served, { removed: [gone] }, 0)
    await isRemoved(served, 'gone')
    const again = mountOf('again', 'fs', { options: { root } })
    await reload(served, { added: [again] })
    assert.deepEqual(await served.guestFs('again').list(''), [])
    assert.deepEqual(await readdir(join(root, '.ovfsd')), [])
  })

  it('leaves nothing behind, however often it comes back to the same place', async (t) => {
    const served = await serve({ mounts: [{ store: directoryStore }] })
    t.after(() => served.close())
    const root = await directory(t)
    const before = held(served)
    for (let round = 0; round < 5; round++) {
      for (const type of ['fs', 'memory']) {
        const mount = mountOf('x', type, { options: type === 'fs' ? { root } : {} })
        await reload(served, { added: [mount] })
        const files = served.guestFs('x', { forget: true })
        await files.mkdir(`d${round}`)
        await files.writeFile(`d${round}/a`, Buffer.alloc(300_000, round))
        assert.equal((await files.readFile(`d${round}/a`)).length, 300_000)
        const open = await files.open(`d${round}/open`, O_RDWR | O_CREAT)
        await open.write(0, 'x')
        await reload(served, { removed: [mount] }, 0)
        await isRemoved(served, 'x')
        ;(served.log as string[]).length = 0
        await served.client.release(open.nodeid, open.fh, O_RDWR)
        await served.client.forget(open.nodeid)
      }
    }
    await eventually('all is given back', () => JSON.stringify(held(served)) === JSON.stringify(before))
  })

  it('may be replaced by another one at the same place', async (t) => {
    const served = await busy(t)
    const [first, second] = [await directory(t), await directory(t)]
    await writeFile(join(first, 'who'), 'first')
    await writeFile(join(second, 'who'), 'second')
    const before = mountOf('x', 'fs', { options: { root: first } })
    const after = mountOf('x', 'fs', { options: { root: second } })
    await reload(served, { added: [before] })
    const open = await served.guestFs('x').open('who', O_RDONLY)
    await reload(served, { removed: [before], added: [after] })
    assert.equal(String(await served.guestFs('x').readFile('who')), 'second')
    assert.equal(String(await open.readAll()), 'first')
    await open.close()
    await isRemoved(served, 'x')
  })

  it('does not outlive a stop of the server', async (t) => {
    const served = await serve({ mounts: [{ store: directoryStore }] })
    const root = await directory(t)
    const gone = mountOf('gone', 'fs', { options: { root } })
    await reload(served, { added: [gone] })
    const open = await served.guestFs('gone').open('open', O_RDWR | O_CREAT)
    await reload(served, { removed: [gone] })
    await open.write(0, 'late')
    await served.close()
    assert.equal(await readFile(join(root, 'open'), 'utf8'), 'late')
  })
})

describe('a mount that is changed', () => {
  it('goes on with open files, dirty data and inodes, and no request fails', async (t) => {
    const served = await busy(t)
    const root = await directory(t)
    let before = mountOf('x', 'fs', { options: { root } })
    await reload(served, { added: [before] })
    const files = served.guestFs('x', { forget: false })
    const open = await files.open('open', O_RDWR | O_CREAT)
    const { nodeid } = await served.client.lookup(1, 'x')
    const work = { goesOn: true }
    const done = (async () => {
      let rounds = 0
      for (; work.goesOn; rounds++) {
        await files.writeFile('f', `round ${rounds}`)
        await open.write(0, 'dirty')
        assert.equal(String(await files.readFile('f')), `round ${rounds}`)
        await open.fsync()
      }
      return rounds
    })()
    for (let timeoutMs = 20_000; timeoutMs > 19_900; timeoutMs--) {
      const after = { ...before, timeoutMs }
      assert.deepEqual(await reload(served, { changed: [{ before, after }] }), [])
      before = after
      await served.client.getattr(nodeid)
    }
    work.goesOn = false
    assert.ok((await done) > 0)
    assert.equal((await served.client.lookup(1, 'x')).nodeid, nodeid)
    await open.close()
  })

  it('is reached in the new way by what was open before', async (t) => {
    const served = await busy(t)
    // Two directories, to tell by which way the data came.
    const [first, second] = [await directory(t), await directory(t)]
    const before = mountOf('x', 'fs', { options: { root: first } })
    await reload(served, { added: [before] })
    const open = await served.guestFs('x').open('f', O_RDWR | O_CREAT)
    await open.write(0, 'data')
    await reload(served, { changed: [{ before, after: { ...before, options: { root: second } } }] })
    await open.close()
    assert.equal(await readFile(join(second, 'f'), 'utf8'), 'data')
    assert.deepEqual(await readdir(first), [])
  })

  it('has its new owner, modes and limits at once', async (t) => {
    const served = await busy(t)
    const before = mountOf('x', 'memory', { expirationMs: Infinity })
    await reload(served, { added: [before] })
    const files = served.guestFs('x', { forget: false })
    await files.writeFile('f', '1')
    const after = { ...before, uid: 7, fileMode: 0o600, dirMode: 0o700, readOnly: true, expirationMs: 2000 }
    await reload(served, { changed: [{ before, after }] })
    const attr = await files.stat('f')
    assert.equal(attr.uid, 7)
    assert.equal(attr.mode & 0o777, 0o600)
    assert.equal((await files.stat('')).mode & 0o777, 0o700)
    const { nodeid } = await served.client.lookup(1, 'x')
    assert.ok((await served.client.lookup(nodeid, 'f')).attrValid <= 2)
    assert.equal(await codeOf(files.writeFile('f', '2')), 'EROFS')
    // A memory mount's data is in the backend, and so is not replaced with it.
    assert.equal(String(await files.readFile('f')), '1')
  })

  it('stays as it was when the new options make no storage', async (t) => {
    const served = await busy(t)
    const root = await directory(t)
    const before = mountOf('x', 'fs', { options: { root } })
    await reload(served, { added: [before] })
    await served.guestFs('x').writeFile('f', '1')
    const after = { ...before, type: 'no-such-service' }
    assert.deepEqual(await reload(served, { changed: [{ before, after: { ...after, timeoutMs: 1 } }] }), [
      'x',
    ])
    assert.equal(String(await served.guestFs('x').readFile('f')), '1')
  })
})

describe('write-back that is turned off', () => {
  it('stores what is dirty at once', async (t) => {
    const served = await serve({ mounts: [{ store: directoryStore }], settings: { writeBack: true } })
    t.after(() => served.close())
    await served.guestFs('m').writeFile('f', 'data')
    assert.equal(await served.view.read('f'), null)
    await reload(served, {})
    await eventually('it is stored', async () => String(await served.view.read('f')) === 'data')
    await served.guestFs('m').writeFile('g', 'data')
    assert.equal(String(await served.view.read('g')), 'data')
  })
})

function held(served: Served): Record<string, number> {
  const { inodes, treeInodes, openFiles, openDirectories, cache } = served.server.stats()
  const { leasedSlabs, heldBytes, dirtyFiles } = cache
  return { inodes, treeInodes, openFiles, openDirectories, leasedSlabs, heldBytes, dirtyFiles }
}
