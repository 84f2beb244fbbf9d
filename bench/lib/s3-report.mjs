// Medians of the S3 measurements, ovfsd's ratios to the others, and the tables.
import { execFileSync } from 'node:child_process'
import path from 'node:path'
import { peerEnvironment, RCLONE, S3FS } from '../../scripts/lib/bench-peers.mjs'
import { packagesRoot } from '../../scripts/lib/servers.mjs'
import { isBefore } from './local-daemons.mjs'
import { markdownTable, median, medianRatio } from './report.mjs'

/** Every target of a table's columns; ovfsd with write-back stands in ovfsd's column. */
const COLUMNS = ['ovfsd', 's3fs', 'rclone', 'raw', 'raw-new', 'before']

/**
 * Rates by target (bytes or files a second), and as ratios the medians of the rounds' ratios: all of a round met the same
 * machine. `toPeers` is that to the better peer of each round.
 *
 * @param {readonly import('./s3-works.mjs').Work[]} works
 */
export function summarizeS3(works, samples) {
  return works.map((work) => {
    const own = samples.filter((sample) => sample.work === work.name && sample.error === undefined)
    const rateIn = (target, round) => {
      const sample = own.find((candidate) => candidate.target === target && candidate.round === round)
      if (sample === undefined) return null
      return (work.unit === 'bytes' ? sample.bytes : sample.items) / sample.seconds
    }
    const rounds = [...new Set(own.map(({ round }) => round))]
    const ratioTo = (targets) => medianRatio(rounds, rateIn, work.ovfsd, targets)
    const rates = {}
    for (const target of [work.ovfsd, ...work.peers, ...(work.raw ?? [])]) {
      const column = columnOf(target, work)
      rates[column] = median(rounds.map((round) => rateIn(target, round)).filter((rate) => rate !== null))
    }
    const { name, title, unit, goals, limit } = work
    return {
      name,
      title,
      unit,
      goals,
      limit,
      rates,
      toPeers: ratioTo(work.peers),
      toRaw: work.raw?.length > 0 ? ratioTo(work.raw.slice(-1)) : null,
    }
  })
}

function columnOf(target, { ovfsd }) {
  if (isBefore(target)) return 'before'
  return target === ovfsd ? 'ovfsd' : target
}

export function s3Table(rows) {
  const head = ['on S3', ...COLUMNS, 'to the better peer', 'goal', 'to raw', 'goal']
  const lines = rows.map(({ title, unit, rates, goals, toPeers, toRaw }) => [
    title,
    ...COLUMNS.map((column) => (rates[column] ? rateText(unit, rates[column]) : '')),
    ...[ratioText(toPeers), toPeers === null ? '' : String(goals.peers)],
    ...[ratioText(toRaw), toRaw === null ? '' : String(goals.raw ?? '')],
  ])
  return rows.length === 0 ? '' : markdownTable(head, lines)
}

const rateText = (unit, rate) =>
  unit === 'bytes' ? `${(rate / 1e6).toFixed(0)} MB/s` : `${rate.toFixed(0)} files/s`
const ratioText = (ratio) => (ratio === null ? '' : ratio.toFixed(2))

/** Requests of each target; for a number of files, per file. */
export function requestTable(rows) {
  if (rows.length === 0) return ''
  const targets = Object.keys(rows[0].requests)
  const cell = (counts, per) =>
    Object.entries(counts)
      .map(([kind, count]) => `${Number((count / per).toFixed(2))} ${kind}`)
      .join(', ')
  return markdownTable(
    ['requests to the store', ...targets],
    rows.map(({ title, per, requests }) => [
      per === 1 ? title : `${title}, per file`,
      ...targets.map((target) => cell(requests[target], per)),
    ]),
  )
}

export function s3Versions(withPeers) {
  const firstLine = (program, argument, env) =>
    execFileSync(program, [argument], { encoding: 'utf8', env })
      .split('\n')[0]
      .replace(/ \([0-9a-f]{40}\)/, '')
  const gateway = path.join(packagesRoot, 'usr/bin/radosgw')
  const libraries = path.join(packagesRoot, 'usr/lib/x86_64-linux-gnu')
  const ceph = firstLine(gateway, '--version', { LD_LIBRARY_PATH: `${libraries}:${libraries}/ceph` })
  if (!withPeers) return { ceph }
  return {
    ceph,
    s3fs: firstLine(S3FS, '--version', peerEnvironment),
    rclone: firstLine(RCLONE, 'version', peerEnvironment),
  }
}
