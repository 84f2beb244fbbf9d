/** What an earlier daemon has staged comes to its store whole, over nobody's work, and holds up nobody else. */
import assert from 'node:assert/strict'
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, it } from 'node:test'
import type { Backend, BackendCapabilities } from '../../../src/backends/backend.js'
import { StorageError } from '../../../src/backends/storage-error.js'
import { newWriteMark } from '../../../src/backends/write-mark.js'
import { Recovery, recoverFirst } from '../../../src/cache/recovery.js'
import type { StagedDescription } from '../../../src/cache/staged-record.js'
import { Staging } from '../../../src/cache/staging.js'
import { createLogger } from '../../../src/observability/logger.js'
import { chooseSeed, Random } from '../../lib/model/random.js'
import { assertSameBytes, randomBytes } from '../../support/bytes.js'
import { VersionedStore } from '../../support/versioned-store.js'

const MIB = 1 << 20

const root = mkdtempSync(join(tmpdir(), 'ovfsd-recovery-'))
after(() => {
  rmSync(root, { recursive: true, force: true })
})

interface Change {
  readonly offset: number
  readonly data: string | Buffer
}

/** A daemon that staged something and was killed, and the next one. */
class Killed {
  readonly store: VersionedStore
  readonly directory = mkdtempSync(join(root, 'staging-'))
  readonly log: string[] = []
  private readonly staging = new Staging(this.directory)

  constructor(capabilities: Partial<BackendCapabilities> = {}) {
    this.store = new VersionedStore(capabilities)
  }

  async stage(
    path: string,
    changes: readonly Change[],
    more: Partial<StagedDescription> = {},
  ): Promise<string> {
    const stored = this.store.objects.get(path)
    const ranges = changes.map(({ offset, data }) => [offset, offset + data.length] as const)
    const sizeBytes = Math.max(stored?.data.length ?? 0, ranges.at(-1)?.[1] ?? 0)
    const version = stored?.version ?? null
    return this.staging.write(
      {
        paths: [path],
        mtime: null,
        attributes: undefined,
        base: version,
        expected: version,
        marks: [],
        next: newWriteMark(),
        sizeBytes,
        baseBytes: stored?.data.length ?? 0,
        baseLimit: stored?.data.length ?? 0,
        ranges,
        replaces: null,
        ...more,
      },
      changes.map(({ data }) => Buffer.from(data)),
    )
  }

  /** The store as the next daemon's mount sees it. */
  next(store: Backend = this.store): Backend {
    const logger = createLogger({
      level: 'info',
      stream: { write: (line: string) => void this.log.push(line) },
    })
    return recoverFirst(store, new Recovery(new Staging(this.directory), logger))
  }

  /** Files in the directory, those in folders of it by the folder. */
  left(): string[] {
    return readdirSync(this.directory, { recursive: true, encoding: 'utf8' }).sort()
  }
}

describe('recovery', () => {
  it('puts a file together from its record and the stored object, in one request or in parts', async (t) => {
    const seed = chooseSeed()
    t.diagnostic(`seed ${seed}`)
    const random = new Random(seed)
    for (let round = 0; round < 40; round++) {
      const killed = new Killed({ partSizeBytes: 1 + random.below(100_000), append: random.below(2) === 0 })
      const baseBytes = random.below(3) * random.below(2 * MIB)
      const base = randomBytes(baseBytes, round + 1)
      if (baseBytes > 0) killed.store.put('file', base)
      const baseLimit = random.below(2) === 0 ? baseBytes : random.below(baseBytes + 1)
      const changes: Change[] = []
      let position = random.below(2) === 0 ? baseBytes : 0
      for (let i = random.below(12); i > 0; i--) {
        position += random.below(200_000)
        const data = randomBytes(1 + random.below(100_000), position + 1)
        changes.push({ offset: position, data })
        position += data.length
      }
      const sizeBytes = Math.max(baseLimit, changes.length === 0 ? 0 : position) + random.below(2) * 1000
      const expected = Buffer.alloc(sizeBytes)
      base.copy(expected, 0, 0, baseLimit)
      for (const { offset, data } of changes) expected.set(Buffer.from(data), offset)
      await killed.stage('file', changes, { sizeBytes, baseLimit })
      const mount = killed.next()
      const stat = await mount.stat('file')
      assert.equal(stat?.sizeBytes, sizeBytes)
      assertSameBytes(killed.store.objects.get('file')?.data ?? Buffer.alloc(0), expected, `round ${round}`)
      assert.deepEqual(killed.left(), [])
    }
  })

  it('does not store over what others have stored, and keeps the record', async () => {
    const killed = new Killed()
    killed.store.put('changed', 'as it was')
    await killed.stage('changed', [{ offset: 0, data: 'OURS' }])
    await killed.stage('new', [{ offset: 0, data: 'OURS' }])
    await killed.stage('gone', [{ offset: 0, data: 'OURS' }], { base: 'v7', expected: 'v7' })
    killed.store.put('changed', 'theirs, changed')
    killed.store.put('new', 'theirs, new')
    const mount = killed.next()
    for (const path of ['changed', 'new', 'gone']) await mount.stat(path)
    assert.equal(killed.store.text('changed'), 'theirs, changed')
    assert.equal(killed.store.text('new'), 'theirs, new')
    assert.equal(killed.store.text('gone'), null)
    assert.equal(killed.left().filter((path) => path.startsWith('conflicts/')).length, 3)
    assert.equal(killed.log.filter((line) => line.includes('changed by others')).length, 3)
  })

  it('knows its own writes whose answers were lost', async () => {
    // The commit was done and the daemon killed: the object may have more than the record.
    const done = new Killed()
    const next = newWriteMark()
    await done.stage('file', [{ offset: 0, data: 'staged' }], { next })
    done.store.put('file', 'staged, and more that was written later', next)
    await done.next().stat('file')
    assert.equal(done.store.text('file'), 'staged, and more that was written later')
    assert.deepEqual(done.left(), [])
    // An earlier one was: what was changed since lies over it.
    const earlier = new Killed()
    const mark = newWriteMark()
    earlier.store.put('file', 'old contents')
    await earlier.stage('file', [{ offset: 0, data: 'NEW' }], { marks: [mark] })
    earlier.store.put('file', 'nEW contents', mark)
    await earlier.next().stat('file')
    assert.equal(earlier.store.text('file'), 'NEW contents')
    // The recovery's own was.
    const own = new Killed()
    await own.stage('file', [{ offset: 0, data: 'staged' }])
    let isLost = false
    const losing = new Proxy(own.store, {
      get(target, key) {
        if (key !== 'write' || isLost) return Reflect.get(target, key) as unknown
        return async (...args: Parameters<Backend['write']>) => {
          await target.write(...args)
          isLost = true
          throw new StorageError('ETIMEDOUT', 'no answer', { retryable: true, unanswered: true })
        }
      },
    })
    await assert.rejects(own.next(losing).stat('file'))
    await own.next(own.store).stat('file')
    assert.deepEqual([own.store.text('file'), own.left()], ['staged', []])
    assert.equal(own.store.calls.filter((call) => call === 'write file').length, 1)
  })

  it('finds a file at either end of a rename that was interrupted', async () => {
    for (const isMoved of [false, true]) {
      // Stored, and given another version by the move.
      const stored = new Killed()
      stored.store.put('old', 'contents')
      await stored.stage('old', [{ offset: 0, data: 'NEW' }], { paths: ['old', 'new'] })
      if (isMoved) await stored.store.rename('old', 'new', 'file')
      await stored.next().stat('new')
      assert.equal(stored.store.text(isMoved ? 'new' : 'old'), 'NEWtents')
      assert.equal(stored.store.text(isMoved ? 'old' : 'new'), null)
      // Never stored, in a directory that is moved.
      const unstored = new Killed()
      unstored.store.directories.add(isMoved ? 'to' : 'from')
      await unstored.stage('from/file', [{ offset: 0, data: 'NEW' }], { paths: ['from/file', 'to/file'] })
      await unstored.next().stat('to/file')
      assert.equal(unstored.store.text(isMoved ? 'to/file' : 'from/file'), 'NEW')
      // Never stored, and not moved over what is there before that is known.
      const over = new Killed()
      const replaced = over.store.put('new', 'to be replaced')
      await over.stage(
        'old',
        [{ offset: 0, data: 'NEW' }],
        isMoved ? { paths: ['new'], expected: replaced } : { paths: ['old', 'new'] },
      )
      await over.next().stat('new')
      assert.equal(over.store.text('new'), isMoved ? 'NEW' : 'to be replaced')
      assert.equal(over.store.text('old'), isMoved ? null : 'NEW')
    }
  })

  it('holds up nobody who asks for another file, and shows no directory without it', async () => {
    const killed = new Killed()
    killed.store.put('directory/other', 'other')
    await killed.stage('directory/file', [{ offset: 0, data: 'staged' }])
    const full = new StorageError('ENOSPC', 'no room')
    let isFull = true
    killed.store.before = (method, path) => {
      if (isFull && method === 'write' && path === 'directory/file') throw full
    }
    const mount = killed.next()
    assert.equal((await mount.stat('directory/other'))?.sizeBytes, 5)
    assert.equal((await mount.stat('directory'))?.kind, 'directory')
    assert.deepEqual(
      (await mount.list('')).map(({ name }) => name),
      ['directory'],
    )
    await mount.write('directory/another', Buffer.from('x'), null)
    assert.deepEqual((await mount.list('directory')).map(({ name }) => name).sort(), [
      'another',
      'file',
      'other',
    ])
    for (const call of [
      () => mount.stat('directory/file'),
      () => mount.write('directory/file', Buffer.from('x'), null),
      () => mount.removeFile('directory/file'),
      () => mount.rename('directory', 'elsewhere', 'directory'),
      () => mount.rename('directory/other', 'directory/file', 'file'),
    ])
      await assert.rejects(call(), full)
    assert.ok(killed.log.some((line) => line.includes('could not be stored yet')))
    isFull = false
    const again = killed.next()
    assert.equal((await again.stat('directory/file'))?.sizeBytes, 6)
    assert.deepEqual(killed.left(), [])
  })

  it('goes on with the rest where something else is in place of a record or of what was amended of it', async () => {
    const killed = new Killed()
    const ids = [await killed.stage('one', [{ offset: 0, data: '1' }])]
    ids.push(await killed.stage('two', [{ offset: 0, data: '2' }]))
    await killed.stage('good', [{ offset: 0, data: 'good' }])
    const record = join(killed.directory, ids[0] ?? '')
    const place = `${ids[1] ?? ''}.place`
    rmSync(record)
    mkdirSync(record)
    mkdirSync(join(killed.directory, place))
    const mount = killed.next()
    assert.deepEqual(
      (await mount.list('')).map(({ name }) => name),
      ['good'],
    )
    assert.equal((await mount.stat('good'))?.sizeBytes, 4)
    for (const id of ids) assert.ok(killed.log.some((line) => line.includes(`broken/${id}`)))
  })

  it('tells of what is broken where the disk does not even move it', async () => {
    const killed = new Killed()
    const id = await killed.stage('broken', [{ offset: 0, data: '1' }])
    truncateSync(join(killed.directory, id), 3)
    writeFileSync(join(killed.directory, 'broken'), 'no directory')
    const mount = killed.next()
    assert.equal(await mount.stat('broken'), null)
    assert.ok(killed.log.some((line) => line.includes(id)))
  })

  it('sets aside what is broken, and goes on with the rest', async () => {
    const killed = new Killed({ partSizeBytes: 100_000 })
    const id = await killed.stage('broken', [{ offset: 0, data: randomBytes(3 * MIB) }])
    await killed.stage('good', [{ offset: 0, data: 'good' }])
    const path = join(killed.directory, id)
    const bytes = readFileSync(path)
    bytes[2 * MIB] = (bytes[2 * MIB] ?? 0) ^ 1
    writeFileSync(path, bytes)
    const mount = killed.next()
    assert.equal(await mount.stat('broken'), null)
    assert.equal((await mount.stat('good'))?.sizeBytes, 4)
    assert.deepEqual(killed.left(), ['broken', `broken/${id}`])
    assert.equal(killed.log.filter((line) => line.includes(`broken/${id}`)).length, 1)
  })
})
