/** What is asked of a server, and what it answers. */
import type { IncomingHttpHeaders } from 'node:http'
import type { LookupFunction } from 'node:net'

export interface HttpRequest {
  readonly method: string
  /** `http://host:port`. */
  readonly origin: string
  /** Path and query exactly as they are sent. */
  readonly target: string
  readonly headers?: Readonly<Record<string, string>>
  /** For the whole exchange, from the first byte sent to the last received; with an upload, for each part and for the answer. */
  readonly timeoutMs: number
  /** A longer answer is an error: bounds memory. */
  readonly maxBodyBytes: number
  /** A long body is sent only when the server asks for it, so that a refusal (401, 412...) is not lost in a reset connection. */
  readonly asksFirst?: boolean
  /** Where a server has sent us: how its host's name is looked up. */
  readonly lookup?: LookupFunction
  /** Looks at the answer before its body is read; what it throws ends the request. */
  readonly check?: (head: HttpHead) => void
}

export interface HttpHead {
  readonly status: number
  readonly headers: IncomingHttpHeaders
}

export interface HttpResponse extends HttpHead {
  readonly body: Buffer
}

/** The request for messages: without the query, which may hold a token. */
export function placeOf({ method, origin, target }: HttpRequest): string {
  return `${method} ${origin}${target.replace(/\?.*$/s, '')}`
}
