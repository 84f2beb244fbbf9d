/** Directories of many pages: each name that stays is told once, from wherever a program goes on, and what was told is kept within bounds. */
import assert from 'node:assert/strict'
import { describe, it, type TestContext } from 'node:test'
import type { Backend, DirectoryEntry, DirectoryPage, ObjectStat } from '../../../src/backends/backend.js'
import { KeptListings } from '../../../src/fs/kept-listings.js'
import { lookup } from '../../../src/fs/lookup.js'
import {
  indexAt,
  openDirectory,
  placeAt,
  portionAt,
  shownAt,
  type OpenDirectory,
} from '../../../src/fs/open-directory.js'
import { withMembers } from '../../support/backends.js'
import type { Driver } from '../../lib/model/driver.js'
import { drive, memory, O_RDWR, store } from '../../lib/model/driving.js'
import { Random } from '../../lib/model/random.js'

const FILE: ObjectStat = { kind: 'file', sizeBytes: 1, mtime: { seconds: 1, nanoseconds: 0 }, version: 'v' }

/** A store whose names are in the order of their letters, or of when they came; others make and remove them. */
class PagedNames {
  private readonly cameAt = new Map<string, number>()
  private last = 0
  asked: (string | null)[] = []
  looks = 0

  constructor(
    private readonly isSorted: boolean,
    private readonly pageEntries: () => number,
  ) {}

  put(name: string): void {
    if (!this.cameAt.has(name)) this.cameAt.set(name, ++this.last)
  }

  remove(name: string): void {
    this.cameAt.delete(name)
  }

  private page(token: string | null): DirectoryPage {
    this.asked.push(token)
    const all = [...this.cameAt]
    const isBehind = ([name, order]: [string, number]): boolean =>
      token === null || (this.isSorted ? name > token : order > Number(token))
    const left = all.filter(isBehind).sort(([a, at], [b, bt]) => (this.isSorted ? (a < b ? -1 : 1) : at - bt))
    const page = left.slice(0, this.pageEntries())
    const [name, order] = page.at(-1) ?? ['', 0]
    return {
      entries: page.map(([each]) => ({ name: each, kind: 'file', stat: FILE })),
      next: page.length === left.length ? null : this.isSorted ? name : String(order),
    }
  }

  /** What the guest stores goes to the same names. */
  backend(): Backend {
    const stored = memory()
    return withMembers(stored, {
      listsStats: true,
      list: () => Promise.reject(new Error('nobody asks for all at once')),
      listPage: (path, token) =>
        Promise.resolve(path === '' ? this.page(token) : { entries: [], next: null }),
      stat: async (path) => {
        this.looks++
        return this.cameAt.has(path) ? FILE : stored.stat(path)
      },
      write: (path, data, expected, options) => {
        this.put(path)
        return stored.write(path, data, expected, options)
      },
      removeFile: async (path) => {
        this.remove(path)
        await stored.removeFile(path).catch(() => undefined)
      },
    })
  }
}

function driveWith(t: TestContext, names: PagedNames, keptBytes?: number): Driver {
  const driver = drive(t, names.backend())
  if (keptBytes !== undefined) Object.assign(driver.fs, { listings: new KeptListings(keptBytes) })
  return driver
}

interface Told {
  readonly name: string
  /** Where a program goes on behind it. */
  readonly next: number
}

/** Up to `limit` names from a place on, as one READDIR has them; [] at the end. */
async function readSome(
  { fs }: Driver,
  directory: OpenDirectory,
  place: number,
  limit: number,
): Promise<Told[]> {
  for (let at = place; ;) {
    const portion = await portionAt(fs, directory, at, at === 0)
    const told: Told[] = []
    for (let index = indexAt(portion, at); index < portion.entries.length && told.length < limit; index++) {
      const entry: DirectoryEntry | null = shownAt(directory, portion, index)
      if (entry !== null) told.push({ name: entry.name, next: placeAt(portion, index) + 1 })
    }
    if (told.length > 0 || portion.isLast) return told
    at = portion.start + portion.entries.length
  }
}

function opened({ fs, root }: Driver): OpenDirectory {
  return fs.directories.get(openDirectory(fs, root).fh)
}

for (const isSorted of [true, false]) {
  describe(`a directory of many pages in the order of ${isSorted ? 'its names' : 'their coming'}`, () => {
    for (const seed of [1, 2, 3, 4, 5, 6, 7, 8]) {
      it(`tells each name that stays once, from every place (seed ${seed})`, async (t) => {
        const random = new Random(seed)
        const pageEntries = 1 + random.below(60)
        const names = new PagedNames(isSorted, () => pageEntries)
        const staying = new Set<string>()
        const fresh = (): string => `${random.below(1e9)}`
        for (let count = 400; count > 0; count--) staying.add(fresh())
        const leaving = Array.from({ length: 150 }, fresh).filter((name) => !staying.has(name))
        for (const name of [...staying, ...leaving]) names.put(name)
        // Of some seeds nothing is kept but what is open.
        const driver = driveWith(t, names, random.chance(0.5) ? 0 : undefined)
        // What only the guest has, and never goes from there meanwhile.
        const unsaved = await driver.create(['unsaved'], O_RDWR)
        staying.add('unsaved')
        const disturb = async (): Promise<void> => {
          if (random.chance(0.4)) names.put(fresh())
          if (random.chance(0.4)) names.remove(leaving.splice(random.below(leaving.length), 1)[0] ?? '')
          if (random.chance(0.1)) await store(driver, [fresh()], 'x')
          const victim = random.chance(0.1) ? leaving.pop() : undefined
          if (victim !== undefined) await driver.unlink([victim]).catch(() => undefined)
        }
        const directory = opened(driver)
        const order: Told[] = []
        for (let place = 0; ;) {
          const told = await readSome(driver, directory, place, 1 + random.below(20))
          if (told.length === 0) break
          order.push(...told)
          place = told.at(-1)?.next ?? 0
          await disturb()
          // Another program reads elsewhere in the same directory.
          if (random.chance(0.2)) await readSome(driver, opened(driver), 0, 5)
          // The same one looks back, and goes on where it was.
          if (random.chance(0.2)) await readSome(driver, directory, random.pick(order).next, 5)
        }
        const told = order.map(({ name }) => name)
        assert.equal(new Set(told).size, told.length, 'a name twice')
        for (const name of staying) assert.ok(told.includes(name), `${name} was not told`)
        for (let seek = 0; seek < 20; seek++) {
          await disturb()
          const from = random.below(order.length)
          const rest: string[] = []
          for (let place = order[from]?.next ?? 0; ;) {
            const some = await readSome(driver, directory, place, 50)
            if (some.length === 0) break
            rest.push(...some.map(({ name }) => name))
            place = some.at(-1)?.next ?? 0
          }
          assert.equal(new Set(rest).size, rest.length, 'a name twice behind a seek')
          const before = new Set(told.slice(0, from + 1))
          for (const name of rest) assert.ok(!before.has(name), `${name} again behind a seek`)
          for (const name of told.slice(from + 1))
            if (staying.has(name)) assert.ok(rest.includes(name), `${name} was lost behind a seek`)
        }
        await driver.close(unsaved)
      })
    }
  })
}

describe('what a listing of many pages told', () => {
  const many = (count: number): PagedNames => {
    const names = new PagedNames(true, () => 100)
    for (let index = 0; index < count; index++) names.put(`name-${String(index).padStart(6, '0')}`)
    return names
  }
  const readAll = async (driver: Driver): Promise<string[]> =>
    (await driver.readDirectory(opened(driver))).map(([{ name }]) => name)

  for (const keptBytes of [undefined, 100_000]) {
    it(`spares looks at its names, ${keptBytes === undefined ? 'all of it kept' : 'most of it asked for again'}`, async (t) => {
      const names = many(5000)
      const driver = driveWith(t, names, keptBytes)
      const told: string[] = []
      const directory = opened(driver)
      for (let place = 0; ;) {
        const some = await readSome(driver, directory, place, 70)
        if (some.length === 0) break
        told.push(...some.map(({ name }) => name))
        place = some.at(-1)?.next ?? 0
      }
      const firstAsked = names.asked.length
      assert.equal(firstAsked, 50)
      for (const name of told) assert.equal((await lookup(driver.fs, driver.root, name))?.sizeBytes, 1)
      assert.equal(names.looks, 0)
      const askedAgain = names.asked.length - firstAsked
      assert.ok(askedAgain <= 50, `${askedAgain} pages were asked for again`)
      const { bytes } = driver.fs.listings
      assert.ok(bytes <= (keptBytes ?? Infinity) + 60_000, `${bytes} bytes are kept`)
    })
  }

  it('is asked for once by all who read it within its time', async (t) => {
    const names = many(1000)
    const driver = driveWith(t, names)
    const all = await Promise.all([readAll(driver), readAll(driver), readAll(driver)])
    assert.deepEqual(new Set(all.flat()).size, 1000)
    const asked = names.asked.length
    assert.deepEqual(await readAll(driver), all[0])
    assert.equal(names.asked.length, asked)
  })

  it('is given back with its directory', async (t) => {
    const names = many(1000)
    const driver = driveWith(t, names)
    await readAll(driver)
    assert.ok(driver.fs.listings.bytes > 100_000)
    driver.root.forgetListing()
    assert.equal(driver.fs.listings.bytes, 0)
  })

  it('is not more than its bounds, however many directories there are', async (t) => {
    const stored = memory()
    const entries = Array.from({ length: 500 }, (_, index) => ({
      ...{ name: `file-${index}`, kind: 'file' as const, stat: FILE },
    }))
    const backend = withMembers(stored, {
      listPage: (path, token) => Promise.resolve({ entries, next: null, path, token }),
    })
    const driver = drive(t, backend)
    const bound = 1 << 20
    Object.assign(driver.fs, { listings: new KeptListings(bound) })
    for (let index = 0; index < 50; index++) {
      await driver.mkdir([`d${index}`])
      await driver.list([`d${index}`])
      assert.ok(driver.fs.listings.bytes <= bound, `${driver.fs.listings.bytes} bytes`)
    }
  })
})

it('a listing that goes round in circles is an error', async (t) => {
  const page = (name: string, next: string): DirectoryPage => ({
    entries: [{ name, kind: 'file', stat: FILE }],
    next,
  })
  const driver = drive(
    t,
    withMembers(memory(), {
      listPage: (_path, token) => Promise.resolve(token === 'two' ? page('b', 'one') : page('a', 'two')),
    }),
  )
  await assert.rejects(driver.list([]), { errno: 'EIO' })
})

it('a listing that makes up new names for ever ends with an error', async (t) => {
  const [pageNames, maxNames] = [100, 5000]
  let asked = 0
  const listPage = (): Promise<DirectoryPage> => {
    const first = asked++ * pageNames
    const names = Array.from({ length: pageNames }, (_, index) => `made-up-${first + index}`)
    return Promise.resolve({
      entries: names.map((name) => ({ name, kind: 'file', stat: FILE })),
      next: names.at(-1) ?? null,
    })
  }
  const driver = drive(t, withMembers(memory(), { listPage }))
  Object.assign(driver.fs, { listings: new KeptListings(undefined, maxNames) })
  await assert.rejects(driver.list([]), { errno: 'EIO' })
  assert.equal(asked, maxNames / pageNames + 1)
})

it('a listing whose pages tell nothing new for ever ends with an error', async (t) => {
  for (const names of [[], ['again']]) {
    let asked = 0
    const listPage = (): Promise<DirectoryPage> =>
      Promise.resolve({
        entries: names.map((name) => ({ name, kind: 'file', stat: FILE })),
        next: `token ${++asked}`,
      })
    const driver = drive(t, withMembers(memory(), { listPage }))
    Object.assign(driver.fs, { listings: new KeptListings(undefined, 5000) })
    await assert.rejects(driver.list([]), { errno: 'EIO' })
  }
})

it('a directory that is moved while it is read tells each of its names once', async (t) => {
  const stored = memory()
  const names = Array.from({ length: 300 }, (_, index) => `name-${index}`)
  let path = 'before'
  const backend = withMembers(stored, {
    stat: (at) => Promise.resolve(at === path ? { ...FILE, kind: 'directory', sizeBytes: 0 } : null),
    rename: (_from, to) => Promise.resolve(void (path = to)),
    listPage: (at, token) => {
      if (at !== path) return Promise.resolve({ entries: [], next: null })
      const [of = '', start = '0'] = (token ?? `${at}:0`).split(':')
      assert.equal(of, at, 'a token of another directory')
      const end = Number(start) + 40
      return Promise.resolve({
        entries: names.slice(Number(start), end).map((name) => ({ name, kind: 'file', stat: FILE })),
        next: end < names.length ? `${at}:${end}` : null,
      })
    },
  })
  const driver = drive(t, backend)
  const told: string[] = []
  await driver.holding(['before'], async (inode) => {
    const directory = driver.fs.directories.get(openDirectory(driver.fs, inode).fh)
    for (let place = 0; ;) {
      const some = await readSome(driver, directory, place, 30)
      if (some.length === 0) break
      told.push(...some.map(({ name }) => name))
      place = some.at(-1)?.next ?? 0
      if (told.length === 120) await driver.rename(['before'], ['after'], 0)
    }
  })
  assert.equal(path, 'after')
  assert.deepEqual(told, names)
})
