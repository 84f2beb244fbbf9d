/**
 * How much memory a daemon of its own process takes at most, under work that makes it take much: its cache's size and what
 * BOUND_BYTES adds, whatever the guest does. The guest's memory, which the daemon has mapped, is the guest's.
 */
import assert from 'node:assert/strict'
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, it } from 'node:test'
import { forEachConcurrently } from '../../../src/backends/concurrency.js'
import { O_CREAT, O_RDONLY, O_RDWR } from '../../frontend/abi.js'
import { Daemon } from '../../frontend/daemon.js'
import type { FuseClient } from '../../frontend/fuse-client.js'
import { GuestFs } from '../../frontend/guest-fs.js'
import { Random } from '../../lib/model/random.js'
import { randomBytes } from '../../support/bytes.js'
import { cephStore } from '../../support/server-stores.js'
import type { PreparedStore } from '../../support/store.js'

const MIB = 1 << 20
const CACHE_MIB = 64
const GUEST_BYTES = 64 * MIB
/**
 * Beside the cache: code of Node.js and OpenDAL (60 MiB), answers on their way into slabs and parts of uploads (40), and the
 * heap with what is known of files (30 to 80). Measured: 165 MiB while data moves, 180 with a cache full of small files, 185 in
 * the end; more where the collector's threads get no processor.
 */
const BOUND_BYTES = 224 * MIB
/** Several times the cache. */
const LARGE_BYTES = 320 * MIB
const LARGE_FILES = 3
const DEPTH = 16
/** Files of one directory that are looked up and forgotten, over and over. */
const NAMES = 5000
const ROUNDS = 3
/** Files of a page: half as many again as the cache has slabs for. */
const SMALL_FILES = 24_000
const SMALL_BYTES = 4096
const SAMPLE_MS = 10

interface Memory {
  /** Of the process alone, the pool included, and of the files that it has mapped. */
  own: number
  /** What the daemon has touched of the guest's memory. */
  shared: number
}

function memoryOf(pid: number): Memory {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  const field = (name: string): number =>
    Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status)?.[1]) * 1024
  return { own: field('RssAnon') + field('RssFile'), shared: field('RssShmem') }
}

function indices(count: number): number[] {
  return Array.from({ length: count }, (_, index) => index)
}

describe("the daemon's memory", { skip: existsSync('/proc/self/status') ? false : 'needs /proc' }, () => {
  let directory = ''
  let store: PreparedStore
  let daemon: Daemon
  let client: FuseClient
  let sampler: NodeJS.Timeout
  const most: Memory = { own: 0, shared: 0 }

  before(async () => {
    directory = mkdtempSync(join(tmpdir(), 'ovfsd-memory-'))
    mkdirSync(join(directory, 'host'))
    store = await cephStore.prepare()
    const profiles = {
      host: { type: 'fs', mount_point: 'host', root: join(directory, 'host') },
      s3: { ...store.options, type: store.type, mount_point: 's3' },
    }
    daemon = Daemon.ovfsdWith(profiles, `cache_size = "${CACHE_MIB}MiB"`)
    client = await daemon.mount({ memoryBytes: GUEST_BYTES })
    sampler = setInterval(sample, SAMPLE_MS)
  })
  after(async () => {
    clearInterval(sampler)
    client.close()
    await daemon.stop()
    await store.dispose()
    rmSync(directory, { recursive: true, force: true })
  })

  function sample(): void {
    const { own, shared } = memoryOf(daemon.process.pid ?? 0)
    most.own = Math.max(most.own, own)
    most.shared = Math.max(most.shared, shared)
  }

  function requireBounded(): void {
    sample()
    const [own, shared] = [most.own, most.shared].map((bytes) => Math.round(bytes / MIB))
    const told = `${own} MiB of its own, ${shared} MiB shared`
    assert.ok(most.own <= CACHE_MIB * MIB + BOUND_BYTES, told)
    assert.ok(most.shared <= GUEST_BYTES, told)
  }

  for (const mount of ['host', 's3']) {
    it(`is bounded while files of several times the cache are written and read (${mount})`, async (t) => {
      const fs = new GuestFs(client, { base: mount })
      const piece = randomBytes(MIB)
      await forEachConcurrently(indices(LARGE_FILES), LARGE_FILES, async (index) => {
        const file = await fs.open(`large-${index}`, O_CREAT | O_RDWR)
        for (let offset = 0; offset < LARGE_BYTES; offset += MIB) await file.write(offset, piece)
        await file.close()
      })
      const file = await fs.open('large-0', O_RDONLY)
      const random = new Random(1)
      await forEachConcurrently(indices(40 * DEPTH), DEPTH, async (index) => {
        const offset = index % 2 === 0 ? random.below(LARGE_BYTES - MIB) : index * MIB * 0.5
        await file.read(offset, index % 3 === 0 ? MIB : 4096)
      })
      await file.close()
      t.diagnostic(
        `${Math.round(most.own / MIB)} MiB of its own, ${Math.round(most.shared / MIB)} MiB shared`,
      )
      requireBounded()
    })
  }

  it('is bounded while the cache is full of small files', async (t) => {
    const small = join(directory, 'host', 'small')
    mkdirSync(small)
    const content = randomBytes(SMALL_BYTES)
    for (let i = 0; i < SMALL_FILES; i++) writeFileSync(join(small, `file-${i}`), content)
    const fs = new GuestFs(client, { base: 'host' })
    await forEachConcurrently(indices(SMALL_FILES), DEPTH, async (index) => {
      assert.ok((await fs.readFile(`small/file-${index}`)).equals(content))
    })
    t.diagnostic(`${Math.round(memoryOf(daemon.process.pid ?? 0).own / MIB)} MiB of its own`)
    requireBounded()
  })

  it('does not grow with names that are listed, looked up and forgotten', async (t) => {
    const many = join(directory, 'host', 'many')
    mkdirSync(many)
    for (let i = 0; i < NAMES; i++) writeFileSync(join(many, `name-${i}`), '')
    const fs = new GuestFs(client, { base: 'host' })
    const rounds: number[] = []
    for (let round = 0; round < ROUNDS; round++) {
      assert.equal((await fs.listWithAttributes('many')).size, NAMES)
      await forEachConcurrently(indices(NAMES), DEPTH, async (index) => {
        assert.equal(await fs.exists(`many/missing-${round}-${index}`), false)
      })
      rounds.push(memoryOf(daemon.process.pid ?? 0).own)
    }
    t.diagnostic(
      `${rounds.map((bytes) => Math.round(bytes / MIB)).join(', ')} MiB of its own after each round`,
    )
    requireBounded()
  })
})
