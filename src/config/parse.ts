/** From the text of a configuration file to settings, or to every problem it has. */
import { parse as parseToml, TomlError } from 'smol-toml'
import * as v from 'valibot'
import { overridden, SHARED_PROFILE, sharedProfile, withCommandLine, type Overrides } from './command-line.js'
import { formatKeyPath, KeyLines } from './key-lines.js'
import { formatMountPoint } from './mount-point.js'
import { ConfigError, describeValue, listChoices, type Problem } from './problem.js'
import { misspelt, parseProfile, reportIssues, type Profile, type Report } from './profiles.js'
import { SERVER_KEY_NAMES, serverSchema, type ServerKeys } from './schema.js'
import { SERVICES } from './services.js'
import type { TracingSettings } from '../observability/tracing-settings.js'
import type { MountSettings, ServerSettings, Settings } from './settings.js'
import { formerStoreKey, storeKey } from './store-key.js'
import { didYouMean, nearestName } from './suggestion.js'
import { parseTracing } from './tracing.js'

type Table = Readonly<Record<string, unknown>>

const SERVER_TABLE = 'ovfsd_settings'
const PROFILES_TABLE = 'profiles'
const TRACING_TABLE = 'tracing'
const TABLES = [SERVER_TABLE, PROFILES_TABLE, TRACING_TABLE]

/** As many file systems as a guest could ask for; each is an operator with its own connections. */
const PROFILES_MAX = 256

/**
 * @param fileName as messages show it
 * @throws ConfigError with all problems
 */
export function parseSettings(text: string, fileName: string, overrides: Overrides = {}): Settings {
  const root = parseText(text, fileName)
  const problems: Problem[] = []
  let lines: KeyLines | undefined
  const report: Report = (path, message) => {
    const problem = { keyPath: formatKeyPath(path), message }
    // There is no line to point at where the command line says all.
    if (text !== '') lines ??= new KeyLines(text)
    problems.push(lines === undefined ? problem : { line: lines.find(path), ...problem })
  }
  const secretFiles = new Set<string>()
  const settings = interpret(root, overrides, report, secretFiles)
  if (settings === undefined || problems.length > 0)
    throw new ConfigError(fileName, problems, [...secretFiles])
  return { ...settings, secretFiles: [...secretFiles] }
}

/**
 * Only where the daemon's control socket is: whoever asks the daemon need not have the secrets that the rest of the file is about. null: it has none.
 * @throws ConfigError
 */
export function parseControlSocket(text: string, fileName: string): string | null {
  const server = parseText(text, fileName)[SERVER_TABLE]
  const value = isTable(server) ? server['control_socket'] : undefined
  const result = v.safeParse(serverSchema.entries.control_socket, value)
  if (result.success) return result.output ?? null
  const path = [SERVER_TABLE, 'control_socket']
  const [{ message }] = result.issues
  throw new ConfigError(fileName, [
    { line: new KeyLines(text).find(path), keyPath: formatKeyPath(path), message },
  ])
}

function parseText(text: string, fileName: string): Table {
  try {
    return parseToml(text)
  } catch (error) {
    if (!(error instanceof TomlError)) throw error
    // The rest of the message repeats the lines around, and there may be a secret on them.
    const reason = (error.message.split('\n')[0] ?? '').replace(/^Invalid TOML document: /, '')
    const hint = reason === 'invalid value' ? '; text goes in quotes, such as name = "value"' : ''
    const message = `not TOML: ${reason} (column ${error.column})${hint}`
    throw new ConfigError(fileName, [{ line: error.line, keyPath: '', message }])
  }
}

/** Reports all problems; undefined if there is no way to make settings of it. `secretFiles` gets those that are named. */
function interpret(
  root: Table,
  overrides: Overrides,
  report: Report,
  secretFiles: Set<string>,
): Omit<Settings, 'secretFiles'> | undefined {
  for (const key of Object.keys(root)) {
    if (!TABLES.includes(key)) report([key], unknownTable(key))
  }
  const serverTable = subTable(root, SERVER_TABLE, report)
  const server = parseServer(serverTable, overrides, report)
  const tables = profileTables(root, overrides, report)
  const enabled = enabledServices(serverTable)
  const isEnabled = (name: string, type: unknown): boolean =>
    enabled === undefined ||
    enabled.includes(name) ||
    isShared(name, overrides) ||
    (typeof type === 'string' && enabled.includes(type))
  const profiles = tables
    .map(([name, table]) =>
      parseProfile(name, table, isEnabled, {
        report: (path, message) => {
          report([PROFILES_TABLE, name, ...path], message)
        },
        secretFiles,
      }),
    )
    .filter((profile) => profile !== undefined)
  if (enabled !== undefined) reportUnmatchedServices(enabled, tables, report)
  const mounted = profiles.filter((profile) => isEnabled(profile.name, profile.type))
  reportSharedMountPoints(mounted, report)
  const tracing = parseTracingTable(
    root,
    tables.map(([name]) => name),
    report,
  )
  if (server === undefined) return undefined
  const settings = serverSettings(server)
  return {
    settings,
    mounts: mounted.map((profile) => mountSettings(profile, settings, overrides)),
    tracing,
  }
}

function parseTracingTable(root: Table, profiles: readonly string[], report: Report): TracingSettings | null {
  const table = root[TRACING_TABLE] === undefined ? undefined : subTable(root, TRACING_TABLE, report)
  return parseTracing(table, profiles, (path, message) => {
    report([TRACING_TABLE, ...path], message)
  })
}

function parseServer(table: Table, overrides: Overrides, report: Report): ServerKeys | undefined {
  const reportHere: Report = (path, message) => {
    report([SERVER_TABLE, ...path], message)
  }
  for (const key of Object.keys(table)) {
    if (SERVER_KEY_NAMES.includes(key)) continue
    const nearest = didYouMean(key, SERVER_KEY_NAMES)
    reportHere(
      [key],
      `unknown key${nearest === '' ? `; known are ${listChoices(SERVER_KEY_NAMES)}` : nearest}`,
    )
  }
  const result = v.safeParse(serverSchema, withCommandLine(table, overrides))
  if (!result.success) {
    const examples = { socket_path: 'socket_path = "/run/ovfsd/ovfsd.sock"' }
    reportIssues(result.issues, examples, misspelt(table, SERVER_KEY_NAMES), reportHere)
    return undefined
  }
  const keys = result.output
  if (keys.enabled_cache_write_back && !keys.enabled_cache) {
    reportHere(['enabled_cache_write_back'], 'needs the cache; set enabled_cache = true, or this to false')
  }
  return overridden(keys, overrides)
}

/** Apart from the rest, so that a slip elsewhere does not hide or invent problems here. Undefined = all. */
function enabledServices(table: Table): readonly string[] | undefined {
  const result = v.safeParse(serverSchema.entries.enabled_services, table['enabled_services'])
  return result.success ? result.output : undefined
}

function profileTables(
  root: Table,
  overrides: Overrides,
  report: Report,
): readonly (readonly [name: string, table: Table])[] {
  const { sharedDirectory } = overrides
  // The first, so that a fault between it and one of the file is the file's, which can be changed.
  const tables: [string, Table][] =
    sharedDirectory === undefined ? [] : [[SHARED_PROFILE, sharedProfile(sharedDirectory)]]
  for (const [name, table] of Object.entries(subTable(root, PROFILES_TABLE, report))) {
    if (!isTable(table))
      report([PROFILES_TABLE, name], `expected a table [profiles.NAME], found ${describeValue(table)}`)
    else if (isShared(name, overrides))
      report([PROFILES_TABLE, name], 'has the name that --shared-dir gives its directory; choose another')
    else tables.push([name, table])
  }
  if (sharedDirectory !== undefined) return limited(tables, report)
  if (root[PROFILES_TABLE] === undefined || (isTable(root[PROFILES_TABLE]) && tables.length === 0)) {
    report([PROFILES_TABLE], 'there is nothing to mount; add a table such as [profiles.s3]')
  }
  return limited(tables, report)
}

function isShared(name: string, { sharedDirectory }: Overrides): boolean {
  return name === SHARED_PROFILE && sharedDirectory !== undefined
}

function limited<T>(tables: readonly T[], report: Report): readonly T[] {
  if (tables.length > PROFILES_MAX) {
    report([PROFILES_TABLE], `${tables.length} profiles are too many; up to ${PROFILES_MAX} are possible`)
  }
  return tables.slice(0, PROFILES_MAX)
}

function reportUnmatchedServices(
  enabled: readonly string[],
  tables: readonly (readonly [string, Table])[],
  report: Report,
): void {
  const types = tables.map(([, table]) => table['type']).filter((type) => typeof type === 'string')
  const choices = [...new Set([...types, ...tables.map(([name]) => name)])]
  if (choices.length === 0) return
  for (const entry of enabled) {
    if (choices.includes(entry)) continue
    report(
      [SERVER_TABLE, 'enabled_services'],
      `${JSON.stringify(entry)} is neither the type nor the name of a profile; write ${listChoices(choices)}`,
    )
  }
}

function reportSharedMountPoints(profiles: readonly Profile[], report: Report): void {
  const owners = new Map<string, string>()
  for (const profile of profiles) {
    const path = formatMountPoint(profile.keys.mount_point)
    const owner = owners.get(path)
    if (owner === undefined) owners.set(path, profile.name)
    else {
      report(
        [PROFILES_TABLE, profile.name, 'mount_point'],
        `${JSON.stringify(path)} is taken by profiles.${owner}; give profiles.${profile.name} another`,
      )
    }
  }
}

function serverSettings(keys: ServerKeys): ServerSettings {
  return {
    socketPath: keys.socket_path,
    socketMode: keys.socket_mode,
    socketUsers: keys.socket_users ?? null,
    socketGroups: keys.socket_groups ?? null,
    enabledCache: keys.enabled_cache,
    writeBack: keys.enabled_cache_write_back,
    expirationMs: keys.enabled_cache_expiration ? keys.cache_expiration_time : Infinity,
    cacheSizeBytes: keys.cache_size,
    cacheDir: keys.cache_dir ?? null,
    cacheDirSizeBytes: keys.cache_dir_size,
    cacheDirDurability: keys.cache_dir_durability,
    dirtyExpireMs: keys.dirty_expire,
    dirtyMaxBytes: keys.dirty_max ?? null,
    requestQueues: keys.request_queues,
    maxOpenHandles: keys.max_open_handles,
    maxInodes: keys.max_inodes ?? null,
    pollWindowUs: keys.poll_window,
    logLevel: keys.log_level,
    guestWriteback: keys.guest_writeback,
    waitForReconnect: keys.wait_for_reconnect,
    shutdownTimeoutMs: keys.shutdown_timeout,
    reloadGraceMs: keys.reload_grace,
    requestMetrics: keys.request_metrics,
    metricsAddress: keys.metrics_address ?? null,
    controlSocket: keys.control_socket ?? null,
    accessLog: keys.access_log ?? null,
  }
}

function mountSettings(
  { name, type, keys, interpose, options }: Profile,
  server: ServerSettings,
  { readOnly }: Overrides,
): MountSettings {
  return {
    name,
    type,
    mountPoint: keys.mount_point,
    readOnly: readOnly ?? keys.read_only,
    uid: keys.uid,
    gid: keys.gid,
    fileMode: keys.file_mode,
    dirMode: keys.dir_mode,
    keepAttributes: keys.keep_attributes,
    guestCache: keys.guest_cache,
    timeoutMs: keys.timeout,
    circuit: { failures: keys.circuit_failures, pauseMs: keys.circuit_pause },
    expirationMs: keys.cache_expiration_time ?? SERVICES.get(type)?.expirationMs ?? server.expirationMs,
    interpose,
    storeKey: storeKey(type, options),
    formerStoreKey: formerStoreKey(type, options),
    options,
  }
}

/** A table of the file's top level; {} when it is absent or, which is reported, something else. */
function subTable(root: Table, name: string, report: Report): Table {
  const table = root[name]
  if (table === undefined) return {}
  if (isTable(table)) return table
  report([name], `expected a table [${name}], found ${describeValue(table)}`)
  return {}
}

function unknownTable(key: string): string {
  const nearest = nearestName(key, TABLES)
  if (nearest !== undefined) return `unknown table; did you mean [${nearest}]?`
  if (SERVER_KEY_NAMES.includes(key))
    return `belongs into the table [${SERVER_TABLE}]; write it below that line`
  return `unknown table; the file has [${SERVER_TABLE}], [profiles.NAME] and [${TRACING_TABLE}] tables`
}

function isTable(value: unknown): value is Table {
  return typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date)
}
