/** What changes from one configuration to another: which of it can be done while running, and which needs a restart. */
import { isDeepStrictEqual } from 'node:util'
import { formatMountPoint } from './mount-point.js'
import { settingKey } from './setting-key.js'
import type { MountSettings, ServerSettings, Settings } from './settings.js'

export interface MountChange {
  readonly before: MountSettings
  readonly after: MountSettings
}

export interface SettingsDiff {
  readonly added: readonly MountSettings[]
  readonly removed: readonly MountSettings[]
  /** The same store at the same place, with something else in it: what is open and cached goes on. */
  readonly changed: readonly MountChange[]
  /** Names of profiles that would come to "/" or go from there: the guest holds the root for as long as it runs. */
  readonly mountsNeedRestart: readonly string[]
  /** Server settings that can be applied while running. */
  readonly live: readonly (keyof ServerSettings)[]
  /** Where spans go or which there are, which can be changed while running. */
  readonly tracing: boolean
  /** Server settings that differ but stay as they are until a restart. */
  readonly needRestart: readonly (keyof ServerSettings)[]
}

/**
 * Whether a change needs a restart: the socket and the rings do, since the front-end has them in its hands, and so does the
 * pool, which is one mapping for the daemon's life.
 */
const NEEDS_RESTART: Readonly<Record<keyof ServerSettings, boolean>> = {
  socketPath: true,
  socketMode: true,
  socketUsers: true,
  socketGroups: true,
  enabledCache: true,
  writeBack: false,
  expirationMs: false,
  cacheSizeBytes: true,
  cacheDir: true,
  cacheDirSizeBytes: true,
  cacheDirDurability: true,
  dirtyExpireMs: false,
  dirtyMaxBytes: false,
  requestQueues: true,
  maxOpenHandles: true,
  maxInodes: true,
  pollWindowUs: true,
  logLevel: false,
  guestWriteback: true,
  waitForReconnect: false,
  shutdownTimeoutMs: false,
  reloadGraceMs: false,
  requestMetrics: false,
  metricsAddress: true,
  controlSocket: true,
  accessLog: false,
}

const SERVER_KEYS = Object.keys(NEEDS_RESTART) as (keyof ServerSettings)[]

/** By the names of the configuration file. */
export function keysThatNeedRestart(): string[] {
  return SERVER_KEYS.filter((key) => NEEDS_RESTART[key]).map(settingKey)
}

/**
 * Compare two configurations. A profile whose mount point, type or store changes is one removed and one added.
 */
export function diffSettings(before: Settings, after: Settings): SettingsDiff {
  const old = new Map(before.mounts.map((mount) => [identity(mount), mount]))
  const added: MountSettings[] = []
  const changed: MountChange[] = []
  for (const mount of after.mounts) {
    const previous = old.get(identity(mount))
    old.delete(identity(mount))
    if (previous === undefined) added.push(mount)
    else if (!isDeepStrictEqual(previous, mount)) changed.push({ before: previous, after: mount })
  }
  const removed = [...old.values()]
  const mountsNeedRestart = new Set([...added, ...removed].filter(isRoot).map(({ name }) => name))
  const differing = SERVER_KEYS.filter((key) => !isDeepStrictEqual(before.settings[key], after.settings[key]))
  return {
    added: added.filter(({ name }) => !mountsNeedRestart.has(name)),
    removed: removed.filter(({ name }) => !mountsNeedRestart.has(name)),
    changed,
    mountsNeedRestart: [...mountsNeedRestart],
    live: differing.filter((key) => !NEEDS_RESTART[key]),
    tracing: !isDeepStrictEqual(before.tracing, after.tracing),
    needRestart: differing.filter((key) => NEEDS_RESTART[key]),
  }
}

/**
 * What a daemon runs with that was started with `before` and does all of `diff` that needs no restart. `unchanged` are the
 * names of mounts that could not be changed.
 */
export function appliedSettings(
  before: Settings,
  after: Settings,
  diff: SettingsDiff,
  unchanged: readonly string[] = [],
): Settings {
  const kept = Object.fromEntries(diff.needRestart.map((key) => [key, before.settings[key]]))
  const stays = ({ name }: MountSettings): boolean =>
    unchanged.includes(name) || diff.mountsNeedRestart.includes(name)
  return {
    settings: { ...after.settings, ...kept },
    mounts: [...before.mounts.filter(stays), ...after.mounts.filter((mount) => !stays(mount))],
    tracing: after.tracing,
    secretFiles: after.secretFiles,
  }
}

function isRoot({ mountPoint }: MountSettings): boolean {
  return mountPoint.length === 0
}

/** What makes two mounts the same one to a guest that has it open. */
function identity({ name, mountPoint, storeKey }: MountSettings): string {
  return JSON.stringify([name, formatMountPoint(mountPoint), storeKey])
}
