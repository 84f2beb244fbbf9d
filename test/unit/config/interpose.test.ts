import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { ConfigError, diffSettings, parseSettings, type Settings } from '../../../src/config/index.js'

const HEAD = `[ovfsd_settings]
socket_path = "/tmp/s"
[profiles.m]
type = "memory"
mount_point = "m"
`
const HEAD_LINES = 5

function parse(tables: string): Settings {
  return parseSettings(HEAD + tables, 'f')
}

function rulesOf(tables: string): Settings['mounts'][number]['interpose'] | undefined {
  return parse(tables).mounts[0]?.interpose
}

/** Without the file's name; lines are those of the tables. */
function faultsOf(tables: string): string[] {
  try {
    parse(tables)
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    return error.problems.map(
      ({ line = 0, keyPath, message }) =>
        `${line - HEAD_LINES}: ${keyPath.replace('profiles.m.interpose', '')}: ${message}`,
    )
  }
  return []
}

const FAULT = '[[profiles.m.interpose.fault]]\n'
const DELAY = '[[profiles.m.interpose.delay]]\n'
const THROTTLE = '[profiles.m.interpose.throttle]\n'

describe('[profiles.NAME.interpose]', () => {
  it('is null where there is nothing to do', () => {
    assert.equal(rulesOf(''), null)
    assert.equal(rulesOf('[profiles.m.interpose]\n'), null)
  })

  it('has defaults', () => {
    const scope = { operations: null, paths: null, seed: 0 }
    assert.deepEqual(
      rulesOf(`${FAULT}errno = "EIO"\n${DELAY}time = "1500us"\n${THROTTLE}read_bytes_per_second = "1KiB"`),
      {
        faults: [{ errno: 'EIO', short: null, probability: 1, after: 0, count: null, ...scope }],
        delays: [{ distribution: { kind: 'fixed', timeMs: 1.5 }, ...scope }],
        throttle: {
          ...{ readBytes: 1024, writeBytes: null, readOperations: null, writeOperations: null },
          ...{ otherOperations: null, burstMs: 100 },
        },
      },
    )
  })

  it('takes every key', () => {
    const fault = `errno = "ENOSPC"\nprobability = 0.25\noperations = ["write", "create", "write"]\npaths = ["a/**"]\nseed = 4294967295\nafter = 1\ncount = 2\n`
    const short = 'short = 0.5\n'
    const uniform =
      'distribution = "uniform"\nmin = "0"\nmax = "1h"\noperations = ["read"]\npaths = ["*"]\nseed = 1\n'
    const exponential = 'distribution = "exponential"\nmean = "1us"\n'
    const throttle =
      'read_bytes_per_second = "10MiB"\nwrite_bytes_per_second = "1MB"\nread_operations_per_second = 0.5\n' +
      'write_operations_per_second = 100\nother_operations_per_second = 1\nburst = "1s"'
    const rules = rulesOf(
      FAULT + fault + FAULT + short + DELAY + uniform + DELAY + exponential + THROTTLE + throttle,
    )
    assert.deepEqual(rules, {
      faults: [
        {
          ...{ errno: 'ENOSPC', short: null, probability: 0.25, after: 1, count: 2 },
          ...{ operations: ['write', 'create'], paths: ['a/**'], seed: 2 ** 32 - 1 },
        },
        {
          ...{ errno: null, short: 0.5, probability: 1, after: 0, count: null },
          ...{ operations: ['read', 'write'], paths: null, seed: 0 },
        },
      ],
      delays: [
        {
          distribution: { kind: 'uniform', minMs: 0, maxMs: 3_600_000 },
          ...{ operations: ['read'], paths: ['*'], seed: 1 },
        },
        { distribution: { kind: 'exponential', meanMs: 0.001 }, operations: null, paths: null, seed: 0 },
      ],
      throttle: {
        ...{ readBytes: 10 << 20, writeBytes: 1e6, readOperations: 0.5, writeOperations: 100 },
        ...{ otherOperations: 1, burstMs: 1000 },
      },
    })
    // Tables in one line are the same.
    assert.deepEqual(rulesOf('interpose = { fault = [{ errno = "EIO" }] }'), rulesOf(`${FAULT}errno = "EIO"`))
  })

  const bad: [string, string, RegExp][] = [
    ['interpose = 1', '1: :', /expected the tables fault, delay and throttle, found the number 1/],
    ['[profiles.m.interpose]\nfalt = 1', '2: .falt:', /unknown key; did you mean "fault"\?/],
    ['[profiles.m.interpos]\nx = 1', '1: profiles.m.interpos:', /did you mean "interpose"\?/],
    ['[profiles.m.interpose.fault]\nerrno = "EIO"', '1: .fault:', /double brackets/],
    [
      `${FAULT}errno = "EIO"\n${FAULT}errno = "EOI"`,
      '4: .fault.1.errno:',
      /expected the name of an error.*did you mean "EIO"/,
    ],
    [`${FAULT}errno = "ENOSYS"`, '2: .fault.0.errno:', /take "EOPNOTSUPP"/],
    [`${FAULT}errno = 5`, '2: .fault.0.errno:', /found the number 5/],
    [FAULT, '1: .fault.0:', /needs either errno/],
    [`${FAULT}errno = "EIO"\nshort = 0.5`, '1: .fault.0:', /needs either errno/],
    [`${FAULT}short = 1`, '2: .fault.0.short:', /above 0 and below 1/],
    [
      `${FAULT}short = 0.5\noperations = ["read", "open"]`,
      '3: .fault.0.operations:',
      /"open" can't be short/,
    ],
    [
      `${FAULT}errno = "EIO"\nprobability = 1.1`,
      '3: .fault.0.probability:',
      /1.1 is out of range; allowed is 0 to 1/,
    ],
    [`${FAULT}errno = "EIO"\nprobability = "0.5"`, '3: .fault.0.probability:', /write 0.5 without quotes/],
    [`${FAULT}errno = "EIO"\nprobability = nan`, '3: .fault.0.probability:', /expected a number/],
    [
      `${FAULT}errno = "EIO"\noperations = ["forget"]`,
      '3: .fault.0.operations:',
      /"forget" is no operation that can/,
    ],
    [`${FAULT}errno = "EIO"\noperations = ["raed"]`, '3: .fault.0.operations:', /did you mean "read"/],
    [`${FAULT}errno = "EIO"\noperations = []`, '3: .fault.0.operations:', /is empty/],
    [`${FAULT}errno = "EIO"\noperations = "read"`, '3: .fault.0.operations:', /expected a list/],
    [`${FAULT}errno = "EIO"\npaths = ["/a"]`, '3: .fault.0.paths:', /begins with "\/"/],
    [`${FAULT}errno = "EIO"\npaths = ["a", ""]`, '3: .fault.0.paths:', /matches nothing/],
    [`${FAULT}errno = "EIO"\npaths = ["(a|b)+"]`, '3: .fault.0.paths:', /parenthesis/],
    [`${FAULT}errno = "EIO"\npaths = ["*a*a*a*a"]`, '3: .fault.0.paths:', /too many wildcards/],
    [`${FAULT}errno = "EIO"\npaths = ["**/a/**/b/**"]`, '3: .fault.0.paths:', /too many wildcards/],
    [`${FAULT}errno = "EIO"\nseed = -1`, '3: .fault.0.seed:', /out of range/],
    [`${FAULT}errno = "EIO"\nafter = 1.5`, '3: .fault.0.after:', /whole number/],
    [`${FAULT}errno = "EIO"\nevery = 1`, '3: .fault.0.every:', /unknown key; known are/],
    [`${DELAY}distribution = "fixed"`, '1: .delay.0.time:', /is missing.*time = "20ms"/],
    [
      `${DELAY}distribution = "normal"`,
      '2: .delay.0.distribution:',
      /expected "fixed", "uniform" or "exponential"/,
    ],
    [`${DELAY}time = "20ms"\nmean = "1s"`, '3: .delay.0.mean:', /has no meaning with distribution = "fixed"/],
    [`${DELAY}distribution = "uniform"\nmin = "2s"\nmax = "1s"`, '3: .delay.0.min:', /more than max/],
    [`${DELAY}time = 20`, '2: .delay.0.time:', /needs a unit/],
    [`${DELAY}time = "2h"`, '2: .delay.0.time:', /out of range/],
    [`${THROTTLE}burst = "1s"`, '1: .throttle:', /limits nothing/],
    [`${THROTTLE}read_bytes_per_second = 10`, '2: .throttle.read_bytes_per_second:', /out of range/],
    [`${THROTTLE}read_operations_per_second = 0`, '2: .throttle.read_operations_per_second:', /out of range/],
    [
      `${THROTTLE}read_bytes_per_second = "1MiB"\nburst = "1ms"`,
      '3: .throttle.burst:',
      /1ms is out of range/,
    ],
    [`${THROTTLE}read_bytes = 10`, '2: .throttle.read_bytes:', /unknown key/],
    [`[[profiles.m.interpose.throttle]]\nburst = "1s"`, '1: .throttle:', /found an array/],
  ]
  for (const [tables, place, message] of bad) {
    it(`tells what is wrong with ${JSON.stringify(tables.split('\n').slice(-2).join(' '))}`, () => {
      const [first = '', ...others] = faultsOf(tables)
      assert.ok(first.startsWith(place), first)
      assert.match(first, message)
      assert.deepEqual(others, [])
    })
  }

  it('takes no more than 64 rules of a kind', () => {
    const rules = (count: number): string => `${FAULT}errno = "EIO"\n`.repeat(count)
    assert.equal(rulesOf(rules(64))?.faults.length, 64)
    assert.match(faultsOf(rules(65))[0] ?? '', /has 65 rules; 64 are the most/)
  })

  it('is checked in profiles that are not enabled too', () => {
    const text = `${HEAD}[profiles.s]\ntype = "s3"\nmount_point = "s"\n[profiles.s.interpose.throttle]\n`
    const off = text.replace('socket_path', 'enabled_services = "memory"\nsocket_path')
    assert.throws(() => parseSettings(off, 'f'), /profiles\.s\.interpose\.throttle: limits nothing/)
  })

  it('changes a mount and removes none', () => {
    const diff = diffSettings(parse(''), parse(`${FAULT}errno = "EIO"`))
    assert.deepEqual([diff.added, diff.removed, diff.mountsNeedRestart], [[], [], []])
    assert.deepEqual(
      diff.changed.map(({ after }) => after.interpose?.faults.length),
      [1],
    )
    assert.deepEqual(diffSettings(parse(`${FAULT}errno = "EIO"`), parse(`${FAULT}errno = "EIO"`)).changed, [])
  })
})
