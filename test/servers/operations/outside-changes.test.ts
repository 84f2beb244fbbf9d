/** The storage is everybody's: what others change in it is seen, within the time that the mount allows and never mixed. */
import assert from 'node:assert/strict'
import { it } from 'node:test'
import { setTimeout as delay } from 'node:timers/promises'
import { OpenFlags, O_CREAT, O_RDWR } from '../../frontend/abi.js'
import { codeOf, FuseError } from '../../frontend/fuse-client.js'
import { assertSameBytes, randomBytes } from '../../support/bytes.js'
import { describeEachStore, describeStores, eventually, serve, type Served } from '../../support/served.js'
import { sameStorage, SHARED_STORES } from '../../support/stores.js'

const MIB = 1 << 20
/** Short enough to be waited for, long enough that two requests fall within. */
const EXPIRATION_MS = 50
/** Longer than any server takes to make a listing. */
const LISTING_EXPIRATION_MS = 1000
/** How often something is tried that depends on who comes first. */
const LOCAL_ROUNDS = { rounds: 25, halfRounds: 8, breaths: 30 }
const SERVER_ROUNDS = { rounds: 8, halfRounds: 2, breaths: 8 }

/** The size of the parts that every store's uploads are made of. */
const PART_BYTES = 8 * MIB

/** What is asked after `deadlineMs` (monotonic) must show a change; what is asked earlier may. */
async function seenInTime(deadlineMs: number, what: string, isSeen: () => Promise<boolean>): Promise<void> {
  await eventually(what, async () => {
    const askedMs = performance.now()
    if (await isSeen()) return true
    assert.ok(askedMs < deadlineMs, `not seen ${askedMs - deadlineMs} ms after it had to be: ${what}`)
    return false
  })
}

describeStores('others', { stores: SHARED_STORES }, (served) => {
  const check = async (path: string, expected: Buffer, what: string): Promise<void> => {
    assertSameBytes((await served().view.read(path)) ?? Buffer.alloc(0), expected, what)
  }

  for (const size of [0, 1, 4097, PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, 3 * PART_BYTES + 5]) {
    it(`read byte for byte what the guest wrote, ${size} bytes`, async () => {
      const data = randomBytes(size, size + 1)
      await served().guestFs().writeFile(`written-${size}`, data)
      await check(`written-${size}`, data, 'written in one go')
    })
  }

  it('read byte for byte what the guest changed', async () => {
    const fs = served().guestFs()
    let data = randomBytes(2 * PART_BYTES + 777, 3)
    await fs.writeFile('changed', data)
    const file = await fs.open('changed', O_RDWR)
    const patch = randomBytes(100_000, 4)
    for (const offset of [0, PART_BYTES - 50_000, 2 * PART_BYTES]) {
      const length = await file.write(offset, patch)
      data = Buffer.concat([data, Buffer.alloc(Math.max(0, offset + length - data.length))])
      patch.copy(data, offset)
    }
    await file.close()
    await check('changed', data, 'patched')
    await fs.appendFile('changed', patch)
    data = Buffer.concat([data, patch])
    await check('changed', data, 'appended to')
    await fs.truncate('changed', PART_BYTES + 3)
    await check('changed', data.subarray(0, PART_BYTES + 3), 'cut')
  })

  it('find and see the names that the guest made and changed, and no others', async () => {
    const fs = served().guestFs()
    const outside = async (): Promise<string[]> =>
      (await served().view.paths()).filter((path) => path.startsWith('names/'))
    await fs.mkdirs('names/empty')
    await fs.mkdirs('names/ünï & codé/+%20')
    await fs.writeFile('names/ünï & codé/#1?x=y', '1')
    const made = [
      'names/',
      'names/empty/',
      'names/ünï & codé/',
      'names/ünï & codé/#1?x=y',
      'names/ünï & codé/+%20/',
    ]
    assert.deepEqual(await outside(), made.sort())
    await fs.rename('names/ünï & codé', 'names/moved')
    await fs.rmdir('names/empty')
    await fs.unlink('names/moved/#1?x=y')
    assert.deepEqual(await outside(), ['names/', 'names/moved/', 'names/moved/+%20/'])
  })
})

for (const expirationMs of [0, EXPIRATION_MS]) {
  const options = { stores: SHARED_STORES, mount: { expirationMs } }
  describeStores(`changes of others, expiration after ${expirationMs} ms`, options, (served) => {
    it('new, changed and removed files are seen', async () => {
      const fs = served().guestFs()
      assert.equal(await fs.exists('theirs'), false)
      await served().view.write('theirs', 'first')
      await seenInTime(performance.now() + expirationMs, 'the new file is seen', () => fs.exists('theirs'))
      assert.equal(await fs.readText('theirs'), 'first')
      await served().view.write('theirs', 'second version')
      // What is opened before the time is over and read after it is refused: the guest's kernel knows the old size.
      const isSecond = async (): Promise<boolean> => {
        try {
          return (await fs.readText('theirs')) === 'second version'
        } catch (error) {
          if (error instanceof FuseError && error.code === 'ESTALE') return false
          throw error
        }
      }
      await seenInTime(performance.now() + expirationMs, 'the new version is seen', isSecond)
      assert.equal((await fs.stat('theirs')).size, 14)
      await served().view.remove('theirs')
      await seenInTime(
        performance.now() + expirationMs,
        'the file is gone',
        async () => !(await fs.exists('theirs')),
      )
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

    it('a time that was set here gives way to that of the version of others', async () => {
      const fs = served().guestFs('m', { forget: false })
      await fs.writeFile('timed', 'mine')
      await fs.utimes('timed', 1000, 1000)
      assert.equal((await fs.stat('timed')).mtime, 1000)
      await served().view.write('timed', 'theirs!')
      await eventually('their version is seen', async () => (await fs.stat('timed')).size === 7)
      const { mtime } = await fs.stat('timed')
      assert.ok(mtime > 1_000_000_000, `${mtime}`)
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

describeStores(
  'a listing that is half as old as it may be',
  { stores: SHARED_STORES, mount: { expirationMs: LISTING_EXPIRATION_MS } },
  (served) => {
    it('makes nothing younger than it is', async () => {
      const fs = served().guestFs('m', { forget: false })
      await served().view.mkdir('aging')
      await served().view.write('aging/file', '1')
      assert.deepEqual(await fs.list('aging'), ['file'])
      await served().view.write('aging/file', 'longer')
      const deadlineMs = performance.now() + LISTING_EXPIRATION_MS
      await delay(LISTING_EXPIRATION_MS / 2)
      await fs.listWithAttributes('aging')
      await seenInTime(
        deadlineMs,
        'the new size is seen',
        async () => (await fs.stat('aging/file')).size === 6,
      )
    })
  },
)

describeEachStore('changes of others, no expiration for a minute', SHARED_STORES, (store) => {
  async function served(t: { after: (work: () => Promise<void>) => void }): Promise<Served> {
    const one = await serve({ mounts: [{ store, expirationMs: 60_000 }] })
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

describeEachStore('a file that changes while it is read', SHARED_STORES, (store) => {
  const { rounds, halfRounds, breaths } = store.properties.isServer ? SERVER_ROUNDS : LOCAL_ROUNDS

  it('never gives a mix of two versions in one reply', async (t) => {
    const served = await serve({ mounts: [{ store, expirationMs: 0 }] })
    t.after(() => served.close())
    const fs = served.guestFs()
    const size = 2 * MIB
    // Each version is all of one byte: a mix is seen at once.
    let version = 1
    await served.view.write('flipping', Buffer.alloc(size, version))
    const file = await fs.open('flipping')
    const seen = new Set<number>()
    for (let round = 0; round < rounds; round++) {
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
    const served = await serve({ mounts: [{ store }] })
    t.after(() => served.close())
    const { client } = served
    const size = 12 * MIB
    // Far from the last read, so that nothing is read ahead.
    const start = 6 * MIB
    for (let round = 1; round <= halfRounds; round++) {
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
    const served = await serve({ mounts: [{ store, expirationMs: 0 }] })
    t.after(() => served.close())
    const fs = served.guestFs()
    await served.view.write('breathing', 'x')
    const file = await fs.open('breathing')
    for (let round = 0; round < breaths; round++) {
      const contents = Buffer.alloc(1 + ((round * 7919) % 300_000), round + 1)
      await served.view.write('breathing', contents)
      await eventually('the version is seen', async () => (await file.stat()).size === contents.length)
      assertSameBytes(await file.read(0, 400_000), contents, `round ${round}`)
    }
    await file.close()
  })
})

describeStores(
  'two guests of one storage',
  { stores: SHARED_STORES, mount: { expirationMs: 0 } },
  (served) => {
    it("see each other's files after close", async (t) => {
      const other = await serve({
        mounts: [{ store: sameStorage(served().stores[0]), expirationMs: 0 }],
      })
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
