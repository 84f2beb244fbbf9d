import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { ServerClock } from '../../../src/backends/swift/server-clock.js'

/** What the server's clock shows when ours shows 0, ms since the epoch. */
const THERE_MS = Date.parse('Mon, 30 Nov 2026 12:00:00 GMT') + 250

/** As a server writes it at our `nowMs`. */
function dateAt(nowMs: number): string {
  return new Date(THERE_MS + nowMs).toUTCString()
}

describe("a server's clock", () => {
  it('of which nothing is known tells nothing', () => {
    assert.equal(new ServerClock().compare(THERE_MS - 1e9, 0), 'unknown')
    const clock = new ServerClock()
    clock.note(undefined, 0, 10)
    clock.note('yesterday', 0, 10)
    assert.equal(clock.compare(THERE_MS - 1e9, 0), 'unknown')
  })

  it('is known to a second by one answer, and to the time between two answers by a step', () => {
    const clock = new ServerClock()
    clock.note(dateAt(5), 0, 10)
    assert.equal(clock.compare(THERE_MS - 300, 0), 'before')
    assert.equal(clock.compare(THERE_MS - 100, 0), 'unknown')
    assert.equal(clock.compare(THERE_MS + 700, 0), 'unknown')
    assert.equal(clock.compare(THERE_MS + 800, 0), 'after')
    // The server's second ends at our 750.
    clock.note(dateAt(740), 735, 745)
    clock.note(dateAt(790), 785, 795)
    assert.equal(clock.compare(THERE_MS - 50, 0), 'before')
    assert.equal(clock.compare(THERE_MS - 40, 0), 'unknown')
    assert.equal(clock.compare(THERE_MS + 20, 0), 'after')
  })

  it('that is no clock, or two, tells nothing', () => {
    const clock = new ServerClock()
    clock.note(dateAt(0), 0, 10)
    clock.note(dateAt(60_000), 20, 30)
    assert.equal(clock.compare(THERE_MS - 1e9, 0), 'unknown')
  })
})
