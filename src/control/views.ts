/** The answers of the control socket: the one place that knows what is shown of the daemon, and by which names. Nothing of the daemon is loaded by it. */
import { hostProcessId } from '../observability/host-process-id.js'
import { formatMountPoint } from '../config/mount-point.js'
import type { StagedDirectory } from '../cache/staged-directories.js'
import { movedBytes, type OperationTotals } from '../observability/operation-counters.js'
import type { Loss } from '../cache/losses.js'
import type { LossTotals } from '../server/loss-ledger.js'
import type { MountOperations, MountState, ServerControl, ServerGauges } from '../server/server-control.js'

/** The last time that the configuration was to be loaded again. */
export interface ReloadView {
  /** ISO 8601, UTC. */
  readonly time: string
  readonly cause: string
  /** `refused`: the file has faults, and nothing was changed. */
  readonly outcome: 'applied' | 'refused'
  /** Why it was refused, or which keys need a restart; null: there is nothing to say. */
  readonly detail: string | null
}

/** What the daemon knows of itself. */
export interface DaemonFacts {
  readonly version: string
  /** null: the command line says all. */
  readonly configFile: string | null
  /** null: an inherited descriptor. */
  readonly socketPath: string | null
  /** null: there was none yet. */
  readonly lastReload: ReloadView | null
  readonly logLevel: string
  readonly accessLog: string | null
}

export interface StatusView extends DaemonFacts {
  readonly pid: number
  readonly uptimeSeconds: number
  readonly frontEnd: {
    readonly connected: boolean
    readonly mounted: boolean
    readonly sessionsEnded: number
  }
  readonly memory: { readonly residentBytes: number; readonly heapBytes: number }
  readonly cache: CacheView
  readonly mounts: number
  /** Since the daemon started, of mounts that have gone too. */
  readonly losses: LossTotals
  /** What is in `cache_dir` and not in its store, of all stores, whether a mount has them now or not. */
  readonly staged: readonly StagedDirectory[]
}

export interface CacheView {
  readonly sizeBytes: number
  readonly usedBytes: number
  /** Of slabs with unsaved data: somewhat more than the data. */
  readonly dirtyBytes: number
  readonly dirtyFiles: number
  readonly evictions: number
  /** Requests that wait for room. */
  readonly waiters: number
  /** Reads that the cache could answer, and those that had to wait for a store. */
  readonly hits: number
  readonly misses: number
}

export interface MountView extends Omit<MountState, 'mountPoint' | 'error' | 'losses'> {
  readonly mountPoint: string
  readonly error: string | null
  readonly losses: readonly LossView[]
}

export interface LossView extends Omit<Loss, 'error'> {
  readonly error: string
}

/** Calls of stores since the daemon started. */
export interface BackendView {
  readonly requests: number
  readonly retries: number
  readonly totalUs: number
  readonly readBytes: number
  readonly writtenBytes: number
}

/** Counters since the daemon started; two of these give rates. */
export interface StatsView {
  /** Monotonic. */
  readonly timeMs: number
  /** Processor time that the daemon has used. */
  readonly cpuUs: number
  readonly residentBytes: number
  readonly cache: CacheView
  readonly diskTier: { readonly usedBytes: number; readonly hits: number; readonly misses: number } | null
  readonly backend: BackendView
  readonly device: { readonly requests: number; readonly bursts: number; readonly inFlight: number }
  readonly inodes: number
  readonly openFiles: number
  readonly openDirectories: number
  readonly operations: readonly (Omit<MountOperations, 'operations'> & {
    readonly operations: readonly OperationTotals[]
  })[]
}

/** Hides secrets in what a store's error says. */
export type Redact = (text: string) => string

export async function statusView(server: ServerControl, facts: DaemonFacts): Promise<StatusView> {
  const { isConnected, isMounted, sessionsEnded, losses } = server.state()
  const { rss, heapUsed } = process.memoryUsage()
  return {
    ...facts,
    pid: hostProcessId(),
    uptimeSeconds: Math.round(process.uptime()),
    frontEnd: { connected: isConnected, mounted: isMounted, sessionsEnded },
    memory: { residentBytes: rss, heapBytes: heapUsed },
    cache: cacheView(server.gauges()),
    mounts: server.mounts().length,
    losses,
    staged: await server.staged(),
  }
}

export function mountViews(server: ServerControl, redact: Redact): MountView[] {
  return server.mounts().map((mount) => ({
    ...mount,
    mountPoint: formatMountPoint(mount.mountPoint),
    error: errorText(mount.error, redact),
    losses: mount.losses.map((loss) => ({ ...loss, error: errorText(loss.error, redact) ?? '' })),
  }))
}

function errorText(error: unknown, redact: Redact): string | null {
  if (error === null) return null
  const text = error instanceof Error ? error.message : typeof error === 'string' ? error : 'unknown'
  return redact(text).replaceAll(/\s*\n\s*/g, ' ')
}

export function statsView(server: ServerControl): StatsView {
  const gauges = server.gauges()
  const { device, diskTier, inodes, openFiles, openDirectories } = gauges
  const { user, system } = process.cpuUsage()
  return {
    timeMs: performance.now(),
    cpuUs: user + system,
    residentBytes: process.memoryUsage.rss(),
    cache: cacheView(gauges),
    diskTier:
      diskTier === null ? null : { usedBytes: diskTier.bytes, hits: diskTier.hits, misses: diskTier.misses },
    backend: backendView(gauges),
    device: { requests: device.requests, bursts: device.bursts, inFlight: device.slotsInFlight },
    ...{ inodes, openFiles, openDirectories },
    operations: server.operations(),
  }
}

function cacheView({ cacheBytes, cacheUsedBytes, cacheWaiters, mounts }: ServerGauges): CacheView {
  let [dirtyBytes, dirtyFiles, evictions, hits, misses] = [0, 0, 0, 0, 0]
  for (const { store } of mounts) {
    if (store === null) continue
    dirtyBytes += store.dirtyBytes
    dirtyFiles += store.dirtyFiles
    evictions += store.cache.evictions
    hits += store.cache.hits
    misses += store.cache.misses
  }
  return {
    ...{ sizeBytes: cacheBytes, usedBytes: cacheUsedBytes, waiters: cacheWaiters },
    ...{ dirtyBytes, dirtyFiles, evictions, hits, misses },
  }
}

function backendView({ mounts }: ServerGauges): BackendView {
  let [requests, retries, totalUs, readBytes, writtenBytes] = [0, 0, 0, 0, 0]
  for (const { store } of mounts) {
    if (store === null) continue
    retries += store.backend.retries
    const operations = store.backend.operations.totals()
    for (const totals of operations) {
      requests += totals.count
      totalUs += totals.totalUs
    }
    const moved = movedBytes(operations)
    readBytes += moved.readBytes
    writtenBytes += moved.writtenBytes
  }
  return { requests, retries, totalUs, readBytes, writtenBytes }
}
