/**
 * A host directory under random steps, traced call by call. Each beginning of the trace is then made again on a model of a file
 * system, which crashes there in several ways: what was acknowledged is there, and nothing is torn.
 */
import assert from 'node:assert/strict'
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
import { chooseSeed, Random } from '../../lib/model/random.js'
import type { Tree } from '../../lib/backends/durability/crash-model.js'
import { Promises } from '../../lib/backends/durability/promises.js'
import { cannotTrace, crashAfterEach, Replay, traceOf } from '../../lib/backends/durability/replay.js'
import { contentsOf, type Mark } from '../../lib/backends/durability/steps.js'

const PROGRAMS = 12
const ROUNDS = 40
const PROGRAM = fileURLToPath(new URL('../../lib/backends/durability/program.js', import.meta.url))
/** Files that have two names each. */
const LINKED = [
  ['linked/one', 'linked/two'],
  ['linked/three', 'four'],
]

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

describe('a host directory that crashes', { skip: cannotTrace }, () => {
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
      const marksFile = join(place, 'marks')
      const replay = new Replay<Mark>(root, marksFile, (mark) => {
        promises.told(mark)
      })
      const events = traceOf({ program: PROGRAM, root, marksFile, seed, rounds: ROUNDS })
      crashes += crashAfterEach(events, replay, new Random(seed), (tree) => {
        const fault = promises.fault(tree)
        return fault === null ? null : `seed ${seed}: ${fault}`
      })
      // Else the model would not be what the kernel did.
      assert.deepEqual(sorted(replay.model.present()), sorted(treeOf(root)))
    }
    t.diagnostic(`${crashes} crashes`)
  })
})
