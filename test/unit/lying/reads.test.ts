/** Stores that lie: no name appears or vanishes by it, no byte is shown that was not given for that version, and every call ends. */
import assert from 'node:assert/strict'
import { describe, it, type TestContext } from 'node:test'
import { Driver } from '../../lib/model/driver.js'
import { answerOf, liedTo, type LiedTo } from '../../lib/lying/lied-to.js'
import { LIES, SLOW_LIES, type Lie } from '../../lib/lying/liar.js'
import { STARTERS, type LyingStore } from '../../lib/lying/stores.js'

const FILES = 13
const CALLS = 120
const POOL_BYTES = 4 << 20
const TYPES = Object.keys(STARTERS) as LyingStore['type'][]
const DIRECTORIES = TYPES.filter((type) => type !== 'http')

async function filled(t: TestContext, type: LyingStore['type']): Promise<LiedTo> {
  const to = await liedTo(t, type)
  const { store, random } = to
  for (let file = 0; file < FILES; file++)
    store.put(`d/f${file}`, random.bytes(1 + random.below(random.pick([100, 300_000]))))
  store.put('d/sub/x', Buffer.from('x'))
  store.put('e/other', Buffer.from('other'))
  return to
}

/** Mostly what is answered at once: a test has as many calls as lies that are waited for would let it have. */
function lieSometimes({ liar, random, store }: LiedTo, dishonesty: number): void {
  liar.dishonesty = dishonesty
  const isTold = (lie: Lie): boolean => !store.untellable.includes(lie)
  liar.lies = LIES.filter((lie) => isTold(lie) && (!SLOW_LIES.has(lie) || random.chance(0.05)))
}

// They wait for answers, most of the time.
describe('reading from stores that lie', { concurrency: true }, () => {
  for (const type of DIRECTORIES)
    describe(`listings of ${type} that lies`, { concurrency: true }, () => {
      it('no name appears or vanishes', async (t) => {
        const to = await filled(t, type)
        const { liar, backend, seed } = to
        const names = ['sub', ...Array.from({ length: FILES }, (_, file) => `f${file}`)].sort()
        const namesOf = (entries: readonly { readonly name: string }[]): string[] =>
          entries.map(({ name }) => name).sort()
        assert.deepEqual(namesOf(await backend.list('d')), names)
        await backend.list('e')
        for (let call = 0; call < CALLS; call++) {
          lieSometimes(to, 0.3)
          const entries = await answerOf(to, 'list', () => backend.list('d'))
          if (entries === null) continue
          assert.deepEqual(namesOf(entries), names, `OVFSD_SEED=${seed}\n${liar.recent()}`)
          for (const { name, kind, stat } of entries) {
            assert.equal(
              kind,
              name === 'sub' ? 'directory' : 'file',
              `OVFSD_SEED=${seed}: ${name}\n${liar.recent()}`,
            )
            assert.notEqual(kind === 'file' ? stat?.sizeBytes : null, 0, `${name} is empty\n${liar.recent()}`)
          }
        }
      })
    })

  for (const type of TYPES)
    describe(`files of ${type} that lies`, { concurrency: true }, () => {
      it('none is missing, empty or a directory', async (t) => {
        const to = await filled(t, type)
        const { liar, backend, random, seed } = to
        for (let call = 0; call < CALLS; call++) {
          lieSometimes(to, 0.3)
          const path = `d/f${random.below(FILES)}`
          const stat = await answerOf(to, `stat ${path}`, async () => (await backend.stat(path)) ?? 'missing')
          if (stat === null) continue
          const told = `OVFSD_SEED=${seed}: ${path}\n${liar.recent()}`
          assert.ok(stat !== 'missing', `missing: ${told}`)
          assert.equal(stat.kind, 'file', told)
          // A length alone may be a lie that nobody can tell; none at all is not a length of nothing.
          assert.ok(
            stat.sizeBytes > 0 && Number.isSafeInteger(stat.sizeBytes),
            `${stat.sizeBytes} bytes: ${told}`,
          )
        }
      })

      it('no byte is shown that is not of the version', async (t) => {
        const to = await filled(t, type)
        const { liar, store, backend, random, seed } = to
        for (let call = 0; call < CALLS; call++) {
          const path = `d/f${random.below(FILES)}`
          const data = store.get(path) ?? Buffer.alloc(0)
          liar.dishonesty = 0
          const stat = await backend.stat(path)
          lieSometimes(to, 0.4)
          const offset = random.below(data.length)
          const length = 1 + random.below(data.length - offset)
          const what = `read ${path} ${offset}+${length} of ${data.length}`
          const bytes = await answerOf(to, what, () =>
            backend.read(path, offset, length, stat?.version ?? ''),
          )
          if (bytes !== null)
            assert.ok(
              data.subarray(offset, offset + length).equals(bytes),
              `OVFSD_SEED=${seed}: ${what}\n${liar.recent(5)}`,
            )
        }
      })

      it('each is read through the file system as it is, or not at all', async (t) => {
        const to = await filled(t, type)
        const { liar, store, backend, random, seed } = to
        const driver = new Driver({
          ...{ backend, poolBytes: POOL_BYTES, expirationMs: 0, cacheEnabled: true, writeBack: false },
          dirtyExpireMs: 60_000,
        })
        t.after(() => driver.fs.close(() => undefined))
        for (let call = 0; call < CALLS / 2; call++) {
          lieSometimes(to, 0.15)
          const name = `f${random.below(FILES)}`
          const bytes = await answerOf(to, `open and read ${name}`, async () => {
            const fh = await driver.open(['d', name], 0)
            try {
              return await driver.read(fh, 0, 1 << 20)
            } finally {
              await driver.close(fh)
            }
          })
          const data = store.get(`d/${name}`) ?? Buffer.alloc(0)
          if (bytes !== null)
            assert.ok(
              data.equals(bytes),
              `OVFSD_SEED=${seed}: ${name}, ${bytes.length} of ${data.length}\n${liar.recent(8)}`,
            )
        }
      })
    })
})
