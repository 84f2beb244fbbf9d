/** What happened between two looks at a daemon's counters. */
import type { StatsView } from '../control/views.js'
import { latencyBoundUs, type OperationTotals } from '../observability/operation-counters.js'

/** Requests of one kind. */
export interface RequestRates {
  readonly perSecond: number
  /** 0 where there were none. */
  readonly meanUs: number
  /** Nearly all took less: the bound of the histogram's bucket, so up to twice as much as it was. */
  readonly p99Us: number
  readonly errorsPerSecond: number
  readonly readBytesPerSecond: number
  readonly writtenBytesPerSecond: number
}

export interface OperationRates extends RequestRates {
  readonly mount: string
  readonly operation: string
}

export interface MountRates extends RequestRates {
  readonly mount: string
}

export interface Rates {
  readonly seconds: number
  /** Of one processor. */
  readonly cpuShare: number
  readonly residentBytes: number
  readonly dirtyBytes: number
  readonly requests: RequestRates
  /** Of what was looked for in the cache; null: nothing was. */
  readonly hitRatio: number | null
  readonly diskTierHitRatio: number | null
  readonly evictionsPerSecond: number
  readonly backend: {
    readonly perSecond: number
    readonly meanUs: number
    readonly readBytesPerSecond: number
    readonly writtenBytesPerSecond: number
  }
  readonly mounts: readonly MountRates[]
  /** Those that there were. */
  readonly operations: readonly OperationRates[]
}

const MS_PER_SECOND = 1000
const US_PER_SECOND = 1e6
const P99 = 0.99

/** Sums over the time between two looks. */
interface Sums {
  count: number
  totalUs: number
  errors: number
  readBytes: number
  writtenBytes: number
  readonly buckets: number[]
}

export function ratesBetween(before: StatsView, after: StatsView): Rates {
  const seconds = Math.max((after.timeMs - before.timeMs) / MS_PER_SECOND, Number.EPSILON)
  const all = newSums()
  const mounts: MountRates[] = []
  const operations: OperationRates[] = []
  for (const { mount, operations: totals } of after.operations) {
    const earlier = before.operations.find((other) => other.mount === mount)?.operations ?? []
    const sums = newSums()
    for (const total of totals) {
      const own = newSums()
      addDifference(
        own,
        earlier.find(({ operation }) => operation === total.operation),
        total,
      )
      if (own.count > 0) operations.push({ mount, operation: total.operation, ...ratesOf(own, seconds) })
      addSums(sums, own)
    }
    mounts.push({ mount, ...ratesOf(sums, seconds) })
    addSums(all, sums)
  }
  return {
    seconds,
    cpuShare: (after.cpuUs - before.cpuUs) / US_PER_SECOND / seconds,
    residentBytes: after.residentBytes,
    dirtyBytes: after.cache.dirtyBytes,
    requests: ratesOf(all, seconds),
    hitRatio: ratioOf(before.cache, after.cache),
    diskTierHitRatio: ratioOf(before.diskTier, after.diskTier),
    evictionsPerSecond: (after.cache.evictions - before.cache.evictions) / seconds,
    backend: backendRates(before, after, seconds),
    mounts,
    operations: operations.sort((a, b) => b.perSecond - a.perSecond),
  }
}

function newSums(): Sums {
  return { count: 0, totalUs: 0, errors: 0, readBytes: 0, writtenBytes: 0, buckets: [] }
}

/** A mount that was made anew meanwhile has begun at 0 again. */
function addDifference(sums: Sums, before: OperationTotals | undefined, after: OperationTotals): void {
  const base = before !== undefined && before.count <= after.count ? before : undefined
  sums.count += after.count - (base?.count ?? 0)
  sums.totalUs += after.totalUs - (base?.totalUs ?? 0)
  sums.errors += errorsOf(after) - (base === undefined ? 0 : errorsOf(base))
  const bytes = after.bytes - (base?.bytes ?? 0)
  if (after.operation === 'read') sums.readBytes += bytes
  if (after.operation === 'write') sums.writtenBytes += bytes
  for (const [index, count] of after.buckets.entries())
    sums.buckets[index] = (sums.buckets[index] ?? 0) + count - (base?.buckets[index] ?? 0)
}

function addSums(sums: Sums, other: Sums): void {
  sums.count += other.count
  sums.totalUs += other.totalUs
  sums.errors += other.errors
  sums.readBytes += other.readBytes
  sums.writtenBytes += other.writtenBytes
  for (const [index, count] of other.buckets.entries())
    sums.buckets[index] = (sums.buckets[index] ?? 0) + count
}

function errorsOf({ errors }: OperationTotals): number {
  return errors.reduce((sum, { count }) => sum + count, 0)
}

function ratesOf(sums: Sums, seconds: number): RequestRates {
  return {
    perSecond: sums.count / seconds,
    meanUs: sums.count === 0 ? 0 : sums.totalUs / sums.count,
    p99Us: quantileUs(sums, P99),
    errorsPerSecond: sums.errors / seconds,
    readBytesPerSecond: sums.readBytes / seconds,
    writtenBytesPerSecond: sums.writtenBytes / seconds,
  }
}

/** The bound of the bucket that it is in; of the last, which has none, that of the one before. */
function quantileUs({ count, buckets }: Sums, quantile: number): number {
  if (count === 0) return 0
  let left = count * quantile
  for (const [index, inBucket] of buckets.entries()) {
    left -= inBucket
    if (left <= 0 && index < buckets.length - 1) return latencyBoundUs(index)
  }
  return latencyBoundUs(buckets.length - 2)
}

interface Looks {
  readonly hits: number
  readonly misses: number
}

function ratioOf(before: Looks | null, after: Looks | null): number | null {
  const hits = (after?.hits ?? 0) - (before?.hits ?? 0)
  const misses = (after?.misses ?? 0) - (before?.misses ?? 0)
  return hits + misses > 0 ? hits / (hits + misses) : null
}

function backendRates(before: StatsView, after: StatsView, seconds: number): Rates['backend'] {
  const requests = after.backend.requests - before.backend.requests
  return {
    perSecond: requests / seconds,
    meanUs: requests === 0 ? 0 : (after.backend.totalUs - before.backend.totalUs) / requests,
    readBytesPerSecond: (after.backend.readBytes - before.backend.readBytes) / seconds,
    writtenBytesPerSecond: (after.backend.writtenBytes - before.backend.writtenBytes) / seconds,
  }
}
