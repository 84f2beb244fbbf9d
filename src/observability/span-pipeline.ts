/** From finished spans to the collector, without ever keeping anybody waiting: what does not fit or is not taken is dropped, and counted. */
import { hostProcessId } from './host-process-id.js'
import { hostname } from 'node:os'
import { setTimeout as delay } from 'node:timers/promises'
import { ExportResultCode, type ExportResult } from '@opentelemetry/core'
import { BatchSpanProcessor, type ReadableSpan, type SpanExporter } from '@opentelemetry/sdk-trace'
import type { Logger } from './logger.js'
import type { TracingSettings } from './tracing-settings.js'

/** Spans of one export. A flush sends all of a queue at once, and the exporter makes at most 30 requests at a time. */
const BATCHES = 16
const SMALLEST_BATCH_SPANS = 512
/** A collector that does not answer holds up the daemon's end by this much. */
const FLUSH_DEADLINE_MS = 3000
/** Drops are told at most this often. */
const REPORT_PERIOD_MS = 60_000
/** What of the host and the process every span says. */
export function resourceAttributes(serviceName: string): Record<string, string | number> {
  return { 'service.name': serviceName, 'host.name': hostname(), 'process.pid': hostProcessId() }
}

export class SpanPipeline {
  /** Spans that were taken and neither sent nor given up. */
  private waiting = 0
  private dropped = 0
  /** Of the latest drop. */
  private reason = ''
  private reportTimer: NodeJS.Timeout | null = null
  /** No more are taken. */
  private isClosed = false
  /** All are accounted for. */
  private isOver = false
  private readonly batches: BatchSpanProcessor

  constructor(
    private readonly settings: TracingSettings,
    exporter: SpanExporter,
    private readonly logger: Logger,
  ) {
    const { queueSize, exportIntervalMs, exportTimeoutMs } = settings
    this.batches = new BatchSpanProcessor({
      exporter: this.counted(exporter),
      // Ours is full first, so that no span is dropped uncounted.
      maxQueueSize: queueSize + 1,
      maxExportBatchSize: Math.max(SMALLEST_BATCH_SPANS, Math.ceil(queueSize / BATCHES)),
      scheduledDelayMillis: exportIntervalMs,
      exportTimeoutMillis: exportTimeoutMs,
    })
  }

  /** Send it, with others. */
  take(span: ReadableSpan): void {
    if (this.isClosed) return
    if (this.waiting >= this.settings.queueSize) {
      this.drop(1, 'more are made than the collector takes (tracing.queue_size)')
      return
    }
    this.waiting++
    this.batches.onEnd(span)
  }

  /** `count` spans will never be sent. */
  drop(count: number, reason: string): void {
    if (this.isOver) return
    this.dropped += count
    this.reason = reason
    if (this.reportTimer !== null || this.isClosed) return
    // The first at once; what follows, together.
    this.report()
    this.reportTimer = setTimeout(() => {
      this.reportTimer = null
      if (this.dropped > 0) this.drop(0, this.reason)
    }, REPORT_PERIOD_MS).unref()
  }

  private report(): void {
    if (this.dropped === 0) return
    const { dropped, reason } = this
    this.dropped = 0
    this.logger.warn({ dropped, reason, endpoint: this.settings.endpoint }, 'spans were dropped')
  }

  /** Send what waits, as far as a bounded time goes. Never rejects. */
  async close(): Promise<void> {
    this.isClosed = true
    const timer = new AbortController()
    const sent = this.batches.shutdown().catch(() => undefined)
    const late = delay(FLUSH_DEADLINE_MS, undefined, { signal: timer.signal }).catch(() => undefined)
    await Promise.race([sent, late])
    timer.abort()
    if (this.reportTimer !== null) clearTimeout(this.reportTimer)
    if (this.waiting > 0) this.drop(this.waiting, 'the collector did not take them before tracing ended')
    this.isOver = true
    this.report()
  }

  /** The exporter, whose outcomes are counted. */
  private counted(exporter: SpanExporter): SpanExporter {
    const ended = (count: number, { code, error }: ExportResult): void => {
      this.waiting -= count
      if (code !== ExportResultCode.SUCCESS) this.drop(count, reasonOf(error))
    }
    return {
      export: (spans, done) => {
        exporter.export(spans, (result) => {
          ended(spans.length, result)
          done(result)
        })
      },
      shutdown: () => exporter.shutdown(),
      forceFlush: () => exporter.forceFlush?.() ?? Promise.resolve(),
    }
  }
}

/** One line: an error of the exporter may hold a whole page of HTML. */
function reasonOf(error: Error | undefined): string {
  const REASON_CHARACTERS_MAX = 200
  const { message = 'the export failed', code } = (error ?? {}) as { message?: string; code?: unknown }
  const text = message === '' ? String(code) : message
  return text.replaceAll(/\s+/g, ' ').slice(0, REASON_CHARACTERS_MAX)
}
