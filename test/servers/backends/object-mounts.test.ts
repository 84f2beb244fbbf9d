/** What a guest sees of S3 and Swift where OpenDAL's or Swift's answers alone would mislead it. */
import assert from 'node:assert/strict'
import { after, before, describe, it } from 'node:test'
import { O_CREAT, O_RDWR } from '../../frontend/abi.js'
import { codeOf } from '../../frontend/fuse-client.js'
import type { Attr } from '../../frontend/fuse-structs.js'
import { heal, proxiedCeph, proxiedSwift, type ProxiedStore } from '../../support/proxied-stores.js'
import { eventually, serve, type Served } from '../../support/served.js'

/** The requests that copy an object below `moved/`. */
const COPIES = { method: 'PUT', path: /\/moved\/file/ }
/** Of the tree that is moved: more than are moved at once. */
const FILES = 20

for (const [name, start] of [
  ['s3', proxiedCeph],
  ['swift', proxiedSwift],
] as const) {
  describe(`a mount of ${name}`, () => {
    let store: ProxiedStore
    let served: Served
    before(async () => {
      store = await start()
      served = await serve({
        mounts: [
          {
            store,
            // Everything is asked for again each time.
            expirationMs: 0,
          },
        ],
      })
    })
    after(() => served.close())

    const timesOf = ({ mtime, mtimensec, ctime, ctimensec }: Attr): readonly number[] => [
      ...[mtime, mtimensec],
      ...[ctime, ctimensec],
    ]

    it("a file's times stay as they are when the store is asked for it again", async () => {
      const fs = served.guestFs()
      const file = await fs.open('own', O_CREAT | O_RDWR)
      await file.write(0, 'data')
      const times = timesOf(await file.stat())
      await file.close()
      // Its time in the store is a later one, and in a listing it has more digits.
      assert.deepEqual(timesOf(await fs.stat('own')), times)
      await (await fs.open('own')).close()
      assert.deepEqual(timesOf(await fs.stat('own')), times)
      const listed = (await fs.listWithAttributes('')).get('own')
      assert.deepEqual(listed && timesOf(listed), times)
    })

    it('a file that was listed has the same times when it is looked at', async () => {
      const fs = served.guestFs()
      await store.view.write('listed', 'data')
      // Held open, so that the daemon does not forget what it has told.
      const directory = await served.nodeid()
      const { fh } = await served.client.opendir(directory)
      const found = await served.client.readdirplus(directory, fh)
      const entry = found.find(({ name }) => name === 'listed')
      assert.ok(entry)
      assert.deepEqual(timesOf(await fs.stat('listed')), timesOf(entry.entry.attr))
      await served.client.releasedir(directory, fh)
    })

    it('other contents bring their own time', async () => {
      const fs = served.guestFs()
      await fs.writeFile('changed', 'data')
      await fs.utimes('changed', 1000, 1000)
      assert.equal((await fs.stat('changed')).mtime, 1000)
      await store.view.write('changed', 'other data')
      assert.ok((await fs.stat('changed')).mtime > 1000)
    })

    it('a rename of a tree that failed half-way is completed when it is repeated', async () => {
      const fs = served.guestFs()
      await fs.mkdirs('tree/sub')
      for (let i = 0; i < FILES; i++)
        await fs.writeFile(`tree/${i % 2 === 0 ? '' : 'sub/'}file${i}`, `data ${i}`)
      const rule = store.proxies[0].answer({ status: 403, ...COPIES, after: FILES / 4 })
      assert.equal(await codeOf(fs.rename('tree', 'moved')), 'EACCES')
      assert.ok(rule.answered > 0)
      // A part is there, a part here, and nothing is lost.
      const parts = [...(await filesBelow('tree')), ...(await filesBelow('moved'))]
      assert.equal(new Set(parts).size, FILES)
      assert.ok((await filesBelow('moved')).length >= FILES / 4)
      await fs.rename('tree', 'moved').then(
        () => assert.fail('the rule was still in force'),
        () => undefined,
      )
      await heal(store)
      await fs.rename('tree', 'moved')
      assert.equal(await fs.exists('tree'), false)
      assert.equal((await filesBelow('moved')).length, FILES)
      for (let i = 0; i < FILES; i++)
        assert.equal(await fs.readText(`moved/${i % 2 === 0 ? '' : 'sub/'}file${i}`), `data ${i}`)
      assert.deepEqual(
        (await store.view.paths()).filter((name) => name.startsWith('tree')),
        [],
      )
    })

    it('an unlinked file whose store is away at its last close is erased when the store is back', async () => {
      const fs = served.guestFs()
      await fs.writeFile('unlinked', 'data')
      const file = await fs.open('unlinked')
      await fs.unlink('unlinked')
      const hidden = async (): Promise<string[]> =>
        (await store.view.paths()).filter((name) => name.startsWith('.ovfsd/') && name !== '.ovfsd/')
      assert.equal((await hidden()).length, 1)
      store.proxies[0].answer({ status: 403, method: 'DELETE', times: 1 })
      assert.equal(await codeOf(file.close()), 'EACCES')
      await eventually('the hidden file is erased', async () => (await hidden()).length === 0)
    })

    it('another directory in the way is ENOTEMPTY, also where a rename failed half-way', async () => {
      const fs = served.guestFs()
      await fs.mkdirs('from')
      await fs.mkdirs('moved-to')
      await fs.writeFile('from/file', 'data')
      await fs.writeFile('moved-to/other', 'data')
      assert.equal(await codeOf(fs.rename('from', 'moved-to')), 'ENOTEMPTY')
      assert.equal(await codeOf(fs.rename('from', 'moved-to')), 'ENOTEMPTY')
    })

    async function filesBelow(directory: string): Promise<string[]> {
      const fs = served.guestFs()
      if (!(await fs.exists(directory))) return []
      const names = (await fs.list(directory)).filter((name) => name.startsWith('file'))
      if (!(await fs.exists(`${directory}/sub`))) return names
      return [...names, ...(await fs.list(`${directory}/sub`))]
    }
  })
}
