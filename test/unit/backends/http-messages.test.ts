/** What is sent of a request, as a server gets it. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, before, describe, it } from 'node:test'
import { HttpConnections } from '../../../src/backends/http/http-connection.js'

const LIMITS = { timeoutMs: 10_000, maxBodyBytes: 1000 }

describe('a request', () => {
  let server: Server
  let origin: string
  let got: { method?: string | undefined; headers: IncomingHttpHeaders; body: string } = {
    headers: {},
    body: '',
  }
  const connections = new HttpConnections()

  before(async () => {
    server = createServer((incoming, answer) => {
      const chunks: Buffer[] = []
      incoming.on('data', (chunk: Buffer) => chunks.push(chunk))
      incoming.on('end', () => {
        got = { method: incoming.method, headers: incoming.headers, body: Buffer.concat(chunks).toString() }
        answer.end('answer')
      })
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  })
  after(() => {
    server.closeAllConnections()
    server.close()
  })

  for (const method of ['GET', 'HEAD', 'DELETE', 'PROPFIND', 'MKCOL', 'COPY', 'MOVE', 'PUT', 'POST'])
    it(`${method} without a body has none, not even an empty one in chunks`, async () => {
      await connections.send({ method, origin, target: '/a', ...LIMITS })
      assert.equal(got.method, method)
      assert.equal(got.headers['transfer-encoding'], undefined)
      const saysItHasNone = !['GET', 'HEAD', 'DELETE'].includes(method)
      assert.equal(got.headers['content-length'], saysItHasNone ? '0' : undefined)
      assert.equal(got.headers.host, origin.slice('http://'.length))
      assert.equal(got.headers.connection, 'keep-alive')
    })

  it('with a body tells its length, and the host that it was given', async () => {
    const headers = { host: 'bucket.example', 'x-own': 'kept' }
    await connections.send({ method: 'PUT', origin, target: '/a', headers, ...LIMITS }, Buffer.from('body'))
    assert.equal(got.body, 'body')
    assert.equal(got.headers['content-length'], '4')
    assert.equal(got.headers.host, 'bucket.example')
    assert.equal(got.headers['x-own'], 'kept')
  })

  it('that asks first sends a long body when it is asked for', async () => {
    const body = Buffer.alloc(1 << 20, 'x')
    await connections.send({ method: 'PUT', origin, target: '/a', asksFirst: true, ...LIMITS }, body)
    assert.equal(got.headers.expect, '100-continue')
    assert.equal(got.headers['content-length'], String(body.length))
    assert.equal(got.body.length, body.length)
  })

  it('whose body comes in parts is sent in chunks', async () => {
    const upload = connections.beginUpload(
      { method: 'PUT', origin, target: '/a', ...LIMITS },
      ({ status }) => new Error(String(status)),
    )
    await upload.write(Buffer.from('one '))
    await upload.write(Buffer.from('two'))
    assert.equal((await upload.finish()).body.toString(), 'answer')
    assert.equal(got.headers['transfer-encoding'], 'chunked')
    assert.equal(got.body, 'one two')
  })
})
