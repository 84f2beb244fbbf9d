// `npm run bench -- s3`: ovfsd on a real Ceph S3 beside s3fs and rclone mount, each handed on by Debian's virtiofsd, and
// beside the binding alone. The same generator drives all of them, in turns.
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { ensureBenchPeers } from '../../scripts/lib/bench-peers.mjs'
import { inRoot } from '../../scripts/lib/paths.mjs'
import { ensureServerPackages } from '../../scripts/lib/servers.mjs'
import { say, SetupError, step } from '../../scripts/lib/steps.mjs'
import { setUp } from '../../scripts/setup.mjs'
import { startOvfsd, virtiofsdProblem } from './daemons.mjs'
import { startPeer } from './fuse-peers.mjs'
import { buildGenerator, Generator } from './generator.mjs'
import { beforeName, isBefore } from './local-daemons.mjs'
import { machine, versions } from './report.mjs'
import { inOwnMountNamespace, withResources } from './resources.mjs'
import { BucketObjects } from './s3-objects.mjs'
import { requestTable, s3Table, s3Versions, summarizeS3 } from './s3-report.mjs'
import { countingDirectory, countRequests, prepareCounting } from './s3-requests.mjs'
import { prepareObjects, S3_WORKS } from './s3-works.mjs'

const USAGE = `usage: npm run bench -- s3 [options]
  --only W,W            only these: ${S3_WORKS.map(({ name }) => name).join(', ')}, requests
  --rounds N            measurements of each, in turns (default 3)
  --file-mib N          size of the large file (default 512)
  --files N             small files (default 500)
  --entries N           entries of the directory whose listing's requests are counted (default 10000)
  --no-peers            ovfsd and the binding alone
  --before DIR          beside the ovfsd of this other checkout, which is built, in place of the peers
  --virtiofsd-threads N --thread-pool-size of the peers' virtiofsd (default 0, as is virtiofsd's own)
  --setting 'K = V'     a line for ovfsd's [ovfsd_settings]; may be repeated
  --profile DIR         ovfsd writes CPU profiles there when it ends
  --json FILE           where the results go (default: bench/build/results/s3-DATE.json)
As root, with /dev/fuse.`

/** The gateway keeps what was deleted for a while, in memory. */
const CEPH_MEMORY_BYTES = 14 * 2 ** 30
const MIB = 2 ** 20
const REQUESTS = 'requests'

function parse(args) {
  const string = { type: 'string' }
  const boolean = { type: 'boolean', default: false }
  const number = (value) => ({ ...string, default: String(value) })
  let values
  try {
    ;({ values } = parseArgs({
      args,
      options: {
        only: string,
        rounds: number(3),
        'file-mib': number(512),
        files: number(500),
        entries: number(10_000),
        'virtiofsd-threads': number(0),
        'no-peers': boolean,
        before: string,
        setting: { ...string, multiple: true, default: [] },
        profile: string,
        json: string,
        help: boolean,
      },
    }))
  } catch (error) {
    throw new SetupError(`${error.message}\n\n${USAGE}`, 2)
  }
  const names = values.only?.split(',') ?? [...S3_WORKS.map(({ name }) => name), REQUESTS]
  const unknown = names.find((name) => name !== REQUESTS && !S3_WORKS.some((work) => work.name === name))
  if (unknown !== undefined) throw new SetupError(`no such measurement: ${unknown}\n\n${USAGE}`, 2)
  for (const name of ['rounds', 'file-mib', 'files', 'entries']) {
    if (!(Number(values[name]) >= 1)) throw new SetupError(`--${name} must be at least 1`, 2)
  }
  // What `create` made is what `unlink` removes.
  if (names.includes('unlink') && !names.includes('create')) names.push('create')
  return { ...values, names, rounds: Number(values.rounds), entries: Number(values.entries) }
}

/**
 * @param {readonly string[]} args of the command line
 * @returns {Promise<object | undefined>} the results, also written to the JSON file; nothing where another process ran it
 */
export async function benchS3(args) {
  const options = parse(args)
  if (options.help) {
    process.stdout.write(`${USAGE}\n`)
    return undefined
  }
  const problem = virtiofsdProblem()
  if (problem !== null) throw new SetupError(problem, 2)
  if (!(await inOwnMountNamespace())) return undefined
  await setUp('build')
  await buildGenerator()
  await ensureServerPackages()
  if (needsPeers(options)) await ensureBenchPeers()
  const loadBefore = os.loadavg()
  const results = await withResources((resources) => measureAll(options, resources))
  return report(options, results, loadBefore)
}

async function measureAll(options, resources) {
  const { startCeph } = await import('../../dist/test/servers/ceph.js')
  const { S3Client } = await import('../../dist/test/servers/clients.js')
  const work = resources.add(mkdtempSync(path.join(os.tmpdir(), 'ovfs-bench-')), (directory) => {
    rmSync(directory, { recursive: true, force: true })
  })
  const ceph = await step('starting Ceph', () => startCeph({ memoryBytes: CEPH_MEMORY_BYTES }))
  resources.add(ceph, () => ceph.stop())
  const context = {
    objects: new BucketObjects(new S3Client(ceph.access)),
    s3Options: s3Options(ceph.access),
    sizeBytes: Number(options['file-mib']) * MIB,
    files: Number(options.files),
  }
  const works = worksOf(options)
  const counts = options.names.includes(REQUESTS)
  await step('making the objects', async () => {
    await prepareObjects(works, options.rounds, context)
    if (counts) await prepareCounting(options.entries, context)
  })
  const samples = await measureWorks(works, options, { ...context, access: ceph.access, work }, resources)
  const requests = counts ? await measureRequests(options, ceph.access, work, resources) : []
  return { works, samples, requests }
}

const needsPeers = (options) => !options['no-peers'] && options.before === undefined

/** Without peers, only ovfsd and the binding; with another checkout only ovfsd and its. */
function worksOf({ names, 'no-peers': alone, before }) {
  return S3_WORKS.filter(({ name }) => names.includes(name)).map((work) => {
    if (before !== undefined) return { ...work, peers: [beforeName(work.ovfsd)], raw: [] }
    return alone ? { ...work, peers: [] } : work
  })
}

function s3Options({ endpoint, bucket, region, accessKeyId, secretAccessKey }) {
  return { endpoint, bucket, region, access_key_id: accessKeyId, secret_access_key: secretAccessKey }
}

const WRITE_BACK = 'enabled_cache_write_back = true'

/** One daemon of the benchmark, by its target's name. */
async function startTarget(name, options, access, work, resources) {
  if (name === 's3fs' || name === 'rclone') {
    return startPeer(name, access, work, Number(options['virtiofsd-threads']), resources)
  }
  const settings = [...options.setting, ...(name.endsWith('ovfsd-wb') ? [WRITE_BACK] : [])]
  const checkout = isBefore(name) ? path.resolve(options.before) : undefined
  const profile = options.profile ? ['--cpu-prof', `--cpu-prof-dir=${path.resolve(options.profile)}`] : []
  const daemon = await startOvfsd(
    { type: 's3', ...s3Options(access) },
    work,
    settings,
    name,
    profile,
    checkout,
  )
  return resources.add(daemon, ({ stop }) => stop())
}

async function measureWorks(works, options, context, resources) {
  const names = new Set(works.flatMap(({ ovfsd, peers }) => [ovfsd, ...peers]))
  const daemons = await step('mounting the bucket', async () => {
    const started = []
    for (const name of names)
      started.push(await startTarget(name, options, context.access, context.work, resources))
    return started
  })
  const generator = resources.add(new Generator(daemons), (running) => running.stop())
  const samples = []
  for (const work of works) {
    const targets = [work.ovfsd, ...work.peers, ...(work.raw ?? [])]
    for (const target of targets) await work.warmUp?.(target, { ...context, generator })
    for (let round = 0; round < options.rounds; round++) {
      // In turns, and not always in the same order: what the machine does at a time hits all alike.
      for (let i = 0; i < targets.length; i++) {
        const target = targets[(round + i) % targets.length]
        const sample = await work.measure(target, round, { ...context, generator })
        samples.push({ work: work.name, target, round, ...sample })
        say(`${work.name} ${round + 1}/${options.rounds} ${target}: ${describe(work, sample)}`)
      }
    }
  }
  return samples
}

function describe({ unit }, { seconds, items, bytes, error }) {
  if (error !== undefined) return `failed: ${error}`
  return unit === 'bytes'
    ? `${(bytes / seconds / 1e6).toFixed(0)} MB/s`
    : `${(items / seconds).toFixed(0)} files/s`
}

/** Daemons of their own, behind proxies that count. */
async function measureRequests(options, access, work, resources) {
  const { startFaultProxy } = await import('../../dist/test/servers/fault-proxy.js')
  const directory = countingDirectory(work)
  const targets = needsPeers(options) ? ['ovfsd', 's3fs'] : ['ovfsd']
  const proxies = {}
  const daemons = []
  for (const target of targets) {
    const proxy = resources.add(await startFaultProxy(access.endpoint), (running) => running.stop())
    proxies[target] = proxy
    const behind = { ...access, endpoint: proxy.endpoint }
    daemons.push(await startTarget(target, { ...options, profile: undefined }, behind, directory, resources))
  }
  const generator = resources.add(new Generator(daemons), (running) => running.stop())
  return step('counting requests', () => countRequests(targets, proxies, generator, options.entries))
}

function report(options, { works, samples, requests }, loadBefore) {
  const date = new Date().toISOString()
  const rows = summarizeS3(works, samples)
  const result = {
    ...{
      date,
      machine: machine(os.tmpdir()),
      versions: { ...versions(), ...s3Versions(needsPeers(options)) },
    },
    ...{ load: { before: loadBefore, after: os.loadavg() }, options, rows, requests, samples },
  }
  const file = path.resolve(
    options.json ?? inRoot('bench/build/results', `s3-${date.slice(0, 19).replaceAll(':', '-')}.json`),
  )
  mkdirSync(path.dirname(file), { recursive: true })
  writeFileSync(file, `${JSON.stringify(result, null, 2)}\n`)
  const tables = [s3Table(rows), requestTable(requests)].filter((text) => text !== '')
  process.stdout.write(`\n${tables.join('\n\n')}\n\nwritten to ${file}\n`)
  return result
}
