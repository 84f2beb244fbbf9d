/** The HTTP of those who operate the daemon: who may come, who is refused, and what broken clients do to it. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { request as httpRequest } from 'node:http'
import { connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { spawnSync } from 'node:child_process'
import { after, describe, it, type TestContext } from 'node:test'
import type { ListenAddress } from '../../../src/config/values.js'
import { HttpEndpoint, HttpRefusal, sendJson, type Route } from '../../../src/control/http-endpoint.js'

const directory = mkdtempSync(join(tmpdir(), 'ovfsd-http-'))
after(() => {
  rmSync(directory, { recursive: true })
})

let socketCount = 0
const newPath = (): string => join(directory, `${++socketCount}.sock`)

const noError = (error: unknown): void => {
  assert.fail(`a defect was told: ${String(error)}`)
}

async function listen(
  test: TestContext,
  address: ListenAddress,
  routes: Readonly<Record<string, Route>> = { 'GET /hello': sayHello },
  onError: (error: unknown) => void = noError,
  requestTimeoutMs?: number,
): Promise<HttpEndpoint> {
  const endpoint = await HttpEndpoint.listen(
    address,
    new Map(Object.entries(routes)),
    onError,
    requestTimeoutMs,
  )
  test.after(() => endpoint.close())
  return endpoint
}

const sayHello: Route = (_, response) => {
  sendJson(response, { hello: 'you' })
}

interface Answer {
  readonly status: number
  readonly body: unknown
}

/** @throws Error when the connection ends without an answer */
async function ask(address: ListenAddress, method: string, path: string, body?: Buffer): Promise<Answer> {
  const target = 'path' in address ? { socketPath: address.path } : address
  const outgoing = httpRequest({ ...target, method, path, agent: false })
  outgoing.end(body)
  const [incoming] = (await once(outgoing, 'response')) as [NodeJS.ReadableStream & { statusCode: number }]
  let text = ''
  for await (const chunk of incoming) text += String(chunk)
  return { status: incoming.statusCode, body: JSON.parse(text) as unknown }
}

function socketOf(address: ListenAddress): Socket {
  const socket = 'path' in address ? connect(address.path) : connect(address)
  socket.on('error', () => undefined)
  return socket
}

async function untilClosed(socket: Socket): Promise<void> {
  socket.resume()
  if (!socket.closed) await once(socket, 'close')
}

describe('the HTTP endpoint', () => {
  it('answers on a port of the loopback interface, and on a socket for its owner alone', async (test) => {
    const tcp = await listen(test, { host: '127.0.0.1', port: 0 })
    assert.ok('port' in tcp.address && tcp.address.port > 0)
    const path = newPath()
    const modeOfNew = (name: string): number => {
      writeFileSync(join(directory, name), '')
      return statSync(join(directory, name)).mode
    }
    const before = modeOfNew('before')
    const unix = await listen(test, { path })
    assert.equal(modeOfNew('after'), before, 'the umask is what it was')
    assert.equal(statSync(path).mode & 0o777, 0o600)
    for (const { address } of [tcp, unix])
      assert.deepEqual(await ask(address, 'GET', '/hello?a=b'), { status: 200, body: { hello: 'you' } })
  })

  it('says what there is to who asks for something else', async (test) => {
    const { address } = await listen(test, { path: newPath() }, { 'GET /a': sayHello, 'POST /a': sayHello })
    assert.deepEqual(await ask(address, 'GET', '/b'), {
      status: 404,
      body: { error: 'there is no /b; there are /a' },
    })
    assert.deepEqual(await ask(address, 'DELETE', '/a'), {
      status: 405,
      body: { error: '/a takes GET and POST' },
    })
    assert.equal((await ask(address, 'GET', '/../../etc/passwd')).status, 404)
    assert.deepEqual(await ask(address, 'GET', '//'), { status: 400, body: { error: 'the address is none' } })
  })

  it('tells refusals, and of a defect only that there is one', async (test) => {
    const told: unknown[] = []
    const routes: Record<string, Route> = {
      'GET /refused': () => {
        throw new HttpRefusal(409, 'not now')
      },
      'GET /broken': () => Promise.reject(new Error('a secret')),
    }
    const { address } = await listen(test, { path: newPath() }, routes, (error) => told.push(error))
    assert.deepEqual(await ask(address, 'GET', '/refused'), { status: 409, body: { error: 'not now' } })
    assert.equal(told.length, 0)
    const broken = await ask(address, 'GET', '/broken')
    assert.equal(broken.status, 500)
    assert.ok(!JSON.stringify(broken.body).includes('secret'))
    assert.match(String(told[0]), /a secret/)
  })

  it('ends who sends more than an address, and goes on', async (test) => {
    // The route waits for the body's end, which never comes.
    const routes: Record<string, Route> = {
      'POST /take': async (_, response, request) => {
        await once(request, 'end')
        sendJson(response, {})
      },
      'GET /hello': sayHello,
    }
    const { address } = await listen(test, { path: newPath() }, routes, () => undefined)
    assert.equal((await ask(address, 'POST', '/take', Buffer.alloc(4096))).status, 200)
    await assert.rejects(ask(address, 'POST', '/take', Buffer.alloc(1 << 20)))
    assert.equal((await ask(address, 'GET', '/hello')).status, 200)
  })

  it('cuts off who does not finish his request, and answers others meanwhile', async (test) => {
    const { address } = await listen(test, { path: newPath() }, undefined, undefined, 200)
    const slow = socketOf(address)
    slow.write('GET /hello HTTP/1.1\r\nHost: ')
    assert.equal((await ask(address, 'GET', '/hello')).status, 200)
    await untilClosed(slow)
  })

  it('refuses what is no HTTP', async (test) => {
    const { address } = await listen(test, { path: newPath() })
    const strange = socketOf(address)
    strange.write('\x16\x03\x01 nonsense\r\n\r\n')
    await untilClosed(strange)
    assert.equal((await ask(address, 'GET', '/hello')).status, 200)
  })

  it('closes with connections open: idle ones and one in the middle of an answer', async () => {
    const path = newPath()
    let wake: () => void = () => undefined
    const isBegun = new Promise<void>((resolve) => {
      wake = resolve
    })
    const endpoint = await HttpEndpoint.listen(
      { path },
      new Map<string, Route>([
        [
          'GET /endless',
          (_, response) => {
            response.write('more and more')
            wake()
          },
        ],
      ]),
      noError,
    )
    const idle = socketOf({ path })
    const busy = socketOf({ path })
    busy.write('GET /endless HTTP/1.1\r\nHost: x\r\n\r\n')
    await isBegun
    await endpoint.close()
    await Promise.all([untilClosed(idle), untilClosed(busy)])
    assert.ok(!existsSync(path))
  })

  it('takes the place of a socket that a killed daemon left, and of nothing else', async (test) => {
    const stale = newPath()
    const script = `require('node:net').createServer().listen(${JSON.stringify(stale)}, () => process.kill(process.pid, 'SIGKILL'))`
    spawnSync(process.execPath, ['-e', script])
    assert.ok(statSync(stale).isSocket())
    const endpoint = await listen(test, { path: stale })
    assert.equal((await ask(endpoint.address, 'GET', '/hello')).status, 200)

    const inUse = (error: unknown): boolean => (error as NodeJS.ErrnoException).code === 'EADDRINUSE'
    await assert.rejects(HttpEndpoint.listen({ path: stale }, new Map(), noError), inUse)
    assert.equal((await ask(endpoint.address, 'GET', '/hello')).status, 200)

    const file = join(directory, 'file')
    writeFileSync(file, 'mine')
    await assert.rejects(HttpEndpoint.listen({ path: file }, new Map(), noError), inUse)
    assert.ok(statSync(file).isFile())
  })

  it('fails where the port is taken or there is no such directory', async () => {
    const other = createServer().listen(0, '127.0.0.1')
    await once(other, 'listening')
    const { port } = other.address() as { port: number }
    await assert.rejects(HttpEndpoint.listen({ host: '127.0.0.1', port }, new Map(), noError), /EADDRINUSE/)
    other.close()
    await assert.rejects(
      HttpEndpoint.listen({ path: join(directory, 'no', 'where.sock') }, new Map(), noError),
      /EACCES|ENOENT/,
    )
  })
})
