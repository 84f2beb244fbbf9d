/** The way that requests take, by the environment's proxies. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { after, it } from 'node:test'
import { HttpConnections } from '../../../src/backends/http/http-connection.js'
import { proxyOf } from '../../../src/backends/http/http-proxy.js'

const saved = { ...process.env }
after(() => {
  process.env = saved
})

it('is chosen by the scheme and the exceptions', () => {
  const proxy = (origin: string, env: Record<string, string>): string | null => {
    const found = proxyOf(new URL(origin), env)
    return found === null ? null : `${found.host}:${found.port}`
  }
  const env = { http_proxy: 'http://p:1', HTTPS_PROXY: 'q:2' }
  assert.equal(proxy('http://a.example', env), 'p:1')
  assert.equal(proxy('https://a.example', env), 'q:2')
  assert.equal(proxy('http://a.example', { ALL_PROXY: 'http://r' }), 'r:80')
  assert.equal(proxy('http://a.example', { HTTP_PROXY: 'http://p', REQUEST_METHOD: 'GET' }), null)
  assert.equal(proxy('http://a.example', { http_proxy: 'socks5://p:1' }), null)
  for (const exception of ['*', 'a.example', '.example', 'x, example', '*.example'])
    assert.equal(proxy('http://a.example', { ...env, NO_PROXY: exception }), null, exception)
  for (const exception of ['b.example', 'ample', '10.0.0.0/8', ''])
    assert.equal(proxy('http://a.example', { ...env, no_proxy: exception }), 'p:1', exception)
  assert.equal(proxy('http://10.1.2.3', { ...env, no_proxy: '10.0.0.0/8' }), null)
  assert.equal(proxy('http://[::1]:9', { ...env, no_proxy: '::1' }), null)
  assert.deepEqual(proxyOf(new URL('http://a'), { http_proxy: 'http://u:p%40@h' })?.headers, {
    'proxy-authorization': `Basic ${Buffer.from('u:p@').toString('base64')}`,
  })
})

it('is taken by requests over HTTP, and asked for a tunnel over HTTPS', async (t) => {
  const seen: string[] = []
  const server = createServer((request, response) => {
    seen.push(`${request.method ?? ''} ${request.url ?? ''} ${request.headers.host ?? ''}`)
    response.end('through the proxy')
  })
  server.on('connect', (request, socket) => {
    seen.push(`CONNECT ${request.url ?? ''}`)
    socket.end('HTTP/1.1 403 Forbidden\r\n\r\n')
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  const url = `http://127.0.0.1:${port}`
  process.env = {
    ...saved,
    HTTP_PROXY: url,
    http_proxy: url,
    HTTPS_PROXY: url,
    https_proxy: url,
    no_proxy: '',
  }
  const connections = new HttpConnections()
  const request = { method: 'GET', target: '/k?q', timeoutMs: 5000, maxBodyBytes: 1000 }
  const answer = await connections.send({ ...request, origin: 'http://store.invalid:9000' })
  assert.equal(answer.body.toString(), 'through the proxy')
  await assert.rejects(connections.send({ ...request, origin: 'https://store.invalid' }), {
    outcome: 'refused',
  })
  assert.deepEqual(seen, [
    'GET http://store.invalid:9000/k?q store.invalid:9000',
    'CONNECT store.invalid:443',
  ])
})
