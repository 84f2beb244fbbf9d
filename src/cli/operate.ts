/** `ovfsd status` and its like: ask a running daemon, and print what it says. Neither the addon nor a store's library is loaded. */
import { createReadStream } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { ConfigError, loadControlSocket } from '../config/index.js'
import type { DroppedLine } from '../control/record-stream.js'
import type { MountView, StatsView, StatusView } from '../control/views.js'
import type { Flushed } from '../fs/flush.js'
import type { Invalidated } from '../fs/invalidate.js'
import { formatEntry, parseEntry, type AccessEntry } from '../observability/access-line.js'
import { ControlClient, ControlError, linesOf } from './control-client.js'
import { EXIT_FAILURE, EXIT_OK, EXIT_USAGE } from './exit-code.js'
import { OPERATE_HELP, type Action, type OperateCommand } from './operate-arguments.js'
import {
  flushText,
  invalidateText,
  mountsText,
  profileText,
  statsHeader,
  statsLine,
  statusText,
  topText,
} from './operate-text.js'
import { Profiler } from './profile.js'
import { ratesBetween, type Rates } from './rates.js'

/** `stats` repeats its head after so many lines: as many as stand on a screen. */
const HEADER_EVERY = 20
/** An alternate screen without a cursor, so that the terminal is as before when it ends. */
const ENTER_SCREEN = '\u001b[?1049h\u001b[?25l'
const LEAVE_SCREEN = '\u001b[?25h\u001b[?1049l'
const REDRAW = '\u001b[H\u001b[J'
/** Of a terminal that does not say. */
const DEFAULT_ROWS = 24

/** @returns the exit code */
export async function operate(command: OperateCommand): Promise<number> {
  if (command.help) {
    process.stdout.write(OPERATE_HELP)
    return EXIT_OK
  }
  // Whoever has read enough (`| head`) closes the pipe.
  process.stdout.on('error', () => process.exit(EXIT_OK))
  try {
    return await ACTIONS[command.action](command)
  } catch (error) {
    if (error instanceof ConfigError) process.stderr.write(`${error.message}\n`)
    else if (error instanceof ControlError) process.stderr.write(`ovfsd: ${error.message}\n`)
    else throw error
    return error instanceof ConfigError ? EXIT_USAGE : EXIT_FAILURE
  }
}

const ACTIONS: Readonly<Record<Action, (command: OperateCommand) => Promise<number>>> = {
  status: async (command) => {
    print(command, await clientOf(command).get<StatusView>('/status'), statusText)
    return EXIT_OK
  },
  mounts: async (command) => {
    print(command, await clientOf(command).get<readonly MountView[]>('/mounts'), mountsText)
    return EXIT_OK
  },
  flush: async (command) => {
    const { mount } = command
    const flushed = await clientOf(command).post<Flushed>('/flush', mount === null ? {} : { mount })
    print(command, flushed, flushText)
    return flushed.failed > 0 ? EXIT_FAILURE : EXIT_OK
  },
  invalidate: async (command) => {
    const path = command.operand
    print(command, await clientOf(command).post<Invalidated>('/invalidate', { path }), invalidateText)
    return EXIT_OK
  },
  'log-level': async (command) => {
    const answer = await clientOf(command).post<{ before: string; level: string }>('/log-level', {
      level: command.operand,
    })
    print(command, answer, ({ before, level }) => [`the log level was ${before} and is ${level}`])
    return EXIT_OK
  },
  stats,
  top,
  trace,
  profile,
}

function clientOf({ controlSocket, configFile }: OperateCommand): ControlClient {
  if (controlSocket !== null) return new ControlClient(controlSocket)
  const file = configFile ?? ''
  const socketPath = loadControlSocket(file)
  if (socketPath === null)
    throw new ControlError(
      `${file}: it has no control_socket; add control_socket = "/run/ovfsd/control.sock" and restart the daemon`,
    )
  return new ControlClient(socketPath)
}

function print<T>({ json }: OperateCommand, value: T, text: (value: T) => readonly string[]): void {
  const lines = json ? [JSON.stringify(value, undefined, 2)] : text(value)
  process.stdout.write(`${lines.join('\n')}\n`)
}

// ---- live views

/** Aborted by Ctrl-C, which is how live views are ended. A second one ends the process. */
function interruption(): AbortSignal {
  const controller = new AbortController()
  process.once('SIGINT', () => {
    controller.abort()
  })
  return controller.signal
}

/** Rates, each over one interval. */
async function* ratesOf(
  client: ControlClient,
  { intervalMs, count }: OperateCommand,
  signal: AbortSignal,
): AsyncGenerator<Rates> {
  let before = await client.get<StatsView>('/stats')
  for (let shown = 0; count === null || shown < count; shown++) {
    await delay(intervalMs, undefined, { signal }).catch(() => undefined)
    if (signal.aborted) return
    const after = await client.get<StatsView>('/stats')
    yield ratesBetween(before, after)
    before = after
  }
}

async function stats(command: OperateCommand): Promise<number> {
  let lines = 0
  for await (const rates of ratesOf(clientOf(command), command, interruption())) {
    const head = !command.json && lines % HEADER_EVERY === 0 ? statsHeader() : []
    const line = command.json ? JSON.stringify(rates) : statsLine(rates)
    process.stdout.write([...head, line, ''].join('\n'))
    lines++
  }
  return EXIT_OK
}

async function top(command: OperateCommand): Promise<number> {
  const client = clientOf(command)
  const screen = !command.json && process.stdout.isTTY ? new Screen() : null
  let isFirst = true
  try {
    for await (const rates of ratesOf(client, command, interruption())) {
      const mounts = await client.get<readonly MountView[]>('/mounts')
      if (screen !== null) screen.show((rows) => topText(rates, mounts, rows))
      else if (command.json) process.stdout.write(`${JSON.stringify({ ...rates, mountStates: mounts })}\n`)
      else process.stdout.write(`${isFirst ? '' : '\n'}${topText(rates, mounts, Infinity).join('\n')}\n`)
      isFirst = false
    }
  } finally {
    screen?.leave()
  }
  return EXIT_OK
}

/** Of whatever the process ends, the terminal is to be used further on. */
class Screen {
  private isEntered = false

  constructor() {
    process.once('SIGTERM', () => {
      this.leave()
      process.exit(EXIT_FAILURE)
    })
  }

  /** `text` gives so many lines at most. */
  show(text: (rows: number) => readonly string[]): void {
    const { rows, columns } = process.stdout
    const lines = text((rows || DEFAULT_ROWS) - 1).map((line) => line.slice(0, columns || line.length))
    process.stdout.write(`${this.isEntered ? '' : ENTER_SCREEN}${REDRAW}${lines.join('\n')}\n`)
    this.isEntered = true
  }

  leave(): void {
    if (this.isEntered) process.stdout.write(LEAVE_SCREEN)
    this.isEntered = false
  }
}

// ---- requests

async function trace(command: OperateCommand): Promise<number> {
  const lines = clientOf(command).lines('/trace', { path: command.operand }, interruption())
  for await (const line of lines) process.stdout.write(`${command.json ? line : traceLine(line)}\n`)
  return EXIT_OK
}

function traceLine(line: string): string {
  const record = JSON.parse(line) as AccessEntry | DroppedLine
  return 'dropped' in record
    ? `... ${record.dropped} requests came too fast to be shown`
    : formatEntry(record)
}

async function profile(command: OperateCommand): Promise<number> {
  const profiler = new Profiler(command.by)
  if (command.live) await profileLive(command, profiler)
  else await profileFile(command.operand, profiler)
  print(command, profiler.result(command.top), profileText)
  return EXIT_OK
}

/** For the time that was given, or until Ctrl-C: then what there is by then is shown. */
async function profileLive(command: OperateCommand, profiler: Profiler): Promise<void> {
  const { seconds } = command
  const MS_PER_SECOND = 1000
  const signal = AbortSignal.any([interruption(), AbortSignal.timeout(seconds * MS_PER_SECOND)])
  for await (const line of clientOf(command).lines('/access-log', {}, signal)) {
    const record = JSON.parse(line) as AccessEntry | DroppedLine
    if ('dropped' in record) profiler.dropped += record.dropped
    else profiler.add(record)
  }
}

async function profileFile(file: string, profiler: Profiler): Promise<void> {
  const source = file === '-' ? process.stdin : createReadStream(file)
  try {
    for await (const line of linesOf(source.setEncoding('utf8') as AsyncIterable<string>)) {
      const entry = parseEntry(line)
      if (entry !== null) profiler.add(entry)
      else if (line !== '') profiler.unreadable++
    }
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    if (code === undefined) throw error
    throw new ControlError(`${file} can't be read: ${message}`)
  }
}
