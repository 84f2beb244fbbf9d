/** LOOKUP: what a name leads to, how long the guest may believe it, and names that lead nowhere. */
import assert from 'node:assert/strict'
import { it } from 'node:test'
import { O_CREAT, O_EXCL, O_RDWR, S_IFDIR, S_IFMT, S_IFREG } from '../../frontend/abi.js'
import { codeOf } from '../../frontend/fuse-client.js'
import { describeEachStore, describeStores, eventually, serve } from '../../support/served.js'
import { STORES } from '../../support/stores.js'

const TTL_SECONDS = 60

describeStores('lookup', { mount: { expirationMs: TTL_SECONDS * 1000 } }, (served) => {
  it('gives a file its attributes and a time to live', async () => {
    const { client } = served()
    await served().guestFs().writeFile('file', 'twelve bytes')
    const entry = await client.lookup(await served().nodeid(), 'file')
    assert.equal(entry.attr.mode & S_IFMT, S_IFREG)
    assert.equal(entry.attr.size, 12)
    assert.ok(entry.entryValid > 0 && entry.entryValid <= TTL_SECONDS, `${entry.entryValid}`)
    assert.ok(entry.attrValid > 0 && entry.attrValid <= TTL_SECONDS, `${entry.attrValid}`)
  })

  it('gives a directory its attributes', async () => {
    await served().guestFs().mkdir('directory')
    const entry = await served().client.lookup(await served().nodeid(), 'directory')
    assert.equal(entry.attr.mode & S_IFMT, S_IFDIR)
    assert.ok(entry.attr.nlink >= 2)
  })

  it('answers the same nodeid each time, and counts', async () => {
    const { client } = served()
    await served().guestFs().writeFile('twice', '')
    const parent = await served().nodeid()
    const first = await client.lookup(parent, 'twice')
    const second = await client.lookup(parent, 'twice')
    assert.deepEqual([second.nodeid, second.generation], [first.nodeid, first.generation])
    await client.forget(first.nodeid)
    assert.equal((await client.getattr(first.nodeid)).attr.size, 0)
    await client.forget(first.nodeid)
    assert.equal(await codeOf(client.getattr(first.nodeid)), 'ESTALE')
  })

  it('never gives a nodeid again with the same generation', async () => {
    const { client } = served()
    const fs = served().guestFs()
    const parent = await served().nodeid()
    const seen = new Set<string>()
    for (let round = 0; round < 10; round++) {
      await fs.writeFile(`round${round}`, '')
      const { nodeid, generation } = await client.lookup(parent, `round${round}`)
      assert.ok(!seen.has(`${nodeid}/${generation}`), `${nodeid}/${generation} twice`)
      seen.add(`${nodeid}/${generation}`)
      await fs.unlink(`round${round}`)
      await client.forget(nodeid)
    }
  })

  it('answers a missing name with a negative entry that lives as long as the mount says', async () => {
    const { client } = served()
    const parent = await served().nodeid()
    const first = await client.lookupEntry(parent, 'missing')
    assert.equal(first.nodeid, 0)
    assert.ok(first.entryValid > 0 && first.entryValid <= TTL_SECONDS)
  })

  it('gives a negative entry no longer than the daemon itself believes it', async () => {
    const { client } = served()
    const parent = await served().nodeid()
    const first = await client.lookupEntry(parent, 'still missing')
    await eventually('the negative entry ages', async () => {
      const again = await client.lookupEntry(parent, 'still missing')
      return again.entryValid < first.entryValid
    })
  })

  it('finds a name that was missing as soon as it is made here', async () => {
    const { client } = served()
    const parent = await served().nodeid()
    assert.equal((await client.lookupEntry(parent, 'new')).nodeid, 0)
    const { fh, entry } = await client.create(parent, 'new', O_RDWR | O_CREAT | O_EXCL)
    assert.equal((await client.lookup(parent, 'new')).nodeid, entry.nodeid)
    await client.flush(entry.nodeid, fh)
    await client.release(entry.nodeid, fh)
    await served().guestFs().rename('new', 'newer')
    assert.equal((await client.lookupEntry(parent, 'new')).nodeid, 0)
    assert.equal((await client.lookup(parent, 'newer')).nodeid, entry.nodeid)
    await served().guestFs().unlink('newer')
    assert.equal((await client.lookupEntry(parent, 'newer')).nodeid, 0)
  })

  it('is ENOTDIR below a file, ESTALE below a nodeid that nobody was given', async () => {
    const { client } = served()
    await served().guestFs().writeFile('leaf', '')
    const leaf = await served().nodeid('m/leaf')
    assert.equal(await codeOf(client.lookup(leaf, 'x')), 'ENOTDIR')
    assert.equal(await codeOf(client.lookup(123_456, 'x')), 'ESTALE')
    assert.equal(await codeOf(client.lookup(0, 'x')), 'ESTALE')
  })

  it('asks the store once for all who look a name up at the same time', async () => {
    const { client } = served()
    const parent = await served().nodeid()
    await served().guestFs().writeFile('crowd', '')
    const entries = await Promise.all(Array.from({ length: 50 }, () => client.lookup(parent, 'crowd')))
    assert.equal(new Set(entries.map(({ nodeid }) => nodeid)).size, 1)
    await client.forget(entries[0]?.nodeid ?? 0, 50)
    assert.equal(await codeOf(client.getattr(entries[0]?.nodeid ?? 0)), 'ESTALE')
  })
})

describeEachStore('lookup without expiration time', STORES, (store) => {
  it('gives entries no time to live and missing names no entry', async (t) => {
    const served = await serve({ mounts: [{ store, expirationMs: 0 }] })
    t.after(() => served.close())
    await served.guestFs().writeFile('file', 'x')
    const parent = await served.nodeid()
    const entry = await served.client.lookup(parent, 'file')
    assert.deepEqual([entry.entryValid, entry.attrValid], [0, 0])
    assert.equal(await codeOf(served.client.lookupEntry(parent, 'missing')), 'ENOENT')
  })
})
