import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { formatDuration, parseDurationUs, parseDurationWithinUs } from '../../../src/config/duration.js'
import { ValueError } from '../../../src/config/problem.js'
import { seededRandom } from '../../lib/config/random.js'

const S = 1_000_000

describe('durations', () => {
  const good: readonly (readonly [unknown, number])[] = [
    ['60s', 60 * S],
    ['1m30s', 90 * S],
    ['50us', 50],
    ['50µs', 50],
    ['50μs', 50],
    ['500ms', 500_000],
    ['2h', 7200 * S],
    ['1.5h', 5400 * S],
    ['0.1s', 100_000],
    ['1d2h3m4s5ms6us', (26 * 3600 + 184) * S + 5006],
    ['0', 0],
    [0, 0],
    ['0s', 0],
  ]
  for (const [text, expected] of good) {
    it(`reads ${JSON.stringify(text)}`, () => {
      assert.equal(parseDurationUs(text), expected)
    })
  }

  const bad: readonly (readonly [unknown, RegExp])[] = [
    [60, /^a duration needs a unit: write "60s" for 60 seconds$/],
    ['60', /^a duration needs a unit: write "60s" for 60 seconds$/],
    [1.5, /write "1\.5s"/],
    [-1, /negative/],
    [true, /expected a duration such as "60s", found true/],
    [[], /found an array/],
    ['', /is not a duration/],
    ['s', /is not a duration/],
    ['60 s', /is not a duration/],
    ['60S', /is not a duration/],
    ['-5s', /is not a duration/],
    ['5s5s', /is not a duration/],
    ['30s1m', /largest first/],
    ['1e3s', /is not a duration/],
    ['0.5us', /is not a duration/],
    ['1s ', /is not a duration/],
    ['999999999d', /is not a duration/],
    ['9'.repeat(10_000), /^a duration needs a unit/],
  ]
  for (const [value, message] of bad) {
    it(`refuses ${JSON.stringify(value).slice(0, 40)}`, () => {
      assert.throws(
        () => parseDurationUs(value),
        (error) => error instanceof ValueError && message.test(error.message),
      )
    })
  }

  it('checks ranges, both ends inclusive', () => {
    const range = { min: '1ms', max: '1m' }
    assert.equal(parseDurationWithinUs('1ms', range), 1000)
    assert.equal(parseDurationWithinUs('60s', range), 60 * S)
    assert.throws(() => parseDurationWithinUs('999us', range), {
      message: '999us is out of range; allowed is 1ms to 1m',
    })
    assert.throws(() => parseDurationWithinUs('61s', range), {
      message: '1m1s is out of range; allowed is 1ms to 1m',
    })
  })

  it('reads back what it writes, whatever the duration', (test) => {
    const random = seededRandom(test)
    for (let round = 0; round < 2000; round++) {
      const durationUs = random.below(10 ** (1 + random.below(15)))
      const text = formatDuration(durationUs)
      assert.equal(parseDurationUs(text), durationUs, text)
    }
  })

  it('answers any text with a number or a ValueError', (test) => {
    const random = seededRandom(test)
    const pieces = ['1', '0', '.', 's', 'ms', 'us', 'µs', 'm', 'h', 'd', '-', ' ', 'e', '9999999999'] as const
    for (let round = 0; round < 5000; round++) {
      const text = Array.from({ length: random.below(8) }, () => random.pick(pieces)).join('')
      try {
        const durationUs = parseDurationUs(text)
        assert.ok(Number.isSafeInteger(durationUs) && durationUs >= 0, text)
        assert.equal(parseDurationUs(formatDuration(durationUs)), durationUs, text)
      } catch (error) {
        assert.ok(error instanceof ValueError, text)
      }
    }
  })
})
