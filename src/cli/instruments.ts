/** What lets operators look into a running daemon: the control socket and the access log. Each is loaded only where it is asked for. */
import type { ServerSettings } from '../config/index.js'
import type { HttpEndpoint } from '../control/http-endpoint.js'
import type { DaemonFacts, ReloadView } from '../control/views.js'
import type { AccessLog } from '../observability/access-log.js'
import type { Logger } from '../observability/logger.js'
import { packageVersion } from '../observability/package-version.js'
import type { RunningServer } from './lifecycle.js'
import type { ReloadOutcome } from './reloader.js'

export class Instruments {
  private controlSocket: HttpEndpoint | null = null
  private accessLog: AccessLog | null = null
  /** The access log's path by the configuration, whether or not it could be opened. */
  private wantedLog: string | null = null
  private lastReload: ReloadView | null = null
  /** Opening, reopening and closing of the access log, one after the other. */
  private logChanges: Promise<void> = Promise.resolve()
  private isClosing = false

  constructor(
    private readonly server: RunningServer,
    private readonly logger: Logger,
    private readonly where: Pick<DaemonFacts, 'configFile' | 'socketPath'>,
  ) {}

  /** @throws Error where one of them can't be opened: who asks for a log of all requests does not want to go without */
  async start({ controlSocket, accessLog }: ServerSettings): Promise<void> {
    const { server, logger } = this
    const { control } = server
    if (control === undefined) return
    this.wantedLog = accessLog
    if (accessLog !== null) await telling(`access_log ${accessLog}`, () => this.openLog(accessLog))
    if (controlSocket === null) return
    const { openControlSocket } = await import('../control/control-socket.js')
    const daemon = { server: control, logger, facts: () => this.facts() }
    this.controlSocket = await telling(`control_socket ${controlSocket}`, () =>
      openControlSocket(controlSocket, daemon),
    )
  }

  private facts(): DaemonFacts {
    return {
      version: packageVersion(),
      ...this.where,
      lastReload: this.lastReload,
      logLevel: this.logger.level,
      accessLog: this.accessLog?.path ?? null,
    }
  }

  /** The configuration was loaded again, or was to be. */
  follow({ accessLog }: ServerSettings, outcome: ReloadOutcome | null): void {
    if (outcome !== null) this.lastReload = { time: new Date().toISOString(), ...outcome }
    if (accessLog === this.wantedLog) return
    this.wantedLog = accessLog
    this.changeLog(async () => {
      await this.closeLog()
      if (accessLog !== null) await this.openLog(accessLog)
    })
  }

  /** SIGHUP: a program that rotates logs has moved the access log away; or what kept it from being opened is gone. */
  reopen(): void {
    this.changeLog(async () => {
      const { accessLog, wantedLog } = this
      if (accessLog !== null) await accessLog.reopen()
      else if (wantedLog !== null) await this.openLog(wantedLog)
    })
  }

  private changeLog(work: () => Promise<void>): void {
    this.logChanges = this.logChanges.then(async () => {
      if (this.isClosing) return
      try {
        await work()
      } catch (error) {
        const { wantedLog: accessLog } = this
        this.logger.error({ accessLog, err: error }, 'the access log cannot be opened; SIGHUP tries again')
      }
    })
  }

  private async openLog(path: string): Promise<void> {
    const { AccessLog } = await import('../observability/access-log.js')
    const log = await AccessLog.open(path, this.logger)
    this.accessLog = log
    this.server.control?.watch(log)
  }

  private async closeLog(): Promise<void> {
    const log = this.accessLog
    if (log === null) return
    this.accessLog = null
    this.server.control?.unwatch(log)
    await log.close()
  }

  /** The same server, whose end is theirs too: nobody may ask a server that is being closed, and its last requests are logged. */
  around(server: RunningServer): RunningServer {
    return {
      reload: (change) => server.reload(change),
      unsaved: () => server.unsaved(),
      losses: () => server.losses(),
      close: async () => {
        this.isClosing = true
        await this.controlSocket?.close()
        try {
          await server.close()
        } finally {
          await this.logChanges
          await this.closeLog()
        }
      },
    }
  }
}

/** The error's message begins with the key and its value. */
async function telling<T>(what: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw new Error(`${what}: ${(error as Error).message}`, { cause: error })
  }
}
