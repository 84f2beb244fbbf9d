import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { Ranges } from '../../../src/cache/ranges.js'
import { Random, chooseSeed } from '../../lib/model/random.js'

const LENGTH = 200

/** The same set as one flag per byte. */
class Flags {
  readonly flags = new Array<boolean>(LENGTH).fill(false)

  set(start: number, end: number, value: boolean): void {
    this.flags.fill(value, start, Math.max(start, end))
  }

  pieces(start: number, end: number): [number, number, boolean][] {
    const pieces: [number, number, boolean][] = []
    for (let position = start; position < end; position++) {
      const inSet = this.flags[position] === true
      const last = pieces.at(-1)
      if (last?.[2] === inSet) last[1] = position + 1
      else pieces.push([position, position + 1, inSet])
    }
    return pieces
  }
}

describe('Ranges', () => {
  it('agrees with one flag per byte, at random', (t) => {
    const seed = chooseSeed()
    t.diagnostic(`seed ${seed}`)
    const random = new Random(seed)
    for (let round = 0; round < 200; round++) {
      const ranges = new Ranges()
      const flags = new Flags()
      for (let step = 0; step < 50; step++) {
        const start = random.below(LENGTH)
        const end = Math.min(LENGTH, start + random.below(40))
        const value = random.chance(0.6)
        if (value) ranges.add(start, end)
        else ranges.remove(start, end)
        flags.set(start, end, value)
        const low = random.below(LENGTH)
        const high = low + random.below(LENGTH - low)
        const window = flags.flags.slice(low, high)
        assert.equal(ranges.covers(low, high), window.every(Boolean), `covers ${low}-${high}`)
        assert.equal(ranges.intersects(low, high), window.some(Boolean), `intersects ${low}-${high}`)
        assert.equal(ranges.totalBytes(), flags.flags.filter(Boolean).length)
        assert.equal(ranges.isEmpty, !flags.flags.some(Boolean))
        const pieces: [number, number, boolean][] = []
        ranges.forEachPiece(low, high, (a, b, inSet) => pieces.push([a, b, inSet]))
        assert.deepEqual(pieces, flags.pieces(low, high))
      }
    }
  })

  it('merges what touches', () => {
    const ranges = new Ranges()
    ranges.add(0, 10)
    ranges.add(20, 30)
    assert.equal(ranges.count, 2)
    ranges.add(10, 20)
    assert.equal(ranges.count, 1)
    assert.deepEqual([ranges.startOf(0), ranges.endOf(0)], [0, 30])
  })
})
