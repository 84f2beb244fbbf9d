/** GETATTR and SETATTR: what the mount decides, what the guest may set, and how long it is kept. */
import assert from 'node:assert/strict'
import { it } from 'node:test'
import { O_RDWR, S_IFDIR, S_IFMT, S_IFREG } from '../../frontend/abi.js'
import { codeOf } from '../../frontend/fuse-client.js'
import type { Attr } from '../../frontend/fuse-structs.js'
import { describeEachStore, describeStores, serve } from '../../support/served.js'
import { STORES, type StoreProperties } from '../../support/stores.js'

const OWNER = { uid: 1234, gid: 5678, fileMode: 0o640, dirMode: 0o750 }
/** 2023-11-14 22:13:20 UTC and some: whole microseconds. */
const MTIME_SECONDS = 1_700_000_000
const MTIME_NANOSECONDS = 123_457_000
/** No test takes longer. */
const TEST_SECONDS = 1200
const MTIME = MTIME_SECONDS + MTIME_NANOSECONDS / 1e9

/** A guest's double of seconds keeps about a quarter of a microsecond. */
const DOUBLE_ERROR_NS = 500

/** MTIME, to the unit in which it is stored. */
function assertMtime(attr: Attr, what: string, unitNs = 1): void {
  assert.equal(attr.mtime, MTIME_SECONDS, what)
  const expected = MTIME_NANOSECONDS - (MTIME_NANOSECONDS % unitNs)
  const error = Math.abs(attr.mtimensec - expected)
  assert.ok(error < DOUBLE_ERROR_NS, `${what}: ${attr.mtimensec} ns instead of ${expected}`)
}

/** MTIME where the store keeps times; else the object's own time, which is the test's. */
function assertStoredMtime(attr: Attr, what: string, { mtimeUnitNs }: StoreProperties): void {
  if (mtimeUnitNs !== null) assertMtime(attr, what, mtimeUnitNs)
  else assert.ok(Math.abs(attr.mtime - Date.now() / 1000) < TEST_SECONDS, `${what}: ${attr.mtime}`)
}

describeStores('attributes', { mount: OWNER }, (served, { properties }) => {
  it('are of the owner and mode that the mount is configured with', async () => {
    const fs = served().guestFs()
    await fs.writeFile('owned', 'x')
    await fs.mkdir('owned-directory')
    const file = await fs.stat('owned')
    assert.deepEqual([file.uid, file.gid, file.mode], [1234, 5678, S_IFREG | 0o640])
    const directory = await fs.stat('owned-directory')
    assert.deepEqual([directory.uid, directory.gid, directory.mode], [1234, 5678, S_IFDIR | 0o750])
    const root = await fs.stat('')
    assert.deepEqual([root.uid, root.gid, root.mode], [1234, 5678, S_IFDIR | 0o750])
  })

  it('count blocks of 512 bytes', async () => {
    const fs = served().guestFs()
    for (const [size, blocks] of [
      [0, 0],
      [1, 1],
      [512, 1],
      [513, 2],
      [100_000, 196],
    ] as const) {
      await fs.writeFile('blocks', Buffer.alloc(size))
      const attr = await fs.stat('blocks')
      assert.deepEqual([attr.size, attr.blocks], [size, blocks])
    }
  })

  it('take the mode and owner that they have already, refuse others', async () => {
    const fs = served().guestFs()
    await fs.writeFile('chmod', 'x')
    await fs.mkdir('chmod-directory')
    await fs.chmod('chmod', 0o640)
    await fs.chmod('chmod', S_IFREG | 0o640)
    await fs.chmod('chmod-directory', 0o750)
    await fs.setattr('chmod', { uid: 1234, gid: 5678 })
    assert.equal(await codeOf(fs.chmod('chmod', 0o600)), 'EPERM')
    assert.equal(await codeOf(fs.chmod('chmod', 0o4640)), 'EPERM')
    assert.equal(await codeOf(fs.chmod('chmod-directory', 0o777)), 'EPERM')
    assert.equal(await codeOf(fs.setattr('chmod', { uid: 0 })), 'EPERM')
    assert.equal(await codeOf(fs.setattr('chmod', { gid: 0 })), 'EPERM')
    const { mode, uid, gid } = await fs.stat('chmod')
    assert.deepEqual([mode & ~S_IFMT, uid, gid], [0o640, 1234, 5678])
  })

  it('change nothing when one of several changes is refused', async () => {
    const fs = served().guestFs()
    await fs.writeFile('all-or-nothing', 'contents')
    const before = await fs.stat('all-or-nothing')
    assert.equal(await codeOf(fs.setattr('all-or-nothing', { mode: 0o777, size: 1, mtime: 1 })), 'EPERM')
    const after = await fs.stat('all-or-nothing')
    assert.deepEqual([after.size, after.mtime], [before.size, before.mtime])
    assert.equal(await fs.readText('all-or-nothing'), 'contents')
  })

  it('keep a time that was set, whatever is forgotten and looked up again', async () => {
    const fs = served().guestFs()
    const { client } = served()
    await fs.writeFile('utimens', 'x')
    const parent = await served().nodeid()
    const first = await client.lookup(parent, 'utimens')
    const set = await client.setattr(first.nodeid, { mtime: MTIME })
    assertMtime(set, 'in the reply')
    assertMtime((await client.getattr(first.nodeid)).attr, 'GETATTR')
    await client.forget(first.nodeid)
    const second = await client.lookup(parent, 'utimens')
    assertMtime(second.attr, 'after FORGET')
    await client.forget(second.nodeid)
    assert.equal(await fs.readText('utimens'), 'x')
    assertMtime(await fs.stat('utimens'), 'after a read')
  })

  it('keep a time that was set on an open file with unsaved data (cp -p)', async () => {
    const fs = served().guestFs()
    const file = await fs.open('copied', O_RDWR | 0o100)
    await file.write(0, 'copied with its time')
    await served().client.setattr(file.nodeid, { mtime: MTIME, fh: file.fh })
    await file.close()
    assertMtime(await fs.stat('copied'), 'after close')
    assert.equal(await fs.readText('copied'), 'copied with its time')
    assertMtime(await fs.stat('copied'), 'after a read')
  })

  it('keep a time that was set on a directory', async () => {
    const fs = served().guestFs()
    await fs.mkdir('aged-directory')
    const { client } = served()
    const { nodeid } = await client.lookup(await served().nodeid(), 'aged-directory')
    await client.setattr(nodeid, { mtime: MTIME })
    assertMtime((await client.getattr(nodeid)).attr, 'GETATTR')
    await client.forget(nodeid)
    assertStoredMtime(await fs.stat('aged-directory'), 'after FORGET', properties)
  })

  it('take times before 1970, where the store does, and after 2106', async () => {
    const fs = served().guestFs()
    await fs.writeFile('eras', 'x')
    for (const mtime of [-1_000_000_000, 0, 5_000_000_000]) {
      if (mtime < 0 && properties.refusesTimesBefore1970) {
        assert.equal(await codeOf(fs.setattr('eras', { mtime })), 'EINVAL')
        continue
      }
      assert.equal((await fs.setattr('eras', { mtime })).mtime, mtime)
      assert.equal((await fs.stat('eras')).mtime, mtime)
    }
  })

  it('set the present time by UTIME_NOW', async () => {
    const fs = served().guestFs()
    await fs.writeFile('now', 'x')
    await fs.utimes('now', 1, 1)
    const before = Math.floor(Date.now() / 1000)
    await fs.utimes('now', 'now', 'now')
    const { mtime } = await fs.stat('now')
    assert.ok(mtime >= before && mtime <= Date.now() / 1000, `${mtime}`)
  })

  it('change the time of a file that is written, and of a directory whose names change', async () => {
    const fs = served().guestFs()
    await fs.mkdir('busy-directory')
    await fs.writeFile('busy', 'x')
    await fs.utimes('busy', 1000, 1000)
    await fs.utimes('busy-directory', 1000, 1000)
    const file = await fs.open('busy', O_RDWR)
    await file.write(0, 'y')
    assert.notEqual((await file.stat()).mtime, 1000)
    await file.close()
    assert.notEqual((await fs.stat('busy')).mtime, 1000)
    await fs.writeFile('busy-directory/new', '')
    assert.notEqual((await fs.stat('busy-directory')).mtime, 1000)
  })

  it('do not change by reading', async () => {
    const fs = served().guestFs()
    await fs.writeFile('read-only-use', 'x')
    await fs.utimes('read-only-use', 1000, 1000)
    await fs.readFile('read-only-use')
    assert.equal((await fs.stat('read-only-use')).mtime, 1000)
  })

  it('are ESTALE for a nodeid that nobody was given', async () => {
    const { client } = served()
    assert.equal(await codeOf(client.getattr(77_777)), 'ESTALE')
    assert.equal(await codeOf(client.setattr(77_777, { size: 0 })), 'ESTALE')
  })
})

describeEachStore('attributes without cache', STORES, (store) => {
  it('keep a time that was set on an open file with unsaved data', async (t) => {
    const served = await serve({ mounts: [{ store }], settings: { enabledCache: false } })
    t.after(() => served.close())
    const fs = served.guestFs()
    const file = await fs.open('copied', O_RDWR | 0o100)
    await file.write(0, 'copied with its time')
    await served.client.setattr(file.nodeid, { mtime: MTIME, fh: file.fh })
    await file.flush()
    // As it was set, while the daemon knows the file, or already as it is stored.
    const { mtime, mtimensec } = await file.stat()
    const lostNs = (MTIME_SECONDS - mtime) * 1e9 + MTIME_NANOSECONDS - mtimensec
    assert.ok(Math.abs(lostNs) < (store.properties.mtimeUnitNs ?? 0) + DOUBLE_ERROR_NS, `${lostNs} ns`)
    await file.close()
    assertStoredMtime(await fs.stat('copied'), 'after close', store.properties)
  })
})
