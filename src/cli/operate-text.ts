/** The daemon's answers as text for people. */
import type { MountView, StatusView } from '../control/views.js'
import type { Flushed } from '../fs/flush.js'
import type { Invalidated } from '../fs/invalidate.js'
import type { Group, Profile } from './profile.js'
import type { Rates, RequestRates } from './rates.js'
import {
  bytesText,
  durationText,
  printable,
  rateText,
  shareText,
  table,
  uptimeText,
  type Column,
} from './table.js'

export function statusText(status: StatusView): string[] {
  const { frontEnd, cache, memory, lastReload } = status
  const rows: (readonly [string, string])[] = [
    ['version', status.version],
    ['pid', String(status.pid)],
    ['up', uptimeText(status.uptimeSeconds)],
    ['configuration', status.configFile ?? 'none: the command line says all'],
    ['socket', status.socketPath ?? 'an inherited descriptor'],
    ['front-end', frontEndText(frontEnd)],
    ['mounts', String(status.mounts)],
    ['memory', `${bytesText(memory.residentBytes)} resident`],
    ['cache', `${bytesText(cache.usedBytes)} of ${bytesText(cache.sizeBytes)} in use`],
    ['unsaved', `${bytesText(cache.dirtyBytes)} of ${cache.dirtyFiles} files`],
    ['lost', lossesText(status.losses)],
    ['log level', status.logLevel],
    ['access log', status.accessLog ?? 'none'],
    ['last reload', lastReload === null ? 'none' : reloadText(lastReload)],
    ...status.staged.map((staged) => ['staged', stagedText(staged)] as const),
  ]
  const width = Math.max(...rows.map(([name]) => name.length))
  return rows.map(([name, value]) => `${name.padEnd(width)}  ${printable(value)}`)
}

function lossesText({ lostFiles, conflicts }: StatusView['losses']): string {
  const parts = [
    ...(lostFiles > 0 ? [`data of ${filesText(lostFiles)}`] : []),
    ...(conflicts > 0 ? [`${filesText(conflicts)} in conflict, kept elsewhere`] : []),
  ]
  return parts.length === 0 ? 'nothing' : parts.join(', ')
}

function filesText(count: number): string {
  return count === 1 ? '1 file' : `${count} files`
}

function stagedText(staged: StatusView['staged'][number]): string {
  const { owner, isClaimed, files, bytes, conflicts, broken, directory } = staged
  const counts = [`${files} files of ${bytesText(bytes)}`]
  if (conflicts > 0) counts.push(`${conflicts} conflicts`)
  if (broken > 0) counts.push(`${broken} broken`)
  const whose = owner === null ? 'of an unknown profile' : `of ${owner.profile} (${owner.type})`
  return `${counts.join(', ')} ${whose}${isClaimed ? '' : ', which no mount stores'}, in ${directory}`
}

function frontEndText({ connected, mounted }: StatusView['frontEnd']): string {
  if (!connected) return 'not connected'
  return mounted ? 'connected, the guest has mounted' : 'connected, not mounted'
}

function reloadText({ time, cause, outcome, detail }: NonNullable<StatusView['lastReload']>): string {
  return `${time} ${outcome} (${cause})${detail === null ? '' : `: ${detail}`}`
}

const MOUNT_COLUMNS: readonly Column[] = [
  ...[{ title: 'MOUNT' }, { title: 'TYPE' }, { title: 'AT' }, { title: 'ACCESS' }, { title: 'STATE' }],
  ...[
    { title: 'UNSAVED', isNumber: true },
    { title: 'FILES OPEN', isNumber: true },
    { title: 'REQUESTS', isNumber: true },
    { title: 'ERRORS', isNumber: true },
  ],
]

const STATES: Readonly<Record<MountView['state'], string>> = {
  ready: 'ready',
  unavailable: 'not available yet',
  away: 'does not answer',
  removed: 'being removed',
}

/** Errors stand below the table: they are long. */
export function mountsText(mounts: readonly MountView[]): string[] {
  const rows = mounts.map((mount) => [
    ...[mount.name, mount.type, printable(mount.mountPoint)],
    ...[mount.readOnly ? 'read-only' : 'read-write', STATES[mount.state], bytesText(mount.dirtyBytes)],
    ...[mount.openFiles, mount.requests, mount.errors].map(String),
  ])
  const faults = mounts.filter(({ error }) => error !== null)
  return [
    ...table(MOUNT_COLUMNS, rows),
    ...faults.map(({ name, error }) => `${name}: ${printable(error ?? '')}`),
    ...mounts.flatMap(remarksOf),
  ]
}

/** What a person should look at. */
function remarksOf(mount: MountView): string[] {
  const { name, lostFiles, conflicts, losses, unlistable, conditions, proxy } = mount
  const looks = Object.entries(conditions ?? {}).filter(([, kind]) => kind === 'look')
  return [
    ...(lostFiles + conflicts > 0 ? [`${name}: lost ${lossesText(mount)}`] : []),
    ...losses.map(({ path, kind, error, keptAs }) => {
      const where = keptAs === null ? '' : `; kept as ${keptAs}`
      return printable(`${name}:   ${path}: ${kind === 'lost' ? 'lost' : 'conflict'}: ${error}${where}`)
    }),
    ...(proxy === null ? [] : [printable(`${name}: requests go through the proxy ${proxy}`)]),
    ...(unlistable > 0 ? [`${name}: ${unlistable} names that no file can have are left out`] : []),
    ...(looks.length > 0
      ? [
          `${name}: the store does not keep conditions itself, so it is looked right before: ${looks.map(([what]) => what).join(', ')}`,
        ]
      : []),
  ]
}

export function flushText({ files, failed, failures }: Flushed): string[] {
  const stored = `${files - failed} of ${files} files with unsaved data were stored`
  return [stored, ...failures.map(({ path, mount, errno }) => `${printable(path)} (${mount}): ${errno}`)]
}

export function invalidateText(result: Invalidated): string[] {
  const { path, mounts, passthrough, inodes, bytes, unsavedFiles } = result
  const kept = unsavedFiles === 0 ? '' : `; ${unsavedFiles} files keep their unsaved data`
  return [
    ...(mounts.length === 0 && passthrough.length > 0
      ? []
      : [`${printable(path)}: ${inodes} names and ${bytesText(bytes)} of data forgotten${kept}`]),
    ...passthrough.map((name) => `${name}: nothing is kept of a pass-through mount`),
  ]
}

// ---- rates

/** Of `stats`: groups, and what is below each. */
const STATS_COLUMNS: readonly (readonly [string, readonly (readonly [string, number])[]])[] = [
  [
    'usage',
    [
      ['cpu', 6],
      ['mem', 8],
      ['unsaved', 8],
    ],
  ],
  [
    'fuse',
    [
      ['ops', 7],
      ['errs', 5],
      ['lat', 8],
      ['read', 10],
      ['write', 10],
    ],
  ],
  [
    'cache',
    [
      ['hit', 6],
      ['disk', 6],
      ['evict', 6],
    ],
  ],
  [
    'backend',
    [
      ['ops', 6],
      ['lat', 8],
      ['get', 10],
      ['put', 10],
    ],
  ],
]

export function statsHeader(): string[] {
  const groups = STATS_COLUMNS.map(([title, columns]) => {
    const width = columns.reduce((sum, [, size]) => sum + size + 1, -1)
    const left = Math.floor((width - title.length) / 2)
    return `${'-'.repeat(left)}${title}${'-'.repeat(width - title.length - left)}`
  })
  const names = STATS_COLUMNS.map(([, columns]) =>
    columns.map(([name, size]) => name.padStart(size)).join(' '),
  )
  return [groups.join(' '), names.join('|')]
}

export function statsLine(rates: Rates): string {
  const { requests, backend } = rates
  const cells = [
    [shareText(rates.cpuShare), bytesText(rates.residentBytes), bytesText(rates.dirtyBytes)],
    [
      ...[rateText(requests.perSecond), rateText(requests.errorsPerSecond), durationText(requests.meanUs)],
      ...[bytesText(requests.readBytesPerSecond), bytesText(requests.writtenBytesPerSecond)],
    ],
    [shareText(rates.hitRatio), shareText(rates.diskTierHitRatio), rateText(rates.evictionsPerSecond)],
    [
      ...[rateText(backend.perSecond), durationText(backend.meanUs)],
      ...[bytesText(backend.readBytesPerSecond), bytesText(backend.writtenBytesPerSecond)],
    ],
  ]
  return STATS_COLUMNS.map(([, columns], group) =>
    columns.map(([, size], index) => (cells[group]?.[index] ?? '').padStart(size)).join(' '),
  ).join('|')
}

const RATE_COLUMNS: readonly Column[] = [
  ...['OPS/S', 'ERR/S', 'MEAN', 'P99 <', 'READ/S', 'WRITE/S'].map((title) => ({ title, isNumber: true })),
]

function rateCells(rates: RequestRates): string[] {
  return [
    ...[rateText(rates.perSecond), rateText(rates.errorsPerSecond)],
    ...[durationText(rates.meanUs), durationText(rates.p99Us)],
    ...[bytesText(rates.readBytesPerSecond), bytesText(rates.writtenBytesPerSecond)],
  ]
}

/** A picture of `top`, at most `rowsMax` lines. */
export function topText(rates: Rates, mounts: readonly MountView[], rowsMax: number): string[] {
  const { requests } = rates
  const head =
    `ovfsd  cpu ${shareText(rates.cpuShare)}  mem ${bytesText(rates.residentBytes)}  ` +
    `unsaved ${bytesText(rates.dirtyBytes)}  ops/s ${rateText(requests.perSecond)}  cache hits ${shareText(rates.hitRatio)}`
  const byMount = mounts.map((mount) => {
    const own = rates.mounts.find((other) => other.mount === mount.name)
    const cells = own === undefined ? [] : rateCells(own)
    return [mount.name, STATES[mount.state], String(mount.openFiles), bytesText(mount.dirtyBytes), ...cells]
  })
  const mountTable = table(
    [
      ...[{ title: 'MOUNT' }, { title: 'STATE' }],
      ...[{ title: 'OPEN', isNumber: true }, { title: 'UNSAVED', isNumber: true }, ...RATE_COLUMNS],
    ],
    byMount,
  )
  const operationTable = table(
    [{ title: 'MOUNT' }, { title: 'OPERATION' }, ...RATE_COLUMNS],
    rates.operations.map((each) => [each.mount, each.operation, ...rateCells(each)]),
  )
  return [head, '', ...mountTable, '', ...operationTable].slice(0, rowsMax)
}

// ---- profile

export function profileText(profile: Profile): string[] {
  const { by, all, others, groups, otherGroups } = profile
  const rest = others === null ? [] : [row(`(${otherGroups} others)`, others, all)]
  const lines = table(
    [
      { title: by.toUpperCase() },
      ...['COUNT', 'ERRORS', 'BYTES', 'TOTAL', 'SHARE', 'MEAN', 'MAX'].map((title) => ({
        title,
        isNumber: true,
      })),
    ],
    [...groups.map((group) => row(printable(group.key), group, all)), ...rest, row('(all)', all, all)],
  )
  return [
    ...lines,
    ...(profile.isApproximate
      ? [
          'There were too many groups to keep apart: small ones are among the others, and one that came again counts from then on.',
        ]
      : []),
    ...(profile.unreadable > 0 ? [`${profile.unreadable} lines are none of an access log.`] : []),
    ...(profile.dropped > 0 ? [`${profile.dropped} requests came too fast to be seen.`] : []),
  ]
}

function row(name: string, group: Group, all: Group): string[] {
  return [
    ...[name, String(group.count), String(group.errors), bytesText(group.bytes)],
    ...[durationText(group.totalUs), shareText(all.totalUs === 0 ? null : group.totalUs / all.totalUs)],
    ...[durationText(group.count === 0 ? 0 : group.totalUs / group.count), durationText(group.maxUs)],
  ]
}
