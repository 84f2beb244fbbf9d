/**
 * Every key of the configuration file, its default and its range. To add a setting: a line here, a field in
 * settings.ts, its meaning in CONFIGURATION.md, whose tables `npm run docs` makes of this, and a line in ovfsd.example.toml.
 */
import * as v from 'valibot'
import { parseDurationWithinUs, US_PER_MS, type DurationRange } from './duration.js'
import { parseMountPoint } from './mount-point.js'
import { ValueError } from './problem.js'
import { LOG_LEVELS } from '../observability/levels.js'
import { parseSizeWithinBytes, type SizeRange } from './size.js'
import {
  DIRECTORY_BYTES_MAX,
  DURABILITIES,
  GUEST_CACHES,
  parseBoolean,
  parseDirectory,
  parseEnabledServices,
  parseFile,
  parseDurability,
  parseGuestCache,
  parseInteger,
  parseListenAddress,
  parseLogLevel,
  parseMode,
  parseNames,
  parseNumber,
  parseSocketPath,
  SOCKET_PATH_BYTES_MAX,
  type IntegerRange,
  type NumberRange,
} from './values.js'

/** As the kernel: the highest id means "no id". */
const ID_RANGE: IntegerRange = { min: 0, max: 0xffff_fffe }
/** The most that the native device takes; a guest uses one queue a virtual CPU at most. */
const REQUEST_QUEUE_RANGE: IntegerRange = { min: 1, max: 64 }
/** Fewer than a shell with its libraries has open, and no guest would start; more, and their tables outgrow any heap. */
const MAX_OPEN_HANDLES_RANGE: IntegerRange = { min: 64, max: 16_000_000 }
/** The same of what a guest knows. */
const MAX_INODES_RANGE: IntegerRange = { min: 1024, max: 100_000_000 }
/** Less than four slabs of the largest class (4 MiB) could not serve a reader beside a writer. 1 TiB is past any host. */
const CACHE_SIZE_RANGE: SizeRange = { min: '16MiB', max: '1TiB' }
/** One slab of the largest class on the disk is 64 MiB; 1 TiB takes 150 MiB of memory to keep account of. */
const CACHE_DIR_SIZE_RANGE: SizeRange = { min: '64MiB', max: '1TiB' }
/** Longer, and the poll would keep timers and backend completions waiting. */
const POLL_WINDOW_RANGE: DurationRange = { min: '0', max: '1ms' }
/** A year is as good as never, and enabled_cache_expiration = false says that. */
const EXPIRATION_RANGE: DurationRange = { min: '0', max: '365d' }
/** Below, the cleaner would commit the same block over and over; above, a crash costs more than an hour of work. */
const DIRTY_EXPIRE_RANGE: DurationRange = { min: '10ms', max: '1h' }
/** Below a request of the guest each write would be stored by itself; above a cache's size it is that. */
const DIRTY_MAX_RANGE: SizeRange = { min: '1MiB', max: '1TiB' }
/** A stop of the virtual machine waits for calls under way: a day-long deadline would hang it. */
const TIMEOUT_RANGE: DurationRange = { min: '100ms', max: '1h' }
/** 0 turns the circuit breaker off. */
const CIRCUIT_FAILURES_RANGE: IntegerRange = { min: 0, max: 1000 }
/** Shorter, and one call would always be trying; longer, and a store that is back would be ignored. */
const CIRCUIT_PAUSE_RANGE: DurationRange = { min: '100ms', max: '10m' }
/** After an hour, whoever still has a file of a removed mount open will not close it by itself. */
const RELOAD_GRACE_RANGE: DurationRange = { min: '0', max: '1h' }
const SHUTDOWN_TIMEOUT_RANGE: DurationRange = { min: '1s', max: '24h' }

/** What the tables of CONFIGURATION.md say of a key. */
export interface KeyMetadata {
  readonly kind: 'boolean' | 'duration' | 'list' | 'mode' | 'number' | 'size' | 'text'
  /** Which values are allowed, in Markdown; empty where the kind says all. */
  readonly range: string
  /** What holds where the key is left out and has no value of its own then. */
  readonly absent?: string
}

export const boolean = (range = '') => setting(parseBoolean, { kind: 'boolean', range })
const mode = setting(parseMode, { kind: 'mode', range: '`"000"` to `"0777"`' })
const names = (range: string) => setting(parseNames, { kind: 'text', range, absent: 'all' })
const id = integer(ID_RANGE)

/** `[ovfsd_settings]`. The defaults are written as in the file. */
export const serverSchema = v.object({
  socket_path: setting(parseSocketPath, { kind: 'text', range: `1 to ${SOCKET_PATH_BYTES_MAX} bytes` }),
  socket_mode: v.optional(mode, '0600'),
  socket_users: v.optional(names('names or ids, separated by commas')),
  socket_groups: v.optional(names('names or ids, separated by commas')),
  enabled_services: v.optional(
    setting(parseEnabledServices, {
      kind: 'text',
      range: 'types or names of profiles, separated by commas',
      absent: 'all',
    }),
  ),
  enabled_cache: v.optional(boolean(), true),
  enabled_cache_write_back: v.optional(boolean('`true` needs `enabled_cache`'), false),
  enabled_cache_expiration: v.optional(boolean(), true),
  cache_expiration_time: v.optional(durationMs(EXPIRATION_RANGE), '60s'),
  cache_size: v.optional(size(CACHE_SIZE_RANGE), '256MiB'),
  cache_dir: v.optional(
    setting(parseDirectory, {
      kind: 'text',
      range: `an absolute path, 1 to ${DIRECTORY_BYTES_MAX} bytes`,
      absent: 'none',
    }),
  ),
  cache_dir_size: v.optional(size(CACHE_DIR_SIZE_RANGE), '10GiB'),
  cache_dir_durability: v.optional(
    setting(parseDurability, { kind: 'text', range: choices(DURABILITIES) }),
    'host',
  ),
  dirty_expire: v.optional(durationMs(DIRTY_EXPIRE_RANGE), '5s'),
  dirty_max: v.optional(size(DIRTY_MAX_RANGE, 'half of `cache_size`')),
  // Merely an upper limit for what the front-end sets up: a spare queue costs nothing, a missing one fails the start of the machine.
  request_queues: v.optional(integer(REQUEST_QUEUE_RANGE), 8),
  max_open_handles: v.optional(integer(MAX_OPEN_HANDLES_RANGE), 1_000_000),
  max_inodes: v.optional(integer(MAX_INODES_RANGE, 'half of the heap, 1 KiB each')),
  poll_window: v.optional(
    setting((value) => parseDurationWithinUs(value, POLL_WINDOW_RANGE), duration(POLL_WINDOW_RANGE)),
    '50us',
  ),
  log_level: v.optional(setting(parseLogLevel, { kind: 'text', range: choices(LOG_LEVELS) }), 'info'),
  guest_writeback: v.optional(boolean(), false),
  wait_for_reconnect: v.optional(boolean(), true),
  shutdown_timeout: v.optional(durationMs(SHUTDOWN_TIMEOUT_RANGE), '60s'),
  reload_grace: v.optional(durationMs(RELOAD_GRACE_RANGE), '10s'),
  request_metrics: v.optional(boolean(), true),
  metrics_address: v.optional(
    setting(parseListenAddress, {
      kind: 'text',
      range: '`HOST:PORT` of the loopback interface, or `unix:PATH`',
      absent: 'none',
    }),
  ),
  control_socket: v.optional(
    setting(parseSocketPath, { kind: 'text', range: `1 to ${SOCKET_PATH_BYTES_MAX} bytes`, absent: 'none' }),
  ),
  access_log: v.optional(setting(parseFile, { kind: 'text', range: 'an absolute path', absent: 'none' })),
})

/** ovfsd's keys of a `[profiles.NAME]`, without `type`; all others are the service's options. */
export const profileSchema = v.object({
  mount_point: setting(parseMountPoint, { kind: 'text', range: 'a path, or `"/"`' }),
  read_only: v.optional(boolean(), false),
  uid: v.optional(id, 0),
  gid: v.optional(id, 0),
  file_mode: v.optional(mode, '0644'),
  dir_mode: v.optional(mode, '0755'),
  keep_attributes: v.optional(boolean('`s3` and `swift` only'), false),
  guest_cache: v.optional(setting(parseGuestCache, { kind: 'text', range: choices(GUEST_CACHES) }), 'auto'),
  timeout: v.optional(durationMs(TIMEOUT_RANGE), '30s'),
  circuit_failures: v.optional(integer(CIRCUIT_FAILURES_RANGE), 5),
  circuit_pause: v.optional(durationMs(CIRCUIT_PAUSE_RANGE), '1s'),
  cache_expiration_time: v.optional(durationMs(EXPIRATION_RANGE, 'that of `[ovfsd_settings]`')),
})

export type ServerKeys = v.InferOutput<typeof serverSchema>
export type ProfileKeys = v.InferOutput<typeof profileSchema>

export const SERVER_KEY_NAMES: readonly string[] = Object.keys(serverSchema.entries)
export const PROFILE_KEY_NAMES: readonly string[] = ['type', ...Object.keys(profileSchema.entries)]

/** A schema from a function that returns the value or throws a ValueError. */
export function setting<T>(parse: (value: unknown) => T, metadata: KeyMetadata) {
  return v.pipe(
    v.unknown(),
    v.rawTransform<unknown, T>(({ dataset, addIssue, NEVER }) => {
      try {
        return parse(dataset.value)
      } catch (error) {
        if (!(error instanceof ValueError)) throw error
        addIssue({ message: error.message })
        return NEVER
      }
    }),
    v.metadata({ ...metadata }),
  )
}

/** Whole milliseconds, rounded up: a deadline of 1500us must not become one of 1ms. */
export function durationMs(range: DurationRange, absent?: string) {
  return setting((value) => Math.ceil(parseDurationWithinUs(value, range) / US_PER_MS), {
    ...duration(range),
    ...(absent === undefined ? {} : { absent }),
  })
}

/** Milliseconds with their fractions. */
export function durationFractionMs(range: DurationRange, absent?: string) {
  return setting((value) => parseDurationWithinUs(value, range) / US_PER_MS, {
    ...duration(range),
    ...(absent === undefined ? {} : { absent }),
  })
}

export function integer(range: IntegerRange, absent?: string) {
  return setting((value) => parseInteger(value, range), {
    ...{ kind: 'number', range: between(range) },
    ...(absent === undefined ? {} : { absent }),
  })
}

/** With or without a fraction. */
export function number(range: NumberRange, absent?: string) {
  return setting((value) => parseNumber(value, range), {
    ...{ kind: 'number', range: between(range) },
    ...(absent === undefined ? {} : { absent }),
  })
}

export function size(range: SizeRange, absent?: string) {
  return setting((value) => parseSizeWithinBytes(value, range), {
    ...{ kind: 'size', range: between(range) },
    ...(absent === undefined ? {} : { absent }),
  })
}

function duration(range: DurationRange): KeyMetadata {
  return { kind: 'duration', range: between(range) }
}

function between({ min, max }: { readonly min: string | number; readonly max: string | number }): string {
  return `\`${min}\` to \`${max}\``
}

export function choices(names: readonly string[]): string {
  return names.map((name) => `\`${name}\``).join(', ')
}
