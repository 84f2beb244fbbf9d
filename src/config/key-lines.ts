/**
 * On which line of a TOML text each key stands. The parser tells lines only for its own errors, and a message about a
 * wrong value should name its line too.
 *
 * Expects text that the parser has accepted, and only walks over it: it finds where keys begin and skips values. On any
 * other text it still ends, with whatever it has found.
 */

/** Where keys are, by path; the elements of a list go by their numbers, from 0. */
export class KeyLines {
  readonly #lines = new Map<string, number>()

  constructor(text: string) {
    new Scanner(text, (path, line) => {
      // The first mention counts: `[a.b]` before `[a.b.c]`.
      for (let length = 1; length <= path.length; length++) {
        const key = pathKey(path.slice(0, length))
        if (!this.#lines.has(key)) this.#lines.set(key, line)
      }
    }).scan()
  }

  /** The line of a key, from 1, or of the nearest table around it if the key itself isn't there. */
  find(path: readonly string[]): number {
    for (let length = path.length; length > 0; length--) {
      const line = this.#lines.get(pathKey(path.slice(0, length)))
      if (line !== undefined) return line
    }
    return 1
  }
}

/** A key may hold any character, so a dot can't join them. */
function pathKey(path: readonly string[]): string {
  return JSON.stringify(path)
}

/** A path as messages show it: `profiles.s3.bucket`, a segment in quotes where TOML needs it. */
export function formatKeyPath(path: readonly string[]): string {
  return path.map((key) => (/^[A-Za-z0-9_-]+$/.test(key) ? key : JSON.stringify(key))).join('.')
}

const BLANK = /[ \t]*/y
/** White space, line ends and comments. */
const FILLER = /(?:[ \t\r\n]|#[^\n]*)*/y
const BARE_KEY = /[A-Za-z0-9_-]+/y
const STRING = /"""(?:[^\\]|\\[^])*?"{3,5}|'''[^]*?'{3,5}|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'/y
/** Numbers, dates, booleans: up to whatever ends a value. */
const PLAIN_VALUE = /[^,\]}#\n]*/y

class Scanner {
  readonly #text: string
  /** How many tables each `[[...]]` has so far. */
  readonly #elements = new Map<string, number>()
  readonly #found: (path: readonly string[], line: number) => void
  #position = 0
  #line = 1
  /** Up to where newlines have been counted into #line. */
  #counted = 0

  constructor(text: string, found: (path: readonly string[], line: number) => void) {
    this.#text = text
    this.#found = found
  }

  scan(): void {
    let table: string[] = []
    for (;;) {
      this.#skip(FILLER)
      const start = this.#position
      if (start >= this.#text.length) return
      if (this.#text[start] === '[') {
        const isElement = this.#text.startsWith('[[', start)
        while (this.#text[this.#position] === '[') this.#position++
        table = this.#tablePath(this.#key(), isElement)
        this.#found(table, this.#lineHere())
        while (this.#text[this.#position] === ']') this.#position++
      } else {
        this.#keyAndValue(table)
      }
      if (this.#position === start) return
    }
  }

  /** What `[[a]]` begins is `a.0`, then `a.1`; `[a.b]` after it is `a.1.b`. */
  #tablePath(written: readonly string[], isElement: boolean): string[] {
    let path: string[] = []
    written.forEach((part, index) => {
      path = [...path, part]
      const key = pathKey(path)
      const begins = isElement && index === written.length - 1
      const count = (this.#elements.get(key) ?? 0) + (begins ? 1 : 0)
      if (begins) this.#elements.set(key, count)
      if (count > 0) path = [...path, String(count - 1)]
    })
    return path
  }

  #keyAndValue(table: readonly string[]): void {
    const line = this.#lineHere()
    const path = [...table, ...this.#key()]
    this.#found(path, line)
    if (this.#text[this.#position] !== '=') return
    this.#position++
    this.#skip(BLANK)
    this.#value(path)
  }

  #value(path: readonly string[]): void {
    const opening = this.#text[this.#position]
    if (opening === '{' || opening === '[') {
      const closing = opening === '{' ? '}' : ']'
      let index = 0
      this.#position++
      this.#members(closing, () => {
        if (opening === '{') this.#keyAndValue(path)
        else this.#element([...path, String(index++)])
      })
    } else if (this.#match(STRING) === undefined) {
      this.#match(PLAIN_VALUE)
    }
  }

  #element(path: readonly string[]): void {
    this.#found(path, this.#lineHere())
    this.#value(path)
  }

  #members(closing: string, member: () => void): void {
    for (;;) {
      this.#skip(FILLER)
      const start = this.#position
      if (start >= this.#text.length) return
      if (this.#text[start] === closing) {
        this.#position++
        return
      }
      member()
      this.#skip(FILLER)
      if (this.#text[this.#position] === ',') this.#position++
      if (this.#position === start) return
    }
  }

  /** A dotted key and the blanks after it. */
  #key(): string[] {
    const path: string[] = []
    for (;;) {
      this.#skip(BLANK)
      const bare = this.#match(BARE_KEY)
      const part = bare ?? unquote(this.#match(STRING))
      if (part === undefined) return path
      path.push(part)
      this.#skip(BLANK)
      if (this.#text[this.#position] !== '.') return path
      this.#position++
    }
  }

  #match(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#position
    const match = pattern.exec(this.#text)?.[0]
    if (match !== undefined) this.#position += match.length
    return match
  }

  #skip(pattern: RegExp): void {
    this.#match(pattern)
  }

  #lineHere(): number {
    for (; this.#counted < this.#position; this.#counted++) {
      if (this.#text[this.#counted] === '\n') this.#line++
    }
    return this.#line
  }
}

function unquote(string: string | undefined): string | undefined {
  if (string === undefined || string.startsWith("'")) return string?.slice(1, -1)
  try {
    return JSON.parse(string) as string
  } catch {
    // An escape that TOML has and JSON has not (\U0001F600): no key of ours looks like that.
    return string.slice(1, -1)
  }
}
