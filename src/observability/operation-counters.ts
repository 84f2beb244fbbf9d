import { OPERATION_BY_OPCODE } from './operations.js'

/**
 * Bounds of the latency histogram: 1 us, 2 us, 4 us ... 2^26 us (67 s, past the deadline of any call), and what is longer. Doubling
 * tells a quantile to a factor of two at the worst and costs one logarithm a burst.
 */
export const LATENCY_BOUNDS = 27
const BUCKETS = LATENCY_BOUNDS + 1
/** What is counted of an operation lies together: microseconds and bytes, then the buckets. A multiple of a cache line. */
const STRIDE = 32
const [SUM_US, BYTES, FIRST_BUCKET] = [0, 1, 2]
const LAST_BOUND_US = 2 ** (LATENCY_BOUNDS - 1)

/** The upper bound of bucket `index`, us; Infinity for the last. */
export function latencyBoundUs(index: number): number {
  return index < LATENCY_BOUNDS ? 2 ** index : Infinity
}

/** The bucket of a latency: the first whose bound is not below it. */
export function latencyBucket(latencyUs: number): number {
  if (latencyUs <= 1) return 0
  if (latencyUs > LAST_BOUND_US) return LATENCY_BOUNDS
  // The bits of the whole microseconds before: a logarithm takes ten times as long.
  return 32 - Math.clz32(Math.ceil(latencyUs) - 1)
}

/** What one operation of a mount came to since the daemon started. */
export interface OperationTotals {
  readonly operation: string
  readonly count: number
  readonly totalUs: number
  /** Of READ: what the guest got; of WRITE: what was taken. Bytes of data only. */
  readonly bytes: number
  /** Requests by bucket, not cumulative; see latencyBoundUs. */
  readonly buckets: readonly number[]
  readonly errors: readonly { readonly errno: number; readonly count: number }[]
}

/** Data that READs, or reads of a store, and all others moved. */
export function movedBytes(operations: readonly OperationTotals[]): {
  readonly readBytes: number
  readonly writtenBytes: number
} {
  let [readBytes, writtenBytes] = [0, 0]
  for (const { operation, bytes } of operations) {
    if (operation === 'read') readBytes += bytes
    else writtenBytes += bytes
  }
  return { readBytes, writtenBytes }
}

let lastId = 0

/** Counts the requests of one mount, or the calls of its store. Allocates nothing for a request that succeeds. */
export class OperationCounters {
  private readonly table: Float64Array
  /** opcode -> positive errno -> count. */
  private readonly errors = new Map<number, Map<number, number>>()

  /** No other has it in this process; from 1. */
  readonly id = ++lastId

  /** `names`: the operation of each opcode; opcodes below are indices of it. */
  constructor(private readonly names: readonly string[] = OPERATION_BY_OPCODE) {
    this.table = new Float64Array(names.length * STRIDE)
  }

  /** `count` requests of one operation that took `latencyUs` each. */
  add(opcode: number, count: number, latencyUs: number, bytes: number): void {
    const { table } = this
    const first = opcode * STRIDE
    const bucket = first + FIRST_BUCKET + latencyBucket(latencyUs)
    table[bucket] = (table[bucket] as number) + count
    table[first + SUM_US] = (table[first + SUM_US] as number) + count * latencyUs
    table[first + BYTES] = (table[first + BYTES] as number) + bytes
  }

  addErrors(opcode: number, errno: number, count: number): void {
    let byErrno = this.errors.get(opcode)
    if (byErrno === undefined) {
      byErrno = new Map<number, number>()
      this.errors.set(opcode, byErrno)
    }
    byErrno.set(errno, (byErrno.get(errno) ?? 0) + count)
  }

  /** Of the operations that there were, opcodes of one name as one. */
  totals(): OperationTotals[] {
    const found: OperationTotals[] = []
    for (const operation of new Set(this.names)) {
      const totals = this.totalsOf(operation)
      if (totals.count > 0) found.push(totals)
    }
    return found
  }

  private totalsOf(operation: string): OperationTotals {
    const buckets = new Array<number>(BUCKETS).fill(0)
    const errors = new Map<number, number>()
    let [totalUs, bytes] = [0, 0]
    for (let opcode = 0; opcode < this.names.length; opcode++) {
      if (this.names[opcode] !== operation) continue
      const record = this.table.subarray(opcode * STRIDE, (opcode + 1) * STRIDE)
      for (let i = 0; i < BUCKETS; i++)
        buckets[i] = (buckets[i] as number) + (record[FIRST_BUCKET + i] as number)
      totalUs += record[SUM_US] as number
      bytes += record[BYTES] as number
      for (const [errno, count] of this.errors.get(opcode) ?? [])
        errors.set(errno, (errors.get(errno) ?? 0) + count)
    }
    const count = buckets.reduce((sum, value) => sum + value, 0)
    return {
      ...{ operation, count, totalUs, bytes, buckets },
      errors: [...errors].map(([errno, errorCount]) => ({ errno, count: errorCount })),
    }
  }
}
