/** Validated settings, with every default filled in: what the configuration file means. */
import type { InterposeRules } from '../interpose/rules.js'
import type { LogLevel } from '../observability/levels.js'
import type { TracingSettings } from '../observability/tracing-settings.js'
import type { ListenAddress } from './values.js'

/** `[ovfsd_settings]`. Milliseconds and bytes are whole numbers. */
export interface ServerSettings {
  readonly socketPath: string
  /** Permission bits of the socket, 0..0o777. */
  readonly socketMode: number
  /** Names or ids of users and groups that may connect; both null: whom the mode lets. */
  readonly socketUsers: readonly string[] | null
  readonly socketGroups: readonly string[] | null
  readonly enabledCache: boolean
  readonly writeBack: boolean
  /** How long attributes and blocks stay fresh: 0 = revalidate each time, Infinity = never expire. */
  readonly expirationMs: number
  readonly cacheSizeBytes: number
  /** Local disk for what is not stored yet and for the second tier of the cache; null: none. */
  readonly cacheDir: string | null
  /** Of the second tier. */
  readonly cacheDirSizeBytes: number
  /** What a close with write-back survives in `cacheDir`: the end of the host, or of the daemon alone. */
  readonly cacheDirDurability: 'host' | 'process'
  /** Write-back: age at which dirty data is committed. */
  readonly dirtyExpireMs: number
  /** Unsaved data of one mount beyond which the oldest is committed; null: half of the cache. */
  readonly dirtyMaxBytes: number | null
  /** Request queues offered to the front-end besides the hiprio queue, 1..64. */
  readonly requestQueues: number
  /** Files and directories that the guest may have open. */
  readonly maxOpenHandles: number
  /** Files and directories that the guest may know; null: what half of the heap has room for. */
  readonly maxInodes: number | null
  /** 0 = never poll. */
  readonly pollWindowUs: number
  readonly logLevel: LogLevel
  /** The guest's kernel may collect writes before it sends them. */
  readonly guestWriteback: boolean
  /** When the front-end goes away: wait for the next one, or drain and exit. */
  readonly waitForReconnect: boolean
  /** Longest a stop may take to commit what is dirty. */
  readonly shutdownTimeoutMs: number
  /** How long the open files of mounts that a reload removes may go on. */
  readonly reloadGraceMs: number
  /** Requests are counted and timed. */
  readonly requestMetrics: boolean
  /** Where Prometheus may ask; null: nowhere. */
  readonly metricsAddress: ListenAddress | null
  /** The Unix socket of `ovfsd status` and the like; null: none. */
  readonly controlSocket: string | null
  /** The file that a line for each request goes to; null: none. */
  readonly accessLog: string | null
}

/** An enabled `[profiles.NAME]`. */
export interface MountSettings {
  /** The profile's name. */
  readonly name: string
  /** A service of OpenDAL, `hdfs` or `passthrough`. */
  readonly type: string
  /** Path segments below the guest's mount point; [] is the root itself. */
  readonly mountPoint: readonly string[]
  readonly readOnly: boolean
  readonly uid: number
  readonly gid: number
  /** Permission bits, 0..0o777. */
  readonly fileMode: number
  readonly dirMode: number
  /** Mode, owner and time of files are kept with the objects. */
  readonly keepAttributes: boolean
  /** What the guest's kernel may keep. */
  readonly guestCache: 'none' | 'metadata' | 'auto' | 'always'
  /** Deadline of one call of the backend. */
  readonly timeoutMs: number
  /** When a store that does not answer is left alone. */
  readonly circuit: {
    /** Calls in a row without an answer; 0: never. */
    readonly failures: number
    /** Before one call tries again. */
    readonly pauseMs: number
  }
  /** As {@link ServerSettings.expirationMs}, for this mount. */
  readonly expirationMs: number
  /** What makes it slow or faulty on purpose; null: nothing. */
  readonly interpose: InterposeRules | null
  /** Equal where two mounts lead to the same store. Holds no secret. */
  readonly storeKey: string
  /** What it was in earlier versions; null where that did not tell which store it is. May hold a password. */
  readonly formerStoreKey: string | null
  /** The service's own options, by OpenDAL's names. May hold secrets. */
  readonly options: Readonly<Record<string, string>>
}

export interface Settings {
  readonly settings: ServerSettings
  readonly mounts: readonly MountSettings[]
  /** null: nothing is traced. */
  readonly tracing: TracingSettings | null
  /** The files that `*_file` keys of enabled profiles name: what they hold is in the options. */
  readonly secretFiles: readonly string[]
}
