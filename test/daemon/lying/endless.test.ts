/** Answers without an end: what is taken of them is bounded, they end, and the other mounts do not notice. */
import assert from 'node:assert/strict'
import { describe, it, type TestContext } from 'node:test'
import { codeOf } from '../../frontend/fuse-client.js'
import { Random } from '../../lib/model/random.js'
import { serve } from '../../support/served.js'
import { memoryStore } from '../../support/stores.js'
import { liedTo, outcomeOf } from '../../lib/lying/lied-to.js'
import { Liar, type Lie } from '../../lib/lying/liar.js'
import { STARTERS, type LyingStore } from '../../lib/lying/stores.js'

const TYPES = Object.keys(STARTERS) as LyingStore['type'][]
const ENDLESS: readonly Lie[] = ['endless body', 'endless headers', 'endless hints', 'silence']
/** What the two ends of a connection may hold of an answer that nobody reads: the kernel's buffers. */
const BUFFERED_BYTES = 16 << 20
/** As many as the other mount must have answered while a request is under way that lasts as long as it may. */
const LEAST_ANSWERED = 20
const TIMEOUT_MS = 1500
/** Of a client's answer that has no end, a bound on its tries. */
const TRIES = 4

describe('answers without an end', () => {
  for (const type of TYPES)
    it(`${type}: no call takes more than an answer may have`, async (t) => {
      const to = await liedTo(t, type, TIMEOUT_MS)
      const { liar, store, backend } = to
      store.put('d/f', Buffer.alloc(100_000, 'f'))
      const version = (await backend.stat('d/f'))?.version ?? ''
      liar.lies = ['endless body']
      const calls: Readonly<Record<string, () => Promise<unknown>>> = {
        read: () => backend.read('d/f', 10, 1000, version),
        'read from the start': () => backend.read('d/f', 0, 100_000, version),
        ...(type === 'http'
          ? {}
          : {
              list: () => backend.list('d'),
              write: () => backend.write('d/f', Buffer.from('new'), version),
              mkdir: () => backend.createDirectory('d/new'),
              rename: () => backend.rename('d/f', 'd/g', 'file', { version }),
            }),
      }
      for (const [what, call] of Object.entries(calls)) {
        liar.endlessBytes = 0
        liar.dishonesty = 1
        const outcome = await outcomeOf(to, what, call)
        assert.ok('errno' in outcome, `${what}: taken for an answer`)
        const most = TRIES * (store.maxAnswerBytes + BUFFERED_BYTES)
        assert.ok(liar.endlessBytes <= most, `${what}: ${liar.endlessBytes} bytes were taken`)
      }
    })

  for (const type of TYPES)
    for (const lie of ENDLESS)
      it(`${type}: another mount is served during ${lie}`, async (t) => {
        await isServedBeside(t, type, lie)
      })
})

async function isServedBeside(t: TestContext, type: LyingStore['type'], lie: Lie): Promise<void> {
  const store = await STARTERS[type]()
  const liar = new Liar(store, new Random(1))
  await liar.start()
  t.after(async () => {
    liar.stop()
    await store.stop()
  })
  store.put('d/f', Buffer.alloc(100_000, 'f'))
  const lying = {
    prepare: () =>
      Promise.resolve({
        ...{ type, options: store.optionsAt(liar.origin), view: null, hostDirectory: null },
        dispose: () => Promise.resolve(),
      }),
  }
  const served = await serve({
    mounts: [
      { store: memoryStore, mountPoint: ['quiet'] },
      { store: lying, mountPoint: ['liar'], timeoutMs: TIMEOUT_MS, expirationMs: 0 },
    ],
  })
  t.after(() => served.close())
  const quiet = served.guestFs('quiet')
  await quiet.writeFile('file', 'contents')
  await served.guestFs('liar').stat('d/f')
  liar.lies = [lie]
  liar.dishonesty = 1
  const state = { isOver: false }
  const begun = new Promise<void>((resolve) => {
    liar.onEndless = resolve
  })
  const pending = codeOf(served.guestFs('liar').readFile('d/f')).finally(() => {
    state.isOver = true
  })
  // An endless body is none of a HEAD: some clients are refused at once.
  await Promise.race([begun, pending])
  const latenciesMs: number[] = []
  while (!state.isOver) {
    const beganMs = performance.now()
    await quiet.stat('file')
    assert.equal((await quiet.readFile('file')).toString(), 'contents')
    latenciesMs.push(performance.now() - beganMs)
  }
  const code = await pending
  assert.ok(['EIO', 'ETIMEDOUT', 'ESTALE'].includes(code), `the errno is ${code}`)
  const sorted = latenciesMs.sort((one, other) => one - other)
  const at = (share: number): string => (sorted[Math.floor(share * (sorted.length - 1))] ?? 0).toFixed(1)
  t.diagnostic(
    `${code}; ${sorted.length} stats and reads beside it: median ${at(0.5)} ms, longest ${at(1)} ms`,
  )
  if (lie === 'silence') assert.ok(sorted.length >= LEAST_ANSWERED, `${sorted.length} were answered`)
}
