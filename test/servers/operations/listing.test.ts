/** READDIR and READDIRPLUS: exact sizes, offsets that stay good, and what changes meanwhile. */
import assert from 'node:assert/strict'
import { it } from 'node:test'
import { forEachConcurrently } from '../../../src/backends/concurrency.js'
import { DT_DIR, DT_REG, Opcode, O_CREAT, O_RDWR, S_IFDIR, S_IFMT } from '../../frontend/abi.js'
import { codeOf, type FuseClient } from '../../frontend/fuse-client.js'
import {
  readDirents,
  readDirentsPlus,
  Writer,
  type Dirent,
  type DirentPlus,
} from '../../frontend/fuse-structs.js'
import { describeStores, type Served } from '../../support/served.js'
import { STORES_AND_WEBDAV } from '../../support/stores.js'

const DIRENT_BYTES = 24
const DIRENTPLUS_BYTES = 152
const EINVAL = -22
/** Requests of somebody else at once. */
const VIEW_CONCURRENCY = 8

type Page = readonly (Dirent | DirentPlus)[]

/** One READDIR(PLUS) whose reply buffer is larger than the size asked for, so that an excess would show. */
async function readPage(
  client: FuseClient,
  opcode: number,
  nodeid: number,
  fh: bigint,
  offset: number | bigint,
  size: number,
): Promise<{ error: number; entries: Page; bytes: number }> {
  const args = new Writer().u64(fh).u64(offset).u32(size).u32(0).u64(0).u32(0).u32(0).done()
  const { error, data } = await client.request(opcode, nodeid, args, 0, { replyDataBytes: size + 8192 })
  const entries = opcode === Opcode.READDIR ? readDirents(data) : readDirentsPlus(data)
  return { error, entries, bytes: data.length }
}

/** All pages of a directory; each page is at most `size` bytes and is forgotten where it was looked up. */
async function readAll(client: FuseClient, opcode: number, nodeid: number, size: number): Promise<string[]> {
  const { fh } = await client.opendir(nodeid)
  const names: string[] = []
  for (let offset: number | bigint = 0; ;) {
    const page = await readPage(client, opcode, nodeid, fh, offset, size)
    assert.equal(page.error, 0)
    assert.ok(page.bytes <= size, `${page.bytes} bytes where ${size} were asked for`)
    const last = page.entries.at(-1)
    if (last === undefined) break
    offset = last.off
    names.push(...page.entries.map((entry) => entry.name))
    const looked = page.entries.filter((entry) => 'entry' in entry).filter(({ entry }) => entry.nodeid !== 0)
    if (looked.length > 0) await client.batchForget(looked.map(({ entry }) => [entry.nodeid, 1]))
  }
  await client.releasedir(nodeid, fh)
  return names
}

async function fill(served: Served, directory: string, names: readonly string[]): Promise<number> {
  await served.guestFs().mkdirs(directory)
  const nodeid = await served.nodeid(`m/${directory}`)
  const { client } = served
  await Promise.all(
    names.map(async (name) => {
      const { entry, fh } = await client.create(nodeid, name, O_RDWR | O_CREAT)
      await client.flush(entry.nodeid, fh)
      await client.release(entry.nodeid, fh)
      await client.forget(entry.nodeid)
    }),
  )
  return nodeid
}

function withDots(names: readonly string[]): string[] {
  return ['.', '..', ...names].sort()
}

/** What READDIR and READDIRPLUS have in common. `entryBytes`: an entry's size apart from its name. */
function listingTests(served: () => Served, name: string, opcode: number, entryBytes: number): void {
  it(`${name} lists every name once, whatever the buffer's size`, async () => {
    const names = Array.from({ length: 40 }, (_, i) => `${'n'.repeat(1 + ((i * 37) % 250))}${i}`)
    const nodeid = await fill(served(), `sizes-${name}`, names)
    const longest = entryBytes + 256
    for (const size of [longest, longest + 1, longest + 7, 500, 1000, 4096, 65_536, 1 << 20]) {
      assert.deepEqual(
        (await readAll(served().client, opcode, nodeid, size)).sort(),
        withDots(names),
        `${size}`,
      )
    }
  })

  it(`${name} is EINVAL, not the end, when the buffer has no room for the next entry`, async () => {
    const { client } = served()
    const nodeid = await fill(served(), `tiny-${name}`, ['x'.repeat(255)])
    const { fh } = await client.opendir(nodeid)
    for (const size of [0, 1, 8, DIRENT_BYTES]) {
      assert.equal((await readPage(client, opcode, nodeid, fh, 0, size)).error, EINVAL, `${size}`)
    }
    const dots = await readPage(client, opcode, nodeid, fh, 0, 2 * (entryBytes + 8))
    assert.deepEqual(
      dots.entries.map((entry) => entry.name),
      ['.', '..'],
    )
    const offset = dots.entries.at(-1)?.off ?? 0
    for (const size of [0, 1, entryBytes, entryBytes + 128, entryBytes + 255]) {
      assert.equal((await readPage(client, opcode, nodeid, fh, offset, size)).error, EINVAL, `${size}`)
    }
    const last = await readPage(client, opcode, nodeid, fh, offset, entryBytes + 256)
    assert.equal(last.entries.length, 1)
    // At the end an empty answer is right, however small the buffer.
    const end = last.entries.at(-1)?.off ?? 0
    for (const size of [8, entryBytes, 4096]) {
      const page = await readPage(client, opcode, nodeid, fh, end, size)
      assert.deepEqual([page.error, page.entries.length], [0, 0], `${size}`)
    }
    await client.releasedir(nodeid, fh)
  })

  it(`${name} goes on at any offset it gave, again and again`, async () => {
    const { client } = served()
    const names = Array.from({ length: 30 }, (_, i) => `entry${i}`)
    const nodeid = await fill(served(), `offsets-${name}`, names)
    const { fh } = await client.opendir(nodeid)
    const { entries } = await readPage(client, opcode, nodeid, fh, 0, 65_536)
    assert.equal(entries.length, 32)
    for (const index of [0, 1, 2, 15, 30]) {
      const offset = entries[index]?.off ?? 0
      const again = await readPage(client, opcode, nodeid, fh, offset, 65_536)
      assert.deepEqual(
        again.entries.map((entry) => entry.name),
        entries.slice(index + 1).map((entry) => entry.name),
      )
    }
    assert.equal((await readPage(client, opcode, nodeid, fh, 2n ** 63n, 4096)).entries.length, 0)
    await client.releasedir(nodeid, fh)
  })

  it(`${name} neither loses nor repeats what stays while others come and go`, async () => {
    const { client } = served()
    const fs = served().guestFs()
    const directory = `changing-${name}`
    const staying = Array.from({ length: 50 }, (_, i) => `stays${i}`)
    const leaving = Array.from({ length: 50 }, (_, i) => `leaves${i}`)
    const nodeid = await fill(served(), directory, [...staying, ...leaving])
    const { fh } = await client.opendir(nodeid)
    const seen: string[] = []
    for (let offset: number | bigint = 0, round = 0; ; round++) {
      const page = await readPage(client, opcode, nodeid, fh, offset, 1024)
      const last = page.entries.at(-1)
      if (last === undefined) break
      offset = last.off
      seen.push(...page.entries.map((entry) => entry.name))
      const victim = leaving.pop()
      if (victim !== undefined) await fs.unlink(`${directory}/${victim}`)
      await fs.writeFile(`${directory}/came${round}`, '')
    }
    await client.releasedir(nodeid, fh)
    assert.equal(new Set(seen).size, seen.length, 'an entry twice')
    for (const kept of staying) assert.ok(seen.includes(kept), kept)
  })

  it(`${name} goes on behind a page whose entries are all gone`, async () => {
    const { client } = served()
    const fs = served().guestFs()
    const directory = `emptied-${name}`
    const names = Array.from({ length: 100 }, (_, i) => `entry${String(i).padStart(3, '0')}`)
    const nodeid = await fill(served(), directory, names)
    const { fh } = await client.opendir(nodeid)
    const first = await readPage(client, opcode, nodeid, fh, 0, 2048)
    const order = (await readPage(client, opcode, nodeid, fh, first.entries.at(-1)?.off ?? 0, 65_536)).entries
    const gone = order.slice(0, -3).map((entry) => entry.name)
    for (const victim of gone) await fs.unlink(`${directory}/${victim}`)
    const seen = new Set<string>()
    for (let offset = first.entries.at(-1)?.off ?? 0; ;) {
      const page = await readPage(client, opcode, nodeid, fh, offset, 1024)
      const last = page.entries.at(-1)
      if (last === undefined) break
      offset = last.off
      for (const entry of page.entries) seen.add(entry.name)
    }
    for (const kept of order.slice(-3)) assert.ok(seen.has(kept.name), `${kept.name} was lost`)
    await client.releasedir(nodeid, fh)
  })

  it(`${name} after a rewind shows what is there now`, async () => {
    const { client } = served()
    const fs = served().guestFs()
    const directory = `rewound-${name}`
    const nodeid = await fill(served(), directory, ['old'])
    const { fh } = await client.opendir(nodeid)
    const list = async (): Promise<string[]> =>
      (await readPage(client, opcode, nodeid, fh, 0, 4096)).entries.map((entry) => entry.name).sort()
    assert.deepEqual(await list(), withDots(['old']))
    await fs.writeFile(`${directory}/new`, '')
    await fs.unlink(`${directory}/old`)
    assert.deepEqual(await list(), withDots(['new']))
    await client.releasedir(nodeid, fh)
  })
}

const OPCODES = [
  ['READDIR', Opcode.READDIR, DIRENT_BYTES],
  ['READDIRPLUS', Opcode.READDIRPLUS, DIRENTPLUS_BYTES],
] as const

describeStores('listing', { stores: STORES_AND_WEBDAV }, (served, { properties }) => {
  for (const [title, opcode, entryBytes] of OPCODES) {
    listingTests(served, title, opcode, entryBytes)
  }

  it('lists thousands of entries', async () => {
    const names = Array.from({ length: properties.manyEntries }, (_, i) => `file-${i}`)
    const { client } = served()
    if (properties.isShared) {
      await served().view.mkdir('many')
      await forEachConcurrently(names, VIEW_CONCURRENCY, (name) => served().view.write(`many/${name}`, ''))
    } else {
      await fill(served(), 'many', names)
    }
    const nodeid = await served().nodeid('m/many')
    assert.deepEqual((await readAll(client, Opcode.READDIR, nodeid, 4096)).sort(), withDots(names))
    assert.deepEqual((await readAll(client, Opcode.READDIRPLUS, nodeid, 4096)).sort(), withDots(names))
    assert.deepEqual((await readAll(client, Opcode.READDIRPLUS, nodeid, 1 << 20)).sort(), withDots(names))
  })

  it('tells files from directories', async () => {
    const fs = served().guestFs()
    const { client } = served()
    await fs.mkdirs('types/directory')
    await fs.writeFile('types/file', 'x')
    const nodeid = await served().nodeid('m/types')
    const { fh } = await client.opendir(nodeid)
    const types = Object.fromEntries((await client.readdir(nodeid, fh)).map(({ name, type }) => [name, type]))
    assert.deepEqual(types, { '.': DT_DIR, '..': DT_DIR, directory: DT_DIR, file: DT_REG })
    await client.releasedir(nodeid, fh)
  })

  it('of READDIRPLUS gives what LOOKUP gives, unsaved sizes too, and counts as one', async () => {
    const fs = served().guestFs()
    const { client } = served()
    await fs.mkdirs('plus/directory')
    await fs.writeFile('plus/saved', 'saved')
    const unsaved = await fs.open('plus/unsaved', O_RDWR | O_CREAT)
    await unsaved.write(0, 'unsaved data')
    const nodeid = await served().nodeid('m/plus')
    const { fh } = await client.opendir(nodeid)
    const entries = await client.readdirplus(nodeid, fh)
    await client.releasedir(nodeid, fh)
    for (const { name, entry } of entries) {
      if (name === '.' || name === '..') {
        assert.equal(entry.nodeid, 0)
        continue
      }
      const looked = await client.lookup(nodeid, name)
      assert.equal(entry.nodeid, looked.nodeid)
      assert.equal(entry.attr.size, looked.attr.size)
      assert.equal(entry.attr.mode, looked.attr.mode)
      if (name === 'unsaved') assert.equal(entry.attr.size, 12)
      if (name === 'directory') assert.equal(entry.attr.mode & S_IFMT, S_IFDIR)
      await client.forget(entry.nodeid, 2)
    }
    await unsaved.close()
    assert.equal(entries.length, 5)
  })

  it('does not roll back the size of a file that is being written', async () => {
    const fs = served().guestFs()
    await fs.mkdirs('growing')
    const file = await fs.open('growing/file', O_RDWR | O_CREAT)
    await file.write(0, 'ten bytes.')
    await file.fsync()
    await file.write(10, 'and more')
    assert.equal((await fs.listWithAttributes('growing')).get('file')?.size, 18)
    assert.equal((await file.stat()).size, 18)
    await file.close()
    assert.equal((await fs.listWithAttributes('growing')).get('file')?.size, 18)
  })

  it('shows what was stored after it was made and is not in memory any more', async () => {
    const fs = served().guestFs()
    await fs.mkdirs('stored-since')
    // Held, so that the daemon keeps what it was told of it.
    await served().nodeid('m/stored-since')
    await fs.writeFile('stored-since/file', 'five!')
    assert.equal((await fs.listWithAttributes('stored-since')).get('file')?.size, 5)
    // An empty file has no block in the cache that would hold on to it.
    await fs.writeFile('stored-since/file', '')
    assert.equal((await fs.listWithAttributes('stored-since')).get('file')?.size, 0)
    assert.equal((await fs.stat('stored-since/file')).size, 0)
    if (properties.mtimeUnitNs === null) return
    await fs.utimes('stored-since/file', 1000, 1000)
    assert.equal((await fs.listWithAttributes('stored-since')).get('file')?.mtime, 1000)
  })

  it('that was begun before a file was stored or replaced shows the file as it is now', async () => {
    const { client } = served()
    const fs = served().guestFs()
    for (const name of ['emptied', 'replaced']) {
      const nodeid = await fill(served(), `begun-${name}`, ['empty'])
      await fs.writeFile(`begun-${name}/file`, 'five!')
      await fs.unlink(`begun-${name}/empty`)
      const { fh } = await client.opendir(nodeid)
      const dots = await client.readdirplus(nodeid, fh, 0, 2 * (DIRENTPLUS_BYTES + 8))
      assert.deepEqual(
        dots.map((entry) => entry.name),
        ['.', '..'],
      )
      if (name === 'emptied') {
        await fs.writeFile('begun-emptied/file', '')
      } else {
        await fs.writeFile('begun-replaced/new', '')
        await fs.rename('begun-replaced/new', 'begun-replaced/file')
      }
      const rest = await client.readdirplus(nodeid, fh, dots.at(-1)?.off ?? 0)
      const file = rest.find((entry) => entry.name === 'file')?.entry
      assert.equal(file?.attr.size, 0, name)
      await client.forget(file.nodeid)
      await client.releasedir(nodeid, fh)
    }
  })

  it('is EBADF with a handle that is not open', async () => {
    const { client } = served()
    const nodeid = await served().nodeid()
    for (const opcode of [Opcode.READDIR, Opcode.READDIRPLUS]) {
      assert.equal((await readPage(client, opcode, nodeid, 4242n, 0, 4096)).error, -9)
    }
    assert.equal(await codeOf(client.releasedir(nodeid, 4242)), 'EBADF')
    assert.equal(await codeOf(client.fsyncdir(nodeid, 4242)), 'EBADF')
  })
})
