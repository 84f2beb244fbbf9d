/**
 * Takes a changed configuration over while the daemon runs. One reload at a time; a request that comes meanwhile leads to
 * one more. A configuration with faults changes nothing.
 */
import {
  appliedSettings,
  ConfigError,
  diffSettings,
  loadSettings,
  settingKey,
  tracingSecrets,
  type Overrides,
  type Settings,
  type SettingsDiff,
} from '../config/index.js'
import { redactValues, setLogLevel, type Logger } from '../observability/logger.js'
import { secretValues } from '../observability/redaction.js'
import type { RunningServer } from './lifecycle.js'

export interface ReloaderOptions {
  readonly configFile: string
  readonly overrides: Overrides
  readonly logger: Logger
  readonly server: RunningServer
  /** What the daemon runs with. */
  readonly settings: Settings
  /** Why other settings, which are right in themselves, can't be had by this process; null: they can. */
  readonly faultOf?: (next: Settings) => string | null
  /** Told after every attempt. */
  readonly onReload: (report: ReloadReport) => void
}

export interface ReloadReport {
  /** What the daemon runs with. */
  readonly settings: Settings
  /** What came of the attempt; null: there was nothing new. */
  readonly outcome: ReloadOutcome | null
  /** Files besides the configuration whose change may make the next attempt end differently. */
  readonly secretFiles: readonly string[]
}

export interface ReloadOutcome {
  readonly cause: string
  readonly outcome: 'applied' | 'refused'
  /** Why it was refused, or which keys need a restart; null: there is nothing to say. */
  readonly detail: string | null
}

interface Request {
  readonly cause: string
  readonly isExplicit: boolean
}

/** A configuration that can't be had, and what it names beside itself. */
interface Refusal {
  readonly reason: string
  readonly secretFiles: readonly string[]
}

export class Reloader {
  readonly #options: ReloaderOptions
  #settings: Settings
  #isRunning = false
  #next: Request | undefined
  /** The last complaint, so that an editor that saves in several steps does not bring it several times. */
  #complaint = ''

  constructor(options: ReloaderOptions) {
    this.#options = options
    this.#settings = options.settings
  }

  /** Load the file again. `cause` is for the log; a signal always gets an answer there, a file event only when there is news. */
  request(cause: string, isExplicit: boolean): void {
    if (isExplicit) this.#complaint = ''
    // A signal is answered, whatever comes behind it.
    if (this.#next?.isExplicit !== true) this.#next = { cause, isExplicit }
    if (!this.#isRunning) void this.#run()
  }

  /** Never rejects: whatever a configuration brings about, the mounts that are there go on. */
  async #run(): Promise<void> {
    this.#isRunning = true
    for (let request = this.#take(); request !== undefined; request = this.#take()) {
      try {
        await this.#reload(request)
      } catch (error) {
        this.#options.logger.error(
          { cause: request.cause, err: error },
          'configuration not reloaded, or not all of it',
        )
        this.#tell({ cause: request.cause, outcome: 'refused', detail: (error as Error).message })
      }
    }
    this.#isRunning = false
  }

  #take(): Request | undefined {
    const next = this.#next
    this.#next = undefined
    return next
  }

  #tell(outcome: ReloadOutcome | null, secretFiles = this.#settings.secretFiles): void {
    const { onReload, logger } = this.#options
    try {
      onReload({ settings: this.#settings, outcome, secretFiles })
    } catch (error) {
      logger.error({ err: error }, 'what follows from the reloaded configuration could not all be done')
    }
  }

  async #reload({ cause, isExplicit }: Request): Promise<void> {
    const { logger, server } = this.#options
    const next = this.#load()
    if ('reason' in next) {
      const files = [...this.#settings.secretFiles, ...next.secretFiles]
      this.#tell({ cause, outcome: 'refused', detail: next.reason }, files)
      return
    }
    const before = this.#settings
    const diff = diffSettings(before, next)
    // Before anything can fail with them in its message.
    redactValues(logger, secretsOf(next))
    const isApplied = isExplicit || isNews(diff)
    if (isApplied) await this.#apply(server, next, diff, cause)
    else this.#settings = { ...before, secretFiles: next.secretFiles }
    const keys = restartNeeded(diff)
    this.#complain(keys)
    const detail = keys.length === 0 ? null : `need a restart: ${keys.join(', ')}`
    this.#tell(isApplied ? { cause, outcome: 'applied', detail } : null)
  }

  async #apply(server: RunningServer, next: Settings, diff: SettingsDiff, cause: string): Promise<void> {
    const { logger } = this.#options
    const { settings } = appliedSettings(this.#settings, next, diff)
    setLogLevel(logger, settings.logLevel)
    const unchanged = await server.reload({ ...diff, settings })
    this.#settings = appliedSettings(this.#settings, next, diff, unchanged)
    const names = {
      added: diff.added.map(({ name }) => name),
      removed: diff.removed.map(({ name }) => name),
      changed: diff.changed.map(({ after }) => after.name).filter((name) => !unchanged.includes(name)),
      settings: [...diff.live.map(settingKey), ...(diff.tracing ? ['tracing'] : [])],
    }
    logger.info({ cause, ...names }, 'configuration reloaded')
  }

  #load(): Settings | Refusal {
    const { configFile, overrides, logger } = this.#options
    try {
      const next = loadSettings(configFile, overrides)
      const fault = this.#options.faultOf?.(next) ?? null
      if (fault === null) return next
      if (fault !== this.#complaint) logger.error({ reason: fault }, 'configuration not reloaded')
      this.#complaint = fault
      return { reason: fault, secretFiles: next.secretFiles }
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error
      const reason = error.message.split('\n').join('; ')
      if (reason !== this.#complaint)
        logger.error({ reason }, 'configuration not reloaded: it has faults, and nothing was changed')
      this.#complaint = reason
      return { reason, secretFiles: error.secretFiles }
    }
  }

  #complain(keys: readonly string[]): void {
    const complaint = keys.join()
    if (complaint !== '' && complaint !== this.#complaint) {
      this.#options.logger.warn({ keys }, 'these changes of the configuration need a restart to take effect')
    }
    this.#complaint = complaint
  }
}

export function secretsOf({ mounts, tracing }: Settings): string[] {
  return [...mounts.flatMap((mount) => secretValues(mount.options)), ...tracingSecrets(tracing)]
}

function isNews({ added, removed, changed, live, tracing }: SettingsDiff): boolean {
  return added.length + removed.length + changed.length + live.length > 0 || tracing
}

/** In the file's words. */
function restartNeeded({ needRestart, mountsNeedRestart }: SettingsDiff): string[] {
  return [...needRestart.map(settingKey), ...mountsNeedRestart.map((name) => `profiles.${name}.mount_point`)]
}
