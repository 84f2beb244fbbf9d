// docs/PERFORMANCE.md and its plots, from the results of all parts.
import { existsSync, readFileSync } from 'node:fs'
import { format, resolveConfig } from 'prettier'
import { inRoot } from '../../scripts/lib/paths.mjs'
import { describeWork, flushNote, median, table } from './report.mjs'
import { requestTable, s3Table } from './s3-report.mjs'
import { ratioBars } from './svg.mjs'

/**
 * @param {readonly object[]} parts results of `benchLocal`, `benchGuest` and `benchS3`, each with its `kind`
 * @returns {Promise<Record<string, string>>} contents by file name
 */
export async function performanceDocument(parts, options) {
  const local = parts.filter(({ kind }) => kind === 'local')
  const binding = parts.filter(({ kind }) => kind === 'binding')
  const writeBack = parts.filter(({ kind }) => kind === 'write-back')
  const guest = parts.filter(({ kind }) => kind === 'guest')
  const s3 = parts.filter(({ kind }) => kind === 's3')
  const s3Rows = s3.flatMap(({ rows }) => rows)
  const file = inRoot('docs/PERFORMANCE.md')
  const text = [
    '# Performance',
    'Made by `npm run bench -- report`; [bench/README.md](../bench/README.md) says how it is measured.',
    conditions(parts, options),
    ...s3Section(s3Rows, s3, options),
    ...local.flatMap(localSection),
    ...writeBack.flatMap(writeBackSection),
    ...binding.flatMap(bindingSection),
    ...guest.flatMap(guestSection),
    ...largeDirectories(file),
  ].join('\n\n')
  return {
    'PERFORMANCE.md': await format(text, { ...(await resolveConfig(file)), filepath: file }),
    'performance-s3.svg': ratioBars('S3: rate of ovfsd to the better peer (line: goal)', s3Bars(s3Rows)),
    'performance-local.svg': ratioBars(
      'Host directory: rate of ovfsd to the better virtiofsd',
      comparisonBars(local),
    ),
    'performance-guest.svg': ratioBars('In a guest: rate of ovfsd to virtiofsd', comparisonBars(guest)),
  }
}

/** The section that is made by `npm run bench -- listing`, as it is: it is measured apart. */
function largeDirectories(file) {
  const text = existsSync(file) ? readFileSync(file, 'utf8') : ''
  const start = text.indexOf('## Large directories')
  return start < 0 ? [] : [text.slice(start).trimEnd()]
}

/** The machine, the versions, and how busy the machine was. */
function conditions(parts, { rounds }) {
  const [first] = parts
  const { cpu, cpus, memoryGiB, kernel } = first.machine
  const all = Object.assign({}, ...parts.map((part) => part.versions))
  const dates = parts.map(({ date }) => date.slice(0, 10)).sort()
  const loads = parts.flatMap(({ load }) => [load.before[0], load.after[0]])
  const period = dates[0] === dates.at(-1) ? dates[0] : `${dates[0]} to ${dates.at(-1)}`
  const rust = all.rustVirtiofsd === 'unknown' ? undefined : `Rust's ${all.rustVirtiofsd}`
  return [
    `- ${period}, ovfsd ${all.ovfsd}, commit ${all.commit}, Node.js ${all.node}`,
    `- ${cpus} CPUs (${cpu}), ${memoryGiB} GiB, ${kernel}`,
    `- ${[all.virtiofsd, rust, all.s3fs, all.rclone, all.ceph].filter(Boolean).join('; ')}`,
    `- medians; rounds: ${rounds}, and more of what is short on S3; load of the machine between ${Math.min(...loads).toFixed(1)} and ${Math.max(...loads).toFixed(1)} (generator, daemons and servers share its CPUs: compare ratios)`,
  ].join('\n')
}

function s3Section(rows, parts, options) {
  const missed = rows.filter(
    ({ toPeers, toRaw, goals }) =>
      (toPeers !== null && toPeers < goals.peers) || (toRaw !== null && toRaw < goals.raw),
  )
  return [
    '## On S3',
    `A file of ${options['file-mib']} MiB, ${options.files} files of 30 KB one at a time, on Ceph's gateway. The peers are mounts on the host that Debian's virtiofsd hands on; "raw" is OpenDAL's binding alone; "raw-new" is the same on the condition that nobody has made the object meanwhile, on which ovfsd stores new files. Ratios are medians of the rounds' own.`,
    '![ratios on S3](performance-s3.svg)',
    s3Table(rows),
    missed.length === 0
      ? 'Every goal is reached.'
      : `Below a goal, and what the time goes to:\n\n${missed.map(({ title, limit }) => `- ${title}: ${limit}`).join('\n')}`,
    '### Requests',
    requestTable(parts.flatMap(({ requests }) => requests)),
  ].filter((text) => text !== '')
}

function s3Bars(rows) {
  return rows
    .filter(({ toPeers }) => toPeers !== null)
    .map(({ title, toPeers, goals }) => ({ label: title, ratio: toPeers, goal: goals.peers }))
}

function localSection({ comparisons }) {
  const [objects, passthrough] = bothOf(comparisons)
  return [
    '## On a directory of the host',
    `Beside Debian's virtiofsd and Rust's ("virtiofsd-rs") on the same directory. The ratio is that to the better of the two in each round; the median of the ratios is ${medianOfRatios(objects)}.`,
    '![ratios on a host directory](performance-local.svg)',
    ...comparisonTable(objects),
    '`create` and `unlink` take longer on host directories of `type = "fs"`: every file is fsynced before close returns, which virtiofsd does not do, and each takes a hop to a thread where virtiofsd makes a few system calls on the spot.',
    '### Pass-through',
    `The same directory as \`type = "passthrough"\`, which keeps nothing in a cache of its own and, as virtiofsd, leaves it to the guest when data are fsynced. The median of the ratios is ${medianOfRatios(passthrough)}.`,
    ...comparisonTable(passthrough),
  ].filter((text) => text !== '')
}

function writeBackSection({ comparisons: [{ rows, targets }] }) {
  const created = rows.filter(({ work }) => work === 'create')
  return [
    '### With write-back',
    'New files of `type = "fs"` with `enabled_cache_write_back`: close waits for no disk, and the cleaner stores them later, as it is with the others. The daemons have read a file of 256 MiB before, so that no cache takes its memory from the kernel meanwhile.',
    table(created, targets),
  ]
}

function bindingSection({ rows }) {
  return [
    "### Beside OpenDAL's binding alone",
    'New files of `type = "fs"`, and the `write` of OpenDAL\'s binding on the same directory, which neither syncs a file nor replaces it as a whole.',
    table(rows, ['ovfsd', 'binding']),
  ]
}

/** Those of ovfsd as `type = "fs"` and as `type = "passthrough"`. */
const bothOf = (comparisons) =>
  ['ovfsd', 'ovfsd-passthrough'].map((name) => comparisons.find(({ targets }) => targets[0] === name))

const comparisonTable = ({ rows, targets }) => [table(rows, targets), ...flushNote(rows, targets)]

const medianOfRatios = ({ rows }) =>
  median(rows.map(({ ratio }) => ratio).filter((ratio) => ratio !== null)).toFixed(2)

function guestSection({ comparisons, versions, options }) {
  const [objects, passthrough] = bothOf(comparisons)
  const { guestKernel, fio, qemu, accelerator } = versions
  const processors =
    accelerator === 'tcg'
      ? "Its processors are emulated in software (TCG): absolute numbers are the emulator's, and its own work is most of each operation."
      : `Its processors are virtualised (${accelerator}).`
  return [
    '## In a guest',
    `The same kind of directory, mounted by Linux ${guestKernel} under ${qemu}, one device for each daemon. ${processors} ${fio} with O_DIRECT on a file of 64 MiB, ${options.seconds} s a job, psync at depth 1 and libaio at 16; before them a run like mdtest's over ${options.directories} directories of ${options.files} files, with the guest's caches dropped before each phase. Beside Debian's virtiofsd; the median of the ratios is ${medianOfRatios(objects)}.`,
    '![ratios in a guest](performance-guest.svg)',
    table(objects.rows, objects.targets),
    `And \`type = "passthrough"\`; the median of the ratios is ${medianOfRatios(passthrough)}.`,
    table(passthrough.rows, passthrough.targets),
  ]
}

function comparisonBars(parts) {
  return parts
    .flatMap(({ comparisons }) => comparisons[0].rows)
    .filter(({ ratio }) => ratio !== null && ratio > 0)
    .map(({ work, depth, ratio }) => ({ label: `${describeWork(work)}, depth ${depth}`, ratio }))
}
