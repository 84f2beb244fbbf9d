// `npm run bench -- experiments`: storage that is slow, throttled or faulty on purpose. What fio meets against what is configured, and
// what applications in a guest make of it; docs/EXPERIMENTS.md and its plots are made of the results.
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { execFileSync } from 'node:child_process'
import os from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { compilerRoot, ensureGuestCompiler } from '../../scripts/lib/guest-compiler.mjs'
import { inRoot } from '../../scripts/lib/paths.mjs'
import { ensureServerPackages } from '../../scripts/lib/servers.mjs'
import { say, SetupError, step } from '../../scripts/lib/steps.mjs'
import { setUp } from '../../scripts/setup.mjs'
import { buildGenerator } from '../lib/generator.mjs'
import { BenchGuest } from '../lib/guest-machine.mjs'
import { machine, versions } from '../lib/report.mjs'
import { withResources } from '../lib/resources.mjs'
import { APPLICATIONS, measureApplication } from './applications.mjs'
import { CURVE_FILES, CURVES, FILE_BYTES, measureCurve } from './curves.mjs'
import { experimentsDocument } from './experiments-document.mjs'
import { InterposedDaemon } from './interposed-daemon.mjs'

const NAMES = [...CURVES, ...APPLICATIONS].map(({ name }) => name)
const DEFAULT_ROUNDS = 2
/** Of one point of a curve. */
const CURVE_SECONDS = { usual: 4, quick: 2 }
/** Where the guest mounts the daemon is named after it. */
const MOUNTED = '/mnt/experiments'
const CURVES_PROFILE = 'curves'

const USAGE = `usage: npm run bench -- experiments [options]
  --only NAME,NAME      only these: ${NAMES.join(', ')}
  --rounds N            runs of each application at each level (default ${DEFAULT_ROUNDS})
  --quick               fewer levels, one round, shorter measurements
  --output DIR          where EXPERIMENTS.md and its plots go (default: docs; with --only bench/build/experiments)
  --json FILE           where the results go (default: bench/build/results/experiments-DATE.json)
The guest is emulated unless OVFSD_GUEST_ACCEL says kvm.`

function parse(args) {
  const string = { type: 'string' }
  const boolean = { type: 'boolean', default: false }
  let values
  try {
    ;({ values } = parseArgs({
      args,
      options: { only: string, rounds: string, quick: boolean, output: string, json: string, help: boolean },
    }))
  } catch (error) {
    throw new SetupError(`${error.message}\n\n${USAGE}`, 2)
  }
  const names = values.only?.split(',') ?? NAMES
  const unknown = names.find((name) => !NAMES.includes(name))
  if (unknown !== undefined) throw new SetupError(`no such experiment: ${unknown}\n\n${USAGE}`, 2)
  const rounds = Number(values.rounds ?? (values.quick ? 1 : DEFAULT_ROUNDS))
  if (!Number.isInteger(rounds) || rounds < 1) throw new SetupError('--rounds is a whole number from 1', 2)
  const isWhole = values.only === undefined
  const output = path.resolve(values.output ?? inRoot(isWhole ? 'docs' : 'bench/build/experiments'))
  return { ...values, names, rounds, output }
}

/** @param {readonly string[]} args of the command line */
export async function benchExperiments(args) {
  const options = parse(args)
  if (options.help) {
    process.stdout.write(`${USAGE}\n`)
    return
  }
  const applications = APPLICATIONS.filter(({ name }) => options.names.includes(name))
  const curves = CURVES.filter(({ name }) => options.names.includes(name))
  await setUp('demo')
  await buildGenerator()
  await ensureGuestCompiler()
  const needsStore = applications.some((application) => application.needsStore === true)
  if (needsStore) await ensureServerPackages()
  const loadBefore = os.loadavg()
  const beganAt = Date.now()
  const made = versions()
  const results = await withResources((resources) =>
    measureAll({ ...options, curves, applications, needsStore }, resources),
  )
  const date = new Date()
  const result = {
    ...{ date: date.toISOString(), minutes: (date - beganAt) / 60_000, rounds: options.rounds },
    ...{
      machine: machine(os.tmpdir()),
      versions: { ...made, qemu: qemuVersion(), ...results.versions },
    },
    ...{ load: { before: loadBefore, after: os.loadavg() }, curves: results.curves },
    applications: results.applications,
  }
  await write(result, options)
}

async function measureAll({ curves, applications, needsStore, rounds, quick }, resources) {
  const temporary = (prefix) =>
    resources.add(mkdtempSync(path.join(os.tmpdir(), prefix)), (directory) => {
      rmSync(directory, { recursive: true, force: true })
    })
  const work = temporary('ovfs-experiments-')
  const appsRoot = temporary('ovfs-experiments-apps-')
  for (const { program } of applications) {
    if (program !== undefined) copyFileSync(inRoot('bench/build', program), path.join(appsRoot, program))
  }
  const access = needsStore ? await startStore(resources) : null
  const daemon = await InterposedDaemon.start(work, profilesOf(appsRoot, access))
  resources.add(daemon, ({ running }) => running.stop())
  const guest = await step('booting the guest', () => BenchGuest.boot([daemon.running]))
  resources.add(guest, () => guest.close())
  const context = { daemon, guest, mounted: MOUNTED, appsRoot, rounds, quick, say }
  const found = { curves: [], applications: [], versions: await guest.versions() }
  const directory = `${MOUNTED}/${CURVES_PROFILE}`
  const files = CURVE_FILES.map((name) => `truncate -s ${FILE_BYTES} ${directory}/${name}`)
  if (curves.length > 0) await guest.sh(files.join('\n'))
  const seconds = quick ? CURVE_SECONDS.quick : CURVE_SECONDS.usual
  for (const curve of curves)
    found.curves.push(await measureCurve(curve, { ...context, directory, profile: CURVES_PROFILE, seconds }))
  for (const application of applications)
    found.applications.push(await measureApplication(application, context))
  return found
}

/** The mounts of the daemon, each by its name. @param {object | null} access to the object store */
export function profilesOf(appsRoot, access) {
  return {
    [CURVES_PROFILE]: { type: 'memory', guest_cache: 'none' },
    apps: { type: 'fs', root: appsRoot },
    tools: {
      ...{ type: 'passthrough', root: compilerRoot, read_only: true },
      // Nobody changes it: what a compiler asks of it is soon in the guest, and costs the build nothing.
      ...{ guest_cache: 'always', cache_expiration_time: '1h' },
    },
    ...(access === null ? {} : { objects: { type: 's3', ...access } }),
  }
}

async function startStore(resources) {
  const { startCeph } = await import('../../dist/test/servers/ceph.js')
  const ceph = await step('starting Ceph', () => startCeph())
  resources.add(ceph, () => ceph.stop())
  const { endpoint, bucket, region, accessKeyId, secretAccessKey } = ceph.access
  return { endpoint, bucket, region, access_key_id: accessKeyId, secret_access_key: secretAccessKey }
}

const qemuVersion = () =>
  execFileSync('qemu-system-x86_64', ['--version'], { encoding: 'utf8' }).split('\n', 1)[0]

async function write(result, { output, json }) {
  const file = path.resolve(
    json ??
      inRoot('bench/build/results', `experiments-${result.date.slice(0, 19).replaceAll(':', '-')}.json`),
  )
  mkdirSync(path.dirname(file), { recursive: true })
  writeFileSync(file, `${JSON.stringify(result, null, 2)}\n`)
  say(`written: ${file}`)
  mkdirSync(output, { recursive: true })
  for (const [name, content] of Object.entries(await experimentsDocument(result))) {
    writeFileSync(path.join(output, name), content)
    say(`written: ${path.join(output, name)}`)
  }
}
