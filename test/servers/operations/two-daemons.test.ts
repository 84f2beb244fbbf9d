/** Two daemons on one storage, and what each is told when the other was there first. */
import assert from 'node:assert/strict'
import { it, type TestContext } from 'node:test'
import { O_CREAT, O_EXCL, O_RDWR, O_TRUNC, RENAME_NOREPLACE } from '../../frontend/abi.js'
import { codeOf } from '../../frontend/fuse-client.js'
import type { GuestFs } from '../../frontend/guest-fs.js'
import { assertSameBytes, randomBytes } from '../../support/bytes.js'
import { describeEachStore, eventually, serve, type Served } from '../../support/served.js'
import { sameStorage, SHARED_STORES, type Store } from '../../support/stores.js'

const MIB = 1 << 20

interface Two {
  readonly here: GuestFs
  readonly there: GuestFs
  readonly served: Served
}

/** What one does, the other does not hear of for a minute, unless it asks. */
async function twoOf(t: TestContext, store: Store): Promise<Two> {
  const served = await serve({ mounts: [{ store }] })
  const other = await serve({ mounts: [{ store: sameStorage(served.stores[0]) }] })
  t.after(async () => {
    // Before the storage goes; one that cannot store its data must not leave the other running.
    try {
      await other.close()
    } finally {
      await served.close()
    }
  })
  return { here: served.guestFs(), there: other.guestFs(), served }
}

/** Where the guest's version of what somebody else changed is kept for a person to look at. */
const CONFLICTS = '.ovfsd/conflicts/'

async function hidden({ view }: Served): Promise<string[]> {
  return (await view.paths()).filter(
    (path) => path.startsWith('.ovfsd/') && path !== '.ovfsd/' && !path.startsWith(CONFLICTS),
  )
}

describeEachStore('two daemons', SHARED_STORES, (store) => {
  for (const [title, flags] of [
    ['with O_EXCL', O_RDWR | O_CREAT | O_EXCL],
    ['without O_EXCL', O_RDWR | O_CREAT],
  ] as const) {
    it(`that make one file ${title}: the later close is EEXIST, and the first one's data stays`, async (t) => {
      const { here, there, served } = await twoOf(t, store)
      const first = await here.open('new', flags)
      const second = await there.open('new', flags)
      await first.write(0, 'of the first')
      await second.write(0, 'of the second')
      await first.close()
      assert.equal(await codeOf(second.close()), 'EEXIST')
      assert.equal((await served.view.read('new'))?.toString(), 'of the first')
      await eventually(
        'the second sees it',
        async () =>
          (await codeOf(there.readText('new'))) === 'OK' && (await there.readText('new')) === 'of the first',
      )
    })
  }

  it('that change one file: the later commit is ESTALE, whatever it changes, and the first one stays', async (t) => {
    const { here, there, served } = await twoOf(t, store)
    await here.writeFile('both', 'common base')
    for (const [what, flags] of [
      ['a part', O_RDWR],
      ['all', O_RDWR | O_TRUNC],
    ] as const) {
      assert.match(await there.readText('both'), /./)
      const first = await here.open('both', O_RDWR)
      const second = await there.open('both', flags)
      await first.write(0, `first, ${what}`)
      await second.write(0, `second, ${what}`)
      await first.fsync()
      assert.equal(await codeOf(second.fsync()), 'ESTALE', what)
      await second.close().catch(() => undefined)
      await first.close()
      const stored = (await served.view.read('both'))?.toString()
      assert.ok(stored?.startsWith(`first, ${what}`), stored)
      await eventually('the second sees it', async () => (await there.readText('both')) === stored)
    }
  })

  it('that change one long file: the later upload is ESTALE, and only what is kept for a person is left of it', async (t) => {
    const { here, there, served } = await twoOf(t, store)
    const data = randomBytes(20 * MIB)
    await here.writeFile('long', data)
    const second = await there.open('long', O_RDWR)
    await second.write(9 * MIB, 'late')
    const first = await here.open('long', O_RDWR)
    data.write('early', 9 * MIB)
    await first.write(9 * MIB, 'early')
    await first.close()
    assert.equal(await codeOf(second.close()), 'ESTALE')
    assertSameBytes((await served.view.read('long')) ?? Buffer.alloc(0), data)
    assert.deepEqual(await hidden(served), [])
    const kept = (await served.view.paths()).filter((path) => path.startsWith(`${CONFLICTS}long.`))
    assert.equal(kept.length, 2, `the contents, and what they are: ${kept.join(' ')}`)
  })

  it('that make one directory: the store tells the second, or they share it', async (t) => {
    const { here, there } = await twoOf(t, store)
    assert.equal(await there.exists('shared'), false)
    await here.mkdir('shared')
    const parent = (await there.client.lookup(1, 'm')).nodeid
    const code = await codeOf(there.client.mkdir(parent, 'shared'))
    assert.equal(code, store.properties.isObjectStore ? 'OK' : 'EEXIST')
    await here.writeFile('shared/one', '1')
    await eventually(
      'the second sees it',
      async () => (await codeOf(there.writeFile('shared/two', '2'))) === 'OK',
    )
    assert.equal(await there.readText('shared/one'), '1')
  })

  it('rmdir is ENOTEMPTY where only the other knows what is in it', async (t) => {
    const { here, there } = await twoOf(t, store)
    await here.mkdir('full')
    assert.deepEqual(await there.list('full'), [])
    await here.writeFile('full/file', 'x')
    assert.equal(await codeOf(there.rmdir('full')), 'ENOTEMPTY')
    await here.mkdir('moved')
    assert.equal(await codeOf(there.rename('moved', 'full')), 'ENOTEMPTY')
    assert.equal(await here.readText('full/file'), 'x')
  })

  it('rename with NOREPLACE is EEXIST where only the other knows of the target', async (t) => {
    const { here, there, served } = await twoOf(t, store)
    await there.writeFile('mine', 'mine')
    assert.equal(await there.exists('theirs'), false)
    await here.writeFile('theirs', 'theirs')
    const parent = (await there.client.lookup(1, 'm')).nodeid
    const rename = (): Promise<unknown> =>
      there.client.rename2(parent, 'mine', parent, 'theirs', RENAME_NOREPLACE)
    assert.equal(await codeOf(rename()), 'EEXIST')
    assert.equal((await served.view.read('theirs'))?.toString(), 'theirs')
    assert.equal(await there.readText('mine'), 'mine')
    await here.unlink('theirs')
    await there.unlink('theirs').catch(() => undefined)
    await rename()
    assert.equal((await served.view.read('theirs'))?.toString(), 'mine')
  })
})
