/** The clock of a burst: it stands still in it, and goes on behind it. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { beginBurst, endBurst, monotonicMs, wallClock } from '../../../src/backends/clock.js'

/** Until the host's clock has moved on. */
function waitBusily(): void {
  const start = performance.now()
  while (performance.now() < start + 2);
}

describe('the clock', () => {
  it('goes on outside of bursts', () => {
    const before = monotonicMs()
    waitBusily()
    assert.ok(monotonicMs() > before)
  })

  it('stands still in a burst, at a time within it, and goes on behind it', () => {
    const before = performance.now()
    beginBurst()
    const [ms, timestamp] = [monotonicMs(), wallClock()]
    waitBusily()
    assert.equal(monotonicMs(), ms)
    assert.equal(wallClock(), timestamp)
    endBurst()
    assert.ok(ms >= before)
    assert.ok(monotonicMs() > ms)
    assert.notEqual(wallClock(), timestamp)
  })
})
