/** How the benchmark makes figures of samples: bench/lib, which is JavaScript, so its shapes are given here. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'

// dist/test/unit/bench/ -> the repository's root
const root = new URL('../../../../', import.meta.url)

interface Sample {
  readonly target: string
  readonly work: string
  readonly depth: number
  readonly round: number
  readonly perSecond?: number
  readonly p50Us?: number
  readonly bytesPerSecond?: number
  readonly error?: string
}
interface Row {
  readonly work: string
  readonly ratio: number | null
  readonly results: Readonly<Record<string, { readonly perSecond?: number; readonly error?: string }>>
}
interface Comparison {
  readonly targets: readonly string[]
  readonly rows: readonly Row[]
}

const { compare, table } = (await import(new URL('bench/lib/report.mjs', root).href)) as {
  compare: (samples: readonly Sample[], targets: readonly string[]) => Comparison[]
  table: (rows: readonly Row[], targets: readonly string[]) => string
}
const { fioJobFile, fioSamples, metadataSamples } = (await import(
  new URL('bench/lib/guest-works.mjs', root).href
)) as {
  fioJobFile: (
    targets: readonly { name: string; directory: string }[],
    seconds: number,
    round: number,
  ) => string
  fioSamples: (output: string, round: number) => Sample[]
  metadataSamples: (output: string, target: string, round: number) => Sample[]
}
const { lastError } = (await import(new URL('scripts/lib/rust-virtiofsd.mjs', root).href)) as {
  lastError: (output: string) => string
}

/** One sample of each target in each round. */
const samplesOf = (rates: Readonly<Record<string, readonly (number | null)[]>>): Sample[] =>
  Object.entries(rates).flatMap(([target, rounds]) =>
    rounds.map((perSecond, round) => {
      const sample = { target, work: 'getattr', depth: 1, round }
      return perSecond === null ? { ...sample, error: 'getattr: EIO' } : { ...sample, perSecond }
    }),
  )

describe("the benchmark's comparisons", () => {
  it("take the median of the rounds' ratios to the better peer of each round", () => {
    const samples = samplesOf({
      ovfsd: [100, 200, 300],
      virtiofsd: [50, 400, 100],
      'virtiofsd-rs': [200, 100, 100],
    })
    const [comparison] = compare(samples, ['ovfsd', 'virtiofsd', 'virtiofsd-rs'])
    assert.equal(comparison?.rows[0]?.ratio, 0.5)
    assert.equal(comparison.rows[0].results['virtiofsd']?.perSecond, 100)
  })

  it('give each way of ovfsd a table of its own, with the same peers', () => {
    const samples = samplesOf({ ovfsd: [10], 'ovfsd-passthrough': [30], virtiofsd: [20] })
    const comparisons = compare(samples, ['ovfsd', 'ovfsd-passthrough', 'virtiofsd'])
    assert.deepEqual(
      comparisons.map(({ targets, rows }) => [targets, rows[0]?.ratio]),
      [
        [['ovfsd', 'virtiofsd'], 0.5],
        [['ovfsd-passthrough', 'virtiofsd'], 1.5],
      ],
    )
  })

  it('leave out rounds that failed, and have no ratio without a peer', () => {
    const [failed] = compare(samplesOf({ ovfsd: [10, null], virtiofsd: [20, 1] }), ['ovfsd', 'virtiofsd'])
    assert.equal(failed?.rows[0]?.ratio, 0.5)
    const alone = compare(samplesOf({ daemon: [10] }), ['daemon'])
    assert.equal(alone[0]?.rows[0]?.ratio, null)
    const [never] = compare(samplesOf({ ovfsd: [10], virtiofsd: [null] }), ['ovfsd', 'virtiofsd'])
    assert.equal(never?.rows[0]?.ratio, null)
    assert.match(table(never.rows, never.targets), /\| getattr +\| +1 \| +10 \| +failed \| +- \|/)
  })
})

describe("the guest's works", () => {
  const targets = [
    { name: 'ovfsd', directory: '/mnt/ovfsd/bench' },
    { name: 'virtiofsd', directory: '/mnt/virtiofsd' },
  ]

  it('are a job of fio for each daemon, one after the other, in another order in the next round', () => {
    const names = (round: number): string[] =>
      fioJobFile(targets, 0.5, round)
        .split('\n')
        .filter((line) => line.startsWith('[') && line !== '[global]')
    const file = fioJobFile(targets, 0.5, 0)
    assert.match(file, /^runtime=500ms$/m)
    assert.equal(names(0).length, 4 * 2 * 2 * targets.length)
    assert.equal(file.split('stonewall').length - 1, names(0).length)
    assert.deepEqual(names(0).slice(0, 2), ['[ovfsd/fio-read-4k/1]', '[virtiofsd/fio-read-4k/1]'])
    assert.deepEqual(names(1).slice(0, 2), ['[virtiofsd/fio-read-4k/1]', '[ovfsd/fio-read-4k/1]'])
    assert.match(
      file,
      /\[virtiofsd\/fio-random-write-1m\/16\]\nstonewall\nfilename=\/mnt\/virtiofsd\/fio-virtiofsd\nrw=randwrite\nbs=1m\nioengine=libaio\niodepth=16\n/,
    )
  })

  it("become samples of fio's JSON", () => {
    const side = (iops: number): object => ({
      ...{ total_ios: iops, runtime: 1000, iops, bw_bytes: iops * 4096 },
      clat_ns: { percentile: { '50.000000': 2000, '99.000000': 9000 } },
    })
    const job = (jobname: string, error = 0): object => ({ jobname, error, read: side(10), write: side(20) })
    const jobs = [job('ovfsd/fio-read-4k/1'), job('ovfsd/fio-random-write-4k/16'), job('v/fio-read-1m/1', 5)]
    const samples = fioSamples(`note: both iodepth >= 1\n${JSON.stringify({ jobs })}`, 2)
    assert.deepEqual(samples, [
      {
        ...{ target: 'ovfsd', work: 'fio-read-4k', depth: 1, round: 2, operations: 10, seconds: 1 },
        ...{ perSecond: 10, bytesPerSecond: 40960, p50Us: 2, p99Us: 9 },
      },
      {
        ...{ target: 'ovfsd', work: 'fio-random-write-4k', depth: 16, round: 2, operations: 20, seconds: 1 },
        ...{ perSecond: 20, bytesPerSecond: 81920 },
      },
      { target: 'v', work: 'fio-read-1m', depth: 1, round: 2, error: 'fio ended with errno 5' },
    ])
  })

  it('say what fio printed where that are no results', () => {
    assert.throws(() => fioSamples('fio: engine libaio not loadable\n', 0), {
      name: 'SetupError',
      message: 'fio gave no results:\nfio: engine libaio not loadable\n',
    })
  })

  it('become samples of lines of phases', () => {
    const lines =
      '{"work":"create","operations":10,"seconds":0.5}\n{"work":"stat","operations":10,"seconds":2}\n'
    assert.deepEqual(
      metadataSamples(lines, 'ovfsd', 1).map(({ work, perSecond }) => [work, perSecond]),
      [
        ['metadata-create', 20],
        ['metadata-stat', 5],
      ],
    )
  })
})

describe("building Rust's virtiofsd", () => {
  it("fails with cargo's first error, in one line", () => {
    const output =
      '   Compiling libc\nerror: linking with `cc` failed\n  |\nerror: could not compile\n\ncargo\nfailed'
    assert.equal(lastError(output), 'error: linking with `cc` failed')
    assert.equal(lastError('cannot run cargo: ENOENT'), 'cannot run cargo: ENOENT')
  })
})
