/** What becomes of a change of an object whose answer is lost, refused or late, while others change it too. */
import assert from 'node:assert/strict'
import { afterEach, beforeEach, describe, it } from 'node:test'
import type { Backend, BackendWriter, StoreConditions } from '../../../src/backends/backend.js'
import { createBackend } from '../../../src/backends/create-backend.js'
import { newWriteMark } from '../../../src/backends/write-mark.js'
import { randomBytes } from '../../support/bytes.js'
import { errorAnswer, FakeS3, isCompletion, isCopy, isProbe, type FakeCall } from '../../support/fake-s3.js'

const TIMEOUT_MS = 10_000
const PART_BYTES = 8 << 20
const OURS = Buffer.from('ours')

let s3: FakeS3
let backend: Backend
beforeEach(async () => {
  s3 = await FakeS3.start()
  backend = createBackend({ type: 's3', options: s3.options, timeoutMs: TIMEOUT_MS })
})
afterEach(() => s3.stop())

const isPutOf = (key: string) => (call: FakeCall) => call.method === 'PUT' && call.key === key

/** The first request that is meant is carried out, and its answer is lost; `then` is done before the next one. */
function loseFirst(isMeant: (call: FakeCall) => boolean, then: () => void = () => undefined): void {
  let isLost = false
  s3.after = (call) => {
    if (isLost || !isMeant(call)) return null
    isLost = true
    then()
    return 'lose'
  }
}

function conditionsOf(store: Backend): StoreConditions {
  return store.conditions?.() ?? assert.fail('nothing is said of conditions')
}

async function startUpload(path: string, expected: string | null): Promise<[BackendWriter, Buffer]> {
  const writer = await backend.createWriter(path, expected)
  const pieces = [randomBytes(PART_BYTES, 1), randomBytes(1000, 2)]
  for (const piece of pieces) await writer.write(piece)
  return [writer, Buffer.concat(pieces)]
}

for (const [keeps, setUp] of [
  ['MD5s as etags', (): void => undefined],
  ['etags that are no MD5s', (): void => void (s3.hasRandomEtags = true)],
  [
    'neither MD5s nor metadata',
    (): void => {
      s3.hasRandomEtags = true
      s3.keepsMetadata = false
    },
  ],
  ['no conditions', (): void => void (s3.conditions = 'ignored')],
  ['an error for conditions', (): void => void (s3.conditions = 'refused')],
] as const) {
  describe(`a write to a store with ${keeps}`, () => {
    beforeEach(setUp)

    it('whose answer was lost is known as ours', async () => {
      for (const name of ['new', 'old']) {
        const expected = name === 'new' ? null : s3.put(name, 'before').etag
        loseFirst(isPutOf(name))
        const stat = await backend.write(name, OURS, expected)
        assert.equal(stat.version, s3.objects.get(name)?.etag)
        assert.deepEqual((await backend.read(name, 0, OURS.length, stat.version)).toString(), OURS.toString())
      }
    })

    it('whose answer was lost, and which somebody else has replaced since, is theirs', async () => {
      loseFirst(isPutOf('new'), () => s3.put('new', 'theirs'))
      await assert.rejects(backend.write('new', OURS, null), { errno: 'EEXIST' })
      const { etag } = s3.put('old', 'before')
      loseFirst(isPutOf('old'), () => s3.put('old', 'theirs'))
      await assert.rejects(backend.write('old', OURS, etag), { errno: 'ESTALE' })
      assert.deepEqual([s3.text('new'), s3.text('old')], ['theirs', 'theirs'])
    })

    it('that was not done is tried again under the same condition', async () => {
      const { etag } = s3.put('old', 'before')
      for (const fault of [
        'reset',
        errorAnswer(503, 'SlowDown'),
        errorAnswer(500, 'InternalError'),
      ] as const) {
        let tries = 0
        s3.before = (call) => {
          if (!isPutOf('old')(call)) return null
          if (tries++ > 0) return null
          s3.put('old', 'theirs')
          return fault
        }
        await assert.rejects(backend.write('old', OURS, etag), { errno: 'ESTALE' })
        assert.equal(s3.text('old'), 'theirs')
        s3.put('old', 'before')
      }
    })

    it('over what somebody else has stored is refused', async () => {
      const { etag } = s3.put('old', 'before')
      s3.put('old', 'theirs')
      await assert.rejects(backend.write('old', OURS, etag), { errno: 'ESTALE', outcome: 'refused' })
      await assert.rejects(backend.write('old', OURS, null), { errno: 'EEXIST', outcome: 'refused' })
      s3.objects.delete('old')
      await assert.rejects(backend.write('old', OURS, etag), { errno: 'ESTALE' })
      assert.deepEqual(s3.keys(), [])
    })
  })

  if (keeps === 'neither MD5s nor metadata') continue
  describe(`an upload in parts to a store with ${keeps}`, () => {
    beforeEach(setUp)

    it('whose completion was not answered is known as ours, when it is closed again too', async () => {
      const [writer, data] = await startUpload('big', null)
      let isAway = false
      loseFirst(
        (call) => isCompletion(call) && call.key === 'big',
        () => (isAway = true),
      )
      s3.before = () => (isAway ? 'reset' : null)
      await assert.rejects(writer.close(), { outcome: 'unknown', retryable: true })
      isAway = false
      const stat = await writer.close()
      assert.deepEqual([stat.sizeBytes, stat.version], [data.length, s3.objects.get('big')?.etag])
      assert.ok(s3.objects.get('big')?.data.equals(data))
      assert.ok((await backend.identify?.('big')) !== null)
    })

    it('which the store was too busy to complete keeps its parts', async () => {
      const [writer, data] = await startUpload('big', null)
      s3.before = (call) => (isCompletion(call) && call.key === 'big' ? errorAnswer(503, 'SlowDown') : null)
      await assert.rejects(writer.close(), { errno: 'EIO', outcome: 'refused', retryable: true })
      s3.before = () => null
      await writer.close()
      assert.ok(s3.objects.get('big')?.data.equals(data))
    })

    it('does not replace what somebody else has stored', async () => {
      const { etag } = s3.put('big', 'before')
      const [writer] = await startUpload('big', etag)
      s3.put('big', 'theirs')
      await assert.rejects(writer.close(), { errno: 'ESTALE' })
      await writer.abort()
      assert.equal(s3.text('big'), 'theirs')
    })
  })
}

describe('an upload in parts', () => {
  it('of which a part failed sends it again when it is closed', async () => {
    s3.before = (call) => (call.query.get('partNumber') === '1' ? errorAnswer(503, 'SlowDown') : null)
    const writer = await backend.createWriter('big', null)
    const data = randomBytes(PART_BYTES, 1)
    await writer.write(data)
    await assert.rejects(writer.close(), { errno: 'EIO', retryable: true })
    s3.before = () => null
    await writer.close()
    assert.ok(s3.objects.get('big')?.data.equals(data))
    assert.deepEqual(s3.keys(), ['big'])
  })
})

describe('the mark of a write', () => {
  it('is kept with the object, by each way to store one', async () => {
    const mark = newWriteMark()
    const markOf = async (path: string): Promise<string | null | undefined> =>
      (await backend.identify?.(path))?.mark
    await backend.write('written', OURS, null, { mark })
    const writer = await backend.createWriter('uploaded', null, { mark })
    await writer.write(randomBytes(PART_BYTES))
    await writer.close()
    await backend.copy('written', 'copied', null, { mark })
    for (const name of ['written', 'uploaded', 'copied']) assert.equal(await markOf(name), mark)
    s3.put('foreign', 'x')
    assert.equal(await markOf('foreign'), null)
    assert.equal(await backend.identify?.('missing'), null)
  })
})

describe('the conditions of a store', () => {
  it('are tried when they are first relied on, and once, and leave nothing behind', async () => {
    assert.equal(conditionsOf(backend).create, 'unknown')
    await backend.write('a', OURS, null)
    const probes = s3.calls.filter(isProbe).length
    assert.ok(probes > 0)
    assert.equal(conditionsOf(backend).create, 'server')
    s3.forget()
    await backend.write('b', OURS, null)
    assert.deepEqual(s3.seen, ['PUT b'], 'one request')
    const { version } = await backend.write('c', OURS, null)
    await backend.write('c', OURS, version)
    s3.forget()
    await backend.write('c', Buffer.from('again'), s3.objects.get('c')?.etag ?? '')
    assert.deepEqual(s3.seen, ['PUT c'])
    assert.deepEqual(s3.keys(), ['a', 'b', 'c'])
  })

  it('that are not honoured are replaced by a look', async () => {
    for (const conditions of ['ignored', 'refused'] as const) {
      s3.conditions = conditions
      backend = createBackend({ type: 's3', options: s3.options, timeoutMs: TIMEOUT_MS })
      const { version } = await backend.write(conditions, OURS, null)
      await backend.write(conditions, OURS, version)
      const { create, replace } = conditionsOf(backend)
      assert.deepEqual([create, replace], ['look', 'look'])
      s3.forget()
      await backend.write(conditions, Buffer.from('other'), s3.objects.get(conditions)?.etag ?? '')
      assert.deepEqual(s3.seen, [`HEAD ${conditions}`, `PUT ${conditions}`])
    }
  })

  it('that cannot be tried now are tried later, and no call fails for it', async () => {
    s3.before = (call) => (isProbe(call) ? errorAnswer(503, 'SlowDown') : null)
    await backend.write('a', OURS, null)
    assert.equal(conditionsOf(backend).create, 'unknown')
    s3.put('b', 'theirs')
    await assert.rejects(backend.write('b', OURS, null), { errno: 'EEXIST' })
    s3.before = () => null
    await backend.write('c', OURS, null)
    assert.equal(conditionsOf(backend).create, 'server')
  })

  it('that may not be tried are looked at, and sent', async () => {
    s3.before = (call) => (isProbe(call) ? errorAnswer(403, 'AccessDenied') : null)
    await backend.write('a', OURS, null)
    s3.forget()
    await backend.write('b', OURS, null)
    assert.deepEqual(s3.seen, ['HEAD b', 'PUT b'])
    assert.equal(s3.calls.at(-1)?.headers['if-none-match'], '*')
  })
})

describe('a store that is busy', () => {
  it('is EIO, whatever is asked', async () => {
    const { etag } = s3.put('file', 'contents')
    s3.before = () => errorAnswer(503, 'SlowDown')
    const busy = { errno: 'EIO', retryable: true, outcome: 'refused' }
    await assert.rejects(backend.stat('file'), busy)
    await assert.rejects(backend.list(''), busy)
    await assert.rejects(backend.read('file', 0, 8, etag), busy)
    await assert.rejects(backend.write('file', OURS, etag), busy)
    await assert.rejects(backend.removeFile('file'), busy)
    await assert.rejects(backend.rename('file', 'other', 'file'), busy)
  })
})

describe('a rename', () => {
  it('whose copy is answered with an error behind a status of 200 keeps the file', async () => {
    s3.put('a', 'only')
    s3.put('tree/b', 'only')
    s3.before = (call) => (isCopy(call) ? { ...errorAnswer(200, 'InternalError') } : null)
    await assert.rejects(backend.rename('a', 'moved', 'file'), { errno: 'EIO' })
    await assert.rejects(backend.rename('tree', 'grown', 'directory'), { errno: 'EIO' })
    assert.deepEqual([s3.text('a'), s3.text('tree/b')], ['only', 'only'])
  })

  it('whose copy is answered with nothing looks whether it is there', async () => {
    s3.put('a', 'only')
    s3.before = (call) => (isCopy(call) && !isProbe(call) ? { status: 200, body: '' } : null)
    await assert.rejects(backend.rename('a', 'b', 'file'), { errno: 'EIO' })
    assert.equal(s3.text('a'), 'only')
  })

  for (const conditions of ['honoured', 'ignored'] as const)
    it(`does not remove what comes meanwhile (conditions ${conditions})`, async () => {
      s3.conditions = conditions
      s3.put('a', 'first')
      s3.put('tree/b', 'first')
      s3.after = (call) => {
        if (isCopy(call)) s3.put(String(call.headers['x-amz-copy-source']).replace('/bucket/', ''), 'second')
        return null
      }
      await backend.rename('a', 'moved', 'file')
      await backend.rename('tree', 'grown', 'directory')
      assert.deepEqual([s3.text('moved'), s3.text('a'), s3.text('tree/b')], ['first', 'second', 'second'])
    })

  it('tells of each version that it has changed', async () => {
    const data = randomBytes(100)
    s3.put('from/parts', data, {}, '"0123456789abcdef0123456789abcdef-1"')
    s3.put('from/plain', 'plain')
    const moved: string[] = []
    await backend.rename('from', 'to', 'directory', {
      moved: ({ from, to, previousVersion, stat }) => {
        moved.push(`${from} ${to} ${previousVersion} ${stat.version}`)
      },
    })
    const { etag } = s3.objects.get('to/parts') ?? {}
    assert.deepEqual(moved, [`from/parts to/parts "0123456789abcdef0123456789abcdef-1" ${etag}`])
  })
})

describe('a copy', () => {
  it('is of the version that is meant, and replaces only what is expected', async () => {
    const { etag } = s3.put('a', 'first')
    await backend.copy('a', 'b', null, { sourceVersion: etag })
    assert.equal(s3.text('b'), 'first')
    s3.put('a', 'second')
    await assert.rejects(backend.copy('a', 'b', etag, { sourceVersion: etag }), { errno: 'ESTALE' })
    await assert.rejects(backend.copy('a', 'b', null), { errno: 'EEXIST' })
    assert.equal(s3.text('b'), 'first')
  })

  it('whose answer was lost is known as ours', async () => {
    s3.put('a', 'first')
    loseFirst((call) => isCopy(call) && call.key === 'b')
    await backend.copy('a', 'b', null)
    assert.equal(s3.text('b'), 'first')
  })
})
