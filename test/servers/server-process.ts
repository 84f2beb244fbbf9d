import { spawn, type ChildProcess } from 'node:child_process'
import { closeSync, openSync, readFileSync } from 'node:fs'
import path from 'node:path'
import { identityOf, isRunning, type ProcessIdentity } from './process-id.js'
import { waitUntil } from './wait.js'

/** How much of a log a message shows. */
const SHOWN_LINES = 40
/** The kernel ends a killed process at once; only its memory takes a moment to be given back. */
const END_DEADLINE_MS = 20_000

const running = new Set<ServerProcess>()

process.on('exit', () => {
  for (const server of running) server.kill()
})

export interface ServerProcessOptions {
  /** How messages call it, and the name of its log file. */
  readonly name: string
  readonly command: string
  readonly args: readonly string[]
  /** The whole environment besides PATH, HOME and TMPDIR: nothing else of ours reaches the server. */
  readonly environment: Readonly<Record<string, string>>
  /** Run as this user and group of the host, which only root may ask for. Default: as who runs the tests. */
  readonly userId?: number
  /** Gets NAME.log. */
  readonly logDirectory: string
}

/**
 * A server's process. It does not keep this process from ending, and it never outlives it: the kernel kills it when its
 * parent dies, however that comes.
 */
export class ServerProcess {
  readonly name: string
  readonly logFile: string
  readonly #child: ChildProcess
  readonly #exited: Promise<void>
  #end: string | null = null
  /** Processes that the server forked, which end with it. */
  readonly #descendants: ProcessIdentity[] = []

  constructor({ name, command, args, environment, logDirectory, userId }: ServerProcessOptions) {
    this.name = name
    this.logFile = path.join(logDirectory, `${name}.log`)
    const log = openSync(this.logFile, 'a')
    // `env` comes after setpriv: the server's libraries are none that a program of the host should load.
    const variables = Object.entries(environment).map(([key, value]) => `${key}=${value}`)
    const identity = userId === undefined ? [] : [`--reuid=${userId}`, `--regid=${userId}`, '--clear-groups']
    this.#child = spawn(
      'setpriv',
      [...identity, '--pdeathsig', 'KILL', '--', 'env', ...variables, command, ...args],
      { stdio: ['ignore', log, log], env: hostEnvironment(), cwd: logDirectory },
    )
    closeSync(log)
    this.#child.unref()
    running.add(this)
    this.#exited = new Promise((resolve) => {
      const ended = (how: string) => {
        this.#end = how
        running.delete(this)
        resolve()
      }
      this.#child.once('error', (error) => {
        ended(`could not be started: ${error.message}`)
      })
      this.#child.once('exit', (code, signal) => {
        ended(signal === null ? `exited with code ${code ?? '?'}` : `was ended by ${signal}`)
      })
    })
  }

  get pid(): number {
    return this.#child.pid ?? 0
  }

  /** How it ended, as the end of a sentence; null while it runs. */
  get end(): string | null {
    return this.#end
  }

  /** The last lines of the log, under a heading. */
  tail(lines = SHOWN_LINES): string {
    return logTail(this.logFile, lines)
  }

  /** Wait for a process that the server forks as well, whenever this one is waited for. */
  addDescendant(pid: number): void {
    const identity = identityOf(pid)
    if (identity !== null) this.#descendants.push(identity)
  }

  /**
   * Wait until `isReady`. Fails as soon as the process ends, or after `deadlineMs`, with the tail of its log.
   *
   * @param what said in the message: "answers at http://..."
   */
  async untilReady(
    what: string,
    deadlineMs: number,
    isReady: () => Promise<boolean> | boolean,
  ): Promise<void> {
    try {
      await waitUntil(`${this.name} ${what}`, deadlineMs, isReady, () =>
        this.#end === null ? null : `${this.name} ${this.#end}`,
      )
    } catch (error) {
      throw new Error(`${error instanceof Error ? error.message : String(error)}\n${this.tail()}`)
    }
  }

  /** SIGKILL; what it had not yet stored is lost, as in a crash. */
  kill(): void {
    if (this.#end === null) this.#child.kill('SIGKILL')
  }

  /** SIGKILL, and wait until the process and those it forked are gone. Servers of tests have nothing to put in order. */
  async stop(): Promise<void> {
    this.kill()
    this.#child.ref()
    await this.#exited
    await waitUntil(`the end of ${this.name}`, END_DEADLINE_MS, () => !this.#descendants.some(isRunning))
  }

  /** Wait for a process that ends by itself; throws when it does not in time, or was ended by a signal. */
  async untilExit(deadlineMs: number): Promise<number> {
    this.#child.ref()
    const timer = setTimeout(() => {
      this.kill()
    }, deadlineMs)
    await this.#exited
    clearTimeout(timer)
    const code = this.#child.exitCode
    if (code === null) throw new Error(`${this.name} ${this.#end ?? ''}\n${this.tail()}`)
    return code
  }

  /** As `untilExit`, but every exit code except 0 is an error. */
  async untilDone(deadlineMs: number): Promise<void> {
    const code = await this.untilExit(deadlineMs)
    if (code !== 0) throw new Error(`${this.name} exited with code ${code}\n${this.tail()}`)
  }
}

/** What a program needs of our own environment; proxies, credentials and certificates are none of its business. */
function hostEnvironment(): NodeJS.ProcessEnv {
  const { PATH, HOME, TMPDIR } = process.env
  return { LC_ALL: 'C', ...(PATH && { PATH }), ...(HOME && { HOME }), ...(TMPDIR && { TMPDIR }) }
}

export function logTail(file: string, lines = SHOWN_LINES): string {
  let text = ''
  try {
    text = readFileSync(file, 'utf8').trimEnd().split('\n').slice(-lines).join('\n')
  } catch {
    // No log: said below.
  }
  return `--- the end of ${file} ---\n${text === '' ? '(nothing)' : text}`
}
