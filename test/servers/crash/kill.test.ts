/**
 * The daemon is killed, and a new one started: what a close or fsync had acknowledged is there. On a host directory, and
 * at random moments on real servers too; OVFSD_SEED repeats a run.
 */
import assert from 'node:assert/strict'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, it, type TestContext } from 'node:test'
import { O_CREAT, O_RDWR } from '../../frontend/abi.js'
import { Daemon, OVFSD_MOUNT_POINT } from '../../frontend/daemon.js'
import type { FuseClient } from '../../frontend/fuse-client.js'
import { GuestFs } from '../../frontend/guest-fs.js'
import { Random } from '../../lib/model/random.js'
import { assertSameBytes, randomBytes } from '../../support/bytes.js'
import { cephStore, hdfsStore, swiftStore } from '../../support/server-stores.js'
import { eventually } from '../../support/served.js'
import type { PreparedStore } from '../../support/store.js'
import { Receiver } from '../../lib/tracing/spans.js'

const WRITE_BACK = 'enabled_cache_write_back = true'
/** Long enough that nothing is committed by age while a test runs. */
const NEVER = 'dirty_expire = "1h"'
/** So short that a kill often comes in the middle of a commit. */
const CONSTANTLY = 'dirty_expire = "10ms"'

let directory = ''
let cacheDirectory = ''
let running: { readonly daemon: Daemon; readonly client: FuseClient; readonly fs: GuestFs } | null = null

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'ovfsd-kill-'))
  cacheDirectory = mkdtempSync(join(tmpdir(), 'ovfsd-kill-cache-'))
})
afterEach(async () => {
  await stop()
  for (const path of [directory, cacheDirectory]) rmSync(path, { recursive: true, force: true })
})

async function start(settings: string, store: PreparedStore | null = null): Promise<GuestFs> {
  const daemon =
    store === null
      ? Daemon.ovfsd(directory, settings)
      : Daemon.ovfsdWith(
          { test: { ...store.options, type: store.type, mount_point: OVFSD_MOUNT_POINT } },
          settings,
        )
  const client = await daemon.mount()
  running = { daemon, client, fs: new GuestFs(client, { base: OVFSD_MOUNT_POINT }) }
  return running.fs
}

/** What the daemon has said. */
async function stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<string> {
  if (running === null) return ''
  const { daemon, client } = running
  running = null
  if (signal === 'SIGKILL') await daemon.stop(signal)
  client.close()
  await daemon.stop(signal)
  return daemon.stderr
}

const host = (path: string): string => join(directory, path)
const cacheDir = (): string => `cache_dir = ${JSON.stringify(cacheDirectory)}`

/** Files in which something is staged. */
function stagedRecords(): string[] {
  const staged = join(cacheDirectory, 'staged')
  if (!existsSync(staged)) return []
  return readdirSync(staged, { recursive: true, encoding: 'utf8' }).filter((path) =>
    statSync(join(staged, path)).isFile(),
  )
}

describe('what is staged in cache_dir when the daemon is killed', () => {
  it('is shown on its way to the store, where something is traced', async (t) => {
    const settings = [WRITE_BACK, NEVER, cacheDir()].join('\n')
    const fs = await start(settings)
    await fs.writeFile('staged', randomBytes(100_000, 8))
    assert.ok(stagedRecords().length > 0)
    await stop('SIGKILL')
    const collector = await Receiver.start()
    t.after(() => collector.close())
    await start(`${settings}\n[tracing]\nendpoint = "${collector.endpoint}"\nexport_interval = "100ms"`)
    await eventually('the span', () => collector.named('cache.recovery').length > 0)
    const [recovery] = collector.named('cache.recovery')
    assert.equal(recovery?.attributes['file.path'], `/${OVFSD_MOUNT_POINT}`)
    const within = collector.spans.filter(({ traceId }) => traceId === recovery.traceId)
    assert.ok(within.some(({ name }) => name === 'backend.write'))
  })

  it('is in the store when the next one has started', async () => {
    const old = randomBytes(3_000_000, 7)
    for (const name of ['changed', 'cut', 'moved']) writeFileSync(host(name), old)
    const settings = [WRITE_BACK, NEVER, cacheDir()].join('\n')
    const fs = await start(settings)
    const expected = new Map<string, Buffer>()

    const large = randomBytes(1_000_003)
    await fs.writeFile('new', large)
    await fs.writeFile('empty', '')
    const changed = await fs.open('changed', O_RDWR)
    for (const offset of [5, 1_000_000, 2_999_999]) await changed.write(offset, 'CHANGED')
    await changed.close()
    await fs.truncate('cut', 1000)
    const cut = await fs.open('cut', O_RDWR)
    await cut.write(5000, 'behind a hole')
    await cut.close()
    await fs.mkdir('folder')
    await fs.writeFile('folder/inside', 'in a folder')
    await fs.rename('folder', 'renamed')
    const moved = await fs.open('moved', O_RDWR)
    await moved.write(0, 'MOVED')
    await moved.close()
    await fs.rename('moved', 'renamed/moved')
    await fs.writeFile('removed', 'not wanted')
    await fs.unlink('removed')
    await fs.writeFile('twice', 'the first time')
    await fs.writeFile('twice', 'the second time')
    await fs.utimes('twice', 1_234_567_890, 1_234_567_890)

    // The test would show nothing if the store had it already.
    assert.deepEqual(readdirSync(directory).sort(), ['changed', 'cut', 'renamed'])
    assertSameBytes(readFileSync(host('changed')), old, 'the stored file')
    assert.ok(stagedRecords().length >= 6, 'records are there')
    await stop('SIGKILL')

    expected.set('new', large)
    expected.set('empty', Buffer.alloc(0))
    const changedBytes = Buffer.alloc(3_000_006)
    old.copy(changedBytes)
    for (const offset of [5, 1_000_000, 2_999_999]) changedBytes.write('CHANGED', offset)
    expected.set('changed', changedBytes)
    const cutBytes = Buffer.alloc(5013)
    old.copy(cutBytes, 0, 0, 1000)
    cutBytes.write('behind a hole', 5000)
    expected.set('cut', cutBytes)
    expected.set('renamed/inside', Buffer.from('in a folder'))
    const movedBytes = Buffer.from(old)
    movedBytes.write('MOVED')
    expected.set('renamed/moved', movedBytes)
    expected.set('twice', Buffer.from('the second time'))

    const again = await start(settings)
    for (const [path, bytes] of expected) {
      assertSameBytes(await again.readFile(path), bytes, path)
      assertSameBytes(readFileSync(host(path)), bytes, `${path} on the host`)
    }
    assert.equal(statSync(host('twice')).mtimeMs, 1_234_567_890_000)
    assert.equal(await again.exists('removed'), false)
    assert.deepEqual(stagedRecords(), [])
    assert.match(await stop(), /stored what an earlier daemon had staged/)
  })

  it('is kept aside where somebody else has changed the file meanwhile, and their data stays', async () => {
    writeFileSync(host('file'), 'as it was')
    const settings = [WRITE_BACK, NEVER, cacheDir()].join('\n')
    const fs = await start(settings)
    await fs.writeFile('file', 'changed by the guest')
    await fs.writeFile('made', 'made by the guest')
    await stop('SIGKILL')
    writeFileSync(host('file'), 'changed by the host')
    writeFileSync(host('made'), 'made by the host')
    const again = await start(settings)
    assert.equal(await again.readText('file'), 'changed by the host')
    assert.equal(await again.readText('made'), 'made by the host')
    assert.equal(stagedRecords().filter((path) => path.includes('conflicts')).length, 2)
    assert.match(await stop(), /changed by others; its bytes are kept/)
  })

  it('is nothing that the store has, or that was never closed', async () => {
    const fs = await start([WRITE_BACK, CONSTANTLY, cacheDir()].join('\n'))
    await fs.writeFile('committed', 'x')
    const file = await fs.open('committed', O_RDWR)
    await file.write(0, 'y')
    await file.fsync()
    assert.deepEqual(stagedRecords(), [])
    await file.write(0, 'z')
    assert.deepEqual(stagedRecords(), [])
    await file.close()
  })

  it('is of one daemon: a second one with the same directory does not start', async () => {
    await start(cacheDir())
    const second = Daemon.ovfsd(directory, cacheDir())
    await assert.rejects(second.connect(), /another daemon uses/)
    assert.equal(await second.stop(), 1)
  })
})

/** A file that one worker changes, step by step. */
interface State {
  readonly path: string
  readonly data: Buffer
}

/** What a worker's file may be: as it was acknowledged last, or as the step under way makes it. */
interface Worker {
  acknowledged: State | null
  pending: State | null
  /** What was under way when the daemon was killed: a server may do what it had been sent some time later. */
  late: State | null
  /** All that it ever was or was to become, to tell what went wrong. */
  readonly history: State[]
}

const WORKERS = 6
const MAX_BYTES = 200_000

/** Random steps, each acknowledged by `settle` or not, until the daemon is gone. */
async function work(
  fs: GuestFs,
  worker: Worker,
  index: number,
  random: Random,
  usesFsync: boolean,
  acknowledged: () => void,
): Promise<void> {
  for (let step = 0; ; step++) {
    const before = worker.acknowledged
    if (before !== null && random.below(5) === 0) {
      const path = `file-${index}-${step}`
      worker.pending = { path, data: before.data }
      worker.history.push(worker.pending)
      await fs.rename(before.path, path)
    } else {
      await changeFile(
        fs,
        worker,
        before ?? { path: `file-${index}`, data: Buffer.alloc(0) },
        random,
        usesFsync,
      )
    }
    worker.acknowledged = worker.pending
    acknowledged()
  }
}

async function changeFile(
  fs: GuestFs,
  worker: Worker,
  { path, data: before }: State,
  random: Random,
  usesFsync: boolean,
): Promise<void> {
  const offset = random.below(before.length + 5000)
  const piece = randomBytes(
    1 + random.below(MAX_BYTES - Math.min(offset, MAX_BYTES - 1)),
    random.below(2 ** 31),
  )
  const data = Buffer.alloc(Math.max(before.length, offset + piece.length))
  before.copy(data)
  piece.copy(data, offset)
  worker.pending = { path, data }
  worker.history.push(worker.pending)
  const file = await fs.open(path, O_RDWR | O_CREAT)
  await file.write(offset, piece)
  if (usesFsync) await file.fsync()
  await file.close()
}

async function killAtRandom(
  t: TestContext,
  settings: string,
  usesFsync: boolean,
  rounds: number,
  store: PreparedStore | null = null,
): Promise<void> {
  const seed = Number(process.env['OVFSD_SEED'] ?? Math.floor(Math.random() * 2 ** 31))
  t.diagnostic(`seed ${seed}`)
  const random = new Random(seed)
  const workers: Worker[] = Array.from({ length: WORKERS }, () => ({
    ...{ acknowledged: null, pending: null, late: null, history: [] },
  }))
  for (let round = 0; round < rounds; round++) {
    const fs = await start(settings, store)
    await verify(fs, workers, `seed ${seed}, round ${round}`)
    let left = 1 + random.below(60)
    let working = WORKERS
    await new Promise<void>((resolve, reject) => {
      for (const [index, worker] of workers.entries()) {
        // Whatever is under way when the daemon is killed never ends, or fails. A busy server may refuse a step before: then
        // it is not acknowledged, and the others go on.
        work(fs, worker, index, new Random(random.below(2 ** 31)), usesFsync, () => {
          left--
          if (left === 0) resolve()
        }).catch((error: unknown) => {
          if (left <= 0) return
          t.diagnostic(`a step failed: ${String(error)}`)
          working--
          if (working === 0) reject(new Error('no step succeeds any more', { cause: error }))
        })
      }
    })
    await stop('SIGKILL')
  }
  await verify(await start(settings, store), workers, `seed ${seed}, the end`)
}

/** Each file is as it was acknowledged, or as the step makes it that was under way; from here on as it was found. */
async function verify(fs: GuestFs, workers: Worker[], when: string): Promise<void> {
  const names = await fs.list()
  for (const worker of workers) {
    const { acknowledged, pending, late } = worker
    const allowed = [acknowledged, pending, late].filter((state) => state !== null)
    const found = []
    for (const { path } of allowed)
      if (names.includes(path)) found.push({ path, data: await fs.readFile(path) })
    if (acknowledged === null && found.length === 0) continue
    const match = found.find(({ path, data }) =>
      allowed.some((state) => state.path === path && isState(data, state, acknowledged)),
    )
    assert.ok(match !== undefined, `${when}: ${whatIsWrong(worker, found)}`)
    worker.acknowledged = match
    worker.late = pending
    worker.pending = null
  }
}

/** Which steps are acknowledged, under way and found: the place in the worker's history of each. */
function whatIsWrong({ acknowledged, pending, late, history }: Worker, found: readonly State[]): string {
  const step = (state: State | null): string => {
    if (state === null) return 'nothing'
    const sameData = history.flatMap(({ data }, index) => (data.equals(state.data) ? [index] : []))
    return `${state.path} with the data of step ${sameData.join('/') || 'none'}`
  }
  return `acknowledged ${step(acknowledged)}; under way ${step(pending)}; late ${step(late)}; found ${found.map(step).join(', ') || 'nothing'} of ${history.length}`
}

/** A file that was just made may be stored before its first write. */
function isState(data: Buffer, state: State, acknowledged: State | null): boolean {
  return data.equals(state.data) || (acknowledged === null && data.length === 0)
}

describe('a daemon that is killed at random moments under load loses nothing', () => {
  it('that a close has acknowledged, without write-back', (t) => killAtRandom(t, '', false, 6))

  it('that fsync has acknowledged, with write-back', (t) =>
    killAtRandom(t, [WRITE_BACK, CONSTANTLY].join('\n'), true, 6))

  it('that a close has acknowledged, with write-back and cache_dir', (t) =>
    killAtRandom(t, [WRITE_BACK, CONSTANTLY, cacheDir()].join('\n'), false, 8))
})

for (const kind of [cephStore, swiftStore, hdfsStore]) {
  const title = `a daemon on ${kind.name} that is killed at random moments under load loses nothing`
  describe(title, { skip: kind.problem ?? false }, () => {
    let store: PreparedStore
    beforeEach(async () => {
      store = await kind.prepare()
    })
    afterEach(async () => {
      await stop()
      await store.dispose()
    })

    it('that a close has acknowledged, without write-back', (t) => killAtRandom(t, '', false, 3, store))

    it('that a close has acknowledged, with write-back and cache_dir', (t) =>
      killAtRandom(t, [WRITE_BACK, CONSTANTLY, cacheDir()].join('\n'), false, 3, store))
  })
}
