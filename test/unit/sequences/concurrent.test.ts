/** Programs that work on the same few files at once, with budgets as small as they can be: every operation ends, and what is stored in the end is whole. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { Semaphore } from '../../../src/backends/semaphore.js'
import { StorageError } from '../../../src/backends/storage-error.js'
import { FsError } from '../../../src/fs/fs-error.js'
import { Driver } from '../../lib/model/driver.js'
import { chooseSeed, Random } from '../../lib/model/random.js'
import type { Path } from '../../lib/model/reference.js'
import { ReferenceBackend } from '../../lib/reference-store/reference-backend.js'
import { O_APPEND, O_RDWR, O_TRUNC } from '../../lib/sequences/guest.js'
import { STORE_KINDS, type StoreKind } from '../../lib/sequences/stores.js'

const POOL_BYTES = 4 << 20
const DIRTY_BYTES = 256 << 10
/** A read or a part of a commit at a time. */
const BUDGET_BYTES = 64 << 10
const PART_BYTES = 64 << 10
const DIRECTORIES = ['x', 'y'] as const
const FILES = [['a'], ['b'], ['c'], ['d'], ['x', 'a'], ['x', 'b'], ['y', 'a']] as const
/** Longer than a third of the pool, so that no three of them fit. */
const LARGE_BYTES = 1_500_000
const PROGRAMS = 6
const OPERATIONS = 25
const ROUNDS = 3
/** Nothing here waits for anything but others, ms. */
const DEADLINE_MS = 30_000

class Town {
  readonly backend: ReferenceBackend
  readonly driver: Driver
  /** What has begun and not ended. */
  readonly pending = new Set<string>()

  constructor(
    kind: StoreKind,
    private readonly random: Random,
    writeBack: boolean,
  ) {
    this.backend = new ReferenceBackend({ ...kind.options, partSizeBytes: PART_BYTES })
    this.driver = new Driver({
      ...{ backend: this.backend, poolBytes: POOL_BYTES, dirtyMaxBytes: DIRTY_BYTES, writeBack },
      ...{ expirationMs: random.pick([0, Infinity]), cacheEnabled: true, dirtyExpireMs: 60_000 },
    })
    const { account } = this.driver.root.mount
    Object.assign(account, {
      fetchBudget: new Semaphore(BUDGET_BYTES),
      commitBudget: new Semaphore(BUDGET_BYTES),
    })
    for (const file of FILES) this.backend.store.outsideWrite(file.join('/'), Buffer.alloc(LARGE_BYTES, 'A'))
  }

  async program(number: number): Promise<void> {
    for (let operation = 0; operation < OPERATIONS; operation++) {
      const name = `${number}.${operation}`
      this.pending.add(name)
      try {
        await this.operate((what) => {
          this.pending.delete(name)
          this.pending.add(`${name}: ${what}`)
        })
      } catch (error) {
        if (!(error instanceof FsError || error instanceof StorageError)) throw error
        // ENOENT, where somebody has moved it away; that it ends is what counts.
      }
      for (const each of this.pending) if (each.startsWith(name)) this.pending.delete(each)
    }
  }

  private async operate(told: (what: string) => void): Promise<void> {
    const { driver, random } = this
    const file = random.pick(FILES)
    const chance = random.below(100)
    if (chance < 10) {
      const to = random.pick(FILES)
      told(`rename ${file.join('/')} ${to.join('/')}`)
      return driver.rename(file, to, 0)
    }
    if (chance < 14) {
      told(`unlink ${file.join('/')}`)
      return driver.unlink(file)
    }
    if (chance < 20) {
      told(`truncate ${file.join('/')}`)
      await driver.truncate(file, random.below(LARGE_BYTES))
      return
    }
    if (chance < 23) {
      told('sync')
      await driver.fs.commitAll(() => undefined)
      return
    }
    if (chance < 30) return this.changeDirectory(told)
    if (chance < 33) {
      told(`utimens ${file.join('/')}`)
      await driver.setattr(file, { mtime: { seconds: random.below(1e9), nanoseconds: 0 } })
      return
    }
    if (chance < 37) return this.copy(file, random.pick(FILES), told)
    const empties = random.chance(0.1)
    const appends = random.chance(0.1)
    told(`open ${file.join('/')}`)
    const flags = O_RDWR | (empties ? O_TRUNC : 0) | (appends ? O_APPEND : 0)
    const fh = await driver.create(file, flags)
    try {
      if (chance < 55) await this.readAll(fh, told)
      else if (chance < 78) await this.scatter(fh, told)
      else await this.stream(fh, told)
    } finally {
      told(`close ${file.join('/')}`)
      await driver.flush(fh).finally(() => driver.release(fh))
    }
  }

  private async changeDirectory(told: (what: string) => void): Promise<void> {
    const { driver, random } = this
    const directory = random.pick(DIRECTORIES)
    const chance = random.below(3)
    told(`${['mkdir', 'rmdir', 'rename'][chance] ?? ''} ${directory}`)
    if (chance === 0) await driver.mkdir([directory])
    else if (chance === 1) await driver.rmdir([directory])
    else await driver.rename([directory], [random.pick(DIRECTORIES)], 0)
  }

  private async copy(from: Path, to: Path, told: (what: string) => void): Promise<void> {
    const { driver } = this
    told(`copy ${from.join('/')} ${to.join('/')}`)
    const source = await driver.open(from, 0)
    try {
      const target = await driver.create(to, O_RDWR | O_TRUNC)
      try {
        await driver.copyRange(source, target, LARGE_BYTES)
      } finally {
        await driver.flush(target).finally(() => driver.release(target))
      }
    } finally {
      await driver.release(source)
    }
  }

  private async readAll(fh: number, told: (what: string) => void): Promise<void> {
    told(`read ${fh}`)
    const step = this.random.pick([100_000, 1 << 20])
    for (let offset = 0; offset < this.driver.sizeOf(fh); offset += step)
      await this.driver.read(fh, offset, step)
  }

  private async scatter(fh: number, told: (what: string) => void): Promise<void> {
    told(`write here and there ${fh}`)
    for (let count = 0; count < 12; count++) {
      const offset = this.random.below(LARGE_BYTES)
      await this.driver.write(fh, offset, Buffer.alloc(1 + this.random.below(20_000), 'b'))
    }
    if (this.random.chance(0.2)) await this.driver.fallocate(fh, 0, 0, this.random.below(LARGE_BYTES) + 1)
    told(`fsync ${fh}`)
    await this.driver.fsync(fh)
  }

  private async stream(fh: number, told: (what: string) => void): Promise<void> {
    told(`stream ${fh}`)
    await this.driver.truncateHandle(fh, 0)
    for (let offset = 0; offset < LARGE_BYTES; offset += 100_000)
      await this.driver.write(fh, offset, Buffer.alloc(100_000, 'c'))
  }
}

async function within<T>(town: Town, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const deadline = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(() => {
      reject(new Error(`these never end: ${[...town.pending].join(', ')}`))
    }, DEADLINE_MS)
  })
  try {
    return await Promise.race([work, deadline])
  } finally {
    clearTimeout(timer)
  }
}

describe('programs that work on the same files at once', () => {
  for (const kind of STORE_KINDS) {
    for (const writeBack of [false, true]) {
      it(`${kind.name}, write-back ${writeBack ? 'on' : 'off'}`, async (t) => {
        const seed = chooseSeed()
        t.diagnostic(`OVFSD_SEED=${seed}`)
        const random = new Random(seed)
        for (let round = 0; round < ROUNDS; round++) {
          const town = new Town(kind, random, writeBack)
          const { driver } = town
          await within(
            town,
            Promise.all(Array.from({ length: PROGRAMS }, (_, number) => town.program(number))),
          )
          town.pending.add('stop')
          assert.equal(
            await within(
              town,
              driver.fs.close(() => undefined),
            ),
            0,
            `round ${round}: files are lost`,
          )
          assert.deepEqual(town.backend.store.hidden(), [], 'something is left of removed files')
          for (const [path, { data }] of town.backend.store.visible()) {
            const strange = data.findIndex((byte) => ![0x41, 0x62, 0x63, 0].includes(byte))
            assert.equal(strange, -1, `${path} has a byte that nobody wrote`)
          }
        }
      })
    }
  }
})
