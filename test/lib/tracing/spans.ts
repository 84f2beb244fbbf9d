/** What tests of tracing have in common: spans as plain objects, in memory and as a collector gets them. */
import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server as HttpServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { SpanStatusCode } from '@opentelemetry/api'
import { ExportResultCode } from '@opentelemetry/core'
import type { ReadableSpan, SpanExporter } from '@opentelemetry/sdk-trace'
import type { TracingSettings } from '../../../src/observability/tracing-settings.js'

export const TRACING: TracingSettings = {
  endpoint: 'http://127.0.0.1:1/v1/traces',
  headers: {},
  serviceName: 'test',
  sampleRatio: 1,
  perOpenFile: false,
  queueSize: 16_384,
  exportIntervalMs: 50,
  exportTimeoutMs: 5000,
  filters: [],
}

export interface Shown {
  readonly name: string
  readonly traceId: string
  readonly spanId: string
  /** '' for a root. */
  readonly parentSpanId: string
  /** As OTLP has them: 1 internal, 2 server, 3 client. */
  readonly kind: number
  readonly startNs: bigint
  readonly endNs: bigint
  readonly attributes: Readonly<Record<string, unknown>>
  readonly isError: boolean
  readonly links: readonly string[]
}

export const durationUs = ({ startNs, endNs }: Shown): number => Number(endNs - startNs) / 1000

/** Keeps what is exported, or fails. */
export class Collecting implements SpanExporter {
  readonly spans: Shown[] = []
  /** Of the exports so far. */
  readonly batches: number[] = []

  export(spans: ReadableSpan[], done: Parameters<SpanExporter['export']>[1]): void {
    this.batches.push(spans.length)
    this.spans.push(...spans.map(shown))
    done({ code: ExportResultCode.SUCCESS })
  }

  shutdown(): Promise<void> {
    return Promise.resolve()
  }
}

/** [seconds, nanoseconds of the second] as nanoseconds since the epoch, of which a number would lose some. */
function nanoseconds([seconds, rest]: readonly [number, number]): bigint {
  return BigInt(seconds) * 1_000_000_000n + BigInt(rest)
}

const OTLP_KIND_OFFSET = 1

function shown(span: ReadableSpan): Shown {
  const { traceId, spanId } = span.spanContext()
  return {
    ...{ name: span.name, traceId, spanId, attributes: span.attributes },
    parentSpanId: span.parentSpanContext?.spanId ?? '',
    kind: span.kind + OTLP_KIND_OFFSET,
    startNs: nanoseconds(span.startTime),
    endNs: nanoseconds(span.endTime),
    isError: span.status.code === SpanStatusCode.ERROR,
    links: span.links.map(({ context }) => context.spanId),
  }
}

interface OtlpValue {
  readonly stringValue?: string
  readonly intValue?: number | string
  readonly doubleValue?: number
  readonly boolValue?: boolean
}

interface OtlpSpan {
  readonly name: string
  readonly traceId: string
  readonly spanId: string
  readonly parentSpanId?: string
  readonly kind: number
  readonly startTimeUnixNano: string
  readonly endTimeUnixNano: string
  readonly attributes: readonly { readonly key: string; readonly value: OtlpValue }[]
  readonly status: { readonly code?: number }
  readonly links: readonly { readonly spanId: string }[]
}

interface OtlpRequest {
  readonly resourceSpans: readonly {
    readonly resource: { readonly attributes: OtlpSpan['attributes'] }
    readonly scopeSpans: readonly { readonly spans: readonly OtlpSpan[] }[]
  }[]
}

function plain(attributes: OtlpSpan['attributes']): Record<string, unknown> {
  return Object.fromEntries(
    attributes.map(({ key, value }) => [
      key,
      value.stringValue ??
        value.boolValue ??
        value.doubleValue ??
        (value.intValue === undefined ? undefined : Number(value.intValue)),
    ]),
  )
}

function decoded(span: OtlpSpan): Shown {
  const { name, traceId, spanId, kind } = span
  return {
    ...{ name, traceId, spanId, kind, parentSpanId: span.parentSpanId ?? '' },
    startNs: BigInt(span.startTimeUnixNano),
    endNs: BigInt(span.endTimeUnixNano),
    attributes: plain(span.attributes),
    isError: span.status.code === SpanStatusCode.ERROR,
    links: span.links.map((link) => link.spanId),
  }
}

export type Answer = (request: IncomingMessage, response: ServerResponse, take: () => void) => void

/** An OTLP receiver over HTTP. */
export class Receiver {
  readonly spans: Shown[] = []
  /** Of the latest request. */
  resource: Readonly<Record<string, unknown>> = {}
  headers: IncomingMessage['headers'] = {}
  requests = 0
  /** What to do with a request; `take` keeps its spans. */
  answer: Answer = (_request, response, take) => {
    take()
    response.setHeader('content-type', 'application/json').end('{}')
  }

  private constructor(private readonly server: HttpServer) {}

  static async start(): Promise<Receiver> {
    const server = createServer()
    const receiver = new Receiver(server)
    server.on('request', (request, response) => {
      receiver.receive(request, response)
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    return receiver
  }

  get endpoint(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}/v1/traces`
  }

  named(name: string): Shown[] {
    return this.spans.filter((span) => span.name === name)
  }

  private receive(request: IncomingMessage, response: ServerResponse): void {
    this.requests++
    this.headers = request.headers
    const pieces: Buffer[] = []
    request.on('data', (piece: Buffer) => pieces.push(piece))
    request.on('end', () => {
      this.answer(request, response, () => {
        const { resourceSpans } = JSON.parse(Buffer.concat(pieces).toString()) as OtlpRequest
        for (const { resource, scopeSpans } of resourceSpans) {
          this.resource = plain(resource.attributes)
          for (const { spans } of scopeSpans) this.spans.push(...spans.map(decoded))
        }
      })
    })
  }

  async close(): Promise<void> {
    this.server.closeAllConnections()
    await new Promise((resolve) => this.server.close(resolve))
  }
}
