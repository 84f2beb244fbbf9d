// The load generator as a process that is told what to do, one command after the other.
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import os from 'node:os'
import { createInterface } from 'node:readline'
import { inRoot } from '../../scripts/lib/paths.mjs'
import { run, SetupError, step } from '../../scripts/lib/steps.mjs'

export const BENCH = inRoot('bench/build/ovfs-bench')

export const buildGenerator = () =>
  step('building the load generator', () =>
    run('make', ['-C', inRoot('bench'), `-j${os.availableParallelism()}`]),
  )

/** `--target NAME --socket PATH --base DIR` of each daemon. */
export const targetArguments = (daemons) =>
  daemons.flatMap(({ name, socket, base }) => ['--target', name, '--socket', socket, '--base', base])

export class Generator {
  #child
  #lines
  #lastWords = ''

  /** Connects to all of them at once. @param {readonly import('./daemons.mjs').RunningDaemon[]} daemons */
  constructor(daemons) {
    this.#child = spawn(BENCH, ['--commands', ...targetArguments(daemons)], { stdio: 'pipe' })
    this.#lines = createInterface({ input: this.#child.stdout })[Symbol.asyncIterator]()
    createInterface({ input: this.#child.stderr }).on('line', (line) => {
      this.#lastWords = line
    })
    // A generator that has ended is noticed when its answer does not come.
    this.#child.stdin.on('error', () => {})
  }

  /**
   * One command of `ovfs-bench --commands`, as ['read', 'ovfsd', 'dir/name', 1048576, 4].
   *
   * @returns {Promise<{ operations: number, seconds: number, p50Us: number, p99Us: number, error?: string }>}
   */
  async run(...words) {
    this.#child.stdin.write(`${words.join(' ')}\n`)
    const { value, done } = await this.#lines.next()
    if (done) throw new SetupError(`the load generator ended at "${words.join(' ')}": ${this.#lastWords}`)
    return JSON.parse(value)
  }

  async stop() {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    this.#child.kill('SIGKILL')
    await once(this.#child, 'exit')
  }
}
