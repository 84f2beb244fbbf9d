/** The command line: what was asked for, or one line on what is wrong with it. Loads nothing heavy, so --help is instant. */
import { parseArgs } from 'node:util'
import { didYouMean } from '../config/suggestion.js'
import { ValueError } from '../config/problem.js'
import { parseLogLevel, parseSocketPath } from '../config/values.js'
import type { LogLevel } from '../observability/levels.js'

export type Command =
  | { readonly kind: 'help' }
  | { readonly kind: 'version' }
  | ({ readonly kind: 'check'; readonly connect: boolean } & RunArguments)
  | ({ readonly kind: 'run' } & RunArguments)

export interface RunArguments {
  readonly configFile: string
  /** Come before the file's socket_path and log_level. */
  readonly socketPath?: string
  readonly logLevel?: LogLevel
}

/** A command line that can't be followed; the message is one line. */
export class UsageError extends Error {
  override readonly name = 'UsageError'
}

const OPTIONS = {
  'config-file': { type: 'string' },
  check: { type: 'boolean' },
  connect: { type: 'boolean' },
  'socket-path': { type: 'string' },
  'log-level': { type: 'string' },
  help: { type: 'boolean', short: 'h' },
  version: { type: 'boolean', short: 'V' },
} as const

const OPTION_NAMES = Object.keys(OPTIONS).map((name) => `--${name}`)

export const HELP = `Usage: ovfsd --config-file=FILE [OPTION]...
Serve object stores and file stores to a virtual machine as a virtio-fs device.

  --config-file=FILE   the configuration, in TOML (see ovfsd.example.toml)
  --check              check the configuration and exit
  --connect            with --check: try to reach each mount's storage, too
  --socket-path=PATH   listen here, instead of at the file's socket_path
  --log-level=LEVEL    silent, fatal, error, warn, info, debug or trace,
                       instead of the file's log_level
  -h, --help           show this help and exit
  -V, --version        show the version and exit

SIGTERM and SIGINT write back what is dirty, then end the daemon; a second one
ends it at once and loses what is not yet written. SIGHUP loads the
configuration again, as does saving it.

Exit status: 0 ended as asked, 1 could not start, not write everything back or
not reach all storage (--check --connect), 2 wrong command line or
configuration, 70 internal error.
`

/**
 * @param args without the interpreter and the script
 * @throws UsageError
 */
export function parseArguments(args: readonly string[]): Command {
  const { values, tokens } = parseArgs({
    args: [...args],
    options: OPTIONS,
    strict: false,
    allowPositionals: true,
    tokens: true,
  })
  // --help beside a mistake should help.
  if (values.help === true) return { kind: 'help' }
  for (const token of tokens) {
    if (token.kind === 'positional')
      throw new UsageError(`unexpected argument ${JSON.stringify(token.value)}`)
    if (token.kind === 'option') checkOption(token.name, token.rawName, token.value)
  }
  if (values.version === true) return { kind: 'version' }
  const configFile = stringValue(values['config-file'])
  if (configFile === undefined) throw new UsageError('--config-file=FILE is missing')
  const socketPath = stringValue(values['socket-path'])
  const logLevel = stringValue(values['log-level'])
  const connect = values.connect === true
  if (connect && values.check !== true) throw new UsageError('--connect is for use with --check')
  return {
    ...(values.check === true ? { kind: 'check', connect } : { kind: 'run' }),
    configFile,
    ...(socketPath === undefined ? {} : { socketPath: parsed('--socket-path', socketPath, parseSocketPath) }),
    ...(logLevel === undefined ? {} : { logLevel: parsed('--log-level', logLevel, parseLogLevel) }),
  }
}

function checkOption(name: string, rawName: string, value: string | undefined): void {
  if (!Object.hasOwn(OPTIONS, name)) {
    throw new UsageError(`unknown option ${JSON.stringify(rawName)}${didYouMean(rawName, OPTION_NAMES)}`)
  }
  const takesValue = OPTIONS[name as keyof typeof OPTIONS].type === 'string'
  if (takesValue && (value === undefined || value === '')) {
    throw new UsageError(`${rawName} needs a value: ${rawName}=...`)
  }
  if (!takesValue && value !== undefined) throw new UsageError(`${rawName} takes no value`)
}

function stringValue(value: string | boolean | undefined): string | undefined {
  return typeof value === 'string' ? value : undefined
}

function parsed<T>(option: string, value: string, parse: (value: unknown) => T): T {
  try {
    return parse(value)
  } catch (error) {
    if (error instanceof ValueError) throw new UsageError(`${option}: ${error.message}`)
    throw error
  }
}
