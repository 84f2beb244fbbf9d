/** What the experiments are made of, without a guest: configuration, what is read of programs' output, charts. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { parseSettings } from '../../../src/config/index.js'
import type { InterposeRules } from '../../../src/interpose/rules.js'

// dist/test/unit/bench/ -> the repository's root
const root = new URL('../../../../', import.meta.url)
const load = async (file: string): Promise<unknown> => import(new URL(`bench/${file}`, root).href)

interface Point {
  readonly series: string
  readonly configured: number
  readonly measured: number
  readonly without: number
  readonly sigma: number
}
interface Curve {
  readonly name: string
  readonly levels: readonly number[]
  readonly quickLevels: readonly number[]
  readonly rules: (level: number) => object
  readonly jobs: (level: number, seconds: number) => readonly { name: string; options: readonly string[] }[]
}
interface Sample {
  readonly kind: string
  readonly label: string
  readonly round: number
  readonly rates: Readonly<Record<string, number>>
  readonly attempted: number
  readonly failed: number
  readonly messages: readonly string[]
  readonly isSound: boolean
  readonly note: string
}
interface Axis {
  readonly at: (value: number) => number
  readonly ticks: readonly { value: number; label: string }[]
  readonly range: readonly [number, number]
  readonly has: (value: number) => boolean
}

const { axisOf, lineChart } = (await load('lib/line-chart.mjs')) as {
  axisOf: (kind: object, values: readonly number[]) => Axis
  lineChart: (title: string, panels: readonly object[]) => string
}
const { CURVES, curvePoints, deviation, jobFile } = (await load('experiments/curves.mjs')) as {
  CURVES: readonly Curve[]
  curvePoints: (
    curve: Curve,
    level: number,
    jobs: readonly object[],
    without: readonly object[] | null,
  ) => Point[]
  deviation: (point: Point) => number
  jobFile: (jobs: readonly object[], directory: string) => string
}
const { LEVELS, levelsOf } = (await load('experiments/levels.mjs')) as {
  LEVELS: Readonly<Record<string, readonly Interposing[]>>
  levelsOf: (application: string, quick: boolean) => readonly Interposing[]
}
interface Interposing {
  readonly kind: string
  readonly levels: readonly { label: string; rules: object }[]
}
const { configurationText, isAnswer } = (await load('experiments/interposed-daemon.mjs')) as {
  configurationText: (settings: object, profiles: object, interposed: string | null, rules: object) => string
  isAnswer: (line: string) => boolean
}
const { databaseErrors, databaseScript } = (await load('experiments/database.mjs')) as {
  databaseErrors: (said: string) => { inserts: number; selects: number; messages: readonly string[] }
  databaseScript: () => string
}
const { buildErrors } = (await load('experiments/build.mjs')) as {
  buildErrors: (said: string) => { failed: number; messages: readonly string[] }
}
const { secondsOf } = (await load('experiments/timing.mjs')) as {
  secondsOf: (output: string) => { seconds: number; rest: string }
}
const { levelsFound } = (await load('experiments/applications.mjs')) as {
  levelsFound: (samples: readonly Sample[], kind: string) => Omit<Sample, 'round'>[]
}
const { experimentsDocument } = (await load('experiments/experiments-document.mjs')) as {
  experimentsDocument: (result: object) => Promise<Record<string, string>>
}

/** What the daemon makes of a configuration file of the experiments. */
function rulesOf(rules: object): InterposeRules | null | undefined {
  const text = configurationText({ socket_path: '/run/x' }, { curves: { type: 'memory' } }, 'curves', rules)
  return parseSettings(text, 'f').mounts[0]?.interpose
}

describe('the levels of experiments', () => {
  it('are rules that the daemon takes', () => {
    const all = [
      ...CURVES.flatMap(({ levels, quickLevels, rules }) => [...levels, ...quickLevels].map(rules)),
      ...Object.values(LEVELS).flatMap((kinds) =>
        kinds.flatMap(({ levels }) => levels.map(({ rules }) => rules)),
      ),
    ]
    for (const rules of all) assert.ok(rulesOf(rules), JSON.stringify(rules))
    assert.equal(rulesOf({}), null)
    const byName = (name: string): object => CURVES.find((curve) => curve.name === name)?.rules(20) ?? {}
    assert.equal(rulesOf(byName('throttle-bytes'))?.throttle?.readBytes, 20 * 2 ** 20)
    assert.deepEqual(
      rulesOf(byName('delay'))?.delays.map(({ distribution }) => distribution),
      [
        { kind: 'fixed', timeMs: 20 },
        { kind: 'uniform', minMs: 0, maxMs: 40 },
        { kind: 'exponential', meanMs: 20 },
      ],
    )
  })

  it('are fewer in a short run, and some of each interposer', () => {
    for (const name of Object.keys(LEVELS)) {
      assert.deepEqual(
        levelsOf(name, true).map(({ kind, levels }) => [kind, levels.length]),
        [
          ['throttle', 2],
          ['delay', 2],
          ['fault', 2],
        ],
      )
    }
  })

  it('are there when the daemon says so, once, or are refused', () => {
    const said = (changed: readonly string[]): string =>
      JSON.stringify({ level: 30, changed, msg: 'configuration reloaded' })
    assert.ok(isAnswer(said(['curves'])))
    assert.ok(!isAnswer(said([])))
    assert.ok(!isAnswer('{"msg":"interposing: made to misbehave on purpose"}'))
    assert.ok(isAnswer('{"msg":"configuration not reloaded: it has faults, and nothing was changed"}'))
  })
})

describe("the curves' points", () => {
  const curve = (name: string): Curve => {
    const found = CURVES.find((one) => one.name === name)
    assert.ok(found !== undefined)
    return found
  }
  const job = (jobname: string, side: object, errors = 0): object => ({
    ...{ jobname, total_err: errors, 'job options': { rw: jobname === 'writes' ? 'randwrite' : 'randread' } },
    ...(jobname === 'writes' ? { read: {}, write: side } : { read: side, write: {} }),
  })

  it('are what a job has read or written', () => {
    const jobs = [job('reads', { bw_bytes: 2 ** 21 }), job('writes', { bw_bytes: 3 * 2 ** 20 })]
    const points = curvePoints(curve('throttle-bytes'), 4, jobs, jobs)
    assert.deepEqual(
      points.map(({ series, measured, without }) => [series, measured, without]),
      [
        ['reads', 2, 2],
        ['writes', 3, 3],
      ],
    )
    assert.equal(points[0] && deviation(points[0]), -0.5)
  })

  it('are what is added to the latency of reads beside them', () => {
    const side = (ms: number): object => ({ clat_ns: { mean: ms * 1e6 }, total_ios: 100 })
    const jobs = [job('undelayed', side(2)), job('exponential', side(23))]
    const [point, ...others] = curvePoints(curve('delay'), 20, jobs, null)
    assert.deepEqual(others, [])
    assert.deepEqual(point, { series: 'exponential', configured: 20, without: 2, measured: 21, sigma: 2 })
  })

  it('are the part of the requests that failed, and how far chance may move it', () => {
    const [point] = curvePoints(
      curve('fault'),
      0.5,
      [job('writes', { total_ios: 400 }, 100)],
      [job('writes', { total_ios: 400 })],
    )
    assert.deepEqual(point, { series: 'writes', configured: 0.5, without: 0, measured: 0.25, sigma: 0.025 })
  })

  it('come of jobs that are reported one by one', () => {
    const file = jobFile(curve('throttle-bytes').jobs(2, 3), '/mnt/x')
    assert.match(
      file,
      /\[reads\]\nnew_group=1\nfilename=\/mnt\/x\/reads\nrw=randread\nbs=32768\ntime_based=1\nruntime=3000ms\n/,
    )
    assert.equal(file.match(/new_group=1/g)?.length, 2)
  })
})

describe('what applications say', () => {
  it('is which statements failed', () => {
    const lines = databaseScript().trim().split('\n')
    const insert = lines.findIndex((line, i) => i > 0 && line.startsWith('INSERT')) + 1
    const said = `Runtime error near line ${insert}: disk I/O error (10)\nRuntime error near line ${insert + 1}: disk I/O error (10)\nParse error near line 1: database is locked (5)\n`
    assert.deepEqual(databaseErrors(said), {
      ...{ inserts: 2, selects: 1 },
      messages: ['disk I/O error (10)', 'database is locked (5)'],
    })
    assert.match(lines[0] ?? '', /^INSERT INTO rows.*;$/)
  })

  it('is which compilations failed', () => {
    const said = [
      'tcc -c -o main.o main.c',
      "tcc: error: file 'main.c' not found",
      'make: *** [/tmp/Makefile:5: main.o] Error 1',
      'make: stat: module1.o: Input/output error',
      'make: *** [/tmp/Makefile:3: program] Error 1',
      "make: Target 'program' not remade because of errors.",
    ].join('\n')
    assert.deepEqual(buildErrors(said), {
      failed: 2,
      messages: ["file 'main.c' not found", 'Input/output error'],
    })
  })

  it('is how long it took', () => {
    const { seconds, rest } = secondsOf('a\ntimed 1763769600.250000 1763769602.750000\nb\n')
    assert.deepEqual([seconds, rest], [2.5, 'a\nb\n'])
    assert.throws(() => secondsOf('killed'), /no time in:\nkilled/)
  })

  it('is medians of the rates and sums of the failures, from none on', () => {
    const sample = (kind: string, label: string, round: number, rate: number, failed: number): Sample => ({
      ...{ kind, label, round, rates: { rate }, attempted: 10, failed },
      ...{ messages: [], isSound: failed < 5, note: 'ok' },
    })
    const samples = [0, 1].flatMap((round) => [
      sample('none', 'none', round, 10, 0),
      sample('delay', '1 ms', round, 8, 0),
      sample('fault', '1 %', round, 4 + round, 4 + round),
    ])
    const levels = levelsFound(samples, 'fault')
    assert.deepEqual(
      levels.map(({ label, rates, attempted, failed }) => [label, rates['rate'], attempted, failed]),
      [
        ['none', 10, 20, 0],
        ['1 %', 4.5, 20, 9],
      ],
    )
  })
})

describe('a line chart', () => {
  const near = (found: number, wanted: number): void => {
    assert.ok(Math.abs(found - wanted) < 1e-9, `${found} is not ${wanted}`)
  }

  it('has a logarithmic axis between the ticks around its values', () => {
    const axis = axisOf({ kind: 'log' }, [0, 1, 64])
    assert.deepEqual(
      axis.ticks.map(({ label }) => label),
      ['1', '2', '5', '10', '20', '50', '100'],
    )
    near(axis.at(1), 0)
    near(axis.at(10), 0.5)
    near(axis.at(100), 1)
    assert.ok(!axis.has(0))
    const wide = axisOf({ kind: 'log' }, [0.003, 30])
    assert.deepEqual(wide.range.map(Math.log10).map(Math.round), [-3, 2])
    assert.ok(wide.ticks.every(({ value }) => Number.isInteger(Math.round(Math.log10(value) * 1e6) / 1e6)))
  })

  it('has a linear axis from 0 to a tick that is not below its values', () => {
    const axis = axisOf({ kind: 'linear' }, [3, 87])
    assert.deepEqual(
      axis.ticks.map(({ value }) => value),
      [0, 20, 40, 60, 80, 100],
    )
    near(axis.at(50), 0.5)
    assert.equal(axisOf({ kind: 'linear' }, [0]).ticks[0]?.value, 0)
  })

  it('draws every point within it, whatever the values are', () => {
    const series = [
      {
        name: 'a < b',
        points: [
          { x: 1, y: 2, low: -1, high: 3 },
          { x: 1, y: 0 },
        ],
      },
    ]
    for (const kind of ['log', 'linear']) {
      const axis = { kind, label: 'x' }
      const svg = lineChart('title', [{ title: 'panel', x: axis, y: axis, series, ideal: true }])
      assert.doesNotMatch(svg, /NaN|Infinity|undefined/)
      assert.equal(svg.match(/<circle/g)?.length, kind === 'log' ? 1 : 2)
      assert.match(svg, /a &lt; b/)
      const [, width = '', height = ''] = /width="(\d+)" height="(\d+)"/.exec(svg) ?? []
      for (const [, x, y] of svg.matchAll(/cx="(.*?)" cy="(.*?)"/g)) {
        assert.ok(Number(x) > 0 && Number(x) < Number(width), svg)
        assert.ok(Number(y) > 0 && Number(y) < Number(height), svg)
      }
    }
  })
})

describe('the document of experiments', () => {
  it('is made of any of them', async () => {
    const curve = { series: 'reads', configured: 4, measured: 3, without: 90, sigma: 0 }
    const sample = { rates: { seconds: 3 }, attempted: 21, messages: ['Input/output error'], round: 0 }
    const samples = [
      { ...sample, kind: 'none', label: 'none', failed: 0, isSound: true, note: 'the program runs' },
      ...['throttle', 'delay', 'fault'].map((kind) => {
        const [level] = LEVELS['build']?.find((one) => one.kind === kind)?.levels ?? []
        return { ...sample, kind, label: level?.label, failed: 1, isSound: false, note: 'no program' }
      }),
    ]
    const files = await experimentsDocument({
      ...{ date: '2026-01-02T03:04:05Z', minutes: 1, rounds: 1, load: { before: [1], after: [2] } },
      ...{
        machine: { cpu: 'c', cpus: 2, memoryGiB: 4, kernel: 'k' },
        versions: { accelerator: 'tcg', ovfsd: '1' },
      },
      curves: [{ name: 'throttle-bytes', points: [curve] }],
      applications: [{ name: 'build', samples }],
    })
    assert.deepEqual(Object.keys(files).sort(), [
      ...['EXPERIMENTS.md', 'experiments-build.svg', 'experiments-throttle-bytes.svg'],
    ])
    const text = files['EXPERIMENTS.md'] ?? ''
    assert.match(text, /farthest off is reads at 4 MiB\/s: -25\.0 %/)
    assert.match(text, /Something was left broken at: 200\/s\./)
    assert.doesNotMatch(text, /NaN/)
  })
})
