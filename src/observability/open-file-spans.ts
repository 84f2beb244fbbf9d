import type { Context, HrTime, Span } from '@opentelemetry/api'
import type { HeldSpans } from './held-spans.js'
import type { RequestRecord } from './request-record.js'

/** Spans of open files, each about 2 KiB. A guest that has more files open traces the requests of the others by themselves. */
const OPEN_FILES_MAX = 16_384

const OPENING: readonly string[] = ['open', 'create', 'tmpfile']
/** Their handles are of directories, which are counted by themselves. */
const OF_DIRECTORIES: readonly string[] = ['opendir', 'readdir', 'readdirplus', 'releasedir', 'fsyncdir']

/** An open file, from OPEN to RELEASE. */
export interface OpenFileSpan {
  readonly span: Span
  readonly context: Context
  readonly held: HeldSpans
  /** Some request of it was sent. */
  hasRequests: boolean
}

/** The lot fell on others: nothing of the file has spans. */
type Entry = OpenFileSpan | 'unsampled'

export class OpenFileSpans {
  /** By mount and handle. */
  private readonly files = new Map<string, Entry>()
  /** Being opened, by the record's id. */
  private readonly pending = new Map<number, Entry>()

  constructor(private readonly isEnabled: boolean) {}

  isOpening({ operation }: RequestRecord): boolean {
    return this.isEnabled && OPENING.includes(operation)
  }

  /** The file that a request is about; undefined: none, or its OPEN was not seen. */
  of({ mount, fh, operation }: RequestRecord): Entry | undefined {
    if (!this.isEnabled || fh === null || OF_DIRECTORIES.includes(operation)) return undefined
    return this.files.get(keyOf(mount, fh))
  }

  /** The same, of a request that may be the one that opens it. */
  under(record: RequestRecord): Entry | undefined {
    return this.pending.get(record.id) ?? this.of(record)
  }

  /** `record` is about to open it. */
  opening(record: RequestRecord, file: Entry): Entry {
    this.pending.set(record.id, file)
    return file
  }

  /** A request has ended, perhaps one that opened or released a file. */
  replied(record: RequestRecord, end: HrTime): void {
    const { id, mount, openedFh, fh, operation } = record
    const opened = this.pending.get(id)
    if (opened !== undefined) {
      this.pending.delete(id)
      const isOpen = openedFh !== null && this.files.size < OPEN_FILES_MAX
      if (isOpen) this.files.set(keyOf(mount, openedFh), opened)
      else finish(opened, end)
    } else if (operation === 'release' && fh !== null) {
      const released = this.of(record)
      this.files.delete(keyOf(mount, fh))
      if (released !== undefined) finish(released, end)
    }
  }

  /** Whoever had them open has gone. */
  endAll(end: HrTime): void {
    for (const file of this.files.values()) finish(file, end)
    this.files.clear()
  }
}

function keyOf(mount: string, fh: number): string {
  return `${mount}/${fh}`
}

function finish(file: Entry, end: HrTime): void {
  if (file === 'unsampled') return
  file.span.end(end)
  file.held.decide(file.hasRequests)
}
