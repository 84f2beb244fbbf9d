/** Starts, changes and stops tracing as the configuration says, which may change while the daemon runs. */
import { isDeepStrictEqual } from 'node:util'
import type { Logger } from '../observability/logger.js'
import type { RequestWatcher } from '../observability/request-record.js'
import type { TracingSettings } from '../observability/tracing-settings.js'

/** What a server has for those who watch requests. */
export interface Watchable {
  watch(watcher: RequestWatcher): void
  unwatch(watcher: RequestWatcher): void
}

interface Running extends RequestWatcher {
  readonly settings: TracingSettings
  stop(): Promise<void>
}

export class TracingSwitch {
  #server: Watchable | null = null
  #wanted: TracingSettings | null = null
  #running: Running | null = null
  /** Changes come one after the other. */
  #tail: Promise<void> = Promise.resolve()

  constructor(private readonly logger: Logger) {}

  /** Its requests are traced from now on. What is done without one is traced before that too: a start stores what is left of the last one. */
  watch(server: Watchable): void {
    this.#server = server
    if (this.#running !== null) server.watch(this.#running)
  }

  /** Resolves when it is so. Never rejects: a daemon serves without traces too. */
  apply(settings: TracingSettings | null): Promise<void> {
    this.#wanted = settings
    this.#tail = this.#tail.then(async () => {
      try {
        await this.#follow()
      } catch (error) {
        this.logger.error({ err: error }, 'tracing could not be started; nothing is traced')
      }
    })
    return this.#tail
  }

  /** Send what waits, within a bounded time. Never rejects. */
  stop(): Promise<void> {
    return this.apply(null)
  }

  async #follow(): Promise<void> {
    const { logger } = this
    const wanted = this.#wanted
    const before = this.#running
    if (isDeepStrictEqual(before?.settings ?? null, wanted)) return
    this.#running = null
    if (before !== null) this.#server?.unwatch(before)
    // What it sends still keeps nobody waiting.
    const ended = before?.stop()
    if (wanted !== null) await this.#start(wanted)
    await ended
    if (wanted === null) logger.info('tracing stopped')
  }

  async #start(settings: TracingSettings): Promise<void> {
    const { logger } = this
    // The SDK takes memory and time to load, so only where it is wanted.
    const { Tracing } = await import('../observability/tracing.js')
    const tracing = new Tracing({ settings, logger })
    this.#running = tracing
    this.#server?.watch(tracing)
    const { endpoint, sampleRatio } = settings
    logger.info({ endpoint, sampleRatio }, 'tracing started')
  }
}
