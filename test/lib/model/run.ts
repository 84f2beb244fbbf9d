/** The steps of the model test, and the comparison of a store's file system with the reference. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Backend } from '../../../src/backends/backend.js'
import { StorageError } from '../../../src/backends/storage-error.js'
import { FsError } from '../../../src/fs/fs-error.js'
import { withMembers } from '../../support/backends.js'
import { Driver } from './driver.js'
import { chooseSeed, Random } from './random.js'
import { ModelError, ModelFile, ReferenceFileSystem, type ModelNode, type Path } from './reference.js'

const COMPARE_STEPS = 250
const NAMES = ['a', 'b', 'c', 'd e', 'ü']
const MAX_DEPTH = 3
const MAX_OPEN = 6
const PART_BYTES = 64 << 10
const O_RDWR = 2
const O_EXCL = 0o200
const O_TRUNC = 0o1000
const O_APPEND = 0o2000

/** The same backend with small parts, so that a file of a few hundred kilobytes is a long upload. */
function withSmallParts(backend: Backend): Backend {
  return withMembers(backend, { capabilities: { ...backend.capabilities, partSizeBytes: PART_BYTES } })
}

/** A store to be compared with the reference. */
export interface ModelStore {
  readonly name: string
  make(): MadeStore | Promise<MadeStore>
}

export interface MadeStore {
  readonly backend: Backend
  /** What is in the hidden directory. */
  readonly leftOver: () => readonly string[] | Promise<readonly string[]>
}

interface OpenHandle {
  readonly fh: number
  readonly file: ModelFile
}

/** What a step did to either side: a value, or the errno it was refused with. */
async function outcome(work: () => unknown): Promise<unknown> {
  try {
    return { value: await work() }
  } catch (error) {
    if (error instanceof ModelError || error instanceof FsError || error instanceof StorageError) {
      return { errno: error.errno }
    }
    throw error
  }
}

function requireEqual(actual: Buffer, expected: Buffer, what: string): void {
  if (actual.equals(expected)) return
  const at = expected.findIndex((byte, index) => byte !== actual[index])
  assert.fail(`${what}: got ${actual.length} of ${expected.length} bytes, differs at ${at}`)
}

class Run {
  private readonly reference = new ReferenceFileSystem()
  private readonly handles: OpenHandle[] = []

  constructor(
    private readonly driver: Driver,
    private readonly random: Random,
  ) {}

  private path(): Path {
    return Array.from({ length: 1 + this.random.below(MAX_DEPTH) }, () => this.random.pick(NAMES))
  }

  /** Mostly small, at times across several blocks and parts. */
  private length(): number {
    return 1 + this.random.below(this.random.pick([10, 5000, 70_000, 300_000]))
  }

  private offset(file: ModelFile): number {
    const { length } = file.data
    return this.random.pick([0, length, this.random.below(length + 1), this.random.below(length + 200_000)])
  }

  private async compare(name: string, model: () => unknown, real: () => unknown): Promise<boolean> {
    const expected = await outcome(model)
    const actual = await outcome(real)
    assert.deepEqual(actual, expected, name)
    return !('errno' in (expected as object))
  }

  async step(): Promise<string> {
    const kind = this.random.below(100)
    if (kind < 25) return this.writeSome()
    if (kind < 40) return this.readSome()
    if (kind < 50) return this.openSome()
    if (kind < 58) return this.closeSome()
    if (kind < 64) return this.truncateSome()
    if (kind < 68) return this.syncSome()
    if (kind < 71) return this.zeroSome()
    if (kind < 77) return this.makeDirectory()
    if (kind < 87) return this.renameSome()
    if (kind < 91) return this.unlinkSome()
    if (kind < 94) return this.removeDirectory()
    if (kind < 97) return this.streamSome()
    return this.lookAround()
  }

  private handle(): OpenHandle | undefined {
    return this.handles.length === 0 ? undefined : this.random.pick(this.handles)
  }

  private async writeSome(): Promise<string> {
    const handle = this.handle()
    if (handle === undefined) return this.openSome()
    const bytes = this.random.bytes(this.length())
    const append = this.random.chance(0.2)
    const offset = append ? this.random.below(1000) : this.offset(handle.file)
    const at = append ? handle.file.data.length : offset
    assert.equal(await this.driver.write(handle.fh, offset, bytes, append ? O_APPEND : 0), bytes.length)
    handle.file.write(at, bytes)
    assert.equal(this.driver.sizeOf(handle.fh), handle.file.data.length)
    return `write ${at}+${bytes.length}`
  }

  /** A long run of appends, as of a program that writes a file from front to back. */
  private async streamSome(): Promise<string> {
    const handle = this.handle()
    if (handle === undefined) return this.openSome()
    if (this.random.chance(0.5)) {
      await this.driver.truncateHandle(handle.fh, 0)
      handle.file.resize(0)
    }
    const piece = 1 + this.random.below(60_000)
    for (let count = 4 + this.random.below(12); count > 0; count--) {
      const bytes = this.random.bytes(piece)
      const at = handle.file.data.length
      await this.driver.write(handle.fh, at, bytes)
      handle.file.write(at, bytes)
    }
    return `stream of ${piece}`
  }

  private async readSome(): Promise<string> {
    const handle = this.handle()
    if (handle === undefined) return this.openSome()
    const offset = this.offset(handle.file)
    const length = this.length()
    const actual = await this.driver.read(handle.fh, offset, length)
    const expected = handle.file.data.subarray(offset, offset + length)
    requireEqual(actual, expected, `read ${offset}+${length}`)
    return `read ${offset}+${length}`
  }

  private async openSome(): Promise<string> {
    if (this.handles.length >= MAX_OPEN) return this.closeSome()
    const path = this.path()
    const exclusive = this.random.chance(0.2)
    const truncate = this.random.chance(0.2)
    const flags = O_RDWR | (exclusive ? O_EXCL : 0) | (truncate ? O_TRUNC : 0)
    let file: ModelFile | undefined
    let fh = 0
    const opened = await this.compare(
      `open ${path.join('/')}`,
      () => {
        file = this.reference.create(path, exclusive, truncate)
      },
      async () => {
        fh = await this.driver.create(path, flags)
      },
    )
    if (opened && file !== undefined) this.handles.push({ fh, file })
    return `open ${path.join('/')}`
  }

  private async closeSome(): Promise<string> {
    const handle = this.handle()
    if (handle === undefined) return 'nothing open'
    this.handles.splice(this.handles.indexOf(handle), 1)
    await this.driver.close(handle.fh)
    return 'close'
  }

  private async syncSome(): Promise<string> {
    const handle = this.handle()
    if (handle !== undefined) await this.driver.fsync(handle.fh)
    return 'fsync'
  }

  private async truncateSome(): Promise<string> {
    const handle = this.handle()
    if (handle !== undefined && this.random.chance(0.7)) {
      const size = this.offset(handle.file)
      await this.driver.truncateHandle(handle.fh, size)
      handle.file.resize(size)
      return `ftruncate ${size}`
    }
    const path = this.path()
    const size = this.random.below(100_000)
    await this.compare(
      `truncate ${path.join('/')}`,
      () => {
        const node = this.reference.get(path)
        if (node.kind === 'directory') throw new ModelError('EISDIR')
        node.resize(size)
      },
      async () => {
        await this.driver.truncate(path, size)
      },
    )
    return `truncate ${path.join('/')} ${size}`
  }

  private async zeroSome(): Promise<string> {
    const handle = this.handle()
    if (handle === undefined) return 'nothing open'
    const offset = this.offset(handle.file)
    const length = this.length()
    const punch = this.random.chance(0.5)
    await this.driver.fallocate(handle.fh, punch ? 3 : 0, offset, length)
    const { data } = handle.file
    if (punch) data.fill(0, Math.min(offset, data.length), Math.min(offset + length, data.length))
    else if (offset + length > data.length) handle.file.resize(offset + length)
    return `fallocate ${punch ? 'punch' : 'grow'} ${offset}+${length}`
  }

  private async makeDirectory(): Promise<string> {
    const path = this.path()
    await this.compare(
      `mkdir ${path.join('/')}`,
      () => {
        this.reference.mkdir(path)
      },
      async () => {
        await this.driver.mkdir(path)
      },
    )
    return `mkdir ${path.join('/')}`
  }

  private async renameSome(): Promise<string> {
    const from = this.path()
    const to = this.path()
    const noReplace = this.random.chance(0.2)
    const name = `rename ${from.join('/')} to ${to.join('/')}${noReplace ? ' (no replace)' : ''}`
    await this.compare(
      name,
      () => {
        this.reference.rename(from, to, noReplace)
      },
      () => this.driver.rename(from, to, noReplace ? 1 : 0),
    )
    return name
  }

  private async unlinkSome(): Promise<string> {
    const path = this.path()
    await this.compare(
      `unlink ${path.join('/')}`,
      () => {
        this.reference.unlink(path)
      },
      () => this.driver.unlink(path),
    )
    return `unlink ${path.join('/')}`
  }

  private async removeDirectory(): Promise<string> {
    const path = this.path()
    await this.compare(
      `rmdir ${path.join('/')}`,
      () => {
        this.reference.rmdir(path)
      },
      () => this.driver.rmdir(path),
    )
    return `rmdir ${path.join('/')}`
  }

  private async lookAround(): Promise<string> {
    const path = this.path()
    await this.compare(
      `stat ${path.join('/')}`,
      () => {
        const node = this.reference.get(path)
        return { kind: node.kind, sizeBytes: node.kind === 'file' ? node.data.length : 0 }
      },
      () => this.driver.stat(path),
    )
    const directory = path.slice(0, -1)
    await this.compare(
      `list ${directory.join('/')}`,
      () => this.reference.list(directory),
      () => this.driver.list(directory),
    )
    return `look at ${path.join('/')}`
  }

  /** Several at once on different files: they may share blocks' memory, but must not share bytes. */
  async burst(): Promise<string> {
    const chosen = new Map(this.handles.map((handle) => [handle.file, handle]))
    await Promise.all(
      [...chosen.values()].map(async ({ fh, file }) => {
        const bytes = this.random.bytes(this.length())
        const offset = this.offset(file)
        file.write(offset, bytes)
        await this.driver.write(fh, offset, bytes)
        if (this.random.chance(0.3)) await this.driver.fsync(fh)
        assert.ok((await this.driver.read(fh, offset, bytes.length)).equals(bytes), 'a burst read back')
      }),
    )
    return 'burst'
  }

  async closeAll(): Promise<void> {
    for (const { fh } of this.handles.splice(0)) await this.driver.close(fh)
  }

  /** The whole tree, by listing and reading everything. */
  async compareTree(path: Path = [], node: ModelNode = this.reference.root): Promise<void> {
    if (node instanceof ModelFile) {
      const fh = await this.driver.open(path, 0)
      const actual = await this.driver.read(fh, 0, node.data.length + 1)
      await this.driver.close(fh)
      requireEqual(actual, node.data, `contents of ${path.join('/')}`)
      return
    }
    assert.deepEqual(await this.driver.list(path), this.reference.list(path), `list ${path.join('/')}`)
    for (const [name, child] of node.entries) await this.compareTree([...path, name], child)
  }

  /** The store itself, without the file system in between. */
  async compareStore(
    backend: Backend,
    path: Path = [],
    node: ModelNode = this.reference.root,
  ): Promise<void> {
    const joined = path.join('/')
    if (node instanceof ModelFile) {
      const stat = await backend.stat(joined)
      assert.ok(stat !== null, `${joined} is stored`)
      assert.equal(stat.sizeBytes, node.data.length, `stored size of ${joined}`)
      if (node.data.length === 0) return
      const stored = await backend.read(joined, 0, node.data.length, stat.version)
      assert.ok(node.data.equals(stored), `stored contents of ${joined}`)
      return
    }
    const names = (await backend.list(joined)).map(({ name }) => name).sort()
    assert.deepEqual(names, [...node.entries.keys()].sort(), `stored names of ${joined}`)
    for (const [name, child] of node.entries) await this.compareStore(backend, [...path, name], child)
  }
}

/** Declare the tests of a store: `steps` random steps with each way of caching. */
export function compareWithReference(store: ModelStore, steps: number): void {
  for (const writeBack of [false, true]) {
    for (const expirationMs of [0, Infinity]) {
      const title = `${store.name}, write-back ${writeBack ? 'on' : 'off'}, expiration ${expirationMs}`
      test(`agrees with the reference: ${title}`, async (t) => {
        const seed = chooseSeed()
        t.diagnostic(`seed ${seed}`)
        const { backend, leftOver } = await store.make()
        const driver = new Driver({
          backend: withSmallParts(backend),
          poolBytes: 4 << 20,
          expirationMs,
          cacheEnabled: expirationMs > 0,
          writeBack,
          dirtyExpireMs: 50,
        })
        const random = new Random(seed)
        const run = new Run(driver, random)
        const trail: string[] = []
        try {
          for (let step = 0; step < steps; step++) {
            trail.push(await (random.chance(0.03) ? run.burst() : run.step()))
            if (step % COMPARE_STEPS === COMPARE_STEPS - 1) await run.compareTree()
          }
          await run.closeAll()
          assert.equal(await driver.fs.close(() => undefined), 0, 'everything could be committed')
          await run.compareTree()
          await run.compareStore(backend)
        } catch (error) {
          throw new Error(
            `seed ${seed}, step ${trail.length}, after: ${trail.slice(-12).join('; ')}\n${error instanceof Error ? (error.stack ?? '') : String(error)}\n${driver.log.slice(-10).join('')}`,
          )
        }
        assert.deepEqual(await leftOver(), [], 'nothing is left in the hidden directory')
        assert.equal(driver.fs.files.count, 0)
        // What is still in memory is clean cache, and makes way for others.
        driver.fillPool()
        await driver.unusedFreed()
        assert.equal(driver.fs.inodes.count, 1, 'only the root is left')
      })
    }
  }
}
