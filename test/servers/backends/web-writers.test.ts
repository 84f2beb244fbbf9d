/**
 * Writers beside each other on a real WebDAV server, and answers that are lost; and what web servers answer that is not what
 * was asked for.
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, before, describe, it } from 'node:test'
import type { Backend, ObjectStat } from '../../../src/backends/backend.js'
import { createBackend } from '../../../src/backends/create-backend.js'
import { StorageError } from '../../../src/backends/storage-error.js'
import { WebdavClient } from '../clients.js'
import { freshCollection, sharedServers } from '../shared.js'
import { FaultyFront, type Fault } from '../../lib/backends/faulty-front.js'
import { forEachRequestAfter, outcomeOf } from '../../lib/backends/writers.js'

const TIMEOUT_MS = 20_000

describe('two writers on WebDAV', () => {
  let front: FaultyFront
  let other: WebdavClient
  let davEndpoint: string
  let root: string
  let backend: Backend

  before(async () => {
    ;({ davEndpoint } = await sharedServers().httpd())
    front = await FaultyFront.start(new URL(davEndpoint).origin)
    other = new WebdavClient(davEndpoint)
  })
  after(() => front.stop())

  async function begin(): Promise<void> {
    front.decide = () => null
    root = await freshCollection(await sharedServers().httpd())
    const endpoint = `${front.origin}${new URL(davEndpoint).pathname}`
    backend = createBackend({ type: 'webdav', options: { endpoint, root }, timeoutMs: TIMEOUT_MS })
  }

  function onRequest(decide: (method: string, index: number) => Fault | Promise<Fault>): { count: number } {
    const seen = { count: 0 }
    front.decide = ({ method }) => decide(method ?? '', seen.count++)
    return seen
  }

  async function contents(name: string): Promise<string | null> {
    return (await other.get(`${root}/${name}`))?.toString() ?? null
  }

  async function stored(name: string, text: string): Promise<ObjectStat> {
    await other.put(`${root}/${name}`, text)
    const stat = await backend.stat(name)
    assert.ok(stat !== null)
    return stat
  }

  const forEachRequest = (attempt: (turn: number) => Promise<{ count: number }>): Promise<void> =>
    forEachRequestAfter(begin, attempt)

  it('a write replaces nobody else, save in the moment of the PUT', async () => {
    await forEachRequest(async (turn) => {
      const { version } = await stored('f', 'old')
      let at = ''
      const seen = onRequest(async (method, index) => {
        if (index === turn) {
          at = method
          await other.put(`${root}/f`, 'theirs')
        }
        return null
      })
      const result = await outcomeOf(backend.write('f', Buffer.from('ours'), version))
      const { count } = seen
      if (count <= turn || at === 'PUT') return { count }
      assert.ok(result instanceof StorageError, at)
      assert.deepEqual([result.errno, result.outcome], ['ESTALE', 'refused'])
      assert.equal(await contents('f'), 'theirs', at)
      return { count }
    })
  })

  for (const expectsOld of [true, false]) {
    for (const fault of ['lose-answer', 'reset', { status: 503 }, { status: 500 }] as const) {
      it(`a write with ${JSON.stringify(fault)} at any request is done (${expectsOld ? 'over a file' : 'a new file'})`, async () => {
        await forEachRequest(async (turn) => {
          const version = expectsOld ? (await stored('f', 'old')).version : null
          const seen = onRequest((_method, index) => (index === turn ? fault : null))
          const stat = await backend.write('f', Buffer.from('ours'), version)
          const { count } = seen
          front.decide = () => null
          assert.equal(stat.version, (await backend.stat('f'))?.version)
          assert.equal(await contents('f'), 'ours')
          return { count }
        })
      })
    }
  }

  it('a write does not cover what somebody stores after a lost answer', async () => {
    await begin()
    const { version } = await stored('f', 'old')
    let isLost = false
    const seen: string[] = []
    onRequest(async (method) => {
      seen.push(method)
      if (isLost) await other.put(`${root}/f`, 'theirs')
      if (method !== 'PUT') return null
      isLost = true
      return 'lose-answer'
    })
    const result = await outcomeOf(backend.write('f', Buffer.from('ours'), version))
    assert.ok(result instanceof StorageError)
    assert.equal(result.errno, 'ESTALE')
    assert.equal(await contents('f'), 'theirs')
    assert.equal(seen.filter((method) => method === 'PUT').length, 1)
  })

  it('a write that nobody can ask about is unknown', async () => {
    await begin()
    const { version } = await stored('f', 'old')
    let isLost = false
    onRequest((method) => {
      if (isLost) return 'reset'
      isLost = method === 'PUT'
      return isLost ? 'lose-answer' : null
    })
    const result = await outcomeOf(backend.write('f', Buffer.from('ours'), version))
    assert.ok(result instanceof StorageError)
    assert.deepEqual([result.outcome, result.retryable], ['unknown', true])
  })

  it('a rename and a removal whose answers are lost take nothing else', async () => {
    await begin()
    const { version } = await stored('f', 'ours')
    let isLost = false
    onRequest(async (method) => {
      if (isLost && (await contents('f')) === null) await other.put(`${root}/f`, 'theirs')
      if (method !== 'MOVE' && method !== 'DELETE') return null
      isLost = true
      return 'lose-answer'
    })
    await outcomeOf(backend.rename('f', 'g', 'file', { version }))
    assert.equal(await contents('g'), 'ours')
    assert.equal(await contents('f'), 'theirs')
    isLost = false
    await outcomeOf(backend.removeFile('f'))
    assert.equal(await contents('f'), 'theirs')
  })

  it('a rename over a file whose answer is lost is done once', async () => {
    await forEachRequest(async (turn) => {
      const { version } = await stored('f', 'ours')
      await stored('g', 'old')
      const seen = onRequest((_method, index) => (index === turn ? 'lose-answer' : null))
      await backend.rename('f', 'g', 'file', { version })
      const { count } = seen
      front.decide = () => null
      assert.deepEqual([await contents('f'), await contents('g')], [null, 'ours'])
      return { count }
    })
  })
})

describe('a web server that answers something else', () => {
  const text = 'contents of the file'
  let server: Server
  let backend: Backend
  let answer: (request: IncomingMessage, response: ServerResponse) => void = () => undefined

  before(async () => {
    server = createServer((request, response) => {
      answer(request, response)
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    const endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    backend = createBackend({ type: 'http', options: { endpoint }, timeoutMs: TIMEOUT_MS })
  })
  after(() => {
    server.closeAllConnections()
    server.close()
  })

  it('is asked for the length in another way where HEAD does not tell it', async () => {
    answer = ({ method }, response) => {
      if (method === 'HEAD') response.writeHead(200, { etag: '"1"', 'transfer-encoding': 'chunked' }).end()
      else response.writeHead(206, { etag: '"1"', 'content-range': `bytes 0-0/${text.length}` }).end('c')
    }
    assert.equal((await backend.stat('f'))?.sizeBytes, text.length)
    answer = ({ method }, response) => {
      response.writeHead(200, { etag: '"1"', 'transfer-encoding': 'chunked' })
      response.end(method === 'HEAD' ? '' : text)
    }
    const result = await outcomeOf(backend.stat('f'))
    assert.ok(result instanceof StorageError, JSON.stringify(result))
    assert.equal(result.errno, 'EIO')
  })

  it('is read right where it sends everything in place of a range', async () => {
    answer = (_request, response) => {
      response.writeHead(200, { etag: '"1"', 'content-length': String(text.length) }).end(text)
    }
    assert.equal(Buffer.from(await backend.read('f', 9, 2, '1')).toString(), 'of')
  })

  it('is not believed where it sends another range, or another version', async () => {
    answer = (_request, response) => {
      response.writeHead(206, { etag: '"1"', 'content-range': `bytes 0-1/${text.length}` }).end('co')
    }
    const range = await outcomeOf(backend.read('f', 9, 2, '1'))
    assert.ok(range instanceof StorageError)
    assert.equal(range.errno, 'EIO')
    const version = await outcomeOf(backend.read('f', 0, 2, '2'))
    assert.ok(version instanceof StorageError)
    assert.equal(version.errno, 'ESTALE')
  })
})
