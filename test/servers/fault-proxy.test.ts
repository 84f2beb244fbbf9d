import assert from 'node:assert/strict'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import { once } from 'node:events'
import { connect, type AddressInfo } from 'node:net'
import { after, afterEach, before, describe, it } from 'node:test'
import { sendRequest } from './clients.js'
import { startFaultProxy, type FaultProxy } from './fault-proxy.js'
import { RequestParser } from './fault-proxy/request-parser.js'
import { randomBytes, randomNumbers } from '../support/bytes.js'

const BODY = randomBytes(1 << 20)
/** Nobody answers within this, and nothing that does answer takes as long. */
const SHORT_MS = 300

/** Gives BODY, and of an upload its length. */
function serve(request: IncomingMessage, response: ServerResponse): void {
  if (request.url === '/redirect') {
    response.writeHead(307, { Location: 'http://127.0.0.1:21111/x' }).end()
    return
  }
  let uploaded = 0
  request.on('data', (chunk: Buffer) => (uploaded += chunk.length))
  request.once('end', () => {
    response.end(request.method === 'PUT' ? String(uploaded) : BODY)
  })
}

describe('the fault proxy', () => {
  const server = createServer(serve)
  let proxy: FaultProxy

  before(async () => {
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    proxy = await startFaultProxy(`http://127.0.0.1:${(server.address() as AddressInfo).port}`, {
      redirects: [{ from: 'http://127.0.0.1:21111', to: 'http://127.0.0.1:22222' }],
    })
  })
  afterEach(async () => {
    await proxy.heal()
    proxy.resetCounters()
  })
  after(async () => {
    await proxy.stop()
    server.close()
    server.closeAllConnections()
  })

  const get = (target = '/') => sendRequest({ method: 'GET', origin: proxy.endpoint, target })
  const put = (body: Uint8Array) =>
    sendRequest({ method: 'PUT', origin: proxy.endpoint, target: '/put', body })
  const code = (error: NodeJS.ErrnoException) => error.code
  /** Whether the promise settles within SHORT_MS. */
  const settles = (promise: Promise<unknown>): Promise<boolean> =>
    Promise.race([
      promise.then(
        () => true,
        () => true,
      ),
      new Promise<boolean>((resolve) => setTimeout(resolve, SHORT_MS, false)),
    ])

  it('passes on what both sides send, and counts', async () => {
    assert.deepEqual((await get('/a?b=1')).body, BODY)
    assert.equal((await put(BODY)).body.toString(), String(BODY.length))
    const { requests, connections, bytesToServer, bytesToClient } = proxy.counters
    assert.deepEqual({ requests, connections }, { requests: 2, connections: 2 })
    assert.ok(bytesToServer > BODY.length && bytesToClient > BODY.length)
    assert.equal(proxy.countRequests('GET', /^\/a\?b=1$/), 1)
    assert.equal(proxy.countRequests('GET'), 1)
    assert.equal(proxy.countRequests('DELETE'), 0)
  })

  it('counts every request of a connection that is kept, chunked bodies among them', async () => {
    const socket = connect(proxy.port, '127.0.0.1')
    let text = ''
    socket.setEncoding('latin1').on('data', (chunk: string) => (text += chunk))
    for (const head of [
      'PUT /one HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n',
      'PUT /two HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\nconnection: close\r\n',
    ]) {
      socket.write(`${head}\r\n`)
      socket.write(head.includes('chunked') ? '2;x=y\r\nab\r\n1\r\nc\r\n0\r\nt: u\r\n\r\n' : 'abc')
    }
    await once(socket, 'close')
    assert.equal(text.match(/HTTP\/1\.1 200 OK/g)?.length, 2)
    assert.deepEqual(
      proxy.requests('PUT').map(({ target }) => target),
      ['/one', '/two'],
    )
    assert.equal(proxy.counters.connections, 1)
  })

  it('gives canned answers to the next matching requests only', async () => {
    const rule = proxy.answer({ status: 503, body: 'slow down', times: 2, method: 'PUT', path: /^\/put/ })
    assert.equal((await get()).status, 200)
    const refused = await put(BODY)
    assert.deepEqual([refused.status, refused.body.toString()], [503, 'slow down'])
    assert.equal((await put(BODY)).status, 503)
    assert.equal((await put(BODY)).status, 200)
    assert.equal(rule.answered, 2)
    proxy.answer({ status: 404, after: 1, headers: { 'x-why': 'told so' } })
    assert.equal((await get()).status, 200)
    const missing = await get()
    assert.deepEqual([missing.status, missing.headers['x-why']], [404, 'told so'])
    await proxy.heal()
    assert.equal((await get()).status, 200)
  })

  it('refuses connections while its port is closed', async () => {
    await proxy.refuse()
    await assert.rejects(get(), { code: 'ECONNREFUSED' })
    await proxy.listen()
    assert.equal((await get()).status, 200)
  })

  it('resets at once, after some bytes, or on one connection', async () => {
    proxy.setFault({ kind: 'reset' })
    await assert.rejects(get(), { code: 'ECONNRESET' })
    proxy.setFault({ kind: 'reset', afterBytes: 100_000 })
    await assert.rejects(get(), { code: 'ECONNRESET' })
    proxy.setFault({ kind: 'reset-upload', afterBytes: 100_000 })
    // The kernel may tell a writer of the reset in either way.
    await assert.rejects(put(BODY), (error: NodeJS.ErrnoException) =>
      ['ECONNRESET', 'EPIPE'].includes(code(error) ?? ''),
    )
    assert.equal((await get()).status, 200)
    proxy.setFault({ kind: 'reset', on: { first: 2, last: 2 } })
    assert.equal((await get()).status, 200)
    await assert.rejects(get(), { code: 'ECONNRESET' })
    assert.equal((await get()).status, 200)
  })

  it('stalls before and within an answer until it is healed', async () => {
    proxy.setFault({ kind: 'stall' })
    const stalled = get()
    assert.equal(await settles(stalled), false)
    proxy.setFault({ kind: 'blackhole', afterBytes: 1000 })
    assert.equal(await settles(stalled), false)
    assert.ok(proxy.counters.bytesToClient >= 1000, 'the server has answered')
    proxy.setFault(null)
    assert.deepEqual((await stalled).body, BODY)
  })

  it('cuts an answer short', async () => {
    proxy.setFault({ kind: 'cut', afterBytes: 100_000 })
    await assert.rejects(get(), { message: 'aborted' })
  })

  it('delays and throttles', async () => {
    proxy.setFault({ kind: 'delay', delayMs: SHORT_MS })
    const begin = performance.now()
    await get('/redirect')
    assert.ok(performance.now() - begin >= 2 * SHORT_MS - 2, 'the request and the answer are delayed')
    proxy.setFault({ kind: 'throttle', bytesPerSecond: BODY.length })
    const throttled = get()
    assert.equal(await settles(throttled), false)
    proxy.setFault(null)
    assert.deepEqual((await throttled).body, BODY)
  })

  it('sends redirected clients to another proxy', async () => {
    assert.equal((await get('/redirect')).headers.location, 'http://127.0.0.1:22222/x')
  })

  it('passes on what is no HTTP', async () => {
    const socket = connect(proxy.port, '127.0.0.1')
    socket.end('NO SUCH THING\r\n\r\n')
    const [answer] = (await once(socket, 'data')) as [Buffer]
    assert.match(answer.toString(), /^HTTP\/1\.1 400 /)
  })
})

describe('the request parser', () => {
  it('finds the same requests however the stream is cut', () => {
    const seed = Number(process.env.OVFSD_TEST_SEED ?? Date.now() % 2 ** 31)
    const random = randomNumbers(seed)
    const stream = Buffer.from(
      'GET /a HTTP/1.1\r\nHost: x\r\n\r\n' +
        'PUT /b?c=%20 HTTP/1.1\r\nContent-Length: 12\r\n\r\nGET /no HTTP' +
        'PUT /d HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nGET /\r\na\r\n0123456789\r\n0\r\n\r\n' +
        'DELETE /e HTTP/1.1\r\n\r\n',
    )
    for (let round = 0; round < 200; round++) {
      const parser = new RequestParser()
      const seen: string[] = []
      const bytes: Buffer[] = []
      let open = 0
      for (let at = 0; at < stream.length;) {
        const length = 1 + Math.floor(random() * 40)
        for (const piece of parser.push(stream.subarray(at, at + length))) {
          if (piece.head !== null) {
            seen.push(`${piece.head.method} ${piece.head.target}`)
            open++
          }
          if (piece.ends) open--
          bytes.push(piece.bytes)
          assert.ok(open === 0 || open === 1, `seed ${seed}: requests overlap`)
        }
        at += length
      }
      assert.deepEqual(seen, ['GET /a', 'PUT /b?c=%20', 'PUT /d', 'DELETE /e'], `seed ${seed}`)
      assert.deepEqual(Buffer.concat(bytes), stream, `seed ${seed}: bytes changed`)
      assert.equal(open, 0, `seed ${seed}: a request did not end`)
    }
  })
})
