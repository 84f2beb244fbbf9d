import type { OperationCounters } from '../observability/operation-counters.js'
import type { Arena } from '../virtio/arena.js'
import { OPCODE_LIMIT } from './fuse-abi.js'
import {
  BURST_ANSWERED_NS,
  BURST_ARRIVED_NS,
  BURST_COUNTERS,
  BURST_REPORT_NUMBERS,
  BURST_RUNS,
  META_COUNTERS,
  RUN_COUNT,
  RUN_COUNTERS,
  RUN_DATA_BYTES,
  RUN_ERRNO,
  RUN_NUMBERS,
  RUN_OPCODE,
} from '../virtio/native.js'

const NS_PER_US = 1000

/** A number that no kernel sends would have no place in the counters. */
export function countedOpcode(opcode: number): number {
  return opcode < OPCODE_LIMIT ? opcode : 0
}

/**
 * Counts the requests that are answered within their burst. The addon sees which they are as it completes them, and knows how long the
 * burst took, data copied and all; here it is only noted whose they are, which for most bursts is once.
 */
export class BurstCounts {
  /** All requests of the burst so far go into them; null: it has none so far, or they go into several. */
  only: OperationCounters | null = null
  private isMixed = false
  /** By id; only of a burst that is mixed. */
  private readonly several = new Map<number, OperationCounters>()

  constructor(private readonly arena: Arena) {}

  /** The burst's request at `index` of the ready list goes into other counters than `only`. */
  meet(counters: OperationCounters, index: number): void {
    if (!this.isMixed && index === 0) {
      this.only = counters
      return
    }
    if (this.only !== null) for (let before = 0; before < index; before++) this.mark(before, this.only)
    this.isMixed = true
    this.only = null
    this.mark(index, counters)
  }

  private mark(index: number, counters: OperationCounters): void {
    const { words, ready } = this.arena
    words[this.arena.metaWordOf(ready[index] as number) + META_COUNTERS] = counters.id
    this.several.set(counters.id, counters)
  }

  /** All of the burst's requests have been met. */
  end(): void {
    this.arena.burst[BURST_COUNTERS] = this.only?.id ?? 0
  }

  /** Add the last burst to the counters, if that has not been done. Not within a burst. */
  settle(): void {
    const { burst } = this.arena
    const runs = burst[BURST_RUNS] as number
    if (runs > 0) {
      burst[BURST_RUNS] = 0
      const latencyUs =
        ((burst[BURST_ANSWERED_NS] as number) - (burst[BURST_ARRIVED_NS] as number)) / NS_PER_US
      for (let run = 0; run < runs; run++) this.add(BURST_REPORT_NUMBERS + run * RUN_NUMBERS, latencyUs)
    }
    this.only = null
    if (!this.isMixed) return
    this.isMixed = false
    this.several.clear()
  }

  private add(run: number, latencyUs: number): void {
    const { burst } = this.arena
    const counters = this.only ?? this.several.get(burst[run + RUN_COUNTERS] as number)
    if (counters === undefined) return
    const opcode = countedOpcode(burst[run + RUN_OPCODE] as number)
    const count = burst[run + RUN_COUNT] as number
    counters.add(opcode, count, latencyUs, burst[run + RUN_DATA_BYTES] as number)
    const errno = burst[run + RUN_ERRNO] as number
    if (errno !== 0) counters.addErrors(opcode, errno, count)
  }
}
