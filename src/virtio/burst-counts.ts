import type { OperationCounters } from '../observability/operation-counters.js'

/**
 * What a burst came to, until it is known how long it took: the requests that are answered within a burst are answered at its
 * end. Neighbours of one kind are counted as one, which most bursts are as a whole.
 */
export class BurstCounts {
  private readonly counters: OperationCounters[] = []
  private readonly opcodes: number[] = []
  private readonly counts: number[] = []
  private readonly bytes: number[] = []
  private length = 0

  /** A request that is answered with the burst. */
  add(counters: OperationCounters, opcode: number, bytes: number): void {
    const last = this.length - 1
    if (last >= 0 && this.opcodes[last] === opcode && this.counters[last] === counters) {
      this.counts[last] = (this.counts[last] as number) + 1
      this.bytes[last] = (this.bytes[last] as number) + bytes
      return
    }
    this.counters[this.length] = counters
    this.opcodes[this.length] = opcode
    this.counts[this.length] = 1
    this.bytes[this.length] = bytes
    this.length++
  }

  /** The burst is over and took `latencyUs`. */
  settle(latencyUs: number): void {
    for (let i = 0; i < this.length; i++) {
      const counters = this.counters[i] as OperationCounters
      counters.add(this.opcodes[i] as number, this.counts[i] as number, latencyUs, this.bytes[i] as number)
    }
    this.length = 0
  }
}
