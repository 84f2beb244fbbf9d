/**
 * A host directory under random steps, traced call by call. Each beginning of the trace is then made again on a model of a file
 * system, which crashes there in several ways: what was acknowledged is there, and nothing is torn.
 */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import {
  linkSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import { chooseSeed, Random } from '../model/random.js'
import type { Survival, Tree } from './durability/crash-model.js'
import { Promises } from './durability/promises.js'
import { Replay, TRACED_CALLS } from './durability/replay.js'
import { contentsOf } from './durability/steps.js'
import { eventsOf } from './durability/system-calls.js'

const PROGRAMS = 12
const ROUNDS = 40
/** Crashes that leave something at random, for each beginning of a trace, beside the two extremes. */
const RANDOM_CRASHES = 2
const PROGRAM = fileURLToPath(new URL('durability/program.js', import.meta.url))
/** More than any write has. */
const TRACED_BYTES = 1 << 16
/** Files that have two names each. */
const LINKED = [
  ['linked/one', 'linked/two'],
  ['linked/three', 'four'],
]
const hasStrace = spawnSync('strace', ['-V']).status === 0

const never = (): boolean => false
const always = (): boolean => true
const NOTHING: Survival = { change: never, write: never, share: () => 1 }
const NAMES_ONLY: Survival = { change: always, write: never, share: () => 1 }

function someOf(random: Random): Survival {
  const toss = (): boolean => random.chance(0.5)
  return { change: toss, write: toss, share: () => (toss() ? 1 : random.next()) }
}

function prepare(root: string): void {
  mkdirSync(join(root, 'linked'))
  mkdirSync(join(root, 'old'))
  writeFileSync(join(root, 'old/file'), contentsOf(900_000, 2000))
  LINKED.forEach(([one = '', other = ''], index) => {
    writeFileSync(join(root, one), contentsOf(900_001 + index, 1500))
    linkSync(join(root, one), join(root, other))
  })
}

/** What is there, by path; null: a directory. */
function treeOf(root: string, path = ''): Map<string, string | null> {
  const tree = new Map<string, string | null>()
  for (const name of readdirSync(join(root, path))) {
    const at = join(path, name)
    const isDirectory = lstatSync(join(root, at)).isDirectory()
    tree.set(at, isDirectory ? null : readFileSync(join(root, at), 'latin1'))
    if (isDirectory) for (const [below, text] of treeOf(root, at)) tree.set(below, text)
  }
  return tree
}

function sorted(tree: Tree): [string, string | null][] {
  return [...tree].sort(([one], [other]) => (one < other ? -1 : 1))
}

function traceOf(directory: string, root: string, seed: number): string {
  const out = join(directory, 'trace')
  const marks = join(directory, 'marks')
  const options = ['-f', '-y', '-s', String(TRACED_BYTES), '-e', `trace=${TRACED_CALLS}`, '-o', out]
  const { status, stderr } = spawnSync('strace', [...options, process.execPath, PROGRAM], {
    env: { ...process.env, ROOT: root, MARKS: marks, SEED: String(seed), ROUNDS: String(ROUNDS) },
    encoding: 'utf8',
  })
  assert.equal(status, 0, `seed ${seed}: ${stderr}`)
  return readFileSync(out, 'latin1')
}

describe('a host directory that crashes', { skip: !hasStrace && 'NO REPLAYS: there is no strace' }, () => {
  const directory = mkdtempSync(join(tmpdir(), 'ovfsd-replay-'))
  after(() => {
    rmSync(directory, { recursive: true, force: true })
  })

  it('has after each of its calls what was acknowledged', (t) => {
    const first = chooseSeed()
    t.diagnostic(`seed ${first}`)
    let crashes = 0
    for (let seed = first; seed < first + PROGRAMS; seed++) {
      const place = join(directory, String(seed))
      const root = join(place, 'root')
      mkdirSync(root, { recursive: true })
      prepare(root)
      const promises = new Promises(treeOf(root), LINKED)
      const replay = new Replay(root, join(place, 'marks'), (mark) => {
        promises.told(mark)
      })
      const random = new Random(seed)
      const survivals = [NOTHING, NAMES_ONLY, ...Array.from({ length: RANDOM_CRASHES }, () => someOf(random))]
      const events = eventsOf(traceOf(place, root, seed))
      events.forEach((event, index) => {
        if (!replay.apply(event)) return
        const { call } = event
        const faults = [
          promises.fault(replay.model.present()),
          ...survivals.map((survival) => promises.fault(replay.model.afterCrash(survival))),
        ]
        crashes += faults.length
        const fault = faults.findIndex((text) => text !== null)
        assert.equal(
          faults[fault] ?? null,
          null,
          `seed ${seed}, event ${index}, ${call.name}(${call.args.join(', ').slice(0, 300)}), crash ${fault}`,
        )
      })
      // Else the model would not be what the kernel did.
      assert.deepEqual(sorted(replay.model.present()), sorted(treeOf(root)))
    }
    t.diagnostic(`${crashes} crashes`)
  })
})
