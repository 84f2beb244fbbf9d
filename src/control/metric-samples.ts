/** The values of all metrics at one moment, of what the server counts. */
import {
  LATENCY_BOUNDS,
  latencyBoundUs,
  movedBytes,
  type OperationTotals,
} from '../observability/operation-counters.js'
import { errnoName } from '../observability/errno-name.js'
import { METRICS, type MetricKey } from '../observability/metric-definitions.js'
import type { MountGauges, MountOperations, ServerGauges } from '../server/server-control.js'

const US_PER_SECOND = 1e6
const MS_PER_SECOND = 1000

export type Labels = Readonly<Record<string, string>>

/** A line of the exposition format, as prom-client takes it. */
export interface Sample {
  /** Of a histogram: the metric's name with `_bucket`, `_sum` or `_count`. */
  readonly metricName: string
  readonly labels: Labels
  /** Those that a histogram's lines have in common: prom-client formats them once. */
  readonly sharedLabels: Labels
  readonly value: number
}

const NO_LABELS: Labels = {}
/** The label of each bucket: most lines by far have one of these, so they are made once. */
const BUCKET_LABELS: readonly Labels[] = Array.from({ length: LATENCY_BOUNDS + 1 }, (_, index) => {
  const bound = latencyBoundUs(index) / US_PER_SECOND
  return { le: bound === Infinity ? '+Inf' : String(bound) }
})

export class Samples {
  private readonly byMetric = new Map<MetricKey, Sample[]>()

  of(metric: MetricKey): readonly Sample[] {
    return this.byMetric.get(metric) ?? []
  }

  add(metric: MetricKey, value: number, labels = NO_LABELS): void {
    this.listOf(metric).push({ metricName: METRICS[metric].name, labels, sharedLabels: NO_LABELS, value })
  }

  /** Buckets are cumulative here: each holds those below it. */
  addHistogram(metric: MetricKey, totals: OperationTotals, sharedLabels: Labels): void {
    const samples = this.listOf(metric)
    const { name } = METRICS[metric]
    const [bucketName, sumName, countName] = [`${name}_bucket`, `${name}_sum`, `${name}_count`]
    let below = 0
    totals.buckets.forEach((count, index) => {
      below += count
      const labels = BUCKET_LABELS[index] as Labels
      samples.push({ metricName: bucketName, labels, sharedLabels, value: below })
    })
    const [labels, sum] = [NO_LABELS, totals.totalUs / US_PER_SECOND]
    samples.push({ metricName: sumName, labels, sharedLabels, value: sum })
    samples.push({ metricName: countName, labels, sharedLabels, value: totals.count })
  }

  private listOf(metric: MetricKey): Sample[] {
    let samples = this.byMetric.get(metric)
    if (samples === undefined) {
      samples = []
      this.byMetric.set(metric, samples)
    }
    return samples
  }
}

export function addOperations(samples: Samples, mounts: readonly MountOperations[]): void {
  for (const { mount, operations } of mounts) addTotals(samples, mount, operations, REQUEST_METRICS)
}

interface TotalsMetrics {
  readonly count: MetricKey
  readonly errors: MetricKey
  readonly seconds: MetricKey
  readonly readBytes: MetricKey
  readonly writtenBytes: MetricKey
}

const REQUEST_METRICS: TotalsMetrics = {
  ...{ count: 'operations', errors: 'operationErrors', seconds: 'operationSeconds' },
  ...{ readBytes: 'readBytes', writtenBytes: 'writtenBytes' },
}
const BACKEND_METRICS: TotalsMetrics = {
  ...{ count: 'backendRequests', errors: 'backendErrors', seconds: 'backendSeconds' },
  ...{ readBytes: 'backendReadBytes', writtenBytes: 'backendWrittenBytes' },
}

/** What operations of a mount, or calls of its store, came to. */
function addTotals(
  samples: Samples,
  mount: string,
  operations: readonly OperationTotals[],
  metrics: TotalsMetrics,
): void {
  for (const totals of operations) {
    const labels = { mount, operation: totals.operation }
    samples.add(metrics.count, totals.count, labels)
    for (const { errno, count } of totals.errors)
      samples.add(metrics.errors, count, { ...labels, errno: errnoName(errno) })
    samples.addHistogram(metrics.seconds, totals, labels)
  }
  const { readBytes, writtenBytes } = movedBytes(operations)
  samples.add(metrics.readBytes, readBytes, { mount })
  samples.add(metrics.writtenBytes, writtenBytes, { mount })
}

export function addGauges(samples: Samples, gauges: ServerGauges): void {
  samples.add('inFlight', gauges.device.slotsInFlight)
  samples.add('bursts', gauges.device.bursts)
  samples.add('isConnected', gauges.isConnected ? 1 : 0)
  samples.add('inodes', gauges.inodes)
  samples.add('openFiles', gauges.openFiles)
  samples.add('openDirectories', gauges.openDirectories)
  samples.add('inFlightLimit', gauges.limits.requests)
  samples.add('inodesLimit', gauges.limits.inodes)
  samples.add('openHandlesLimit', gauges.limits.handles)
  samples.add('missingNames', gauges.missingNames)
  samples.add('hostDescriptors', gauges.hostDescriptors.used)
  samples.add('hostDescriptorsLimit', gauges.hostDescriptors.limit)
  samples.add('cacheSize', gauges.cacheBytes)
  samples.add('cacheUsed', gauges.cacheUsedBytes)
  samples.add('cacheWaiters', gauges.cacheWaiters)
  const { diskTier } = gauges
  if (diskTier !== null) {
    samples.add('diskSize', diskTier.limitBytes)
    samples.add('diskUsed', diskTier.bytes)
    samples.add('diskHits', diskTier.hits)
    samples.add('diskMisses', diskTier.misses)
    samples.add('diskEvictions', diskTier.evictions)
    samples.add('diskErrors', diskTier.errors)
  }
  for (const mount of gauges.mounts) addMount(samples, mount)
  addLosses(samples, gauges)
}

/** A mount that came back under its name goes on counting. */
function addLosses(samples: Samples, { mounts, gone }: ServerGauges): void {
  const totals = new Map(gone)
  for (const { mount, store } of mounts) {
    if (store === null) continue
    const { lostFiles, conflicts } = totals.get(mount) ?? { lostFiles: 0, conflicts: 0 }
    totals.set(mount, {
      lostFiles: lostFiles + store.losses.lostFiles,
      conflicts: conflicts + store.losses.conflicts,
    })
  }
  for (const [mount, { lostFiles, conflicts }] of totals) {
    samples.add('lostFiles', lostFiles, { mount })
    samples.add('conflicts', conflicts, { mount })
  }
}

function addMount(samples: Samples, { mount, type, store }: MountGauges): void {
  samples.add('mountInfo', 1, { mount, type })
  if (store === null) return
  const { cache } = store
  samples.add('cacheHits', cache.hits, { mount })
  samples.add('cacheMisses', cache.misses, { mount })
  samples.add('cacheEvictions', cache.evictions, { mount })
  samples.add('readAheadFetched', cache.readAheadFetchedBytes, { mount })
  samples.add('readAheadUsed', cache.readAheadUsedBytes, { mount })
  samples.add('dirtyBytes', store.dirtyBytes, { mount })
  samples.add('dirtyFiles', store.dirtyFiles, { mount })
  samples.add('dirtyAge', store.dirtyAgeMs / MS_PER_SECOND, { mount })
  samples.add('unlistable', store.unlistable, { mount })
  addBackend(samples, mount, store)
}

function addBackend(samples: Samples, mount: string, { backend }: NonNullable<MountGauges['store']>): void {
  addTotals(samples, mount, backend.operations.totals(), BACKEND_METRICS)
  samples.add('backendInFlight', backend.inFlight, { mount })
  samples.add('backendRetries', backend.retries, { mount })
  samples.add('circuitOpen', backend.circuit?.isOpen === true ? 1 : 0, { mount })
}
