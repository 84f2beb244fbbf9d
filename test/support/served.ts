/**
 * The daemon's core in the test's own process, mounted by the tests' front-end:
 *
 *     const served = await serve({ mounts: [{ store: directoryStore, mountPoint: ['m'], readOnly: true }] })
 *     const fs = served.guestFs('m')
 *     ...
 *     await served.close()
 */
import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import type { CircuitOptions } from '../../src/backends/layers/circuit.js'
import type { FileSystem } from '../../src/fs/file-system.js'
import type { GuestCache } from '../../src/fs/mount.js'
import type { InterposeRules } from '../../src/interpose/rules.js'
import { assertLockOrder } from '../../src/observability/lock-order.js'
import { createLogger } from '../../src/observability/logger.js'
import { Server, type ServerSettings, type ServerStats } from '../../src/server/server.js'
import type { FrontEndOptions } from '../frontend/front-end.js'
import { FuseClient } from '../frontend/fuse-client.js'
import { GuestFs, type GuestFsOptions } from '../frontend/guest-fs.js'
import { STORES, type PreparedStore, type Store, type StoreProperties, type StoreView } from './stores.js'

assertLockOrder()

/** The smallest pool that the configuration takes. */
export const TINY_POOL_BYTES = 16 << 20

export interface MountSpec {
  readonly store: Pick<Store, 'prepare'>
  /** Which storage it is, whatever leads there. Default: the store's options. */
  readonly storeKey?: string
  /** Default: ['m']. */
  readonly mountPoint?: readonly string[]
  readonly readOnly?: boolean
  readonly uid?: number
  readonly gid?: number
  readonly fileMode?: number
  readonly dirMode?: number
  readonly keepAttributes?: boolean
  readonly guestCache?: GuestCache
  /** Default: a minute, longer than any test. */
  readonly expirationMs?: number
  /** Of one call to the store. Default: half a minute. */
  readonly timeoutMs?: number
  /** Default: none, so that each call is made. */
  readonly circuit?: CircuitOptions
  /** Default: nothing is interposed. */
  readonly interpose?: InterposeRules
}

export type ClientOptions = Omit<FrontEndOptions, 'socketPath'>

export interface ServeOptions {
  readonly mounts: readonly MountSpec[]
  readonly settings?: Partial<Omit<ServerSettings, 'socketPath' | 'socketMode'>>
  readonly client?: ClientOptions
}

/** What the daemon logs when an exception was none of the errors it knows. No test ever expects it. */
const DEFECT = 'a defect of ours'
const DEADLINE_MS = 10_000

const DEFAULT_SETTINGS = {
  socketMode: 0o600,
  enabledCache: true,
  writeBack: false,
  cacheSizeBytes: 64 << 20,
  cacheDir: null,
  cacheDirSizeBytes: 64 << 20,
  dirtyExpireMs: 60_000,
  dirtyMaxBytes: null,
  requestQueues: 2,
  guestWriteback: false,
  // Polling would only keep the front-end, which lives in the same process, from being heard.
  pollWindowUs: 0,
  requestMetrics: true,
}

/** What a reload sets, when nothing but mounts changes. */
export const RELOAD_SETTINGS = {
  writeBack: false,
  dirtyExpireMs: 60_000,
  dirtyMaxBytes: null,
  reloadGraceMs: 60_000,
  requestMetrics: true,
}

/** A running server and the client that has mounted it. */
export class Served {
  /** The present connection; `reconnect` replaces it. */
  client: FuseClient
  readonly server: Server
  readonly socketPath: string
  readonly stores: readonly PreparedStore[]
  /** The log so far, a JSON line each. */
  readonly log: readonly string[]
  readonly #directory: string
  readonly #waiting: (() => void)[]
  #closed = false

  /** By {@link serve} only. */
  constructor(parts: {
    readonly client: FuseClient
    readonly server: Server
    readonly socketPath: string
    readonly stores: readonly PreparedStore[]
    readonly log: readonly string[]
    readonly directory: string
    readonly waiting: (() => void)[]
  }) {
    this.client = parts.client
    this.server = parts.server
    this.socketPath = parts.socketPath
    this.stores = parts.stores
    this.log = parts.log
    this.#directory = parts.directory
    this.#waiting = parts.waiting
  }

  guestFs(base = 'm', options: Omit<GuestFsOptions, 'base'> = {}): GuestFs {
    return new GuestFs(this.client, { ...options, base })
  }

  /** The nodeid of a path from the root; each step counts as a lookup, and none is forgotten. */
  async nodeid(path = 'm'): Promise<number> {
    let nodeid = 1
    for (const name of path.split('/').filter((part) => part !== '')) {
      nodeid = (await this.client.lookup(nodeid, name)).nodeid
    }
    return nodeid
  }

  /** The first store's view from outside. Throws for a store that has none. */
  get view(): StoreView {
    const view = this.stores[0]?.view
    if (view === null || view === undefined) throw new Error('nobody else can see into this store')
    return this.#told(view)
  }

  /** The same view; what was listed in place of looks before it changed something counts as old then, as it does within a second. */
  #told(view: StoreView): StoreView {
    const { fs } = this.server as unknown as { readonly fs: FileSystem }
    return new Proxy(view, {
      get: (target, key): unknown => {
        const value: unknown = Reflect.get(target, key, target)
        if (typeof value !== 'function') return value
        return async (...args: unknown[]): Promise<unknown> => {
          const result = await (value as (...args: unknown[]) => Promise<unknown>).apply(target, args)
          for (const { lookupBursts } of fs.mounts.mounts)
            for (const burst of lookupBursts) burst.forgetOld(Infinity)
          return result
        }
      },
    })
  }

  get hasView(): boolean {
    return this.stores[0]?.view !== null
  }
  /** The first store's directory. */
  get hostDirectory(): string {
    const directory = this.stores[0]?.hostDirectory
    if (directory === null || directory === undefined) throw new Error('the store is no directory')
    return directory
  }

  stats(): ServerStats {
    return this.server.stats()
  }

  /** Drop the connection as a killed hypervisor does. Resolves when the server has noticed. */
  async disconnect(): Promise<void> {
    const gone = new Promise<void>((resolve) => this.#waiting.push(resolve))
    this.client.close()
    await gone
  }
  async reconnect(options: ClientOptions = {}): Promise<void> {
    this.client = await FuseClient.mount({ ...options, socketPath: this.socketPath })
  }

  /** Everything is stopped and removed, and the daemon is asked whether anything went wrong that no reply told. */
  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    this.client.close()
    await this.server.close()
    await rm(this.#directory, { recursive: true, force: true })
    for (const store of this.stores) await store.dispose()
    assert.deepEqual(this.defects(), [])
  }

  defects(): string[] {
    return this.log.filter((line) => line.includes(DEFECT))
  }
}

export async function serve(options: ServeOptions): Promise<Served> {
  const stores = await Promise.all(options.mounts.map(({ store }) => store.prepare()))
  const directory = await mkdtemp(join(tmpdir(), 'ovfsd-served-'))
  const socketPath = join(directory, 'vhost.sock')
  const log: string[] = []
  const waiting: (() => void)[] = []
  const server = await Server.start({
    settings: { ...DEFAULT_SETTINGS, ...options.settings, socketPath },
    mounts: options.mounts.map((spec, index) => mountOptions(spec, stores[index], index)),
    logger: createLogger({ level: 'info', stream: { write: (line: string) => log.push(line) } }),
    onFrontEndGone: () => {
      for (const wake of waiting.splice(0)) wake()
    },
  })
  const client = await FuseClient.mount({ ...options.client, socketPath })
  return new Served({ client, server, socketPath, stores, log, directory, waiting })
}

function mountOptions(spec: MountSpec, store: PreparedStore | undefined, index: number) {
  if (store === undefined) throw new Error('a mount without a store')
  return {
    name: `mount${index}`,
    type: store.type,
    options: store.options,
    storeKey: spec.storeKey ?? JSON.stringify([store.type, store.options]),
    timeoutMs: spec.timeoutMs ?? 30_000,
    ...(spec.circuit !== undefined && { circuit: spec.circuit }),
    mountPoint: spec.mountPoint ?? ['m'],
    readOnly: spec.readOnly ?? false,
    guestCache: spec.guestCache ?? 'auto',
    uid: spec.uid ?? 0,
    gid: spec.gid ?? 0,
    fileMode: spec.fileMode ?? 0o644,
    dirMode: spec.dirMode ?? 0o755,
    keepAttributes: spec.keepAttributes ?? false,
    expirationMs: spec.expirationMs ?? 60_000,
    interpose: spec.interpose ?? null,
  }
}

/** Options of a suite whose server has one mount, at `m`. */
export interface SuiteOptions extends Omit<ServeOptions, 'mounts'> {
  readonly mount?: Omit<MountSpec, 'store'>
  /** Default: all. */
  readonly stores?: readonly Store[]
}

/**
 * A suite for each store, with one server that its tests share; each test keeps to names of its own. `body` gets a
 * function, since the server starts only before the first test.
 */
export function describeStores(
  title: string,
  options: SuiteOptions,
  body: (served: () => Served, store: Store) => void,
): void {
  describeEachStore(title, options.stores ?? STORES, (store) => {
    let served: Served | undefined
    before(async () => {
      served = await serve({ ...options, mounts: [{ ...options.mount, store }] })
    })
    after(() => served?.close())
    body(() => {
      if (served === undefined) throw new Error('the server is not there yet')
      return served
    }, store)
  })
}

/** A suite for each store. One whose store cannot run here is reported as skipped, with the reason. */
export function describeEachStore(
  title: string,
  stores: readonly Store[],
  body: (store: Store) => void,
): void {
  for (const store of stores) {
    const name = `${title} (${store.name})`
    if (store.problem === null) {
      describe(name, () => {
        body(store)
      })
    } else {
      test(name, { skip: `NO ${store.name.toUpperCase()} TESTS: ${store.problem}` })
    }
  }
}

/** Rounds of a race with an operation of the store's, and how many turns of the event loop the opponent lets it go ahead. */
export function raceWith({ isServer }: StoreProperties): {
  readonly rounds: number
  readonly turnsBefore: (round: number) => number
} {
  // Hundreds of turns are the milliseconds that a server takes.
  return isServer
    ? { rounds: 15, turnsBefore: (round) => round * 40 }
    : { rounds: 60, turnsBefore: (round) => round % 20 }
}

/** Ask again until `isTrue`; fails after ten seconds, saying `what` was awaited. For what the daemon does of itself and tells nobody. */
export async function eventually(
  what: string | (() => string),
  isTrue: () => boolean | Promise<boolean>,
): Promise<void> {
  const deadline = performance.now() + DEADLINE_MS
  while (!(await isTrue())) {
    if (performance.now() > deadline) {
      assert.fail(`not within ${DEADLINE_MS} ms: ${typeof what === 'string' ? what : what()}`)
    }
    await new Promise((resolve) => setImmediate(resolve))
  }
}
