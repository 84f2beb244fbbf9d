import { request as httpRequest, type IncomingHttpHeaders } from 'node:http'

/** Loopback servers answer within milliseconds; a test that waits longer than this hangs. */
const DEADLINE_MS = 60_000

export interface HttpRequest {
  readonly method: string
  /** `http://host:port`, without a path. */
  readonly origin: string
  /** Path and query exactly as they are sent: nothing is normalised or encoded once more. */
  readonly target: string
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: Uint8Array
}

export interface HttpResponse {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: Buffer
}

/** A server's refusal; the message holds what it said. */
export class HttpError extends Error {
  readonly status: number
  readonly body: string

  constructor(request: HttpRequest, response: HttpResponse) {
    const body = response.body.toString('utf8')
    super(`${request.method} ${request.origin}${request.target}: ${response.status} ${body.slice(0, 500)}`)
    this.name = 'HttpError'
    this.status = response.status
    this.body = body
  }
}

/** One request on a connection of its own. Resolves with whatever status the server gives. */
export function sendRequest(request: HttpRequest): Promise<HttpResponse> {
  const body = request.body ?? new Uint8Array(0)
  const { hostname, port } = new URL(request.origin)
  return new Promise((resolve, reject) => {
    const outgoing = httpRequest(
      {
        host: hostname,
        port,
        method: request.method,
        path: request.target,
        headers: { ...request.headers, 'content-length': String(body.byteLength) },
        agent: false,
        signal: AbortSignal.timeout(DEADLINE_MS),
      },
      (incoming) => {
        const chunks: Buffer[] = []
        incoming.on('data', (chunk: Buffer) => chunks.push(chunk))
        incoming.once('error', reject)
        incoming.once('end', () => {
          resolve({
            status: incoming.statusCode ?? 0,
            headers: incoming.headers,
            body: Buffer.concat(chunks),
          })
        })
      },
    )
    outgoing.once('error', reject)
    outgoing.end(body)
  })
}

/** As `sendRequest`, but a status other than those given is an HttpError. */
export async function sendExpecting(
  statuses: readonly number[],
  request: HttpRequest,
): Promise<HttpResponse> {
  const response = await sendRequest(request)
  if (!statuses.includes(response.status)) throw new HttpError(request, response)
  return response
}

/** Percent-encode everything but RFC 3986's unreserved characters: what every server takes, and SigV4 wants. */
export function encodeComponent(text: string): string {
  return encodeURIComponent(text).replace(
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  )
}

/** Encode a path or key, keeping its "/". */
export function encodePath(path: string): string {
  return path.split('/').map(encodeComponent).join('/')
}

/** `?a=1&b` with sorted names, '' without parameters. */
export function encodeQuery(parameters: Readonly<Record<string, string | undefined>>): string {
  const pairs = Object.entries(parameters)
    .filter((pair): pair is [string, string] => pair[1] !== undefined)
    .map(([name, value]) => `${encodeComponent(name)}=${encodeComponent(value)}`)
    .sort()
  return pairs.length === 0 ? '' : `?${pairs.join('&')}`
}
