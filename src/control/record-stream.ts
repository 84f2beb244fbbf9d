import type { ServerResponse } from 'node:http'
import { entryOf } from '../observability/access-line.js'
import type { PathMatcher } from '../observability/glob-matcher.js'
import { HostClock } from '../observability/host-clock.js'
import type { RequestRecord, RequestWatcher } from '../observability/request-record.js'

/** Lines that may wait for a client that does not read. */
const PENDING_BYTES_MAX = 1 << 20
/** Lines are sent together, after this time: soon enough for who watches, and seldom enough for a guest that is busy. */
const SEND_PERIOD_MS = 100

/** What a line of the stream may be, beside an entry of the access log. */
export interface DroppedLine {
  /** So many lines came too fast for the client and are missing here. */
  readonly dropped: number
}

/** Sends an answer that does not end: a line of JSON, an AccessEntry or a DroppedLine, for each request that is meant. */
export class RecordStream implements RequestWatcher {
  private readonly clock = new HostClock()
  private lines: string[] = []
  private pendingBytes = 0
  private dropped = 0
  private readonly timer: NodeJS.Timeout

  constructor(
    private readonly response: ServerResponse,
    private readonly filter: PathMatcher,
  ) {
    response.writeHead(200, { 'content-type': 'application/x-ndjson' })
    // So that the client knows that it is watching, before there is anything to see.
    response.flushHeaders()
    this.timer = setInterval(() => {
      this.send()
    }, SEND_PERIOD_MS)
    this.timer.unref()
  }

  onReply(record: RequestRecord): void {
    const { path, newPath } = record
    if (!this.filter(path) && (newPath === null || !this.filter(newPath))) return
    if (this.pendingBytes + this.response.writableLength > PENDING_BYTES_MAX) {
      this.dropped++
      return
    }
    const line = `${JSON.stringify(entryOf(record, this.clock))}\n`
    this.lines.push(line)
    this.pendingBytes += line.length
  }

  private send(): void {
    if (this.dropped > 0 && this.response.writableLength < PENDING_BYTES_MAX) {
      const line: DroppedLine = { dropped: this.dropped }
      this.lines.push(`${JSON.stringify(line)}\n`)
      this.dropped = 0
    }
    if (this.lines.length === 0) return
    this.response.write(this.lines.join(''))
    this.lines = []
    this.pendingBytes = 0
  }

  /** The client has gone. */
  close(): void {
    clearInterval(this.timer)
    this.response.end()
  }
}
