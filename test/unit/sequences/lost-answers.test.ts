/**
 * Any call that changes the store is refused, done with its answer lost, late or never sent, and then somebody else changes the file, or
 * nobody does. What was refused may be tried again; nobody's data is lost by it, and one's own write is never taken for somebody else's.
 */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { chooseSeed, Random } from '../../lib/model/random.js'
import { BUSY, FORBIDDEN, LOST, UNSENT, type Call, type Fault } from '../../lib/reference-store/faults.js'
import { actsOn, runDisturbed, type Disturbance, type DisturbedRun } from '../../lib/sequences/disturbed.js'
import { SCENARIOS } from '../../lib/sequences/scenarios.js'
import { STORE_KINDS, suits, type StoreKind } from '../../lib/sequences/stores.js'

const FAULTS: readonly Fault[] = [
  BUSY,
  FORBIDDEN,
  LOST,
  UNSENT,
  { kind: 'late', calls: 1 },
  { kind: 'late', calls: 3 },
]
/** A name is changed whenever the store gets to it; nothing guards it but what it was asked for. */
const UNGUARDED = /^(rename|remove|create|set)/
/** What gives an object another version without a mark, so that nobody can tell whose doing it was; where moves do. */
const UNMARKED = /^(rename|set)/

/** Whether the call can be expected to come to a good end. */
function isFair({ method }: Call, { kind }: Fault): boolean {
  return kind !== 'late' || !UNGUARDED.test(method)
}

/** Nobody else is there: so nobody else can have stored anything. */
function falseConflicts(run: DisturbedRun, { method }: Call, { kind }: Fault, store: StoreKind): string[] {
  if (method === 'append' && (kind === 'lost' || kind === 'late')) return []
  if (kind === 'lost' && UNMARKED.test(method) && store.options.movesChangeVersions === true) return []
  return run.errors
    .filter(
      ({ operation, errno }) => errno === 'ESTALE' || (errno === 'EEXIST' && !operation.startsWith('open')),
    )
    .map(({ operation, errno }) => `${operation}: ${errno}, though nobody else is there`)
}

/** On the plain store everything is tried, on others what the seed says. */
const seed = chooseSeed()

for (const [index, kind] of STORE_KINDS.entries()) {
  describe(`a call that fails, ${kind.name}`, () => {
    for (const scenario of SCENARIOS.filter((each) => suits(each, kind))) {
      it(scenario.name, async (t) => {
        const random = new Random(seed)
        t.diagnostic(`OVFSD_SEED=${seed}`)
        const undisturbed = await runDisturbed(scenario, kind, null, Infinity)
        const failures: string[] = []
        for (const call of undisturbed.calls.filter(({ changes }) => changes)) {
          for (const fault of FAULTS.filter((each) => isFair(call, each))) {
            const acts = scenario.disturbed.flatMap(actsOn)
            for (const act of [undefined, ...(index === 0 ? acts : [random.pick(acts)])]) {
              const at = call.index
              const disturbance: Disturbance = act === undefined ? { at, fault } : { at, fault, act }
              const run = await runDisturbed(scenario, kind, disturbance, Infinity)
              const conflicts = act === undefined ? falseConflicts(run, call, fault, kind) : []
              const violations = [...run.violations, ...conflicts]
              if (violations.length > 0) failures.push(`${violations.join('\n  ')}\n${run.report()}`)
            }
          }
        }
        assert.equal(failures.length, 0, `${failures.length} runs fail, the first:\n  ${failures[0] ?? ''}`)
      })
    }
  })
}
