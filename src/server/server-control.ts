/** What those may ask and do who operate a running server. Nothing here takes long, whatever the guest has open and cached. */
import type { StoreConditions } from '../backends/backend.js'
import type { CacheCounters } from '../cache/cache-counters.js'
import type { CacheDirectory } from '../cache/cache-directory.js'
import type { StagedDirectory } from '../cache/staged-directories.js'
import type { DiskTierStats } from '../cache/disk-tier.js'
import type { Loss } from '../cache/losses.js'
import type { FileSystem } from '../fs/file-system.js'
import { flush, type Flushed } from '../fs/flush.js'
import { FsError } from '../fs/fs-error.js'
import type { HandleTable } from '../fs/handle-table.js'
import { invalidate, type Invalidated } from '../fs/invalidate.js'
import type { Mount } from '../fs/mount.js'
import type { BackendCounters } from '../observability/backend-counters.js'
import type { OperationTotals } from '../observability/operation-counters.js'
import type { RequestWatcher } from '../observability/request-record.js'
import type { Passthrough } from '../passthrough/passthrough.js'
import type { Dispatcher } from '../fuse/dispatcher.js'
import type { DeviceStats, NativeDevice } from '../virtio/native.js'
import type { Session } from '../fuse/session.js'
import { totalsOf, type LossLedger, type LossTotals } from './loss-ledger.js'
import type { Stores } from './stores.js'

export interface MountOperations {
  readonly mount: string
  readonly type: string
  readonly operations: readonly OperationTotals[]
}

/** `unavailable`: could not be set up yet; `away`: does not answer, and is left alone for a moment; `removed`: by a reload, while its files are closed. */
export type MountStateName = 'ready' | 'unavailable' | 'away' | 'removed'

export interface MountState extends LossTotals {
  readonly name: string
  readonly type: string
  readonly mountPoint: readonly string[]
  readonly readOnly: boolean
  readonly state: MountStateName
  /** Why it is not ready; null where it is, or nobody knows. May hold secrets. */
  readonly error: unknown
  /** Of slabs with unsaved data: somewhat more than the data. */
  readonly dirtyBytes: number
  readonly dirtyFiles: number
  readonly openFiles: number
  readonly openDirectories: number
  /** Requests since the mount was made, and how many of them failed; 0 where they are not counted. */
  readonly requests: number
  readonly errors: number
  /** The last files that were lost or are in conflict, the newest at the end. Errors may hold secrets. */
  readonly losses: readonly Loss[]
  /** Which conditions of commits the store keeps; null: it is not asked for any. */
  readonly conditions: StoreConditions | null
  /** Names that listings left out, since no file can have them. */
  readonly unlistable: number
  /** The HTTP proxy that its requests go through, `host:port`; null: none. */
  readonly proxy: string | null
}

export interface ServerState {
  /** Since the daemon started, of mounts that have gone too. */
  readonly losses: LossTotals
  /** A front-end (QEMU...) is connected, and the guest has mounted the file system. */
  readonly isConnected: boolean
  readonly isMounted: boolean
  /** How many sessions have ended. */
  readonly sessionsEnded: number
}

/** What a mount's store costs and what the cache does for it. */
export interface MountGauges {
  readonly mount: string
  readonly type: string
  /** null: pass-through, which has neither. */
  readonly store: {
    readonly cache: Readonly<CacheCounters>
    readonly backend: BackendCounters
    /** Blocks with unsaved data. */
    readonly dirtyBytes: number
    readonly dirtyFiles: number
    readonly dirtyAgeMs: number
    readonly losses: LossTotals
    readonly unlistable: number
  } | null
}

/** What can be told at any time without looking at every inode and block, for those who ask every second. */
export interface ServerGauges {
  readonly device: DeviceStats
  readonly isConnected: boolean
  /** Pass-through mounts included, as in the following. */
  readonly inodes: number
  readonly openFiles: number
  readonly openDirectories: number
  /** Of inodes, of open files and directories, and of requests under way: the most that there may be. */
  readonly limits: { readonly inodes: number; readonly handles: number; readonly requests: number }
  /** Names that are known to be missing, of all mounts. */
  readonly missingNames: number
  /** Of the host, that pass-through mounts hold, and may hold. */
  readonly hostDescriptors: { readonly used: number; readonly limit: number }
  readonly cacheBytes: number
  readonly cacheUsedBytes: number
  readonly cacheWaiters: number
  /** null: there is no second tier. */
  readonly diskTier: DiskTierStats | null
  readonly mounts: readonly MountGauges[]
  /** Of mounts that have gone, by name. */
  readonly gone: readonly (readonly [string, LossTotals])[]
}

interface Parts {
  readonly fs: FileSystem
  readonly passthrough: Passthrough
  readonly session: Session
  readonly device: NativeDevice
  readonly dispatcher: Dispatcher
  readonly stores: Stores
  readonly directory: CacheDirectory | null
  readonly ledger: LossLedger
}

export class ServerControl {
  isConnected = false
  /** Removed mounts that are coming to their end. */
  readonly leaving = new Set<Mount>()

  constructor(private readonly parts: Parts) {}

  state(): ServerState {
    const { isInitialized, epoch } = this.parts.session
    const losses = this.parts.ledger.totals([...this.parts.fs.mounts.mounts, ...this.leaving])
    return { isConnected: this.isConnected, isMounted: isInitialized, sessionsEnded: epoch, losses }
  }

  /** What lies in `cache_dir` and not in its store. */
  staged(): Promise<StagedDirectory[]> {
    return this.parts.directory?.staged() ?? Promise.resolve([])
  }

  /** Those in the tree, and removed ones that have not come to their end. */
  mounts(): MountState[] {
    const { fs, passthrough, dispatcher } = this.parts
    dispatcher.settleCounts()
    const files = new Map<Mount, number>()
    const directories = new Map<Mount, number>()
    countByMount(fs.files, ({ inode }) => inode.mount, files)
    countByMount(passthrough.files, ({ inode }) => inode.mount.place, files)
    countByMount(fs.directories, ({ inode }) => inode.mount, directories)
    countByMount(passthrough.directories, ({ inode }) => inode.mount.place, directories)
    return [...fs.mounts.mounts, ...this.leaving].map((mount) => ({
      ...describe(mount),
      ...this.healthOf(mount),
      proxy: this.parts.stores.proxyOf(mount.options.name),
      openFiles: files.get(mount) ?? 0,
      openDirectories: directories.get(mount) ?? 0,
    }))
  }

  private healthOf(mount: Mount): Pick<MountState, 'state' | 'error'> {
    const { stores, passthrough } = this.parts
    if (mount.isRemoved) return { state: 'removed', error: null }
    const fault = stores.faultOf(mount.options.name)
    if (fault !== null) return { state: fault.kind, error: fault.error }
    if (passthrough.isReady(mount)) return { state: 'ready', error: null }
    return { state: 'unavailable', error: 'its directory cannot be opened; the log says why' }
  }

  gauges(): ServerGauges {
    const { fs, passthrough, device, dispatcher, directory, ledger } = this.parts
    const { cache } = fs
    const host = passthrough.stats()
    return {
      device: device.stats(),
      isConnected: this.isConnected,
      inodes: fs.inodes.count + host.inodes,
      openFiles: fs.files.count + host.openFiles,
      openDirectories: fs.directories.count + host.openDirectories,
      limits: {
        ...{ inodes: fs.budgets.inodes.limit, handles: fs.budgets.handles.limit },
        requests: dispatcher.slots,
      },
      missingNames: fs.mounts.mounts.reduce((sum, { missingNames }) => sum + missingNames.count, 0),
      hostDescriptors: { used: host.descriptors, limit: host.maxDescriptors },
      cacheBytes: cache.pool.sizeBytes,
      cacheUsedBytes: cache.pool.leasedBytes,
      cacheWaiters: cache.waiterCount,
      diskTier: directory?.tier.stats() ?? null,
      mounts: fs.mounts.mounts.map((mount) => this.gaugesOf(mount)),
      gone: ledger.namesOfGone().map((name) => [name, ledger.ofGone(name)]),
    }
  }

  private gaugesOf(mount: Mount): MountGauges {
    const { options, account } = mount
    const { name, type } = options
    if (this.parts.passthrough.find(mount.root) !== undefined) return { mount: name, type, store: null }
    return {
      ...{ mount: name, type },
      store: {
        cache: account.counters,
        backend: this.parts.stores.countersOf(name),
        dirtyBytes: account.heldBytes,
        dirtyFiles: account.dirtyContents.size,
        dirtyAgeMs: account.dirtyAgeMs(),
        losses: totalsOf(account.losses),
        unlistable: mount.backend.unlistable ?? 0,
      },
    }
  }

  /** What the guest's requests came to, by mount, since the mount was made; directories above the mounts are a mount too. */
  operations(): MountOperations[] {
    const { fs, dispatcher } = this.parts
    dispatcher.settleCounts()
    const all = new Set([fs.mounts.root.mount, ...fs.mounts.mounts])
    return [...all].map(({ options, operations }) => ({
      ...{ mount: options.name, type: options.type },
      operations: operations.totals(),
    }))
  }

  /** Commit what is dirty, of all mounts or of the one by this name. ENOENT when there is none. */
  async flush(mountName: string | null): Promise<Flushed> {
    const { fs } = this.parts
    if (mountName === null) return flush(fs, null)
    const mount = fs.mounts.find(mountName)
    if (mount === undefined) throw new FsError('ENOENT', `there is no mount ${JSON.stringify(mountName)}`)
    return flush(fs, mount)
  }

  /** See fs/invalidate.ts. EINVAL for a path that is none. */
  invalidate(path: string): Promise<Invalidated> {
    const { fs, stores } = this.parts
    return invalidate(fs, path, ({ options }, storePath) => {
      stores.forgetBelow(options.name, storePath)
    })
  }

  watch(watcher: RequestWatcher): void {
    this.parts.dispatcher.watch(watcher)
  }

  unwatch(watcher: RequestWatcher): void {
    this.parts.dispatcher.unwatch(watcher)
  }
}

function describe({
  options,
  account,
  operations,
  backend,
}: Mount): Omit<MountState, 'state' | 'error' | 'proxy' | 'openFiles' | 'openDirectories'> {
  const totals = operations.totals()
  return {
    ...{ name: options.name, type: options.type, mountPoint: options.mountPoint, readOnly: options.readOnly },
    dirtyBytes: account.heldBytes,
    dirtyFiles: account.dirtyContents.size,
    ...totalsOf(account.losses),
    losses: [...account.losses.recent],
    conditions: backend.conditions?.() ?? null,
    unlistable: backend.unlistable ?? 0,
    requests: totals.reduce((sum, { count }) => sum + count, 0),
    errors: totals.reduce((sum, { errors }) => sum + errors.reduce((part, { count }) => part + count, 0), 0),
  }
}

function countByMount<T extends object>(
  handles: HandleTable<T>,
  mountOf: (handle: T) => Mount,
  counts: Map<Mount, number>,
): void {
  handles.forEach((handle) => {
    const mount = mountOf(handle)
    counts.set(mount, (counts.get(mount) ?? 0) + 1)
  })
}
