/** TLS to a server whose certificate only the host's own list of authorities vouches for. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { HttpConnections } from '../../../src/backends/http/http-connection.js'
import { selfSigned } from '../../support/certificate.js'

const directory = mkdtempSync(join(tmpdir(), 'ovfsd-authorities-'))
const trusted = selfSigned()

async function listen({ key, certificate }: ReturnType<typeof selfSigned>): Promise<Server> {
  const server = createServer({ key, cert: certificate }, (_request, response) => response.end('secret'))
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  return server
}

async function bodyFrom(server: Server): Promise<string> {
  const { port } = server.address() as AddressInfo
  const request = { method: 'GET', origin: `https://127.0.0.1:${port}`, target: '/' }
  const { body } = await new HttpConnections().send({ ...request, timeoutMs: 10_000, maxBodyBytes: 100 })
  return body.toString()
}

describe('TLS', () => {
  let servers: Server[] = []
  before(async () => {
    const bundle = join(directory, 'bundle.pem')
    writeFileSync(bundle, trusted.certificate)
    process.env['SSL_CERT_FILE'] = bundle
    servers = await Promise.all([trusted, selfSigned()].map(listen))
  })
  after(() => {
    for (const server of servers) {
      server.close()
      server.closeAllConnections()
    }
    rmSync(directory, { recursive: true })
  })

  it('trusts the authorities of the host', async () => {
    const [server] = servers
    assert.ok(server !== undefined)
    assert.equal(await bodyFrom(server), 'secret')
  })

  it('trusts nobody else', async () => {
    const [, server] = servers
    assert.ok(server !== undefined)
    await assert.rejects(bodyFrom(server), /self-signed certificate/)
  })
})
