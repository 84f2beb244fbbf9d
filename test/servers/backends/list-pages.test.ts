/** Directories that are listed page by page: what is there throughout is told once, whatever comes and goes between two pages. */
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, readdirSync, readlinkSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it, type TestContext } from 'node:test'
import type { Backend, DirectoryPage } from '../../../src/backends/backend.js'
import { createBackend } from '../../../src/backends/create-backend.js'
import { Random } from '../../lib/model/random.js'
import { FakeS3 } from '../../support/fake-s3.js'
import { eventually } from '../../support/served.js'

const TIMEOUT_MS = 20_000

/** A store and what others do to its directory "d". */
interface Shared {
  readonly backend: Backend
  readonly put: (name: string) => void | Promise<void>
  readonly remove: (name: string) => void | Promise<void>
}

async function objects(t: TestContext): Promise<Shared & { readonly fake: FakeS3 }> {
  const fake = await FakeS3.start()
  t.after(() => fake.stop())
  const backend = createBackend({ type: 's3', options: fake.options, timeoutMs: TIMEOUT_MS })
  return {
    ...{ fake, backend },
    put: (name) => void fake.put(`d/${name}`, ''),
    remove: (name) => void fake.objects.delete(`d/${name}`),
  }
}

function hostDirectory(t: TestContext): Promise<Shared & { readonly root: string }> {
  const root = mkdtempSync(join(tmpdir(), 'ovfsd-list-pages-'))
  t.after(() => {
    rmSync(root, { recursive: true, force: true })
  })
  mkdirSync(join(root, 'd'))
  return Promise.resolve({
    root,
    backend: createBackend({ type: 'fs', options: { root }, timeoutMs: TIMEOUT_MS }),
    put: (name) => {
      writeFileSync(join(root, 'd', name), '')
    },
    remove: (name) => {
      rmSync(join(root, 'd', name), { force: true })
    },
  })
}

function inMemory(): Promise<Shared> {
  const backend = createBackend({ type: 'memory', options: { root: '/' }, timeoutMs: TIMEOUT_MS })
  return Promise.resolve({
    backend,
    put: async (name) => {
      await backend.write(`d/${name}`, Buffer.alloc(0), undefined)
    },
    remove: (name) => backend.removeFile(`d/${name}`),
  })
}

function pageOf(backend: Backend, token: string | null, maxEntries?: number): Promise<DirectoryPage> {
  return backend.listPage?.('d', token, maxEntries) ?? assert.fail('it has no pages')
}

const namesOf = ({ entries }: DirectoryPage): string[] => entries.map(({ name }) => name)

/** All names, and what was asked for to get them. */
async function read(
  backend: Backend,
  maxEntries: number | undefined,
  between: () => void | Promise<void> = () => undefined,
): Promise<{ names: string[]; tokens: (string | null)[] }> {
  const names: string[] = []
  const tokens: (string | null)[] = []
  for (let token: string | null = null; ;) {
    tokens.push(token)
    const page = await pageOf(backend, token, maxEntries)
    names.push(...namesOf(page))
    token = page.next
    if (token === null) return { names, tokens }
    await between()
  }
}

for (const [title, prepare] of [
  ['an object store', objects],
  ['a directory of the host', hostDirectory],
  ['memory', inMemory],
] as const) {
  describe(`pages of ${title}`, () => {
    it('have together what the listing has, and can be asked for again', async (t) => {
      const { backend, put } = await prepare(t)
      for (let index = 0; index < 5000; index++) await put(`name-${index}`)
      const whole = await backend.list('d')
      assert.equal(whole.length, 5000)
      const { names, tokens } = await read(backend, undefined)
      assert.ok(tokens.length >= 3, `${tokens.length} pages`)
      assert.deepEqual(
        names,
        whole.map(({ name }) => name),
      )
      const [, second = null] = tokens
      const again = namesOf(await pageOf(backend, second))
      const start = names.indexOf(again[0] ?? '')
      assert.ok(start > 0)
      assert.deepEqual(again, names.slice(start, start + again.length))
    })

    it('of two that list it at once are their own', async (t) => {
      const { backend, put } = await prepare(t)
      for (let index = 0; index < 3000; index++) await put(`name-${index}`)
      const all = (await backend.list('d')).map(({ name }) => name)
      const readers = await Promise.all(Array.from({ length: 40 }, () => read(backend, 700)))
      for (const { names } of readers) assert.deepEqual(names, all)
    })

    it('of a directory that is not there are one without entries', async (t) => {
      const { backend } = await prepare(t)
      assert.deepEqual(await backend.listPage?.('missing', null), { entries: [], next: null })
    })

    for (const seed of [1, 2, 3]) {
      it(`have each name that stays once, whatever comes and goes (seed ${seed})`, async (t) => {
        const random = new Random(seed)
        const { backend, put, remove } = await prepare(t)
        const staying = Array.from({ length: 3000 }, (_, index) => `${random.below(1e9)}-stays-${index}`)
        const leaving = Array.from({ length: 1000 }, (_, index) => `${random.below(1e9)}-leaves-${index}`)
        for (const name of [...staying, ...leaving]) await put(name)
        let came = 0
        const { names } = await read(backend, 1 + random.below(900), async () => {
          for (let change = random.below(100); change > 0; change--) {
            if (random.chance(0.5)) await put(`${random.below(1e9)}-came-${came++}`)
            else await remove(leaving.splice(random.below(leaving.length), 1)[0] ?? '')
          }
        })
        assert.equal(new Set(names).size, names.length, 'a name twice')
        const found = new Set(names)
        for (const name of staying) assert.ok(found.has(name), name)
      })
    }
  })
}

it('a name that is an object and a directory is told once, however far apart its two keys are', async (t) => {
  const { backend, fake, put } = await objects(t)
  for (const name of ['a', 'a!', 'a!b', 'x', 'a!/y', 'a/z', 'a-/1', 'b/1', 'b/2']) await put(name)
  // Between "a" and "a/".
  for (let index = 0; index < 30; index++) await put(`a!b-${index}`)
  const { names } = await read(backend, 1)
  const expected = [
    'a',
    'a!',
    'a!b',
    'a-',
    'b',
    'x',
    ...Array.from({ length: 30 }, (_, index) => `a!b-${index}`),
  ]
  assert.deepEqual(names.toSorted(), expected.toSorted())
  assert.deepEqual((await backend.list('d')).map(({ name }) => name).toSorted(), expected.toSorted())
  fake.objects.delete('d/a')
  assert.ok((await read(backend, 1)).names.includes('a'))
})

it('names that no file can have are counted over all pages', async (t) => {
  const { backend, put } = await objects(t)
  for (const name of ['', '/x', './x', '../x', 'a', 'b', 'z'.repeat(300)]) await put(name)
  const told: unknown[] = []
  backend.reportUnlistable?.((...about) => told.push(about))
  assert.deepEqual((await read(backend, 1)).names, ['a', 'b'])
  assert.equal(backend.unlistable, 4)
  assert.deepEqual(told, [['d', 4, `d/${'z'.repeat(300)}`]])
})

describe('descriptors of listings of a directory of the host', () => {
  const openIn = (root: string): number =>
    readdirSync('/proc/self/fd').filter((fd) => {
      try {
        return readlinkSync(`/proc/self/fd/${fd}`).startsWith(root)
      } catch {
        return false
      }
    }).length

  it('are closed at the end, and when there are too many of them', async (t) => {
    const { backend, put, root } = await hostDirectory(t)
    for (let index = 0; index < 1500; index++) await put(`name-${index}`)
    await read(backend, 700)
    const begun = await Promise.all(Array.from({ length: 100 }, () => pageOf(backend, null, 10)))
    assert.ok(openIn(root) <= 33, `${openIn(root)} are open`)
    const all = (await backend.list('d')).map(({ name }) => name)
    for (const first of begun) {
      const names = namesOf(first)
      for (let token = first.next; token !== null;) {
        const page = await pageOf(backend, token)
        names.push(...namesOf(page))
        token = page.next
      }
      assert.deepEqual(names, all)
    }
    // Each is closed by a thread, which nobody waits for.
    await eventually('all of them are closed', () => openIn(root) === 0)
  })
})
