/** The daemon's life: settings, logger, server, and then signals until the end. */
import {
  ConfigError,
  formatMountPoint,
  isOpenToOthers,
  isPipe,
  loadSettings,
  type Settings,
} from '../config/index.js'
import { createLogger, type Logger } from '../observability/logger.js'
import { Redactor } from '../observability/redaction.js'
import type { RunArguments } from './arguments.js'
import { EXIT_FAILURE, EXIT_USAGE } from './exit-code.js'
import { ConfigWatcher } from './config-watcher.js'
import { limitHeapGrowth } from './heap.js'
import { Instruments } from './instruments.js'
import { Lifecycle, type RunningServer } from './lifecycle.js'
import { dropSupplementaryGroups, limitOpenFiles, syslogOf } from './host-process.js'
import { groupId, userId } from './owner-ids.js'
import { serveMetrics } from './metrics.js'
import { keepPidFile, PID_FILE_SUFFIX } from './pid-file.js'
import { sharedDirectoryFault } from './shared-directory.js'
import type { SandboxedHost } from './sandbox.js'
import { Reloader, secretsOf, type ReloaderOptions } from './reloader.js'
import { SystemCallFilter } from './system-calls.js'
import { TracingSwitch } from './tracing-switch.js'

/** Kata's runtime waits for exactly this text on standard error before it starts the virtual machine. */
const LISTENING = 'Waiting for vhost-user socket connection'

export interface StartOptions extends Settings {
  readonly logger: Logger
  /** Listen on this descriptor instead of at settings.socketPath. */
  readonly socketFd?: number
  /** Of the socket's file. */
  readonly socketGid?: number
  /** Who may connect. Absent: whom the socket's mode lets. */
  readonly allowedPeers?: { readonly users: readonly number[]; readonly groups: readonly number[] }
  readonly onFrontEndGone: () => void
}

export interface DaemonOptions {
  /** For tests. */
  readonly startServer?: StartServer
  /** What the daemon runs in; null: nothing. */
  readonly sandbox?: SandboxedHost | null
}

export type StartServer = (options: StartOptions) => Promise<RunningServer>

/**
 * Run until stopped. Returns only if the daemon can't start; otherwise the process ends in here, when everything is
 * written back.
 */
export async function runDaemon(
  args: RunArguments,
  { startServer = startVirtioServer, sandbox = null }: DaemonOptions = {},
): Promise<number> {
  // A reader of standard error that has gone must not take the daemon with it.
  process.stderr.on('error', () => undefined)
  const { configFile, overrides } = args
  let settings: Settings
  try {
    settings = sandbox?.loadSettings(args) ?? loadSettings(configFile, overrides, { allowPipe: true })
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error
    process.stderr.write(`${error.message}\n`)
    return EXIT_USAGE
  }
  let missing: readonly string[]
  try {
    missing = sandbox?.seal(settings, args) ?? []
  } catch (error) {
    process.stderr.write(`ovfsd: can't start: ${reason(error, secretsOf(settings))}\n`)
    return EXIT_FAILURE
  }
  const fault = sharedDirectoryFault(overrides)
  if (fault !== undefined) {
    process.stderr.write(`ovfsd: ${fault}\n`)
    return EXIT_FAILURE
  }
  limitHeapGrowth()
  const secrets = secretsOf(settings)
  const logger = createLogger({ level: settings.settings.logLevel, secrets, ...(await syslogOf(args)) })
  const lifecycle = new Lifecycle(logger, settings.settings.shutdownTimeoutMs, sandbox !== null)
  const hangUps = hearHangUps()
  try {
    for (const remark of args.remarks) logger.info(remark)
    for (const path of missing)
      logger.warn({ path }, 'not there, so not in the sandbox: once it is, the daemon needs a restart')
    // The launcher has done so, before there were threads.
    if (sandbox === null) dropSupplementaryGroups(logger)
    if (sandbox === null && args.rlimitNofile !== undefined) await limitOpenFiles(args.rlimitNofile, logger)
    const tracing = new TracingSwitch(logger)
    await tracing.apply(settings.tracing)
    const server = await startServer({
      ...settings,
      ...socketOptions(args),
      ...peerOptions(settings),
      logger,
      onFrontEndGone: () => {
        if (!settings.settings.waitForReconnect) lifecycle.stop('the front-end has gone')
      },
    })
    const instruments = new Instruments(server, logger, {
      configFile: configFile ?? null,
      socketPath: args.socketFd === undefined ? settings.settings.socketPath : null,
    })
    lifecycle.run(instruments.around(server))
    await instruments.start(settings.settings)
    await serveMetrics(server, settings, logger, lifecycle)
    lifecycle.afterClose(() => tracing.stop())
    if (server.control !== undefined) tracing.watch(server.control)
    if (overrides.sharedDirectory !== undefined && args.socketFd === undefined)
      keepPidFile(`${settings.settings.socketPath}${PID_FILE_SUFFIX}`)
    const filter = SystemCallFilter.install(settings, args, sandbox !== null)
    if (sandbox === null && args.sandbox === undefined && overrides.sharedDirectory !== undefined)
      logger.warn(
        'not in a sandbox: that needs CAP_SYS_ADMIN or user namespaces, and Linux 5.12 (--sandbox=none: as intended)',
      )
    if (sandbox === null && args.modcaps !== undefined)
      logger.warn(
        '--modcaps has no effect without a sandbox: what started the daemon limits its capabilities',
      )
    const isConfined = sandbox !== null || filter !== null
    if (isConfined)
      logger.info(
        {
          sandbox: sandbox?.kind ?? 'none',
          landlock: sandbox?.hasLandlock ?? false,
          network: sandbox?.network ?? 'host',
          seccomp: filter?.denied ?? 'none',
        },
        'what the daemon may reach',
      )
    announce(logger, settings, args)
    if (configFile === undefined || isPipe(configFile)) {
      hangUps.answer(() => {
        instruments.reopen()
        logger.info('SIGHUP changes nothing: there is no configuration file to load again')
      })
    } else {
      warnOfOpenFile(logger, configFile, secrets)
      const onReload: ReloaderOptions['onReload'] = ({ settings: running, outcome }) => {
        settings = running
        lifecycle.shutdownTimeoutMs = running.settings.shutdownTimeoutMs
        instruments.follow(running.settings, outcome)
        void tracing.apply(running.tracing)
      }
      const options = {
        ...{ configFile, overrides, logger, server, settings, onReload },
        faultOf: (next: Settings) => sandbox?.missing(next, args) ?? filter?.missing(next, args) ?? null,
      }
      const reload = followFile(options, lifecycle)
      hangUps.answer(() => {
        instruments.reopen()
        reload()
      })
    }
  } catch (error) {
    process.stderr.write(`ovfsd: can't start: ${reason(error, secrets)}\n`)
    lifecycle.exit(EXIT_FAILURE)
  }
  return await new Promise<never>(() => undefined)
}

/** Load the file again whenever it changes, and at each call of what is returned. */
function followFile(options: ReloaderOptions, lifecycle: Lifecycle): () => void {
  const { configFile, logger, settings, onReload } = options
  const reloader = new Reloader({
    ...options,
    onReload: (report) => {
      watcher.watch([configFile, ...report.secretFiles])
      onReload(report)
    },
  })
  const request = (cause: string, isExplicit: boolean): void => {
    if (!lifecycle.isStopping) reloader.request(cause, isExplicit)
  }
  const watcher = new ConfigWatcher(logger, () => {
    request('the file was changed', false)
  })
  watcher.watch([configFile, ...settings.secretFiles])
  return () => {
    request('SIGHUP', true)
  }
}

/** SIGHUP would end the process without a word otherwise. One that comes early is answered as soon as somebody can. */
function hearHangUps(): { answer(handler: () => void): void } {
  let missed = false
  let handle = (): void => {
    missed = true
  }
  process.on('SIGHUP', () => {
    handle()
  })
  return {
    answer: (handler) => {
      handle = handler
      if (missed) handler()
    },
  }
}

/** @throws Error when there is no such group */
function socketOptions({
  socketFd,
  socketGroup,
}: RunArguments): Pick<StartOptions, 'socketFd' | 'socketGid'> {
  return {
    ...(socketFd === undefined ? {} : { socketFd }),
    ...(socketGroup === undefined ? {} : { socketGid: groupId(socketGroup) }),
  }
}

/** @throws Error when there is no such user or group */
function peerOptions({ settings }: Settings): Pick<StartOptions, 'allowedPeers'> {
  const { socketUsers, socketGroups } = settings
  if (socketUsers === null && socketGroups === null) return {}
  const users = (socketUsers ?? []).map((name) => userId(name, 'socket_users'))
  const groups = (socketGroups ?? []).map((name) => groupId(name, 'socket_groups'))
  return { allowedPeers: { users, groups } }
}

/** Loaded only now: --check and a wrong configuration need neither the addon nor OpenDAL. */
async function startVirtioServer(options: StartOptions): Promise<RunningServer> {
  const { Server } = await import('../server/server.js')
  return await Server.start(options)
}

function announce(logger: Logger, { settings, mounts }: Settings, args: RunArguments): void {
  for (const { name, type, mountPoint, readOnly } of mounts) {
    logger.info({ mount: name, type, mountPoint: formatMountPoint(mountPoint), readOnly }, 'mount ready')
  }
  const { socketFd } = args
  const where = socketFd === undefined ? { socketPath: settings.socketPath } : { socketFd }
  logger.info(where, LISTENING)
  // Whoever waits for the line must see it wherever the log goes, and whatever its level.
  if (args.syslog === true || !logger.isLevelEnabled('info')) process.stderr.write(`${LISTENING}\n`)
}

function warnOfOpenFile(logger: Logger, configFile: string, secrets: readonly string[]): void {
  try {
    if (secrets.length > 0 && isOpenToOthers(configFile)) {
      logger.warn(
        { configFile },
        'the configuration holds credentials and is open to other users: chmod 600 it',
      )
    }
  } catch {
    // Gone or replaced meanwhile: there is nothing to warn of.
  }
}

/** An error as one line without secrets. */
function reason(error: unknown, secrets: readonly string[]): string {
  const redactor = new Redactor()
  redactor.add(secrets)
  const text = error instanceof Error ? error.message : String(error)
  return redactor.text(text).replaceAll(/\s*\n\s*/g, ' ')
}
