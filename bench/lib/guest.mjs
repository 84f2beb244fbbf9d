// `npm run bench -- guest`: fio and a run like mdtest's in a Linux guest, on the same directory of the host through every daemon.
import { execFileSync } from 'node:child_process'
import { randomFillSync } from 'node:crypto'
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { inRoot } from '../../scripts/lib/paths.mjs'
import { say, SetupError, step } from '../../scripts/lib/steps.mjs'
import { setUp } from '../../scripts/setup.mjs'
import { buildGenerator } from './generator.mjs'
import { BenchGuest } from './guest-machine.mjs'
import {
  FIO_FILE_BYTES,
  FIO_WORKS,
  fioFile,
  fioJobFile,
  fioSamples,
  metadataSamples,
} from './guest-works.mjs'
import { LOCAL_DAEMONS, startLocalDaemons } from './local-daemons.mjs'
import { compare, machine, table, versions } from './report.mjs'
import { withResources } from './resources.mjs'

/** Rust's virtiofsd can be asked for; each daemon costs a third of the time. */
const DEFAULT_DAEMONS = 'ovfsd,ovfsd-passthrough,virtiofsd'

const USAGE = `usage: npm run bench -- guest [options]
  --rounds N            measurements of each, daemons in turns (default 3)
  --seconds S           time of one job of fio (default 1)
  --directories N       directories of the run like mdtest's (default 10)
  --files N             files in each of them (default 20)
  --daemons D,D         these daemons (default ${DEFAULT_DAEMONS}; there are ${LOCAL_DAEMONS.join(', ')})
  --virtiofsd-threads N --thread-pool-size of virtiofsd (default 0)
  --setting 'K = V'     a line for ovfsd's [ovfsd_settings]; may be repeated
  --json FILE           where the results go (default: bench/build/results/guest-DATE.json)
The guest is emulated unless OVFSD_GUEST_ACCEL says kvm.`

/** In less, an emulated processor does too little to count. */
const MIN_SECONDS = 0.1
const METADATA_PROGRAM = 'guest-metadata'
const METADATA_TIMEOUT_MS = 10 * 60_000
/** Beside the seconds that it is asked to run, an emulated processor takes a job of fio some to start. */
const FIO_JOB_MARGIN_MS = 15_000

function parse(args) {
  const string = { type: 'string' }
  const number = (value) => ({ ...string, default: String(value) })
  let values
  try {
    ;({ values } = parseArgs({
      args,
      options: {
        rounds: number(3),
        seconds: number(1),
        directories: number(10),
        files: number(20),
        daemons: { ...string, default: DEFAULT_DAEMONS },
        'virtiofsd-threads': number(0),
        setting: { ...string, multiple: true, default: [] },
        json: string,
        help: { type: 'boolean' },
      },
    }))
  } catch (error) {
    throw new SetupError(`${error.message}\n\n${USAGE}`, 2)
  }
  const numbers = { seconds: Number(values.seconds) }
  if (!(numbers.seconds >= MIN_SECONDS)) throw new SetupError(`--seconds is at least ${MIN_SECONDS}`, 2)
  for (const name of ['rounds', 'directories', 'files']) {
    numbers[name] = Number(values[name])
    if (!Number.isInteger(numbers[name]) || numbers[name] < 1)
      throw new SetupError(`--${name} is a whole number from 1`, 2)
  }
  return { ...values, ...numbers }
}

/**
 * @param {readonly string[]} args of the command line
 * @returns {Promise<object | undefined>} the results, also written to the JSON file
 */
export async function benchGuest(args) {
  const options = parse(args)
  if (options.help) {
    process.stdout.write(`${USAGE}\n`)
    return undefined
  }
  await setUp('demo')
  await buildGenerator()
  const loadBefore = os.loadavg()
  return withResources(async (resources) => {
    const temporary = (prefix) =>
      resources.add(mkdtempSync(path.join(os.tmpdir(), prefix)), (directory) => {
        rmSync(directory, { recursive: true, force: true })
      })
    const work = temporary('ovfs-bench-')
    const directory = temporary('ovfs-bench-tree-')
    const daemons = await startLocalDaemons(options, directory, work, resources)
    prepare(directory, daemons)
    const guest = await step('booting the guest', () => BenchGuest.boot(daemons))
    resources.add(guest, () => guest.close())
    const samples = await measure(guest, options)
    return report(options, samples, daemons, directory, { loadBefore, guestVersions: await guest.versions() })
  })
}

/** What the guest finds in the directory: its program, and for each daemon the file that fio reads and writes. */
function prepare(directory, daemons) {
  copyFileSync(inRoot('bench/build', METADATA_PROGRAM), path.join(directory, METADATA_PROGRAM))
  const content = randomFillSync(Buffer.alloc(FIO_FILE_BYTES))
  for (const { name } of daemons) writeFileSync(path.join(directory, fioFile(name)), content)
}

async function measure(guest, { rounds, seconds, directories, files }) {
  const { targets } = guest
  await guest.sh(`cp ${targets[0].directory}/${METADATA_PROGRAM} /tmp; chmod +x /tmp/${METADATA_PROGRAM}`)
  const samples = []
  for (let round = 0; round < rounds; round++) {
    for (let i = 0; i < targets.length; i++) {
      const { name, directory } = targets[(round + i) % targets.length]
      const own = `${directory}/metadata-${name}-${round}`
      say(`metadata ${round + 1}/${rounds} ${name}`)
      const output = await guest.sh(
        `mkdir ${own}; /tmp/${METADATA_PROGRAM} ${own} ${directories} ${files}`,
        METADATA_TIMEOUT_MS,
      )
      samples.push(...metadataSamples(output, name, round))
    }
    const jobs = fioJobFile(targets, seconds, round)
    const timeoutMs = FIO_WORKS.length * targets.length * (seconds * 1000 + FIO_JOB_MARGIN_MS)
    const output = await step(`fio ${round + 1}/${rounds}`, () =>
      guest.sh(
        `cat > /tmp/jobs <<'END'\n${jobs}END\nfio --output-format=json --output=/tmp/result /tmp/jobs || echo "code $?"; cat /tmp/result`,
        timeoutMs,
      ),
    )
    samples.push(...fioSamples(output, round))
  }
  return samples
}

function report(options, samples, daemons, directory, { loadBefore, guestVersions }) {
  const comparisons = compare(
    samples,
    daemons.map(({ name }) => name),
  )
  const date = new Date().toISOString()
  const [qemu] = execFileSync('qemu-system-x86_64', ['--version'], { encoding: 'utf8' }).split('\n')
  const result = {
    ...{ date, machine: machine(directory), versions: { ...versions(), qemu, ...guestVersions } },
    ...{ load: { before: loadBefore, after: os.loadavg() }, options, comparisons, samples },
  }
  const file = path.resolve(
    options.json ?? inRoot('bench/build/results', `guest-${date.slice(0, 19).replaceAll(':', '-')}.json`),
  )
  mkdirSync(path.dirname(file), { recursive: true })
  writeFileSync(file, `${JSON.stringify(result, null, 2)}\n`)
  const tables = comparisons.map(({ rows, targets }) => table(rows, targets))
  process.stdout.write(`\n${tables.join('\n\n')}\n\nwritten to ${file}\n`)
  return result
}
