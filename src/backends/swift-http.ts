/**
 * One HTTP request over Node's own client, with a deadline. Not `fetch`: it would undo a Content-Encoding that somebody
 * gave an object, so that sizes and ranges no longer fit, and all mounts would share its one pool of connections.
 */
import {
  Agent as HttpAgent,
  request as httpRequest,
  type ClientRequest,
  type IncomingHttpHeaders,
} from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https'
import type { IncomingMessage } from 'node:http'
import { StorageError } from './storage-error.js'

/** Connections of one mount: more than the cache and a rename of a tree have requests under way. */
const MAX_CONNECTIONS = 64
/** Longer bodies are sent only when the server asks for them, so that a refusal (401, 412...) is not lost in a reset connection. */
const EXPECT_CONTINUE_MIN_BYTES = 64 << 10
/** A server or proxy that knows no `Expect: 100-continue` gets the body after this long, as curl does. */
const EXPECT_CONTINUE_WAIT_MS = 1000

export interface HttpRequest {
  readonly method: string
  readonly url: URL
  readonly headers: Readonly<Record<string, string>>
  readonly body?: Uint8Array
  /** For the whole request, from the first byte sent to the last byte received. */
  readonly timeoutMs: number
  /** A longer answer is an error: bounds memory. */
  readonly maxBodyBytes: number
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

/** The connections of one mount; idle ones do not keep the process alive. */
export class HttpConnections {
  private readonly http = new HttpAgent({ keepAlive: true, maxSockets: MAX_CONNECTIONS })
  private readonly https = new HttpsAgent({ keepAlive: true, maxSockets: MAX_CONNECTIONS })

  /**
   * Resolves with whatever status the server gives.
   * @throws StorageError ETIMEDOUT, or EIO for a connection that failed; both retryable
   */
  send(request: HttpRequest): Promise<HttpResponse> {
    const { url, method, headers, body } = request
    const isSecure = url.protocol === 'https:'
    const expects = body !== undefined && body.byteLength >= EXPECT_CONTINUE_MIN_BYTES
    const outgoing = (isSecure ? httpsRequest : httpRequest)(url, {
      method,
      agent: isSecure ? this.https : this.http,
      headers: {
        ...headers,
        ...(body === undefined ? {} : { 'content-length': String(body.byteLength) }),
        ...(expects ? { expect: '100-continue' } : {}),
      },
    })
    return exchange(outgoing, request, expects)
  }
}

function exchange(outgoing: ClientRequest, request: HttpRequest, expects: boolean): Promise<HttpResponse> {
  const { method, url, body, timeoutMs } = request
  // Without the query: it holds nothing that helps, and the host may be all there is to see.
  const place = `${method} ${url.origin}${url.pathname}`
  return new Promise((resolve, reject) => {
    let isBodySent = false
    const fail = (error: unknown): void => {
      clearTimeout(deadline)
      clearTimeout(patience)
      outgoing.destroy()
      reject(error instanceof StorageError ? error : connectionError(place, error))
    }
    const sendBody = (): void => {
      clearTimeout(patience)
      if (isBodySent || outgoing.destroyed) return
      isBodySent = true
      outgoing.end(body)
    }
    const deadline = setTimeout(() => {
      const message = `${place}: no answer within ${timeoutMs} ms`
      fail(new StorageError('ETIMEDOUT', message, { retryable: true }))
    }, timeoutMs)
    const patience = expects ? setTimeout(sendBody, EXPECT_CONTINUE_WAIT_MS) : undefined
    // The body was not asked for, so the connection can't be used again.
    const closeIfUnsent = (): void => {
      if (!isBodySent) outgoing.destroy()
    }
    outgoing.on('error', fail)
    outgoing.on('continue', sendBody)
    outgoing.on('response', (incoming) => {
      clearTimeout(patience)
      if (method === 'HEAD') {
        clearTimeout(deadline)
        incoming.resume()
        // Swift answers a HEAD it does not authorise with a body, which must not be taken for the next answer.
        if (!isUsualForHead(incoming.statusCode)) outgoing.destroy()
        resolve({ status: incoming.statusCode ?? 0, headers: incoming.headers, body: Buffer.alloc(0) })
        return
      }
      collect(incoming, request).then((response) => {
        clearTimeout(deadline)
        closeIfUnsent()
        resolve(response)
      }, fail)
    })
    if (expects) outgoing.flushHeaders()
    else sendBody()
  })
}

function isUsualForHead(status: number | undefined): boolean {
  return status === 200 || status === 204 || status === 404
}

function collect(incoming: IncomingMessage, request: HttpRequest): Promise<HttpResponse> {
  const head = { status: incoming.statusCode ?? 0, headers: incoming.headers }
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    let received = 0
    incoming.on('error', reject)
    request.check?.(head)
    incoming.on('data', (chunk: Buffer) => {
      received += chunk.length
      if (received <= request.maxBodyBytes) chunks.push(chunk)
      else reject(new StorageError('EIO', `${request.url.pathname}: the answer is longer than it can be`))
    })
    incoming.on('end', () => {
      resolve({ ...head, body: onlyOrJoined(chunks) })
    })
  })
}

function onlyOrJoined(chunks: readonly Buffer[]): Buffer {
  const [first] = chunks
  return first !== undefined && chunks.length === 1 ? first : Buffer.concat(chunks)
}

function connectionError(place: string, error: unknown): StorageError {
  const { code, message } = error as NodeJS.ErrnoException
  // An error of several addresses (localhost as ::1 and 127.0.0.1) has no message of its own.
  const reason = message === '' ? (code ?? 'no connection') : message
  return new StorageError('EIO', `${place}: ${reason}`, { retryable: true, cause: error })
}
