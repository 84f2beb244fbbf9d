/** No client goes where a server sends it, save to what may be a DataNode of HDFS. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { describe, it, type TestContext } from 'node:test'
import { createBackend } from '../../../src/backends/create-backend.js'
import { mayBeSentTo } from '../../../src/backends/http/address-rules.js'
import { StorageError } from '../../../src/backends/storage-error.js'

const BYTES = 'secret of another server'
const HEAD = { 'content-length': BYTES.length, etag: '"e"', 'last-modified': 'Mon, 01 Jan 2024 00:00:00 GMT' }
const TIMEOUT_MS = 5000

function isErrno(errno: string): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof StorageError, String(error))
    assert.equal(error.errno, errno, error.message)
    return true
  }
}

async function listen(
  t: TestContext,
  handle: (request: IncomingMessage, response: ServerResponse) => void,
): Promise<string> {
  const server: Server = createServer((request, response) => {
    request.resume()
    handle(request, response)
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')
  t.after(() => {
    server.closeAllConnections()
    server.close()
  })
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`
}

/** A server that nobody was told to ask. */
async function elsewhere(t: TestContext): Promise<{ readonly origin: string; readonly asked: string[] }> {
  const asked: string[] = []
  const origin = await listen(t, ({ method, url }, response) => {
    asked.push(`${method ?? ''} ${url ?? ''}`)
    response.writeHead(200, HEAD)
    response.end(BYTES)
  })
  return { origin, asked }
}

function propertiesOf(href: string, isDirectory: boolean): string {
  const type = isDirectory ? '<D:collection/>' : ''
  const length = isDirectory ? '' : `<D:getcontentlength>${BYTES.length}</D:getcontentlength>`
  return `<D:response><D:href>${href}</D:href><D:propstat><D:prop><D:resourcetype>${type}</D:resourcetype>${length}<D:getetag>"e"</D:getetag></D:prop></D:propstat></D:response>`
}

function multistatus(...responses: readonly string[]): string {
  return `<?xml version="1.0"?><D:multistatus xmlns:D="DAV:">${responses.join('')}</D:multistatus>`
}

describe('a web server that sends clients on', () => {
  for (const status of [301, 302, 307, 308]) {
    it(`by ${status} is not obeyed by http`, async (t) => {
      const { origin, asked } = await elsewhere(t)
      const endpoint = await listen(t, ({ method }, response) => {
        if (method === 'HEAD') response.writeHead(200, HEAD)
        else response.writeHead(status, { location: `${origin}/credentials` })
        response.end()
      })
      const backend = createBackend({
        type: 'http',
        options: { endpoint, username: 'u', password: 'p' },
        timeoutMs: TIMEOUT_MS,
      })
      const version = (await backend.stat('f'))?.version ?? ''
      await assert.rejects(backend.read('f', 0, BYTES.length, version), isErrno('EIO'))
      assert.deepEqual(asked, [])
    })

    it(`by ${status} is not obeyed by webdav`, async (t) => {
      const { origin, asked } = await elsewhere(t)
      const endpoint = await listen(t, ({ method, url, headers }, response) => {
        if (method === 'PROPFIND' && headers['depth'] === '0') {
          response.writeHead(207)
          response.end(multistatus(propertiesOf(url ?? '', false)))
          return
        }
        response.writeHead(status, { location: `${origin}/credentials` })
        response.end()
      })
      const backend = createBackend({
        type: 'webdav',
        options: { endpoint, username: 'u', password: 'p' },
        timeoutMs: TIMEOUT_MS,
      })
      const version = (await backend.stat('f'))?.version ?? ''
      await assert.rejects(backend.read('f', 0, BYTES.length, version))
      await assert.rejects(backend.list('d'))
      assert.deepEqual(asked, [])
    })
  }

  it('from a name to the same with a "/" has a directory there', async (t) => {
    const endpoint = await listen(t, ({ url = '' }, response) => {
      response.writeHead(301, { location: `${url}/` })
      response.end()
    })
    const backend = createBackend({ type: 'http', options: { endpoint }, timeoutMs: TIMEOUT_MS })
    assert.equal((await backend.stat('d'))?.kind, 'directory')
  })
})

describe('a NameNode that sends clients on', () => {
  const LENGTH = BYTES.length

  async function read(t: TestContext, location: string): Promise<string> {
    const endpoint = await listen(t, (_request, response) => {
      response.writeHead(307, { location })
      response.end()
    })
    const options = { endpoint, delegation: 'TOKEN' }
    const backend = createBackend({ type: 'webhdfs', options, timeoutMs: TIMEOUT_MS })
    return Buffer.from(await backend.read('f', 0, LENGTH, '2')).toString()
  }

  it('to where only this link leads is refused', async (t) => {
    for (const host of [
      '169.254.169.254',
      '[fe80::1]',
      '[::ffff:169.254.169.254]',
      '2852039166',
      '[fd00:ec2::254]',
    ])
      await assert.rejects(read(t, `http://${host}/latest/meta-data`), isErrno('EACCES'), host)
  })

  it('may send to this host only if it is here itself', () => {
    for (const address of ['127.0.0.1', '127.3.2.1', '::1', '0.0.0.0', '::', '::ffff:127.0.0.1']) {
      assert.equal(mayBeSentTo(address, false), false, address)
      assert.equal(mayBeSentTo(address, true), true, address)
    }
    for (const address of ['10.0.0.1', '192.168.0.1', '2001:db8::1']) assert.ok(mayBeSentTo(address, false))
    for (const address of ['169.254.169.254', 'fe80::1', '::ffff:169.254.1.1'])
      assert.equal(mayBeSentTo(address, true), false, address)
  })
})
