// `npm run bench -- report`: every measurement, part by part, and docs/PERFORMANCE.md made of them.
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { parseArgs } from 'node:util'
import { ensureBenchPeers } from '../../scripts/lib/bench-peers.mjs'
import { inRoot } from '../../scripts/lib/paths.mjs'
import { ensureRustVirtiofsd } from '../../scripts/lib/rust-virtiofsd.mjs'
import { ensureServerPackages } from '../../scripts/lib/servers.mjs'
import { say, SetupError } from '../../scripts/lib/steps.mjs'
import { setUp } from '../../scripts/setup.mjs'
import { virtiofsdProblem } from './daemons.mjs'
import { benchGuest } from './guest.mjs'
import { benchLocal } from './local.mjs'
import { benchBinding } from './local-binding.mjs'
import { performanceDocument } from './performance-document.mjs'
import { versions } from './report.mjs'
import { inOwnMountNamespace, withResources } from './resources.mjs'
import { benchS3 } from './s3.mjs'

/**
 * Shorter ones measure how long a daemon takes to touch its cache's pages for the first time. With three rounds the whole report takes
 * some sixteen minutes on two CPUs, a third of them for each of its three kinds.
 */
const DEFAULT_SECONDS = 1

const USAGE = `usage: npm run bench -- report [options]
  --rounds N            measurements of each, in turns (default 3; more of what is short on S3)
  --seconds S           time of one local measurement, and of one in the guest (default ${DEFAULT_SECONDS})
  --file-mib N          size of the large file on S3 (default 512)
  --files N             small files on S3 (default 500)
  --entries N           entries of the directory whose listing's requests are counted (default 10000)
  --only K,K            measure only these (local, write-back, binding, guest, s3) and write no document: what is finished is kept for the next run
  --fresh               measure everything, also what an interrupted run of this commit has finished
  --parts DIR           where finished parts are kept (default: bench/build/report)
  --output DIR          where PERFORMANCE.md and its plots go (default: docs)
As root, with /dev/fuse.`

/** What takes a second or less a round is measured more often: the gateway's pace changes from one to the next. */
const LEAST_ROUNDS = { 'create,unlink': 5, list: 9, 'read-files': 5, 'create-back': 5 }

/** As much as ovfsd's cache has by default: its memory is the kernel's to find when it is touched first, once in a daemon's life. */
const WARM_UP_MIB = 256

/** What is started and measured on S3 at a time. */
const S3_PARTS = ['read', 'write', 'create,unlink', 'list', 'read-files', 'create-back', 'requests']

function parse(args) {
  const string = { type: 'string' }
  const boolean = { type: 'boolean', default: false }
  const number = (value) => ({ ...string, default: String(value) })
  try {
    return parseArgs({
      args,
      options: {
        rounds: number(3),
        seconds: number(DEFAULT_SECONDS),
        'file-mib': number(512),
        files: number(500),
        entries: number(10_000),
        only: string,
        fresh: boolean,
        parts: { ...string, default: inRoot('bench/build/report') },
        output: { ...string, default: inRoot('docs') },
        help: boolean,
      },
    }).values
  } catch (error) {
    throw new SetupError(`${error.message}\n\n${USAGE}`, 2)
  }
}

/** @param {readonly string[]} args of the command line */
export async function benchReport(args) {
  const options = parse(args)
  if (options.help) {
    process.stdout.write(`${USAGE}\n`)
    return
  }
  if (!(await inOwnMountNamespace())) return
  const directory = path.resolve(options.parts)
  if (options.fresh) rmSync(directory, { recursive: true, force: true })
  mkdirSync(directory, { recursive: true })
  await ensureAll()
  const results = await withResources(async (resources) => {
    // No file is removed before the last is made: see `all_measurements` in bench/src/suite.cc.
    const trees = resources.add(mkdtempSync(path.join(os.tmpdir(), 'ovfs-bench-report-')), (made) => {
      rmSync(made, { recursive: true, force: true })
    })
    return measured(chosen(partsOf(options, trees), options.only), directory)
  })
  if (options.only !== undefined) return
  const output = path.resolve(options.output)
  mkdirSync(output, { recursive: true })
  for (const [name, content] of Object.entries(await performanceDocument(results, options))) {
    writeFileSync(path.join(output, name), content)
    say(`written: ${path.join(output, name)}`)
  }
}

/** Before anything is measured: what is fetched or built meanwhile is in the numbers, and a peer that is missing in none. */
async function ensureAll() {
  await setUp('demo')
  await ensureServerPackages()
  await ensureBenchPeers()
  const problem = virtiofsdProblem()
  if (problem !== null) throw new SetupError(problem, 2)
  const withoutRust = await ensureRustVirtiofsd()
  if (withoutRust !== null) say(`the report is made without Rust's virtiofsd: ${withoutRust}`)
}

async function measured(parts, directory) {
  const results = []
  for (const [index, part] of parts.entries()) {
    say(`part ${index + 1} of ${parts.length}: ${part.name}`)
    results.push({ kind: part.kind, ...(await finished(part, path.join(directory, `${part.name}.json`))) })
  }
  return results
}

/** `trees`: a directory for the files of those that are made on the host. */
function partsOf({ rounds, seconds, files, entries, 'file-mib': fileMib }, trees) {
  const s3 = ['--file-mib', fileMib, '--files', files, '--entries', entries]
  const s3Rounds = (only) => String(Math.max(Number(rounds), LEAST_ROUNDS[only] ?? 1))
  const timed = ['--rounds', rounds, '--seconds', seconds]
  const onTrees = (args) => benchLocal([...args, '--directory', trees, '--keep'])
  const binding = () => benchBinding({ rounds, seconds, directory: trees })
  return [
    // Those that remove no files first.
    { kind: 'binding', name: 'local-binding', args: timed, run: binding },
    {
      ...{ kind: 'write-back', name: 'local-write-back', run: onTrees },
      args: [
        ...timed,
        ...['--daemons', 'ovfsd-write-back,virtiofsd,virtiofsd-rs', '--file-mib', String(WARM_UP_MIB)],
        // The read is the warm-up.
        ...['--only', 'read-1m@4,create@1,create@16'],
      ],
    },
    { kind: 'local', name: 'local', args: timed, run: onTrees },
    { kind: 'guest', name: 'guest', args: timed, run: benchGuest },
    ...S3_PARTS.map((only) => ({
      ...{ kind: 's3', name: `s3-${only.replace(',', '-')}`, run: benchS3 },
      args: [...s3, '--rounds', s3Rounds(only), '--only', only],
    })),
  ]
}

function chosen(parts, only) {
  if (only === undefined) return parts
  const kinds = only.split(',')
  const unknown = kinds.find((kind) => !parts.some((part) => part.kind === kind))
  if (unknown !== undefined) throw new SetupError(`no such part of the report: ${unknown}\n\n${USAGE}`, 2)
  return parts.filter(({ kind }) => kinds.includes(kind))
}

/** What an earlier run has finished with the same commit and options, or else what it gives now. */
async function finished({ args, run, name }, file) {
  const key = JSON.stringify([versions().commit, args])
  const before = readPart(file)
  if (before?.key === key) {
    say(`${name} was finished at ${before.result.date}`)
    return before.result
  }
  const result = await run([...args, '--json', `${file}.samples`])
  writeFileSync(file, JSON.stringify({ key, result }))
  return result
}

function readPart(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8'))
  } catch {
    return null
  }
}
