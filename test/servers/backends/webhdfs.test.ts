/** The HDFS backend against a real NameNode and DataNode; a plain WebHDFS client and Hadoop's own shell look at what is stored. */
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { after, before, describe, it, type TestContext } from 'node:test'
import type { Backend } from '../../../src/backends/backend.js'
import { createBackend } from '../../../src/backends/create-backend.js'
import { StorageError } from '../../../src/backends/storage-error.js'
import { WebHdfsClient } from '../clients.js'
import { hdfsProblem, startHdfs, type Hdfs } from '../hdfs.js'
import { assertSameBytes, randomBytes } from '../../support/bytes.js'

const MIB = 1 << 20
/** Small, so that a few megabytes are several blocks. */
const BLOCK_SIZE_BYTES = MIB
const TIMEOUT_MS = 20_000

/** Every character that means something to a URL, a shell, Java's Path or a decoder. */
const ODD_NAMES = [
  ...['with space', ' leading', 'trailing ', 'plus+', 'hash#', 'and&amp', 'per%cent', '%41', '%2F', 'quo"te'],
  ...[
    "apos'trophe",
    'less<than>',
    'ünïcode',
    '😀',
    'nfd-e\u0301',
    'dot.',
    '...',
    'back\\slash',
    'semi;colon',
  ],
  ...[
    'q?uestion',
    'star*',
    'br[ack]',
    'cu{rl}',
    'new\nline',
    'tab\t',
    '\x01',
    '.reserved',
    '\ufeffbom',
    'x=',
  ],
  ...['a=b,c', '~', 'x'.repeat(255), 'ü'.repeat(127)],
]

const problem = hdfsProblem()

function isErrno(errno: string, retryable?: boolean): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof StorageError, String(error))
    assert.equal(error.errno, errno, error.message)
    if (retryable !== undefined) assert.equal(error.retryable, retryable, error.message)
    return true
  }
}

async function present<T>(value: Promise<T | null>): Promise<T> {
  const found = await value
  assert.ok(found !== null)
  return found
}

describe('HDFS', { skip: problem === null ? false : `NO HDFS TESTS: ${problem}` }, () => {
  let hdfs: Hdfs
  let other: WebHdfsClient

  before(async () => {
    hdfs = await startHdfs({ blockSizeBytes: BLOCK_SIZE_BYTES })
    other = new WebHdfsClient({ endpoint: hdfs.httpEndpoint, user: hdfs.user })
  })
  after(() => hdfs.stop())

  /** A backend over a directory of its own. */
  async function mounted(
    options: Record<string, string> = {},
    timeoutMs = TIMEOUT_MS,
  ): Promise<{ backend: Backend; root: string }> {
    const root = `/mount-${randomUUID()}`
    await other.mkdirs(root)
    const all = { name_node: hdfs.nameNode, endpoint: hdfs.httpEndpoint, user: hdfs.user, root, ...options }
    return { backend: createBackend({ type: 'hdfs', options: all, timeoutMs }), root }
  }

  async function assertNoUploadLeft(root: string): Promise<void> {
    assert.deepEqual(await other.tree(`${root}/.ovfsd`), [])
  }

  it('stores, reads and replaces whole files', async () => {
    const { backend, root } = await mounted()
    const first = await backend.write('a', Buffer.from('first'), null)
    assert.deepEqual(first, await backend.stat('a'), 'what write returns is what is there')
    assert.equal(first.kind, 'file')
    assert.equal(first.sizeBytes, 5)
    assert.equal((await present(other.read(`${root}/a`))).toString(), 'first')
    const second = await backend.write('a', Buffer.from('second'), first.version)
    assert.notEqual(second.version, first.version)
    assert.equal(Buffer.from(await backend.read('a', 2, 3, second.version)).toString(), 'con')
    await backend.write('a', Buffer.alloc(0), undefined)
    assert.equal((await present(backend.stat('a'))).sizeBytes, 0)
    await backend.removeFile('a')
    assert.equal(await backend.stat('a'), null)
    assert.equal(await other.status(`${root}/a`), null)
    await assertNoUploadLeft(root)
  })

  it('tells a replaced file from the one that is expected', async () => {
    const { backend, root } = await mounted()
    const mine = await backend.write('a', Buffer.from('mine'), null)
    await other.create(`${root}/a`, 'hers')
    await assert.rejects(backend.write('a', Buffer.from('lost'), mine.version), isErrno('ESTALE', false))
    await assert.rejects(backend.read('a', 0, 4, mine.version), isErrno('ESTALE', true))
    const writer = await backend.createWriter('a', mine.version)
    await writer.write(Buffer.from('lost'))
    await assert.rejects(writer.close(), isErrno('ESTALE'))
    assert.equal((await present(other.read(`${root}/a`))).toString(), 'hers')
    await other.delete(`${root}/a`)
    await assert.rejects(backend.write('a', Buffer.from('lost'), mine.version), isErrno('ESTALE'))
    await assert.rejects(backend.read('a', 0, 4, mine.version), isErrno('ENOENT'))
    await assertNoUploadLeft(root)
  })

  it('refuses to read what is not there', async () => {
    const { backend } = await mounted()
    const { version } = await backend.write('a', Buffer.from('12345'), null)
    await assert.rejects(backend.read('a', 3, 3, version), isErrno('ESTALE'))
    await assert.rejects(backend.read('a', 5, 1, version), isErrno('ESTALE'))
    await assert.rejects(backend.read('a', 100, 1, version), isErrno('ESTALE'))
    await assert.rejects(backend.read('gone', 0, 1, version), isErrno('ENOENT'))
  })

  it('lets one of many exclusive creators win', async () => {
    const { backend, root } = await mounted()
    const second = createBackend({
      type: 'webhdfs',
      options: { endpoint: hdfs.httpEndpoint, user_name: hdfs.user, root },
      timeoutMs: TIMEOUT_MS,
    })
    const results = await Promise.allSettled(
      Array.from({ length: 12 }, (_, index) =>
        (index % 2 === 0 ? backend : second).write('lock', Buffer.from(`writer ${index}`), null),
      ),
    )
    const winners = results.flatMap(({ status }, index) => (status === 'fulfilled' ? [index] : []))
    assert.equal(winners.length, 1)
    for (const result of results) if (result.status === 'rejected') isErrno('EEXIST', false)(result.reason)
    assert.equal((await present(other.read(`${root}/lock`))).toString(), `writer ${winners[0] ?? -1}`)
    const made = await Promise.allSettled([
      ...[backend.createDirectory('dir'), second.createDirectory('dir'), backend.createDirectory('dir')],
    ])
    assert.equal(made.filter(({ status }) => status === 'fulfilled').length, 1)
    await assertNoUploadLeft(root)
  })

  it('keeps the old file readable until the new one is whole', async () => {
    const { backend, root } = await mounted()
    const old = randomBytes(3 * MIB, 1)
    const fresh = randomBytes(5 * MIB, 2)
    const { version } = await backend.write('a', old, null)
    const writer = await backend.createWriter('a', version)
    for (let offset = 0; offset < fresh.length; offset += MIB) {
      await writer.write(fresh.subarray(offset, offset + MIB))
      assertSameBytes(await backend.read('a', 0, old.length, version), old)
    }
    assertSameBytes(await present(other.read(`${root}/a`)), old)
    const stat = await writer.close()
    assert.equal(stat.sizeBytes, fresh.length)
    assertSameBytes(await present(other.read(`${root}/a`)), fresh)
    assertSameBytes(await backend.read('a', 0, fresh.length, stat.version), fresh)
  })

  it('never mixes two versions in one read', async () => {
    const { backend } = await mounted()
    const versions = [randomBytes(4 * MIB, 3), randomBytes(4 * MIB, 4)]
    const contents = new Map<string, Buffer>()
    const store = async (turn: number): Promise<void> => {
      const data = versions[turn % 2] ?? Buffer.alloc(0)
      contents.set((await backend.write('a', data, undefined)).version, data)
    }
    await store(0)
    const turns = 8
    const replacing = (async () => {
      for (let turn = 1; turn < turns; turn++) await store(turn)
    })()
    const reads: { version: string; data: Uint8Array }[] = []
    const state = { isOver: false }
    const ended = replacing.finally(() => {
      state.isOver = true
    })
    for (let wasLast = false; !wasLast;) {
      wasLast = state.isOver
      const { version } = await present(backend.stat('a'))
      try {
        reads.push({ version, data: await backend.read('a', 0, 4 * MIB, version) })
      } catch (error) {
        isErrno('ESTALE', true)(error)
      }
    }
    await ended
    assert.ok(reads.length > 0)
    for (const { version, data } of reads) assertSameBytes(data, contents.get(version) ?? Buffer.alloc(0))
  })

  it('streams a large file in constant memory', async () => {
    const { backend, root } = await mounted()
    const partBytes = 8 * MIB
    const parts = 24
    const writer = await backend.createWriter('large', null)
    const before = process.memoryUsage().arrayBuffers
    let most = 0
    for (let part = 0; part < parts; part++) {
      await writer.write(randomBytes(partBytes, part + 1))
      most = Math.max(most, process.memoryUsage().arrayBuffers - before)
    }
    assert.equal(await backend.stat('large'), null, 'not visible before it is closed')
    const stat = await writer.close()
    assert.equal(stat.sizeBytes, parts * partBytes)
    assert.ok(most < 10 * partBytes, `${most} bytes of buffers`)
    for (const part of [0, 11, parts - 1]) {
      const offset = part * partBytes - Math.min(part, 1)
      const data = await backend.read('large', offset, 4096, stat.version)
      assertSameBytes(data, await present(other.read(`${root}/large`, { offset, lengthBytes: 4096 })))
      assertSameBytes(
        data.subarray(Math.min(part, 1)),
        randomBytes(partBytes, part + 1).subarray(0, 4096 - Math.min(part, 1)),
      )
    }
    await assertNoUploadLeft(root)
  })

  it('leaves nothing of an upload that is given up', async () => {
    const { backend, root } = await mounted()
    await backend.write('a', Buffer.from('old'), null)
    const writer = await backend.createWriter('a', undefined)
    await writer.write(randomBytes(2 * MIB))
    await writer.abort()
    assert.equal((await present(other.read(`${root}/a`))).toString(), 'old')
    await assertNoUploadLeft(root)
  })

  it('appends, and sees what others append', async () => {
    const { backend, root } = await mounted()
    const data = randomBytes(2 * MIB + 100, 7)
    const written = await backend.write('a', data.subarray(0, MIB), null)
    const { version } = written
    const appended = await backend.append('a', data.subarray(MIB, 2 * MIB), written)
    assert.equal(appended.sizeBytes, 2 * MIB)
    assert.notEqual(appended.version, version)
    await assert.rejects(backend.read('a', 0, 10, version), isErrno('ESTALE'))
    await other.append(`${root}/a`, data.subarray(2 * MIB))
    const stat = await present(backend.stat('a'))
    assertSameBytes(await backend.read('a', 0, data.length, stat.version), data)
    const last = await backend.append('a', Buffer.from('!'), stat)
    assert.equal(last.sizeBytes, data.length + 1)
    await assert.rejects(backend.append('missing', Buffer.from('x'), stat), isErrno('ENOENT'))
  })

  it('lists with attributes, without its own directory', async () => {
    const { backend, root } = await mounted()
    await backend.write('file', Buffer.from('123'), null)
    await backend.createDirectory('dir')
    await backend.write('dir/.ovfsd', Buffer.from('shown here'), null)
    const entries = await backend.list('')
    assert.deepEqual(entries.map(({ name, kind }) => [name, kind]).sort(), [
      ['dir', 'directory'],
      ['file', 'file'],
    ])
    for (const { name, stat } of entries) assert.deepEqual(stat, await backend.stat(name))
    assert.deepEqual(
      (await backend.list('dir')).map(({ name }) => name),
      ['.ovfsd'],
    )
    assert.deepEqual(await backend.list('missing'), [])
    await assert.rejects(backend.list('file'), isErrno('ENOTDIR'))
    await assert.rejects(backend.list('file/below'), isErrno('ENOTDIR'))
    assert.equal(await backend.stat('file/below'), null)
    assert.equal((await other.tree(root)).includes('.ovfsd/'), true)
  })

  for (const batches of ['false', 'true']) {
    it(`lists thousands of names (disable_list_batch ${batches})`, async () => {
      const { backend, root } = await mounted({ disable_list_batch: batches })
      // HDFS gives 1000 names at a time.
      const names = Array.from({ length: 2100 }, (_, index) => `name ${index} +&#%ü`).sort()
      for (let start = 0; start < names.length; start += 50) {
        await Promise.all(names.slice(start, start + 50).map((name) => other.mkdirs(`${root}/d/${name}`)))
      }
      assert.deepEqual((await backend.list('d')).map(({ name }) => name).sort(), names)
    })
  }

  it('makes and removes directories exactly', async () => {
    const { backend, root } = await mounted()
    await backend.createDirectory('d')
    await assert.rejects(backend.createDirectory('d'), isErrno('EEXIST'))
    await assert.rejects(backend.createDirectory('missing/d'), isErrno('ENOENT'))
    assert.equal(await other.status(`${root}/missing`), null)
    await backend.write('d/f', Buffer.from('x'), null)
    await assert.rejects(backend.createDirectory('d/f'), isErrno('EEXIST'))
    await assert.rejects(backend.createDirectory('d/f/g'), isErrno('ENOTDIR'))
    await assert.rejects(backend.removeDirectory('d'), isErrno('ENOTEMPTY'))
    await assert.rejects(backend.removeDirectory('d/f'), isErrno('ENOTDIR'))
    await assert.rejects(backend.removeFile('d'), isErrno('EISDIR'))
    await assert.rejects(backend.write('d', Buffer.from('x'), undefined), isErrno('EISDIR'))
    await assert.rejects(backend.write('d', Buffer.from('x'), null), isErrno('EEXIST'))
    await assert.rejects(backend.write('missing/f', Buffer.from('x'), null), isErrno('ENOENT'))
    await assert.rejects(backend.write('d/f/g', Buffer.from('x'), null), isErrno('ENOTDIR'))
    await assert.rejects(backend.removeFile('missing'), isErrno('ENOENT'))
    await assert.rejects(backend.removeDirectory('missing'), isErrno('ENOENT'))
    await backend.removeFile('d/f')
    await backend.removeDirectory('d')
    assert.equal(await other.status(`${root}/d`), null)
    await assertNoUploadLeft(root)
  })

  it('renames files and whole trees in one step', async () => {
    const { backend, root } = await mounted()
    await other.create(`${root}/tree/a/b/c`, 'deep')
    await other.create(`${root}/tree/x`, 'x')
    await backend.rename('tree', 'moved', 'directory')
    assert.deepEqual(
      (await other.tree(root)).filter((path) => !path.startsWith('.ovfsd')),
      [...['moved/', 'moved/a/', 'moved/a/b/', 'moved/a/b/c', 'moved/x']],
    )
    await backend.createDirectory('empty')
    await backend.rename('moved', 'empty', 'directory')
    assert.equal((await present(other.read(`${root}/empty/a/b/c`))).toString(), 'deep')
    await backend.write('f', Buffer.from('f'), null)
    await backend.write('g', Buffer.from('g'), null)
    await backend.rename('f', 'g', 'file')
    assert.equal((await present(other.read(`${root}/g`))).toString(), 'f')
    await backend.rename('g', 'g', 'file')
    await backend.rename('g', '.ovfsd/hidden', 'file')
    await backend.rename('.ovfsd/hidden', 'g', 'file')
    await backend.createDirectory('d')
    await assert.rejects(backend.rename('d', 'empty', 'directory'), isErrno('ENOTEMPTY'))
    await assert.rejects(backend.rename('g', 'd', 'file'), isErrno('EISDIR'))
    await assert.rejects(backend.rename('d', 'g', 'directory'), isErrno('ENOTDIR'))
    await assert.rejects(backend.rename('d', 'd/e', 'directory'), isErrno('EINVAL'))
    await assert.rejects(backend.rename('missing', 'y', 'file'), isErrno('ENOENT'))
    await assert.rejects(backend.rename('g', 'missing/y', 'file'), isErrno('ENOENT'))
  })

  it('hides an open file in a mount that has never been written to', async () => {
    const { backend, root } = await mounted()
    await other.create(`${root}/f`, 'data')
    await backend.rename('f', '.ovfsd/hidden', 'file')
    assert.deepEqual(await other.tree(root), ['.ovfsd/', '.ovfsd/hidden'])
  })

  it('sets times to the millisecond', async () => {
    const { backend, root } = await mounted()
    const { version } = await backend.write('f', Buffer.from('x'), null)
    await backend.setModificationTime('f', { seconds: 1_234_567_890, nanoseconds: 123_999_999 })
    const stat = await present(backend.stat('f'))
    assert.deepEqual(stat.mtime, { seconds: 1_234_567_890, nanoseconds: 123_000_000 })
    assert.notEqual(stat.version, version)
    assert.equal((await present(other.status(`${root}/f`))).modificationTime, 1_234_567_890_123)
    await backend.setModificationTime('', { seconds: 0, nanoseconds: 0 })
    assert.deepEqual((await present(backend.stat(''))).mtime, { seconds: 0, nanoseconds: 0 })
    const early = { seconds: -1, nanoseconds: 999_000_000 }
    await assert.rejects(backend.setModificationTime('f', early), isErrno('EINVAL'))
    await assert.rejects(
      backend.setModificationTime('gone', { seconds: 1, nanoseconds: 0 }),
      isErrno('ENOENT'),
    )
  })

  it('keeps mode, owner and replication of a file whose contents are replaced', async () => {
    const { backend, root } = await mounted()
    await other.create(`${root}/f`, 'old')
    await other.setPermission(`${root}/f`, '640')
    await other.setOwner(`${root}/f`, 'guest', 'users')
    const written = await backend.write('f', Buffer.from('new'), undefined)
    assert.deepEqual(written, await backend.stat('f'))
    const { permission, owner, group } = await present(other.status(`${root}/f`))
    assert.deepEqual([permission, owner, group], ['640', 'guest', 'users'])
  })

  it('tells the room that there is', async () => {
    const { backend } = await mounted()
    const usage = await backend.usage()
    assert.ok(usage.totalBlocks > 0 && usage.freeBlocks > 0 && usage.freeBlocks <= usage.totalBlocks)
  })

  describe('odd names', () => {
    for (const name of ODD_NAMES) {
      it(JSON.stringify(name.length > 20 ? `${name.slice(0, 10)}... (${name.length})` : name), async () => {
        const { backend, root } = await mounted()
        assert.equal(backend.accepts(name), true)
        const data = Buffer.from(`data of ${name}`)
        // The plain client reads by the file's number: not every name gets through its NameNode's redirections.
        const stored = async (path: string): Promise<string> => {
          const { fileId } = await present(other.status(`${root}/${path}`))
          return (await present(other.read(`/.reserved/.inodes/${fileId}`))).toString()
        }
        const { version } = await backend.write(name, data, null)
        assertSameBytes(await backend.read(name, 0, data.length, version), data)
        assert.equal(await stored(name), data.toString())
        assert.deepEqual(
          (await backend.list('')).map((entry) => entry.name),
          [name],
        )
        await backend.append(name, Buffer.from('!'), await present(backend.stat(name)))
        assert.equal(await stored(name), `${data.toString()}!`)
        await backend.createDirectory(`d`)
        await backend.rename(name, `d/${name}`, 'file')
        await backend.createDirectory(name)
        await backend.rename(`d/${name}`, `${name}/${name}`, 'file')
        assert.equal(await stored(`${name}/${name}`), `${data.toString()}!`)
        await other.rename(`${root}/${name}/${name}`, `${root}/plain`)
        await backend.rename('plain', `${name}/${name}`, 'file')
        await backend.setModificationTime(`${name}/${name}`, { seconds: 5, nanoseconds: 0 })
        await backend.removeFile(`${name}/${name}`)
        await backend.removeDirectory(name)
        assert.deepEqual((await other.tree(root)).sort(), ['.ovfsd/', 'd/'])
      })
    }

    it('that HDFS cannot hold are not accepted', async () => {
      const { backend, root } = await mounted()
      for (const name of ['co:lon', ':', '.snapshot', 'a/.snapshot/b', 'a:/b']) {
        assert.equal(backend.accepts(name), false, name)
        await assert.rejects(other.mkdirs(`${root}/${name}`))
      }
      const whole = createBackend({
        type: 'hdfs',
        options: { name_node: hdfs.nameNode },
        timeoutMs: TIMEOUT_MS,
      })
      assert.equal(whole.accepts('.reserved/x'), false)
      assert.equal(whole.accepts('x/.reserved'), true)
      await assert.rejects(backend.createDirectory('co:lon'), isErrno('EINVAL'))
      await assert.rejects(backend.write('.snapshot', Buffer.from('x'), null), isErrno('EINVAL'))
      await assert.rejects(backend.createDirectory('x'.repeat(256)), isErrno('ENAMETOOLONG'))
    })
  })

  it("agrees with Hadoop's own shell", async (t: TestContext) => {
    const { backend, root } = await mounted()
    await backend.write('a b+c', Buffer.from('from us'), null)
    const shown = await hdfs.fsShell('-cat', `${root}/a b+c`)
    assert.equal(shown.code, 0, shown.output)
    assert.match(shown.output, /from us/)
    const made = await hdfs.fsShell('-cp', `${root}/a b+c`, `${root}/copied %41`)
    assert.equal(made.code, 0, made.output)
    const stat = await present(backend.stat('copied %41'))
    assert.equal(Buffer.from(await backend.read('copied %41', 0, 7, stat.version)).toString(), 'from us')
    t.diagnostic('read and written by org.apache.hadoop.fs.FsShell')
  })

  it('tells what is refused', async () => {
    const { root } = await mounted()
    await other.create(`${root}/f`, 'secret')
    await other.setPermission(root, '700')
    const guest = (await mountedAs('guest', root)).backend
    await assert.rejects(guest.stat('f'), isErrno('EACCES', false))
    await assert.rejects(guest.write('g', randomBytes(8 * MIB), null), isErrno('EACCES', false))
    await other.setPermission(root, '755')
    const { version } = await present(guest.stat('f'))
    assert.equal(Buffer.from(await guest.read('f', 0, 6, version)).toString(), 'secret')
    await assert.rejects(guest.removeFile('f'), isErrno('EACCES'))
    await assert.rejects(guest.write('g', Buffer.from('x'), null), isErrno('EACCES'))
    const writer = await guest.createWriter('g', null)
    await assert.rejects(async () => {
      for (let part = 0; part < 8; part++) await writer.write(randomBytes(MIB))
      await writer.close()
    }, isErrno('EACCES'))
    await writer.abort()
  })

  function mountedAs(user: string, root: string): Promise<{ backend: Backend; root: string }> {
    return mounted({ user, root })
  }

  it('tells that a quota is full', async () => {
    const { backend, root } = await mounted()
    const set = (parameters: Record<string, string>): Promise<unknown> =>
      other.request('PUT', 'SETQUOTA', root, parameters, [200])
    await backend.createDirectory('d')
    await set({ namespacequota: '4', storagespacequota: String(1000 * MIB) })
    await backend.write('a', Buffer.from('x'), null)
    await assert.rejects(backend.write('b', Buffer.from('x'), null), isErrno('EDQUOT', true))
    await assert.rejects(backend.createDirectory('b'), isErrno('EDQUOT', true))
    await set({ namespacequota: '100', storagespacequota: String(3 * MIB) })
    await assert.rejects(backend.write('b', randomBytes(16 * MIB), null), isErrno('EDQUOT', true))
    await assertNoUploadLeft(root)
  })

  it('takes a delegation token', async () => {
    const { root } = await mounted()
    const options = { delegation: await other.delegationToken(), root }
    const { backend } = await mounted(options)
    const { version } = await backend.write('f', Buffer.from('x'), null)
    assert.equal((await backend.read('f', 0, 1, version)).byteLength, 1)
  })

  it('goes on with the other NameNode', async () => {
    const { backend } = await mounted({ endpoint: `http://127.0.0.1:9,${hdfs.httpEndpoint}` })
    await backend.write('f', Buffer.from('x'), null)
    assert.equal((await present(backend.stat('f'))).sizeBytes, 1)
  })

  it('answers while the server is away, and goes on when it is back', async () => {
    const { backend, root } = await mounted()
    const { version } = await backend.write('f', Buffer.from('here'), null)
    const writer = await backend.createWriter('g', null)
    await writer.write(randomBytes(MIB))
    await hdfs.kill()
    await assert.rejects(backend.stat('f'), isErrno('EIO', true))
    await assert.rejects(backend.read('f', 0, 4, version), isErrno('EIO', true))
    await assert.rejects(backend.write('f', Buffer.from('x'), undefined), isErrno('EIO', true))
    await assert.rejects(
      backend.append('f', Buffer.from('x'), { version, sizeBytes: 4 }),
      isErrno('EIO', true),
    )
    await assert.rejects(backend.rename('f', 'x', 'file'), isErrno('EIO', true))
    await assert.rejects(
      async () => {
        for (let part = 0; part < 64; part++) await writer.write(randomBytes(MIB))
        await writer.close()
      },
      isErrno('EIO', true),
    )
    await writer.abort()
    await hdfs.restart()
    assert.equal(Buffer.from(await backend.read('f', 0, 4, version)).toString(), 'here')
    await backend.write('f', Buffer.from('again'), version)
    assert.equal((await present(other.read(`${root}/f`))).toString(), 'again')
    assert.equal(await backend.stat('g'), null)
  })

  it('says that the file system is in safe mode', async () => {
    const { backend, root } = await mounted()
    await backend.write('f', Buffer.from('x'), null)
    const entered = await hdfs.dfsAdmin('-safemode', 'enter')
    assert.equal(entered.code, 0, entered.output)
    try {
      await assert.rejects(backend.createDirectory('d'), isErrno('EAGAIN', true))
      await assert.rejects(backend.write('f', Buffer.from('y'), undefined), isErrno('EAGAIN', true))
      await assert.rejects(backend.removeFile('f'), isErrno('EAGAIN', true))
      assert.equal((await present(backend.stat('f'))).sizeBytes, 1)
    } finally {
      await hdfs.dfsAdmin('-safemode', 'leave')
    }
    await backend.write('f', Buffer.from('y'), undefined)
    assert.equal((await present(other.read(`${root}/f`))).toString(), 'y')
  })
})
