/** What is wrong with a configuration file, for the person who wrote it. */

/** One fault: where it is and what would be right. */
export interface Problem {
  /** Line of the file, from 1; absent where there is no line to point at (an unreadable file). */
  readonly line?: number
  /** Dotted path of the key, such as `profiles.s3.bucket`; empty for the file as a whole. */
  readonly keyPath: string
  readonly message: string
}

/** A configuration that can't be used. `message` has one line a problem, in the order of the file. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError'
  readonly problems: readonly Problem[]
  readonly fileName: string

  /** `secretFiles`: what the configuration names beside it, whether or not it is there: what comes or changes may cure the fault. */
  constructor(
    fileName: string,
    problems: readonly Problem[],
    readonly secretFiles: readonly string[] = [],
  ) {
    const sorted = [...problems].sort((a, b) => (a.line ?? 0) - (b.line ?? 0))
    super(sorted.map((problem) => formatProblem(fileName, problem)).join('\n'))
    this.fileName = fileName
    this.problems = sorted
  }
}

/** `ovfsd.toml:12: profiles.s3.buckett: unknown key; did you mean "bucket"?` */
export function formatProblem(fileName: string, problem: Problem): string {
  const place = problem.line === undefined ? fileName : `${fileName}:${problem.line}`
  const path = problem.keyPath === '' ? '' : `${problem.keyPath}: `
  return oneLine(`${place}: ${path}${problem.message}`)
}

/** A value that can't be understood; the message says what would be right. The caller knows the key and the line. */
export class ValueError extends Error {
  override readonly name = 'ValueError'
}

/** Longest piece of a value that a message repeats. */
const QUOTED_CHARACTERS_MAX = 60

/** A value as a message may repeat it: in quotes, control characters escaped, cut if long. */
export function quote(text: string): string {
  return JSON.stringify(
    text.length > QUOTED_CHARACTERS_MAX ? `${text.slice(0, QUOTED_CHARACTERS_MAX)}...` : text,
  )
}

/** What a TOML value is, in words: for "expected X, found Y". */
export function describeValue(value: unknown): string {
  if (typeof value === 'string') return `the string ${quote(value)}`
  if (typeof value === 'number' || typeof value === 'bigint') return `the number ${value}`
  if (typeof value === 'boolean') return String(value)
  if (Array.isArray(value)) return 'an array'
  if (value instanceof Date) return 'a date'
  return 'a table'
}

/** `"a", "b" or "c"` */
export function listChoices(choices: readonly string[]): string {
  const quoted = choices.map(quote)
  const last = quoted.pop() ?? ''
  return quoted.length === 0 ? last : `${quoted.join(', ')} or ${last}`
}

/** Names of files and keys come from outside and must not break the one-line promise or a terminal. */
function oneLine(text: string): string {
  return text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/g, (character) => {
    return `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`
  })
}
