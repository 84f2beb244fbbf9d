/**
 * The log: pino, human-readable on a terminal and JSON lines otherwise, on standard error, with secrets hidden.
 *
 * Layers and mounts log through children: `logger.child({ layer: 'fs', mount: 's3' })`.
 */
import { hostProcessId } from './host-process-id.js'
import { createRequire } from 'node:module'
import { isatty } from 'node:tty'
import type PinoPretty from 'pino-pretty'
import { pino, stdTimeFunctions, type DestinationStream, type Logger } from 'pino'
import type { LogLevel } from './levels.js'
import { redactOptions, Redactor } from './redaction.js'
import { DescriptorStream } from './descriptor-stream.js'
import { describeError } from './error-fields.js'
import { RepeatedLines, type Fields } from './repeated-lines.js'

export type { Logger } from 'pino'

const STDERR_FD = 2

export interface LoggerOptions {
  readonly level: LogLevel
  /** Where to write JSON lines. Default: standard error, pretty if that is a terminal. */
  readonly stream?: DestinationStream
  /** Values that must never be printed; more can be added with {@link redactValues}. */
  readonly secrets?: Iterable<string>
}

interface LoggerState {
  readonly redactor: Redactor
  readonly stream: DestinationStream & { flushSync?: () => void }
  readonly repeated: RepeatedLines
}

const states = new WeakMap<Logger, LoggerState>()

/** Make the daemon's logger. Its level can be changed later with {@link setLogLevel}. */
export function createLogger(options: LoggerOptions): Logger {
  const redactor = new Redactor()
  redactor.add(options.secrets ?? [])
  const stream = options.stream ?? standardError()
  const repeated = new RepeatedLines()
  const logger: Logger = pino(
    {
      level: options.level,
      base: { pid: hostProcessId() },
      timestamp: stdTimeFunctions.isoTime,
      formatters: {
        level: (label) => ({ level: label }),
        log: redactOptions,
        bindings: redactOptions,
      },
      serializers: { err: describeError },
      hooks: {
        streamWrite: (line) => redactor.jsonLine(line),
        logMethod(args, method, level) {
          const [fields, message] = args as readonly unknown[]
          const write = (own: Fields, text: string): void => {
            method.call(this, own, text)
          }
          const isPlain = typeof fields === 'object' && fields !== null && typeof message === 'string'
          if (!isPlain || repeated.admit(level, fields as Fields, message, write)) method.apply(this, args)
        },
      },
    },
    stream,
  )
  states.set(logger, { redactor, stream, repeated })
  return logger
}

/** Change the level while running: of this logger and of the children that inherit it, which is all of ours. */
export function setLogLevel(logger: Logger, level: LogLevel): void {
  logger.level = level
}

/** Hide these values from now on in everything that `logger` and its children print. */
export function redactValues(logger: Logger, values: Iterable<string>): void {
  states.get(logger)?.redactor.add(values)
}

/** `text` as `logger` would print it, without secrets. */
export function redactText(logger: Logger, text: string): string {
  return states.get(logger)?.redactor.text(text) ?? text
}

/** Write out what is still buffered, before the process ends. Never throws: at that point nobody could be told. */
export function flushLogger(logger: Logger): void {
  try {
    states.get(logger)?.repeated.summarize()
    states.get(logger)?.stream.flushSync?.()
  } catch {
    // A closed or never opened stream has nothing to flush.
  }
}

function standardError(): DestinationStream {
  if (!isatty(STDERR_FD)) return new DescriptorStream(STDERR_FD)
  // 30-60 ms to load, so only where a person watches.
  const require = createRequire(import.meta.url)
  const pretty = require('pino-pretty') as typeof PinoPretty
  return pretty({
    destination: STDERR_FD,
    sync: true,
    ignore: 'pid,layer,mount',
    translateTime: 'SYS:HH:MM:ss.l',
    messageFormat: '{if layer}[{layer}] {end}{if mount}{mount}: {end}{msg}',
  })
}
