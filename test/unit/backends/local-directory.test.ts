/** What a host directory's backend does to the host's files. */
import assert from 'node:assert/strict'
import {
  appendFileSync,
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, it } from 'node:test'
import type { Backend, ObjectStat } from '../../../src/backends/backend.js'
import { StorageError } from '../../../src/backends/storage-error.js'
import { createBackend } from '../../../src/backends/create-backend.js'

const TIMEOUT_MS = 30_000

describe('a host directory', () => {
  let root = ''
  let backend: Backend
  const at = (path: string): string => join(root, path)

  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'ovfsd-local-directory-'))
    backend = createBackend({ type: 'fs', options: { root }, timeoutMs: TIMEOUT_MS })
  })
  afterEach(() => {
    rmSync(root, { recursive: true, force: true })
  })

  describe('keeps a file aside', () => {
    it('as the same file of the same version, with what is at its path', async () => {
      writeFileSync(at('file'), 'contents')
      chmodSync(at('file'), 0o640)
      const before = await backend.stat('file')
      const kept = await backend.keepAside?.('file', '.ovfsd/kept')
      assert.equal(kept?.version, before?.version)
      assert.equal(statSync(at('.ovfsd/kept')).ino, statSync(at('file')).ino)
      writeFileSync(at('new'), 'other')
      await backend.rename('new', 'file', 'file')
      assert.equal(readFileSync(at('.ovfsd/kept'), 'utf8'), 'contents')
      assert.equal(readFileSync(at('file'), 'utf8'), 'other')
    })

    it('that a link leads to', async () => {
      writeFileSync(at('file'), 'contents')
      symlinkSync('file', at('link'))
      await backend.keepAside?.('link', '.ovfsd/kept')
      assert.equal(statSync(at('.ovfsd/kept')).ino, statSync(at('file')).ino)
    })

    it('never over something, nor what is missing', async () => {
      writeFileSync(at('file'), 'contents')
      writeFileSync(at('taken'), 'other')
      await assert.rejects(async () => backend.keepAside?.('file', 'taken'), { errno: 'EEXIST' })
      await assert.rejects(async () => backend.keepAside?.('missing', '.ovfsd/kept'), { errno: 'ENOENT' })
      assert.equal(readFileSync(at('taken'), 'utf8'), 'other')
    })
  })

  const statOf = async (path: string): Promise<ObjectStat> => {
    const stat = await backend.stat(path)
    assert.ok(stat !== null, path)
    return stat
  }
  const uploads = (): string[] => (existsSync(at('.ovfsd')) ? readdirSync(at('.ovfsd')) : [])

  describe('is read', () => {
    it('in one version, or not at all', async () => {
      writeFileSync(at('file'), '0123456789')
      const { version } = await statOf('file')
      assert.equal(Buffer.from(await backend.read('file', 2, 5, version)).toString(), '23456')
      const isStale = (error: unknown): boolean =>
        error instanceof StorageError && error.errno === 'ESTALE' && error.retryable
      await assert.rejects(backend.read('file', 8, 5, version), isStale)
      writeFileSync(at('other'), '9876543210')
      renameSync(at('other'), at('file'))
      await assert.rejects(backend.read('file', 2, 5, version), isStale)
      rmSync(at('file'))
      await assert.rejects(backend.read('file', 2, 5, version), { errno: 'ENOENT' })
    })

    it('through links that stay in it, and through no other', async () => {
      writeFileSync(at('file'), 'contents')
      symlinkSync('file', at('relative'))
      symlinkSync(at('file'), at('absolute'))
      const outside = mkdtempSync(join(tmpdir(), 'ovfsd-outside-'))
      writeFileSync(join(outside, 'file'), 'contents')
      symlinkSync(join(outside, 'file'), at('out'))
      symlinkSync(outside, at('directory'))
      const { version } = await statOf('relative')
      for (const path of ['relative', 'absolute'])
        assert.equal(Buffer.from(await backend.read(path, 0, 8, version)).toString(), 'contents')
      for (const path of ['out', 'directory/file']) {
        const refused = { errno: 'EACCES' }
        const base = { version, sizeBytes: 8 }
        await assert.rejects(backend.read(path, 0, 8, version), refused)
        await assert.rejects(backend.append(path, Buffer.from('x'), base), refused)
        await assert.rejects(backend.write(path, Buffer.from('x'), version), refused)
        await assert.rejects(backend.createWriter(path, version), refused)
        await assert.rejects(backend.copy('file', path, version), refused)
        await assert.rejects(backend.copy(path, 'copied', null), refused)
        await assert.rejects(backend.setModificationTime(path, { seconds: 1, nanoseconds: 0 }), refused)
      }
      assert.equal(readFileSync(join(outside, 'file'), 'utf8'), 'contents')
      assert.deepEqual(uploads(), [])
      rmSync(outside, { recursive: true })
    })
  })

  describe('is appended to', () => {
    const changes: readonly (readonly [string, (path: string) => void])[] = [
      [
        'appended',
        (path) => {
          appendFileSync(path, 'theirs')
        },
      ],
      [
        'cut',
        (path) => {
          writeFileSync(path, 'base')
        },
      ],
      [
        'replaced by a file of the same size',
        (path) => {
          writeFileSync(`${path}.new`, 'BASES')
          renameSync(`${path}.new`, path)
        },
      ],
      [
        'overwritten in place',
        (path) => {
          writeFileSync(path, 'BASES')
        },
      ],
    ]
    for (const [what, change] of changes) {
      it(`unless somebody else has ${what} it meanwhile: theirs stays as it is`, async () => {
        writeFileSync(at('log'), 'bases')
        const { version, sizeBytes } = await statOf('log')
        change(at('log'))
        const theirs = readFileSync(at('log'), 'utf8')
        await assert.rejects(backend.append('log', Buffer.from('ours'), { version, sizeBytes }), {
          errno: 'ESTALE',
          outcome: 'refused',
        })
        assert.equal(readFileSync(at('log'), 'utf8'), theirs)
      })
    }

    it('again and again, and tells the version that each has made', async () => {
      writeFileSync(at('log'), '')
      let stat = await statOf('log')
      for (const piece of ['a', 'b', 'c']) stat = await backend.append('log', Buffer.from(piece), stat)
      assert.equal(readFileSync(at('log'), 'utf8'), 'abc')
      assert.deepEqual(stat, await statOf('log'))
    })

    it('by many at once: who is told that it was done has its bytes there once, and nobody else has any', async () => {
      writeFileSync(at('log'), '')
      const base = await statOf('log')
      const texts = Array.from({ length: 16 }, (_, index) => `<${index}>`.repeat(100))
      const answers = await Promise.allSettled(
        texts.map((text) => backend.append('log', Buffer.from(text), base)),
      )
      const stored = texts.filter((_, index) => answers[index]?.status === 'fulfilled')
      assert.equal(readFileSync(at('log'), 'utf8'), stored.join(''))
      assert.equal(stored.length, 1)
    })
  })

  describe('has its times set', () => {
    it('to the nanosecond, and tells the versions before and after as its own call saw them', async () => {
      writeFileSync(at('file'), 'contents')
      const before = await statOf('file')
      const mtime = { seconds: 1_700_000_000, nanoseconds: 123_456_789 }
      const { previousVersion, stat } = await backend.setModificationTime('file', mtime)
      assert.equal(previousVersion, before.version)
      assert.deepEqual(stat, await statOf('file'))
      assert.deepEqual(stat.mtime, mtime)
      mkdirSync(at('directory'))
      const changed = await backend.setModificationTime('directory', mtime)
      assert.deepEqual(changed.stat.mtime, mtime)
    })

    it('to that of the last write, however late it is stored', async () => {
      const mtime = { seconds: 1_600_000_000, nanoseconds: 1 }
      const attributes = { mode: null, uid: null, gid: null, mtime }
      const first = await backend.write('file', Buffer.from('first'), null, { attributes })
      assert.deepEqual(first.mtime, mtime)
      const copied = await backend.copy('file', 'copy', null, { attributes })
      assert.deepEqual(copied.mtime, mtime)
    })
  })

  describe('that is missing', () => {
    it('fails all calls: it may be a disk that is not mounted', async () => {
      rmSync(root, { recursive: true })
      await assert.rejects(backend.stat(''), { errno: 'EIO' })
      await assert.rejects(backend.stat('file'), { errno: 'EIO' })
      await assert.rejects(backend.list(''), { errno: 'EIO' })
      await assert.rejects(backend.write('file', Buffer.from('x'), null), { errno: 'EIO' })
      assert.ok(!existsSync(root))
    })

    it('is made where that was asked for', async () => {
      rmSync(root, { recursive: true })
      backend = createBackend({
        type: 'fs',
        options: { root: at('below'), create_root: 'true' },
        timeoutMs: TIMEOUT_MS,
      })
      assert.deepEqual(await backend.list(''), [])
    })
  })

  it('gives nothing to copies of another version than was asked for', async () => {
    writeFileSync(at('file'), 'contents')
    const { version } = await statOf('file')
    writeFileSync(at('file'), 'other')
    await assert.rejects(backend.copy('file', 'copy', null, { sourceVersion: version }), { errno: 'ESTALE' })
    assert.ok(!existsSync(at('copy')))
    assert.deepEqual(uploads(), [])
  })

  it('keeps what somebody else has put in the place of a version that is to be replaced', async () => {
    writeFileSync(at('file'), 'first')
    const { version } = await statOf('file')
    const writer = await backend.createWriter('file', version)
    await writer.write(Buffer.from('ours'))
    writeFileSync(at('new'), 'their')
    renameSync(at('new'), at('file'))
    await assert.rejects(writer.close(), { errno: 'ESTALE', outcome: 'refused' })
    await assert.rejects(backend.write('file', Buffer.from('ours'), version), { errno: 'ESTALE' })
    await assert.rejects(backend.write('file', Buffer.from('ours'), null), { errno: 'EEXIST' })
    assert.equal(readFileSync(at('file'), 'utf8'), 'their')
    assert.deepEqual(uploads(), [])
  })

  it('is told of a file whose name may not be durable, until it is', async () => {
    const { host } = backend as unknown as { readonly host: { sync: (path: string) => Promise<void> } }
    const sync = host.sync.bind(host)
    host.sync = () => Promise.reject(Object.assign(new Error('a broken disk'), { code: 'EIO' }))
    // The second one leaves the directory to an fsync that all share.
    const [first, second] = await Promise.allSettled([
      backend.write('first', Buffer.from('x'), null, { mark: 'm1' }),
      backend.write('second', Buffer.from('y'), null, { mark: 'm2' }),
    ])
    assert.equal(first.status, 'fulfilled')
    assert.ok(second.status === 'rejected' && second.reason instanceof StorageError)
    const { errno, outcome, retryable } = second.reason
    assert.deepEqual([errno, outcome, retryable], ['EIO', 'unknown', true])
    await assert.rejects(async () => backend.identify?.('second'), { errno: 'EIO' })
    host.sync = sync
    assert.equal((await backend.identify?.('second'))?.mark, 'm2')
    assert.equal((await backend.identify?.('first'))?.mark, null)
  })

  it('takes names that end in white space', async () => {
    await backend.write('name ', Buffer.from('x'), null)
    assert.deepEqual(readdirSync(root).sort(), ['.ovfsd', 'name '])
  })
})
