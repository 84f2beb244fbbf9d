/** Replies that only name their data must carry what it was when they were made. */
import assert from 'node:assert/strict'
import { beforeEach, describe, it } from 'node:test'
import { PAGE_BYTES, SlabPool } from '../../../src/cache/slab-pool.js'
import { Arena } from '../../../src/virtio/arena.js'
import { DeferredReplies } from '../../../src/virtio/deferred-replies.js'
import {
  META_DATA_HIGH,
  META_DATA_LOW,
  META_FLAGS,
  META_REPLY_BYTES,
  REPLY_FLAG_DATA,
} from '../../../src/virtio/native.js'
import { heapMemory } from '../../lib/model/driver.js'

const SLOTS = 16
const META_BYTES = SLOTS * 32
const TWO_TO_32 = 2 ** 32

describe('named data', () => {
  const layout = {
    ...{ requestOffset: 0, replyOffset: SLOTS * 640, metaOffset: SLOTS * 960 },
    ...{ readyOffset: SLOTS * 960 + META_BYTES, doneOffset: SLOTS * 960 + META_BYTES + SLOTS * 4 },
    burstOffset: 0,
  }
  let arena: Arena
  let pool: SlabPool
  let named: DeferredReplies
  /** What was copied, and what it was then. */
  let copied: { slot: number; data: string }[]

  beforeEach(() => {
    arena = new Arena({ arena: new ArrayBuffer(SLOTS * 1024), layout }, SLOTS)
    pool = new SlabPool(heapMemory(16 << 20))
    copied = []
    const push = (slot: number, offset: number, lengthBytes: number): number => {
      copied.push({ slot, data: Buffer.from(pool.view(offset, lengthBytes)).toString('latin1') })
      return lengthBytes
    }
    named = new DeferredReplies(arena, { push }, SLOTS)
    pool.beforeLease = () => {
      named.copyNow()
    }
  })

  const meta = (slot: number, word: number): number => arena.words[arena.metaWordOf(slot) + word] as number
  const put = (offset: number, text: string): void => {
    pool.view(offset, text.length).set(Buffer.from(text))
  }

  it('is left to the addon, with its place and length', () => {
    named.beginBurst()
    assert.ok(named.name(3, 5 * TWO_TO_32 + 4096, 1000))
    named.endBurst()
    assert.equal(meta(3, META_FLAGS), REPLY_FLAG_DATA)
    assert.equal(meta(3, META_REPLY_BYTES), 1000)
    assert.equal(meta(3, META_DATA_HIGH) * TWO_TO_32 + meta(3, META_DATA_LOW), 5 * TWO_TO_32 + 4096)
    // Its request is completed: what comes later is none of its business.
    pool.lease(0)
    assert.deepEqual(copied, [])
  })

  it('is copied before its slab is given out again', () => {
    const slab = pool.lease(0)
    put(slab, 'as it was')
    named.beginBurst()
    assert.ok(named.name(1, slab, 9))
    assert.ok(named.name(2, slab + 6, 3))
    pool.release(slab)
    put(pool.lease(0), 'another..')
    assert.deepEqual(copied, [
      { slot: 1, data: 'as it was' },
      { slot: 2, data: 'was' },
    ])
    // The addon has nothing left to copy.
    assert.equal(meta(1, META_REPLY_BYTES), 0)
    named.copyNow()
    assert.equal(copied.length, 2)
  })

  it('is one piece for each reply: what follows is pushed behind it', () => {
    named.beginBurst()
    assert.ok(named.name(1, 0, 10))
    assert.equal(named.name(1, PAGE_BYTES, 10), false)
    named.copyNow()
    assert.equal(named.name(1, PAGE_BYTES, 10), false)
    assert.equal(copied.length, 1)
  })

  it('is only for requests that are answered within a burst', () => {
    assert.equal(named.name(1, 0, 10), false)
    assert.equal(meta(1, META_FLAGS), 0)
  })
})
