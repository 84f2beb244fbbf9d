/** What a failed request is said to have done. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, before, describe, it } from 'node:test'
import { HttpConnections } from '../../../src/backends/http/http-connection.js'
import { HttpError, outcomeOfStatus } from '../../../src/backends/http/http-error.js'

const TIMEOUT_MS = 10_000
const AGAIN = { errno: 'EIO', retryable: true, again: true } as const

describe('the outcome of a request that failed', () => {
  let server: Server
  let origin: string
  /** What comes of each request, in their order: a status, or a connection that is reset. */
  let answers: (number | 'reset')[] = []

  before(async () => {
    server = createServer((incoming, answer) => {
      const next = answers.shift() ?? 200
      incoming.resume()
      if (next === 'reset') incoming.socket.resetAndDestroy()
      else answer.writeHead(next).end()
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  })
  after(() => {
    server.closeAllConnections()
    server.close()
  })

  async function failureOf(from: string, ...script: (number | 'reset')[]): Promise<HttpError> {
    answers = script
    const connections = new HttpConnections()
    const request = { method: 'PUT', origin: from, target: '/f', timeoutMs: TIMEOUT_MS, maxBodyBytes: 1000 }
    const call = connections.retrying(async () => {
      const { status } = await connections.send(request)
      const meaning = status >= 500 ? AGAIN : ({ errno: 'ESTALE' } as const)
      throw new HttpError({ ...meaning, outcome: outcomeOfStatus(status) }, String(status))
    })
    const error: unknown = await call.catch((thrown: unknown) => thrown)
    assert.ok(error instanceof HttpError, String(error))
    return error
  }

  it('is unknown where a server behind the one that answers may have done it', () => {
    for (const status of [500, 502, 504]) assert.equal(outcomeOfStatus(status), 'unknown', String(status))
    for (const status of [301, 400, 403, 404, 409, 412, 429, 498, 501, 503, 507])
      assert.equal(outcomeOfStatus(status), 'refused', String(status))
  })

  it('is refused where there was no connection', async () => {
    const { port } = server.address() as AddressInfo
    const nobody = createServer().listen(0, '127.0.0.1')
    await once(nobody, 'listening')
    const free = (nobody.address() as AddressInfo).port
    await new Promise((resolve) => nobody.close(resolve))
    assert.notEqual(free, port)
    const error = await failureOf(`http://127.0.0.1:${free}`)
    assert.deepEqual([error.outcome, error.unanswered, error.isRepeated], ['refused', true, false])
  })

  it('is unknown where the connection broke', async () => {
    assert.equal((await failureOf(origin, 'reset', 'reset', 'reset')).outcome, 'unknown')
  })

  it('stays unknown whatever a later try is told', async () => {
    const conflict = await failureOf(origin, 'reset', 412)
    assert.deepEqual([conflict.errno, conflict.outcome, conflict.isRepeated], ['ESTALE', 'unknown', true])
    assert.equal((await failureOf(origin, 500, 503, 503)).outcome, 'unknown')
  })

  it('is refused where each try was', async () => {
    const error = await failureOf(origin, 503, 503, 412)
    assert.deepEqual([error.errno, error.outcome, error.isRepeated], ['ESTALE', 'refused', false])
  })
})
