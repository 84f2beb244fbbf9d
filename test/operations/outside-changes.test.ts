/** The storage is everybody's: what others change in it is seen, within the time that the mount allows and never mixed. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { OpenFlags, O_CREAT, O_RDWR } from '../frontend/abi.js'
import { codeOf, FuseError } from '../frontend/fuse-client.js'
import { assertSameBytes, randomBytes } from '../support/bytes.js'
import { describeStores, eventually, serve, type Served } from '../support/served.js'
import { directoryStore } from '../support/stores.js'

const MIB = 1 << 20
/** Short enough to be waited for, long enough that two requests fall within. */
const EXPIRATION_MS = 50

for (const expirationMs of [0, EXPIRATION_MS]) {
  const options = { stores: [directoryStore], mount: { expirationMs } }
  describeStores(`changes of others, expiration after ${expirationMs} ms`, options, (served) => {
    it('new, changed and removed files are seen', async () => {
      const fs = served().guestFs()
      assert.equal(await fs.exists('theirs'), false)
      await served().view.write('theirs', 'first')
      await eventually('the new file is seen', () => fs.exists('theirs'))
      assert.equal(await fs.readText('theirs'), 'first')
      await served().view.write('theirs', 'second version')
      await eventually(
        'the new version is seen',
        async () => (await fs.readText('theirs')) === 'second version',
      )
      assert.equal((await fs.stat('theirs')).size, 14)
      await served().view.remove('theirs')
      await eventually('the file is gone', async () => !(await fs.exists('theirs')))
      assert.ok(!(await fs.list()).includes('theirs'))
    })

    it('new and removed names are listed', async () => {
      const fs = served().guestFs()
      await served().view.mkdir('listed')
      await eventually('the directory is seen', () => fs.exists('listed'))
      assert.deepEqual(await fs.list('listed'), [])
      await served().view.write('listed/one', '1')
      await eventually('it is listed', async () => (await fs.list('listed')).join() === 'one')
      await eventually(
        'with attributes',
        async () => (await fs.listWithAttributes('listed')).get('one')?.size === 1,
      )
      await served().view.remove('listed/one')
      await eventually('it is no longer listed', async () => (await fs.list('listed')).length === 0)
    })

    it('a file that becomes a directory, and back, is seen as what it is', async () => {
      const fs = served().guestFs()
      await served().view.write('kind', 'file')
      await eventually('the file', async () => (await codeOf(fs.readFile('kind'))) === 'OK')
      await served().view.remove('kind')
      await served().view.mkdir('kind')
      await eventually('the directory', async () => (await codeOf(fs.list('kind'))) === 'OK')
      await fs.writeFile('kind/inside', 'x')
      assert.equal(await fs.readText('kind/inside'), 'x')
    })

    it('an open file shows the new version as a whole', async () => {
      const fs = served().guestFs()
      const [one, two] = [randomBytes(3 * MIB, 1), randomBytes(3 * MIB, 2)]
      await served().view.write('open', one)
      await eventually('the file is seen', () => fs.exists('open'))
      const file = await fs.open('open')
      assertSameBytes(await file.readAll(), one)
      await served().view.write('open', two)
      await eventually(
        'the new version',
        async () => Buffer.compare(await file.read(0, MIB), two.subarray(0, MIB)) === 0,
      )
      assertSameBytes(await file.readAll(), two)
      await file.close()
    })

    it('an open file that was removed is ESTALE or as it was, never something else', async () => {
      const fs = served().guestFs()
      await served().view.write('vanishes', 'contents')
      await eventually('the file is seen', () => fs.exists('vanishes'))
      const file = await fs.open('vanishes')
      assert.equal((await file.read(0, 100)).toString(), 'contents')
      await served().view.remove('vanishes')
      await eventually('the removal is noticed', async () => {
        try {
          assert.equal((await file.read(0, 100)).toString(), 'contents')
          return false
        } catch (error) {
          assert.ok(error instanceof FuseError && ['ESTALE', 'ENOENT'].includes(error.code), String(error))
          return true
        }
      })
      await file.close()
    })

    it('a file that is being changed here keeps the changes of here', async () => {
      const fs = served().guestFs()
      await fs.writeFile('both', 'common base')
      const file = await fs.open('both', O_RDWR)
      await file.write(0, 'COMMON')
      assert.equal((await file.readAll()).toString(), 'COMMON base')
      assert.equal((await fs.stat('both')).size, 11)
      await file.close()
      assert.equal((await served().view.read('both'))?.toString(), 'COMMON base')
    })
  })
}

describe('changes of others, no expiration for a minute', () => {
  async function served(t: { after: (work: () => Promise<void>) => void }): Promise<Served> {
    const one = await serve({ mounts: [{ store: directoryStore, expirationMs: 60_000 }] })
    t.after(() => one.close())
    return one
  }

  it('are not looked for', async (t) => {
    const one = await served(t)
    const fs = one.guestFs()
    await one.view.write('quiet', 'first')
    assert.equal(await fs.readText('quiet'), 'first')
    await one.view.write('quiet', 'second')
    assert.equal((await fs.stat('quiet')).size, 5)
  })

  it('are seen at open, when the daemon has not just asked', async (t) => {
    const one = await served(t)
    const fs = one.guestFs()
    await one.view.write('reopened', 'first')
    assert.equal(await fs.readText('reopened'), 'first')
    await one.view.write('reopened', 'second')
    await eventually('the new version is seen', async () => (await fs.readText('reopened')) === 'second')
  })

  it('make the guest drop the pages that it keeps; the same version lets it keep them', async (t) => {
    const one = await served(t)
    const { client } = one
    await one.view.write('pages', 'first')
    const nodeid = await one.nodeid('m/pages')
    const open = async (): Promise<boolean> => {
      const { fh, openFlags } = await client.open(nodeid)
      await client.read(nodeid, fh, 0, 100)
      await client.release(nodeid, fh)
      return (openFlags & OpenFlags.KEEP_CACHE) !== 0
    }
    await open()
    assert.equal(await open(), true)
    assert.equal(await open(), true)
    await one.view.write('pages', 'other')
    await eventually('the pages are dropped', async () => !(await open()))
    assert.equal(await open(), true)
  })
})

describe('a file that changes while it is read', () => {
  it('never gives a mix of two versions in one reply', async (t) => {
    const served = await serve({ mounts: [{ store: directoryStore, expirationMs: 0 }] })
    t.after(() => served.close())
    const fs = served.guestFs()
    const size = 2 * MIB
    // Each version is all of one byte: a mix is seen at once.
    let version = 1
    await served.view.write('flipping', Buffer.alloc(size, version))
    const file = await fs.open('flipping')
    const seen = new Set<number>()
    for (let round = 0; round < 25; round++) {
      const replies = Promise.all(
        [0, MIB / 2, MIB, 0, 3 * (MIB / 2)].map((offset) =>
          served.client.read(file.nodeid, file.fh, offset, MIB / 2).catch((error: unknown) => {
            assert.ok(error instanceof FuseError && error.code === 'ESTALE', String(error))
            return new Uint8Array()
          }),
        ),
      )
      version++
      await served.view.write('flipping', Buffer.alloc(size, version & 0xff))
      for (const reply of await replies) {
        const [first] = reply
        if (first === undefined) continue
        seen.add(first)
        assert.equal(
          reply.findIndex((byte) => byte !== first),
          -1,
          `round ${round}: a mix of two versions`,
        )
      }
    }
    assert.ok(seen.size > 1, 'no change was ever seen')
    await file.close()
  })

  it('gives no mix either when half of the old version is cached', async (t) => {
    const served = await serve({ mounts: [{ store: directoryStore }] })
    t.after(() => served.close())
    const { client } = served
    const size = 12 * MIB
    // Far from the last read, so that nothing is read ahead.
    const start = 6 * MIB
    for (let round = 1; round <= 8; round++) {
      await served.view.write(`half${round}`, Buffer.alloc(size, 2 * round))
      const file = await served.guestFs().open(`half${round}`)
      await client.read(file.nodeid, file.fh, start + (round % 4) * 65_536, 65_536)
      await served.view.write(`half${round}`, Buffer.alloc(size, 2 * round + 1))
      const reply = await client.read(file.nodeid, file.fh, start, 4 * 65_536).catch((error: unknown) => {
        assert.ok(error instanceof FuseError && error.code === 'ESTALE', String(error))
        return new Uint8Array()
      })
      const [first] = reply
      assert.equal(
        reply.findIndex((byte) => byte !== first),
        -1,
        `round ${round}: a mix of two versions`,
      )
      await file.close()
    }
  })

  it('shorter or longer than before is read as what it is', async (t) => {
    const served = await serve({ mounts: [{ store: directoryStore, expirationMs: 0 }] })
    t.after(() => served.close())
    const fs = served.guestFs()
    await served.view.write('breathing', 'x')
    const file = await fs.open('breathing')
    for (let round = 0; round < 30; round++) {
      const contents = Buffer.alloc(1 + ((round * 7919) % 300_000), round + 1)
      await served.view.write('breathing', contents)
      await eventually('the version is seen', async () => (await file.stat()).size === contents.length)
      assertSameBytes(await file.read(0, 400_000), contents, `round ${round}`)
    }
    await file.close()
  })
})

describeStores(
  'two guests of one directory',
  { stores: [directoryStore], mount: { expirationMs: 0 } },
  (served) => {
    it("see each other's files after close", async (t) => {
      const directory = served().hostDirectory
      const store = {
        name: 'the same directory',
        prepare: () =>
          Promise.resolve({
            type: 'fs',
            options: { root: directory },
            view: null,
            hostDirectory: directory,
            dispose: () => Promise.resolve(),
          }),
      }
      const other = await serve({ mounts: [{ store, expirationMs: 0 }] })
      t.after(() => other.close())
      const [here, there] = [served().guestFs(), other.guestFs()]
      await here.writeFile('shared', 'written here')
      assert.equal(await there.readText('shared'), 'written here')
      await there.writeFile('shared', 'and there')
      assert.equal(await here.readText('shared'), 'and there')
      await there.rename('shared', 'renamed')
      assert.equal(await here.exists('shared'), false)
      assert.equal(await here.readText('renamed'), 'and there')
      const file = await here.open('exclusive', O_RDWR | O_CREAT)
      await file.close()
      assert.equal(await there.exists('exclusive'), true)
    })
  },
)
