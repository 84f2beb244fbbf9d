/** `type = "swift"` against a real OpenStack Swift; what is stored is looked at with a plain HTTP client. */
import assert from 'node:assert/strict'
import { createHash, randomUUID } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { after, before, describe, test } from 'node:test'
import { RESERVED_DIRECTORY, type Backend } from '../../../src/backends/backend.js'
import { forEachConcurrently } from '../../../src/backends/concurrency.js'
import { createBackend } from '../../../src/backends/create-backend.js'
import { StorageError, type ErrnoName } from '../../../src/backends/storage-error.js'
import { SwiftClient } from '../clients.js'
import {
  KEYSTONE_CREDENTIAL_ID,
  KEYSTONE_CREDENTIAL_SECRET,
  KEYSTONE_PASSWORD,
  KEYSTONE_PROJECT,
  KEYSTONE_USER,
  startKeystone,
} from '../keystone.js'
import { SWIFT_POWERLESS_KEY, SWIFT_POWERLESS_USER, SWIFT_ACCOUNT } from '../swift-configuration.js'
import { startSwift, type Swift } from '../swift.js'
import { FaultyFront, type Fault } from '../../lib/backends/faulty-front.js'

const TIMEOUT_MS = 20_000
const ODD_NAMES = [
  ...[
    'a b',
    ' leading',
    'trailing ',
    'plus+',
    'hash#',
    'and&',
    'percent%20',
    '100%',
    'quote"',
    "it's",
    '<tag>',
  ],
  ...[
    'ümläut',
    '文件',
    '😀',
    'dot.',
    '...',
    '.hidden',
    'back\\slash',
    'question?',
    'semi;colon',
    'a=b',
    'tab\there',
  ],
  ...['new\nline', '~', '*', 'comma,', '|', 'http:', '@', '[x]', '{y}', '^', '`'],
]

let swift: Swift
let client: SwiftClient
before(async () => {
  swift = await startSwift({ maxFileSizeBytes: 160 << 20 })
  client = new SwiftClient(swift)
})
after(() => swift.stop())

type Options = Readonly<Record<string, string>>

function open(options: Options = {}, timeoutMs = TIMEOUT_MS): Backend {
  const login = { auth_url: swift.authUrl, user: swift.user, key: swift.key }
  return createBackend({
    type: 'swift',
    options: { container: swift.container, ...login, ...options },
    timeoutMs,
  })
}

/** A backend whose objects lie below a prefix of their own. */
function openAt(root: string, options: Options = {}): Backend {
  return open({ root, ...options })
}

function refusedWith(errno: ErrnoName, pattern = /./) {
  return (error: unknown): boolean => {
    assert.ok(error instanceof StorageError, String(error))
    assert.equal(error.errno, errno, error.message)
    assert.match(error.message, pattern)
    return true
  }
}

async function namesIn(backend: Backend, path: string): Promise<string[]> {
  return (await backend.list(path)).map(({ name, kind }) => (kind === 'directory' ? `${name}/` : name)).sort()
}

async function readAll(backend: Backend, path: string): Promise<string> {
  const stat = await backend.stat(path)
  assert.ok(stat !== null, `${path} is there`)
  return Buffer.from(await backend.read(path, 0, stat.sizeBytes, stat.version)).toString()
}

async function writeParts(backend: Backend, path: string, parts: readonly Buffer[]) {
  const writer = await backend.createWriter(path, undefined)
  for (const part of parts) await writer.write(part)
  return writer.close()
}

describe('objects', () => {
  test('are stored, described, read by range, listed and removed', async () => {
    const backend = openAt('objects')
    const stored = await backend.write('f', Buffer.from('hello world'), undefined)
    assert.equal(stored.sizeBytes, 11)
    const stat = await backend.stat('f')
    assert.ok(stat !== null)
    assert.equal(stat.kind, 'file')
    assert.equal(stat.sizeBytes, 11)
    assert.equal(stat.version, stored.version)
    assert.equal(stat.version, `"${createHash('md5').update('hello world').digest('hex')}"`)
    assert.ok(Math.abs((stat.mtime?.seconds ?? 0) - Date.now() / 1000) < 60)
    assert.equal(Buffer.from(await backend.read('f', 6, 3, stored.version)).toString(), 'wor')
    assert.equal((await client.get('objects/f'))?.data.toString(), 'hello world')
    const [entry] = await backend.list('')
    assert.deepEqual(entry, { name: 'f', kind: 'file', stat })
    await backend.removeFile('f')
    assert.equal(await backend.stat('f'), null)
    assert.equal(await client.head('objects/f'), null)
    await backend.removeFile('f')
  })

  test('may be empty', async () => {
    const backend = openAt('empty')
    await backend.write('e', new Uint8Array(0), null)
    assert.equal((await backend.stat('e'))?.sizeBytes, 0)
    assert.equal((await writeParts(backend, 'w', [])).sizeBytes, 0)
    assert.deepEqual(await client.names('empty/'), ['empty/e', 'empty/w'])
  })

  test('are read as one version or not at all', async () => {
    const backend = openAt('versions')
    const { version } = await backend.write('f', Buffer.from('first version'), undefined)
    await client.put('versions/f', 'other version')
    await assert.rejects(backend.read('f', 0, 5, version), refusedWith('ESTALE'))
    const now = await backend.stat('f')
    await assert.rejects(backend.read('f', 10, 10, now?.version ?? ''), refusedWith('ESTALE'))
    await assert.rejects(backend.read('f', 100, 10, now?.version ?? ''), refusedWith('ESTALE'))
    await client.delete('versions/f')
    await assert.rejects(backend.read('f', 0, 5, version), refusedWith('ENOENT'))
  })

  test('with a content encoding are read as they are stored', async () => {
    const bytes = Buffer.from('not really compressed')
    await client.put('encoded/f', bytes, { headers: { 'content-encoding': 'gzip' } })
    assert.equal(await readAll(openAt('encoded'), 'f'), bytes.toString())
  })

  test('have odd names', async () => {
    const backend = openAt('odd names+&/ü')
    await forEachConcurrently(ODD_NAMES, 8, async (name) => {
      assert.ok(backend.accepts(name))
      await backend.write(name, Buffer.from(name), null)
      await backend.createDirectory(`d ${name}`)
      await backend.write(`d ${name}/${name}`, Buffer.from(name), null)
    })
    const stored = await client.names('odd names+&/ü/')
    const expected = ODD_NAMES.flatMap((name) => [name, `d ${name}/`, `d ${name}/${name}`])
    assert.deepEqual(stored, expected.map((name) => `odd names+&/ü/${name}`).sort())
    assert.deepEqual(await namesIn(backend, ''), ODD_NAMES.flatMap((name) => [name, `d ${name}/`]).sort())
    await forEachConcurrently(ODD_NAMES, 8, async (name) => {
      assert.equal(await readAll(backend, name), name)
      assert.equal((await client.get(`odd names+&/ü/${name}`))?.data.toString(), name)
      assert.deepEqual(await namesIn(backend, `d ${name}`), [name])
      await backend.rename(name, `moved ${name}`, 'file')
      await backend.rename(`d ${name}`, `e ${name}`, 'directory')
      assert.equal(await readAll(backend, `moved ${name}`), name)
      assert.equal(await readAll(backend, `e ${name}/${name}`), name)
      await backend.removeFile(`e ${name}/${name}`)
      await backend.removeDirectory(`e ${name}`)
      await backend.removeFile(`moved ${name}`)
    })
    assert.deepEqual(await client.names('odd names+&/ü/'), [])
  })

  test('have names of up to 1024 bytes', async () => {
    const backend = openAt('r')
    const { maxPathBytes } = backend.capabilities
    assert.equal(maxPathBytes, 1024 - 'r/'.length - '/'.length)
    const path = 'x'.repeat(maxPathBytes)
    await backend.createDirectory(path)
    assert.equal((await backend.stat(path))?.kind, 'directory')
    await assert.rejects(backend.createDirectory(`${path}x`), StorageError)
  })
})

describe('two writers', () => {
  test('of a new object: the second is told', async () => {
    const [first, second] = [openAt('exclusive'), openAt('exclusive')]
    for (const data of [Buffer.alloc(0), Buffer.from('x'), Buffer.alloc(1 << 20)]) {
      const name = `f${data.length}`
      await first.write(name, data, null)
      await assert.rejects(second.write(name, Buffer.from('other'), null), refusedWith('EEXIST'))
      await assert.rejects(second.write(name, data, null), refusedWith('EEXIST'))
      assert.equal((await client.head(`exclusive/${name}`))?.sizeBytes, data.length)
    }
  })

  test('of a present object: the one who comes late is told', async () => {
    const backend = openAt('lost-update')
    const { version } = await backend.write('f', Buffer.from('1'), null)
    await client.put('lost-update/f', 'from elsewhere')
    await assert.rejects(backend.write('f', Buffer.from('2'), version), refusedWith('ESTALE'))
    await client.delete('lost-update/f')
    await assert.rejects(backend.write('f', Buffer.from('2'), version), refusedWith('ESTALE'))
    const again = await backend.write('f', Buffer.from('3'), null)
    await backend.write('f', Buffer.from('4'), again.version)
  })

  test('of a long object: the one who comes late is told, and nothing is left behind', async () => {
    const backend = openAt('late')
    const { version } = await backend.write('f', Buffer.from('1'), null)
    for (const [expected, errno] of [
      [version, 'ESTALE'],
      [null, 'EEXIST'],
    ] as const) {
      const writer = await backend.createWriter('f', expected)
      await writer.write(Buffer.alloc(100_000))
      await client.put('late/f', 'from elsewhere')
      await assert.rejects(writer.close(), refusedWith(errno))
      await writer.abort()
    }
    assert.deepEqual(await client.names('late/'), ['late/f'])
    assert.equal((await client.get('late/f'))?.data.toString(), 'from elsewhere')
  })
})

describe('long uploads', () => {
  test('are plain objects in the end, visible as a whole', async () => {
    const backend = openAt('long')
    await backend.write('f', Buffer.from('old'), null)
    const parts = [1, 2, 3].map((value) => Buffer.alloc(3_000_000 + value, value))
    const all = Buffer.concat(parts)
    const writer = await backend.createWriter('f', undefined)
    for (const part of parts) {
      await writer.write(part)
      assert.equal(await readAll(backend, 'f'), 'old')
      assert.deepEqual(await namesIn(backend, ''), ['f'], 'the parts are not shown')
    }
    const stat = await writer.close()
    assert.equal(stat.sizeBytes, all.length)
    assert.equal(stat.version, (await backend.stat('f'))?.version)
    assert.equal(stat.version, (await backend.list('')).find(({ name }) => name === 'f')?.stat?.version)
    assert.ok(
      Buffer.from(await backend.read('f', 2_999_990, 20, stat.version)).equals(
        all.subarray(2_999_990, 3_000_010),
      ),
    )
    const plain = await client.request('GET', { object: 'long/f' })
    assert.ok(plain.body.equals(all))
    assert.equal(plain.headers.etag, createHash('md5').update(all).digest('hex'))
    assert.equal(plain.headers['x-static-large-object'], undefined)
    assert.equal(plain.headers['x-delete-at'], undefined, 'it does not expire with its parts')
    assert.deepEqual(await client.names('long/'), ['long/f'], 'the parts are gone')
    // What was joined from parts can be moved, copied and replaced as anything else.
    await backend.rename('f', 'g', 'file')
    const moved = await backend.stat('g')
    assert.equal(moved?.version, stat.version)
    assert.equal((await backend.copy('g', 'h', null)).version, stat.version)
    await assert.rejects(backend.copy('g', 'h', null), refusedWith('EEXIST'))
    await backend.write('g', Buffer.from('short'), stat.version)
  })

  test('keep their parts from being kept for ever if the daemon is killed', async () => {
    const backend = openAt('killed')
    const writer = await backend.createWriter('f', undefined)
    const data = Buffer.alloc(1000)
    await writer.write(data)
    await writer.whenSent?.(data)
    const [part] = await client.names('killed/')
    assert.ok(part?.startsWith(`killed/${RESERVED_DIRECTORY}/upload-`))
    const { headers } = await client.request('HEAD', { object: part ?? '' })
    assert.ok(Number(headers['x-delete-at']) > Date.now() / 1000 + 86_400)
    await writer.abort()
  })

  test('that are given up leave what was there', async () => {
    const backend = openAt('abort')
    await backend.write('f', Buffer.from('old'), null)
    const writer = await backend.createWriter('f', undefined)
    await writer.write(Buffer.alloc(200_000, 1))
    await writer.write(Buffer.alloc(200_000, 2))
    await writer.abort()
    await writer.abort()
    assert.equal(await readAll(backend, 'f'), 'old')
    assert.deepEqual(await client.names('abort/'), ['abort/f'])
  })

  test('take constant memory', async () => {
    const backend = openAt('memory')
    const part = Buffer.alloc(4 << 20, 'x')
    const digest = createHash('md5')
    const writer = await backend.createWriter('f', undefined)
    await writer.write(part)
    digest.update(part)
    await writer.whenSent?.(part)
    const before = process.memoryUsage().rss
    let most = 0
    for (let count = 1; count < 32; count++) {
      part.fill(count)
      digest.update(part)
      await writer.write(part)
      await writer.whenSent?.(part)
      most = Math.max(most, process.memoryUsage().rss - before)
    }
    const stat = await writer.close()
    assert.equal(stat.sizeBytes, 128 << 20)
    assert.equal(stat.version, `"${digest.digest('hex')}"`)
    assert.ok(most < 48 << 20, `grew by ${most} bytes`)
    await backend.removeFile('f')
  })

  test('end at the size that the server allows', async () => {
    const backend = openAt('too-long')
    const writer = await backend.createWriter('f', undefined)
    const part = Buffer.alloc(40 << 20)
    for (let count = 0; count < 4; count++) await writer.write(part)
    await writer.write(Buffer.alloc(1))
    await assert.rejects(writer.close(), refusedWith('EFBIG', /167772160 bytes/))
    await writer.abort()
    assert.deepEqual(await client.names('too-long/'), [])
  })
})

describe('directories', () => {
  test('are there by a marker or by what is below', async () => {
    const backend = openAt('dirs')
    assert.equal((await backend.stat(''))?.kind, 'directory')
    assert.deepEqual(await backend.list('missing'), [])
    assert.equal(await backend.stat('missing'), null)
    await backend.createDirectory('marked')
    await client.put('dirs/prefix/deep/f', 'x')
    await client.put('dirs/other-client', '', { headers: { 'content-type': 'application/directory' } })
    for (const path of ['marked', 'prefix', 'prefix/deep', 'other-client']) {
      assert.equal((await backend.stat(path))?.kind, 'directory', path)
    }
    assert.equal(await backend.stat('pre'), null)
    assert.deepEqual(await namesIn(backend, ''), ['marked/', 'other-client/', 'prefix/'])
    assert.deepEqual(await namesIn(backend, 'prefix'), ['deep/'])
    assert.deepEqual(await namesIn(backend, 'marked'), [])
    assert.equal((await client.head('dirs/marked/'))?.contentType, 'application/directory')
    await backend.removeDirectory('marked')
    await backend.removeDirectory('other-client')
    assert.equal(await backend.stat('marked'), null)
    assert.equal(await backend.stat('other-client'), null)
  })

  test('stay when the last name below them goes', async () => {
    const backend = openAt('stay')
    await client.put('stay/a/b/f', 'x')
    await client.put('stay/c/f', 'x')
    await backend.removeFile('a/b/f')
    assert.equal((await backend.stat('a/b'))?.kind, 'directory')
    await backend.rename('c/f', 'moved', 'file')
    assert.equal((await backend.stat('c'))?.kind, 'directory')
    await backend.removeDirectory('a/b')
    assert.equal((await backend.stat('a'))?.kind, 'directory')
  })

  test('hide names that cannot be addressed', async () => {
    await client.put('unaddressable/a//b', 'x')
    await client.put('unaddressable//b', 'x')
    await client.put('unaddressable/./b', 'x')
    await client.put('unaddressable/ok', 'x')
    assert.deepEqual(await namesIn(openAt('unaddressable'), ''), ['a/', 'ok'])
  })

  test('of 10,050 entries are listed whole, with attributes, and nothing asked of each', async () => {
    const names = Array.from({ length: 10_050 }, (_, index) => `many/${String(index).padStart(5, '0')} +&#`)
    // As many directories: pages then end with a prefix.
    const below = names.map((name) => name.replace('many/', 'many-dirs/') + '/f')
    swift.putListedObjects([...names, ...below])
    const front = await FaultyFront.start(swift.storageUrl)
    try {
      const backend = open({ root: '', endpoint: throughFront(front) })
      const entries = await backend.list('many')
      assert.equal(entries.length, names.length)
      assert.equal(new Set(entries.map(({ name }) => name)).size, names.length)
      assert.ok(
        entries.every(({ stat }) => stat?.kind === 'file' && stat.version !== '' && stat.mtime !== null),
      )
      assert.ok(front.seen.length <= 3, front.seen.join('\n'))
      const directories = await backend.list('many-dirs')
      assert.equal(directories.length, names.length)
      assert.ok(directories.every(({ kind }) => kind === 'directory'))
      assert.equal(new Set(directories.map(({ name }) => name)).size, names.length)
    } finally {
      await front.stop()
    }
  })
})

describe('renames', () => {
  test('replace a file and report one that is missing', async () => {
    const backend = openAt('rename')
    await backend.write('a', Buffer.from('a'), null)
    await backend.write('b', Buffer.from('b'), null)
    await backend.rename('a', 'b', 'file')
    assert.equal(await readAll(backend, 'b'), 'a')
    await assert.rejects(backend.rename('a', 'c', 'file'), refusedWith('ENOENT'))
  })

  test('of a tree go on where they ended, and lose nothing', async () => {
    const front = await FaultyFront.start(swift.storageUrl)
    const backend = openAt('tree', { endpoint: throughFront(front) })
    const names = Array.from({ length: 60 }, (_, index) => `${index % 3 === 0 ? 'sub/' : ''}f${index}`)
    try {
      for (const name of names) await client.put(`tree/from/${name}`, name)
      await backend.createDirectory('from/empty')
      const isCopy = (fault: Fault) => (request: IncomingMessage) =>
        'x-copy-from' in request.headers && request.url?.includes('f4') === true ? fault : null
      front.decide = isCopy({ status: 403 })
      await assert.rejects(backend.rename('from', 'to', 'directory'), refusedWith('EACCES'))
      const present = new Set(
        (await client.names('tree/')).map((name) => name.replace(/^tree\/(from|to)\//, '')),
      )
      for (const name of names) assert.ok(present.has(name), name)
      front.decide = () => null
      await backend.rename('from', 'to', 'directory')
      const expected = ['empty/', ...names].map((name) => `tree/to/${name}`).sort()
      assert.deepEqual(await client.names('tree/'), expected)
      for (const name of names) assert.equal((await client.get(`tree/to/${name}`))?.data.toString(), name)
    } finally {
      await front.stop()
    }
  })

  test('of what other clients made of segments move the list of segments', async () => {
    const backend = openAt('segmented')
    const etag = await client.put('elsewhere/1', Buffer.alloc(1000, 1))
    await client.request('PUT', {
      ...{ object: 'segmented/static', query: { 'multipart-manifest': 'put' } },
      body: Buffer.from(JSON.stringify([{ path: '/test/elsewhere/1', etag, size_bytes: 1000 }])),
    })
    await client.put('segmented/dynamic', '', { headers: { 'x-object-manifest': 'test/elsewhere/' } })
    const listed = (await backend.list('')).find(({ name }) => name === 'static')?.stat
    assert.deepEqual(listed, await backend.stat('static'))
    await assert.rejects(backend.copy('static', 'copy', undefined), refusedWith('EOPNOTSUPP'))
    for (const name of ['static', 'dynamic']) {
      assert.equal((await backend.stat(name))?.sizeBytes, 1000)
      await backend.rename(name, `${name} moved`, 'file')
      assert.equal((await readAll(backend, `${name} moved`)).length, 1000)
      await backend.removeFile(`${name} moved`)
    }
    assert.ok((await client.head('elsewhere/1')) !== null)
  })
})

function throughFront(front: FaultyFront): string {
  return `${front.origin}${new URL(swift.storageUrl).pathname}`
}

describe('log-in', () => {
  test('by a fixed token', async () => {
    const options = { container: swift.container, endpoint: swift.storageUrl }
    const token = await swift.issueToken(60)
    const backend = createBackend({ type: 'swift', options: { ...options, token }, timeoutMs: TIMEOUT_MS })
    await backend.write('by-token', Buffer.from('x'), undefined)
    const wrong = createBackend({
      type: 'swift',
      options: { ...options, token: 'no' },
      timeoutMs: TIMEOUT_MS,
    })
    await assert.rejects(wrong.stat('by-token'), refusedWith('EACCES'))
  })

  test('by Keystone, in all ways it knows', async () => {
    const keystone = await startKeystone(swift)
    try {
      const options = { container: swift.container, auth_url: keystone.authUrl, root: 'keystone' }
      const byPassword = {
        username: KEYSTONE_USER,
        password: KEYSTONE_PASSWORD,
        project_name: KEYSTONE_PROJECT,
      }
      const ways = [
        byPassword,
        { ...byPassword, user_domain_name: 'Default', project_domain_name: 'Default', region: 'RegionOne' },
        {
          application_credential_id: KEYSTONE_CREDENTIAL_ID,
          application_credential_secret: KEYSTONE_CREDENTIAL_SECRET,
        },
      ]
      for (const way of ways) {
        const backend = createBackend({
          type: 'swift',
          options: { ...options, ...way },
          timeoutMs: TIMEOUT_MS,
        })
        await backend.write('f', Buffer.from('x'), undefined)
      }
      assert.equal(keystone.tokensIssued, ways.length)
      for (const [way, errno] of [
        [{ ...byPassword, password: 'wrong' }, 'EACCES'],
        [{ ...byPassword, region: 'Elsewhere' }, 'EIO'],
      ] as const) {
        const backend = createBackend({
          type: 'swift',
          options: { ...options, ...way },
          timeoutMs: TIMEOUT_MS,
        })
        await assert.rejects(backend.stat('f'), refusedWith(errno))
      }
    } finally {
      await keystone.stop()
    }
  })

  test('happens again when tokens are refused, once for all requests', async () => {
    const keystone = await startKeystone(swift)
    const login = { username: KEYSTONE_USER, password: KEYSTONE_PASSWORD, project_name: KEYSTONE_PROJECT }
    const options = { container: swift.container, auth_url: keystone.authUrl, root: 'renewed', ...login }
    const backend = createBackend({ type: 'swift', options, timeoutMs: TIMEOUT_MS })
    try {
      await backend.write('f', Buffer.from('x'), undefined)
      const writer = await backend.createWriter('long', undefined)
      await writer.write(Buffer.alloc(1 << 20))
      for (let round = 0; round < 3; round++) {
        await swift.revokeTokens()
        const issued = keystone.tokensIssued
        await Promise.all(Array.from({ length: 20 }, () => backend.stat('f')))
        assert.equal(keystone.tokensIssued, issued + 1)
        await swift.revokeTokens()
        // Megabytes are not sent to a server that refuses them.
        await writer.write(Buffer.alloc(4 << 20))
      }
      assert.equal((await writer.close()).sizeBytes, 13 << 20)
    } finally {
      await keystone.stop()
    }
  })

  test('happens before a token expires, and no request waits or fails', async () => {
    const keystone = await startKeystone(swift, { tokenLifeSeconds: 3 })
    const login = { username: KEYSTONE_USER, password: KEYSTONE_PASSWORD, project_name: KEYSTONE_PROJECT }
    const front = await FaultyFront.start(swift.storageUrl)
    const options = {
      container: swift.container,
      auth_url: keystone.authUrl,
      endpoint: throughFront(front),
      ...login,
    }
    const backend = createBackend({ type: 'swift', options, timeoutMs: TIMEOUT_MS })
    const tokens = new Set<unknown>()
    front.decide = (request) => {
      tokens.add(request.headers['x-auth-token'])
      return null
    }
    try {
      await backend.write('f', Buffer.from('x'), undefined)
      while (tokens.size < 3) await backend.read('f', 0, 1, '')
      assert.equal(keystone.tokensRefused, 0)
      assert.ok(keystone.tokensIssued >= 3)
    } finally {
      await front.stop()
      await keystone.stop()
    }
  })

  test('of somebody without rights is EACCES, with wrong credentials too', async () => {
    const reader = open({ user: `${SWIFT_ACCOUNT}:${SWIFT_POWERLESS_USER}`, key: SWIFT_POWERLESS_KEY })
    await assert.rejects(reader.write('f', Buffer.from('x'), undefined), refusedWith('EACCES', /403/))
    await assert.rejects(reader.list(''), refusedWith('EACCES'))
    await assert.rejects(open({ key: 'wrong' }).list(''), refusedWith('EACCES', /log-in/))
  })

  test('needs its options', () => {
    for (const [options, pattern] of [
      [{ container: 'c' }, /"endpoint" is missing/],
      [{ container: 'c', endpoint: 'http://h/v1/a' }, /"token" is missing/],
      [{ endpoint: 'http://h/v1/a', token: 't' }, /"container" is missing/],
      [{ container: 'c', auth_url: 'http://h/auth/v1.0', user: 'u' }, /"key" is missing/],
      [
        { container: 'c', auth_url: 'http://h/v3', username: 'u', password: 'p' },
        /"project_name" is missing/,
      ],
      [{ container: 'c', auth_url: 'h:5000/v3' }, /"auth_url" is not a URL/],
      [{ container: 'a/b', endpoint: 'http://h/v1/a', token: 't' }, /holds a "\/"/],
    ] as const) {
      assert.throws(
        () => createBackend({ type: 'swift', options, timeoutMs: 1000 }),
        refusedWith('EINVAL', pattern),
      )
    }
  })
})

describe('faults', () => {
  let front: FaultyFront
  let backend: Backend
  before(async () => {
    front = await FaultyFront.start(swift.storageUrl)
    backend = open({ root: 'faults', endpoint: throughFront(front) }, 1500)
    await backend.write('f', Buffer.from('content'), undefined)
  })
  after(() => front.stop())

  const finally_ = new Map<Fault, ErrnoName>([
    [{ status: 400 }, 'EINVAL'],
    [{ status: 401 }, 'EACCES'],
    [{ status: 403 }, 'EACCES'],
    [{ status: 403, body: 'QuotaExceeded' }, 'EDQUOT'],
    [{ status: 404 }, 'ENOENT'],
    [{ status: 409 }, 'EIO'],
    [{ status: 412 }, 'ESTALE'],
    [{ status: 413 }, 'EFBIG'],
    [{ status: 413, body: 'Upload exceeds quota.' }, 'EDQUOT'],
    [{ status: 416 }, 'ESTALE'],
    [{ status: 429 }, 'EIO'],
    [{ status: 498 }, 'EIO'],
    [{ status: 500 }, 'EIO'],
    [{ status: 501 }, 'EOPNOTSUPP'],
    [{ status: 503 }, 'EIO'],
    [{ status: 504 }, 'ETIMEDOUT'],
    [{ status: 507 }, 'ENOSPC'],
    [{ status: 302, headers: { location: '/elsewhere' } }, 'EIO'],
    ['reset', 'EIO'],
    ['hang', 'ETIMEDOUT'],
  ])
  for (const [fault, errno] of finally_) {
    test(`${JSON.stringify(fault)} is ${errno}, and over when it is over`, async () => {
      front.decide = () => fault
      await assert.rejects(backend.read('f', 0, 4, ''), refusedWith(errno))
      front.decide = () => null
      assert.equal(Buffer.from(await backend.read('f', 0, 4, '')).toString(), 'cont')
    })
  }

  for (const fault of [
    { status: 429 },
    { status: 498 },
    { status: 500 },
    { status: 503 },
    'reset',
    'lose-answer',
  ] as const) {
    test(`${JSON.stringify(fault)} now and then is not noticed`, async () => {
      const id = randomUUID()
      const failed = new Set<string>()
      front.decide = (request) => {
        const key = `${request.method ?? ''} ${request.url ?? ''}`
        if (failed.has(key)) return null
        failed.add(key)
        return fault
      }
      try {
        const { version } = await backend.write(id, Buffer.alloc(200_000, 1), null)
        await backend.write(`${id} empty`, new Uint8Array(0), null)
        assert.equal((await backend.read(id, 0, 100, version)).byteLength, 100)
        await backend.rename(id, `${id} moved`, 'file')
        const writer = await backend.createWriter(id, null)
        await writer.write(Buffer.alloc(200_000, 2))
        await writer.write(Buffer.alloc(200_000, 3))
        assert.equal((await writer.close()).sizeBytes, 400_000)
        assert.ok((await namesIn(backend, '')).includes(id))
        await backend.removeFile(`${id} moved`)
        assert.equal(await backend.stat(`${id} moved`), null)
      } finally {
        front.decide = () => null
      }
      assert.deepEqual(await client.names(`faults/${RESERVED_DIRECTORY}`), [])
      await assert.rejects(backend.write(id, Buffer.from('x'), null), refusedWith('EEXIST'))
    })
  }

  test('a refusal of a long body is told, and not lost in the connection', async () => {
    let sentBytes = 0
    front.decide = (request) => {
      request.on('data', (chunk: Buffer) => (sentBytes += chunk.length))
      return { status: 413, body: 'Upload exceeds quota.', headers: { connection: 'close' } }
    }
    await assert.rejects(backend.write('big', Buffer.alloc(16 << 20), undefined), refusedWith('EDQUOT'))
    assert.equal(sentBytes, 0, 'it was not sent at all')
    front.decide = () => null
  })

  test('a container that is missing keeps what is to be stored', async () => {
    const lost = open({ container: 'not-there' })
    await assert.rejects(lost.write('f', Buffer.from('x'), undefined), (error: unknown) => {
      assert.ok(error instanceof StorageError && error.retryable)
      return refusedWith('EIO', /container is missing/)(error)
    })
  })

  test('a server that is killed and comes back is EIO meanwhile', async () => {
    const own = openAt('killed-server')
    await own.write('f', Buffer.from('before'), undefined)
    await swift.kill()
    await assert.rejects(own.stat('f'), refusedWith('EIO'))
    await assert.rejects(own.write('f', Buffer.from('x'), undefined), refusedWith('EIO'))
    await swift.restart()
    assert.equal(await readAll(own, 'f'), 'before')
  })
})
