import { setFlagsFromString } from 'node:v8'

/**
 * How much JavaScript's heap may grow, in percent, from what was in use after the last collection to the next. V8's own rule
 * doubles and more: measured while 5,000 names are looked up over and over, 134 MiB of heap in place of 74, most of it
 * rubbish. A collection takes some ten milliseconds of a heap of this size, mostly on other threads.
 */
const GROWTH_PERCENT = 30

/** Memory is for the cache, whose size is configured. Call once, before there is much on the heap. */
export function limitHeapGrowth(): void {
  setFlagsFromString(`--heap-growing-percent=${GROWTH_PERCENT}`)
}
