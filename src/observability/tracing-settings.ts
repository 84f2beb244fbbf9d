/** Which requests have spans, and where the spans go: `[tracing]`, checked and complete. */

/** What a request must fit; null: anything does. */
export interface TraceFilter {
  /** Names of profiles; "(root)" for directories above mounts. */
  readonly mounts: readonly string[] | null
  /** Globs (picomatch) over the whole path in the guest, "/s3/a/b". */
  readonly paths: readonly string[] | null
  /** See operations.ts, and BACKGROUND_OPERATION. */
  readonly operations: readonly string[] | null
  /** Of the guest's processes. */
  readonly pids: readonly number[] | null
  /** A request that takes less is left out, with all that it did. */
  readonly minLatencyUs: number
}

export interface TracingSettings {
  /** OTLP over HTTP, as JSON. */
  readonly endpoint: string
  /** Sent with each export; their values may be secrets. */
  readonly headers: Readonly<Record<string, string>>
  readonly serviceName: string
  /** Share of requests, or of open files, that have spans: 0..1. */
  readonly sampleRatio: number
  /** What is done with an open file is below one span, from OPEN to RELEASE. */
  readonly perOpenFile: boolean
  /** Spans that may wait to be sent; more are dropped. */
  readonly queueSize: number
  /** Spans wait at most this long for others to be sent with. */
  readonly exportIntervalMs: number
  /** Of one export, its repetitions included. */
  readonly exportTimeoutMs: number
  /** A request that fits one of them has spans; none: all have. */
  readonly filters: readonly TraceFilter[]
}
