/** The command line of `ovfsd status` and its like. Loads nothing heavy. */
import { parseArgs } from 'node:util'
import { didYouMean } from '../config/suggestion.js'
import { LOG_LEVELS } from '../observability/levels.js'
import { UsageError } from './usage-error.js'

export type Action =
  'status' | 'mounts' | 'stats' | 'top' | 'flush' | 'invalidate' | 'log-level' | 'trace' | 'profile'

export const GROUPINGS = ['operation', 'path', 'pid', 'mount'] as const
export type Grouping = (typeof GROUPINGS)[number]

export interface OperateCommand {
  readonly kind: 'operate'
  readonly action: Action
  /** Only help is wanted. */
  readonly help: boolean
  /** Where the daemon is: its control socket, or the configuration that names it. Neither: `profile FILE` needs none. */
  readonly controlSocket: string | null
  readonly configFile: string | null
  readonly json: boolean
  /** The path, level, pattern or file; "" where there is none. */
  readonly operand: string
  /** flush: one mount only. */
  readonly mount: string | null
  /** stats, top. */
  readonly intervalMs: number
  /** stats, top: how often; null: until stopped. */
  readonly count: number | null
  /** profile. */
  readonly by: Grouping
  readonly top: number
  readonly live: boolean
  readonly seconds: number
}

interface Shape {
  /** What stands behind the command; "?" at its end: it may be left out. */
  readonly operand?: string
  readonly options?: readonly string[]
}

const SHAPES: Readonly<Record<Action, Shape>> = {
  status: {},
  mounts: {},
  stats: { options: ['interval', 'count'] },
  top: { options: ['interval', 'count'] },
  flush: { options: ['mount'] },
  invalidate: { operand: 'PATH' },
  'log-level': { operand: 'LEVEL' },
  trace: { operand: 'PATH' },
  profile: { operand: 'FILE?', options: ['by', 'top', 'live', 'seconds'] },
}

export const ACTION_NAMES: readonly string[] = Object.keys(SHAPES)

const OPTIONS = {
  'control-socket': { type: 'string' },
  'config-file': { type: 'string' },
  json: { type: 'boolean' },
  help: { type: 'boolean', short: 'h' },
  interval: { type: 'string' },
  count: { type: 'string' },
  mount: { type: 'string' },
  by: { type: 'string' },
  top: { type: 'string' },
  live: { type: 'boolean' },
  seconds: { type: 'string' },
} as const
type OptionName = keyof typeof OPTIONS
const COMMON: readonly string[] = ['control-socket', 'config-file', 'json', 'help']

const DEFAULT_INTERVAL_S = 1
/** Faster than a person reads, and slow enough to cost the daemon nothing. */
const INTERVAL_RANGE_S = { min: 0.1, max: 3600 }
const COUNT_RANGE = { min: 1, max: 1_000_000_000 }
const DEFAULT_TOP = 20
const TOP_RANGE = { min: 1, max: 10_000 }
const DEFAULT_SECONDS = 10
const SECONDS_RANGE = { min: 0.1, max: 86_400 }
const MS_PER_SECOND = 1000

export const OPERATE_HELP = `Usage: ovfsd COMMAND (--control-socket=PATH | --config-file=FILE) [OPTION]...
Ask a running daemon, whose configuration has a control_socket.

  status               what the daemon is, and how it does
  mounts               each mount: whether its store can be used, and what is
                       unsaved and open
  stats                a line of rates every second
  top                  mounts and operations by rate, as they change
  flush                store everything that is dirty; says what could not be
  invalidate PATH      forget what is cached of a file or directory of the
                       guest's tree, with all below it; unsaved data stays
  log-level LEVEL      silent, fatal, error, warn, info, debug or trace, until
                       the configuration is loaded again
  trace PATH           a line for each request to a file, a directory and all
                       below it, or a pattern such as "/s3/**/*.log"
  profile FILE         what the lines of an access log come to; "-" for
                       standard input
  profile --live       the same of the requests of the next seconds

  --control-socket=PATH  where the daemon listens for this
  --config-file=FILE     the configuration that says so
  --json                 JSON in place of text
  --interval=SECONDS     stats, top: between two lines or pictures (1)
  --count=N              stats, top: end after so many
  --mount=NAME           flush: only this profile's mount
  --by=WHAT              profile: by operation, path, pid or mount (operation)
  --top=N                profile: so many lines, those with the most time (20)
  --seconds=N            profile --live: watch so long (10)

Exit status: 0 done (Ctrl-C ends stats, top and trace so), 1 the daemon can't be
reached, has gone or could not do it, 2 wrong command line.
`

export function isAction(text: string): text is Action {
  return Object.hasOwn(SHAPES, text)
}

/**
 * @param args what stands behind the command
 * @throws UsageError
 */
export function parseOperate(action: Action, args: readonly string[]): OperateCommand {
  const { tokens } = parseArgs({
    ...{ args: [...args], options: OPTIONS, strict: false, allowPositionals: true, tokens: true },
  })
  const values = new Map<OptionName, string | true>()
  const operands: string[] = []
  for (const token of tokens) {
    if (token.kind === 'positional') operands.push(token.value)
    if (token.kind === 'option') takeOption(action, values, token.name, token.rawName, token.value)
  }
  const help = values.has('help')
  const live = values.has('live')
  const command: OperateCommand = {
    ...{ kind: 'operate', action, help, json: values.has('json'), live },
    controlSocket: textOf(values, 'control-socket'),
    configFile: textOf(values, 'config-file'),
    operand: help ? '' : operandOf(action, operands, live),
    mount: textOf(values, 'mount'),
    intervalMs: numberOf(values, 'interval', INTERVAL_RANGE_S, DEFAULT_INTERVAL_S) * MS_PER_SECOND,
    count: values.has('count') ? wholeOf(values, 'count', COUNT_RANGE, 1) : null,
    by: groupingOf(textOf(values, 'by')),
    top: wholeOf(values, 'top', TOP_RANGE, DEFAULT_TOP),
    seconds: numberOf(values, 'seconds', SECONDS_RANGE, DEFAULT_SECONDS),
  }
  if (!help) checkPlace(command)
  return command
}

function takeOption(
  action: Action,
  values: Map<OptionName, string | true>,
  name: string,
  rawName: string,
  value: string | undefined,
): void {
  const known = [...COMMON, ...(SHAPES[action].options ?? [])]
  if (!known.includes(name) || (rawName.length === 2 && name !== 'help' && rawName !== '-h')) {
    const nearest = didYouMean(
      rawName,
      known.map((option) => `--${option}`),
    )
    throw new UsageError(`${action} has no option ${JSON.stringify(rawName)}${nearest}`)
  }
  const option = name as OptionName
  const takesValue = OPTIONS[option].type === 'string'
  if (takesValue && (value === undefined || value === ''))
    throw new UsageError(`${rawName} needs a value: ${rawName}=...`)
  if (!takesValue && value !== undefined) throw new UsageError(`${rawName} takes no value`)
  values.set(option, value ?? true)
}

function operandOf(action: Action, operands: readonly string[], live: boolean): string {
  const { operand } = SHAPES[action]
  const [first, second] = operands
  if (operand === undefined) {
    if (first !== undefined) throw new UsageError(`${action} takes no argument ${JSON.stringify(first)}`)
    return ''
  }
  if (second !== undefined)
    throw new UsageError(`${action} takes no second argument ${JSON.stringify(second)}`)
  if (action === 'profile') {
    if (live && first !== undefined) throw new UsageError('profile takes a file or --live, not both')
    if (!live && first === undefined)
      throw new UsageError('profile needs the file of an access log, "-" for standard input, or --live')
    return first ?? ''
  }
  if (first === undefined || first === '') throw new UsageError(`${action} needs a ${operand}`)
  if (action === 'log-level' && !(LOG_LEVELS as readonly string[]).includes(first)) {
    const nearest = didYouMean(first, LOG_LEVELS)
    throw new UsageError(
      `there is no level ${JSON.stringify(first)}${nearest}; levels are ${LOG_LEVELS.join(', ')}`,
    )
  }
  return first
}

/** Where the daemon is must be said, once; reading a file needs none. */
function checkPlace({ action, live, controlSocket, configFile }: OperateCommand): void {
  if (controlSocket !== null && configFile !== null)
    throw new UsageError('give --control-socket or --config-file, not both')
  if (controlSocket !== null || configFile !== null || (action === 'profile' && !live)) return
  throw new UsageError(
    `${action} needs --control-socket=PATH, or --config-file=FILE that has a control_socket`,
  )
}

function textOf(values: ReadonlyMap<OptionName, string | true>, name: OptionName): string | null {
  const value = values.get(name)
  return typeof value === 'string' ? value : null
}

function numberOf(
  values: ReadonlyMap<OptionName, string | true>,
  name: OptionName,
  { min, max }: { readonly min: number; readonly max: number },
  absent: number,
): number {
  const text = textOf(values, name)
  if (text === null) return absent
  const value = /^\d+(\.\d+)?$/.test(text) ? Number(text) : NaN
  if (value >= min && value <= max) return value
  throw new UsageError(`--${name} is a number from ${min} to ${max}, not ${JSON.stringify(text)}`)
}

function wholeOf(
  values: ReadonlyMap<OptionName, string | true>,
  name: OptionName,
  range: { readonly min: number; readonly max: number },
  absent: number,
): number {
  const value = numberOf(values, name, range, absent)
  if (Number.isInteger(value)) return value
  throw new UsageError(`--${name} is a whole number, not ${JSON.stringify(textOf(values, name))}`)
}

function groupingOf(text: string | null): Grouping {
  if (text === null) return 'operation'
  const found = GROUPINGS.find((name) => name === text)
  if (found !== undefined) return found
  throw new UsageError(
    `--by is ${GROUPINGS.join(', ')}, not ${JSON.stringify(text)}${didYouMean(text, GROUPINGS)}`,
  )
}
