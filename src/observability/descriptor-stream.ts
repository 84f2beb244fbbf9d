import { write, writeSync } from 'node:fs'

/**
 * Log text that may wait for a reader that has stalled. Beyond it lines are dropped: a slow log reader must stop
 * neither the guests nor the memory budget.
 */
const PENDING_BYTES_MAX = 4 * 1024 * 1024
/** The last lines of a process wait this long for their reader. */
const FLUSH_DEADLINE_MS = 1000

/** A write to a reader that reads takes microseconds. */
const IN_FLIGHT_MS = 50

/**
 * Lines to a file descriptor without waiting for its reader. pino's own destination does the same, but its flushSync
 * tries again for ever when the reader is gone (EPIPE), and with it a daemon whose log collector died never ends.
 */
export class DescriptorStream {
  private pending: string[] = []
  private pendingBytes = 0
  private writing: Buffer | null = null
  private isBroken = false

  constructor(private readonly fd: number) {}

  write(line: string): void {
    if (this.isBroken || this.pendingBytes > PENDING_BYTES_MAX) return
    this.pending.push(line)
    this.pendingBytes += line.length
    if (this.writing === null) this.writeNext()
  }

  private takePending(): Buffer {
    const text = this.pending.join('')
    this.pending = []
    this.pendingBytes = 0
    return Buffer.from(text)
  }

  private writeNext(): void {
    const data = this.writing ?? this.takePending()
    if (data.byteLength === 0) return
    this.writing = data
    write(this.fd, data, (error, written) => {
      if (error !== null && error.code !== 'EAGAIN') {
        this.isBroken = true
        this.writing = null
        return
      }
      // Flushed meanwhile.
      if (this.writing !== data) return
      const rest = error === null ? data.subarray(written) : data
      this.writing = rest.byteLength > 0 ? rest : null
      // A descriptor that is full says so at once: the next turn of the loop is soon enough.
      setImmediate(() => {
        this.writeNext()
      }).unref()
    })
  }

  /** Write what is pending, before the process ends. Gives up when the reader is gone or stalled. */
  flushSync(): void {
    // A write under way is another thread's: its end can't be seen from here, but it can be given the time.
    if (this.writing !== null) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, IN_FLIGHT_MS)
    this.writing = null
    let data = this.takePending()
    const deadlineMs = performance.now() + FLUSH_DEADLINE_MS
    while (data.byteLength > 0 && !this.isBroken && performance.now() < deadlineMs) {
      try {
        data = data.subarray(writeSync(this.fd, data))
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') this.isBroken = true
      }
    }
  }
}
