// What is run in the guest: fio's jobs, a run like mdtest's, and what their output says.
import { SetupError } from '../../scripts/lib/steps.mjs'

/** How a table calls a job, and fio's own words for it. */
const PATTERNS = { read: 'read', write: 'write', 'random-read': 'randread', 'random-write': 'randwrite' }
const BLOCKS = ['4k', '1m']
/** One request at a time by pread and pwrite, several by io_submit: Linux's libaio, which is asynchronous with O_DIRECT only. */
const ENGINES = { 1: 'psync', 16: 'libaio' }
/** Each daemon has a file of its own, so that none meets another's writes. */
export const FIO_FILE_BYTES = 64 << 20
/** As fio's clat percentiles are called in its JSON, in ns. */
const P50 = '50.000000'
const P99 = '99.000000'
const NS_PER_US = 1000
const MS_PER_SECOND = 1000
/** How much of an output that can't be read is shown. */
const SHOWN_CHARACTERS = 2000

export const FIO_WORKS = BLOCKS.flatMap((block) =>
  Object.keys(PATTERNS).flatMap((pattern) =>
    Object.keys(ENGINES).map((depth) => ({ work: `fio-${pattern}-${block}`, pattern, block, depth })),
  ),
)

/**
 * A job file with every work on every target, one after the other. Targets take turns, and not always in the same order: what the
 * machine does at a time hits all alike.
 *
 * @param {readonly { name: string, directory: string }[]} targets where each daemon's files are in the guest
 * @param {number} seconds of one job
 * @param {number} round
 */
export function fioJobFile(targets, seconds, round) {
  const lines = ['[global]', 'direct=1', 'thread=1', 'time_based=1', `runtime=${seconds * MS_PER_SECOND}ms`]
  // The whole file is there: fio lays out nothing, and looks up no map of blocks that it has been to.
  lines.push(`size=${FIO_FILE_BYTES}`, 'fallocate=none', 'norandommap=1')
  for (const { work, pattern, block, depth } of FIO_WORKS) {
    for (let i = 0; i < targets.length; i++) {
      const { name, directory } = targets[(round + i) % targets.length]
      lines.push(`[${name}/${work}/${depth}]`, 'stonewall', `filename=${directory}/${fioFile(name)}`)
      lines.push(`rw=${PATTERNS[pattern]}`, `bs=${block}`, `ioengine=${ENGINES[depth]}`, `iodepth=${depth}`)
    }
  }
  return `${lines.join('\n')}\n`
}

export const fioFile = (target) => `fio-${target}`

/**
 * @param {string} output of `fio --output-format=json`; lines of text may come before the JSON
 * @param {number} round
 * @returns {import('./report.mjs').Sample[]}
 */
export function fioSamples(output, round) {
  return jobsOf(output).map((job) => {
    const [target, work, depth] = job.jobname.split('/')
    const sample = { target, work, depth: Number(depth), round }
    if (job.error !== 0) return { ...sample, error: `fio ended with errno ${job.error}` }
    const {
      total_ios: operations,
      runtime,
      iops,
      bw_bytes: bytesPerSecond,
      clat_ns: latency,
    } = job[work.includes('write') ? 'write' : 'read']
    const rates = { operations, seconds: runtime / MS_PER_SECOND, perSecond: iops, bytesPerSecond }
    // With several in flight a latency says how many they are.
    return sample.depth > 1 ? { ...sample, ...rates } : { ...sample, ...rates, ...percentiles(latency) }
  })
}

function jobsOf(output) {
  try {
    return JSON.parse(output.slice(output.indexOf('{'))).jobs
  } catch {
    throw new SetupError(`fio gave no results:\n${output.slice(-SHOWN_CHARACTERS)}`)
  }
}

const percentiles = ({ percentile }) => ({
  p50Us: percentile[P50] / NS_PER_US,
  p99Us: percentile[P99] / NS_PER_US,
})

/**
 * @param {string} output of guest-metadata
 * @param {string} target
 * @param {number} round
 * @returns {import('./report.mjs').Sample[]}
 */
export function metadataSamples(output, target, round) {
  return output
    .trim()
    .split('\n')
    .map((line) => {
      const { work, operations, seconds } = JSON.parse(line)
      const rates = { operations, seconds, perSecond: operations / seconds }
      return { target, work: `metadata-${work}`, depth: 1, round, ...rates }
    })
}
