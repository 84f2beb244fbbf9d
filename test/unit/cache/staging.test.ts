/** Records of what a store does not have yet: given back whole and at the right place, or set aside and told. */
import assert from 'node:assert/strict'
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, it, type TestContext } from 'node:test'
import { crc32 } from 'node:zlib'
import { hostFiles, type HostFiles } from '../../../src/cache/durable-directory.js'
import { RecordReader } from '../../../src/cache/record-reader.js'
import type { StagedDescription, StagedPlace } from '../../../src/cache/staged-record.js'
import { Staging, type BrokenRecord } from '../../../src/cache/staging.js'
import { Random, chooseSeed } from '../../lib/model/random.js'
import { assertSameBytes, randomBytes } from '../../support/bytes.js'

const MIB = 1 << 20
/** More than a description in JSON could have had. */
const MANY_RANGES = 900_000

const root = mkdtempSync(join(tmpdir(), 'ovfsd-staging-'))
after(() => {
  rmSync(root, { recursive: true, force: true })
})

const PLACE: StagedPlace = {
  paths: ['file'],
  mtime: null,
  attributes: undefined,
  base: 'v1',
  expected: 'v1',
  marks: [],
  next: null,
}

function describing(
  ranges: (readonly [number, number])[],
  more: Partial<StagedDescription> = {},
): StagedDescription {
  const sizeBytes = ranges.at(-1)?.[1] ?? 0
  return { ...PLACE, sizeBytes, baseLimit: 0, ranges, replaces: null, ...more }
}

async function dataOf(staging: Staging, id: string): Promise<Buffer> {
  const reader = await RecordReader.open(staging.pathOf(id))
  try {
    return await reader.read(0, reader.dataBytes)
  } finally {
    await reader.close()
  }
}

/** What the next daemon finds in a copy of the directory, and what it tells. */
async function nextDaemon(
  directory: string,
): Promise<{ staging: Staging; paths: string[]; told: BrokenRecord[] }> {
  const copy = mkdtempSync(join(root, 'next-'))
  cpSync(directory, copy, { recursive: true })
  const staging = new Staging(copy)
  const told: BrokenRecord[] = []
  const found = await staging.found((broken) => told.push(broken))
  return { staging, paths: found.map(({ paths }) => paths.join(' ')).sort(), told }
}

describe('staged records', () => {
  it('give back what was written, of any length, in any number of ranges', async (t) => {
    const random = seeded(t)
    const directory = join(root, 'lengths')
    const staging = new Staging(directory)
    for (const length of [0, 1, MIB - 1, MIB, MIB + 1, 5 * MIB, 9 * MIB + 7]) {
      const ranges: [number, number][] = []
      const data = randomBytes(length, length)
      const pieces: Buffer[] = []
      for (let done = 0, position = 0; done < length;) {
        const bytes = Math.min(length - done, 1 + random.below(2 * MIB))
        position += 1 + random.below(1000)
        ranges.push([position, position + bytes])
        pieces.push(data.subarray(done, done + bytes))
        position += bytes
        done += bytes
      }
      const id = await staging.write(describing(ranges), pieces)
      assertSameBytes(await dataOf(staging, id), data, `${length} bytes`)
      const found = await new Staging(directory).found()
      assert.deepEqual(found.at(-1)?.ranges, ranges)
      await staging.forget(id)
    }
    assert.deepEqual(readdirSync(directory), [])
  })

  it('have no number of ranges at which they are garbage, and offsets beyond 32 bits', async () => {
    const directory = join(root, 'ranges')
    const ranges = Array.from(
      { length: MANY_RANGES },
      (_, i) => [2 ** 40 + 2 * i, 2 ** 40 + 2 * i + 1] as const,
    )
    const one = new Uint8Array([7])
    await new Staging(directory).write(
      describing(ranges),
      (function* () {
        for (let i = 0; i < ranges.length; i++) yield one
      })(),
    )
    const [found] = await new Staging(directory).found()
    assert.equal(found?.ranges.length, MANY_RANGES)
    assert.deepEqual(found.ranges.at(-1), ranges.at(-1))
  })

  it('are set aside and told, wherever a bit of them is wrong or they are cut', async (t) => {
    const random = seeded(t)
    const directory = join(root, 'flipped')
    const staging = new Staging(directory)
    const data = randomBytes(2 * MIB + 100)
    const id = await staging.write(describing([[5, data.length + 5]]), [data])
    await staging.write(describing([[0, 4]], { paths: ['unconcerned'] }), [Buffer.from('good')])
    await staging.amend(id, { ...PLACE, paths: ['moved'] })
    const whole = readFileSync(join(directory, id))
    const place = readFileSync(join(directory, `${id}.place`))
    // The end, where every byte has its meaning, and anywhere.
    const positions = Array.from({ length: 40 }, (_, i) => whole.length - 1 - 8 * i - random.below(8))
    for (let i = 0; i < 20; i++) positions.push(random.below(whole.length))
    const damages = [
      ...positions.map((at) => ({ name: id, bytes: flipped(whole, at, random.below(8)) })),
      ...[0, 1, 39, 40, MIB, whole.length - 1].map((length) => ({
        name: id,
        bytes: whole.subarray(0, length),
      })),
      { name: id, bytes: Buffer.concat([whole, whole.subarray(-100)]) },
      ...Array.from(place, (_, at) => ({ name: `${id}.place`, bytes: flipped(place, at, random.below(8)) })),
      ...[0, 5, 9, place.length - 1].map((length) => ({
        name: `${id}.place`,
        bytes: place.subarray(0, length),
      })),
    ]
    for (const { name, bytes } of damages) {
      writeFileSync(join(directory, name), bytes)
      const next = await nextDaemon(directory)
      assert.deepEqual(next.paths, ['unconcerned'], `${name}, ${bytes.length} bytes`)
      assert.equal(next.told.length, 1)
      const kept = next.told[0]?.keptAs ?? ''
      assert.ok(kept.startsWith(join(next.staging.directory, 'broken')))
      assertSameBytes(readFileSync(kept), name === id ? bytes : whole, 'what was left')
      writeFileSync(join(directory, id), whole)
      writeFileSync(join(directory, `${id}.place`), place)
    }
    assert.deepEqual((await nextDaemon(directory)).paths, ['moved', 'unconcerned'])
  })

  it('take the place of older ones, which count as long as the newer is not whole', async () => {
    const directory = join(root, 'replaced')
    const staging = new Staging(directory)
    const old = await staging.write(describing([[0, 3]], { paths: ['old'] }), [Buffer.from('old')])
    const newer = await staging.write(describing([[0, 3]], { paths: ['new'], replaces: old }), [
      Buffer.from('new'),
    ])
    assert.deepEqual((await nextDaemon(directory)).paths, ['new'])
    writeFileSync(join(directory, newer), 'not a record')
    assert.deepEqual((await nextDaemon(directory)).paths, ['old'])
  })

  it('are of one file each: of two the one that was the last to say so', async () => {
    const directory = join(root, 'same name')
    const staging = new Staging(directory)
    const older = await staging.write(describing([[0, 3]]), [Buffer.from('old')])
    await staging.amend(older, { ...PLACE, paths: ['elsewhere'] })
    const younger = await staging.write(describing([[0, 3]]), [Buffer.from('new')])
    assert.deepEqual((await nextDaemon(directory)).paths, ['elsewhere', 'file'])
    // The disk has lost where the older one's file went, and there is nothing to see of that.
    rmSync(join(directory, `${older}.place`))
    const found = await nextDaemon(directory)
    assert.deepEqual(found.paths, ['file'])
    assert.equal(found.told.length, 1)
    assert.equal((await dataOf(found.staging, younger)).toString(), 'new')
    // The older one's file was renamed over the younger one's, which a crash has brought back.
    await staging.amend(older, PLACE)
    const renamed = await nextDaemon(directory)
    assert.deepEqual(renamed.paths, ['file'])
    assert.equal((await dataOf(renamed.staging, older)).toString(), 'old')
    assert.ok(renamed.told[0]?.keptAs.includes(younger))
    // While that rename is under way, both are what they are.
    await staging.amend(older, { ...PLACE, paths: ['from', 'file'] })
    assert.deepEqual((await nextDaemon(directory)).paths, ['file', 'from file'])
  })

  it('are not taken for those of an earlier process while this one has them', async () => {
    const staging = new Staging(join(root, 'own'))
    const id = await staging.write(describing([[0, 3]]), [Buffer.from('own')])
    assert.ok(staging.isEmpty)
    assert.deepEqual(await staging.found(), [])
    staging.leave(id)
    assert.deepEqual(
      (await staging.found()).map((found) => found.id),
      [id],
    )
  })

  it('of older daemons are read', async () => {
    const directory = join(root, 'older')
    mkdirSync(directory)
    const data = Buffer.from('data')
    const description = { ...describing([[3, 7]]), expected: undefined, marks: undefined, next: undefined }
    const json = Buffer.from(
      JSON.stringify({ ...description, replacesAny: true, dataBytes: data.length, dataCrc: crc32(data) }),
    )
    const numbers = Buffer.alloc(8)
    numbers.writeUInt32LE(json.length, 0)
    numbers.writeUInt32LE(crc32(json), 4)
    const record = Buffer.concat([data, json, numbers, Buffer.from('OVFSSTG1')])
    writeFileSync(join(directory, 'older'), record)
    writeFileSync(join(directory, 'older.place'), JSON.stringify({ paths: ['moved'], mtime: null }))
    const [found] = await new Staging(directory).found()
    assert.deepEqual(found?.paths, ['moved'])
    assert.deepEqual([found.expected, found.marks, found.next, found.replacesAny], ['v1', [], null, true])
    for (let at = 0; at < record.length; at++) {
      writeFileSync(join(directory, 'older'), flipped(record, at, at % 8))
      assert.deepEqual((await nextDaemon(directory)).paths, [], `byte ${at}`)
    }
  })

  it('that were never finished, and places without a record, are removed', async () => {
    const directory = join(root, 'remnants')
    const staging = new Staging(directory)
    writeFileSync(join(directory, 'a.1.new'), 'half')
    writeFileSync(join(directory, 'b.place'), 'of nothing')
    assert.deepEqual(await staging.found(), [])
    assert.deepEqual(readdirSync(directory), [])
  })

  it('are amended in the order of the calls', async () => {
    const directory = join(root, 'amended')
    const staging = new Staging(directory)
    const id = await staging.write(describing([[0, 3]]), [Buffer.from('abc')])
    await Promise.all(
      Array.from({ length: 20 }, (_, i) => staging.amend(id, { ...PLACE, paths: [`name${i}`] })),
    )
    assert.deepEqual((await nextDaemon(directory)).paths, ['name19'])
    await staging.forget(id)
    assert.deepEqual(readdirSync(directory), [])
  })

  it('share the flushes of their directory: of many at once, two', async () => {
    let syncs = 0
    let release: () => void = () => undefined
    const gate = new Promise<void>((resolve) => {
      release = resolve
    })
    const files: HostFiles = {
      ...hostFiles,
      syncDirectory: async (directory) => {
        syncs++
        await gate
        await hostFiles.syncDirectory(directory)
      },
    }
    const staging = new Staging(join(root, 'group'), 'host', files)
    const writes = Array.from({ length: 50 }, () => staging.write(describing([[0, 1]]), [Buffer.from('x')]))
    const places = (): number =>
      readdirSync(staging.directory).filter((name) => !name.endsWith('.new')).length
    while (places() < writes.length) await new Promise(setImmediate)
    release()
    await Promise.all(writes)
    assert.equal(syncs, 2)
  })

  it('are flushed only where they are to survive the host', async () => {
    for (const [durability, expected] of [
      ['host', 2],
      ['process', 0],
    ] as const) {
      let flushes = 0
      const files: HostFiles = {
        ...hostFiles,
        create: async (path) => {
          const file = await hostFiles.create(path)
          return {
            write: (data) => file.write(data),
            sync: () => (flushes++, file.sync()),
            close: () => file.close(),
          }
        },
        syncDirectory: (path) => (flushes++, hostFiles.syncDirectory(path)),
      }
      const staging = new Staging(join(root, durability), durability, files)
      await staging.write(describing([[0, 1]]), [Buffer.from('x')])
      assert.equal(flushes, expected)
      assert.ok(statSync(staging.directory).isDirectory())
    }
  })
})

function seeded(t: TestContext): Random {
  const seed = chooseSeed()
  t.diagnostic(`seed ${seed}`)
  return new Random(seed)
}

function flipped(bytes: Buffer, at: number, bit: number): Buffer {
  const copy = Buffer.from(bytes)
  copy[at] = (copy[at] ?? 0) ^ (1 << bit)
  return copy
}
