import { chownSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import { isVolatileType, type BackendOptions } from '../backends/create-backend.js'
import { EmptyBackend } from '../backends/local/empty-backend.js'
import { BlockCache, type BlockCacheStats } from '../cache/block-cache.js'
import { CacheDirectory } from '../cache/cache-directory.js'
import type { Durability } from '../cache/durable-directory.js'
import type { DiskTierStats } from '../cache/disk-tier.js'
import { SlabPool } from '../cache/slab-pool.js'
import { FileSystem } from '../fs/file-system.js'
import { GuestBudgets } from '../fs/guest-budgets.js'
import type { Inode } from '../fs/inode.js'
import { Mount, PASSTHROUGH_TYPE, type MountOptions } from '../fs/mount.js'
import { MountTable } from '../fs/mount-table.js'
import { commitMount, reconfigureMount, retireMount } from '../fs/remount.js'
import type { InterposeRules } from '../interpose/rules.js'
import type { Logger } from '../observability/logger.js'
import type { HostMountOptions } from '../passthrough/host-mount.js'
import { IdTranslation } from '../passthrough/id-translation.js'
import { Passthrough, type PassthroughStats } from '../passthrough/passthrough.js'
import { XattrMap } from '../passthrough/xattr-map.js'
import { Arena } from '../virtio/arena.js'
import { Dispatcher } from '../fuse/dispatcher.js'
import { Interposers } from './interposers.js'
import {
  type AllowedPeers,
  loadNative,
  type DeviceEvent,
  type DeviceStats,
  type NativeDevice,
  type NativePool,
} from '../virtio/native.js'
import { ServerControl } from './server-control.js'
import { Session } from '../fuse/session.js'
import { LossLedger, unsavedOf, type LossTotals, type UnsavedData } from './loss-ledger.js'
import { Stores } from './stores.js'

/** Requests in flight over all queues: one full queue of the usual size. More wait in the rings. */
const SLOTS = 1024

/** How often a closing server looks whether requests still run. Every call of a store has a deadline, so this ends. */
const DRAIN_POLL_MS = 5

export interface ServerSettings {
  readonly socketPath: string
  readonly socketMode: number
  readonly enabledCache: boolean
  readonly writeBack: boolean
  readonly cacheSizeBytes: number
  /** Local disk for what is not stored yet and for the second tier of the cache; null: none. */
  readonly cacheDir: string | null
  readonly cacheDirSizeBytes: number
  /** What a staged close survives. Default: host. */
  readonly cacheDirDurability?: Durability
  readonly dirtyExpireMs: number
  /** Unsaved data of one mount beyond which the oldest is committed; null: half of the cache. */
  readonly dirtyMaxBytes: number | null
  readonly requestQueues: number
  readonly guestWriteback: boolean
  readonly pollWindowUs: number
  /** Requests are counted and timed. */
  readonly requestMetrics: boolean
  /** What the guest may hold: see `GuestLimits`. */
  readonly maxOpenHandles?: number
  readonly maxInodes?: number | null
}

/** A mount with its store. */
export type ServerMount = MountOptions &
  BackendOptions & {
    /** Equal where two mounts lead to the same store. */
    readonly storeKey: string
    /** What it was in earlier versions; null, or absent: nobody knows. */
    readonly formerStoreKey?: string | null
    /** What makes it slow or faulty on purpose. Absent: nothing. */
    readonly interpose?: InterposeRules | null
  }

/** What a reload changes. The rest of the settings needs a restart. */
export interface ServerChange {
  readonly settings: {
    readonly writeBack: boolean
    readonly dirtyExpireMs: number
    readonly dirtyMaxBytes: number | null
    readonly requestMetrics: boolean
    /** How long the open files of removed mounts may go on. */
    readonly reloadGraceMs: number
  }
  readonly added: readonly ServerMount[]
  readonly removed: readonly ServerMount[]
  /** The same store at the same place, with something else in the options. */
  readonly changed: readonly { readonly before: ServerMount; readonly after: ServerMount }[]
}

export interface ServerOptions {
  readonly settings: ServerSettings
  readonly mounts: readonly ServerMount[]
  readonly logger: Logger
  /** A listening Unix socket that the parent process opened, in place of settings.socketPath. */
  readonly socketFd?: number
  /** Who else may connect, as settings.socketMode says: the group of the socket's file. Absent: the daemon's own. */
  readonly socketGid?: number
  /** Who may connect of those whom the socket's mode lets. Absent: all. */
  readonly allowedPeers?: AllowedPeers
  /** The front-end went away and everything of it has been cleaned up. */
  readonly onFrontEndGone?: () => void
}

/** What the server holds at one moment: after a guest has gone, all of it is back to where it started. */
export interface ServerStats {
  readonly device: DeviceStats
  readonly cache: BlockCacheStats
  /** null: there is no second tier. */
  readonly diskTier: DiskTierStats | null
  /** Inodes that have a nodeid. */
  readonly inodes: number
  /** Inodes in the tree, those without a nodeid too. */
  readonly treeInodes: number
  readonly openFiles: number
  readonly openDirectories: number
  readonly passthrough: PassthroughStats
}

/** The daemon's core: one socket, one tree, one cache. */
export class Server {
  /** Removed mounts that are coming to their end. */
  private readonly retiring = new Set<Promise<void>>()
  /** These mounts, until they have come to it. */
  private readonly leaving: Set<Mount>
  /** Aborted when the server stops: no more grace. */
  private readonly stopping = new AbortController()

  private constructor(
    private readonly fs: FileSystem,
    private readonly passthrough: Passthrough,
    private readonly device: NativeDevice,
    private readonly dispatcher: Dispatcher,
    private readonly pool: NativePool,
    private readonly stores: Stores,
    private readonly interposers: Interposers,
    private readonly directory: CacheDirectory | null,
    private readonly logger: Logger,
    private readonly ledger: LossLedger,
    /** What those may ask and do who operate the daemon. */
    readonly control: ServerControl,
  ) {
    this.leaving = control.leaving
  }

  /**
   * Build everything, bottom to top, and listen. Rejects when the socket is no good. A store that can't be set up yet does
   * not keep the others waiting: it is tried again by the requests that need it.
   */
  static async start(options: ServerOptions): Promise<Server> {
    const { cacheDir, cacheDirSizeBytes, cacheDirDurability } = options.settings
    const directory =
      cacheDir === null ? null : await CacheDirectory.open(cacheDir, cacheDirSizeBytes, cacheDirDurability)
    try {
      const interposers = new Interposers(options.logger)
      await interposers.prepare(options.mounts)
      return Server.build(options, directory, interposers)
    } catch (error) {
      directory?.close()
      throw error
    }
  }

  private static build(
    { settings, mounts, logger, onFrontEndGone, ...socket }: ServerOptions,
    directory: CacheDirectory | null,
    interposers: Interposers,
  ): Server {
    const native = loadNative()
    const pool = new native.Pool(settings.cacheSizeBytes)
    const cache = new BlockCache(new SlabPool(pool), settings.dirtyMaxBytes)
    const stores = new Stores(directory, logger)
    const table: MountTable = new MountTable(
      mounts.map((mount) => ({
        options: withCache(mount, settings.enabledCache),
        ...(isPassthrough(mount)
          ? { backend: new EmptyBackend() }
          : stores.setUp(mount, (standIn, { backend, staging }) => {
              table.find(mount.name)?.replaceBackend(standIn, backend, staging)
            })),
      })),
    )
    stores.tellUnclaimed()
    const { enabledCache: cacheEnabled, writeBack, dirtyExpireMs, guestWriteback } = settings
    const fsOptions = { cacheEnabled, writeBack, dirtyExpireMs, guestWriteback }
    const budgets = new GuestBudgets(settings)
    const fs = new FileSystem(table, cache, fsOptions, logger, budgets)
    const passthrough = new Passthrough({ guestWriteback }, logger, budgets)
    for (const mount of mounts) {
      const place = table.find(mount.name)
      if (isPassthrough(mount) && place !== undefined) {
        passthrough.add(place, hostOptionsOf(mount))
        passthrough.requireMandatory(place)
      }
    }
    for (const place of table.mounts) passthrough.warnIfHidden(place)
    const session = new Session(fs, passthrough, () => {
      interposers.release()
    })
    const device: NativeDevice = new native.Device({
      requestQueues: settings.requestQueues,
      slots: SLOTS,
      pool,
      pollWindowUs: settings.pollWindowUs,
      onRequests: (readyCount) => dispatcher.onRequests(readyCount),
      onEvent: (event, detail, value) => {
        logEvent(logger, event, detail, value)
        if (event === 'connect' || event === 'disconnect') control.isConnected = event === 'connect'
        if (event !== 'disconnect') return
        session.end()
        dispatcher.disconnected()
        onFrontEndGone?.()
      },
    })
    const dispatcher: Dispatcher = new Dispatcher(
      ...([fs, passthrough, session, device, new Arena(device, SLOTS), SLOTS] as const),
      settings.requestMetrics,
    )
    const ledger = new LossLedger(logger)
    for (const mount of table.mounts) ledger.watch(mount)
    const control = new ServerControl({
      ...{ fs, passthrough, session, device, dispatcher, stores, directory, ledger },
    })
    try {
      listen(device, settings, socket)
    } catch (error) {
      device.close()
      pool.close()
      throw error
    }
    for (const { name, interpose = null } of mounts) {
      const mount = table.find(name)
      if (mount !== undefined) interposers.install(mount, interpose)
    }
    return new Server(
      ...([fs, passthrough, device, dispatcher, pool, stores, interposers] as const),
      ...([directory, logger, ledger, control] as const),
    )
  }

  /** Walks the whole tree: not for a hot path. */
  stats(): ServerStats {
    const { fs } = this
    return {
      device: this.device.stats(),
      cache: fs.cache.stats(),
      diskTier: this.directory?.tier.stats() ?? null,
      inodes: fs.inodes.count,
      treeInodes: countInodes(fs.inodes.root),
      openFiles: fs.files.count,
      openDirectories: fs.directories.count,
      passthrough: this.passthrough.stats(),
    }
  }

  /**
   * Go over to other mounts and settings while the guest works. What only changes or is new takes effect before this
   * returns its promise, unless rules of interposers need a library first; mounts are removed when their dirty data is committed, or after the grace if it can't be. Resolves when
   * the tree is as it should be; removed mounts may still be finishing then. Returns the names of the mounts that could not
   * be changed and stay as they were.
   */
  reload(change: ServerChange): Promise<string[]> {
    const { added, changed } = change
    const prepared = this.interposers.prepare([...added, ...changed.map(({ after }) => after)])
    return prepared === null ? this.apply(change) : prepared.then(() => this.apply(change))
  }

  private async apply({ settings, added, removed, changed }: ServerChange): Promise<string[]> {
    const { fs } = this
    const { writeBack: hadWriteBack, cacheEnabled } = fs.options
    const writeBack = settings.writeBack && cacheEnabled
    fs.options = { ...fs.options, writeBack, dirtyExpireMs: settings.dirtyExpireMs }
    fs.cache.setDirtyMax(settings.dirtyMaxBytes)
    this.dispatcher.setCounting(settings.requestMetrics)
    const leaving = removed.map(({ name }) => fs.mounts.find(name)).filter((mount) => mount !== undefined)
    const failed = changed
      .filter(({ before, after }) => !this.change(before, after))
      .map(({ after }) => after)
    const places = new Set(removed.map(placeOf))
    const add = (mount: ServerMount): void => {
      if (!this.add(mount)) failed.push(mount)
    }
    for (const mount of added) if (!places.has(placeOf(mount))) add(mount)
    if (hadWriteBack && !writeBack) void fs.commitAll(() => undefined)
    await Promise.all(leaving.map((mount) => this.remove(mount, settings.reloadGraceMs)))
    for (const mount of added) if (places.has(placeOf(mount))) add(mount)
    return failed.map(({ name }) => name)
  }

  /** False when its place is not free. */
  private add(settings: ServerMount): boolean {
    const { logger, fs } = this
    let mount: Mount
    try {
      mount = isPassthrough(settings)
        ? new Mount(withCache(settings, fs.options.cacheEnabled), new EmptyBackend())
        : this.makeMount(settings)
      fs.mounts.attach(mount)
      if (isPassthrough(settings)) this.passthrough.add(mount, hostOptionsOf(settings))
      this.passthrough.warnIfHidden(mount)
    } catch (error) {
      logger.error({ mount: settings.name, err: error }, 'a mount could not be added')
      return false
    }
    this.ledger.watch(mount)
    this.interposers.install(mount, settings.interpose ?? null)
    logger.info(describe(settings), 'mount added')
    return true
  }

  private makeMount(settings: ServerMount): Mount {
    this.stores.forgetCounters(settings.name)
    const store = this.stores.setUp(settings, (standIn, { backend, staging }) => {
      mount.replaceBackend(standIn, backend, staging)
    })
    const options = withCache(settings, this.fs.options.cacheEnabled)
    const mount: Mount = new Mount(options, store.backend, store.staging)
    return mount
  }

  /** False when the new options make no store. */
  private change(before: ServerMount, after: ServerMount): boolean {
    const { logger, fs } = this
    const mount = fs.mounts.find(before.name)
    if (mount === undefined) return false
    try {
      if (isPassthrough(after)) this.passthrough.change(mount, hostOptionsOf(after))
      const store = isPassthrough(after) || this.isSameStore(before, after) ? null : this.stores.create(after)
      reconfigureMount(mount, withCache(after, fs.options.cacheEnabled), store?.backend ?? null)
      // What is staged of a mount that becomes read-only stays so until it is stored.
      mount.account.staging ??= store?.staging ?? null
      if (before.readOnly && !after.readOnly) this.beginToWrite(mount, after)
    } catch (error) {
      logger.error({ mount: after.name, err: error }, 'a mount could not be changed and stays as it was')
      return false
    }
    this.interposers.install(mount, after.interpose ?? null)
    logger.info(describe(after), 'mount changed')
    return true
  }

  /** Of a mount that was read-only until now. */
  private beginToWrite(mount: Mount, settings: ServerMount): void {
    this.stores.removeLeftovers(mount.backend, settings)
    // What an earlier daemon had staged changes files that are known here already: whoever asks anew waits for it.
    void this.control.invalidate(`/${placeOf(settings)}`)
  }

  /**
   * The same backend object serves both. The `memory` and `null` services keep their state in it, and have nothing that a deadline could
   * be for; a read-only mount has nothing staged and recovers nothing.
   */
  private isSameStore(before: ServerMount, after: ServerMount): boolean {
    const staysAsWritable = this.directory === null || before.readOnly === after.readOnly
    return isVolatileType(before.type) || (staysAsWritable && isSameBackend(before, after))
  }

  /** Resolves when the mount has left the tree. */
  private async remove(mount: Mount, graceMs: number): Promise<void> {
    const { fs, logger } = this
    const { name } = mount.options
    // First, so that who finds the same store elsewhere afterwards finds it complete.
    const isCommitted = commitMount(fs, mount)
    const timer = new AbortController()
    await Promise.race([
      isCommitted,
      delay(graceMs, undefined, { signal: timer.signal }).catch(() => undefined),
    ])
    timer.abort()
    // A stopping server commits everything by itself.
    if (this.stopping.signal.aborted) return
    fs.mounts.detach(mount)
    this.leaving.add(mount)
    const { signal } = this.stopping
    const hasRetired = this.passthrough.retire(mount, graceMs, signal)
    const retiring = Promise.all([retireMount(fs, mount, graceMs, signal), hasRetired]).then(
      ([filesLost]) => {
        this.retiring.delete(retiring)
        this.leaving.delete(mount)
        this.interposers.remove(mount)
        this.ledger.close(mount)
        this.stores.forget(name, mount.backend)
        if (filesLost === 0) logger.info({ mount: name }, 'mount removed')
        else
          logger.error(
            { mount: name, filesLost },
            'mount removed; files that its store did not take are lost',
          )
      },
    )
    this.retiring.add(retiring)
  }

  /** What the stores do not have yet, by mount, those included that are being removed. */
  unsaved(): UnsavedData[] {
    return [...this.fs.mounts.mounts, ...this.leaving].map(unsavedOf).filter((data) => data !== null)
  }

  /** What was lost since the daemon started. */
  losses(): LossTotals {
    return this.ledger.totals([...this.fs.mounts.mounts, ...this.leaving])
  }

  /**
   * Commit what is dirty while the guest is still served, then close the socket and commit what came meanwhile.
   * Rejects when something could not be committed: it is lost.
   */
  async close(): Promise<void> {
    this.stopping.abort()
    await this.interposers.end()
    const report = (filesLeft: number): void => {
      this.logger.info({ filesLeft }, 'committing')
    }
    await this.fs.commitAll(report)
    await Promise.all(this.retiring)
    this.device.close()
    const failed = await this.fs.close(report)
    // What the guest had asked for and the stores have not answered yet still uses the pool.
    while (this.device.stats().slotsInFlight > 0) await delay(DRAIN_POLL_MS)
    this.passthrough.close()
    this.directory?.close()
    this.pool.close()
    if (failed > 0) throw new Error(`${failed} files could not be committed; their unsaved data is lost`)
  }
}

/** Its files are the host's own: nothing of it goes through stores and the cache. */
function isPassthrough({ type }: ServerMount): boolean {
  return type === PASSTHROUGH_TYPE
}

function hostOptionsOf({ options }: ServerMount): HostMountOptions {
  return {
    root: options['root'] ?? '/',
    xattr: IMPLYING_XATTR.some((name) => options[name] === 'true') || options['xattrmap'] !== undefined,
    directIo: options['direct_io'] === 'true',
    announceSubmounts: options['announce_submounts'] === 'true',
    posixAcl: options['posix_acl'] === 'true',
    securityLabel: options['security_label'] === 'true',
    killprivV2: options['killpriv_v2'] === 'true',
    allowMmap: options['allow_mmap'] === 'true',
    readdirplus: options['readdirplus'] !== 'false',
    preserveNoatime: options['preserve_noatime'] === 'true',
    xattrMap: options['xattrmap'] === undefined ? null : XattrMap.parse(options['xattrmap']),
    uids: idsOf(options['translate_uid']),
    gids: idsOf(options['translate_gid']),
    fileHandles: FILE_HANDLES.find((mode) => mode === options['inode_file_handles']) ?? 'prefer',
  }
}

/** The options that extended attributes come with; the names of them that are not the same on both sides do, too. */
const IMPLYING_XATTR = ['xattr', 'posix_acl', 'security_label'] as const

const FILE_HANDLES = ['never', 'prefer', 'mandatory'] as const

function idsOf(rules: string | undefined): IdTranslation | null {
  return rules === undefined ? null : IdTranslation.parse(rules)
}

/** @throws Error with `code` */
function listen(
  device: NativeDevice,
  { socketPath, socketMode }: ServerSettings,
  { socketFd, socketGid, allowedPeers }: Pick<ServerOptions, 'socketFd' | 'socketGid' | 'allowedPeers'>,
): void {
  if (socketFd !== undefined) {
    device.listen({ fd: socketFd }, allowedPeers)
    return
  }
  device.listen({ path: socketPath, mode: socketMode }, allowedPeers)
  const SAME_OWNER = -1
  // Whoever connects before this is served after it.
  if (socketGid !== undefined) chownSync(socketPath, SAME_OWNER, socketGid)
}

/** Without a cache nothing may be kept beyond its use. */
function withCache(mount: ServerMount, cacheEnabled: boolean): MountOptions {
  return cacheEnabled ? mount : { ...mount, expirationMs: 0 }
}

function placeOf({ mountPoint }: ServerMount): string {
  return mountPoint.join('/')
}

function describe(mount: ServerMount): Record<string, unknown> {
  return { mount: mount.name, type: mount.type, mountPoint: `/${placeOf(mount)}` }
}

function isSameBackend(before: ServerMount, after: ServerMount): boolean {
  const what = ({ timeoutMs, circuit, options, keepAttributes }: ServerMount) => ({
    ...{ timeoutMs, circuit, options, keepAttributes },
  })
  return isDeepStrictEqual(what(before), what(after))
}

function countInodes(root: Inode): number {
  let count = 0
  const pending = [root]
  for (let inode = pending.pop(); inode !== undefined; inode = pending.pop()) {
    count++
    for (const child of inode.children?.values() ?? []) pending.push(child)
  }
  return count
}

function logEvent(logger: Logger, event: DeviceEvent, detail: string, value: number): void {
  switch (event) {
    case 'connect':
      logger.info('front-end connected')
      return
    case 'disconnect':
      logger.info({ reason: detail }, 'front-end disconnected')
      return
    case 'vring-start':
    case 'vring-stop':
      logger.debug({ vring: value }, event)
      return
    case 'vring-broken':
      logger.error({ vring: value, reason: detail }, 'a broken vring is ignored until it is set up anew')
      return
    case 'protocol-error':
      logger.error({ reason: detail }, 'vhost-user message refused')
      return
    case 'peer-refused':
      logger.warn(
        { peer: detail },
        'a connection to the socket was refused: socket_users and socket_groups do not allow it',
      )
  }
}
