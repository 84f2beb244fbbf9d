// Each interposer by itself: what fio meets in the guest, against what is configured. No request stays in the guest, as its kernel may keep
// nothing of this mount.
import { SetupError } from '../../scripts/lib/steps.mjs'

const KIB = 2 ** 10
const MIB = 2 ** 20
const NS_PER_MS = 1e6
const MS_PER_SECOND = 1000
/** How much of an output that can't be read is shown. */
const SHOWN_CHARACTERS = 2000
/** fio's files are there before: it lays out nothing, and looks up no map of blocks that it has been to. */
export const FILE_BYTES = 64 * MIB
/** One request after the other; the guest's processors are emulated, and threads of one process cost them least. */
const GLOBAL = [
  ...['ioengine=psync', 'thread=1', `size=${FILE_BYTES}`, 'fallocate=none', 'norandommap=1'],
  ...['group_reporting=1', 'randrepeat=1'],
]
/** With this, what the buckets have saved is spent before anything counts. */
const RAMP = 'ramp_time=1s'
/** So many requests a second make a rate even within seconds, and are few enough for an emulated processor. */
const REQUESTS_PER_SECOND = 64
const BLOCK_BYTES = { min: 4 * KIB, max: MIB }
/** Delays are met by so many threads of each distribution, at times of their own: none waits for another's request. */
const DELAY_THREADS = 4
const DELAY_RATE = 10
/** Of exponential delays many are needed until their mean shows. */
const DELAY_SECONDS_FACTOR = 2.5
/** All of a normal distribution but 0.3 %. */
export const SIGMAS = 3

/** A file that no delay is for, read at the same time: what the machine does at a time hits all alike. */
const PLAIN = 'undelayed'

const DISTRIBUTIONS = {
  fixed: (ms) => ({ distribution: 'fixed', time: `${ms}ms` }),
  uniform: (ms) => ({ distribution: 'uniform', min: '0', max: `${2 * ms}ms` }),
  exponential: (ms) => ({ distribution: 'exponential', mean: `${ms}ms` }),
}
/** Spread of one delay, as a part of the mean. */
const SPREADS = { fixed: 0, uniform: 1 / Math.sqrt(3), exponential: 1 }

/**
 * @typedef {{ name: string, options: readonly string[] }} Job of fio; its file has its name
 * @typedef {{ series: string, configured: number, measured: number, without: number, sigma: number }} Point `without`: what was
 *   measured without rules; `sigma`: how far chance alone moves what is measured, one standard deviation
 * @typedef {object} Curve
 * @property {string} name
 * @property {string} title
 * @property {string} unit
 * @property {readonly number[]} levels
 * @property {readonly number[]} quickLevels
 * @property {(level: number) => object} rules see `rulesText`
 * @property {(level: number, seconds: number) => readonly Job[]} jobs
 * @property {(job: object, side: object) => number} value of a job without regard to others
 * @property {string} [beside] the job that has no rules, in the same run: what the others have more is what counts. Else it is all, and
 *   beforehand the last level's jobs run without rules
 * @property {(job: object, side: object, level: number) => number} sigma
 */

/** @type {readonly Curve[]} */
export const CURVES = [
  {
    ...{ name: 'throttle-bytes', title: 'Throttle: bytes a second', unit: 'MiB/s' },
    ...{ levels: [1, 2, 4, 8, 16, 32, 64], quickLevels: [2, 16] },
    rules: (mib) => ({
      throttle: { read_bytes_per_second: `${mib}MiB`, write_bytes_per_second: `${mib}MiB` },
    }),
    jobs: (mib, seconds) => readsAndWrites([`bs=${blockBytes(mib * MIB)}`, ...timed(seconds), RAMP]),
    value: (_job, side) => side.bw_bytes / MIB,
    sigma: () => 0,
  },
  {
    ...{ name: 'throttle-operations', title: 'Throttle: operations a second', unit: 'operations/s' },
    ...{ levels: [20, 50, 100, 200, 500], quickLevels: [50, 200] },
    rules: (rate) => ({ throttle: { read_operations_per_second: rate, write_operations_per_second: rate } }),
    jobs: (_rate, seconds) => readsAndWrites(['bs=4k', ...timed(seconds), RAMP]),
    value: (_job, side) => side.iops,
    sigma: () => 0,
  },
  {
    ...{ name: 'delay', title: 'Delay: what is added to each read', unit: 'ms', beside: PLAIN },
    ...{ levels: [2, 5, 10, 20, 50, 100], quickLevels: [5, 50] },
    rules: (ms) => ({
      delay: Object.entries(DISTRIBUTIONS).map(([name, keys]) => ({
        ...keys(ms),
        operations: ['read'],
        paths: [name],
      })),
    }),
    // As many requests a second with and without delays.
    jobs: (_ms, seconds) =>
      [PLAIN, ...Object.keys(DISTRIBUTIONS)].map((name) => ({
        name,
        options: [
          ...['rw=randread', 'bs=4k', `numjobs=${DELAY_THREADS}`, `rate_iops=${DELAY_RATE}`],
          ...['rate_process=poisson', ...timed(seconds * DELAY_SECONDS_FACTOR)],
        ],
      })),
    value: (_job, side) => side.clat_ns.mean / NS_PER_MS,
    sigma: (job, side, ms) => (SPREADS[job.jobname] * ms) / Math.sqrt(side.total_ios),
  },
  {
    ...{ name: 'fault', title: 'Fault: part of the requests that fail', unit: '' },
    ...{ levels: [0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1], quickLevels: [0.05, 0.5] },
    rules: (probability) => ({ fault: [{ errno: 'EIO', probability, operations: ['read', 'write'] }] }),
    jobs: (_probability, seconds) => readsAndWrites(['bs=4k', ...timed(seconds), 'continue_on_error=all']),
    value: (job, side) => job.total_err / side.total_ios,
    sigma: (_job, side, probability) => Math.sqrt((probability * (1 - probability)) / side.total_ios),
  },
]

const timed = (seconds) => ['time_based=1', `runtime=${seconds * MS_PER_SECOND}ms`]

const readsAndWrites = (options) => [
  { name: 'reads', options: ['rw=randread', ...options] },
  { name: 'writes', options: ['rw=randwrite', ...options] },
]

/** A power of two, since fio's offsets are multiples of it. */
function blockBytes(bytesPerSecond) {
  const power = 2 ** Math.round(Math.log2(bytesPerSecond / REQUESTS_PER_SECOND))
  return Math.min(BLOCK_BYTES.max, Math.max(BLOCK_BYTES.min, power))
}

/** The files that all curves' jobs read and write. */
export const CURVE_FILES = [
  ...new Set(CURVES.flatMap(({ jobs, levels }) => jobs(levels[0], 1).map(({ name }) => name))),
]

/** @param {readonly Job[]} jobs @param {string} directory in the guest, with their files */
export function jobFile(jobs, directory) {
  const sections = jobs.map(({ name, options }) => [
    `[${name}]`,
    ...['new_group=1', `filename=${directory}/${name}`],
    ...options,
  ])
  return `${['[global]', ...GLOBAL, ...sections.flat()].join('\n')}\n`
}

/** @param {string} output of `fio --output-format=json`; lines of text may come before the JSON */
export function jobsOf(output) {
  try {
    return JSON.parse(output.slice(output.indexOf('{\n'))).jobs
  } catch {
    throw new SetupError(`fio gave no results:\n${output.slice(-SHOWN_CHARACTERS)}`)
  }
}

/** What a job says of what it has done. */
const sideOf = (job) => (job['job options'].rw.includes('write') ? job.write : job.read)

/**
 * @param {Curve} curve
 * @param {number} level
 * @param {readonly object[]} jobs of fio's JSON with the rules of the level
 * @param {readonly object[] | null} without of fio's JSON without rules; null where a job beside the others says that
 * @returns {Point[]}
 */
export function curvePoints(curve, level, jobs, without) {
  const { beside, value } = curve
  const valueIn = (all, name) => {
    const job = all.find(({ jobname }) => jobname === name)
    return value(job, sideOf(job))
  }
  return jobs
    .filter(({ jobname }) => jobname !== beside)
    .map((job) => {
      const alone = beside === undefined ? valueIn(without, job.jobname) : valueIn(jobs, beside)
      return {
        ...{ series: job.jobname, configured: level, without: alone },
        measured: value(job, sideOf(job)) - (beside === undefined ? 0 : alone),
        sigma: curve.sigma(job, sideOf(job), level),
      }
    })
}

/** How far what is measured is from what is configured, as a part of that. */
export const deviation = ({ configured, measured }) => measured / configured - 1

/**
 * @param {Curve} curve
 * @param {{ daemon: import('./interposed-daemon.mjs').InterposedDaemon, guest: object, directory: string, profile: string, quick: boolean,
 *   seconds: number, say: (text: string) => void }} context
 * @returns {Promise<{ name: string, points: Point[] }>}
 */
export async function measureCurve(curve, { daemon, guest, directory, profile, quick, seconds, say }) {
  const levels = quick ? curve.quickLevels : curve.levels
  const run = async (level, rules) => {
    await daemon.interpose(profile, rules)
    const file = jobFile(curve.jobs(level, seconds), directory)
    // It ends with a code of its own where a job had errors, as some are meant to.
    const script = `cat > /tmp/jobs <<'END'\n${file}END\nfio --output-format=json --output=/tmp/result /tmp/jobs || true\ncat /tmp/result`
    return jobsOf(await guest.sh(script))
  }
  const without = curve.beside === undefined ? await run(levels.at(-1), {}) : null
  const points = []
  for (const level of levels) {
    const found = curvePoints(curve, level, await run(level, curve.rules(level)), without)
    const shown = found.map(({ series, measured }) => `${series} ${measured.toPrecision(4)}`)
    say(`${curve.name} ${level} ${curve.unit}: ${shown.join(', ')}`)
    points.push(...found)
  }
  await daemon.interpose(profile, {})
  return { name: curve.name, points }
}
