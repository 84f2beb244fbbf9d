// From the generator's lines to medians, a table and a JSON file.
import { execFileSync } from 'node:child_process'
import { readFileSync, statfsSync } from 'node:fs'
import os from 'node:os'
import { inRoot } from '../../scripts/lib/paths.mjs'
import { RUST_VIRTIOFSD, rustVirtiofsdEnvironment } from '../../scripts/lib/rust-virtiofsd.mjs'
import { VIRTIOFSD } from './daemons.mjs'
import { beforeName, isBefore } from './local-daemons.mjs'

/**
 * One line of ovfs-bench.
 *
 * @typedef {{ target: string, work: string, depth: number, round: number, operations: number, seconds: number,
 *   perSecond: number, bytesPerSecond: number, p50Us: number, p99Us: number, flushSeconds: number,
 *   error?: string }} Sample
 */

const DESCRIPTIONS = {
  getattr: 'getattr',
  lookup: 'lookup',
  'read-4k': 'read 4 KiB, random, hot',
  'write-4k': 'write 4 KiB, random',
  'read-1m': 'read 1 MiB, sequential, hot',
  'write-1m': 'write 1 MiB, sequential',
  'open-read-close': 'open + read 4 KiB + close',
  create: 'create + write 4 KiB + close',
  unlink: 'unlink',
  readdirplus: 'readdirplus, entries',
  'metadata-create': 'create + write 4 KiB + close',
  'metadata-stat': 'stat',
  'metadata-read': 'open + read 4 KiB + close',
  'metadata-readdir': 'readdir, entries',
  'metadata-rename': 'rename',
  'metadata-unlink': 'unlink',
  'fio-read-4k': 'fio: read 4 KiB, sequential',
  'fio-write-4k': 'fio: write 4 KiB, sequential',
  'fio-random-read-4k': 'fio: read 4 KiB, random',
  'fio-random-write-4k': 'fio: write 4 KiB, random',
  'fio-read-1m': 'fio: read 1 MiB, sequential',
  'fio-write-1m': 'fio: write 1 MiB, sequential',
  'fio-random-read-1m': 'fio: read 1 MiB, random',
  'fio-random-write-1m': 'fio: write 1 MiB, random',
}

export const describeWork = (work) => DESCRIPTIONS[work] ?? work

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  if (sorted.length === 0) return 0
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
}

/**
 * What is compared with what: each of ovfsd's ways to the same files with all the others' daemons.
 *
 * @param {readonly Sample[]} samples
 * @param {readonly string[]} targets
 * @returns {{ targets: string[], rows: object[] }[]} the first of `targets` is the one whose ratio to the others the rows give
 */
export function compare(samples, targets) {
  const isOurs = (name) => name.startsWith('ovfsd')
  // With an earlier build in their place there are no other peers: each way is compared with itself.
  if (targets.some(isBefore))
    return targets.filter(isOurs).map((name) => {
      const pair = [name, beforeName(name)]
      return { targets: pair, rows: summarize(samples, pair) }
    })
  const peers = targets.filter((name) => !isOurs(name))
  const ours = targets.filter(isOurs)
  const sets = ours.length === 0 ? [peers] : ours.map((name) => [name, ...peers])
  return sets.map((set) => ({ targets: set, rows: summarize(samples, set) }))
}

/**
 * Medians over the rounds, and the median of the rounds' ratios: all daemons of a round met the same machine.
 *
 * @param {readonly Sample[]} samples
 * @param {readonly string[]} targets the first is the one whose ratio to the best of the others in each round is given
 */
export function summarize(samples, targets) {
  const rows = new Map()
  for (const sample of samples) {
    const key = `${sample.work}@${sample.depth}`
    if (!rows.has(key)) rows.set(key, { work: sample.work, depth: sample.depth, samples: [] })
    rows.get(key).samples.push(sample)
  }
  return [...rows.values()].map((row) => summarizeRow(row, targets))
}

function summarizeRow({ work, depth, samples }, targets) {
  const results = {}
  for (const target of targets) {
    const own = samples.filter((sample) => sample.target === target)
    const good = own.filter((sample) => sample.error === undefined)
    const of = (field) => median(good.map((sample) => sample[field]))
    results[target] =
      good.length === 0
        ? { error: own[0]?.error ?? 'not measured' }
        : {
            perSecond: of('perSecond'),
            bytesPerSecond: of('bytesPerSecond'),
            p50Us: of('p50Us'),
            p99Us: of('p99Us'),
            flushSeconds: of('flushSeconds'),
            rounds: good.length,
          }
  }
  const rateIn = (target, round) =>
    samples.find((sample) => sample.target === target && sample.round === round)?.perSecond ?? null
  const rounds = [...new Set(samples.map(({ round }) => round))]
  const [first, ...others] = targets
  return { work, depth, results, ratio: medianRatio(rounds, rateIn, first, others) }
}

/**
 * The median of the rounds' ratios of a target's rate to that of the best of the others; null where no round has both.
 *
 * @param {readonly number[]} rounds
 * @param {(target: string, round: number) => number | null} rateIn null where it failed
 */
export function medianRatio(rounds, rateIn, target, others) {
  const ratios = rounds.flatMap((round) => {
    const rate = rateIn(target, round)
    const best = Math.max(...others.map((other) => rateIn(other, round) ?? 0))
    return rate === null || !(best > 0) ? [] : [rate / best]
  })
  return ratios.length === 0 ? null : median(ratios)
}

/**
 * A Markdown table: rates, the first's ratio to the best of the others (above 1 = it is ahead), latencies where one request
 * was in flight.
 */
export function table(rows, targets) {
  const paired = targets.length > 1
  const head = ['operations/s', 'depth', ...targets, ...(paired ? ['ratio'] : [])]
  head.push(...targets.map((name) => `${name} p50 / p99, us`))
  const lines = rows.map(({ work, depth, results, ratio }) => [
    describeWork(work),
    String(depth),
    ...targets.map((name) => rate(work, results[name])),
    ...(paired ? [ratio === null ? '-' : ratio.toFixed(2)] : []),
    ...targets.map((name) => latency(results[name])),
  ])
  return markdownTable(head, lines)
}

/** Cells as text; the first column to the left, the others to the right. */
export function markdownTable(head, lines) {
  const widths = head.map((title, i) => Math.max(title.length, ...lines.map((line) => line[i].length)))
  const format = (cells) =>
    `| ${cells.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]) : cell.padStart(widths[i]))).join(' | ')} |`
  const rule = `|${widths.map((width, i) => (i === 0 ? '-'.repeat(width + 2) : `${'-'.repeat(width + 1)}:`)).join('|')}|`
  return [format(head), rule, ...lines.map(format)].join('\n')
}

function rate(work, result) {
  if (result.error) return 'failed'
  if (work.endsWith('-1m')) return `${(result.bytesPerSecond / 1e9).toFixed(2)} GB/s`
  return result.perSecond >= 10_000
    ? `${(result.perSecond / 1000).toFixed(0)}k`
    : result.perSecond >= 1000
      ? `${(result.perSecond / 1000).toFixed(1)}k`
      : result.perSecond.toFixed(0)
}

function latency(result) {
  if (result.error || !result.p50Us) return ''
  const format = (us) => (us < 100 ? us.toFixed(1) : us.toFixed(0))
  return `${format(result.p50Us)} / ${format(result.p99Us)}`
}

/** What a FLUSH after the random or sequential writes took: the price of a close, which the rates leave out. Lines. */
export function flushNote(rows, targets) {
  const parts = rows
    .filter(({ work }) => work.startsWith('write-'))
    .map(({ work, depth, results }) => {
      const times = targets.map(
        (name) => `${name} ${((results[name].flushSeconds ?? 0) * 1000).toFixed(1)} ms`,
      )
      return `${work}@${depth}: ${times.join(', ')}`
    })
  return parts.length === 0 ? [] : [`FLUSH after the writes, not in the rates: ${parts.join('; ')}`, '']
}

/** What the numbers depend on. */
export function machine(directory) {
  const cpus = os.cpus()
  return {
    cpu: cpus[0]?.model ?? 'unknown',
    cpus: cpus.length,
    memoryGiB: Math.round(os.totalmem() / 2 ** 30),
    kernel: `${os.type()} ${os.release()}`,
    fileSystemType: `0x${statfsSync(directory).type.toString(16)}`,
  }
}

export function versions() {
  const { version } = JSON.parse(readFileSync(inRoot('package.json'), 'utf8'))
  return {
    ovfsd: version,
    commit: commit(),
    node: process.version,
    virtiofsd: output(VIRTIOFSD, ['--version']).split(',')[0],
    rustVirtiofsd: output(RUST_VIRTIOFSD, ['--version'], rustVirtiofsdEnvironment),
  }
}

/** What is measured and measures: changes of documents are none of it. */
const MEASURED = ['src', 'native', 'bench', 'scripts', 'test', 'package-lock.json']

function commit() {
  const git = (...args) => output('git', ['-C', inRoot(), ...args])
  const isChanged = git('status', '--porcelain', '--', ...MEASURED) !== ''
  return git('log', '-1', '--format=%h', '--', ...MEASURED) + (isChanged ? '-dirty' : '')
}

function output(command, args, env = process.env) {
  try {
    return execFileSync(command, args, { env, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] })
      .trim()
      .replaceAll('\n', ', ')
  } catch {
    return 'unknown'
  }
}
