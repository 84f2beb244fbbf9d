/**
 * Spans of requests and of what is done for them, by OpenTelemetry's SDK, which is loaded with this file: only where something is
 * traced.
 *
 * What runs for a request is known by AsyncLocalStorage. A request's own span is made when its first child begins or, since most
 * have none, when it ends.
 */
import { AsyncLocalStorage } from 'node:async_hooks'
import { ROOT_CONTEXT, SpanKind, trace, type Context, type Span, type Tracer } from '@opentelemetry/api'
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http'
import { resourceFromAttributes } from '@opentelemetry/resources'
import { TracerProvider, type SpanExporter } from '@opentelemetry/sdk-trace'
import { HeldSpans, HoldingProcessor, withHeld } from './held-spans.js'
import type { Logger } from './logger.js'
import { OpenFileSpans } from './open-file-spans.js'
import type { RequestRecord, RequestWatcher } from './request-record.js'
import { requestAttributes, setFailure, setOutcome, subjectAttributes } from './span-attributes.js'
import { resourceAttributes, SpanPipeline } from './span-pipeline.js'
import { HostClock } from './host-clock.js'
import { NO_MATCH, TraceFilters } from './trace-filters.js'
import { BACKGROUND_OPERATION, setSpanMaker, type SpanMaker, type SpanSubject } from './traced.js'
import type { TracingSettings } from './tracing-settings.js'

const US_PER_MS = 1000
/** Names begin with it where a store is asked. */
const BACKEND_PREFIX = 'backend.'

/** What code runs for. */
interface Scope {
  readonly held: HeldSpans
  /** The shortest duration of interest. */
  readonly minLatencyUs: number
  /** With the span that children belong to. */
  context(): Context
}

/** It runs for a request that has no spans: it fits no filter, or the lot did not fall on it. */
type Untraced = 'filtered' | 'unsampled'

export interface TracingOptions {
  readonly settings: TracingSettings
  readonly logger: Logger
  /** Default: OTLP over HTTP. */
  readonly exporter?: SpanExporter
  /** In [0, 1). Default: Math.random. */
  readonly random?: () => number
}

export class Tracing implements RequestWatcher, SpanMaker {
  private readonly scopes = new AsyncLocalStorage<Scope | Untraced>()
  /** Under way, by the record's id. */
  private readonly requests = new Map<number, RequestScope>()
  private readonly clock = new HostClock()
  private readonly filters: TraceFilters
  private readonly pipeline: SpanPipeline
  private readonly tracer: Tracer
  private readonly files: OpenFileSpans
  private readonly random: () => number

  /** From now on work is shown as spans; who shows it requests is up to the caller. Until `stop`. */
  constructor({ settings, logger, exporter, random }: TracingOptions) {
    this.settings = settings
    this.random = random ?? Math.random
    this.filters = new TraceFilters(settings.filters)
    this.pipeline = new SpanPipeline(settings, exporter ?? otlpExporter(settings), logger)
    const provider = new TracerProvider({
      resource: resourceFromAttributes(resourceAttributes(settings.serviceName)),
      spanProcessors: [new HoldingProcessor()],
    })
    this.tracer = provider.getTracer('ovfsd')
    this.files = new OpenFileSpans(settings.perOpenFile)
    setSpanMaker(this)
  }

  readonly settings: TracingSettings

  /** Send what there is, within a bounded time. Requests that are under way are left out. Never rejects. */
  async stop(): Promise<void> {
    setSpanMaker(null)
    this.files.endAll(this.clock.at(performance.now()))
    this.scopes.disable()
    await this.pipeline.close()
  }

  /** The guest has gone and will release nothing any more. */
  onDisconnect(): void {
    this.files.endAll(this.clock.at(performance.now()))
  }

  // ---- requests

  within<T>(record: RequestRecord, work: () => T): T {
    if (record.operation === 'init') this.onDisconnect()
    return this.scopes.run(this.scopeOf(record), work)
  }

  private scopeOf(record: RequestRecord): Scope | Untraced {
    const file = this.files.of(record) ?? this.openFile(record)
    const minLatencyUs = this.filters.minLatencyUs(record)
    if (minLatencyUs === NO_MATCH) return 'filtered'
    if (file === 'unsampled' || (file === undefined && !this.isSampled())) return 'unsampled'
    this.clock.adjust()
    const scope = new RequestScope(minLatencyUs, this.newHeld(), (held) => {
      const attributes = requestAttributes(record)
      const options = { kind: SpanKind.SERVER, startTime: this.clock.at(record.startMs), attributes }
      return this.begin(`fuse.${record.operation}`, options, withHeld(file?.context ?? ROOT_CONTEXT, held))
    })
    this.requests.set(record.id, scope)
    return scope
  }

  /** The span of a file that the request opens; undefined where it opens none, or none of interest. */
  private openFile(record: RequestRecord): ReturnType<OpenFileSpans['of']> {
    if (!this.files.isOpening(record)) return undefined
    if (this.filters.minLatencyUs({ ...record, operation: null }) === NO_MATCH) return undefined
    if (!this.isSampled()) return this.files.opening(record, 'unsampled')
    this.clock.adjust()
    const held = this.newHeld()
    const { path, mount } = record
    const attributes = subjectAttributes({ path, mount, attributes: { 'ovfsd.pid': record.pid } })
    const options = { kind: SpanKind.SERVER, startTime: this.clock.at(record.startMs), attributes }
    const { span, context } = this.begin('fuse.open_file', options, withHeld(ROOT_CONTEXT, held))
    return this.files.opening(record, { span, context, held, hasRequests: false })
  }

  onReply(record: RequestRecord): void {
    const endMs = record.startMs + record.durationUs / US_PER_MS
    const file = this.files.under(record)
    const scope = this.requests.get(record.id)
    if (scope !== undefined) {
      this.requests.delete(record.id)
      const isSent = record.durationUs >= scope.minLatencyUs
      if (isSent) {
        const { span } = scope.begun()
        setOutcome(span, record)
        span.end(this.clock.at(endMs))
        if (file !== undefined && file !== 'unsampled') file.hasRequests = true
      }
      scope.held.decide(isSent)
    }
    this.files.replied(record, this.clock.at(endMs))
  }

  // ---- work

  child<T>(name: string, subject: () => SpanSubject, work: () => Promise<T>): Promise<T> {
    const scope = this.scopes.getStore()
    if (scope === undefined) return this.root(name, subject, work)
    if (typeof scope === 'string') return work()
    return this.show(name, subject(), scope, scope.context(), work)
  }

  apart<T>(name: string, subject: () => SpanSubject, work: () => Promise<T>): Promise<T> {
    const scope = this.scopes.getStore()
    if (scope === 'unsampled') return work()
    return this.root(name, subject, work, scope === 'filtered' ? undefined : scope)
  }

  /** A trace of its own: where its `cause` is traced, or where it fits the filters. */
  private root<T>(
    name: string,
    subject: () => SpanSubject,
    work: () => Promise<T>,
    cause?: Scope,
  ): Promise<T> {
    const about = subject()
    const found = this.filters.minLatencyUs({ ...about, operation: BACKGROUND_OPERATION, pid: null })
    const minLatencyUs = found === NO_MATCH ? (cause?.minLatencyUs ?? NO_MATCH) : found
    if (minLatencyUs === NO_MATCH) return this.scopes.run('filtered', work)
    if (cause === undefined && !this.isSampled()) return this.scopes.run('unsampled', work)
    this.clock.adjust()
    const scope = { held: this.newHeld(), minLatencyUs, context: () => ROOT_CONTEXT }
    const startMs = performance.now()
    const decide = (): void => {
      scope.held.decide((performance.now() - startMs) * US_PER_MS >= minLatencyUs)
    }
    const pending = this.show(name, about, scope, ROOT_CONTEXT, work, cause)
    pending.then(decide, decide)
    return pending
  }

  /** Run `work` with a span of its own. */
  private show<T>(
    name: string,
    about: SpanSubject,
    { held, minLatencyUs }: Scope,
    parent: Context,
    work: () => Promise<T>,
    cause?: Scope,
  ): Promise<T> {
    const linked = cause === undefined ? undefined : trace.getSpanContext(cause.context())
    const { span, context } = this.begin(
      name,
      {
        kind: name.startsWith(BACKEND_PREFIX) ? SpanKind.CLIENT : SpanKind.INTERNAL,
        startTime: this.clock.at(performance.now()),
        attributes: subjectAttributes(about),
        ...(linked === undefined ? {} : { links: [{ context: linked }] }),
      },
      withHeld(parent, held),
    )
    const pending = this.scopes.run({ held, minLatencyUs, context: () => context }, work)
    pending.then(
      (value) => {
        span.setAttributes(about.result?.(value) ?? {})
        span.end(this.clock.at(performance.now()))
      },
      (error: unknown) => {
        setFailure(span, error)
        span.end(this.clock.at(performance.now()))
      },
    )
    return pending
  }

  private begin(name: string, options: Parameters<Tracer['startSpan']>[1], parent: Context): Begun {
    const span = this.tracer.startSpan(name, options, parent)
    return { span, context: trace.setSpan(parent, span) }
  }

  private newHeld(): HeldSpans {
    const { pipeline } = this
    return new HeldSpans(
      (span) => {
        pipeline.take(span)
      },
      () => {
        pipeline.drop(1, 'a request has more spans than are kept')
      },
    )
  }

  private isSampled(): boolean {
    return this.random() < this.settings.sampleRatio
  }
}

interface Begun {
  readonly span: Span
  readonly context: Context
}

/** A request, whose span is made when somebody asks for it. */
class RequestScope implements Scope {
  private made: Begun | null = null

  constructor(
    readonly minLatencyUs: number,
    readonly held: HeldSpans,
    private readonly make: (held: HeldSpans) => Begun,
  ) {}

  begun(): Begun {
    this.made ??= this.make(this.held)
    return this.made
  }

  context(): Context {
    return this.begun().context
  }
}

function otlpExporter({ endpoint, headers, exportTimeoutMs }: TracingSettings): SpanExporter {
  return new OTLPTraceExporter({ url: endpoint, headers: { ...headers }, timeoutMillis: exportTimeoutMs })
}
