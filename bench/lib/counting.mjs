// `npm run bench -- counting`: what counting and timing requests costs: ovfsd with request_metrics = true and false, in turns.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { SetupError } from '../../scripts/lib/steps.mjs'
import { setUp } from '../../scripts/setup.mjs'
import { startOvfsd } from './daemons.mjs'
import { buildGenerator } from './generator.mjs'
import { generate } from './local.mjs'
import { median } from './report.mjs'
import { withResources } from './resources.mjs'

const USAGE = `usage: npm run bench -- counting [options]
  --only W,W            these measurements (default read-4k@16)
  --rounds N            measurements of each (default 150)
  --seconds S           time of one measurement (default 0.1)
  --files N, --file-mib N, --halt-poll-us N   as of the local measurement (defaults 10, 4)
Three daemons take turns: one that counts and two that do not, whose ratio shows how far chance alone goes.`

const NS_PER_US = 1000
const COUNTING = 'counting'
const PLAIN = 'plain'
const AGAIN = 'plain-again'
const DAEMONS = { [COUNTING]: true, [PLAIN]: false, [AGAIN]: false }

function parse(args) {
  const string = { type: 'string' }
  const number = (value) => ({ ...string, default: String(value) })
  try {
    return parseArgs({
      args,
      options: {
        only: { ...string, default: 'read-4k@16' },
        rounds: number(150),
        seconds: number(0.1),
        files: number(10),
        'file-mib': number(4),
        'halt-poll-us': string,
        help: { type: 'boolean' },
      },
    }).values
  } catch (error) {
    throw new SetupError(`${error.message}\n\n${USAGE}`, 2)
  }
}

/** Of each round, the rate of one daemon divided by another's. */
function ratios(samples, target, to) {
  const rateOf = (name, round) =>
    samples.find((sample) => sample.target === name && sample.round === round).perSecond
  const rounds = [...new Set(samples.map(({ round }) => round))]
  return rounds.map((round) => rateOf(target, round) / rateOf(to, round))
}

/** Half of the values lie between. */
function quartiles(values) {
  const sorted = [...values].sort((a, b) => a - b)
  return [sorted[sorted.length >> 2], sorted[(sorted.length * 3) >> 2]]
}

function line(work, samples, target, to) {
  const all = ratios(samples, target, to)
  const [low, high] = quartiles(all).map((value) => value.toFixed(3))
  const rates = [target, to].map((name) =>
    Math.round(median(samples.filter((sample) => sample.target === name).map(({ perSecond }) => perSecond))),
  )
  return `${work}  ${target} / ${to}: ${median(all).toFixed(4)} (half of ${all.length} rounds: ${low} to ${high}; ${rates.join(' and ')} a second)`
}

/** Of the thread that answers requests. On a busy machine it says more than the rate: who else runs is not in it. */
function processorNs({ pid }) {
  return Number(readFileSync(`/proc/${pid}/task/${pid}/schedstat`, 'utf8').split(' ')[0])
}

/** Of all that a daemon did, reading the files once included. */
function processorTimes(daemons, spent, samples) {
  return daemons
    .map(({ name }, index) => {
      const of = samples.filter(({ target }) => target === name)
      const operations = of.reduce((sum, sample) => sum + sample.operations, 0)
      return `${name} ${(spent[index] / operations / NS_PER_US).toFixed(3)} us`
    })
    .join(', ')
}

/** @param {readonly string[]} args of the command line */
export async function benchCounting(args) {
  const options = parse(args)
  if (options.help) {
    process.stdout.write(`${USAGE}\n`)
    return
  }
  await setUp('build')
  await buildGenerator()
  await withResources(async (resources) => {
    const temporary = () =>
      resources.add(mkdtempSync(path.join(os.tmpdir(), 'ovfs-bench-')), (directory) => {
        rmSync(directory, { recursive: true, force: true })
      })
    const [work, root] = [temporary(), temporary()]
    const daemons = []
    for (const [name, counts] of Object.entries(DAEMONS)) {
      const daemon = await startOvfsd({ type: 'fs', root }, work, [`request_metrics = ${counts}`], name)
      daemons.push(resources.add(daemon, ({ stop }) => stop()))
    }
    // Once through, so that what is made for all daemons by one is not in its processor time.
    await generate({ ...options, rounds: '1' }, daemons)
    const before = daemons.map(processorNs)
    const samples = await generate(options, daemons)
    const spent = daemons.map((daemon, index) => processorNs(daemon) - before[index])
    const failed = samples.find(({ error }) => error !== undefined)
    if (failed !== undefined) throw new SetupError(`${failed.target} ${failed.work}: ${failed.error}`)
    for (const key of new Set(samples.map(({ work: name, depth }) => `${name}@${depth}`))) {
      const of = samples.filter(({ work: name, depth }) => `${name}@${depth}` === key)
      process.stdout.write(`${line(key, of, COUNTING, PLAIN)}\n${line(key, of, AGAIN, PLAIN)}\n`)
    }
    process.stdout.write(`processor time of an operation: ${processorTimes(daemons, spent, samples)}\n`)
  })
}
