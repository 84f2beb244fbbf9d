// Runs the steps of set-up: what is done already costs nothing and says nothing, what takes longer than a second
// shows what it is doing and for how long.
import { spawn } from 'node:child_process'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'

/** A failure that the user can act on: the message says what to do, and no stack trace is shown. */
export class SetupError extends Error {
  /** @param {string} message @param {number} exitCode 2 where the user must do something first, 1 otherwise */
  constructor(message, exitCode = 1) {
    super(message)
    this.name = 'SetupError'
    this.exitCode = exitCode
  }
}

const startedAt = Date.now()
/** A step that lasts shorter than this says nothing. */
const QUIET_MS = 1000
/** On a terminal the line is redrawn this often; in a log a line is added this often. */
const REDRAW_MS = 200
const LOG_EVERY_MS = 10_000
/** How much of a failed command's output is shown. */
const TAIL_LINES = 60
/** A step's captured output is cut to this many characters, from the front. */
const CAPTURE_LIMIT = 1 << 20

const seconds = (ms) => `${(ms / 1000).toFixed(1)} s`

/** Elapsed time since this process began, as `[ 12.3 s]`. */
export function elapsed() {
  return `[${((Date.now() - startedAt) / 1000).toFixed(1).padStart(6)} s]`
}

/** Print one line with the elapsed time in front. */
export function say(text) {
  process.stdout.write(`${elapsed()} ${text}\n`)
}

/**
 * Run one step and report on it if it lasts.
 *
 * @template T
 * @param {string} name what is being done, as a gerund: "building the addon"
 * @param {() => Promise<T>} work
 * @returns {Promise<T>}
 */
export async function step(name, work) {
  const begin = Date.now()
  const live = process.stdout.isTTY === true
  let announced = false
  let nextLogAt = begin + QUIET_MS
  const timer = setInterval(() => {
    const now = Date.now()
    if (now < nextLogAt) return
    if (live) {
      process.stdout.write(`\r\x1b[K${elapsed()} ${name} ... ${seconds(now - begin)}`)
    } else {
      say(announced ? `${name} ... ${seconds(now - begin)}` : `${name} ...`)
      nextLogAt = now + LOG_EVERY_MS
    }
    announced = true
  }, REDRAW_MS)
  const finish = (outcome) => {
    clearInterval(timer)
    if (live && announced) process.stdout.write('\r\x1b[K')
    if (announced || outcome === 'failed') say(`${name}: ${outcome} (${seconds(Date.now() - begin)})`)
  }
  try {
    const result = await work()
    finish('done')
    return result
  } catch (error) {
    finish('failed')
    throw error
  }
}

/**
 * Run a command without input and return what it printed.
 *
 * @param {string} command
 * @param {readonly string[]} args
 * @param {{ cwd?: string, env?: NodeJS.ProcessEnv, okCodes?: readonly number[], inputText?: string }} [options]
 * @returns {Promise<{ code: number, stdout: string, output: string }>} `output` has both streams as they came
 */
export async function run(command, args, options = {}) {
  const { cwd, env = process.env, okCodes = [0], inputText } = options
  const child = spawn(command, args, {
    cwd,
    env,
    stdio: [inputText === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
  })
  let stdout = ''
  let output = ''
  const collect = (isStdout) => (chunk) => {
    if (isStdout) stdout += chunk
    output = (output + chunk).slice(-CAPTURE_LIMIT)
  }
  child.stdout.setEncoding('utf8').on('data', collect(true))
  child.stderr.setEncoding('utf8').on('data', collect(false))
  if (inputText !== undefined) child.stdin.end(inputText)
  const code = await new Promise((resolve, reject) => {
    child.once('error', (error) => {
      reject(new SetupError(`cannot run ${command}: ${error.message}`))
    })
    child.once('close', (exitCode, signal) => {
      resolve(exitCode ?? (signal ? 128 : 1))
    })
  })
  if (!okCodes.includes(code)) {
    const tail = output.trimEnd().split('\n').slice(-TAIL_LINES).join('\n')
    throw new SetupError(`${tail}\n\n${command} ${args.join(' ')}\nfailed with exit code ${code}.`)
  }
  return { code, stdout, output }
}

/** How long another set-up is waited for: longer than a fresh set-up takes on a slow machine. */
const LOCK_WAIT_MS = 20 * 60_000
const LOCK_POLL_MS = 250

/** True while a process with this id exists. */
function isAlive(pid) {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return error.code === 'EPERM'
  }
}

/**
 * Hold a lock file while `work` runs, so that two commands started at once do not build into the same folders.
 * A lock whose owner is gone is taken over.
 *
 * @template T
 * @param {string} file
 * @param {() => Promise<T>} work
 * @returns {Promise<T>}
 */
export async function withLock(file, work) {
  mkdirSync(path.dirname(file), { recursive: true })
  const deadline = Date.now() + LOCK_WAIT_MS
  for (let told = false; ; told = true) {
    try {
      writeFileSync(file, String(process.pid), { flag: 'wx' })
      break
    } catch (error) {
      if (error.code !== 'EEXIST') throw error
    }
    const owner = readOwner(file)
    if (owner !== null && !isAlive(owner)) {
      rmSync(file, { force: true })
      continue
    }
    if (Date.now() > deadline)
      throw new SetupError(`another set-up (process ${owner}) holds ${file} for too long`)
    if (!told) say(`waiting for another set-up (process ${owner}) to end ...`)
    await delay(LOCK_POLL_MS)
  }
  try {
    return await work()
  } finally {
    rmSync(file, { force: true })
  }
}

/** The process id in a lock file; null while its owner is still writing it, or when it is gone. */
function readOwner(file) {
  try {
    const pid = Number.parseInt(readFileSync(file, 'utf8'), 10)
    return Number.isInteger(pid) && pid > 0 ? pid : null
  } catch {
    return null
  }
}
