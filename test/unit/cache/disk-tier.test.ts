/** The cache's second tier against a map of what was read, at random; and what becomes of old versions, of evicted ranges and of a closed tier. */
import assert from 'node:assert/strict'
import {
  closeSync,
  fstatSync,
  mkdtempSync,
  openSync,
  readSync,
  readdirSync,
  readlinkSync,
  rmSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, it } from 'node:test'
import { DiskTier } from '../../../src/cache/disk-tier.js'
import { Random } from '../../lib/model/random.js'
import { assertSameBytes, randomBytes } from '../../support/bytes.js'

const MIB = 1 << 20
/** The least that the tier takes. */
const LIMIT_BYTES = 64 * MIB
const STEPS = 400

const directory = mkdtempSync(join(tmpdir(), 'ovfsd-tier-'))
after(() => {
  rmSync(directory, { recursive: true, force: true })
})

describe('the disk tier', () => {
  it('gives back what it was given, of the version that was asked for, or nothing', async (t) => {
    const seed = Number(process.env['OVFSD_SEED'] ?? Math.floor(Math.random() * 2 ** 31))
    t.diagnostic(`seed ${seed}`)
    const random = new Random(seed)
    const tier = new DiskTier(join(directory, 'random'), LIMIT_BYTES)
    const objects = Array.from({ length: 12 }, (_, i) => randomBytes(1 + random.below(20 * MIB), i + 1))
    const versions = objects.map(() => 1)
    for (let step = 0; step < STEPS; step++) {
      const index = random.below(objects.length)
      const object = objects[index] ?? Buffer.alloc(0)
      const [key, version] = [String(index), String(versions[index])]
      const start = random.below(object.length)
      const end = start + 1 + random.below(Math.min(6 * MIB, object.length - start))
      if (random.below(40) === 0) {
        objects[index] = randomBytes(object.length, seed + step)
        versions[index] = (versions[index] ?? 0) + 1
      }
      // Both at once: what is read may be evicted, or be just coming.
      const kept = tier.keep(key, version, start, object.subarray(start, end))
      const data = await tier.read(key, version, start, end)
      if (data !== null) assertSameBytes(data, object.subarray(start, end), `step ${step}`)
      if (random.below(2) === 0) await kept
      assert.ok(tier.stats().bytes <= LIMIT_BYTES)
    }
    assert.ok(tier.stats().hits > 0)
    tier.close()
  })

  it('gives nothing of another version, and forgets the old one', async () => {
    const tier = new DiskTier(join(directory, 'versions'), LIMIT_BYTES)
    await tier.keep('object', 'one', 0, randomBytes(1000))
    assert.equal(await tier.read('object', 'two', 0, 1000), null)
    await tier.keep('object', 'two', 0, randomBytes(500, 2))
    assert.equal(await tier.read('object', 'one', 0, 1000), null)
    assert.equal((await tier.read('object', 'two', 100, 200))?.length, 100)
    assert.equal(tier.stats().objects, 1)
    tier.close()
  })

  it('forgets an object, or what is below a directory, and what is just being written of it', async () => {
    const tier = new DiskTier(join(directory, 'forgotten'), LIMIT_BYTES)
    const data = randomBytes(1000)
    const keys = ['s/a', 's/a/b', 's/ab', 's/c']
    for (const key of keys) for (const start of [0, 2000, 4000]) await tier.keep(key, '1', start, data)
    const has = (key: string) => tier.read(key, '1', 0, 1000).then((found) => found !== null)
    const writing = tier.keep('s/a/new', '1', 0, data)
    tier.forgetBelow('s/a')
    await writing
    assert.deepEqual(await Promise.all([...keys, 's/a/new'].map(has)), [false, false, true, true, false])
    assert.equal(tier.stats().objects, 2)
    tier.forgetBelow('s')
    assert.deepEqual([tier.stats().objects, tier.stats().bytes], [0, 0])
    tier.close()
  })

  it('gives nothing that the disk has changed, counts it, and keeps it anew', async (t) => {
    const seed = Number(process.env['OVFSD_SEED'] ?? Math.floor(Math.random() * 2 ** 31))
    t.diagnostic(`seed ${seed}`)
    const random = new Random(seed)
    const folder = join(directory, 'flipped')
    const tier = new DiskTier(folder, LIMIT_BYTES)
    const object = randomBytes(3 * MIB + 5, seed)
    await tier.keep('object', 'v', 0, object)
    const blocks = openTier(folder)
    for (let round = 1; round <= 50; round++) {
      // One slab holds it, from the first byte of the file or another on.
      const at = findIn(blocks, object.subarray(0, 64)) + random.below(object.length)
      flip(blocks, at, random.below(8))
      const start = random.below(object.length)
      const end = start + 1 + random.below(object.length - start)
      const data = await tier.read('object', 'v', start, end)
      if (data !== null) assertSameBytes(data, object.subarray(start, end), `round ${round}`)
      const whole = await tier.read('object', 'v', 0, object.length)
      assert.equal(whole, null)
      assert.equal(tier.stats().errors, round)
      await tier.keep('object', 'v', 0, object)
    }
    closeSync(blocks)
    tier.close()
  })

  it('puts ranges together, and keeps no byte twice', async () => {
    const tier = new DiskTier(join(directory, 'ranges'), LIMIT_BYTES)
    const object = randomBytes(10 * MIB)
    const keep = (start: number, end: number) => tier.keep('o', 'v', start, object.subarray(start, end))
    await keep(0, MIB)
    await keep(2 * MIB, 3 * MIB)
    assert.equal(await tier.read('o', 'v', 0, 3 * MIB), null)
    await keep(0, 10 * MIB)
    assertSameBytes((await tier.read('o', 'v', 0, 10 * MIB)) ?? Buffer.alloc(0), object)
    const { bytes } = tier.stats()
    await keep(0, 10 * MIB)
    assert.equal(tier.stats().bytes, bytes)
    tier.close()
  })

  it('gives up what was not used for longest', async () => {
    const tier = new DiskTier(join(directory, 'oldest'), LIMIT_BYTES)
    const data = randomBytes(4 * MIB)
    for (let i = 0; i < 16; i++) await tier.keep(String(i), 'v', 0, data)
    assert.ok((await tier.read('0', 'v', 0, data.length)) !== null)
    await tier.keep('16', 'v', 0, data)
    assert.ok((await tier.read('0', 'v', 0, data.length)) !== null, 'used lately')
    assert.equal(await tier.read('1', 'v', 0, data.length), null)
    tier.close()
  })

  it('leaves no file', () => {
    const path = join(directory, 'files')
    const tier = new DiskTier(path, LIMIT_BYTES)
    assert.deepEqual(readdirSync(path), [])
    tier.close()
  })
})

/** The tier's file, which has no name any more: it is one of our own descriptors. */
function openTier(folder: string): number {
  const own = '/proc/self/fd'
  const descriptor = readdirSync(own).find((name) => {
    try {
      return readlinkSync(`${own}/${name}`).startsWith(`${folder}/`)
    } catch {
      // It was the listing's own.
      return false
    }
  })
  return openSync(`${own}/${descriptor ?? ''}`, 'r+')
}

function findIn(file: number, wanted: Buffer): number {
  const bytes = Buffer.alloc(wanted.length)
  const { size } = fstatSync(file)
  for (let position = 0; position < size; position += 4096) {
    readSync(file, bytes, 0, bytes.length, position)
    if (bytes.equals(wanted)) return position
  }
  return 0
}

function flip(file: number, position: number, bit: number): void {
  const byte = Buffer.alloc(1)
  readSync(file, byte, 0, 1, position)
  byte[0] = (byte[0] ?? 0) ^ (1 << bit)
  writeSync(file, byte, 0, 1, position)
}
