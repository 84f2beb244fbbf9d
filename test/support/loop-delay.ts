/** Imported into a daemon that is measured: writes for how long its event loop stood still at the most to a file, again and again. */
import { existsSync, openSync, readSync, rmSync, writeFileSync } from 'node:fs'

/** Where to write; the file beside it that ends in this has the measurement begin anew. */
export const DELAY_FILE = 'OVFSD_TEST_LOOP_DELAY_FILE'
export const RESET = '.reset'
const TICK_MS = 1
const TICKS_PER_REPORT = 20
const NANOSECONDS_PER_MILLISECOND = 1e6

/** What the loop's thread has worked, ms: what it waits for a processor is the host's matter. */
function workedMs(schedulerStatistics: number): number {
  const text = Buffer.alloc(100)
  const length = readSync(schedulerStatistics, text, 0, text.length, 0)
  return Number(text.toString('latin1', 0, length).split(' ')[0]) / NANOSECONDS_PER_MILLISECOND
}

const file = process.env[DELAY_FILE]
if (file !== undefined) {
  const statistics = openSync(`/proc/self/task/${process.pid}/schedstat`, 'r')
  let [longestWorkMs, longestMs, turns] = [0, 0, 0]
  let [atMs, worked] = [performance.now(), workedMs(statistics)]
  setInterval(() => {
    const [nowMs, now] = [performance.now(), workedMs(statistics)]
    longestMs = Math.max(longestMs, nowMs - atMs)
    longestWorkMs = Math.max(longestWorkMs, now - worked)
    turns++
    if (turns % TICKS_PER_REPORT === 0) {
      if (existsSync(file + RESET)) {
        rmSync(file + RESET)
        longestMs = longestWorkMs = turns = 0
      }
      writeFileSync(file, JSON.stringify({ longestWorkMs, longestMs, turns }))
    }
    ;[atMs, worked] = [performance.now(), workedMs(statistics)]
  }, TICK_MS).unref()
}
