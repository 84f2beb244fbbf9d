// `npm run bench -- counting`: what counting and timing requests costs: one ovfsd that does it in turns, see counting-in-turns.mjs.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { pathToFileURL } from 'node:url'
import { parseArgs } from 'node:util'
import { inRoot } from '../../scripts/lib/paths.mjs'
import { SetupError } from '../../scripts/lib/steps.mjs'
import { setUp } from '../../scripts/setup.mjs'
import { startOvfsd } from './daemons.mjs'
import { buildGenerator } from './generator.mjs'
import { generate } from './local.mjs'
import { median } from './report.mjs'
import { withResources } from './resources.mjs'

const USAGE = `usage: npm run bench -- counting [options]
  --only W              this measurement (default read-4k@16)
  --seconds S, --rounds N, --files N, --file-mib N, --halt-poll-us N   as of the local measurement (defaults 1, 30, 10, 4)`

const PROBE = pathToFileURL(inRoot('bench/lib/counting-in-turns.mjs'))

function parse(args) {
  const string = { type: 'string' }
  const number = (value) => ({ ...string, default: String(value) })
  try {
    return parseArgs({
      args,
      options: {
        only: { ...string, default: 'read-4k@16' },
        rounds: number(30),
        seconds: number(1),
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

/** Durations of the spans, ms; every other one counted, from the first. NaN: it was interrupted. */
function readSpans(file) {
  const { buffer, byteOffset, length } = readFileSync(file)
  return new Float64Array(buffer.slice(byteOffset, byteOffset + length))
}

/** Of each span from `first` on, every other one, the duration of the one `distance` behind it divided by its own: rates, as bursts are as many. */
function ratios(spans, first, distance) {
  const all = []
  for (let i = first; i + distance < spans.length; i += 2) all.push(spans[i + distance] / spans[i])
  return all.filter((ratio) => !Number.isNaN(ratio))
}

/** Half of the values lie between. */
function quartiles(values) {
  const sorted = [...values].sort((a, b) => a - b)
  return [sorted[sorted.length >> 2], sorted[(sorted.length * 3) >> 2]]
}

function line(title, values) {
  const [low, high] = quartiles(values).map((value) => value.toFixed(3))
  return `  ${title}: ${median(values).toFixed(4)} (half of ${values.length} between ${low} and ${high})`
}

function report(work, spans, samples) {
  const rate = Math.round(median(samples.map(({ perSecond }) => perSecond)))
  return [
    `${work}, ${rate} a second, rates of a span of time and the next one`,
    line('counting / not counting', ratios(spans, 0, 1)),
    line('not counting / not counting', ratios(spans, 1, 2)),
  ].join('\n')
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
    const file = path.join(work, 'spans')
    const probe = new URL(PROBE)
    probe.searchParams.set('spans', file)
    const daemon = await startOvfsd({ type: 'fs', root }, work, [], 'ovfsd', [`--import=${probe}`])
    resources.add(daemon, ({ stop }) => stop())
    const samples = await generate(options, [daemon])
    const failed = samples.find(({ error }) => error !== undefined)
    if (failed !== undefined) throw new SetupError(`${failed.work}: ${failed.error}`)
    await daemon.stop()
    process.stdout.write(`${report(options.only, readSpans(file), samples)}\n`)
  })
}
