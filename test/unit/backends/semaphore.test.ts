import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { Semaphore } from '../../../src/backends/semaphore.js'

/** A task that runs until it is told to end. */
function task(): { work: () => Promise<void>; end: () => void; hasStarted: () => boolean } {
  let started = false
  let end: () => void = () => undefined
  const ended = new Promise<void>((resolve) => {
    end = resolve
  })
  return {
    work: () => {
      started = true
      return ended
    },
    end,
    hasStarted: () => started,
  }
}

describe('Semaphore', () => {
  it('admits by weight, in order', async () => {
    const semaphore = new Semaphore(10)
    const first = task()
    const large = task()
    const small = task()
    const runs = [semaphore.run(6, first.work), semaphore.run(8, large.work), semaphore.run(1, small.work)]
    assert.deepEqual([first.hasStarted(), large.hasStarted(), small.hasStarted()], [true, false, false])
    first.end()
    await runs[0]
    // The small one waited behind the large one, though it would have fitted at once: no starvation.
    await Promise.resolve()
    assert.deepEqual([large.hasStarted(), small.hasStarted()], [true, true])
    large.end()
    small.end()
    await Promise.all(runs)
  })

  it('gives its share back after an error, and takes too much as all', async () => {
    const semaphore = new Semaphore(2)
    await assert.rejects(semaphore.run(99, () => Promise.reject(new Error('no'))))
    assert.equal(await semaphore.run(2, () => Promise.resolve('free')), 'free')
  })
})
