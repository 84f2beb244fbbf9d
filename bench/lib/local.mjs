// `npm run bench -- local`: ovfsd beside both virtiofsds, on the same directory and the same work, in turns.
import { spawn } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { createInterface } from 'node:readline'
import { inRoot } from '../../scripts/lib/paths.mjs'
import { run, say, SetupError } from '../../scripts/lib/steps.mjs'
import { setUp } from '../../scripts/setup.mjs'
import { BENCH, buildGenerator, targetArguments } from './generator.mjs'
import { LOCAL_DAEMONS, startLocalDaemons, USUAL_DAEMONS } from './local-daemons.mjs'
import { compare, flushNote, machine, table, versions } from './report.mjs'
import { withResources } from './resources.mjs'

const USAGE = `usage: npm run bench -- [local] [options]
  --only W,W            only these measurements, as getattr,read-4k or getattr@16
  --seconds S           time of one measurement (default 1)
  --halt-poll-us N      look at the used ring this long before sleeping, with several in flight (default 50)
  --rounds N            measurements of each, daemons in turns (default 3)
  --files N             small files taken in turn (default 1000)
  --file-mib N          size of the file read and written (default 64)
  --directory DIR       where the tree of files is made (default: a temporary directory)
  --keep                leave the tree there
  --json FILE           where the results go (default: bench/build/results/DATE.json)
  --daemons D,D         only these daemons: ${LOCAL_DAEMONS.join(', ')} (default: all but ovfsd-write-back)
  --virtiofsd-threads N --thread-pool-size of both virtiofsds (default 0)
  --before DIR          beside the ovfsd of this other checkout, which is built, in place of the peers
  --setting 'K = V'     a line for ovfsd's [ovfsd_settings]; may be repeated
  --daemon-socket PATH  measure the daemon that listens there, and start none
  --base DIR            with --daemon-socket: work below this directory of its root
  --list                print the measurements' names`

function parse(args) {
  const string = { type: 'string' }
  const boolean = { type: 'boolean' }
  try {
    return parseArgs({
      args,
      options: {
        only: string,
        seconds: string,
        rounds: string,
        files: string,
        'halt-poll-us': string,
        'file-mib': string,
        directory: string,
        json: string,
        'virtiofsd-threads': { ...string, default: '0' },
        daemons: { ...string, default: USUAL_DAEMONS.join(',') },
        before: string,
        setting: { ...string, multiple: true, default: [] },
        'daemon-socket': string,
        base: { ...string, default: '' },
        list: boolean,
        keep: boolean,
        help: boolean,
      },
    }).values
  } catch (error) {
    throw new SetupError(`${error.message}\n\n${USAGE}`, 2)
  }
}

/** Run the generator; resolves to its samples. */
export async function generate(options, daemons) {
  const args = targetArguments(daemons)
  for (const name of ['only', 'seconds', 'rounds', 'files', 'file-mib', 'halt-poll-us']) {
    if (options[name] !== undefined) args.push(`--${name}`, options[name])
  }
  const child = spawn(BENCH, args, { stdio: ['ignore', 'pipe', 'pipe'] })
  const samples = []
  let lastWords = ''
  createInterface({ input: child.stdout }).on('line', (line) => {
    samples.push(JSON.parse(line))
  })
  createInterface({ input: child.stderr }).on('line', (line) => {
    lastWords = line
    say(line)
  })
  const code = await new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (exitCode, signal) => {
      resolve(exitCode ?? signal)
    })
  })
  if (code !== 0) {
    const logs = daemons.map(({ name, log }) => `--- ${name} said:\n${log()}`).join('\n')
    throw new SetupError(`the load generator failed: ${lastWords}\n${logs}`, code === 2 ? 2 : 1)
  }
  return samples
}

function report(options, samples, daemons, directory, loadBefore) {
  const targets = daemons.map(({ name }) => name)
  const comparisons = compare(samples, targets)
  const date = new Date().toISOString()
  const result = {
    ...{ date, machine: machine(directory), versions: versions() },
    ...{ load: { before: loadBefore, after: os.loadavg() }, options, comparisons, samples },
  }
  const file = path.resolve(
    options.json ?? inRoot('bench/build/results', `${date.slice(0, 19).replaceAll(':', '-')}.json`),
  )
  mkdirSync(path.dirname(file), { recursive: true })
  writeFileSync(file, `${JSON.stringify(result, null, 2)}\n`)

  const { cpu, cpus, memoryGiB, kernel } = result.machine
  const lines = [
    '',
    `${date.slice(0, 10)}; ${cpus} CPUs (${cpu}), ${memoryGiB} GiB, ${kernel}, Node.js ${process.version}; medians`,
    ...comparisons.flatMap((comparison) => [
      '',
      table(comparison.rows, comparison.targets),
      '',
      ...flushNote(comparison.rows, comparison.targets),
    ]),
    `written to ${file}`,
  ]
  process.stdout.write(`${lines.join('\n')}\n`)
  for (const { target, work, depth, error } of samples.filter((sample) => sample.error !== undefined)) {
    process.stdout.write(`failed: ${target} ${work}@${depth}: ${error}\n`)
  }
  // Other work on the machine's CPUs is in the numbers.
  if (loadBefore[0] > 0.5)
    process.stdout.write(`the machine was not idle: load ${loadBefore[0].toFixed(2)}\n`)
  return result
}

/**
 * @param {readonly string[]} args of the command line
 */
export async function benchLocal(args) {
  const options = parse(args)
  if (options.help) {
    process.stdout.write(`${USAGE}\n`)
    return
  }
  await setUp('build')
  await buildGenerator()
  if (options.list) {
    process.stdout.write((await run(BENCH, ['--list'])).stdout)
    return
  }
  const parent = path.resolve(options.directory ?? os.tmpdir())
  mkdirSync(parent, { recursive: true })
  const loadBefore = os.loadavg()
  return withResources(async (resources) => {
    const temporary = (prefix) =>
      resources.add(mkdtempSync(prefix), (directory) => {
        rmSync(directory, { recursive: true, force: true })
      })
    const work = temporary(path.join(os.tmpdir(), 'ovfs-bench-'))
    const tree = path.join(parent, 'ovfs-bench-tree-')
    const directory = options.keep ? mkdtempSync(tree) : temporary(tree)
    const daemons = await startLocalDaemons(options, directory, work, resources)
    const samples = await generate(options, daemons)
    return report(options, samples, daemons, directory, loadBefore)
  })
}
