// Loaded into ovfsd before it starts (`node --import URL?spans=FILE`), for counting.mjs: counting is switched on and off every few bursts, and each such
// span of time is noted. What else goes on in the machine changes more slowly, so that two spans that follow each other differ by
// what counting costs.
import { writeFileSync } from 'node:fs'
import { Dispatcher } from '../../dist/src/fuse/dispatcher.js'

/** Of a span, about a millisecond of a guest that reads as fast as it can. Switching itself takes a fraction of one of them. */
const BURSTS = 64
/** For an hour. */
const SPANS_MAX = 1 << 22
/** A span with a longer one in it was interrupted, by the generator's pauses too. */
const PAUSE_MS = 5

const durationsMs = new Float64Array(SPANS_MAX)
let spans = 0
let bursts = 0
let startMs = 0
let lastMs = 0
let isWhole = false
let counts = true

const { onRequests } = Dispatcher.prototype
Dispatcher.prototype.onRequests = function (readyCount) {
  const nowMs = performance.now()
  if (nowMs - lastMs > PAUSE_MS) isWhole = false
  lastMs = nowMs
  if (++bursts === BURSTS) {
    // Spans that count have even numbers; one that was interrupted is NaN.
    if (spans < SPANS_MAX) durationsMs[spans++] = isWhole ? nowMs - startMs : NaN
    counts = !counts
    this.setCounting(counts)
    bursts = 0
    startMs = nowMs
    isWhole = true
  }
  return onRequests.call(this, readyCount)
}

process.on('exit', () => {
  writeFileSync(new URL(import.meta.url).searchParams.get('spans'), durationsMs.subarray(0, spans))
})
