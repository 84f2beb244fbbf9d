import assert from 'node:assert/strict'
import { before, describe, it } from 'node:test'
import { ERRNO_BY_NAME } from '../../../src/interpose/errnos.js'
import type { InterposedRequest, Verdict } from '../../../src/interpose/interposer.js'
import { RuleInterposer } from '../../../src/interpose/rule-interposer.js'
import {
  INTERPOSABLE_OPERATIONS,
  type DelayRule,
  type FaultRule,
  type InterposeRules,
} from '../../../src/interpose/rules.js'
import { loadRuleLibraries, type RuleLibraries } from '../../../src/interpose/scope.js'
import { describeRules } from '../../../src/interpose/describe.js'
import { FakeClock } from '../../lib/interpose/fake-clock.js'
import { delay, fault, rules as rulesOf, throttle } from '../../lib/interpose/rules.js'

const EIO = 5
const ENOSPC = 28
const THROTTLE = throttle({ burstMs: 10 })

function request(operation: string, path = 'a/b', sizeBytes = 0): InterposedRequest {
  return { operation, path: () => path, sizeBytes }
}

let libraries: RuleLibraries
before(async () => {
  libraries = await loadRuleLibraries(true)
})

function interposer(rules: Partial<InterposeRules>, clock = new FakeClock()): RuleInterposer {
  return new RuleInterposer(rulesOf(rules), libraries, clock)
}

/** The errnos of so many reads. */
function errnos(rules: readonly FaultRule[], count: number): number[] {
  const one = interposer({ faults: rules })
  return Array.from({ length: count }, () => one.decide(request('read'))?.errno ?? 0)
}

const failures = (list: readonly number[]): number => list.filter((errno) => errno !== 0).length

/** Three standard deviations of so many draws. */
function isNear(found: number, probability: number, draws: number): void {
  const sigma = Math.sqrt(draws * probability * (1 - probability))
  assert.ok(Math.abs(found - draws * probability) <= 3 * sigma, `${found} of ${draws}`)
}

describe('fault rules', () => {
  it('know every error of Linux, and never tell ENOSYS', () => {
    assert.equal(ERRNO_BY_NAME.get('EHWPOISON'), 133)
    assert.equal(ERRNO_BY_NAME.get('EDQUOT'), 122)
    assert.equal(ERRNO_BY_NAME.get('EL2NSYNC'), 45)
    assert.ok(!ERRNO_BY_NAME.has('ENOSYS'))
    assert.equal(new Set(ERRNO_BY_NAME.values()).size, 133 - 3)
  })

  it('make requests fail, with the probability that they have', () => {
    assert.deepEqual(errnos([fault({})], 3), [EIO, EIO, EIO])
    assert.equal(failures(errnos([fault({ probability: 0 })], 1000)), 0)
    const draws = 20_000
    for (const probability of [0.001, 0.1, 0.5, 0.99])
      isNear(failures(errnos([fault({ probability })], draws)), probability, draws)
  })

  it('decide alike for the same seed, otherwise for another, and by themselves', () => {
    const rule = fault({ probability: 0.3, seed: 7 })
    const once = errnos([rule], 500)
    assert.deepEqual(errnos([rule], 500), once)
    assert.notDeepEqual(errnos([{ ...rule, seed: 8 }], 500), once)
    // Two rules of one seed are not one: together they strike more often.
    const both = errnos([rule, { ...rule, errno: 'ENOSPC' }], 500)
    assert.deepEqual(
      both.map((errno) => (errno === EIO ? EIO : 0)),
      once,
    )
    assert.ok(both.includes(ENOSPC))
    // What a rule is not for takes no number from it.
    const one = interposer({ faults: [{ ...rule, operations: ['read'] }] })
    const mixed = once.map(() => {
      assert.equal(one.decide(request('write')), null)
      return one.decide(request('read'))?.errno ?? 0
    })
    assert.deepEqual(mixed, once)
  })

  it('begin after so many requests and end after so many faults', () => {
    assert.deepEqual(errnos([fault({ after: 2, count: 3 })], 7), [0, 0, EIO, EIO, EIO, 0, 0])
    assert.deepEqual(errnos([fault({ count: 0 })], 2), [0, 0])
    assert.equal(failures(errnos([fault({ probability: 0.5, count: 20 })], 1000)), 20)
    assert.deepEqual(errnos([fault({ count: 1 }), fault({ errno: 'ENOSPC' })], 2), [EIO, ENOSPC])
  })

  it('are for operations', () => {
    const one = interposer({ faults: [fault({ operations: ['lookup', 'fsync'] })] })
    const struck = INTERPOSABLE_OPERATIONS.filter((name) => one.decide(request(name)) !== null)
    assert.deepEqual(struck, ['lookup', 'fsync'])
    const all = interposer({ faults: [fault({})], throttle: { ...THROTTLE, otherOperations: 1 } })
    for (const name of ['forget', 'init', 'destroy', 'interrupt', 'release', 'releasedir', 'unknown'])
      assert.equal(all.decide(request(name)), null)
  })

  const globs: [string, string[], string[]][] = [
    ['*.db', ['a.db', '.db'], ['a/b.db', 'a.dbx', '']],
    ['**/*.db', ['a.db', 'a/b/c.db', 'a/.hidden.db'], ['a.db/x', '']],
    ['logs/**', ['logs', 'logs/a', 'logs/a/b', 'logs/.a'], ['log', 'xlogs/a']],
    ['{a,b}/?', ['a/x', 'b/y'], ['c/x', 'a/xx']],
    ['[ab]', ['a', 'b'], ['c', 'ab']],
    ['!a', ['!a'], ['b']],
    ['**', ['', 'a', 'a/b/c'], []],
    ['plain', ['plain'], ['plain/x', 'Plain']],
  ]
  for (const [glob, matching, others] of globs) {
    it(`are for paths: ${glob}`, () => {
      const one = interposer({ faults: [fault({ paths: [glob, 'never/*'] })] })
      const strikes = (path: string): boolean => one.decide(request('open', path)) !== null
      assert.deepEqual(matching.filter(strikes), matching)
      assert.deepEqual(others.filter(strikes), [])
    })
  }

  it('ask for a path only where they need one', () => {
    const asked: string[] = []
    const noting = (operation: string): InterposedRequest => ({
      operation,
      sizeBytes: 0,
      path: () => {
        asked.push(operation)
        return 'x'
      },
    })
    const one = interposer({
      faults: [fault({ operations: ['open'], paths: ['y'] }), fault({ paths: ['**'] })],
    })
    one.decide(noting('read'))
    one.decide(noting('open'))
    assert.deepEqual(asked, ['open'])
  })

  it('make reads and writes short, and never empty', () => {
    const one = interposer({ faults: [fault({ errno: null, short: 0.3, operations: ['read', 'write'] })] })
    const done = [1000, 4096, 3, 1, 0].map((size) => one.decide(request('write', 'a', size)))
    assert.deepEqual(
      done.map((verdict) => [verdict?.errno, verdict?.sizeBytes]),
      [
        [0, 300],
        [0, 1228],
        [0, 1],
        [0, 1],
        [0, 0],
      ],
    )
  })
})

describe('delay rules', () => {
  const delayed = async (rules: readonly DelayRule[], count: number): Promise<number[]> => {
    const clock = new FakeClock()
    const one = interposer({ delays: rules }, clock)
    const startMs = clock.nowMs()
    const waits = Array.from({ length: count }, () => one.decide(request('read'))?.wait ?? null)
    const endMs: number[] = []
    const all = waits.map(async (wait, index) => {
      await wait
      endMs[index] = clock.nowMs() - startMs
    })
    await clock.wind(0)
    await clock.wind(1e7)
    await Promise.all(all)
    return endMs
  }

  it('make requests wait, each for itself', async () => {
    assert.deepEqual(await delayed([delay({ kind: 'fixed', timeMs: 20 })], 3), [20, 20, 20])
    const two = [delay({ kind: 'fixed', timeMs: 20 }), delay({ kind: 'fixed', timeMs: 0.5 })]
    assert.deepEqual(await delayed(two, 2), [20.5, 20.5])
    assert.deepEqual(await delayed([delay({ kind: 'fixed', timeMs: 20 }, { operations: ['write'] })], 1), [0])
  })

  it('are uniformly or exponentially distributed, alike for the same seed', async () => {
    const uniform = await delayed([delay({ kind: 'uniform', minMs: 10, maxMs: 30 })], 500)
    assert.ok(uniform.every((ms) => ms >= 10 && ms < 30))
    const mean = (list: readonly number[]): number => list.reduce((sum, ms) => sum + ms, 0) / list.length
    // 3 sigma: the standard deviation of a uniform distribution is its width / sqrt(12).
    assert.ok(Math.abs(mean(uniform) - 20) < (3 * 20) / Math.sqrt(12 * 500), `${mean(uniform)}`)
    const exponential = await delayed([delay({ kind: 'exponential', meanMs: 20 })], 500)
    assert.ok(Math.abs(mean(exponential) - 20) < (3 * 20) / Math.sqrt(500), `${mean(exponential)}`)
    isNear(exponential.filter((ms) => ms > 20).length, Math.exp(-1), 500)
    assert.deepEqual(await delayed([delay({ kind: 'exponential', meanMs: 20 })], 500), exponential)
    const other = delay({ kind: 'exponential', meanMs: 20 }, { seed: 1 })
    assert.notDeepEqual(await delayed([other], 500), exponential)
  })
})

describe('the rules of a mount together', () => {
  const tenReads = { ...THROTTLE, readOperations: 10 }
  /** What of some requests' waits is over, by their numbers. */
  const follow = (verdicts: readonly (Verdict | null)[]): number[] => {
    const over: number[] = []
    verdicts.forEach((verdict, index) => {
      if (verdict?.wait == null) over.push(index)
      else void verdict.wait.then(() => over.push(index))
    })
    return over
  }

  it('let a request wait for the throttle, then for the delay, then fail', async () => {
    const clock = new FakeClock()
    const delays = [delay({ kind: 'fixed', timeMs: 1000 })]
    const one = interposer({ throttle: tenReads, delays, faults: [fault({ after: 1 })] }, clock)
    const verdicts = [1, 2, 3].map(() => one.decide(request('read')))
    assert.deepEqual(
      verdicts.map((verdict) => verdict?.errno),
      [0, EIO, EIO],
    )
    const over = follow(verdicts)
    // The burst of 10 ms is a tenth of a read: one begins at once, the others 90 and 190 ms later.
    await clock.wind(999)
    assert.deepEqual(over, [])
    await clock.wind(1)
    assert.deepEqual(over, [0])
    await clock.wind(89)
    assert.deepEqual(over, [0])
    await clock.wind(1)
    assert.deepEqual(over, [0, 1])
    await clock.wind(100)
    assert.deepEqual(over, [0, 1, 2])
  })

  for (const way of ['release', 'end'] as const) {
    it(`let all go at once at ${way}, those behind the throttle without their delay`, async () => {
      const clock = new FakeClock()
      const delays = [delay({ kind: 'fixed', timeMs: 3_600_000 })]
      const one = interposer({ throttle: tenReads, delays }, clock)
      const over = follow([1, 2, 3].map(() => one.decide(request('read'))))
      await clock.wind(10)
      assert.deepEqual(over, [])
      one[way]()
      await clock.wind(0)
      assert.deepEqual(over.sort(), [0, 1, 2])
      assert.ok(clock.isIdle)
      const next = one.decide(request('lookup'))
      assert.equal(next === null, way === 'end')
      if (way === 'end') one.giveBack('read', 1)
      else one.end()
    })
  }

  it('are told in words', () => {
    const rules = {
      throttle: { ...THROTTLE, readBytes: 10 << 20, otherOperations: 0.5 },
      delays: [
        delay({ kind: 'fixed', timeMs: 20 }, { operations: ['read', 'open'] }),
        delay({ kind: 'uniform', minMs: 0, maxMs: 1.5 }, { paths: ['a/**', 'b'] }),
        delay({ kind: 'exponential', meanMs: 5 }),
      ],
      faults: [
        fault({ probability: 0.07, after: 3, count: 2 }),
        fault({ errno: null, short: 0.5, operations: ['read'] }),
      ],
    }
    assert.deepEqual(describeRules(rules), [
      'reads are throttled to 10 MiB a second',
      'operations other than reads and writes are throttled to 0.5 a second',
      'read, open operations are delayed by 20 ms',
      'all operations on a/**, b are delayed by 0 to 1.5 ms, uniformly distributed',
      'all operations are delayed by 5 ms on average, exponentially distributed',
      '7 % of all operations fail with EIO, after the first 3, at most 2 times',
      'read operations do only 0.5 of what they are asked for',
    ])
  })
})
