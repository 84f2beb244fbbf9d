/**
 * HTTP over Node's own client, with deadlines. Not `fetch`: it would undo a Content-Encoding that somebody gave an object,
 * so that sizes and ranges no longer fit, all mounts would share its one pool of connections, and an upload needs to know
 * when each part has left.
 */
import { Agent as HttpAgent, request as httpRequest, type ClientRequest } from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https'
import { trustedContext } from './certificate-authorities.js'
import { hostOf, proxyOf, tunnelAgent, type HttpProxy } from './http-proxy.js'
import { withRetries, type Repeats } from './http-error.js'
import { HttpExchange } from './http-exchange.js'
import type { HttpRequest, HttpResponse } from './http-message.js'
import { HttpUpload } from './http-upload.js'

/** Connections of one mount to one server: more than the cache and a rename of a tree have requests under way. */
const MAX_CONNECTIONS = 64
/** Shorter bodies are sent with the request: nothing is won by asking first. */
const CONTINUE_MIN_BYTES = 64 << 10

const BODILESS_METHODS: ReadonlySet<string> = new Set(['GET', 'HEAD', 'DELETE'])

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
    const headers = headerLines(request.headers)
    // A request that has no body, and might have one, says so: some servers wait for it, and without a length Node would send an
    // empty one in chunks, which Apache refuses where there may be none (MKCOL).
    if (body !== undefined || !BODILESS_METHODS.has(request.method))
      headers.push('content-length', String(body?.byteLength ?? 0))
    const asksFirst = request.asksFirst === true && (body?.byteLength ?? 0) >= CONTINUE_MIN_BYTES
    if (asksFirst) headers.push('expect', '100-continue')
    const exchange = new HttpExchange(this.begin(request, headers), request)
    if (asksFirst) exchange.endWhenAsked(body)
    else exchange.end(body)
    return exchange.answer
  }

  /** A request whose body is still to come. `refusal` says what an answer before the body's end means. */
  beginUpload(request: HttpRequest, refusal: (answer: HttpResponse) => Error): HttpUpload {
    const headers = headerLines(request.headers)
    headers.push('transfer-encoding', 'chunked')
    return new HttpUpload(this.begin(request, headers), request, refusal)
  }

  /** `headers`: names and values in turn, which Node's client sends as they are. */
  private begin(request: HttpRequest, headers: string[]): ClientRequest {
    const { method, origin, target, lookup } = request
    const server = this.serverOf(origin)
    const { proxy } = server
    if (request.headers?.['host'] === undefined) headers.push('host', server.host)
    if (!server.isSecure && proxy !== null) {
      const { host, port } = proxy
      for (const [name, value] of Object.entries(proxy.headers)) headers.push(name, value)
      return httpRequest({ host, port, method, path: origin + target, agent: this.http, headers })
    }
    const { host, port } = server.address
    // A proxy looks names up by itself.
    const options = { host, port, method, path: target, headers, lookup: proxy === null ? lookup : undefined }
    if (!server.isSecure) return httpRequest({ ...options, agent: this.http })
    return httpsRequest({ ...options, agent: this.httpsAgent(proxy) })
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

function headerLines(headers: HttpRequest['headers']): string[] {
  const lines: string[] = []
  for (const name in headers) lines.push(name, headers[name] as string)
  return lines
}
