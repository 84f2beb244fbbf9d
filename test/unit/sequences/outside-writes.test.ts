/** Somebody else changes a file between any two calls that an operation makes: nothing of theirs is lost, and nothing is mixed. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { chooseSeed, Random } from '../../lib/model/random.js'
import { actsOn, runDisturbed, type Disturbance } from '../../lib/sequences/disturbed.js'
import { SCENARIOS } from '../../lib/sequences/scenarios.js'
import { STORE_KINDS, suits } from '../../lib/sequences/stores.js'

/** On the plain store everything is tried, on others what the seed says. */
const seed = chooseSeed()

for (const [index, kind] of STORE_KINDS.entries()) {
  // What is believed without a look does not depend on the kind of store.
  for (const expirationMs of index === 0 ? [0, Infinity] : [0]) {
    describe(`an outside write between any two calls, ${kind.name}, expiration ${expirationMs}`, () => {
      for (const scenario of SCENARIOS.filter((each) => suits(each, kind))) {
        it(scenario.name, async (t) => {
          const random = new Random(seed)
          t.diagnostic(`OVFSD_SEED=${seed}`)
          const undisturbed = await runDisturbed(scenario, kind, null, expirationMs)
          assert.deepEqual(undisturbed.violations, [], undisturbed.report())
          assert.deepEqual(undisturbed.errors, [], undisturbed.report())
          const failures: string[] = []
          for (let at = 0; at < undisturbed.calls.length; at++) {
            const acts = scenario.disturbed.flatMap(actsOn)
            for (const act of index === 0 ? acts : [random.pick(acts)]) {
              const disturbance: Disturbance = { at, act }
              const run = await runDisturbed(scenario, kind, disturbance, expirationMs)
              if (run.violations.length > 0)
                failures.push(
                  `${act.name} before call ${at}:\n  ${run.violations.join('\n  ')}\n${run.report()}`,
                )
            }
          }
          assert.equal(failures.length, 0, `${failures.length} runs fail, the first:\n${failures[0] ?? ''}`)
        })
      }
    })
  }
}
