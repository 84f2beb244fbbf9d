import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import {
  LARGEST_SLAB_BYTES,
  SIZE_CLASSES,
  SlabPool,
  classHolding,
  slabBytes,
} from '../../../src/cache/slab-pool.js'
import { heapMemory } from '../../lib/model/driver.js'
import { Random, chooseSeed } from '../../lib/model/random.js'

const POOL_BYTES = 4 * LARGEST_SLAB_BYTES

describe('SlabPool', () => {
  it('hands out every byte once and takes it back', () => {
    for (let sizeClass = 0; sizeClass < SIZE_CLASSES; sizeClass++) {
      const pool = new SlabPool(heapMemory(POOL_BYTES))
      const slabs = new Set<number>()
      for (let offset = pool.lease(sizeClass); offset >= 0; offset = pool.lease(sizeClass)) slabs.add(offset)
      assert.equal(slabs.size, POOL_BYTES / slabBytes(sizeClass))
      assert.equal(pool.leasedBytes, POOL_BYTES)
      for (const offset of slabs) {
        assert.equal(offset % slabBytes(sizeClass), 0)
        pool.release(offset)
      }
      assert.equal(pool.leasedBytes, 0)
      // All merged again: the largest class is there as at the start.
      for (let i = 0; i < POOL_BYTES / LARGEST_SLAB_BYTES; i++)
        assert.notEqual(pool.lease(SIZE_CLASSES - 1), -1)
      assert.equal(pool.lease(0), -1)
    }
  })

  it('rounds its budget down to whole slabs of the largest class', () => {
    assert.equal(new SlabPool(heapMemory(LARGEST_SLAB_BYTES + 4096)).sizeBytes, LARGEST_SLAB_BYTES)
  })

  it('refuses to release what is not leased', () => {
    const pool = new SlabPool(heapMemory(LARGEST_SLAB_BYTES))
    const offset = pool.lease(0)
    pool.release(offset)
    assert.throws(() => {
      pool.release(offset)
    }, /not leased/)
    assert.throws(() => {
      pool.release(offset + 4096)
    }, /not leased/)
  })

  it('never lets two slabs overlap and loses none, at random', (t) => {
    const seed = chooseSeed()
    t.diagnostic(`seed ${seed}`)
    const random = new Random(seed)
    const pool = new SlabPool(heapMemory(POOL_BYTES))
    const pages = new Int32Array(POOL_BYTES / 4096)
    const leased = new Map<number, number>()
    for (let step = 0; step < 20_000; step++) {
      if (random.chance(0.55)) {
        const sizeClass = random.below(SIZE_CLASSES)
        const offset = pool.lease(sizeClass)
        if (offset < 0) continue
        for (let page = offset / 4096; page < (offset + slabBytes(sizeClass)) / 4096; page++) {
          assert.equal(pages[page], 0, `page ${page} is leased twice`)
          pages[page] = 1
        }
        leased.set(offset, sizeClass)
      } else if (leased.size > 0) {
        const [offset, sizeClass] = random.pick([...leased])
        pages.fill(0, offset / 4096, (offset + slabBytes(sizeClass)) / 4096)
        leased.delete(offset)
        pool.release(offset)
      }
      const expected = [...leased.values()].reduce((total, sizeClass) => total + slabBytes(sizeClass), 0)
      assert.equal(pool.leasedBytes, expected)
      assert.equal(pool.leasedSlabs, leased.size)
    }
    for (const offset of leased.keys()) pool.release(offset)
    for (let i = 0; i < POOL_BYTES / LARGEST_SLAB_BYTES; i++)
      assert.notEqual(pool.lease(SIZE_CLASSES - 1), -1)
  })

  it('finds the class that holds a size', () => {
    assert.deepEqual(
      [1, 4096, 4097, 16_384, 65_537, 1 << 20, 1 << 30].map(classHolding),
      [0, 0, 1, 1, 3, 4, 5],
    )
  })
})
