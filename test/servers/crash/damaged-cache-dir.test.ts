/**
 * The disk under `cache_dir` loses and changes what it was given, while a daemon uses it: readers get the store's bytes, writers
 * lose nothing while the daemon lives, and the next daemon tells of each record that it can't read, and stores all others.
 */
import assert from 'node:assert/strict'
import {
  closeSync,
  cpSync,
  fstatSync,
  lstatSync,
  ftruncateSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  readSync,
  rmSync,
  truncateSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, it } from 'node:test'
import { Staging } from '../../../src/cache/staging.js'
import { O_RDONLY } from '../../frontend/abi.js'
import type { GuestFs } from '../../frontend/guest-fs.js'
import { chooseSeed, Random } from '../../lib/model/random.js'
import { assertSameBytes, randomBytes } from '../../support/bytes.js'
import { FakeS3 } from '../../support/fake-s3.js'
import { eventually, serve, TINY_POOL_BYTES, type Served } from '../../support/served.js'

const MIB = 1 << 20
/** Half as much again as the pool holds, so that the disk is asked. */
const LARGE_FILES = 8
const LARGE_BYTES = 3 * MIB
const SMALL_NAMES = ['a', 'b', 'c', 'd', 'e', 'f']
const MAX_SMALL_BYTES = 20_000
const ROUNDS = 250
/** Rounds from one death to the next. */
const LIFE_ROUNDS = 50
const FLIPS = 16
/** Beyond any test: nothing is stored before the end. */
const NEVER_MS = 3_600_000
const UNREADABLE = 'a staged file can not be read as it was written'

type Damage = 'flipped' | 'truncated' | 'removed' | 'a directory'

/** What is at a path of the host: bytes, a directory, or nothing. */
type Found = Buffer | 'directory' | 'nothing'

function foundAt(path: string): Found {
  const stat = lstatSync(path, { throwIfNoEntry: false })
  if (stat === undefined) return 'nothing'
  return stat.isDirectory() ? 'directory' : readFileSync(path)
}

const root = mkdtempSync(join(tmpdir(), 'ovfsd-damaged-'))
after(() => {
  rmSync(root, { recursive: true, force: true })
})

function serveCached(store: FakeS3, cacheDir: string): Promise<Served> {
  const prepared = { type: 's3', options: store.options, view: null, hostDirectory: null }
  const prepare = () => Promise.resolve({ ...prepared, dispose: () => Promise.resolve() })
  return serve({
    // The store's key is what its options are: the next daemon's server listens on another port.
    mounts: [{ store: { prepare }, storeKey: 'the store' }],
    settings: {
      cacheSizeBytes: TINY_POOL_BYTES,
      cacheDir,
      writeBack: true,
      dirtyExpireMs: NEVER_MS,
      cacheDirDurability: 'process',
    },
  })
}

/** The tier's file, which has no name any more. */
function openTier(cacheDir: string): number {
  const own = '/proc/self/fd'
  const isTier = (name: string): boolean => {
    try {
      return readlinkSync(`${own}/${name}`).startsWith(join(cacheDir, 'blocks'))
    } catch {
      // It was the listing's own.
      return false
    }
  }
  return openSync(`${own}/${readdirSync(own).find(isTier) ?? ''}`, 'r+')
}

function flip(file: number, position: number, bit: number): void {
  const byte = Buffer.alloc(1)
  if (readSync(file, byte, 0, 1, position) === 0) return
  byte[0] = (byte[0] ?? 0) ^ (1 << bit)
  writeSync(file, byte, 0, 1, position)
}

class Run {
  private readonly large = Array.from({ length: LARGE_FILES }, (_, i) => randomBytes(LARGE_BYTES, i + 1))
  /** What each file has now. */
  private readonly small = new Map<string, Buffer>()
  /** All that was ever written. */
  private readonly written: Buffer[] = []
  /** What damage has left, by the path of a record's file. */
  private readonly damaged = new Map<string, Found>()
  private tier = -1
  told = 0
  recovered = 0

  constructor(
    private readonly random: Random,
    private readonly store: FakeS3,
    private readonly cacheDir: string,
  ) {}

  /** The disk has what does not fit in memory, and gives it back. */
  async begin(served: Served): Promise<void> {
    this.large.forEach((data, index) => this.store.put(`large${index}`, data))
    this.tier = openTier(this.cacheDir)
    const fs = served.guestFs()
    const readAll = async (): Promise<void> => {
      for (const [index, data] of this.large.entries())
        assertSameBytes(await fs.readFile(`large${index}`), data)
    }
    await readAll()
    const kept = (): boolean => (served.stats().diskTier?.bytes ?? 0) >= LARGE_FILES * LARGE_BYTES
    await eventually('all of it is kept', kept)
    await readAll()
    assert.ok((served.stats().diskTier?.hits ?? 0) > 0)
  }

  end(): void {
    closeSync(this.tier)
  }

  private get staged(): string {
    return join(this.cacheDir, 'staged')
  }

  /** Files of records, not those of their places. */
  private records(directory = this.staged): string[] {
    return readdirSync(directory, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.name.includes('-') && !entry.parentPath.endsWith('broken'))
      .map((entry) => join(entry.parentPath, entry.name))
  }

  async round(fs: GuestFs): Promise<void> {
    const choice = this.random.below(20)
    if (choice < 9) return this.read(fs)
    if (choice < 12) return this.write(fs)
    if (choice < 15) return this.rename(fs)
    if (choice < 16) return this.damageTier()
    if (choice < 18) return this.damageRecord()
    return this.readBack(fs)
  }

  /** Any part of what does not fit in memory. */
  private async read(fs: GuestFs): Promise<void> {
    const index = this.random.below(LARGE_FILES)
    const file = await fs.open(`large${index}`, O_RDONLY)
    const start = this.random.below(LARGE_BYTES)
    const size = 1 + this.random.below(LARGE_BYTES - start)
    const wanted = (this.large[index] ?? Buffer.alloc(0)).subarray(start, start + size)
    assertSameBytes(await file.read(start, size), wanted, `large${index} from ${start}`)
    await file.close()
  }

  private async write(fs: GuestFs): Promise<void> {
    const name = this.random.pick(SMALL_NAMES)
    const data = randomBytes(1 + this.random.below(MAX_SMALL_BYTES), this.random.below(2 ** 31) + 1)
    await fs.writeFile(name, data)
    this.small.set(name, data)
    this.written.push(data)
  }

  /** It may be refused where its record can't be amended; then all is as it was. */
  private async rename(fs: GuestFs): Promise<void> {
    const [from, to] = [this.random.pick(SMALL_NAMES), this.random.pick(SMALL_NAMES)]
    const data = this.small.get(from)
    if (data === undefined || from === to) return
    try {
      await fs.rename(from, to)
    } catch {
      return this.readBack(fs)
    }
    this.small.delete(from)
    this.small.set(to, data)
  }

  private async readBack(fs: GuestFs): Promise<void> {
    for (const [name, data] of this.small) assertSameBytes(await fs.readFile(name), data, name)
  }

  private damageTier(): Promise<void> {
    const { size } = fstatSync(this.tier)
    if (this.random.chance(0.2)) ftruncateSync(this.tier, this.random.below(size + 1))
    else
      for (let i = 0; i < FLIPS; i++)
        flip(this.tier, this.random.below(Math.max(1, size)), this.random.below(8))
    return Promise.resolve()
  }

  private damageRecord(): Promise<void> {
    const records = this.records().filter((path) => !this.isDamaged(path))
    if (records.length === 0) return Promise.resolve()
    const path = this.random.pick(records)
    const damage = this.random.pick<Damage>(['flipped', 'truncated', 'removed', 'a directory'])
    const data = readFileSync(path)
    if (damage === 'flipped') {
      const at = this.random.below(data.length)
      data[at] = (data[at] ?? 0) ^ (1 << this.random.below(8))
      writeFileSync(path, data)
    } else if (damage === 'truncated') truncateSync(path, this.random.below(data.length))
    else rmSync(path)
    if (damage === 'a directory') mkdirSync(path)
    this.damaged.set(path, foundAt(path))
    return Promise.resolve()
  }

  /** And was not written anew since. */
  private isDamaged(path: string): boolean {
    const left = this.damaged.get(path)
    if (left === undefined) return false
    const found = foundAt(path)
    return typeof left === 'string' || typeof found === 'string' ? left === found : left.equals(found)
  }

  /** The daemon is killed now, and another one finds what it has left. */
  async nextDaemon(life: number): Promise<void> {
    const cacheDir = join(root, `life-${life}`)
    mkdirSync(cacheDir)
    cpSync(this.staged, join(cacheDir, 'staged'), { recursive: true })
    const broken = this.records().filter((path) => this.isDamaged(path))
    // A place without its record is of nothing.
    const records = new Set(
      broken.map((path) => path.replace(/\.place$/, '')).filter((path) => foundAt(path) !== 'nothing'),
    )
    const whole = await this.wholeIn(join(cacheDir, 'staged'))
    const store = await FakeS3.start()
    for (const [key, object] of this.store.objects) store.objects.set(key, object)
    const served = await serveCached(store, cacheDir)
    try {
      const fs = served.guestFs()
      await this.checkFound(fs, whole)
      await eventually(
        () => `${records.size} are told of: ${[...records].join(' ')}\n${served.log.join('\n')}`,
        () => served.log.filter((line) => line.includes(UNREADABLE)).length >= records.size,
      )
      this.told += records.size
      // Whatever was found, the mount works.
      await fs.writeFile('after', 'all is well')
      assert.equal(await fs.readText('after'), 'all is well')
    } finally {
      await served.close()
      await store.stop()
    }
  }

  /** Files whose records the disk has as they were written. */
  private async wholeIn(staged: string): Promise<string[]> {
    const copy = `${staged}-looked-at`
    cpSync(staged, copy, { recursive: true })
    const names: string[] = []
    for (const store of readdirSync(copy)) {
      for (const { id, paths } of await new Staging(join(copy, store), 'process').found()) {
        const files = [id, `${id}.place`].map((name) => join(this.staged, store, name))
        if (!files.some((path) => this.isDamaged(path))) names.push(paths.at(-1) ?? '')
      }
    }
    return names
  }

  private async checkFound(fs: GuestFs, whole: readonly string[]): Promise<void> {
    const names = await fs.list()
    for (let index = 0; index < LARGE_FILES; index++) assert.ok(names.includes(`large${index}`))
    for (const name of SMALL_NAMES) {
      if (!names.includes(name)) continue
      const found = await fs.readFile(name)
      // Where a record is lost the store may have an older object by this name.
      assert.ok(
        this.written.some((data) => data.equals(found)),
        `nobody has ever written what is in ${name}`,
      )
    }
    for (const name of whole)
      assertSameBytes(await fs.readFile(name), this.small.get(name) ?? Buffer.alloc(0), name)
    this.recovered += whole.length
  }

  /** The living daemon has it all in memory: the store has it when it ends. */
  checkStored(): void {
    for (const [name, data] of this.small)
      assertSameBytes(this.store.objects.get(name)?.data ?? Buffer.alloc(0), data, name)
  }
}

describe('a cache_dir whose disk is damaged', () => {
  it('gives no wrong byte, loses nothing of a living daemon, and is told of by the next', async (t) => {
    const seed = chooseSeed()
    t.diagnostic(`seed ${seed}`)
    const store = await FakeS3.start()
    const cacheDir = join(root, 'cache')
    const served = await serveCached(store, cacheDir)
    const run = new Run(new Random(seed), store, cacheDir)
    try {
      await run.begin(served)
      for (let round = 1; round <= ROUNDS; round++) {
        await run.round(served.guestFs())
        if (round % LIFE_ROUNDS === 0) await run.nextDaemon(round / LIFE_ROUNDS)
      }
      const { hits, errors } = served.stats().diskTier ?? { hits: 0, errors: 0 }
      t.diagnostic(
        `${hits} hits of the disk, ${errors} errors, ${run.recovered} records recovered, ${run.told} told of`,
      )
    } finally {
      run.end()
      await served.close()
    }
    run.checkStored()
    await store.stop()
  })
})
