/**
 * A `cache_dir` in which much is staged at once, traced call by call. Each beginning of the trace is then made again on a model of
 * a file system, which crashes there in several ways: what a close has acknowledged is there, and nothing is torn.
 */
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, it } from 'node:test'
import { fileURLToPath } from 'node:url'
import { MAGIC } from '../../../src/cache/staged-record.js'
import type { Tree } from '../../lib/backends/durability/crash-model.js'
import { cannotTrace, crashAfterEach, Replay, traceOf } from '../../lib/backends/durability/replay.js'
import { chooseSeed, Random } from '../../lib/model/random.js'
import type { StagingMark } from '../../lib/cache/staging-program.js'

const PROGRAMS = 4
const ROUNDS = 30
const PROGRAM = fileURLToPath(new URL('../../lib/cache/staging-program.js', import.meta.url))

/** What was acknowledged, by path. */
class Acknowledged {
  private readonly kept = new Map<string, { readonly text: string; readonly aside: string | null }>()

  told(mark: StagingMark): void {
    const { path } = mark
    const before = this.kept.get(path)
    this.kept.delete(path)
    if (mark.kind === 'kept') {
      this.kept.set(path, { text: mark.text, aside: null })
      for (const [old, { aside }] of this.kept) if (aside === path) this.kept.delete(old)
    } else if (mark.aside !== null && before !== undefined)
      this.kept.set(path, { text: before.text, aside: mark.aside })
  }

  fault(tree: Tree): string | null {
    for (const [path, { text, aside }] of this.kept)
      if (tree.get(path) !== text && (aside === null || tree.get(aside) !== text)) return `${path} is lost`
    for (const [path, text] of tree)
      if (text !== null && path.includes('/staged/') && !isWhole(path, text)) return `${path} is torn`
    return null
  }
}

function isWhole(path: string, text: string): boolean {
  if (path.endsWith('.new')) return true
  return path.endsWith('.place') ? text.endsWith('}') : text.endsWith(MAGIC.toString())
}

describe('a cache_dir that crashes', { skip: cannotTrace }, () => {
  const directory = mkdtempSync(join(tmpdir(), 'ovfsd-staging-replay-'))
  after(() => {
    rmSync(directory, { recursive: true, force: true })
  })

  it('has after each of its calls what was staged', (t) => {
    const first = chooseSeed()
    t.diagnostic(`seed ${first}`)
    let crashes = 0
    for (let seed = first; seed < first + PROGRAMS; seed++) {
      const root = join(directory, String(seed))
      mkdirSync(root)
      const acknowledged = new Acknowledged()
      const marksFile = join(directory, `marks-${seed}`)
      const replay = new Replay<StagingMark>(root, marksFile, (mark) => {
        acknowledged.told(mark)
      })
      const events = traceOf({ program: PROGRAM, root, marksFile, seed, rounds: ROUNDS })
      crashes += crashAfterEach(events, replay, new Random(seed), (tree) => {
        const fault = acknowledged.fault(tree)
        return fault === null ? null : `seed ${seed}: ${fault}`
      })
      const present = [...replay.model.present().keys()]
      assert.ok(
        present.some((path) => path.includes('/staged/')),
        'nothing was replayed',
      )
    }
    t.diagnostic(`${crashes} crashes`)
  })
})
