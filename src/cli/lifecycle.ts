/**
 * How the daemon ends. Whatever the cause - a signal, the front-end's leaving, a fault of ours - dirty data is
 * written back first, within the time that shutdown_timeout gives.
 *
 *   starting --run--> running --stop--> draining --closed--> exit
 *       |                                  |
 *       | stop, fault                      | second signal, timeout, failed close
 *       v                                  v
 *     exit                            exit at once, saying what is lost
 */
import { flushLogger, type Logger } from '../observability/logger.js'
import type { ServerSettings, SettingsDiff } from '../config/index.js'
import type { ServerControl } from '../server/server-control.js'
import type { LossTotals, UnsavedData } from '../server/loss-ledger.js'
import { EXIT_FAILURE, EXIT_LOST, EXIT_OK, EXIT_SOFTWARE } from './exit-code.js'
import { bytesText } from './table.js'

export interface ServerChange extends Pick<SettingsDiff, 'added' | 'removed' | 'changed'> {
  readonly settings: ServerSettings
}

export interface RunningServer {
  /** Drain: commit dirty data, then close. Rejects if some could not be committed. */
  close(): Promise<void>
  /** What the stores do not have yet, by mount. */
  unsaved(): readonly UnsavedData[]
  /** What was lost since the start. */
  losses(): LossTotals
  /** Go over to other mounts and settings. Returns the names of the mounts that could not be changed and stay as they were. */
  reload(change: ServerChange): Promise<readonly string[]>
  /** What operators may ask and do; absent in tests of the daemon's life. */
  readonly control?: ServerControl
}

/**
 * A service manager that ends a unit tells all of its processes, and the launcher hands on what it was told. Shorter than anybody thinks
 * before he gives up on what is unsaved.
 */
const ECHO_MS = 1000

const SIGNALS = ['SIGTERM', 'SIGINT'] as const

export class Lifecycle {
  readonly #logger: Logger
  /** A reload of the configuration may change it. */
  shutdownTimeoutMs: number
  #server: RunningServer | undefined
  #stopping = false
  /** When the first signal to stop came. */
  #heardAt = -Infinity
  readonly #afterClose: (() => Promise<void>)[] = []
  /** Of a drain that succeeds. */
  #exitCode = EXIT_OK

  /** `mayHearTwice`: one request to stop may come as two signals. */
  constructor(
    logger: Logger,
    shutdownTimeoutMs: number,
    private readonly mayHearTwice = false,
  ) {
    this.#logger = logger
    this.shutdownTimeoutMs = shutdownTimeoutMs
    for (const signal of SIGNALS) {
      process.on(signal, () => {
        this.#onSignal(signal)
      })
    }
    process.on('uncaughtException', (error) => {
      this.#onFault(error, 'uncaught exception')
    })
    process.on('unhandledRejection', (error) => {
      this.#onFault(error, 'unhandled rejection')
    })
  }

  get isStopping(): boolean {
    return this.#stopping
  }

  /** The server has started: from now on there is something to drain. */
  run(server: RunningServer): void {
    this.#server = server
  }

  /** `work` is done when the server has closed, before the process ends by itself. */
  afterClose(work: () => Promise<void>): void {
    this.#afterClose.push(work)
  }

  /** Drain and exit; at once if nothing has been started. Only the first call counts. */
  stop(cause: string, exitCode: number = EXIT_OK): void {
    if (this.#stopping) return
    this.#stopping = true
    this.#exitCode = exitCode
    if (this.#server === undefined) {
      this.#logger.info({ cause }, 'stopped while starting')
      this.exit(exitCode)
    }
    this.#logger.info({ cause }, 'stopping: writing back what is dirty')
    void this.#drain(this.#server)
  }

  /** End the process now. */
  exit(exitCode: number): never {
    flushLogger(this.#logger)
    process.exit(exitCode)
  }

  #onSignal(signal: NodeJS.Signals): void {
    const heardAt = performance.now()
    if (!this.#stopping) this.stop(signal)
    else if (!this.mayHearTwice || heardAt - this.#heardAt > ECHO_MS)
      this.#giveUp(`a second signal, ${signal}`)
    else return
    this.#heardAt = heardAt
  }

  #onFault(error: unknown, what: string): void {
    this.#logger.fatal({ err: error }, what)
    this.#exitCode = EXIT_SOFTWARE
    this.stop(what, EXIT_SOFTWARE)
  }

  async #drain(server: RunningServer): Promise<void> {
    const timer = setTimeout(() => {
      this.#giveUp(`not done within ${this.shutdownTimeoutMs} ms (shutdown_timeout)`)
    }, this.shutdownTimeoutMs)
    try {
      await server.close()
      for (const work of this.#afterClose) await work()
    } catch (error) {
      this.#logger.error({ err: error }, 'closing failed')
      this.#giveUp('closing failed')
    }
    clearTimeout(timer)
    this.#tellEnd(server)
  }

  /** Of a drain that succeeded: what is true of the data. */
  #tellEnd(server: RunningServer): never {
    const { lostFiles, conflicts } = server.losses()
    const keptFiles = server.unsaved().reduce((sum, data) => sum + data.keptFiles, 0)
    if (lostFiles + conflicts > 0) {
      this.#logger.error(
        { lostFiles, conflicts, keptFiles },
        'stopped: data of files was lost, or is kept elsewhere, since the start; the log has said which',
      )
      this.exit(this.#exitCode === EXIT_OK ? EXIT_LOST : this.#exitCode)
    }
    if (keptFiles > 0)
      this.#logger.warn({ keptFiles }, 'stopped: what the stores did not take is kept in cache_dir')
    else this.#logger.info('stopped: everything is written back')
    this.exit(this.#exitCode)
  }

  #giveUp(cause: string): never {
    const unsaved = this.#server?.unsaved() ?? []
    const lost = unsaved.filter(({ files }) => files > 0)
    const keptFiles = unsaved.reduce((sum, data) => sum + data.keptFiles, 0)
    const kept = keptFiles === 0 ? '' : `; ${keptFiles} files are kept in cache_dir`
    const what =
      lost.length === 0
        ? 'nothing that is unsaved is lost'
        : `not yet written back and lost: ${lost.map(describeUnsaved).join('; ')}`
    this.#logger.error({ cause, unsaved }, `exiting at once: ${what}${kept}`)
    this.exit(this.#exitCode === EXIT_OK ? EXIT_FAILURE : this.#exitCode)
  }
}

function describeUnsaved({ mount, files, bytes, paths }: UnsavedData): string {
  const more = files > paths.length ? ', ...' : ''
  const names = paths.map((path) => JSON.stringify(path)).join(', ')
  return `${mount}: ${bytesText(bytes)} of ${files === 1 ? '1 file' : `${files} files`} (${names}${more})`
}
