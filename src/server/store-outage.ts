import type { StorageError } from '../backends/storage-error.js'
import type { Logger } from '../observability/logger.js'

/** How often the log tells of a store that is still away. */
const SUMMARY_MS = 60_000
const MS_PER_SECOND = 1000

/** What the log says of a store that is away: a line when it goes, one a minute, one when it is back. */
export class StoreOutage {
  private beganMs: number | null = null
  private timer: NodeJS.Timeout | undefined
  /** Calls that were not made, by method. */
  private refused: Record<string, number> = {}

  constructor(
    private readonly logger: Logger,
    private readonly mount: string,
    private readonly summaryMs = SUMMARY_MS,
  ) {}

  begin(error: StorageError): void {
    this.beganMs = performance.now()
    this.refused = {}
    this.logger.error(
      { mount: this.mount, err: error },
      'the store does not answer; requests to it fail at once',
    )
    this.timer ??= setInterval(() => {
      this.logger.warn(this.fields(), 'the store still does not answer')
      this.refused = {}
    }, this.summaryMs).unref()
  }

  countRefusal(method: string): void {
    this.refused[method] = (this.refused[method] ?? 0) + 1
  }

  end(): void {
    this.stop()
    if (this.beganMs !== null) this.logger.info(this.fields(), 'the store answers again')
    this.beganMs = null
  }

  /** Another backend object takes its place. */
  stop(): void {
    clearInterval(this.timer)
    this.timer = undefined
  }

  private fields(): Record<string, unknown> {
    const awayMs = performance.now() - (this.beganMs ?? performance.now())
    return { mount: this.mount, awaySeconds: Math.round(awayMs / MS_PER_SECOND), refused: this.refused }
  }
}
