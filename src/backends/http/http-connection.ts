/**
 * HTTP over Node's own client, with deadlines. Not `fetch`: it would undo a Content-Encoding that somebody gave an object,
 * so that sizes and ranges no longer fit, all mounts would share its one pool of connections, and an upload needs to know
 * when each part has left.
 */
import {
  Agent as HttpAgent,
  request as httpRequest,
  type ClientRequest,
  type IncomingHttpHeaders,
  type IncomingMessage,
} from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https'
import type { LookupFunction } from 'node:net'
import { trustedContext } from './certificate-authorities.js'
import { asDisposable } from '../disposable.js'
import { hostOf, proxyOf, tunnelAgent, type HttpProxy } from './http-proxy.js'
import { connectionError, timeoutError, withRetries, type Repeats } from './http-error.js'
import { StorageError } from '../storage-error.js'

/** Connections of one mount to one server: more than the cache and a rename of a tree have requests under way. */
const MAX_CONNECTIONS = 64
/** Shorter bodies are sent with the request: nothing is won by asking first. */
const CONTINUE_MIN_BYTES = 64 << 10
/** A server or proxy that knows no `Expect: 100-continue` gets the body after this long, as curl does. */
const CONTINUE_WAIT_MS = 1000
/** Hints before an answer (status 1xx) that a server may give; more is no answer that comes. Some send one every few seconds while they work. */
const MAX_HINTS = 100
const NO_BODY = Buffer.alloc(0)

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

interface HttpServer {
  readonly address: { readonly host: string; readonly port?: string }
  /** With its port, as a request names it. */
  readonly host: string
  readonly isSecure: boolean
  readonly proxy: HttpProxy | null
}

/** The connections of one mount; idle ones do not keep the process alive. */
export class HttpConnections {
  private readonly http = new HttpAgent({ keepAlive: true, maxSockets: MAX_CONNECTIONS })
  private https: HttpsAgent | null = null
  private tunnels: HttpsAgent | null = null
  /** By their origins. A mount has one or two, and a client of WebHDFS as many as there are machines. */
  private readonly servers = new Map<string, HttpServer>()
  /** Told of each request that is sent again. */
  onRetry: () => void = () => undefined

  /** Run `work`, which sends a request, again after a failure that may pass: see {@link withRetries}. */
  retrying<T>(work: (mayBeDone: boolean) => Promise<T>, repeats: Repeats = 'any'): Promise<T> {
    return withRetries(
      work,
      () => {
        this.onRetry()
      },
      repeats,
    )
  }

  /**
   * Resolves with whatever status the server gives.
   * @throws HttpError ETIMEDOUT, or EIO for a connection that failed; both retryable
   */
  send(request: HttpRequest, body?: Uint8Array): Promise<HttpResponse> {
    const asksFirst = request.asksFirst === true && (body?.byteLength ?? 0) >= CONTINUE_MIN_BYTES
    const outgoing = this.begin(request, {
      ...(body === undefined ? {} : { 'content-length': String(body.byteLength) }),
      ...(asksFirst ? { expect: '100-continue' } : {}),
    })
    const exchange = new Exchange(outgoing, request)
    if (asksFirst) exchange.endWhenAsked(body)
    else exchange.end(body)
    return exchange.answer
  }

  /** A request whose body is still to come. `refusal` says what an answer before the body's end means. */
  beginUpload(request: HttpRequest, refusal: (answer: HttpResponse) => Error): HttpUpload {
    return new HttpUpload(this.begin(request, { 'transfer-encoding': 'chunked' }), request, refusal)
  }

  private begin(
    { method, origin, target, headers, lookup }: HttpRequest,
    extra: Readonly<Record<string, string>>,
  ): ClientRequest {
    const server = this.serverOf(origin)
    const { proxy } = server
    // A proxy looks names up by itself.
    const named = lookup === undefined || proxy !== null ? {} : { lookup }
    if (server.isSecure) {
      const options = { ...server.address, method, path: target, headers: { ...headers, ...extra } }
      return httpsRequest({ ...options, ...named, agent: this.httpsAgent(proxy) })
    }
    if (proxy === null) {
      const options = { ...server.address, method, path: target, headers: { ...headers, ...extra } }
      return httpRequest({ ...options, ...named, agent: this.http })
    }
    const { host, port } = proxy
    return httpRequest({
      ...{ host, port, method, path: origin + target, agent: this.http },
      headers: { host: server.host, ...headers, ...extra, ...proxy.headers },
    })
  }

  private serverOf(origin: string): HttpServer {
    const known = this.servers.get(origin)
    if (known !== undefined) return known
    const url = new URL(origin)
    const proxy = proxyOf(url, process.env)
    const server = { address: addressOf(url), host: url.host, isSecure: url.protocol === 'https:', proxy }
    this.servers.set(origin, server)
    return server
  }

  private httpsAgent(proxy: HttpProxy | null): HttpsAgent {
    const options = { keepAlive: true, maxSockets: MAX_CONNECTIONS, secureContext: trustedContext() }
    if (proxy === null) return (this.https ??= new HttpsAgent(options))
    return (this.tunnels ??= tunnelAgent(proxy, trustedContext(), options))
  }
}

function addressOf(url: URL): { readonly host: string; readonly port?: string } {
  return { host: hostOf(url), ...(url.port === '' ? {} : { port: url.port }) }
}

/** One request and its answer. */
class Exchange {
  readonly answer: Promise<HttpResponse>
  private deadline: NodeJS.Timeout | undefined
  private patience: NodeJS.Timeout | undefined
  private isBodySent = false
  private fail: (error: unknown) => void = () => undefined

  constructor(
    protected readonly outgoing: ClientRequest,
    protected readonly request: HttpRequest,
  ) {
    this.answer = new Promise<HttpResponse>((resolve, reject) => {
      this.fail = (error) => {
        outgoing.destroy()
        reject(error instanceof StorageError ? error : connectionError(placeOf(request), error))
      }
      outgoing.on('error', this.fail)
      let hints = 0
      const noteHint = (): void => {
        if (++hints === MAX_HINTS)
          this.fail(
            new StorageError('EIO', `${placeOf(request)}: hints and no answer`, { outcome: 'unknown' }),
          )
      }
      outgoing.on('continue', noteHint).on('information', noteHint)
      outgoing.on('response', (incoming) => {
        clearTimeout(this.patience)
        const head = { status: incoming.statusCode ?? 0, headers: incoming.headers }
        if (request.method !== 'HEAD') {
          collect(incoming, request, head).then((body) => {
            resolve({ ...head, body })
          }, this.fail)
          return
        }
        incoming.resume()
        resolve({ ...head, body: NO_BODY })
        // Swift answers a HEAD it does not authorise with a body, which must not be taken for the next answer.
        if (!isUsualForHead(head.status)) outgoing.destroy()
      })
    }).finally(() => {
      this.stopTimer()
      clearTimeout(this.patience)
      // The rest of the body is not wanted, so the connection can't be used again.
      if (!this.isBodySent) outgoing.destroy()
    })
    this.answer.catch(() => undefined)
    this.startTimer()
  }

  end(body?: Uint8Array): void {
    clearTimeout(this.patience)
    if (this.isBodySent || this.outgoing.destroyed) return
    this.isBodySent = true
    if (body === undefined) this.outgoing.end()
    else this.outgoing.end(body)
  }

  endWhenAsked(body?: Uint8Array): void {
    const send = (): void => {
      this.end(body)
    }
    this.outgoing.on('continue', send)
    this.patience = setTimeout(send, CONTINUE_WAIT_MS)
    this.outgoing.flushHeaders()
  }

  protected startTimer(): void {
    clearTimeout(this.deadline)
    this.deadline = setTimeout(() => {
      this.fail(timeoutError(placeOf(this.request), this.request.timeoutMs))
    }, this.request.timeoutMs)
  }

  protected stopTimer(): void {
    clearTimeout(this.deadline)
  }
}

/** A request whose body is sent in parts; nothing is kept of a part that has left. */
export class HttpUpload extends Exchange {
  private isAnswered = false

  constructor(
    outgoing: ClientRequest,
    request: HttpRequest,
    private readonly refusal: (answer: HttpResponse) => Error,
  ) {
    super(outgoing, request)
    // The server waits for us from here on, not we for it.
    this.stopTimer()
    outgoing.flushHeaders()
    const noteAnswer = (): void => {
      this.isAnswered = true
    }
    this.answer.then(noteAnswer, noteAnswer)
  }

  /** Resolves when the operating system has taken the part. Rejects with the server's refusal if it has one already. */
  async write(data: Uint8Array): Promise<void> {
    if (this.isAnswered) return this.refused()
    this.startTimer()
    try {
      await Promise.race([this.sent(data), this.refused()])
    } finally {
      this.stopTimer()
    }
  }

  private sent(data: Uint8Array): Promise<void> {
    return new Promise((resolve, reject) => {
      this.outgoing.write(data, (error) => {
        // The answer says better what went wrong; the exchange fails by itself if there is none.
        if (error == null) resolve()
        else
          this.answer.then(() => {
            resolve()
          }, reject)
      })
    })
  }

  private async refused(): Promise<never> {
    throw this.refusal(await this.answer)
  }

  /** The body is complete. Resolves with the answer. */
  async finish(): Promise<HttpResponse> {
    if (!this.isAnswered) {
      this.startTimer()
      this.end()
    }
    return this.answer
  }
}

function isUsualForHead(status: number): boolean {
  return status === 200 || status === 204 || status === 404
}

function collect(incoming: IncomingMessage, request: HttpRequest, head: HttpHead): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    let received = 0
    incoming.on('error', reject)
    request.check?.(head)
    incoming.on('data', (chunk: Buffer) => {
      received += chunk.length
      if (received <= request.maxBodyBytes) chunks.push(chunk)
      else reject(new StorageError('EIO', `${placeOf(request)}: the answer is longer than it can be`))
    })
    incoming.on('end', () => {
      resolve(onlyOrJoined(chunks))
    })
  })
}

function onlyOrJoined(chunks: readonly Buffer[]): Buffer {
  const [first] = chunks
  return first !== undefined && chunks.length === 1 ? first : asDisposable(Buffer.concat(chunks))
}
