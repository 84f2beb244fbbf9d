/**
 * Keeps credentials out of every line we print. Two nets, since either alone has holes: the NAME of an option says that
 * its value is secret, and from then on that VALUE is hidden wherever it turns up, for instance in the query string of a URL
 * inside an error message of a backend.
 */

export const REDACTED = '[redacted]'

/**
 * Shorter values are hidden only where they are a whole string: as a part of longer text, "a" or "key" would be found in
 * every other word and the log would be unreadable, and nothing of three characters keeps anyone out.
 */
const SHORTEST_PART_CHARACTERS = 4

const SECRET_NAME =
  /secret|password|passwd|passphrase|token|key|credential|sas|delegation|signature|authorization|cookie|connection_string/i

/** Whether an option of this name holds something that must not be printed. Errs on the side of hiding (`access_key_id`). */
export function isSecretName(name: string): boolean {
  return SECRET_NAME.test(name)
}

/**
 * The values among a profile's options that must never be printed: those with a telling name, and the password of a URL
 * (`https://user:password@host`).
 */
export function secretValues(options: Readonly<Record<string, string>>): string[] {
  const values: string[] = []
  for (const [name, value] of Object.entries(options)) {
    // A switch such as server_side_encryption_bucket_key_enabled has a telling name and an innocent value.
    if (isSecretName(name) && value !== 'true' && value !== 'false') values.push(value)
    const password = urlPassword(value)
    if (password !== undefined) values.push(password)
  }
  return values.filter((value) => value !== '')
}

function urlPassword(value: string): string | undefined {
  // Not through URL(): it re-encodes, and we need the characters as they will appear.
  return /^[a-z][a-z0-9+.-]*:\/\/[^/?#@:]*:([^/?#@]+)@/i.exec(value)?.[1]
}

/** Hides known secret values in text and in JSON log lines. */
export class Redactor {
  readonly #whole = new Set<string>()
  /** Longest first: a secret may contain another. */
  #parts: string[] = []
  /** How the secrets look inside a line of JSON: the cheap test that nearly every line passes. */
  #traces: string[] = []

  add(values: Iterable<string>): void {
    for (const value of values) {
      if (value === '') continue
      this.#whole.add(value)
      this.#whole.add(encodeURIComponent(Buffer.from(value).toString()))
    }
    const byLength = [...this.#whole].sort((a, b) => b.length - a.length)
    this.#parts = byLength.filter((value) => value.length >= SHORTEST_PART_CHARACTERS)
    this.#traces = byLength.map((value) =>
      value.length >= SHORTEST_PART_CHARACTERS ? JSON.stringify(value).slice(1, -1) : JSON.stringify(value),
    )
  }

  /** `text` with every known secret replaced. */
  text(text: string): string {
    if (this.#whole.has(text)) return REDACTED
    let result = text
    for (const part of this.#parts) result = result.replaceAll(part, REDACTED)
    return result
  }

  /** A line of JSON with every known secret replaced inside its strings; the result is JSON again. */
  jsonLine(line: string): string {
    if (!this.#traces.some((trace) => line.includes(trace))) return line
    try {
      return `${JSON.stringify(this.#value(JSON.parse(line)))}\n`
    } catch {
      return `${this.text(line.trimEnd())}\n`
    }
  }

  /** Parsed JSON, so the recursion is as deep as the line's nesting, which the logger bounds. */
  #value(value: unknown): unknown {
    if (typeof value === 'string') return this.text(value)
    if (typeof value === 'number') return this.#whole.has(String(value)) ? REDACTED : value
    if (Array.isArray(value)) return value.map((item) => this.#value(item))
    if (typeof value === 'object' && value !== null) {
      return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, this.#value(item)]))
    }
    return value
  }
}

/**
 * `value` with the secret-named entries of every `options` object in it hidden. This is the net for options that were
 * never made known to a Redactor. Returns the same object where there is nothing to hide.
 */
export function redactOptions(value: Readonly<Record<string, unknown>>, depth = 0): Record<string, unknown> {
  /** Settings -> mounts -> options is the deepest we log; deeper or cyclic objects are pino's to cut. */
  const DEEPEST = 4
  const result: Record<string, unknown> = {}
  for (const [key, item] of Object.entries(value)) {
    if (depth >= DEEPEST) result[key] = item
    else if (key === 'options' && isPlainObject(item)) result[key] = redactNamed(item)
    else if (isPlainObject(item)) result[key] = redactOptions(item, depth + 1)
    else if (Array.isArray(item)) {
      result[key] = item.map((each: unknown) => (isPlainObject(each) ? redactOptions(each, depth + 1) : each))
    } else result[key] = item
  }
  return result
}

function redactNamed(options: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(options).map(([name, value]) => [name, isSecretName(name) ? REDACTED : value]),
  )
}

/** Errors, streams and the like keep their own serialisation. */
function isPlainObject(value: unknown): value is Record<string, unknown> {
  if (typeof value !== 'object' || value === null) return false
  const prototype: unknown = Object.getPrototypeOf(value)
  return prototype === Object.prototype || prototype === null
}
