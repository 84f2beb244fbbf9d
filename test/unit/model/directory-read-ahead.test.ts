/** Small files that are opened one after the other, as their directory lists them. */
import assert from 'node:assert/strict'
import { describe, it, type TestContext } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { Backend } from '../../../src/backends/backend.js'
import { withListedAttributes, withMembers } from '../../support/backends.js'
import type { Driver } from '../../lib/model/driver.js'
import { drive, memory, O_RDWR } from '../../lib/model/driving.js'

const FILES = 40
const SMALL_BYTES = 1000
const O_RDONLY = 0
/** See src/fs/directory-read-ahead.ts. */
const LARGEST_AHEAD_FILES = 16

interface Directory {
  readonly driver: Driver
  /** In the order of the listing. */
  readonly names: readonly string[]
  /** Files that the store was asked for, in order. */
  readonly reads: string[]
  readonly stats: string[]
  /** Resolves when all that the store was asked for by now has come. */
  readonly arrived: () => Promise<void>
}

/** A directory `d` of files whose content is their name again and again, listed by the guest. */
async function directoryOf(t: TestContext, sizeOf: (index: number) => number): Promise<Directory> {
  const stored = memory()
  const reads: string[] = []
  const stats: string[] = []
  await stored.createDirectory('d')
  for (let index = 0; index < FILES; index++) {
    const name = `file-${String(index).padStart(2, '0')}`
    await stored.write(`d/${name}`, Buffer.alloc(sizeOf(index), name), null)
  }
  let underWay: Promise<unknown> = Promise.resolve()
  const read: Backend['read'] = (path, offset, lengthBytes, version) => {
    reads.push(path)
    const answer = stored.read(path, offset, lengthBytes, version)
    underWay = Promise.allSettled([underWay, answer])
    return answer
  }
  const stat: Backend['stat'] = (path, kind) => {
    stats.push(path)
    return stored.stat(path, kind)
  }
  const listed = withListedAttributes(stored)
  const driver = drive(t, withMembers(listed, { read, stat, listsStats: true }))
  await driver.list(['d'])
  const names =
    driver.root.children
      ?.get('d')
      ?.listing?.entriesWithin(Infinity)
      ?.map(({ name }) => name) ?? []
  assert.equal(names.length, FILES)
  const arrived = async (): Promise<void> => {
    await underWay
    await nextTurn()
  }
  return { driver, names, reads, stats, arrived }
}

async function readWhole(driver: Driver, name: string): Promise<string> {
  const fh = await driver.open(['d', name], O_RDONLY)
  const data = await driver.read(fh, 0, driver.sizeOf(fh))
  await driver.close(fh)
  // What was begun in the background has reached the store.
  await nextTurn()
  return data.toString()
}

describe('small files that are opened in the order of their directory', () => {
  it('are fetched before they are opened, once each', async (t) => {
    const { driver, names, reads, stats } = await directoryOf(t, () => SMALL_BYTES)
    let furthest = 0
    for (const [index, name] of names.entries()) {
      assert.equal(await readWhole(driver, name), Buffer.alloc(SMALL_BYTES, name).toString())
      furthest = Math.max(furthest, reads.length - index - 1)
      assert.ok(
        reads.length - index - 1 <= LARGEST_AHEAD_FILES,
        `${reads.length} were fetched for ${index + 1}`,
      )
    }
    assert.equal(furthest, LARGEST_AHEAD_FILES)
    assert.deepEqual(reads.sort(), names.map((name) => `d/${name}`).sort())
    assert.deepEqual(stats, ['d'])
    assert.equal(driver.fs.cache.readAheadBytes, 0)
  })

  it('need no look at the store, as the bytes were of the version that was listed', async (t) => {
    const { driver, names, stats, arrived } = await directoryOf(t, () => SMALL_BYTES)
    for (const name of names.slice(0, 4)) await readWhole(driver, name)
    await arrived()
    const next = driver.root.children?.get('d')?.children?.get(names[4] ?? '')
    assert.ok(next?.content != null, 'it was not fetched')
    // The listing is older than what open() believes.
    next.validatedMs = -Infinity
    await readWhole(driver, next.name)
    assert.deepEqual(stats, ['d'])
  })

  it('are passed over where they are large, being written or there already', async (t) => {
    const large = new Set([5, 7])
    const { driver, names, reads } = await directoryOf(t, (i) => (large.has(i) ? 1 << 20 : SMALL_BYTES))
    const written = names[6] ?? ''
    const fh = await driver.open(['d', written], O_RDWR)
    await driver.write(fh, 0, Buffer.from('new'))
    const before = reads.length
    for (const name of names.slice(0, 5)) await readWhole(driver, name)
    const asked = reads.slice(before)
    for (const index of [5, 6, 7]) assert.ok(!asked.includes(`d/${names[index] ?? ''}`), asked.join(' '))
    assert.ok(asked.includes(`d/${names[8] ?? ''}`), asked.join(' '))
    await driver.close(fh)
    assert.equal((await readWhole(driver, written)).slice(0, 5), 'newe-')
  })

  it('keep no room of the read-ahead when they are left out', async (t) => {
    const { driver, names } = await directoryOf(t, () => SMALL_BYTES)
    for (const name of names.filter((_, index) => index < 4 || index % 2 === 0)) await readWhole(driver, name)
    // What lies as far behind as readers may overtake each other.
    assert.ok(driver.fs.cache.readAheadBytes <= 8 * SMALL_BYTES, `${driver.fs.cache.readAheadBytes}`)
    // A new listing fetches nothing twice.
    await driver.mkdir(['d', 'new'])
    await driver.list(['d'])
    for (const name of names.slice(0, 6)) await readWhole(driver, name)
    assert.ok(driver.fs.cache.readAheadBytes <= (LARGEST_AHEAD_FILES + 8) * SMALL_BYTES)
  })

  it('are not fetched before they are opened in another order', async (t) => {
    const { driver, names, reads } = await directoryOf(t, () => SMALL_BYTES)
    const others = names.filter((_, index) => index % 10 === 0).reverse()
    for (const name of others) await readWhole(driver, name)
    assert.deepEqual(
      reads,
      others.map((name) => `d/${name}`),
    )
  })

  it('are fetched no more when somebody else is read', async (t) => {
    const { driver, names, reads } = await directoryOf(t, () => SMALL_BYTES)
    for (const name of names.slice(0, 3)) await readWhole(driver, name)
    const fetched = reads.length
    assert.ok(fetched > 3)
    for (const name of [names[30], names[15]]) await readWhole(driver, name ?? '')
    assert.equal(reads.length, fetched + 2)
    assert.equal(driver.fs.cache.readAheadBytes, 0)
  })
})
