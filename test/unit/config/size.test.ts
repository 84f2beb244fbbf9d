import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { ValueError } from '../../../src/config/problem.js'
import { formatSize, parseSizeBytes, parseSizeWithinBytes } from '../../../src/config/size.js'
import { seededRandom } from '../../lib/config/random.js'

describe('sizes', () => {
  const good: readonly (readonly [unknown, number])[] = [
    ['256MiB', 256 * 2 ** 20],
    ['1GB', 1e9],
    ['1GiB', 2 ** 30],
    ['1 GiB', 2 ** 30],
    ['2kB', 2000],
    ['2KB', 2000],
    ['2KiB', 2048],
    ['1.5GiB', 1.5 * 2 ** 30],
    ['3TiB', 3 * 2 ** 40],
    ['3tb', 3e12],
    ['4096', 4096],
    ['4096B', 4096],
    [4096, 4096],
    [0, 0],
  ]
  for (const [text, expected] of good) {
    it(`reads ${JSON.stringify(text)}`, () => {
      assert.equal(parseSizeBytes(text), expected)
    })
  }

  const bad: readonly (readonly [unknown, RegExp])[] = [
    ['256M', /ambiguous; write 256MiB \(binary\) or 256MB \(decimal\)/],
    ['1g', /write 1GiB \(binary\) or 1GB/],
    ['', /is not a size/],
    ['MiB', /is not a size/],
    ['-1MiB', /is not a size/],
    ['1PiB', /is not a size/],
    ['1.5B', /not a whole number of bytes/],
    ['0.3KiB', /not a whole number of bytes/],
    ['999999999999999TiB', /too large/],
    [1.5, /expected a size such as "256MiB", found the number 1.5/],
    [-1, /found the number -1/],
    [false, /found false/],
  ]
  for (const [value, message] of bad) {
    it(`refuses ${JSON.stringify(value)}`, () => {
      assert.throws(
        () => parseSizeBytes(value),
        (error) => error instanceof ValueError && message.test(error.message),
      )
    })
  }

  it('checks ranges, both ends inclusive', () => {
    const range = { min: '16MiB', max: '1GiB' }
    assert.equal(parseSizeWithinBytes('16MiB', range), 2 ** 24)
    assert.equal(parseSizeWithinBytes('1024MiB', range), 2 ** 30)
    assert.throws(() => parseSizeWithinBytes('16MB', range), {
      message: '15625KiB is out of range; allowed is 16MiB to 1GiB',
    })
    assert.throws(() => parseSizeWithinBytes(2 ** 30 + 1, range), ValueError)
  })

  it('reads back what it writes, whatever the size', (test) => {
    const random = seededRandom(test)
    for (let round = 0; round < 2000; round++) {
      const sizeBytes = random.below(1024) * 2 ** random.below(44)
      const text = formatSize(sizeBytes)
      assert.equal(parseSizeBytes(text), sizeBytes, text)
    }
  })

  it('answers any text with a number or a ValueError', (test) => {
    const random = seededRandom(test)
    const pieces = ['1', '0', '.', 'k', 'i', 'b', 'M', 'GiB', 'T', '-', ' ', '999999999'] as const
    for (let round = 0; round < 5000; round++) {
      const text = Array.from({ length: random.below(7) }, () => random.pick(pieces)).join('')
      try {
        const sizeBytes = parseSizeBytes(text)
        assert.ok(Number.isSafeInteger(sizeBytes) && sizeBytes >= 0, text)
      } catch (error) {
        assert.ok(error instanceof ValueError, text)
      }
    }
  })
})
