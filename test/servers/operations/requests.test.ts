/** What operations cost on the way to a server: counted by a proxy. */
import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it, test } from 'node:test'
import { forEachConcurrently } from '../../../src/backends/concurrency.js'
import { O_APPEND, O_CREAT, O_RDWR, O_WRONLY } from '../../frontend/abi.js'
import { codeOf } from '../../frontend/fuse-client.js'
import { hdfsProblem } from '../hdfs.js'
import { assertSameBytes, randomBytes } from '../../support/bytes.js'
import { proxiedCeph, proxiedHdfs, proxiedSwift, type ProxiedStore } from '../../support/proxied-stores.js'
import { eventually, serve, type Served } from '../../support/served.js'

const MIB = 1 << 20
/** What requests without data send and get. */
const FEW_BYTES = 64 << 10
const FILES = 60

interface Costs {
  readonly start: () => Promise<ProxiedStore>
  /** Requests of a look at one name. */
  readonly lookup: readonly RegExp[]
  readonly listing: RegExp
  /** A list costs much there. */
  readonly looksForObjectsFirst: boolean
  /** Copies in the store. */
  readonly copies: boolean
  /** Appends in place. */
  readonly appends: boolean
  /** A listing in place of many looks. */
  readonly listsForWalks: boolean
}

const COSTS: Readonly<Record<string, Costs>> = {
  s3: {
    start: proxiedCeph,
    lookup: [/^HEAD /, /^GET .*list-type=2/],
    listing: /^GET .*list-type=2/,
    looksForObjectsFirst: true,
    copies: true,
    appends: false,
    listsForWalks: true,
  },
  swift: {
    start: proxiedSwift,
    lookup: [/^HEAD /, /^GET .*prefix=/],
    listing: /^GET .*prefix=/,
    looksForObjectsFirst: false,
    copies: true,
    appends: false,
    listsForWalks: true,
  },
  hdfs: {
    start: proxiedHdfs,
    lookup: [/^GET .*op=GETFILESTATUS/],
    listing: /^GET .*op=LISTSTATUS/,
    looksForObjectsFirst: false,
    copies: false,
    appends: true,
    listsForWalks: false,
  },
}

for (const [name, costs] of Object.entries(COSTS)) {
  const problem = name === 'hdfs' ? hdfsProblem() : null
  const title = `requests to a server (${name})`
  if (problem !== null) test(title, { skip: `NO HDFS TESTS: ${problem}` })
  else {
    describe(title, () => {
      requestTests(costs)
    })
  }
}

describe('requests to a server that has a second tier before it', () => {
  it('are not for what the cache had to give up, unless somebody else has changed it', async () => {
    const cacheDir = await mkdtemp(join(tmpdir(), 'ovfsd-second-tier-'))
    const store = await proxiedCeph()
    const served = await serve({ mounts: [{ store }], settings: { cacheSizeBytes: 16 * MIB, cacheDir } })
    try {
      const fs = served.guestFs()
      // Half as much again as the cache holds.
      const sizeBytes = 24 * MIB
      const [data, other] = [randomBytes(sizeBytes), randomBytes(sizeBytes, 2)]
      await store.view.write('large', data)
      assertSameBytes(await fs.readFile('large'), data)
      await eventually('all of it is kept', () => (served.stats().diskTier?.bytes ?? 0) >= sizeBytes)
      store.proxies[0].resetCounters()
      assertSameBytes(await fs.readFile('large'), data)
      assert.ok(store.proxies[0].counters.bytesToClient < FEW_BYTES, 'it was read from the server again')
      await store.view.write('large', other)
      await eventually('the change is seen', async () => (await fs.readFile('large')).equals(other))
    } finally {
      await served.close()
      await rm(cacheDir, { recursive: true, force: true })
    }
  })
})

function requestTests(costs: Costs): void {
  let store: ProxiedStore
  let served: Served
  before(async () => {
    store = await costs.start()
    served = await serve({ mounts: [{ store }] })
    // What is asked once only: to be logged in, and what the server can do.
    await served.guestFs().list()
  })
  after(() => served.close())

  /** What was asked while `work` ran: "METHOD target". */
  async function requestsOf(work: () => Promise<unknown>): Promise<string[]> {
    for (const proxy of store.proxies) proxy.resetCounters()
    await work()
    return store.proxies.flatMap((proxy) =>
      proxy.requests().map(({ method, target }) => `${method} ${target}`),
    )
  }

  /** Bytes to the server and back while `work` ran. */
  async function trafficOf(work: () => Promise<unknown>): Promise<{ sent: number; received: number }> {
    for (const proxy of store.proxies) proxy.resetCounters()
    await work()
    const counters = store.proxies.map((proxy) => proxy.counters)
    return {
      sent: counters.reduce((sum, { bytesToServer }) => sum + bytesToServer, 0),
      received: counters.reduce((sum, { bytesToClient }) => sum + bytesToClient, 0),
    }
  }

  it('a look at a name that is missing is asked once, and then not again', async () => {
    const fs = served.guestFs()
    const asked = await requestsOf(() => fs.exists('missing'))
    assert.equal(asked.length, costs.lookup.length, asked.join('\n'))
    for (const pattern of costs.lookup) {
      assert.ok(
        asked.some((request) => pattern.test(request)),
        asked.join('\n'),
      )
    }
    assert.deepEqual(await requestsOf(() => fs.exists('missing')), [])
  })

  it('looks at many names of one directory are a few, and then one listing', async () => {
    const fs = served.guestFs()
    await store.view.mkdir('walked')
    await Promise.all(['there-20', 'there-40'].map((name) => store.view.write(`walked/${name}`, name)))
    await store.view.mkdir('walked/there-30')
    const nodeid = await served.nodeid('m/walked')
    const asked = await requestsOf(async () => {
      for (let i = 0; i < FILES; i++) {
        assert.equal(await fs.exists(`walked/missing-${i}`), false)
        assert.equal(await fs.exists(`walked/there-${i}`), [20, 30, 40].includes(i), String(i))
      }
    })
    const each = costs.lookup.length
    if (costs.listsForWalks) assert.ok(asked.length < 20 * each, `${asked.length} requests`)
    else assert.ok(asked.length <= 2 * FILES * each, `${asked.length} requests`)
    // What was just made by others is asked for, once the listing is old.
    await store.view.write('walked/there-50', 'new')
    await eventually('it is seen', () =>
      fs.exists('walked/there-51').then(() => fs.exists('walked/there-20')),
    )
    await served.client.forget(nodeid)
  })

  it('files that are read one after the other are a few looks and one listing', async () => {
    const fs = served.guestFs()
    await store.view.mkdir('read')
    const names = Array.from({ length: FILES }, (_, index) => `file-${index}`)
    await forEachConcurrently(names, 8, (name) => store.view.write(`read/${name}`, name))
    const nodeid = await served.nodeid('m/read')
    const asked = await requestsOf(async () => {
      for (const name of names) assert.equal(String(await fs.readFile(`read/${name}`)), name)
    })
    const looks = asked.filter((request) => costs.lookup.some((pattern) => pattern.test(request)))
    const most = costs.listsForWalks ? 20 * costs.lookup.length : 2 * FILES * costs.lookup.length
    assert.ok(looks.length <= most, `${looks.length} looks`)
    // What others do meanwhile is seen, once the listing is old.
    await store.view.write('read/file-1', 'another')
    await eventually('it is seen', async () => String(await fs.readFile('read/file-1')) === 'another')
    await served.client.forget(nodeid)
  })

  it('names are looked for as objects alone while they are', async () => {
    if (!costs.looksForObjectsFirst) return
    const fs = served.guestFs()
    for (const name of ['first', 'second', 'third']) await store.view.write(`objects/${name}`, name)
    await store.view.write('objects/below/file', 'a directory')
    // Held, so that the directory itself is not looked for again.
    const nodeid = await served.nodeid('m/objects')
    // Of this name: the listing beside the first look may reach the server when its file is long found.
    const lists = async (name: string): Promise<number> =>
      (await requestsOf(() => fs.stat(`objects/${name}`))).filter(
        (request) => costs.listing.test(request) && request.includes(name),
      ).length
    await lists('first')
    assert.deepEqual([await lists('second'), await lists('third')], [0, 0])
    // What is none is found all the same.
    assert.equal(await lists('below'), 1)
    await served.client.forget(nodeid)
  })

  it('a listing with attributes asks for the listing, and for no entry', async () => {
    const fs = served.guestFs()
    await store.view.mkdir('many')
    await Promise.all(Array.from({ length: FILES }, (_, i) => store.view.write(`many/file${i}`, `${i}`)))
    const nodeid = await served.nodeid('m/many')
    const asked = await requestsOf(async () => {
      const listed = await fs.listWithAttributes('many')
      assert.equal(listed.size, FILES)
      for (let i = 0; i < FILES; i++) assert.equal(listed.get(`file${i}`)?.size, `${i}`.length)
    })
    // A second request may be how a client learns that there is no second page.
    assert.ok(asked.length >= 1 && asked.length <= 2, asked.join('\n'))
    for (const request of asked) assert.match(request, costs.listing)
    await served.client.forget(nodeid)
  })

  it('what is in the cache is read without a request; what is not, in few and large ones', async () => {
    const fs = served.guestFs()
    const data = randomBytes(12 * MIB)
    await store.view.write('large', data)
    const cold = await requestsOf(async () => {
      assertSameBytes(await fs.readFile('large'), data)
    })
    assert.ok(cold.length < 30, `${cold.length} requests for 12 reads of 1 MiB`)
    const file = await fs.open('large')
    const warm = await requestsOf(async () => {
      assertSameBytes(await file.readAll(), data)
    })
    assert.deepEqual(warm, [])
    await file.close()
  })

  it('a few bytes from the middle of a large file do not fetch the file', async () => {
    const data = randomBytes(12 * MIB, 2)
    await store.view.write('sparse-read', data)
    const file = await served.guestFs().open('sparse-read')
    const { received } = await trafficOf(async () => {
      assertSameBytes(await file.read(7 * MIB, 100), data.subarray(7 * MIB, 7 * MIB + 100))
    })
    assert.ok(received < 2 * FEW_BYTES, `${received} bytes for 100`)
    await file.close()
  })

  it('a rename moves no data through the daemon', async () => {
    const fs = served.guestFs()
    const data = randomBytes(3 * MIB)
    await store.view.write('to-move', data)
    const { sent, received } = await trafficOf(() => fs.rename('to-move', 'moved'))
    assert.ok(sent + received < FEW_BYTES, `${sent} bytes sent, ${received} received`)
    assertSameBytes((await store.view.read('moved')) ?? Buffer.alloc(0), data)
  })

  it('copy_file_range moves none either, or is left to the kernel', async () => {
    const fs = served.guestFs()
    const data = randomBytes(3 * MIB, 3)
    await store.view.write('to-copy', data)
    const source = await fs.open('to-copy')
    const target = await fs.open('copy', O_RDWR | O_CREAT)
    const copy = (): Promise<number> =>
      served.client.copyFileRange(
        { nodeid: source.nodeid, fh: source.fh, offset: 0 },
        { nodeid: target.nodeid, fh: target.fh, offset: 0 },
        data.length,
      )
    if (costs.copies) {
      const { sent, received } = await trafficOf(copy)
      assert.ok(sent + received < FEW_BYTES, `${sent} bytes sent, ${received} received`)
      assertSameBytes((await store.view.read('copy')) ?? Buffer.alloc(0), data)
    } else {
      assert.equal(await codeOf(copy()), 'EOPNOTSUPP')
    }
    await source.close()
    await target.close()
  })

  it('an append to a long file sends what is new where the store can append, else the file', async () => {
    const fs = served.guestFs()
    const data = randomBytes(3 * MIB, 4)
    await store.view.write('log', data)
    const file = await fs.open('log', O_WRONLY | O_APPEND)
    const { sent, received } = await trafficOf(async () => {
      await file.write(0, 'a line')
      await file.fsync()
    })
    await file.close()
    const all = Buffer.concat([data, Buffer.from('a line')])
    assertSameBytes((await store.view.read('log')) ?? Buffer.alloc(0), all)
    if (costs.appends) {
      assert.ok(sent + received < FEW_BYTES, `${sent} bytes sent, ${received} received`)
    } else {
      assert.ok(sent > data.length && received > data.length, `${sent} bytes sent, ${received} received`)
    }
  })
}
