/** A daemon of its own process whose guest lists a large directory: its memory, the stalls of its loop, and what it asks of the store. */
import {
  mkdirSync,
  mkdtempSync,
  closeSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
  existsSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { Daemon } from '../frontend/daemon.js'
import type { FuseClient } from '../frontend/fuse-client.js'
import { DELAY_FILE, RESET } from './loop-delay.js'
import { DIRECTORY, nameOf, startManyNames, type Requests } from './many-names-s3.js'

export type ListedStore = 'fs' | 's3'
export type ListedBy = 'READDIR' | 'READDIRPLUS'

export interface ListingCost {
  readonly names: number
  readonly seconds: number
  /** Of the daemon beside what it had before, at the most. */
  readonly memoryBytes: number
  readonly loop: LoopStalls
  readonly requests: Requests
  /** Of a look at each of the first names of the directory after it was listed; only of S3. */
  readonly looksRequests: Requests
}

/** Of the daemon's event loop between two ticks of a timer of a millisecond. */
export interface LoopStalls {
  /** What its thread worked at the most. */
  readonly longestWorkMs: number
  /** The same with what it waited for a processor, which depends on what else the host does. */
  readonly longestMs: number
  /** Ticks. */
  readonly turns: number
}

const SAMPLE_MS = 10
/** As a guest's kernel asks. */
const READ_BYTES = 32_768
/** Looks at names after the listing. */
const LOOKS = 20_000
const LOOKS_AT_ONCE = 32

function memoryOf(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8')
  const field = (name: string): number =>
    Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(status)?.[1]) * 1024
  return field('RssAnon') + field('RssFile')
}

/** Names of a directory through a FUSE request, each page forgotten as by a guest that needs its memory. */
async function listAll(client: FuseClient, nodeid: number, by: ListedBy): Promise<number> {
  const { fh } = await client.opendir(nodeid)
  let names = 0
  for (let offset: number | bigint = 0; ;) {
    const page: readonly { off: number | bigint; name: string; entry?: { nodeid: number } }[] =
      by === 'READDIR'
        ? await client.readdir(nodeid, fh, offset, READ_BYTES)
        : await client.readdirplus(nodeid, fh, offset, READ_BYTES)
    const last = page.at(-1)
    if (last === undefined) break
    offset = last.off
    names += page.filter(({ name }) => name !== '.' && name !== '..').length
    const looked = page.flatMap(({ entry }) =>
      entry === undefined || entry.nodeid === 0 ? [] : [entry.nodeid],
    )
    if (looked.length > 0) await client.batchForget(looked.map((each) => [each, 1]))
  }
  await client.releasedir(nodeid, fh)
  return names
}

async function lookAtFirst(client: FuseClient, nodeid: number, count: number): Promise<void> {
  for (let first = 0; first < count; first += LOOKS_AT_ONCE) {
    const indices = Array.from(
      { length: Math.min(LOOKS_AT_ONCE, count - first) },
      (_, index) => first + index,
    )
    const entries = await Promise.all(indices.map((index) => client.lookup(nodeid, nameOf(index))))
    await client.batchForget(entries.map((entry) => [entry.nodeid, 1]))
  }
}

function fillHost(directory: string, names: number): void {
  mkdirSync(directory)
  for (let index = 0; index < names; index++) closeSync(openSync(join(directory, nameOf(index)), 'w'))
}

function since(requests: Requests, before: Requests): Requests {
  return Object.fromEntries(
    Object.entries(requests).map(([kind, count]) => [kind, count - (before[kind] ?? 0)]),
  )
}

/** The store stays for several measurements. */
export async function prepareStore(
  store: ListedStore,
  names: number,
): Promise<{
  readonly profile: Readonly<Record<string, string>>
  readonly requests: () => Promise<Requests>
  readonly dispose: () => void
}> {
  if (store === 's3') {
    const server = await startManyNames(names)
    return {
      profile: { ...server.options, type: 's3', mount_point: 'm' },
      requests: () => server.requests(),
      dispose: () => {
        server.stop()
      },
    }
  }
  const root = mkdtempSync(join(tmpdir(), 'ovfsd-large-'))
  fillHost(join(root, DIRECTORY), names)
  return {
    profile: { type: 'fs', mount_point: 'm', root },
    requests: () => Promise.resolve({}),
    dispose: () => {
      rmSync(root, { recursive: true, force: true })
    },
  }
}

export async function measureListing(
  { profile, requests }: Awaited<ReturnType<typeof prepareStore>>,
  by: ListedBy,
): Promise<ListingCost> {
  const directory = mkdtempSync(join(tmpdir(), 'ovfsd-stall-'))
  const delayFile = join(directory, 'delay')
  process.env[DELAY_FILE] = delayFile
  process.env['NODE_OPTIONS'] = `--import=${new URL('./loop-delay.js', import.meta.url).href}`
  const daemon = Daemon.ovfsdWith({ many: profile }, 'cache_size = "16MiB"')
  delete process.env['NODE_OPTIONS']
  let sampler: NodeJS.Timeout | undefined
  const client = await daemon.mount({ memoryBytes: 16 << 20 })
  try {
    const { nodeid: mount } = await client.lookup(1, 'm')
    const { nodeid } = await client.lookup(mount, DIRECTORY)
    // What is compiled and connected at the first request is no part of it.
    const { fh } = await client.opendir(nodeid)
    await client.readdir(nodeid, fh, 0, READ_BYTES)
    await client.releasedir(nodeid, fh)
    const pid = daemon.process.pid ?? 0
    const before = memoryOf(pid)
    let most = before
    sampler = setInterval(() => (most = Math.max(most, memoryOf(pid))), SAMPLE_MS)
    writeFileSync(delayFile + RESET, '')
    while (existsSync(delayFile + RESET)) await delay(SAMPLE_MS)
    const asked = await requests()
    const startMs = performance.now()
    const names = await listAll(client, nodeid, by)
    const seconds = (performance.now() - startMs) / 1000
    // Longer than the daemon takes to write it.
    await delay(100)
    const loop = JSON.parse(readFileSync(delayFile, 'utf8')) as LoopStalls
    const listed = await requests()
    if (profile['type'] === 's3') await lookAtFirst(client, nodeid, Math.min(LOOKS, names))
    const looked = await requests()
    return {
      ...{ names, seconds, loop, memoryBytes: most - before },
      requests: since(listed, asked),
      looksRequests: since(looked, listed),
    }
  } finally {
    clearInterval(sampler)
    client.close()
    await daemon.stop()
    rmSync(directory, { recursive: true, force: true })
  }
}
