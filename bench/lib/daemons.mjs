// Starts the daemons that are compared, on the same directory.
import { spawn } from 'node:child_process'
import { accessSync, constants, readFileSync, writeFileSync } from 'node:fs'
import { EventEmitter, once } from 'node:events'
import path from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as delay } from 'node:timers/promises'
import { inRoot } from '../../scripts/lib/paths.mjs'
import { RUST_VIRTIOFSD, rustVirtiofsdEnvironment } from '../../scripts/lib/rust-virtiofsd.mjs'
import { SetupError } from '../../scripts/lib/steps.mjs'

export const VIRTIOFSD = '/usr/lib/qemu/virtiofsd'
/** The mount point that the benchmark's configuration gives ovfsd. */
export const OVFSD_MOUNT_POINT = 'bench'

const START_LIMIT_MS = 20_000
const LISTEN_POLL_MS = 20
const STOP_LIMIT_MS = 10_000
const LINE_LIMIT_MS = 20_000
/** The last lines a daemon said, shown when it fails. */
const LOG_CHARACTERS = 4000

/** @typedef {{ name: string, socket: string, base: string, stop: () => Promise<void>, log: () => string, pid: number,
 *   exited: Promise<string>, nextLine: (what: string, isIt: (line: string) => boolean) => Promise<string> }} RunningDaemon
 *   `exited` resolves with a sentence; one that was started elsewhere has none */

/** Why virtiofsd can't be started here, or null. */
export function virtiofsdProblem() {
  try {
    accessSync(VIRTIOFSD, constants.X_OK)
  } catch {
    return `there is no ${VIRTIOFSD} (Debian 12: apt-get install qemu-system-common)`
  }
  // Its sandboxes need chroot(2) at least.
  return process.getuid?.() === 0 ? null : 'virtiofsd in its sandbox needs root'
}

/**
 * @param {string} directory the tree to show
 * @param {string} work a directory for sockets and configuration
 * @param {number} threads virtiofsd's --thread-pool-size; 0 answers in the queue's own thread
 * @param {string} name how the results call it
 * @returns {Promise<RunningDaemon>}
 */
export function startVirtiofsd(directory, work, threads, name = 'virtiofsd') {
  const socket = path.join(work, `${name}.sock`)
  const options = `source=${directory},cache=always,sandbox=chroot,log_level=warn`
  const args = [`--socket-path=${socket}`, `--thread-pool-size=${threads}`, '-o', options]
  return start(name, socket, '', VIRTIOFSD, args)
}

/** Rust's virtiofsd, once `ensureRustVirtiofsd` has built it; the parameters are those of `startVirtiofsd`. */
export function startRustVirtiofsd(directory, work, threads, name = 'virtiofsd-rs') {
  const socket = path.join(work, `${name}.sock`)
  const args = [`--socket-path=${socket}`, `--shared-dir=${directory}`, `--thread-pool-size=${threads}`]
  args.push('--cache=always', '--sandbox=none', '--log-level=warn')
  return start(name, socket, '', RUST_VIRTIOFSD, args, rustVirtiofsdEnvironment)
}

/**
 * @param {Readonly<Record<string, string>>} profile `type` and the options of its one mount
 * @param {string} work
 * @param {readonly string[]} settings lines for [ovfsd_settings], to measure another setting
 * @param {string} name how the results call it
 * @param {readonly string[]} nodeArguments for Node.js itself, to profile it
 * @param {string} checkout the built checkout whose daemon it is; this one's if left out
 * @returns {Promise<RunningDaemon>}
 */
export function startOvfsd(
  profile,
  work,
  settings = [],
  name = 'ovfsd',
  nodeArguments = [],
  checkout = inRoot(),
) {
  const socket = path.join(work, `${name}.sock`)
  const config = path.join(work, `${name}.toml`)
  const lines = [
    '[ovfsd_settings]',
    `socket_path = ${JSON.stringify(socket)}`,
    ...settings,
    '[profiles.bench]',
    `mount_point = "${OVFSD_MOUNT_POINT}"`,
    ...Object.entries(profile).map(([key, value]) => `${key} = ${JSON.stringify(value)}`),
  ]
  writeFileSync(config, `${lines.join('\n')}\n`, { mode: 0o600 })
  return startConfigured(name, socket, config, OVFSD_MOUNT_POINT, nodeArguments, checkout)
}

/**
 * @param {string} socket where the configuration file has it listen
 * @param {string} base the directory of its tree that is measured
 * @returns {Promise<RunningDaemon>}
 */
export function startConfigured(name, socket, config, base = '', nodeArguments = [], checkout = inRoot()) {
  const main = path.join(checkout, 'dist/src/cli/main.js')
  return start(name, socket, base, process.execPath, [...nodeArguments, main, `--config-file=${config}`])
}

/**
 * Start a program that the kernel kills when this process dies, however that comes.
 *
 * @param {string} name
 * @param {string} program
 * @param {readonly string[]} args
 * @param {Readonly<Record<string, string>>} [environment] all of it; ours if left out
 */
export function spawnDaemon(name, program, args, environment) {
  // `env` comes after setpriv: the libraries of an unpacked program are none that a program of the host should load.
  const variables = Object.entries(environment ?? {}).map(([key, value]) => `${key}=${value}`)
  const env = environment === undefined ? [] : ['env', '--ignore-environment', ...variables]
  const child = spawn('setpriv', ['--pdeathsig', 'KILL', '--', ...env, program, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  let log = ''
  const lines = new EventEmitter()
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text) => {
      log = (log + text).slice(-LOG_CHARACTERS)
    })
    createInterface({ input: stream }).on('line', (line) => lines.emit('line', line))
  }
  const running = () => child.exitCode === null && child.signalCode === null
  const exited = new Promise((resolve) => {
    child.once('exit', (code, signal) => {
      resolve(`${name} ended with ${signal ?? `code ${code}`}`)
    })
  })
  const stop = async () => {
    if (!running()) return
    child.kill('SIGTERM')
    const timer = setTimeout(() => child.kill('SIGKILL'), STOP_LIMIT_MS)
    await once(child, 'exit')
    clearTimeout(timer)
  }
  /** Wait until `isReady`; whoever ends before or takes too long is stopped and told of. */
  const untilReady = async (what, isReady) => {
    const deadline = Date.now() + START_LIMIT_MS
    while (!isReady()) {
      if (!running()) throw new SetupError(`${name} ended before it ${what}:\n${log}`)
      if (Date.now() > deadline) {
        await stop()
        throw new SetupError(`${name} took more than ${START_LIMIT_MS / 1000} s until it ${what}:\n${log}`)
      }
      await delay(LISTEN_POLL_MS)
    }
  }
  /** Resolves with the first line from now on for which `isIt`. */
  const nextLine = (what, isIt) =>
    new Promise((resolve, reject) => {
      const settle = (finish, value) => {
        clearTimeout(timer)
        lines.off('line', look)
        finish(value)
      }
      const look = (line) => {
        if (isIt(line)) settle(resolve, line)
      }
      const fail = (why) =>
        settle(reject, new SetupError(`${name} did not say that it ${what}: ${why}\n${log}`))
      const timer = setTimeout(() => fail(`${LINE_LIMIT_MS / 1000} s are over`), LINE_LIMIT_MS)
      lines.on('line', look)
      void exited.then(fail)
    })
  return { stop, untilReady, nextLine, log: () => log, pid: child.pid ?? 0, exited }
}

/** @returns {Promise<RunningDaemon>} */
async function start(name, socket, base, program, args, environment) {
  const { untilReady, ...daemon } = spawnDaemon(name, program, args, environment)
  await untilReady(`listened on ${socket}`, () => isListening(socket))
  return { name, socket, base, ...daemon }
}

/**
 * True when a process listens on this path. Asked of the kernel and not by connecting: virtiofsd takes the first
 * connection for its only one.
 */
function isListening(socket) {
  const ACCEPTS_CONNECTIONS = '00010000'
  return readFileSync('/proc/net/unix', 'utf8')
    .split('\n')
    .some((line) => {
      const fields = line.trim().split(/\s+/)
      return fields[7] === socket && fields[3] === ACCEPTS_CONNECTIONS
    })
}
