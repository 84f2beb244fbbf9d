// The guest of the tests, with a device for each daemon that is measured.
import path from 'node:path'
import { SetupError } from '../../scripts/lib/steps.mjs'

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP']
const SHORT_TIMEOUT_MS = 60_000

export class BenchGuest {
  /** Where each daemon's files are in the guest. @type {readonly { name: string, directory: string }[]} */
  targets
  #guest
  #accelerator

  constructor(guest, accelerator, targets) {
    this.#guest = guest
    this.#accelerator = accelerator
    this.targets = targets
  }

  /** Boot it and mount every daemon. @param {readonly import('./daemons.mjs').RunningDaemon[]} daemons */
  static async boot(daemons) {
    const listeners = new Map(SIGNALS.map((signal) => [signal, process.listeners(signal)]))
    const { ACCELERATOR, Guest } = await import('../../dist/test/guest/guest.js')
    // The tests' own handlers end the process at once, before `withResources` has removed anything.
    for (const signal of SIGNALS) {
      for (const listener of process.listeners(signal))
        if (!listeners.get(signal).includes(listener)) process.off(signal, listener)
    }
    const devices = daemons.map(({ name, socket, exited, log }) => {
      const tail = () => `--- ${name} said ---\n${log()}`
      return { tag: name, socketPath: socket, daemon: { exited, tail } }
    })
    const targets = daemons.map(({ name, base }) => ({ name, directory: path.join('/mnt', name, base) }))
    const guest = new BenchGuest(await Guest.boot({ devices }), ACCELERATOR, targets)
    try {
      for (const { name } of daemons)
        await guest.sh(`mkdir -p /mnt/${name}; mount -t virtiofs ${name} /mnt/${name}`)
    } catch (error) {
      await guest.close()
      throw error
    }
    return guest
  }

  /** Run a bash script that must succeed; resolves with what it printed. */
  async sh(script, timeoutMs = SHORT_TIMEOUT_MS) {
    const { exitCode, stdout } = await this.#guest.run(script, { timeoutMs })
    if (exitCode !== 0) throw new SetupError(`in the guest:\n${script}\nended with ${exitCode}:\n${stdout}`)
    return stdout
  }

  /** What is measured with, for the report. */
  async versions() {
    const [guestKernel, fio] = (await this.sh('uname -r; fio --version')).split('\n')
    return { guestKernel, fio, accelerator: this.#accelerator }
  }

  close() {
    return this.#guest.close()
  }
}
