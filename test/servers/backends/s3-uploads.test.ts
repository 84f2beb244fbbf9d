/** Uploads to S3 in parts: nothing of one that failed stays in the store, and nobody else's is touched. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, beforeEach, describe, it } from 'node:test'
import type { Backend } from '../../../src/backends/backend.js'
import { createBackend } from '../../../src/backends/create-backend.js'
import { crc32c } from '../../../src/backends/s3/crc32c.js'
import { isGone, ownIdentity, type ProcessIdentity } from '../../../src/backends/process-identity.js'
import { S3Client } from '../../../src/backends/s3/s3-client.js'
import { ABANDONED_AFTER_MS, sweepUploads } from '../../../src/backends/s3/s3-upload-records.js'
import { StorageError, type ErrnoName } from '../../../src/backends/storage-error.js'
import { O_CREAT, O_WRONLY } from '../../frontend/abi.js'
import { Daemon } from '../../frontend/daemon.js'
import { S3Client as OtherClient, type S3Access } from '../clients.js'
import { freshBucket, sharedServers } from '../shared.js'
import { randomBytes } from '../../support/bytes.js'
import { s3Options } from '../../support/object-stores.js'
import { eventually } from '../../support/served.js'
import { FaultyFront } from '../../lib/backends/faulty-front.js'

const TIMEOUT_MS = 20_000
const PART_BYTES = 8 << 20
const ROOT = 'a root'

let access: S3Access
let other: OtherClient
beforeEach(async () => {
  access = await freshBucket(await sharedServers().ceph())
  other = new OtherClient(access)
})

function options(extra: Record<string, string> = {}): Record<string, string> {
  return { ...s3Options(access), root: `/${ROOT}`, ...extra }
}

function open(extra: Record<string, string> = {}): Backend {
  return createBackend({ type: 's3', options: options(extra), timeoutMs: TIMEOUT_MS })
}

function refusedWith(errno: ErrnoName) {
  return (error: unknown): boolean => {
    assert.ok(error instanceof StorageError, String(error))
    assert.equal(error.errno, errno, error.message)
    return true
  }
}

async function sweep(backend: Backend): Promise<number> {
  return (await backend.removeLeftovers?.()) ?? assert.fail('nothing is ever removed')
}

async function assertNothingLeft(): Promise<void> {
  assert.deepEqual(await other.multipartUploads(), [])
  assert.deepEqual(await other.keys(`${ROOT}/.ovfsd/`), [])
}

/** As long as it says it is, and with the bytes of `pieces`. */
async function upload(backend: Backend, path: string, pieces: readonly Buffer[]) {
  const writer = await backend.createWriter(path, undefined)
  for (const piece of pieces) await writer.write(piece)
  const stat = await writer.close()
  const data = Buffer.concat(pieces)
  assert.equal(stat.sizeBytes, data.length)
  assert.equal((await backend.stat(path))?.version, stat.version)
  const stored = await other.get(`${ROOT}/${path}`)
  assert.ok(data.equals(stored?.data ?? Buffer.alloc(0)), 'the bytes are those that were written')
  return stat
}

describe('an upload in parts', () => {
  it('is stored under its odd name, and leaves nothing behind', async () => {
    const pieces = [randomBytes(PART_BYTES, 1), randomBytes(PART_BYTES, 2), randomBytes(1, 3)]
    const { version } = await upload(open(), "o d+d#&%20ü'!(*)", pieces)
    assert.match(version, /-3"$/)
    await assertNothingLeft()
  })

  it('takes pieces of any size', async () => {
    const sizes = [1, 0, 3 << 20, 5, (5 << 20) - 1, 1, PART_BYTES, 7, 9]
    await upload(
      open(),
      'pieces',
      sizes.map((size, index) => randomBytes(size, index)),
    )
    await upload(open(), 'one', [randomBytes(PART_BYTES)])
    await upload(open(), 'short', [Buffer.from('short')])
    await upload(open(), 'empty', [])
    await assertNothingLeft()
  })

  it('may be given a buffer that changes afterwards', async () => {
    const pieceBytes = 1 << 20
    const letters = 'abcdefgh'
    const buffer = Buffer.alloc(pieceBytes)
    const writer = await open().createWriter('reused', undefined)
    for (const letter of letters) {
      buffer.fill(letter)
      await writer.write(buffer)
    }
    await writer.close()
    const expected = Buffer.concat(Array.from(letters, (letter) => Buffer.alloc(pieceBytes, letter)))
    assert.ok(expected.equals((await other.get(`${ROOT}/reused`))?.data ?? Buffer.alloc(0)))
  })

  it('is sent with a checksum where the profile wants one', async () => {
    for (const checksum of ['crc32c', 'md5']) {
      await upload(open({ checksum_algorithm: checksum }), checksum, [
        randomBytes(PART_BYTES),
        Buffer.from('end'),
      ])
    }
    assert.equal(crc32c(Buffer.from('123456789')).toString('hex'), 'e3069283')
  })

  it('that is given up is gone at once', async () => {
    const writer = await open().createWriter('given-up', undefined)
    await writer.write(randomBytes(PART_BYTES))
    assert.equal((await other.multipartUploads()).length, 1)
    await writer.abort()
    await assertNothingLeft()
    const unused = await open().createWriter('unused', undefined)
    await unused.abort()
    await assertNothingLeft()
  })

  it('does not replace what came meanwhile', async () => {
    const backend = open()
    const writer = await backend.createWriter('new', null)
    await writer.write(randomBytes(PART_BYTES))
    await other.put(`${ROOT}/new`, "somebody else's")
    await assert.rejects(writer.close(), refusedWith('EEXIST'))
    await writer.abort()
    await assertNothingLeft()
    assert.equal((await other.get(`${ROOT}/new`))?.data.toString(), "somebody else's")
  })
})

describe('an upload in parts over a bad network', () => {
  let front: FaultyFront
  before(async () => {
    front = await FaultyFront.start((await sharedServers().ceph()).endpoint)
  })
  beforeEach(() => {
    front.decide = () => null
  })
  after(() => front.stop())

  const isPart = (url = ''): boolean => url.includes('partNumber=')
  const isCompletion = (method = '', url = ''): boolean =>
    method === 'POST' && url.includes('uploadId=') && !url.includes('.ovfsd')

  it('sends a part again', async () => {
    let parts = 0
    front.decide = ({ url }) => (isPart(url) && parts++ === 0 ? { status: 503 } : null)
    await upload(open({ endpoint: front.origin }), 'again', [randomBytes(PART_BYTES), Buffer.from('x')])
    assert.equal(parts, 3)
    await assertNothingLeft()
  })

  it('whose own note was refused goes on when that is taken', async () => {
    let isAway = true
    front.decide = ({ method, url }) =>
      isAway && method === 'PUT' && url?.includes('/.ovfsd/upload-') === true ? { status: 503 } : null
    const writer = await open({ endpoint: front.origin }).createWriter('noted', undefined)
    await writer.write(randomBytes(PART_BYTES))
    await assert.rejects(writer.close(), refusedWith('EIO'))
    isAway = false
    assert.equal((await writer.close()).sizeBytes, PART_BYTES)
    await assertNothingLeft()
  })

  it('notices that a completion whose answer was lost has been done', async () => {
    let completions = 0
    front.decide = ({ method, url }) =>
      isCompletion(method, url) && completions++ === 0 ? 'lose-answer' : null
    await upload(open({ endpoint: front.origin }), 'lost', [randomBytes(PART_BYTES), Buffer.from('x')])
    // Ceph keeps no condition of a completion, so what is there is looked at before another try.
    assert.equal(completions, 1)
    await assertNothingLeft()
  })

  it('notices it too where the server has forgotten the upload', async () => {
    let completions = 0
    const noSuchUpload = { status: 404, body: '<Error><Code>NoSuchUpload</Code></Error>' }
    front.decide = ({ method, url }) => {
      if (!isCompletion(method, url)) return null
      return completions++ === 0 ? 'lose-answer' : noSuchUpload
    }
    await upload(open({ endpoint: front.origin }), 'forgotten', [randomBytes(PART_BYTES), Buffer.from('x')])
    await assertNothingLeft()
  })

  it('tells of an error that comes behind a status of 200', async () => {
    const body = '<?xml version="1.0"?>\n<Error><Code>InternalError</Code><Message>later</Message></Error>'
    front.decide = ({ method, url }) => (isCompletion(method, url) ? { status: 200, body } : null)
    const writer = await open({ endpoint: front.origin }).createWriter('late', undefined)
    await writer.write(randomBytes(PART_BYTES))
    await assert.rejects(writer.close(), refusedWith('EIO'))
    await writer.abort()
    assert.equal(await other.head(`${ROOT}/late`), null)
    await assertNothingLeft()
  })

  it('that a server refuses is gone when it was given up', async () => {
    const refusals = [
      [403, 'AccessDenied', 'EACCES'],
      [403, 'QuotaExceeded', 'EDQUOT'],
      [404, 'NoSuchUpload', 'EIO'],
      [413, 'EntityTooLarge', 'EFBIG'],
      [503, 'SlowDown', 'EIO'],
    ] as const
    for (const [status, code, errno] of refusals) {
      front.decide = ({ url }) =>
        isPart(url) ? { status, body: `<Error><Code>${code}</Code></Error>` } : null
      const writer = await open({ endpoint: front.origin }).createWriter('refused', undefined)
      await writer.write(randomBytes(PART_BYTES))
      await assert.rejects(writer.close(), refusedWith(errno))
      await writer.abort()
      await assertNothingLeft()
    }
  })

  it('takes parts while others are under way, and tells with the next that one was refused', async () => {
    const upload = await open({ endpoint: front.origin }).createWriter('side by side', undefined)
    let release = (): void => undefined
    const held = new Promise<void>((resolve) => (release = resolve))
    front.decide = async ({ url }) => {
      if (!/[?&]partNumber=1&/.test(url ?? '')) return null
      await held
      return { status: 403, body: '<Error><Code>AccessDenied</Code></Error>' }
    }
    // The first one is not answered before the second was taken.
    await upload.write(randomBytes(PART_BYTES, 1))
    await upload.write(randomBytes(PART_BYTES, 2))
    release()
    await assert.rejects(upload.close(), refusedWith('EACCES'))
    await upload.abort()
    await assertNothingLeft()
  })

  it('that could not be aborted is aborted by the next sweep of the same daemon', async () => {
    const backend = open({ endpoint: front.origin })
    const writer = await backend.createWriter('stuck', undefined)
    await writer.write(randomBytes(PART_BYTES))
    assert.equal(await sweep(backend), 0, 'it is under way')
    front.decide = ({ method }) => (method === 'DELETE' ? { status: 503 } : null)
    await writer.abort()
    assert.equal((await other.multipartUploads()).length, 1)
    front.decide = () => null
    assert.equal(await sweep(backend), 1)
    await assertNothingLeft()
  })
})

describe('what was left of uploads', () => {
  const ELSEWHERE: ProcessIdentity = { ...ownIdentity(), bootId: 'another machine' }

  async function beginUpload(key: string): Promise<string> {
    const client = new S3Client(options(), TIMEOUT_MS)
    const uploadId = await client.createUpload(key, {})
    await client.uploadPart(key, uploadId, 1, Buffer.from('part'))
    return uploadId
  }

  async function note(name: string, contents: unknown): Promise<void> {
    await other.put(`${ROOT}/.ovfsd/${name}`, JSON.stringify(contents))
  }

  /** A process that ran on this machine and does not any more. */
  async function goneProcess(): Promise<ProcessIdentity> {
    const script = `import(${JSON.stringify(new URL('../../../src/backends/process-identity.js', import.meta.url).href)})
      .then(({ ownIdentity }) => console.log(JSON.stringify(ownIdentity())))`
    const child = spawn(process.execPath, ['-e', script], { stdio: ['ignore', 'pipe', 'inherit'] })
    let output = ''
    child.stdout.on('data', (chunk: Buffer) => (output += chunk.toString()))
    await once(child, 'close')
    return JSON.parse(output) as ProcessIdentity
  }

  it('is told by who began it', async () => {
    assert.equal(isGone(ownIdentity()), false)
    assert.equal(isGone(await goneProcess()), true)
    assert.equal(isGone(ELSEWHERE), false, 'another machine can’t be seen from here')
    assert.equal(isGone({ ...ownIdentity(), pidNamespace: 'pid:[1]' }), false)
    assert.equal(isGone({ ...ownIdentity(), startTime: '1' }), true, 'the id is another process’s by now')
    assert.equal(isGone({ ...ownIdentity(), pid: 1, startTime: '' }), false)
  })

  it('is aborted where its daemon is gone, and only then', async () => {
    const gone = await goneProcess()
    const key = `${ROOT}/file`
    const [mine, theirs, foreign] = [await beginUpload(key), await beginUpload(key), await beginUpload(key)]
    await note('upload-gone', { key, uploadId: mine, process: gone })
    await note('upload-elsewhere', { key, uploadId: theirs, process: ELSEWHERE })
    assert.equal(await sweep(open()), 1)
    const left = (await other.multipartUploads()).map(({ uploadId }) => uploadId)
    assert.deepEqual(left.sort(), [theirs, foreign].sort())
    assert.deepEqual(await other.keys(`${ROOT}/.ovfsd/`), [`${ROOT}/.ovfsd/upload-elsewhere`])
  })

  it('of another machine is aborted when nobody has been about it for long', async () => {
    const key = `${ROOT}/file`
    const uploadId = await beginUpload(key)
    await note('upload-old', { key, uploadId, process: ELSEWHERE })
    const client = new S3Client(options(), TIMEOUT_MS)
    assert.equal(await sweepUploads(client, ['upload-old'], ABANDONED_AFTER_MS), 0)
    // By the server's clock it is at most as old as the bucket.
    assert.equal(await sweepUploads(client, ['upload-old'], -1), 1)
    await assertNothingLeft()
  })

  it('is left alone where the note is none of ours', async () => {
    const gone = await goneProcess()
    const beyond = await beginUpload('beyond the root')
    await note('upload-beyond', { key: 'beyond the root', uploadId: beyond, process: gone })
    const notes: unknown[] = [null, 7, [], {}, { key: `${ROOT}/x`, uploadId: '' }, { key: 1, uploadId: 'x' }]
    for (const [index, contents] of notes.entries()) await note(`upload-${index}`, contents)
    await other.put(`${ROOT}/.ovfsd/upload-text`, 'not JSON {')
    await other.put(`${ROOT}/.ovfsd/upload-long`, Buffer.alloc(2 << 20))
    await other.put(`${ROOT}/.ovfsd/upload-empty`, '')
    await other.put(`${ROOT}/.ovfsd/unlinked-7`, '{}')
    const before = await other.keys()
    assert.equal(await sweep(open()), 0)
    assert.deepEqual(await other.keys(), before)
    assert.equal((await other.multipartUploads()).length, 1)
  })

  it('is forgotten where the upload is gone already', async () => {
    await note('upload-done', { key: `${ROOT}/done`, uploadId: '2~none', process: await goneProcess() })
    await sweep(open())
    await assertNothingLeft()
  })
})

describe('credentials of requests that OpenDAL cannot make', () => {
  const saved = { ...process.env }
  after(() => {
    process.env = saved
  })

  const withoutKeys = (extra: Record<string, string> = {}): S3Client => {
    const given = Object.entries({ ...options(extra), disable_ec2_metadata: 'true' })
    const rest = given.filter(([name]) => name !== 'access_key_id' && name !== 'secret_access_key')
    return new S3Client(Object.fromEntries(rest), TIMEOUT_MS)
  }

  it('are looked for in the environment and in files', async (t) => {
    process.env['AWS_SHARED_CREDENTIALS_FILE'] = '/nonexistent'
    process.env['AWS_CONFIG_FILE'] = '/nonexistent'
    delete process.env['AWS_PROFILE']
    await assert.rejects(withoutKeys().head('x'), refusedWith('EACCES'))
    const directory = mkdtempSync(join(tmpdir(), 'ovfsd-credentials-'))
    t.after(() => {
      rmSync(directory, { recursive: true })
    })
    const file = join(directory, 'credentials')
    writeFileSync(
      file,
      `[default]\naws_access_key_id = ${access.accessKeyId}\naws_secret_access_key = ${access.secretAccessKey}\n`,
    )
    process.env['AWS_SHARED_CREDENTIALS_FILE'] = file
    assert.equal(await withoutKeys().head('x'), null)
    process.env['AWS_SHARED_CREDENTIALS_FILE'] = '/nonexistent'
    process.env['AWS_ACCESS_KEY_ID'] = access.accessKeyId
    process.env['AWS_SECRET_ACCESS_KEY'] = access.secretAccessKey
    assert.equal(await withoutKeys().head('x'), null)
    await assert.rejects(withoutKeys({ disable_config_load: 'true' }).head('x'), refusedWith('EACCES'))
  })

  it('that are wrong are told', async () => {
    const client = new S3Client(options({ secret_access_key: 'wrong' }), TIMEOUT_MS)
    await assert.rejects(client.get('x', 1), refusedWith('EACCES'))
  })
})

describe('a daemon that is killed in the middle of an upload', () => {
  const daemon = (): Daemon => Daemon.ovfsdWith({ test: { ...options(), type: 's3', mount_point: 'm' } })

  it('leaves parts that the next one removes, while others go on', async () => {
    const foreignKey = `${ROOT}/half`
    const foreign = await new S3Client(options(), TIMEOUT_MS).createUpload(foreignKey, {})
    const first = daemon()
    const client = await first.mount()
    const { nodeid: mount } = await client.lookup(1, 'm')
    const { entry, fh } = await client.create(mount, 'half', O_WRONLY | O_CREAT)
    const piece = randomBytes(1 << 20)
    for (let index = 0; index < 24; index++) await client.write(entry.nodeid, fh, index << 20, piece)
    await eventually('a part is in the store, and the note of it', async () => {
      const uploads = await other.multipartUploads()
      return uploads.length === 2 && (await other.keys(`${ROOT}/.ovfsd/upload-`)).length === 1
    })
    await first.stop('SIGKILL')
    client.close()
    const second = daemon()
    const next = await second.mount()
    await eventually('the parts are gone', async () => (await other.multipartUploads()).length === 1)
    assert.deepEqual(await other.multipartUploads(), [{ key: foreignKey, uploadId: foreign }])
    await eventually('the note is gone', async () => (await other.keys()).length === 0)
    next.close()
    assert.equal(await second.stop(), 0)
    assert.match(second.stderr, /removed what a killed daemon had left/)
  })
})
