import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { Semaphore } from '../../../src/backends/semaphore.js'
import {
  assertLockOrder,
  holding,
  holdingNothing,
  mayWaitFor,
} from '../../../src/observability/lock-order.js'

assertLockOrder()

describe('the order of locks', () => {
  it('lets whoever holds one wait for those behind it', async () => {
    await holding('names', () =>
      holding('commits', () =>
        holding('paths', () => new Semaphore(1, 'fetches').run(1, () => Promise.resolve())),
      ),
    )
  })

  it('refuses one that comes before what is held, over any number of turns', async () => {
    await holding('fetches', async () => {
      await Promise.resolve()
      assert.throws(() => {
        mayWaitFor('paths')
      }, /lock order: paths is waited for while fetches is held/)
    })
    mayWaitFor('paths')
  })

  it('refuses a second path, between which a move of both would wait for ever', async () => {
    await holding('paths', () => {
      assert.throws(() => {
        mayWaitFor('paths')
      })
      return Promise.resolve()
    })
  })

  it('holds nothing in what goes on by itself', async () => {
    await holding('fetches', async () => {
      await holdingNothing(async () => {
        await Promise.resolve()
        mayWaitFor('renames')
      })
    })
  })
})
