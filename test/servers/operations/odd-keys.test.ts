/** Keys and names that something on the way could fold, trim or lose: shown exactly or left out and counted, and never lost by what is done around them. */
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { codeOf } from '../../frontend/fuse-client.js'
import { freshObjectStore, type ObjectStore } from '../../support/object-stores.js'
import { describeStores, serve, type Served } from '../../support/served.js'
import { directoryStore, hdfsStore } from '../../support/stores.js'

/** NAME_MAX of Linux, and one. */
const TOO_LONG = 'l'.repeat(256)
/** Names that a file may have. */
const SHOWN = ['a\u0085b', 'a\u2028b', '\x01c', '\x7f', '%2e%2e', '...', 'back\\slash', '\u0085', 'new\nline']
/** Below a directory: what no file can have for a name is in them. */
const HIDDEN = ['/x', './x', '../y', TOO_LONG]
const MARKER_CONTENTS = 'contents of a marker'

async function useName(fs: ReturnType<Served['guestFs']>, directory: string, name: string): Promise<void> {
  const path = `${directory}/${name}`
  await fs.writeFile(path, 'first')
  assert.equal((await fs.stat(path)).size, 5, JSON.stringify(name))
  await fs.writeFile(path, 'second')
  await fs.truncate(path, 3)
  await fs.rename(path, `${directory}/plain`)
  assert.equal(await codeOf(fs.stat(path)), 'ENOENT', JSON.stringify(name))
  await fs.rename(`${directory}/plain`, path)
  assert.equal((await fs.readFile(path)).toString(), 'sec', JSON.stringify(name))
  assert.ok((await fs.list(directory)).includes(name), `${JSON.stringify(name)} is not listed`)
  await fs.unlink(path)
  await fs.mkdir(path)
  await fs.writeFile(`${path}/${name}`, 'inner')
  assert.equal(await codeOf(fs.rmdir(path)), 'ENOTEMPTY')
  await fs.rename(path, `${directory}/moved`)
  assert.equal((await fs.readFile(`${directory}/moved/${name}`)).toString(), 'inner')
  await fs.unlink(`${directory}/moved/${name}`)
  await fs.rmdir(`${directory}/moved`)
}

describeStores('odd names', { stores: [directoryStore, hdfsStore], mount: { expirationMs: 0 } }, (served) => {
  it('are like any other in all operations', async () => {
    const fs = served().guestFs()
    await fs.mkdir('d')
    for (const name of SHOWN) await useName(fs, 'd', name)
    assert.equal(await codeOf(fs.writeFile(`d/${TOO_LONG}`, '')), 'ENAMETOOLONG')
    assert.deepEqual(await fs.list('d'), [])
  })
})

for (const type of ['s3', 'swift'] as const)
  describe(`odd keys (${type})`, () => {
    let store: ObjectStore
    let served: Served
    before(async () => {
      store = await freshObjectStore(type)
      served = await serve({ mounts: [{ store, expirationMs: 0 }] })
    })
    after(() => served.close())

    /** A directory that holds every kind of key, and what a folded one would lead to beside it. */
    async function fill(directory: string): Promise<void> {
      for (const key of [...SHOWN, ...HIDDEN]) await store.put(`${directory}/${key}`, key)
      await store.put(`${directory}/sub/`, MARKER_CONTENTS)
      await store.put(`${directory}/sub/file`, 'file')
      for (const outside of ['x', 'y']) await store.put(outside, 'not to be touched')
    }

    async function requireAll(directory: string, keys: readonly string[]): Promise<void> {
      for (const key of keys)
        assert.equal((await store.contents(`${directory}/${key}`))?.toString(), key, JSON.stringify(key))
      for (const outside of ['x', 'y'])
        assert.equal((await store.contents(outside))?.toString(), 'not to be touched')
    }

    it('are shown exactly, or left out and counted', async () => {
      await fill('shown')
      const fs = served.guestFs()
      assert.deepEqual((await fs.list('shown')).sort(), [...SHOWN, 'sub'].sort())
      for (const name of SHOWN) assert.equal((await fs.readFile(`shown/${name}`)).toString(), name)
      assert.equal(served.server.control.mounts()[0]?.unlistable, HIDDEN.length)
      assert.ok(
        served.log.some((line) => line.includes('shown') && line.includes(`"count":${HIDDEN.length}`)),
        served.log.join(''),
      )
    })

    it('that can be names are like any other in all operations', async () => {
      const fs = served.guestFs()
      await fs.mkdir('used')
      for (const name of SHOWN) await useName(fs, 'used', name)
    })

    it('are not lost by rmdir', async () => {
      await fill('kept')
      const fs = served.guestFs()
      for (const name of SHOWN) await fs.unlink(`kept/${name}`)
      await fs.unlink('kept/sub/file')
      assert.equal(await codeOf(fs.rmdir('kept/sub')), 'ENOTEMPTY')
      assert.equal((await store.contents('kept/sub/'))?.toString(), MARKER_CONTENTS)
      assert.equal(await codeOf(fs.rmdir('kept')), 'ENOTEMPTY')
      await requireAll('kept', HIDDEN)
    })

    it('go along with mv, and touch nothing else', async () => {
      await fill('from')
      await served.guestFs().rename('from', 'to')
      await requireAll('to', [...SHOWN, ...HIDDEN])
      assert.equal((await store.contents('to/sub/'))?.toString(), MARKER_CONTENTS)
      assert.equal((await store.contents('to/sub/file'))?.toString(), 'file')
      assert.deepEqual(
        (await store.names()).filter((name) => name.startsWith('from')),
        [],
      )
    })
  })
