// What has been started and made, and how it ends: in the opposite order, whatever happens.
import { spawn } from 'node:child_process'
import { constants } from 'node:os'

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP']

export class Resources {
  #ends = []

  /** @template T @param {T} resource @param {(resource: T) => unknown} end @returns {T} */
  add(resource, end) {
    this.#ends.push(() => end(resource))
    return resource
  }

  /** End everything; one that can't be ended does not keep the others. */
  async end() {
    for (let end = this.#ends.pop(); end !== undefined; end = this.#ends.pop()) {
      try {
        await end()
      } catch (error) {
        process.stderr.write(`${error.message}\n`)
      }
    }
  }
}

/**
 * Give `work` its resources and end them afterwards, also when a signal asks this process to end.
 *
 * @template T
 * @param {(resources: Resources) => Promise<T>} work
 * @returns {Promise<T>}
 */
export async function withResources(work) {
  const resources = new Resources()
  const onSignal = (signal) => {
    void resources.end().then(() => process.exit(128 + constants.signals[signal]))
  }
  for (const signal of SIGNALS) process.once(signal, onSignal)
  try {
    return await work(resources)
  } finally {
    await resources.end()
    for (const signal of SIGNALS) process.off(signal, onSignal)
  }
}

const INSIDE = 'OVFS_BENCH_MOUNT_NAMESPACE'

/**
 * Run this program anew in a mount namespace of its own, where it returns true; the process that called it ends with
 * the other's exit code. Mounts that are left there, even by a process that was killed, go with its last process.
 *
 * @returns {Promise<boolean>}
 */
export async function inOwnMountNamespace() {
  if (process.env[INSIDE] === '1') return true
  const args = ['--mount', '--propagation', 'private', '--', 'setpriv', '--pdeathsig', 'KILL', '--']
  const child = spawn('unshare', [...args, process.execPath, ...process.argv.slice(1)], {
    stdio: 'inherit',
    env: { ...process.env, [INSIDE]: '1' },
  })
  for (const signal of SIGNALS) process.on(signal, () => child.kill(signal))
  process.exitCode = await new Promise((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code, signal) => {
      resolve(code ?? 128 + constants.signals[signal])
    })
  })
  return false
}
