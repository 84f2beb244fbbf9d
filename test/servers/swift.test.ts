import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { after, before, describe, it } from 'node:test'
import { randomBytes } from '../support/bytes.js'
import { authenticate, S3Client, sendRequest, SwiftClient } from './clients.js'
import { descendantsOf } from './descendants.js'
import {
  KEYSTONE_CREDENTIAL_ID,
  KEYSTONE_CREDENTIAL_SECRET,
  KEYSTONE_DOMAIN,
  KEYSTONE_PASSWORD,
  KEYSTONE_PROJECT,
  KEYSTONE_USER,
  startKeystone,
} from './keystone.js'
import { ODD_NAMES } from './odd-names.js'
import { isRunning } from './process-id.js'
import { startSwift, type Swift } from './swift.js'
import { SWIFT_ACCOUNT, SWIFT_POWERLESS_KEY, SWIFT_POWERLESS_USER } from './swift-configuration.js'
import { waitUntil } from './wait.js'

const TOKEN_LIFE_SECONDS = 3
const DEADLINE_MS = 60_000

describe('Swift for tests', () => {
  let swift: Swift
  let client: SwiftClient
  before(async () => {
    swift = await startSwift({ tokenLifeSeconds: TOKEN_LIFE_SECONDS, maxFileSizeBytes: 1 << 20 })
    client = new SwiftClient(swift)
  })
  after(() => swift.stop())

  /** The status of a listing with this token. Not of a HEAD: Swift's 401 to that has a body, which HTTP forbids. */
  const statusWith = async (token: string): Promise<number> => {
    const { origin, pathname } = new URL(swift.storageUrl)
    const target = `${pathname}/${swift.container}?limit=1`
    return (await sendRequest({ method: 'GET', origin, target, headers: { 'x-auth-token': token } })).status
  }

  it('stores, lists and deletes objects with odd names, for S3 too', async () => {
    const names = ODD_NAMES.map((name) => `odd/${name}`).sort()
    const s3 = new S3Client(swift.s3)
    for (const name of names) await client.put(name, `data of ${name}`)
    assert.deepEqual(await client.names('odd/'), names)
    assert.deepEqual(await s3.keys('odd/'), names)
    for (const name of names) {
      assert.equal((await client.get(name))?.data.toString(), `data of ${name}`)
      assert.equal((await s3.get(name))?.data.toString(), `data of ${name}`)
    }
    for (const name of names) await client.delete(name)
    assert.deepEqual(await client.names('odd/'), [])
  })

  it('keeps metadata, and gives ranges', async () => {
    const data = randomBytes(100_000)
    const etag = await client.put('a', data, { metadata: { mode: '0640' } })
    const head = await client.head('a')
    assert.deepEqual(
      { etag: head?.etag, size: head?.sizeBytes, metadata: head?.metadata },
      { etag, size: data.length, metadata: { mode: '0640' } },
    )
    const range = await client.get('a', { offset: 1000, lengthBytes: 500 })
    assert.deepEqual(range?.data, data.subarray(1000, 1500))
    assert.equal(await client.get('b'), null)
    assert.deepEqual((await client.list({ delimiter: '/' })).prefixes, [])
    await client.put('dir/c', '')
    assert.deepEqual((await client.list({ delimiter: '/' })).prefixes, ['dir/'])
  })

  it('refuses a wrong key, a user without rights, and an object that is too large', async () => {
    await assert.rejects(authenticate({ ...swift.access, key: 'wrong' }), { status: 401 })
    const powerless = { user: `${SWIFT_ACCOUNT}:${SWIFT_POWERLESS_USER}`, key: SWIFT_POWERLESS_KEY }
    await assert.rejects(new SwiftClient({ ...swift.access, ...powerless }).names(), { status: 403 })
    await assert.rejects(client.put('large', Buffer.alloc((1 << 20) + 1)), { status: 413 })
  })

  it('gives tokens that expire, and takes them back', async () => {
    // The server gives the same token again while it lives, perhaps for a moment only: ask until one works.
    const workingToken = async (): Promise<string> => {
      let token = ''
      await waitUntil('a token that works', DEADLINE_MS, async () => {
        token = (await authenticate(swift)).token
        return (await statusWith(token)) === 200
      })
      return token
    }
    assert.ok((await authenticate(swift)).expiresInSeconds <= TOKEN_LIFE_SECONDS)
    const token = await workingToken()
    await waitUntil('the end of a token', DEADLINE_MS, async () => (await statusWith(token)) === 401)
    const next = await workingToken()
    await swift.revokeTokens()
    assert.equal(await statusWith(next), 401)
    await client.put('after', 'the client logs in again')
  })

  it('takes the tokens of the stand-in for Keystone, until they expire', async () => {
    const keystone = await startKeystone(swift)
    const logIn = async (auth: unknown) => {
      const { origin, pathname } = new URL(keystone.authUrl)
      const body = Buffer.from(JSON.stringify({ auth }))
      return sendRequest({ method: 'POST', origin, target: `${pathname}/auth/tokens`, body })
    }
    const domain = { name: KEYSTONE_DOMAIN }
    const byPassword = (password: string) => ({
      identity: {
        methods: ['password'],
        password: { user: { name: KEYSTONE_USER, domain, password } },
      },
      scope: { project: { name: KEYSTONE_PROJECT, domain } },
    })
    const byCredential = (secret: string) => ({
      identity: {
        methods: ['application_credential'],
        application_credential: { id: KEYSTONE_CREDENTIAL_ID, secret },
      },
    })
    for (const good of [byPassword(KEYSTONE_PASSWORD), byCredential(KEYSTONE_CREDENTIAL_SECRET)]) {
      const { status, headers, body } = await logIn(good)
      assert.equal(status, 201)
      const token = String(headers['x-subject-token'])
      assert.match(body.toString(), new RegExp(`"url":"${swift.storageUrl}"`))
      assert.equal(await statusWith(token), 200)
    }
    keystone.tokenLifeSeconds = 1
    const { headers } = await logIn(byPassword(KEYSTONE_PASSWORD))
    const token = String(headers['x-subject-token'])
    await waitUntil('the end of a token', DEADLINE_MS, async () => (await statusWith(token)) === 401)
    for (const bad of [byPassword('wrong'), byCredential('wrong'), {}, null]) {
      assert.equal((await logIn(bad)).status, 401)
    }
    assert.deepEqual([keystone.tokensIssued, keystone.tokensRefused], [3, 4])
    await keystone.stop()
  })

  it('has every object after a crash', async () => {
    await client.put('kept', 'still here')
    await swift.kill()
    await assert.rejects(client.get('kept'), { code: 'ECONNREFUSED' })
    await swift.restart()
    assert.equal((await client.get('kept'))?.data.toString(), 'still here')
  })

  it('leaves no process', async () => {
    const processes = descendantsOf(process.pid)
    assert.ok(processes.length >= 6, 'memcached, the four servers and their parent run')
    await swift.stop()
    assert.deepEqual(processes.filter(isRunning), [])
  })

  it('leaves no process when the test is killed', async () => {
    const url = new URL('swift.js', import.meta.url).href
    const program = `const { startSwift } = await import(${JSON.stringify(url)}); await startSwift(); console.log('started')`
    const child = spawn(
      process.execPath,
      ['--input-type=module', '-e', `${program}; setInterval(() => {}, 1e6)`],
      {
        stdio: ['ignore', 'pipe', 'inherit'],
      },
    )
    await once(child.stdout, 'data')
    const processes = descendantsOf(child.pid ?? 0)
    assert.ok(processes.length >= 6, 'they run')
    child.kill('SIGKILL')
    await once(child, 'exit')
    await waitUntil('the end of the servers', DEADLINE_MS, () => !processes.some(isRunning))
  })
})
