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
const NOTHING = Buffer.alloc(0)

/**
 * Lines to a file descriptor without waiting for its reader. pino's own destination does the same, but its flushSync
 * tries again for ever when the reader is gone (EPIPE), and with it a daemon whose log collector died never ends.
 */
export class DescriptorStream {
  private pending: string[] = []
  private pendingBytes = 0
  /** `writing`: a thread has `taken`. `scheduled`: the next turn of the loop writes what is left. */
  private state: 'idle' | 'writing' | 'scheduled' | 'broken' = 'idle'
  /** No longer pending, and not known to be written. */
  private taken: Buffer = NOTHING

  constructor(private readonly fd: number) {}

  write(line: string): void {
    if (this.state === 'broken' || this.pendingBytes > PENDING_BYTES_MAX) return
    this.pending.push(line)
    this.pendingBytes += line.length
    if (this.state === 'idle') this.writeNext()
  }

  private takePending(): Buffer {
    const text = this.pending.join('')
    this.pending = []
    this.pendingBytes = 0
    return Buffer.from(text)
  }

  private writeNext(): void {
    if (this.taken.byteLength === 0) this.taken = this.takePending()
    const data = this.taken
    this.state = data.byteLength > 0 ? 'writing' : 'idle'
    if (this.state === 'idle') return
    write(this.fd, data, (error, written) => {
      // Flushed meanwhile.
      if (this.taken !== data) return
      if (error !== null && error.code !== 'EAGAIN') {
        this.state = 'broken'
        return
      }
      this.taken = error === null ? data.subarray(written) : data
      this.state = 'scheduled'
      // A descriptor that is full says so at once: the next turn of the loop is soon enough.
      setImmediate(() => {
        if (this.state === 'scheduled') this.writeNext()
      }).unref()
    })
  }

  /** Write what is pending, before the process ends. Gives up when the reader is gone or stalled. */
  flushSync(): void {
    if (this.state === 'broken') return
    if (this.state === 'writing') {
      // A write under way is another thread's: its end can't be seen from here, but it can be given the time.
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, IN_FLIGHT_MS)
      this.taken = NOTHING
    }
    let data: Buffer = Buffer.concat([this.taken, this.takePending()])
    this.taken = NOTHING
    this.state = 'idle'
    const deadlineMs = performance.now() + FLUSH_DEADLINE_MS
    while (data.byteLength > 0 && performance.now() < deadlineMs) {
      try {
        data = data.subarray(writeSync(this.fd, data))
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === 'EAGAIN') continue
        this.state = 'broken'
        return
      }
    }
  }
}
