/**
 * Writers beside each other on a real Swift, and answers that are lost: between every two requests that an operation makes
 * somebody else does something, or the network does.
 */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { after, before, describe, it } from 'node:test'
import type { Backend, ObjectStat } from '../../../src/backends/backend.js'
import { createBackend } from '../../../src/backends/create-backend.js'
import { StorageError } from '../../../src/backends/storage-error.js'
import { newWriteMark } from '../../../src/backends/write-mark.js'
import { SwiftClient } from '../clients.js'
import { startSwift, type Swift } from '../swift.js'
import { FaultyFront, type Fault } from '../../lib/backends/faulty-front.js'
import { forEachRequestAfter, MAX_REQUESTS, outcomeOf, waysToWrite } from '../../lib/backends/writers.js'

const TIMEOUT_MS = 20_000
/** Names that HTTP libraries, URLs or listings fold, and a guest may have. */
const ODD_NAMES = [
  'a\u0085b',
  'a\u2028b',
  '\x01',
  'a\tb',
  'new\nline',
  '%2e%2e',
  '..a',
  'a..',
  ' ',
  'é',
  'e\u0301',
  '😀',
]

describe('two writers on Swift', () => {
  let swift: Swift
  let other: SwiftClient
  let front: FaultyFront
  let root: string
  let backend: Backend

  before(async () => {
    swift = await startSwift({})
    other = new SwiftClient(swift)
    front = await FaultyFront.start(swift.storageUrl)
  })
  after(async () => {
    await front.stop()
    await swift.stop()
  })

  async function begin(): Promise<void> {
    front.decide = () => null
    root = `mount-${randomUUID()}`
    const endpoint = `${front.origin}${new URL(swift.storageUrl).pathname}`
    const options = { container: swift.container, auth_url: swift.authUrl, user: swift.user, key: swift.key }
    backend = createBackend({ type: 'swift', options: { ...options, root, endpoint }, timeoutMs: TIMEOUT_MS })
    // The server's limits are asked for once.
    await backend.list('')
  }

  function onRequest(decide: (what: string, index: number) => Fault | Promise<Fault>): { count: number } {
    const seen = { count: 0 }
    front.decide = ({ method, url, headers }) => {
      const place = (url ?? '').split('/').slice(-2).join('/')
      const copied = headers['x-copy-from'] === undefined ? '' : ' copy'
      return decide(`${method ?? ''}${copied} ${place}`, seen.count++)
    }
    return seen
  }

  async function contents(name: string): Promise<string | null> {
    return (await other.get(`${root}/${name}`))?.data.toString() ?? null
  }

  async function stored(name: string, text: string): Promise<ObjectStat> {
    await other.put(`${root}/${name}`, text)
    const stat = await backend.stat(name)
    assert.ok(stat !== null)
    return stat
  }

  const forEachRequest = (attempt: (turn: number) => Promise<{ count: number }>): Promise<void> =>
    forEachRequestAfter(begin, attempt)

  const writes = waysToWrite(() => backend)

  for (const [name, write] of Object.entries(writes)) {
    it(`${name} replaces nobody else's object, save in the moment of the last request`, async () => {
      await forEachRequest(async (turn) => {
        const { version } = await stored('f', 'old')
        let at = ''
        const seen = onRequest(async (what, index) => {
          if (index === turn) {
            at = what
            await other.put(`${root}/f`, 'theirs')
          }
          return null
        })
        const result = await outcomeOf(write('ours', version, { mark: newWriteMark() }))
        if (seen.count <= turn || /^PUT.*\/f$/.test(at)) return seen
        if (result instanceof StorageError)
          assert.deepEqual([result.errno, result.outcome], ['ESTALE', 'refused'])
        assert.equal(await contents('f'), 'theirs', at)
        return seen
      })
    })

    for (const expectsOld of [true, false]) {
      for (const fault of ['lose-answer', { status: 503 }, { status: 500 }] as const) {
        it(`${name} is done or refused with ${JSON.stringify(fault)} at any request (${expectsOld ? 'over an object' : 'a new one'})`, async () => {
          await forEachRequest(async (turn) => {
            const version = expectsOld ? (await stored('f', 'old')).version : null
            const mark = newWriteMark()
            const at: string[] = []
            const seen = onRequest((what, index) => {
              at.push(what)
              return index === turn ? fault : null
            })
            const result = await outcomeOf(write('ours', version, { mark }))
            const { count } = seen
            front.decide = () => null
            if (result instanceof StorageError) {
              assert.equal(result.retryable, true, at.join())
              assert.equal(await contents('f'), expectsOld ? 'old' : null, at.join())
              await write('ours', version, { mark })
            } else assert.equal(result.version, (await backend.stat('f'))?.version, at.join())
            assert.equal(await contents('f'), 'ours')
            assert.equal((await backend.identify?.('f'))?.mark, mark, at.join())
            return { count }
          })
        })
      }
    }

    it(`${name} does not take for its own, or cover, what somebody stores after a lost answer`, async () => {
      await begin()
      const { version } = await stored('f', 'old')
      let isLost = false
      onRequest(async (what) => {
        if (isLost) {
          await other.put(`${root}/f`, 'theirs')
          return null
        }
        isLost = /^PUT.*\/f$/.test(what)
        return isLost ? 'lose-answer' : null
      })
      const result = await outcomeOf(write('ours', version, { mark: newWriteMark() }))
      assert.ok(result instanceof StorageError)
      assert.equal(result.errno, 'ESTALE')
      assert.equal(await contents('f'), 'theirs')
      assert.equal((await backend.identify?.('f'))?.mark, null)
    })
  }

  it('an upload that could not be joined is closed again, with all its data', async () => {
    await begin()
    const { version } = await stored('f', 'old')
    const writer = await backend.createWriter('f', version)
    await writer.write(Buffer.from('one '))
    await writer.write(Buffer.from('two'))
    for (const fault of [{ status: 503 }, 'lose-answer'] as const) {
      let isLost = false
      onRequest((what) => {
        if (isLost && fault === 'lose-answer') return 'reset'
        isLost ||= /^PUT copy/.test(what)
        return isLost ? fault : null
      })
      const result = await outcomeOf(writer.close())
      assert.ok(result instanceof StorageError)
      assert.equal(result.retryable, true)
      assert.equal(result.outcome, fault === 'lose-answer' ? 'unknown' : 'refused')
    }
    front.decide = () => null
    const stat = await writer.close()
    assert.equal(await contents('f'), 'one two')
    assert.equal(stat.version, (await backend.stat('f'))?.version)
    assert.deepEqual(await other.names(`${root}/`), [`${root}/f`])
  })

  it('a rename removes only what it has copied', async () => {
    await forEachRequest(async (turn) => {
      await stored('f', 'ours')
      let at = ''
      const seen = onRequest(async (what, index) => {
        if (index === turn) {
          at = what
          await other.put(`${root}/f`, 'theirs')
        }
        return null
      })
      await backend.rename('f', 'g', 'file')
      const { count } = seen
      // Swift's DELETE knows no condition.
      if (count <= turn || /^DELETE/.test(at)) return { count }
      const left = await contents('f')
      const moved = await contents('g')
      assert.ok(
        left === 'theirs' || (moved === 'theirs' && left === null),
        `${at}: ${String(left)}, ${String(moved)}`,
      )
      return { count }
    })
  })

  it('a rename of a large object whose segments are elsewhere moves the list of them', async () => {
    await begin()
    await other.put(`${root}/segments/1`, 'x'.repeat(1000))
    await other.put(`${root}/d/dynamic`, '', {
      headers: { 'x-object-manifest': `${swift.container}/${root}/segments/` },
    })
    await backend.rename('d', 'e', 'directory')
    assert.equal((await backend.stat('e/dynamic'))?.sizeBytes, 1000)
    const { headers } = await other.request('HEAD', { object: `${root}/e/dynamic` })
    assert.ok('x-object-manifest' in headers)
  })

  it('the size of a dynamic large object is told by no listing', async () => {
    await begin()
    await other.put(`${root}/segments/1`, 'x'.repeat(1000))
    await other.put(`${root}/d/f`, '', {
      headers: { 'x-object-manifest': `${swift.container}/${root}/segments/` },
    })
    const [entry] = await backend.list('d')
    assert.deepEqual([entry?.name, entry?.kind, entry?.stat], ['f', 'file', null])
    assert.equal((await backend.stat('d/f', 'file'))?.sizeBytes, 1000)
  })

  it('an object whose HEAD tells no length is not empty', async () => {
    await begin()
    await stored('f', 'contents')
    onRequest((what) =>
      /^HEAD/.test(what) ? { status: 200, headers: { 'transfer-encoding': 'chunked' } } : null,
    )
    assert.equal((await backend.stat('f', 'file'))?.sizeBytes, 'contents'.length)
    onRequest((what) => {
      if (!/^(HEAD|GET)/.test(what)) return null
      return { status: /^HEAD/.test(what) ? 200 : 206, headers: { 'transfer-encoding': 'chunked' } }
    })
    const result = await outcomeOf(backend.stat('f', 'file'))
    assert.ok(result instanceof StorageError)
    assert.equal(result.errno, 'EIO')
  })

  it('another range than the one that was asked for is an error', async () => {
    await begin()
    const { version } = await stored('f', 'contents')
    const etag = version.replaceAll('"', '')
    onRequest(() => ({
      status: 206,
      headers: { etag, 'content-range': 'bytes 0-1/8', 'content-length': '2' },
      body: 'co',
    }))
    const result = await outcomeOf(backend.read('f', 2, 2, version))
    assert.ok(result instanceof StorageError)
    assert.equal(result.errno, 'EIO')
  })

  it('a listing that does not get on is an error', async () => {
    await begin()
    const page = JSON.stringify(
      Array.from({ length: 10_000 }, () => ({ name: `${root}/f`, bytes: 1, hash: 'x' })),
    )
    let pages = 0
    onRequest((what) => {
      pages++
      return /^GET/.test(what) ? { status: 200, body: page } : null
    })
    const result = await outcomeOf(backend.list(''))
    assert.ok(result instanceof StorageError)
    assert.equal(result.errno, 'EIO')
    assert.ok(pages < MAX_REQUESTS)
  })

  for (const name of ODD_NAMES) {
    it(`the name ${JSON.stringify(name)} is itself everywhere`, async () => {
      await begin()
      await backend.createDirectory('d')
      await backend.write(`d/${name}`, Buffer.from('x'), null)
      assert.deepEqual(
        (await backend.list('d')).map((entry) => entry.name),
        [name],
      )
      await backend.rename('d', name, 'directory')
      assert.deepEqual(
        (await other.names(`${root}/`)).sort(),
        [`${root}/${name}/`, `${root}/${name}/${name}`].sort(),
      )
      await backend.removeFile(`${name}/${name}`)
      await backend.removeDirectory(name)
      assert.deepEqual(await other.names(`${root}/`), [])
    })
  }

  it('keys that no guest can have move along, and keep their directory from being removed', async () => {
    await begin()
    const odd = ['d//x', 'd/./x', 'd/../x', 'd/..', 'd/a//']
    await stored('x', 'outside')
    for (const key of odd) await other.put(`${root}/${key}`, key)
    assert.deepEqual(await backend.list('d'), [
      { name: 'a', kind: 'directory', stat: await backend.stat('d') },
    ])
    const removal = await outcomeOf(backend.removeDirectory('d'))
    assert.ok(removal instanceof StorageError)
    assert.equal(removal.errno, 'ENOTEMPTY')
    await backend.rename('d', 'e', 'directory')
    for (const key of odd) assert.equal(await contents(key.replace(/^d/, 'e')), key)
    assert.equal(await contents('x'), 'outside')
    assert.equal((await other.names(`${root}/`)).length, odd.length + 1)
  })

  it("another client's marker without a slash is a directory that can be moved and removed", async () => {
    await begin()
    await other.put(`${root}/d`, '', { headers: { 'content-type': 'application/directory' } })
    assert.equal((await backend.stat('d'))?.kind, 'directory')
    assert.deepEqual(
      (await backend.list('')).map(({ name, kind }) => [name, kind]),
      [['d', 'directory']],
    )
    await backend.rename('d', 'e', 'directory')
    assert.deepEqual([await backend.stat('d'), (await backend.stat('e'))?.kind], [null, 'directory'])
    await backend.removeDirectory('e')
    assert.deepEqual(await other.names(`${root}/`), [])
  })

  it('a removal whose answer is lost takes nothing that was made since', async () => {
    await begin()
    await stored('f', 'ours')
    let isLost = false
    onRequest(async (what) => {
      if (isLost && (await contents('f')) === null) await other.put(`${root}/f`, 'theirs')
      if (!/^DELETE/.test(what)) return null
      isLost = true
      return 'lose-answer'
    })
    await outcomeOf(backend.removeFile('f'))
    assert.equal(await contents('f'), 'theirs')
  })
})
