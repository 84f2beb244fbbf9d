/**
 * Keeps the log readable while something fails over and over: of lines that say the same, the first is written, and then one a minute
 * with their number.
 */

/** How often what was held back is told. */
const SUMMARY_MS = 60_000
/** Different lines that are kept apart. They differ in the daemon's own words only, so there are never so many. */
const MAX_LINES = 1000

export type Fields = Readonly<Record<string, unknown>>

/** Writes a line. */
export type WriteLine = (fields: Fields, message: string) => void

interface RepeatedLine {
  readonly fields: Fields
  readonly message: string
  readonly write: WriteLine
  count: number
}

export class RepeatedLines {
  private readonly lines = new Map<string, RepeatedLine>()
  private timer: NodeJS.Timeout | undefined

  constructor(private readonly summaryMs = SUMMARY_MS) {}

  /** Whether the line is to be written now; if not, it is counted, and `write` is used for the summary. */
  admit(level: number, fields: Fields, message: string, write: WriteLine): boolean {
    const errno = expectedErrno(fields)
    if (errno === null || isOfOneFile(fields)) return true
    const { mount, opcode } = fields
    const key = JSON.stringify([level, message, mount, opcode, errno])
    const known = this.lines.get(key)
    if (known !== undefined) {
      known.count++
      return false
    }
    if (this.lines.size >= MAX_LINES) return true
    const common = Object.fromEntries(
      Object.entries({ mount, opcode, errno }).filter(([, value]) => value !== undefined),
    )
    this.lines.set(key, { fields: common, message, write, count: 0 })
    this.timer ??= setInterval(() => {
      this.summarize()
    }, this.summaryMs).unref()
    return true
  }

  /** Tell what was held back, as before the end. */
  summarize(): void {
    for (const [key, line] of this.lines) {
      if (line.count === 0) this.lines.delete(key)
      else line.write({ ...line.fields, repeated: line.count }, line.message)
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
