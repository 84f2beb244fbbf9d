import { spawn, type ChildProcess } from 'node:child_process'

/** Output that is kept for messages, in characters. */
const TAIL_CHARACTERS = 64 * 1024
/** How much of it a message shows. */
const SHOWN_LINES = 40
/** After SIGTERM a process has this long before it gets SIGKILL. */
const STOP_DEADLINE_MS = 30_000

const running = new Set<ManagedProcess>()

process.on('exit', () => {
  for (const managed of running) managed.kill()
})
// Node's default for these is to die at once, which would skip the 'exit' handlers.
for (const [signal, exitCode] of [
  ['SIGINT', 130],
  ['SIGTERM', 143],
  ['SIGHUP', 129],
] as const) {
  process.on(signal, () => process.exit(exitCode))
}

/**
 * A child process that cannot outlive this one (its parent's death kills it, however that came) and whose last
 * output is kept to explain a failure.
 */
export class ManagedProcess {
  /** Resolves when the process has ended, with a sentence that says how. Never rejects. */
  readonly exited: Promise<string>
  readonly name: string
  readonly #child: ChildProcess
  #output = ''
  #hasExited = false
  readonly #lineListeners: ((line: string) => void)[] = []
  #partialLine = ''

  /** @param name how messages call the process */
  constructor(name: string, command: string, args: readonly string[]) {
    this.name = name
    this.#child = spawn('setpriv', ['--pdeathsig', 'KILL', '--', command, ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
    })
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.setEncoding('utf8').on('data', (chunk: string) => {
        this.#collect(chunk)
      })
    }
    running.add(this)
    this.exited = new Promise((resolve) => {
      const end = (how: string): void => {
        this.#hasExited = true
        running.delete(this)
        resolve(`${name} ${how}`)
      }
      this.#child.once('error', (error) => {
        end(`could not be started: ${error.message}`)
      })
      // 'close' and not 'exit': all its output has been read then.
      this.#child.once('close', (code, signal) => {
        end(signal === null ? `exited with code ${code ?? '?'}` : `was ended by ${signal}`)
      })
    })
  }

  get hasExited(): boolean {
    return this.#hasExited
  }

  get pid(): number | undefined {
    return this.#child.pid
  }

  /** Call `listener` with each whole line that the process prints from now on, on either stream. */
  onLine(listener: (line: string) => void): void {
    this.#lineListeners.push(listener)
  }

  /** The last lines of the output, under a heading with the process's name. */
  tail(lines = SHOWN_LINES): string {
    const text = this.#output.trimEnd().split('\n').slice(-lines).join('\n')
    return `--- the last output of ${this.name} ---\n${text === '' ? '(none)' : text}`
  }

  /** SIGTERM, and SIGKILL if that does not help in time; resolves with how it ended. */
  async stop(signal: NodeJS.Signals = 'SIGTERM', deadlineMs = STOP_DEADLINE_MS): Promise<string> {
    if (!this.#hasExited) this.#child.kill(signal)
    const timer = setTimeout(() => {
      this.kill()
    }, deadlineMs)
    const how = await this.exited
    clearTimeout(timer)
    return how
  }

  kill(): void {
    this.#child.kill('SIGKILL')
  }

  #collect(chunk: string): void {
    this.#output = (this.#output + chunk).slice(-TAIL_CHARACTERS)
    const lines = (this.#partialLine + chunk).split('\n')
    this.#partialLine = lines.pop() ?? ''
    for (const line of lines) for (const listener of this.#lineListeners) listener(line)
  }
}
