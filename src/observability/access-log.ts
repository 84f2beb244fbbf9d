import { constants, open } from 'node:fs'
import { promisify } from 'node:util'
import type { SonicBoom } from 'sonic-boom'
import { entryOf, formatEntry } from './access-line.js'
import { HostClock } from './host-clock.js'
import type { Logger } from './logger.js'
import type { RequestRecord, RequestWatcher } from './request-record.js'

/** Only who runs the daemon may read what guests do. */
const FILE_MODE = 0o600
/** Lines that may wait for a disk that stalls: a second of a guest that is busy. Beyond it they are dropped. */
const PENDING_BYTES_MAX = 8 << 20
/** Lines are written together, when there are so many bytes of them ... */
const WRITE_BYTES = 16 << 10
/** ... or after this time; a write that failed is tried again as often. */
const WRITE_PERIOD_MS = 1000
/** Larger than WRITE_BYTES: what has gathered behind a slow write goes in one. */
const WRITE_BYTES_MAX = 256 << 10
/** How often the daemon's log tells of lines that were dropped. */
const REPORT_PERIOD_MS = 60_000
/** The last lines wait this long for their disk. */
const CLOSE_DEADLINE_MS = 1000

const openFile = promisify(open)

/**
 * A line for each request, appended to a file. Whatever becomes of the file's disk, the daemon goes on: lines wait in a buffer of
 * PENDING_BYTES_MAX and are dropped beyond it, which the log tells once a minute.
 */
export class AccessLog implements RequestWatcher {
  private readonly clock = new HostClock()
  private dropped = 0
  private writeError: unknown = null
  private reportTimer: NodeJS.Timeout | null = null
  private writeTimer: NodeJS.Timeout | null = null
  /** Reopening and closing, one after the other. */
  private changes: Promise<void> = Promise.resolve()

  private constructor(
    readonly path: string,
    private file: SonicBoom,
    private readonly logger: Logger,
  ) {
    this.listen(file)
  }

  /** @throws Error with `code` (ELOOP for a symbolic link, EACCES, ENOENT, ENXIO for a FIFO that nobody reads...) */
  static async open(path: string, logger: Logger): Promise<AccessLog> {
    return new AccessLog(path, await openLog(path), logger)
  }

  onReply(record: RequestRecord): void {
    const line = Buffer.from(`${formatEntry(entryOf(record, this.clock))}\n`)
    // Its types know text only; of text it would count the bytes anew with each line.
    this.file.write(line as unknown as string)
    this.writeTimer ??= this.writeLater()
  }

  private writeLater(): NodeJS.Timeout {
    const timer = setTimeout(() => {
      this.writeTimer = null
      this.file.flush()
    }, WRITE_PERIOD_MS)
    return timer.unref()
  }

  /**
   * Go on with what is at the path now: a log that is being rotated was moved away. Rejects with `code` where nothing can be opened
   * there; then the file that was open is written to further on.
   */
  async reopen(): Promise<void> {
    await this.change(async () => {
      const next = await openLog(this.path)
      const before = this.file
      this.file = next
      this.listen(next)
      await end(before)
    })
  }

  /** Write out what is pending, as far as the disk takes it in time. Nothing may be answered any more. */
  async close(): Promise<void> {
    await this.change(() => {
      if (this.writeTimer !== null) clearTimeout(this.writeTimer)
      return end(this.file)
    })
    if (this.writeTimer !== null) clearTimeout(this.writeTimer)
    if (this.reportTimer !== null) clearTimeout(this.reportTimer)
    this.report()
  }

  private change(work: () => Promise<void>): Promise<void> {
    const run = this.changes.then(work)
    this.changes = run.catch(() => undefined)
    return run
  }

  private listen(file: SonicBoom): void {
    file.on('drop', () => {
      this.dropped++
      this.reportSoon()
    })
    file.on('error', (error: unknown) => {
      this.writeError = error
      if (file === this.file) this.writeTimer ??= this.writeLater()
      this.reportSoon()
    })
  }

  /** At once for the first, and then once in REPORT_PERIOD_MS. */
  private reportSoon(): void {
    if (this.reportTimer !== null) return
    this.report()
    this.reportTimer = setTimeout(() => {
      this.reportTimer = null
      if (this.dropped > 0 || this.writeError !== null) this.reportSoon()
    }, REPORT_PERIOD_MS)
    this.reportTimer.unref()
  }

  private report(): void {
    const { path, dropped, writeError } = this
    if (dropped === 0 && writeError === null) return
    this.dropped = 0
    this.writeError = null
    this.logger.warn(
      { accessLog: path, dropped, ...(writeError === null ? {} : { err: writeError }) },
      writeError === null
        ? 'the access log is not written as fast as it grows: lines were dropped'
        : 'the access log cannot be written; lines wait for a while, and are dropped then',
    )
  }
}

/**
 * Without waiting: a FIFO that nobody reads would keep a thread for ever. And through no link: whoever may write to the directory
 * would choose the file of the host that is written to.
 */
async function openLog(path: string): Promise<SonicBoom> {
  const { O_WRONLY, O_APPEND, O_CREAT, O_NONBLOCK, O_NOCTTY, O_NOFOLLOW } = constants
  // Loaded only by daemons that have such a log; pino brings it along.
  const [{ default: sonicBoom }, fd] = await Promise.all([
    import('sonic-boom'),
    openFile(path, O_WRONLY | O_APPEND | O_CREAT | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW, FILE_MODE),
  ])
  const file: SonicBoom = new sonicBoom.SonicBoom({
    ...{ fd, sync: false, contentMode: 'buffer' },
    ...{ minLength: WRITE_BYTES, maxLength: PENDING_BYTES_MAX, maxWrite: WRITE_BYTES_MAX },
    retryEAGAIN: () => !givenUp.has(file),
  })
  return file
}

/** Files whose reader has had its time. */
const givenUp = new WeakSet<SonicBoom>()

/** Resolves when the file is closed, or the disk has had its time: then it is closed as soon as a write that hangs has ended. */
async function end(file: SonicBoom): Promise<void> {
  let timer: NodeJS.Timeout | undefined
  const closed = new Promise<void>((resolve) => {
    file.once('close', resolve)
    // No write is under way when this comes, and what is left will not be written.
    file.on('error', () => {
      file.destroy()
    })
    timer = setTimeout(() => {
      givenUp.add(file)
      resolve()
    }, CLOSE_DEADLINE_MS)
  })
  file.end()
  await closed
  clearTimeout(timer)
}
