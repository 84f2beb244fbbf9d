/** The output of `strace -f`, in which calls of several threads are mixed, as calls. */

export interface SystemCall {
  readonly name: string
  readonly args: readonly string[]
  /** -1 after an error. */
  readonly result: number
}

/** A line of the trace: a call begins, ends, or does both. */
export interface TraceEvent {
  readonly call: SystemCall
  readonly begins: boolean
  readonly ends: boolean
}

interface Unfinished {
  readonly line: number
  readonly text: string
}

/** The events in the order of the lines. Calls that never ended, as of a process that was ended, are left out. */
export function eventsOf(trace: string): TraceEvent[] {
  const unfinished = new Map<string, Unfinished>()
  const events: { line: number; event: TraceEvent }[] = []
  trace.split('\n').forEach((text, line) => {
    const [, thread, rest] = /^(\d+) +(.*)$/.exec(text) ?? []
    if (thread === undefined || rest === undefined) return
    const cut = / ?<unfinished \.\.\.>$/.exec(rest)
    if (cut !== null) {
      unfinished.set(thread, { line, text: rest.slice(0, cut.index) })
      return
    }
    const resumed = /^<\.\.\. \w+ resumed>/.exec(rest)
    const before = resumed === null ? undefined : unfinished.get(thread)
    const whole = before === undefined ? rest : before.text + rest.slice(resumed?.[0].length)
    const call = parseCall(whole)
    if (call === null) return
    if (before !== undefined) events.push({ line: before.line, event: { call, begins: true, ends: false } })
    events.push({ line, event: { call, begins: before === undefined, ends: true } })
  })
  return events.sort((one, other) => one.line - other.line).map(({ event }) => event)
}

function parseCall(text: string): SystemCall | null {
  const name = /^(\w+)\(/.exec(text)?.[1]
  if (name === undefined) return null
  const { args, rest } = splitArguments(text.slice(name.length + 1))
  const result = /^\)\s+= (-?\d+)/.exec(rest)?.[1]
  return result === undefined ? null : { name, args, result: Number(result) }
}

const OPENING = '[{('
const CLOSING = ']})'

/** Up to the bracket that closes the call; strings are kept with their quotes. */
function splitArguments(text: string): { readonly args: string[]; readonly rest: string } {
  const args: string[] = []
  let depth = 0
  let start = 0
  for (let at = 0; at < text.length; at++) {
    const character = text[at] ?? ''
    if (character === '"') at = endOfString(text, at)
    else if (OPENING.includes(character)) depth++
    else if (CLOSING.includes(character) && depth > 0) depth--
    else if ((character === ',' && depth === 0) || character === ')') {
      args.push(text.slice(start, at).trim())
      start = at + 1
      if (character === ')') return { args, rest: text.slice(at) }
    }
  }
  return { args, rest: '' }
}

function endOfString(text: string, start: number): number {
  for (let at = start + 1; at < text.length; at++) {
    if (text[at] === '\\') at++
    else if (text[at] === '"') return at
  }
  return text.length
}

const ESCAPES: Readonly<Record<string, string>> = { n: '\n', t: '\t', r: '\r', v: '\v', f: '\f' }

/** The bytes of a string, a character each. */
export function stringOf(argument: string): string {
  if (!argument.startsWith('"') || !argument.endsWith('"'))
    throw new Error(`the trace has not the whole of ${argument.slice(0, 100)}`)
  return argument
    .slice(1, -1)
    .replace(/\\([0-7]{1,3}|.)/g, (_, code: string) =>
      /^[0-7]/.test(code) ? String.fromCharCode(parseInt(code, 8)) : (ESCAPES[code] ?? code),
    )
}

/** A descriptor, which may be followed by what it is of, or an offset by reference. */
export function numberOf(argument: string | undefined): number {
  const digits = /^\[?(-?\d+)/.exec(argument ?? '')?.[1]
  if (digits === undefined) throw new Error(`no number: ${argument ?? 'nothing'}`)
  return Number(digits)
}
