/** Random sequences that go on after errors: what was acknowledged is stored, or whoever had the file open was told, once. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { chooseSeed, Random } from '../../lib/model/random.js'
import { BrokenPromise, SequenceRun, type SequenceOptions } from '../../lib/sequences/sequence-run.js'
import { randomSteps, shrink, type Step } from '../../lib/sequences/steps.js'
import { STORE_KINDS } from '../../lib/sequences/stores.js'

const SEQUENCES = 45
const STEPS = 40
/** Little enough that what is unsaved is committed while files are open. */
const SMALL_DIRTY_BYTES = 64 << 10

/** What is broken, with the trace; null: nothing. */
async function broken(options: SequenceOptions, steps: readonly Step[]): Promise<string | null> {
  const run = new SequenceRun(options)
  try {
    await run.run(steps)
    return null
  } catch (error) {
    if (!(error instanceof BrokenPromise)) throw error
    return `${error.message}\n${run.trace.map((line) => `  ${line}`).join('\n')}`
  }
}

describe('sequences that go on after errors', () => {
  for (const kind of STORE_KINDS) {
    for (const writeBack of [false, true]) {
      it(`${kind.name}, write-back ${writeBack ? 'on' : 'off'}`, async (t) => {
        const seed = chooseSeed()
        t.diagnostic(`seed ${seed}`)
        const random = new Random(seed)
        for (let sequence = 0; sequence < SEQUENCES; sequence++) {
          const dirtyMaxBytes = random.chance(0.5) ? SMALL_DIRTY_BYTES : null
          const options = { store: kind.options, writeBack, dirtyMaxBytes }
          const steps = randomSteps(random, STEPS)
          if ((await broken(options, steps)) === null) continue
          const shortest = await shrink(steps, async (shorter) => (await broken(options, shorter)) !== null)
          assert.fail(`OVFSD_SEED=${seed}, sequence ${sequence}: ${(await broken(options, shortest)) ?? ''}`)
        }
      })
    }
  }
})
