/** Start programs of ours as processes of their own, and wait for what they say. */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, readlinkSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestContext } from 'node:test'
import { fileURLToPath } from 'node:url'

export const MAIN = fileURLToPath(new URL('../../../src/cli/main.js', import.meta.url))
export const FAKE_DAEMON = fileURLToPath(new URL('./fake-daemon.js', import.meta.url))

/** A process that has not ended by then hangs; the tests need a fraction of it. */
const HUNG_AFTER_MS = 60_000

export interface Outcome {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
}

export class Program {
  readonly #child: ChildProcess
  readonly #ended: Promise<unknown>
  #stdout = ''
  #stderr = ''

  /** @param prefix a program and arguments that execute what comes behind them: env, setpriv... */
  constructor(
    script: string,
    args: readonly string[],
    environment: NodeJS.ProcessEnv = {},
    prefix: readonly string[] = [],
  ) {
    const [command = '', ...rest] = [...prefix, process.execPath, script, ...args]
    this.#child = spawn(command, rest, {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...environment },
      timeout: HUNG_AFTER_MS,
      killSignal: 'SIGKILL',
    })
    this.#child.stdout?.setEncoding('utf8').on('data', (text: string) => (this.#stdout += text))
    this.#child.stderr?.setEncoding('utf8').on('data', (text: string) => (this.#stderr += text))
    this.#ended = once(this.#child, 'close')
  }

  get pid(): number {
    return this.#child.pid ?? 0
  }

  /** The daemon itself: the process that was started, or in a sandbox the child of it that runs Node.js. */
  get daemonPid(): number {
    const children = readFileSync(`/proc/${this.pid}/task/${this.pid}/children`, 'utf8')
      .split(' ')
      .filter((id) => id !== '')
    // Its root lies in a directory of its own.
    const inside = children.find((id) => readlinkSync(`/proc/${id}/exe`).endsWith(process.execPath))
    return inside === undefined ? this.pid : Number(inside)
  }

  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal)
  }

  /** Resolves when standard error holds `text`, rejects if the process ends without it. */
  async says(text: string): Promise<void> {
    const ended = this.#ended.then(() => 'ended' as const)
    while (!this.#stderr.includes(text)) {
      const data = this.#child.stderr === null ? ended : once(this.#child.stderr, 'data')
      if ((await Promise.race([data, ended])) === 'ended' && !this.#stderr.includes(text)) {
        throw new Error(`ended without saying ${JSON.stringify(text)}:\n${this.#stderr}`)
      }
    }
  }

  /** What it has said on standard error. */
  get stderr(): string {
    return this.#stderr
  }

  /** Resolves when standard output holds `text`, rejects if the process ends without it. */
  async prints(text: string): Promise<void> {
    const ended = this.#ended.then(() => 'ended' as const)
    while (!this.#stdout.includes(text)) {
      const data = this.#child.stdout === null ? ended : once(this.#child.stdout, 'data')
      if ((await Promise.race([data, ended])) === 'ended' && !this.#stdout.includes(text)) {
        throw new Error(`ended without printing ${JSON.stringify(text)}:\n${this.#stdout}${this.#stderr}`)
      }
    }
  }

  get stdout(): string {
    return this.#stdout
  }

  async outcome(): Promise<Outcome> {
    await this.#ended
    const { exitCode: code, signalCode: signal } = this.#child
    return { code, signal, stdout: this.#stdout, stderr: this.#stderr }
  }
}

export async function runOvfsd(...args: readonly string[]): Promise<Outcome> {
  return await new Program(MAIN, args).outcome()
}

/** A file in a directory that goes away with the test. */
export function temporaryFile(test: TestContext, name: string, text: string): string {
  const directory = mkdtempSync(join(tmpdir(), 'ovfsd-cli-test-'))
  test.after(() => {
    rmSync(directory, { recursive: true })
  })
  const file = join(directory, name)
  writeFileSync(file, text, { mode: 0o600 })
  return file
}
