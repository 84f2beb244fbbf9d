/** What the guest's kernel is told that it may keep, by the settings `guest_cache` and `guest_writeback`. */
import assert from 'node:assert/strict'
import { describe, it, type TestContext } from 'node:test'
import { InitFlags, O_CREAT, O_RDWR, O_WRONLY, OpenFlags } from '../../frontend/abi.js'
import { codeOf } from '../../frontend/fuse-client.js'
import { serve, type MountSpec, type ServeOptions, type Served } from '../../support/served.js'
import { directoryStore } from '../../support/stores.js'

/** Longer than any time that a mount could have been told. */
const DAYS_SECONDS = 30 * 86_400

async function served(
  t: TestContext,
  mount: Omit<MountSpec, 'store'>,
  settings: ServeOptions['settings'] = {},
): Promise<Served> {
  const made = await serve({ mounts: [{ store: directoryStore, ...mount }], settings })
  t.after(() => made.close())
  return made
}

/** The flags of OPENDIR, after which the directory is read as a kernel does that keeps what it reads. */
async function readDirectory({ client }: Served, nodeid: number): Promise<number> {
  const { fh, openFlags } = await client.opendir(nodeid)
  await client.readdir(nodeid, fh, 0, 4096)
  await client.releasedir(nodeid, fh)
  return openFlags & (OpenFlags.CACHE_DIR | OpenFlags.KEEP_CACHE)
}

describe('guest_cache = "none"', () => {
  it('lets the guest keep nothing', async (t) => {
    const daemon = await served(t, { guestCache: 'none' })
    await daemon.guestFs().writeFile('file', 'x')
    const parent = await daemon.nodeid()
    const entry = await daemon.client.lookup(parent, 'file')
    assert.deepEqual([entry.entryValid, entry.attrValid], [0, 0])
    assert.equal(await codeOf(daemon.client.lookupEntry(parent, 'missing')), 'ENOENT')
    const { openFlags, fh } = await daemon.client.open(entry.nodeid, O_RDWR)
    assert.equal(openFlags & (OpenFlags.DIRECT_IO | OpenFlags.KEEP_CACHE), OpenFlags.DIRECT_IO)
    await daemon.client.release(entry.nodeid, fh)
    assert.equal(await readDirectory(daemon, parent), 0)
  })
})

describe('guest_cache = "always"', () => {
  it('lets the guest keep names and attributes for as long as it likes', async (t) => {
    const daemon = await served(t, { guestCache: 'always', expirationMs: 1000 })
    await daemon.guestFs().writeFile('file', 'x')
    const parent = await daemon.nodeid()
    const entry = await daemon.client.lookup(parent, 'file')
    assert.ok(entry.entryValid > DAYS_SECONDS && entry.attrValid > DAYS_SECONDS)
    assert.ok((await daemon.client.getattr(entry.nodeid)).attrValid > DAYS_SECONDS)
    const opened = await daemon.client.open(entry.nodeid, O_RDWR)
    await daemon.client.release(entry.nodeid, opened.fh)
    const again = await daemon.client.open(entry.nodeid, O_RDWR)
    assert.equal(again.openFlags & (OpenFlags.DIRECT_IO | OpenFlags.KEEP_CACHE), OpenFlags.KEEP_CACHE)
    await daemon.client.release(entry.nodeid, again.fh)
  })
})

describe('guest_cache = "auto"', () => {
  it('lets the guest keep the names of a directory until they change or expire', async (t) => {
    const daemon = await served(t, {})
    const parent = await daemon.nodeid()
    const both = OpenFlags.CACHE_DIR | OpenFlags.KEEP_CACHE
    assert.equal(await readDirectory(daemon, parent), OpenFlags.CACHE_DIR)
    assert.equal(await readDirectory(daemon, parent), both)
    assert.equal(await readDirectory(daemon, parent), both)
    await daemon.guestFs().writeFile('new', 'x')
    assert.equal(await readDirectory(daemon, parent), OpenFlags.CACHE_DIR)
    assert.equal(await readDirectory(daemon, parent), both)
    await daemon.guestFs().unlink('new')
    assert.equal(await readDirectory(daemon, parent), OpenFlags.CACHE_DIR)
  })

  it('does not let it keep names that are asked for each time', async (t) => {
    const daemon = await served(t, { expirationMs: 0 })
    const parent = await daemon.nodeid()
    for (let i = 0; i < 3; i++) assert.equal(await readDirectory(daemon, parent), OpenFlags.CACHE_DIR)
  })
})

describe('guest_writeback', () => {
  it('is agreed on if the guest offers it, and lets it read by whatever handle it has', async (t) => {
    const daemon = await served(t, {}, { guestWriteback: true })
    assert.ok(daemon.client.has('WRITEBACK_CACHE'))
    const file = await daemon.guestFs().open('file', O_CREAT | O_WRONLY)
    await file.write(0, 'for writing only')
    // A kernel fills up the page that a write begins in the middle of.
    assert.equal((await daemon.client.read(file.nodeid, file.fh, 0, 100)).toString(), 'for writing only')
    await file.close()
    await daemon.client.init({ flags: InitFlags.MAX_PAGES })
    assert.equal(daemon.client.has('WRITEBACK_CACHE'), false)
  })

  it('is not agreed on without the setting', async (t) => {
    const daemon = await served(t, {})
    assert.equal(daemon.client.has('WRITEBACK_CACHE'), false)
  })
})
