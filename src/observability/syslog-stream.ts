import { hostProcessId } from './host-process-id.js'
import { closeSync, writeSync } from 'node:fs'

/** user.*: as virtiofsd. */
const FACILITY = 1 << 3
/** RFC 5424, by pino's names. */
const SEVERITIES: ReadonlyMap<string, number> = new Map([
  ['fatal', 2],
  ['error', 3],
  ['warn', 4],
  ['info', 6],
  ['debug', 7],
  ['trace', 7],
])
const SEVERITY_UNKNOWN = 6
/** What every syslog daemon takes in one message (RFC 5424 asks for 2048 at least; rsyslog's default is 8 KiB). */
const MESSAGE_BYTES_MAX = 8000

/** Lines of the log as messages to the host's syslog daemon, without waiting for it: what it can't take at once is lost. */
export class SyslogStream {
  readonly #connect: () => number
  #fd: number | undefined

  /**
   * @param connect gives a non-blocking datagram socket that is connected to the daemon
   * @throws Error of `connect`
   */
  constructor(connect: () => number) {
    this.#connect = connect
    this.#fd = connect()
  }

  write(line: string): void {
    const level = /^\{"level":"([a-z]+)"/.exec(line)?.[1] ?? ''
    const priority = FACILITY | (SEVERITIES.get(level) ?? SEVERITY_UNKNOWN)
    // Without the time: the daemon puts its own there, and the line has ours.
    const message = Buffer.from(`<${priority}>ovfsd[${hostProcessId()}]: ${line.trimEnd()}`)
    const whole = message.subarray(0, MESSAGE_BYTES_MAX)
    // A daemon that was started anew listens on another socket.
    if (!this.#send(whole)) this.#send(whole)
  }

  /** False when the connection has broken, and trying again makes a new one. */
  #send(message: Buffer): boolean {
    try {
      this.#fd ??= this.#connect()
      writeSync(this.#fd, message)
      return true
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EAGAIN') return true
      if (this.#fd !== undefined) closeSync(this.#fd)
      this.#fd = undefined
      return false
    }
  }
}
