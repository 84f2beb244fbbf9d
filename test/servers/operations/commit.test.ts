/** When the store has the data: FLUSH, FSYNC, O_SYNC, SYNCFS, RELEASE; with write-back off and on. */
import assert from 'node:assert/strict'
import { it } from 'node:test'
import { O_CREAT, O_DSYNC, O_RDWR, O_SYNC, O_TRUNC, O_WRONLY, OpenFlags } from '../../frontend/abi.js'
import { codeOf } from '../../frontend/fuse-client.js'
import { assertSameBytes, randomBytes } from '../../support/bytes.js'
import { describeEachStore, describeStores, eventually, serve, type Served } from '../../support/served.js'
import { SHARED_STORES, webdavStore } from '../../support/stores.js'

const MIB = 1 << 20

async function storedText(served: Served, path: string): Promise<string | undefined> {
  return (await served.view.read(path))?.toString()
}

describeStores('commit', { stores: SHARED_STORES }, (served) => {
  it('FSYNC returns when the store has the data', async () => {
    const file = await served()
      .guestFs()
      .open('fsync', O_RDWR | O_CREAT)
    await file.write(0, 'first')
    await file.fsync()
    assert.equal(await storedText(served(), 'fsync'), 'first')
    await file.write(0, 'again')
    await file.fsync(true)
    assert.equal(await storedText(served(), 'fsync'), 'again')
    await file.close()
  })

  it('FSYNC stores a file that has no byte yet', async () => {
    const file = await served()
      .guestFs()
      .open('fsync-empty', O_RDWR | O_CREAT)
    await file.fsync()
    assert.equal(await storedText(served(), 'fsync-empty'), '')
    await file.close()
  })

  for (const [name, flag] of [
    ['O_SYNC', O_SYNC],
    ['O_DSYNC', O_DSYNC],
  ] as const) {
    it(`WRITE to a file opened with ${name} returns when the store has the data`, async () => {
      const { client } = served()
      const parent = await served().nodeid()
      const { entry, fh } = await client.create(parent, name, O_WRONLY | O_CREAT | flag)
      await client.write(entry.nodeid, fh, 0, Buffer.from('at once'))
      assert.equal(await storedText(served(), name), 'at once')
      await client.release(entry.nodeid, fh)
    })
  }

  it('SYNCFS returns when the store has everything', async () => {
    const fs = served().guestFs()
    const files = await Promise.all(
      Array.from({ length: 20 }, async (_, i) => {
        const file = await fs.open(`syncfs${i}`, O_RDWR | O_CREAT)
        await file.write(0, `${i}`)
        return file
      }),
    )
    await served().client.syncfs()
    for (const [i, file] of files.entries()) {
      assert.equal(await storedText(served(), `syncfs${i}`), `${i}`)
      await file.close()
    }
  })

  it('shows others no half-written file', async () => {
    const fs = served().guestFs()
    await fs.writeFile('whole', 'old contents')
    const file = await fs.open('whole', O_RDWR | O_TRUNC)
    await file.write(0, 'new')
    assert.equal(await storedText(served(), 'whole'), 'old contents')
    await file.close()
    assert.equal(await storedText(served(), 'whole'), 'new')
  })

  it('leaves nothing of its own behind in the store', async () => {
    const fs = served().guestFs()
    await fs.writeFile('large', randomBytes(20 * MIB))
    await fs.writeFile('small', 'x')
    const left = (await served().view.paths()).filter(
      (path) => path.startsWith('.ovfsd/') && path !== '.ovfsd/',
    )
    assert.deepEqual(left, [])
  })
})

describeStores(
  'commit with write-back off',
  { stores: [...SHARED_STORES, webdavStore] },
  (served, { properties }) => {
    it('FLUSH returns when the store has the data, each time, and the descriptor goes on', async () => {
      const fs = served().guestFs()
      const file = await fs.open('dup', O_RDWR | O_CREAT)
      await file.write(0, 'one')
      await file.flush()
      assert.equal(await storedText(served(), 'dup'), 'one')
      await file.write(3, ' two')
      await file.flush()
      assert.equal(await storedText(served(), 'dup'), 'one two')
      await file.flush()
      await file.write(7, ' three')
      await file.close()
      assert.equal(await storedText(served(), 'dup'), 'one two three')
    })

    it('RELEASE without FLUSH stores the data, too', async () => {
      const { client } = served()
      const parent = await served().nodeid()
      const { entry, fh } = await client.create(parent, 'released', O_RDWR | O_CREAT)
      await client.write(entry.nodeid, fh, 0, Buffer.from('unflushed'))
      await client.release(entry.nodeid, fh)
      assert.equal(await storedText(served(), 'released'), 'unflushed')
    })

    it("one descriptor's FLUSH stores what another wrote", async () => {
      const fs = served().guestFs()
      const writer = await fs.open('other', O_RDWR | O_CREAT)
      const reader = await fs.open('other')
      await writer.write(0, 'of the writer')
      await reader.close()
      assert.equal(await storedText(served(), 'other'), 'of the writer')
      await writer.close()
    })

    it('FLUSH while others write stores at least what was written before it', async () => {
      const fs = served().guestFs()
      const file = await fs.open('racing', O_RDWR | O_CREAT)
      const data = randomBytes(2 * MIB)
      await file.write(0, data)
      const more = randomBytes(2 * MIB, 2)
      const [, stored] = await Promise.all([
        file.write(2 * MIB, more),
        file.flush().then(() => served().view.read('racing')),
      ])
      assertSameBytes((stored ?? Buffer.alloc(0)).subarray(0, data.length), data)
      await file.close()
      assertSameBytes((await served().view.read('racing')) ?? Buffer.alloc(0), Buffer.concat([data, more]))
    })

    it("reports the store's refusal to the caller of close, and goes on", async () => {
      const fs = served().guestFs()
      await fs.mkdir('vanishing')
      const file = await fs.open('vanishing/file', O_RDWR | O_CREAT)
      await file.write(0, 'nowhere to go')
      // Somebody else takes the directory away before the file was ever stored in it.
      await served().view.removeTree('vanishing')
      const code = await codeOf(file.flush())
      await file.close().catch(() => undefined)
      if (properties.restoresDirectories) {
        assert.equal(code, 'OK')
        assert.equal(await storedText(served(), 'vanishing/file'), 'nowhere to go')
      } else {
        assert.equal(code, 'ENOENT')
      }
      await fs.writeFile('next', 'is fine')
      assert.equal(await storedText(served(), 'next'), 'is fine')
      assert.deepEqual(served().stats().cache.dirtyFiles, 0)
    })
  },
)

describeEachStore(
  'a change of a file that somebody else replaced',
  [...SHARED_STORES, webdavStore],
  (store) => {
    it('is refused, and does not live on in the pages that the guest keeps', async (t) => {
      const served = await serve({ mounts: [{ store }] })
      t.after(() => served.close())
      const { client } = served
      const fs = served.guestFs()
      await fs.writeFile('contested', 'common base')
      const nodeid = await served.nodeid('m/contested')
      const mine = await client.open(nodeid, O_RDWR)
      await client.write(nodeid, mine.fh, 0, Buffer.from('MINE'))
      // Somebody else replaces the file: what was written here cannot be put over that.
      await served.view.write('contested', 'their version')
      const refusal = await codeOf(client.flush(nodeid, mine.fh))
      await client.release(nodeid, mine.fh)
      const again = await client.open(nodeid, O_RDWR)
      const text = Buffer.from(await client.read(nodeid, again.fh, 0, 100)).toString()
      await client.release(nodeid, again.fh)
      assert.equal(refusal, 'ESTALE')
      assert.equal(text, 'their version')
      assert.equal(again.openFlags & OpenFlags.KEEP_CACHE, 0)
      assert.equal(await storedText(served, 'contested'), 'their version')
    })
  },
)

describeStores(
  'commit with write-back on',
  { stores: SHARED_STORES, settings: { writeBack: true, dirtyExpireMs: 3_600_000 } },
  (served) => {
    it('FLUSH and RELEASE do not wait; FSYNC does', async () => {
      const fs = served().guestFs()
      await fs.writeFile('lazy', 'later')
      assert.equal(await fs.readText('lazy'), 'later')
      assert.equal(await storedText(served(), 'lazy'), undefined)
      const file = await fs.open('lazy', O_RDWR)
      await file.fsync()
      assert.equal(await storedText(served(), 'lazy'), 'later')
      await file.close()
    })

    it('WRITE with O_SYNC waits', async () => {
      const { client } = served()
      const { entry, fh } = await client.create(await served().nodeid(), 'sync', O_WRONLY | O_CREAT | O_SYNC)
      await client.write(entry.nodeid, fh, 0, Buffer.from('at once'))
      assert.equal(await storedText(served(), 'sync'), 'at once')
      await client.release(entry.nodeid, fh)
    })

    it('SYNCFS stores what no handle holds any more', async () => {
      const fs = served().guestFs()
      await fs.writeFile('closed', 'and unsaved')
      await served().client.syncfs()
      assert.equal(await storedText(served(), 'closed'), 'and unsaved')
    })

    it('a file that is made and removed at once never reaches the store', async () => {
      const fs = served().guestFs()
      await fs.writeFile('fleeting', 'x')
      await fs.unlink('fleeting')
      await served().client.syncfs()
      assert.equal(await storedText(served(), 'fleeting'), undefined)
      assert.equal(await fs.exists('fleeting'), false)
    })

    it('an unsaved file can be renamed and is stored by its new name only', async () => {
      const fs = served().guestFs()
      await fs.writeFile('unsaved', 'contents')
      await fs.rename('unsaved', 'renamed')
      await served().client.syncfs()
      assert.equal(await storedText(served(), 'renamed'), 'contents')
      assert.equal(await storedText(served(), 'unsaved'), undefined)
    })

    it('an unsaved file keeps its directory from being removed', async () => {
      const fs = served().guestFs()
      await fs.mkdir('full')
      await fs.writeFile('full/unsaved', 'x')
      assert.equal(await codeOf(fs.rmdir('full')), 'ENOTEMPTY')
      await fs.unlink('full/unsaved')
      await fs.rmdir('full')
    })
  },
)

describeStores(
  'the cleaner',
  { stores: SHARED_STORES, settings: { writeBack: true, dirtyExpireMs: 10 } },
  (served) => {
    it('stores what has been dirty for too long', async () => {
      await served().guestFs().writeFile('aged', 'contents')
      await eventually('the file is stored', async () => (await storedText(served(), 'aged')) === 'contents')
    })
  },
)

describeStores('commit without a cache', { settings: { enabledCache: false } }, (served) => {
  it('keeps what was written', async () => {
    const fs = served().guestFs()
    const data = randomBytes(3 * MIB + 1)
    await fs.writeFile('uncached', data)
    assertSameBytes(await fs.readFile('uncached'), data)
    const file = await fs.open('uncached', O_RDWR)
    await file.write(MIB, 'patch')
    data.write('patch', MIB)
    assertSameBytes(await file.readAll(), data)
    await file.close()
    assertSameBytes(await fs.readFile('uncached'), data)
    assert.equal(served().stats().cache.leasedSlabs, 0)
  })
})
