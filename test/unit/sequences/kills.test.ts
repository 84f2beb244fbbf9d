/** The daemon dies before and after each call of the store and of its staging directory: what it had acknowledged is there after a recovery. */
import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, it } from 'node:test'
import { chooseSeed, Random } from '../../lib/model/random.js'
import { BUSY, FORBIDDEN, LOST } from '../../lib/reference-store/faults.js'
import { ReferenceStore } from '../../lib/reference-store/reference-store.js'
import { Died, MortalDaemon } from '../../lib/sequences/mortal.js'
import { STORE_KINDS, type StoreKind } from '../../lib/sequences/stores.js'
import { MortalGuest } from '../../lib/sequences/worlds.js'

/** Of a file of several parts. */
const LONG_BYTES = 30_000
/** A recovery has fewer moments than this; one beyond its last means that it lives. */
const RECOVERY_MOMENTS = 40

interface Life {
  readonly name: string
  readonly stored: Readonly<Record<string, string>>
  run(guest: MortalGuest): Promise<void>
}

const LIVES: readonly Life[] = [
  {
    name: 'a new file is written, changed, and stored',
    stored: {},
    run: async (guest) => {
      await guest.writeFile('a', 'a'.repeat(100))
      await guest.change('a', 50, 'b'.repeat(100))
      await guest.sync()
      await guest.change('a', 10, 'c'.repeat(10))
    },
  },
  {
    name: 'a stored file of several parts is changed',
    stored: { a: 'A'.repeat(LONG_BYTES) },
    run: async (guest) => {
      await guest.change('a', 10_000, 'b'.repeat(10))
      await guest.change('a', 20_000, 'c'.repeat(10))
      await guest.sync()
      await guest.truncate('a', 15_000)
      await guest.truncate('a', 25_000)
    },
  },
  {
    name: 'a changed file is renamed',
    stored: { a: 'A'.repeat(100) },
    run: async (guest) => {
      await guest.change('a', 10, 'b'.repeat(10))
      await guest.rename('a', 'c')
      await guest.change('c', 30, 'd'.repeat(10))
      await guest.sync()
    },
  },
  {
    name: 'a changed file is renamed over a changed one',
    stored: { a: 'A'.repeat(100), b: 'B'.repeat(100) },
    run: async (guest) => {
      await guest.change('b', 0, 'x'.repeat(10))
      await guest.change('a', 10, 'y'.repeat(10))
      await guest.rename('a', 'b')
      await guest.sync()
    },
  },
  {
    name: 'a changed file is renamed over an open one',
    stored: { a: 'A'.repeat(100), b: 'B'.repeat(100) },
    run: async (guest) => {
      await guest.hold('b')
      await guest.change('a', 10, 'y'.repeat(10))
      await guest.rename('a', 'b')
      await guest.change('b', 30, 'z'.repeat(10))
      await guest.sync()
    },
  },
  {
    name: 'a new file takes the place of a stored one',
    stored: { a: 'A'.repeat(100) },
    run: async (guest) => {
      await guest.writeFile('a.tmp', 'b'.repeat(200))
      await guest.rename('a.tmp', 'a')
      await guest.writeFile('a.tmp', 'c'.repeat(200))
      await guest.sync()
      await guest.rename('a.tmp', 'a')
    },
  },
  ...[BUSY, FORBIDDEN, LOST].map((fault) => ({
    name: `a rename fails: ${JSON.stringify(fault)}`,
    stored: { a: 'A'.repeat(100), b: 'B'.repeat(100) },
    run: async (guest: MortalGuest) => {
      await guest.change('a', 10, 'y'.repeat(10))
      guest.fails('rename', fault)
      await guest.rename('a', 'b')
      await guest.sync()
    },
  })),
  {
    name: 'a commit fails and goes on',
    stored: { a: 'A'.repeat(100) },
    run: async (guest) => {
      await guest.change('a', 10, 'y'.repeat(10))
      guest.fails('write', LOST)
      await guest.sync()
      await guest.change('a', 30, 'z'.repeat(10))
      await guest.sync()
    },
  },
  {
    name: 'a changed file is removed, and another one made',
    stored: { a: 'A'.repeat(100) },
    run: async (guest) => {
      await guest.change('a', 10, 'y'.repeat(10))
      await guest.unlink('a')
      await guest.writeFile('a', 'z'.repeat(50))
    },
  },
]

/** The daemon dies at `diesAt`, the one after it at `diesAgainAt`, and the third one lives. Returns the moments that there were, and what is wrong. */
async function runLife(
  life: Life,
  kind: StoreKind,
  diesAt: number,
  diesAgainAt: number,
): Promise<{ readonly moments: number; readonly failure: string | null }> {
  const directory = await mkdtemp(join(tmpdir(), 'ovfsd-kills-'))
  const store = new ReferenceStore()
  for (const [path, text] of Object.entries(life.stored)) store.outsideWrite(path, text)
  const trace: string[] = []
  const daemonThatDies = (moment: number): MortalDaemon =>
    new MortalDaemon({ store: { ...kind.options, store }, directory, diesAt: moment })
  try {
    const first = daemonThatDies(diesAt)
    const guest = new MortalGuest(first, store)
    await untilDeath(() => life.run(guest))
    await first.kill()
    trace.push(...first.trace)
    for (const moment of [diesAgainAt, Infinity]) {
      const next = daemonThatDies(moment)
      // The first operation waits for the recovery.
      await untilDeath(() => next.live('look around', () => next.driver.list([])))
      await next.kill()
      trace.push('-- the next daemon', ...next.trace)
    }
    const why = guest.whyNot(store)
    const failure = why === null ? null : `dies at ${diesAt} and ${diesAgainAt}: ${why}\n${trace.join('\n')}`
    return { moments: first.moments, failure }
  } finally {
    await rm(directory, { recursive: true, force: true })
  }
}

async function untilDeath(work: () => Promise<unknown>): Promise<void> {
  try {
    await work()
  } catch (error) {
    if (!(error instanceof Died)) throw error
  }
}

for (const kind of STORE_KINDS) {
  describe(`a daemon that dies, ${kind.name}`, () => {
    for (const life of LIVES) {
      it(life.name, async (t) => {
        const seed = chooseSeed()
        t.diagnostic(`seed ${seed}`)
        const random = new Random(seed)
        const { moments } = await runLife(life, kind, Infinity, Infinity)
        const failures: string[] = []
        for (let moment = 0; moment <= moments; moment++) {
          const { failure } = await runLife(life, kind, moment, random.below(RECOVERY_MOMENTS))
          if (failure !== null) failures.push(failure)
        }
        assert.equal(
          failures.length,
          0,
          `${failures.length} of ${moments} fail, OVFSD_SEED=${seed}:\n${failures[0] ?? ''}`,
        )
      })
    }
  })
}
