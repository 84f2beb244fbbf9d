import type { RequestHead } from './request-parser.js'

/** An answer that the proxy gives in the server's place. */
export interface CannedAnswer {
  readonly status: number
  readonly headers?: Readonly<Record<string, string>>
  /** Default: none. */
  readonly body?: string
  /** How many requests get it; all that match if left out. */
  readonly times?: number
  /** After so many matching requests have passed through untouched. Default: 0. */
  readonly after?: number
  readonly method?: string
  /** Tested against path and query as they were sent. */
  readonly path?: RegExp
}

/** A rule in force. */
export class AnswerRule {
  #answered = 0
  #passed = 0

  constructor(
    readonly answer: CannedAnswer,
    private readonly onRemove: (rule: AnswerRule) => void,
  ) {}

  /** Requests that got the answer. */
  get answered(): number {
    return this.#answered
  }

  remove(): void {
    this.onRemove(this)
  }

  /** True when the request is to get the answer; it is counted then. */
  take(head: RequestHead): boolean {
    const { method, path, times, after } = this.answer
    if (method !== undefined && method !== head.method) return false
    if (path !== undefined && !path.test(head.target)) return false
    if (this.#passed < (after ?? 0)) {
      this.#passed++
      return false
    }
    if (this.#answered >= (times ?? Infinity)) return false
    this.#answered++
    return true
  }
}

export class CannedAnswers {
  #rules: AnswerRule[] = []

  /** Older rules come first. */
  add(answer: CannedAnswer): AnswerRule {
    const rule = new AnswerRule(answer, (removed) => {
      this.#rules = this.#rules.filter((other) => other !== removed)
    })
    this.#rules.push(rule)
    return rule
  }

  clear(): void {
    this.#rules = []
  }

  take(head: RequestHead): CannedAnswer | null {
    return this.#rules.find((rule) => rule.take(head))?.answer ?? null
  }
}

const REASONS: Readonly<Record<number, string>> = {
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'Not Found',
  429: 'Too Many Requests',
  500: 'Internal Server Error',
  503: 'Service Unavailable',
}

/** The answer's bytes. The connection is closed after it: what else was on the way is not looked at. */
export function encodeAnswer(answer: CannedAnswer, method: string): Buffer {
  const body = Buffer.from(answer.body ?? '')
  const headers = { 'content-length': String(body.length), connection: 'close', ...answer.headers }
  const lines = Object.entries(headers).map(([name, value]) => `${name}: ${value}\r\n`)
  const head = `HTTP/1.1 ${answer.status} ${REASONS[answer.status] ?? 'Canned'}\r\n${lines.join('')}\r\n`
  return method === 'HEAD' ? Buffer.from(head) : Buffer.concat([Buffer.from(head), body])
}
