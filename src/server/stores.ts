import type { Backend } from '../backends/backend.js'
import { createBackend, isLocalType, isVolatileType } from '../backends/create-backend.js'
import { inLayers, type Layer } from '../backends/layers/backend-layer.js'
import { CheckedAnswers } from '../backends/layers/checked-answers.js'
import { Circuit, GuardedBackend } from '../backends/layers/circuit.js'
import { CountedBackend } from '../backends/layers/counted.js'
import { TracedBackend } from '../backends/layers/traced-backend.js'
import type { StorageError } from '../backends/storage-error.js'
import { StoreOutage } from './store-outage.js'
import { proxyNameOf } from './store-proxy.js'
import type { CacheDirectory } from '../cache/cache-directory.js'
import { DiskTierBackend } from '../cache/disk-tier.js'
import { Recovery, recoverFirst } from '../cache/recovery.js'
import type { Staging } from '../cache/staging.js'
import { DeferredBackend } from '../fs/deferred-backend.js'
import { BackendCounters } from '../observability/backend-counters.js'
import type { Logger } from '../observability/logger.js'
import { TracedPlace } from '../observability/traced.js'
import type { ServerMount } from './server.js'

/** Why a mount's store can't be used now. */
export interface StoreFault {
  /** It could not be set up yet; or it has not answered several times in a row, and is left alone for a moment. */
  readonly kind: 'unavailable' | 'away'
  readonly error: unknown
}

interface StoreHealth {
  readonly storeKey: string
  /** null: requests go straight to the server. */
  readonly proxy: string | null
  /** null: it could not be set up. */
  backend: Backend | null
  /** null: it is on this machine, or could not be set up. */
  outage: StoreOutage | null
  fault: StoreFault | null
}

/** What a mount stands on. */
export interface Store {
  readonly backend: Backend
  /** Where what it does not have yet survives the daemon; null: nowhere. */
  readonly staging: Staging | null
}

/** Makes the mounts' stores, with what the daemon puts in front of each. */
export class Stores {
  private readonly recoveries = new Map<string, Recovery>()
  /** By the mount's name. */
  private readonly counters = new Map<string, BackendCounters>()
  /** By profile, of the store that it has now: one that it had before has an entry that nobody reads. */
  private readonly health = new Map<string, StoreHealth>()

  /** `directory`: the cache's; null where there is none. */
  constructor(
    private readonly directory: CacheDirectory | null,
    private readonly logger: Logger,
  ) {}

  /** Where what the store does not have yet survives the daemon; null: nowhere. */
  private stagingOf(mount: ServerMount): Staging | null {
    const { name, type, mountPoint, storeKey, formerStoreKey, readOnly } = mount
    // What is in memory ends with the daemon anyway.
    if (this.directory === null || isVolatileType(type) || readOnly) return null
    const owner = { profile: name, type, mountPoint: mountPoint.join('/') }
    return this.directory.stagingOf(storeKey, owner, formerStoreKey ?? null)
  }

  /** In the background: what is staged that no mount stores, for its profile is gone, read-only or spelt differently. */
  tellUnclaimed(): void {
    const told = this.directory?.staged().then((directories) => {
      for (const { isClaimed, ...staged } of directories) {
        if (!isClaimed)
          this.logger.warn(
            { ...staged },
            'data of an earlier daemon is staged for a store that no mount writes to now; it is kept',
          )
      }
    })
    told?.catch(() => undefined)
  }

  /** What was asked of the mount's store since the mount was made. */
  countersOf(mount: string): BackendCounters {
    let counters = this.counters.get(mount)
    if (counters === undefined) {
      counters = new BackendCounters()
      this.counters.set(mount, counters)
    }
    return counters
  }

  /** A new mount counts anew, whatever had its name before. */
  forgetCounters(mount: string): void {
    this.counters.delete(mount)
  }

  /** @throws Error when the options make no store, or its part of the cache directory can't be had */
  create(mount: ServerMount): Store {
    const health: StoreHealth = {
      storeKey: mount.storeKey,
      proxy: proxyNameOf(mount),
      backend: null,
      outage: null,
      fault: null,
    }
    const staging = this.stagingOf(mount)
    const backend = inLayers(createBackend(mount), this.layersOf(mount, staging, health))
    backend.reportUnlistable?.((directory, count, example) => {
      this.logger.warn(
        { mount: mount.name, directory, count, example },
        'names that no file can have are left out of a directory',
      )
    })
    health.backend = backend
    this.health.get(mount.name)?.outage?.stop()
    this.health.set(mount.name, health)
    return { backend, staging }
  }

  /**
   * What stands around the store, from it outwards:
   *
   *     checked     what it tells is held against what can be true of files
   *     counted     each call that is made
   *     guarded     refuses calls while the store is away; so these are not counted
   *     traced      each call as its caller sees it, those too that the circuit refuses
   *     recovering  nobody but the recovery reaches the store before it has what was staged; its own calls are counted, guarded and traced
   *     disk tier   answers reads in the store's place, so of what it has no call is made, and recovery is not waited for
   */
  private layersOf(mount: ServerMount, staging: Staging | null, health: StoreHealth): Layer[] {
    const { directory } = this
    const counters = this.countersOf(mount.name)
    const circuit = this.circuitOf(mount, health)
    counters.circuit = circuit
    const place = new TracedPlace(mount.name, mount.mountPoint)
    const layers: Layer[] = [
      (store) => new CheckedAnswers(store),
      (store) => new CountedBackend(store, counters),
    ]
    if (circuit !== null)
      layers.push(
        (store) => new GuardedBackend(store, circuit, (method) => health.outage?.countRefusal(method)),
      )
    layers.push((store) => new TracedBackend(store, place))
    if (directory === null) return layers
    if (staging !== null) layers.push((store) => recoverFirst(store, this.recoveryOf(mount, staging)))
    if (!isLocalType(mount.type))
      layers.push((store) => new DiskTierBackend(store, directory.tier, mount.storeKey))
    return layers
  }

  /** null: a store on this machine answers, whatever it is. */
  private circuitOf({ name, type, circuit }: ServerMount, health: StoreHealth): Circuit | null {
    if (circuit === undefined || isLocalType(type)) return null
    const outage = new StoreOutage(this.logger, name)
    health.outage = outage
    return new Circuit(circuit, (error: StorageError | null) => {
      health.fault = error === null ? null : { kind: 'away', error }
      if (error === null) outage.end()
      else outage.begin(error)
    })
  }

  /** null: the mount's store can be used, as far as anybody knows. */
  faultOf(name: string): StoreFault | null {
    return this.health.get(name)?.fault ?? null
  }

  /** The mount that had it is gone, and whether the store answers is nobody's business any more. */
  forget(name: string, backend: Backend): void {
    const health = this.health.get(name)
    if (health?.backend !== backend) return
    health.outage?.stop()
    this.health.delete(name)
  }

  /** The proxy of the mount's requests; null: none. */
  proxyOf(name: string): string | null {
    return this.health.get(name)?.proxy ?? null
  }

  /** Forget what the second tier has of a part of the mount's store. */
  forgetBelow(name: string, path: string): void {
    const storeKey = this.health.get(name)?.storeKey
    if (storeKey !== undefined)
      this.directory?.tier.forgetBelow(path === '' ? storeKey : `${storeKey}/${path}`)
  }

  private isUnavailable(mount: ServerMount, error: unknown): void {
    const { name, storeKey } = mount
    this.health.set(name, {
      storeKey,
      proxy: proxyNameOf(mount),
      backend: null,
      outage: null,
      fault: { kind: 'unavailable', error },
    })
  }

  private recoveryOf({ storeKey, name, mountPoint }: ServerMount, staging: Staging): Recovery {
    let recovery = this.recoveries.get(storeKey)
    if (recovery === undefined || recovery.isDone) {
      recovery = new Recovery(staging, this.logger, new TracedPlace(name, mountPoint))
      this.recoveries.set(storeKey, recovery)
    }
    return recovery
  }

  /**
   * The mount's store; when it can't be set up (a directory that is not there, a cache directory that can't be written), a stand-in that
   * tries again and tells `succeeded` what to put in its place. Never throws.
   */
  setUp(mount: ServerMount, succeeded: (standIn: Backend, store: Store) => void): Store {
    const { logger } = this
    try {
      const store = this.create(mount)
      this.removeLeftovers(store.backend, mount)
      return store
    } catch (error) {
      this.isUnavailable(mount, error)
      logger.error(
        { mount: mount.name, err: error },
        'a mount is not available yet; requests to it will try again',
      )
      return { backend: this.standInFor(mount, error, succeeded), staging: null }
    }
  }

  private standInFor(
    mount: ServerMount,
    firstError: unknown,
    succeeded: (standIn: Backend, store: Store) => void,
  ): Backend {
    let made: Store | null = null
    const standIn: Backend = new DeferredBackend(
      () => {
        made = this.createAgain(mount)
        return made.backend
      },
      firstError,
      (backend) => {
        this.logger.info({ mount: mount.name }, 'mount available')
        this.removeLeftovers(backend, mount)
        if (made !== null) succeeded(standIn, made)
      },
    )
    return standIn
  }

  private createAgain(mount: ServerMount): Store {
    try {
      return this.create(mount)
    } catch (error) {
      this.isUnavailable(mount, error)
      throw error
    }
  }

  /** In the background: a store that is away keeps nobody waiting, and is asked again at the next start. */
  removeLeftovers(backend: Backend, { name, readOnly }: ServerMount): void {
    const { logger } = this
    if (readOnly) return
    backend.removeLeftovers?.().then(
      (count) => {
        if (count > 0) logger.info({ mount: name, count }, 'removed what a killed daemon had left unfinished')
      },
      (error: unknown) => {
        logger.warn({ mount: name, err: error }, 'what a killed daemon may have left could not be removed')
      },
    )
  }
}
