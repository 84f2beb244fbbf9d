import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import type { ThrottleRule } from '../../../src/interpose/rules.js'
import { Throttle } from '../../../src/interpose/throttle.js'
import { chooseSeed, Random } from '../../lib/model/random.js'
import { FakeClock } from '../../lib/interpose/fake-clock.js'
import { throttle } from '../../lib/interpose/rules.js'

const KIB = 1024
const BURST_MS = 100

/** Sends requests through a throttle and notes in which order and when they begin. */
class Line {
  readonly clock: FakeClock
  readonly throttle: Throttle
  readonly begun: { readonly name: number; readonly atMs: number; readonly sizeBytes: number }[] = []
  private next = 0

  constructor(rates: Partial<ThrottleRule>, latenessMs?: () => number) {
    this.clock = new FakeClock(latenessMs)
    this.throttle = new Throttle(throttle({ burstMs: BURST_MS, ...rates }), this.clock)
  }

  send(operation: string, sizeBytes: number): void {
    const name = this.next++
    const note = (): void => {
      this.begun.push({ name, atMs: this.clock.nowMs(), sizeBytes })
    }
    const turn = this.throttle.enter(operation, sizeBytes)
    if (turn === null) note()
    else void turn.then(note)
  }

  get sent(): number {
    return this.next
  }
}

describe('a throttle', () => {
  it('limits what it has a rate for, and nothing else', async () => {
    const line = new Line({ readBytes: 10 * KIB })
    assert.deepEqual(
      ['read', 'write', 'lookup'].map((operation) => line.throttle.isFor(operation)),
      [true, false, false],
    )
    for (let i = 0; i < 100; i++) line.send('write', 1 << 20)
    assert.equal(line.begun.length, 100)
    for (let i = 0; i < 3; i++) line.send('read', 10 * KIB)
    // A tenth of a second was saved up; the first is lent the rest.
    assert.equal(line.begun.length, 101)
    await line.clock.wind(899)
    assert.equal(line.begun.length, 101)
    await line.clock.wind(1)
    assert.equal(line.begun.length, 102)
    await line.clock.wind(1000)
    assert.equal(line.begun.length, 103)
    assert.ok(line.clock.isIdle)
  })

  it('keeps reads, writes and other operations apart', async () => {
    const line = new Line({ readOperations: 1, writeOperations: 1, otherOperations: 1, burstMs: 10 })
    for (const operation of ['read', 'read', 'write', 'write', 'lookup', 'getattr']) line.send(operation, 0)
    assert.deepEqual(
      line.begun.map(({ name }) => name),
      [0, 2, 4],
    )
    await line.clock.wind(990)
    assert.equal(line.begun.length, 6)
  })

  it('is held by the scarcer of bytes and operations', async () => {
    const line = new Line({ readBytes: 100 * KIB, readOperations: 10 })
    for (let i = 0; i < 40; i++) line.send('read', KIB)
    await line.clock.wind(1000)
    // 10 a second, and those that a tenth of a second has saved up.
    assert.equal(line.begun.length, 12)
    const large = new Line({ readBytes: 100 * KIB, readOperations: 10 })
    for (let i = 0; i < 40; i++) large.send('read', 50 * KIB)
    await large.clock.wind(1000)
    assert.equal(large.begun.length, 3)
  })

  it('gives back what was not used, to those who wait too', async () => {
    const line = new Line({ readBytes: KIB })
    line.send('read', 1000 * KIB)
    line.send('read', KIB)
    await line.clock.wind(1000)
    assert.equal(line.begun.length, 1)
    line.throttle.giveBack('read', 999 * KIB)
    await line.clock.wind(0)
    assert.equal(line.begun.length, 2)
    // But no more than the burst is ever saved up.
    line.throttle.giveBack('read', 1 << 30)
    for (let i = 0; i < 10; i++) line.send('read', KIB)
    assert.equal(line.begun.length, 3)
  })

  it('lets all go at once, and they still count', async () => {
    const line = new Line({ writeOperations: 1 })
    for (let i = 0; i < 10; i++) line.send('write', 1)
    line.throttle.release()
    await line.clock.wind(0)
    assert.deepEqual(
      line.begun.map(({ name }) => name),
      [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
    )
    assert.ok(line.clock.isIdle)
    line.send('write', 1)
    await line.clock.wind(9000)
    assert.equal(line.begun.length, 10)
    await line.clock.wind(1000)
    assert.equal(line.begun.length, 11)
  })

  it('keeps its rate to the request, however late it is woken within the burst', async () => {
    const random = new Random(1)
    for (const perSecond of [7, 100, 2000]) {
      const line = new Line({ readOperations: perSecond }, () => random.below(BURST_MS * 10) / 10 - 0.5)
      for (let i = 0; i < perSecond * 12; i++) line.send('read', 4096)
      await line.clock.wind(10_000)
      const exact = perSecond * (10 + BURST_MS / 1000)
      // What is due at the end may be woken late.
      assert.ok(line.begun.length <= exact + 1, `${line.begun.length} of ${exact}`)
      assert.ok(
        line.begun.length >= exact - 1 - perSecond * (BURST_MS / 1000),
        `${line.begun.length} of ${exact}`,
      )
    }
  })

  it('holds for any arrivals: in order, never faster in any time, never idle while somebody may begin', async () => {
    const seed = chooseSeed()
    const random = new Random(seed)
    for (let round = 0; round < 40; round++) {
      const rate = 1 + random.below(200 * KIB)
      const line = new Line({ writeBytes: rate })
      const largest = 1 + random.below(64 * KIB)
      for (let step = 0; step < 60; step++) {
        for (let i = random.below(4); i > 0; i--) line.send('write', random.below(largest + 1))
        await line.clock.wind(random.below(300))
      }
      const told = `seed ${seed}, round ${round}`
      line.begun.forEach(({ name }, index) => {
        assert.equal(name, index, told)
      })
      checkRate(line, rate, largest, told)
      await line.clock.wind(1e9)
      assert.equal(line.begun.length, line.sent, told)
      assert.ok(line.clock.isIdle, told)
    }
  })
})

/** From any beginning to any other no more begins than the rate, the burst and the one that is lent the rest allow. */
function checkRate({ begun }: Line, rate: number, largest: number, told: string): void {
  for (let first = 0; first < begun.length; first++) {
    let bytes = 0
    for (let last = first; last < begun.length; last++) {
      const [from, to] = [begun[first], begun[last]]
      if (from === undefined || to === undefined) return
      const allowed = (rate * (to.atMs - from.atMs + BURST_MS)) / 1000 + 0.001
      // What comes last may be larger than what is left.
      assert.ok(bytes <= allowed, `${told}: ${bytes} bytes, ${allowed} allowed`)
      bytes += to.sizeBytes
      assert.ok(to.sizeBytes <= largest, told)
    }
  }
}
