import type { OperationCounters } from '../observability/operation-counters.js'

/** Requests of one kind that followed each other. */
interface Run {
  readonly counters: OperationCounters
  readonly opcode: number
  readonly count: number
  readonly bytes: number
}

/**
 * What a burst came to, until it is known how long it took: the requests that are answered within a burst are answered at its
 * end. Neighbours of one kind are counted as one, which most bursts are as a whole.
 */
export class BurstCounts {
  /** Before the present run; most bursts have none. */
  private readonly earlier: Run[] = []
  /** The present run: in fields, which cost a request half of what an array does. null: the burst is empty. */
  private counters: OperationCounters | null = null
  private opcode = 0
  private count = 0
  private bytes = 0

  /** A request that is answered with the burst. */
  add(counters: OperationCounters, opcode: number, bytes: number): void {
    if (this.counters === counters && this.opcode === opcode) {
      this.count++
      this.bytes += bytes
      return
    }
    if (this.counters !== null) {
      const { opcode: last, count, bytes: lastBytes } = this
      this.earlier.push({ counters: this.counters, opcode: last, count, bytes: lastBytes })
    }
    this.counters = counters
    this.opcode = opcode
    this.count = 1
    this.bytes = bytes
  }

  /** The burst is over and took `latencyUs`. */
  settle(latencyUs: number): void {
    if (this.counters === null) return
    this.counters.add(this.opcode, this.count, latencyUs, this.bytes)
    this.counters = null
    if (this.earlier.length === 0) return
    for (const { counters, opcode, count, bytes } of this.earlier)
      counters.add(opcode, count, latencyUs, bytes)
    this.earlier.length = 0
  }
}
