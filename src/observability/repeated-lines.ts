/**
 * Keeps the log readable while something fails over and over: of lines about refusals that say the same, the first is written, and then
 * one a minute with their number. Lines of every other kind have a rate, which no operator reaches and a guest may: beyond it they
 * are counted as well.
 */

/** How often what was held back is told. */
const SUMMARY_MS = 60_000
/** Different lines that are kept apart. They differ in the daemon's own words only, so there are never so many. */
const MAX_LINES = 1000
/** Lines of one kind, of one mount, that are written however quickly they come: more than a start or a reload has ... */
const BURST_LINES = 64
/** ... and then one in this time. */
const LINE_PERIOD_MS = 1000
/** Lines of kinds that there is no more room to keep apart are one kind. */
const OTHER_KINDS = 'others'
/** pino's number of the level: what is below it was asked for by whoever looks for a fault. */
const LEVEL_INFO = 30

export type Fields = Readonly<Record<string, unknown>>

/** Writes a line. */
export type WriteLine = (fields: Fields, message: string) => void

interface RepeatedLine {
  readonly fields: Fields
  readonly message: string
  readonly write: WriteLine
  count: number
  /** Monotonic ms up to which the kind has used its rate: see `Throttle` for the same with requests. */
  usedUntilMs: number
}

export class RepeatedLines {
  private readonly lines = new Map<string, RepeatedLine>()
  private timer: NodeJS.Timeout | undefined

  constructor(private readonly summaryMs = SUMMARY_MS) {}

  /** Whether the line is to be written now; if not, it is counted, and `write` is used for the summary. */
  admit(level: number, fields: Fields, message: string, write: WriteLine): boolean {
    if (isOfOneFile(fields)) return true
    const errno = expectedErrno(fields)
    if (errno === null) return level < LEVEL_INFO || this.admitAtRate(level, fields, message, write)
    const { mount, opcode } = fields
    const key = JSON.stringify([level, message, mount, opcode, errno])
    const known = this.lines.get(key)
    if (known !== undefined) {
      known.count++
      return false
    }
    if (this.lines.size >= MAX_LINES) return this.admitAtRate(level, fields, message, write)
    this.note(key, fields, message, write)
    return true
  }

  private admitAtRate(level: number, fields: Fields, message: string, write: WriteLine): boolean {
    const own = JSON.stringify([level, message, fields['mount'], fields['opcode']])
    const key = this.lines.has(own) || this.lines.size < MAX_LINES ? own : OTHER_KINDS
    const line = this.lines.get(key) ?? this.note(key, fields, message, write)
    const nowMs = performance.now()
    const usedUntilMs = Math.max(line.usedUntilMs, nowMs) + LINE_PERIOD_MS
    if (usedUntilMs > nowMs + BURST_LINES * LINE_PERIOD_MS) {
      line.count++
      return false
    }
    line.usedUntilMs = usedUntilMs
    return true
  }

  private note(key: string, fields: Fields, message: string, write: WriteLine): RepeatedLine {
    const { mount, opcode } = fields
    const errno = expectedErrno(fields) ?? undefined
    const common = Object.fromEntries(
      Object.entries({ mount, opcode, errno }).filter(([, value]) => value !== undefined),
    )
    const line = { fields: common, message, write, count: 0, usedUntilMs: 0 }
    this.lines.set(key, line)
    this.timer ??= setInterval(() => {
      this.summarize()
    }, this.summaryMs).unref()
    return line
  }

  /** Tell what was held back, as before the end. */
  summarize(): void {
    const nowMs = performance.now()
    for (const [key, line] of this.lines) {
      if (line.count > 0) line.write({ ...line.fields, repeated: line.count }, line.message)
      else if (line.usedUntilMs <= nowMs) this.lines.delete(key)
      line.count = 0
    }
    if (this.lines.size > 0) return
    clearInterval(this.timer)
    this.timer = undefined
  }
}

/** The errno of a line about a refusal that the daemon is made for; null: it is about something else. */
function expectedErrno({ errno, err }: Fields): string | null {
  if (typeof errno === 'string') return errno
  const own = err instanceof Error ? (err as { errno?: unknown }).errno : undefined
  return typeof own === 'string' ? own : null
}

/** What happened to a file's data is told of each. */
function isOfOneFile({ lost, keptAs }: Fields): boolean {
  return lost === true || keptAs !== undefined
}
