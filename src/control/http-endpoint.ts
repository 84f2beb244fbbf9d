/**
 * HTTP for those who operate the daemon, on the loopback interface or a Unix socket. One request, one route; no file of the host and
 * nothing of the guest's is served by it.
 */
import { existsSync, lstatSync, unlinkSync } from 'node:fs'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { connect } from 'node:net'
import type { ListenAddress } from '../config/values.js'

/** Only who runs the daemon may ask it. */
const SOCKET_UMASK = 0o177
/** Whoever opens a connection and does not say what he wants is cut off. */
const REQUEST_TIMEOUT_MS = 10_000
/** How often it is looked whether somebody is too late. */
const TIMEOUT_CHECK_MS = 1000
/** All routes' arguments are in the address: a longer body is a mistake. */
const BODY_BYTES_MAX = 4096
/** More at a time would only be a leak of the client's. */
const CONNECTIONS_MAX = 64

/** An answer to a wrong request; the message is for the person who made it. */
export class HttpRefusal extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message)
    this.name = 'HttpRefusal'
  }
}

/** Answers by itself, or throws an HttpRefusal. Whatever else it throws is 500. */
export type Route = (url: URL, response: ServerResponse, request: IncomingMessage) => void | Promise<void>

export class HttpEndpoint {
  private constructor(
    private readonly server: Server,
    readonly address: ListenAddress,
  ) {}

  /**
   * @param routes by method and path: "GET /metrics"
   * @param onError is told of routes that fail by a defect
   * @param requestTimeoutMs for a whole request
   * @throws Error with `code` (EADDRINUSE, EACCES...)
   */
  static async listen(
    address: ListenAddress,
    routes: ReadonlyMap<string, Route>,
    onError: (error: unknown) => void,
    requestTimeoutMs = REQUEST_TIMEOUT_MS,
  ): Promise<HttpEndpoint> {
    const timeouts = {
      headersTimeout: requestTimeoutMs,
      requestTimeout: requestTimeoutMs,
      connectionsCheckingInterval: Math.min(TIMEOUT_CHECK_MS, requestTimeoutMs),
    }
    const server = createServer(timeouts, (request, response) => {
      void answer(routes, request, response, onError)
    })
    server.maxConnections = CONNECTIONS_MAX
    if ('path' in address) await removeStale(address.path)
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject)
      server.once('listening', resolve)
      // A Unix socket is bound before `listen` returns, so it never has another mode.
      const umask = process.umask(SOCKET_UMASK)
      server.listen(address)
      process.umask(umask)
    })
    server.on('error', onError)
    return new HttpEndpoint(server, withPort(address, server))
  }

  /** Ends connections too. Node removes the socket's file. */
  async close(): Promise<void> {
    const closed = new Promise<void>((resolve) => {
      this.server.close(() => {
        resolve()
      })
    })
    this.server.closeAllConnections()
    await closed
  }
}

/** Port 0 means any: which one it became. */
function withPort(address: ListenAddress, server: Server): ListenAddress {
  const bound = server.address()
  return 'path' in address || bound === null || typeof bound === 'string'
    ? address
    : { host: address.host, port: bound.port }
}

/** The socket of a daemon that was killed; one that somebody listens on, and what is no socket, stays and is an error. */
async function removeStale(path: string): Promise<void> {
  if (!existsSync(path) || !lstatSync(path).isSocket()) return
  const isAlive = await new Promise<boolean>((resolve) => {
    const probe = connect(path)
    probe.once('connect', () => {
      probe.destroy()
      resolve(true)
    })
    probe.once('error', (error: NodeJS.ErrnoException) => {
      // Whatever else it is (a full queue, no permission), somebody may be there.
      resolve(error.code !== 'ECONNREFUSED')
    })
  })
  if (!isAlive) unlinkSync(path)
}

async function answer(
  routes: ReadonlyMap<string, Route>,
  request: IncomingMessage,
  response: ServerResponse,
  onError: (error: unknown) => void,
): Promise<void> {
  try {
    limitBody(request)
    const url = parseTarget(request.url ?? '/')
    const route = routes.get(`${request.method ?? ''} ${url.pathname}`)
    if (route === undefined) throw refusalOf(routes, url.pathname)
    await route(url, response, request)
  } catch (error) {
    if (!(error instanceof HttpRefusal)) onError(error)
    const status = error instanceof HttpRefusal ? error.status : 500
    const message = error instanceof HttpRefusal ? error.message : 'failed by a defect; the log says more'
    if (response.headersSent) response.destroy()
    else sendJson(response, { error: message }, status)
  }
}

function parseTarget(target: string): URL {
  const base = 'http://ovfsd'
  if (!URL.canParse(target, base)) throw new HttpRefusal(400, 'the address is none')
  return new URL(target, base)
}

function limitBody(request: IncomingMessage): void {
  let bytes = 0
  request.on('data', (chunk: Buffer) => {
    bytes += chunk.byteLength
    if (bytes > BODY_BYTES_MAX) request.destroy()
  })
}

function refusalOf(routes: ReadonlyMap<string, Route>, path: string): HttpRefusal {
  const others = [...routes.keys()].map((route) => route.split(' ') as [string, string])
  const methods = others.filter(([, known]) => known === path).map(([method]) => method)
  if (methods.length > 0) return new HttpRefusal(405, `${path} takes ${methods.join(' and ')}`)
  const paths = new Set(others.map(([, known]) => known))
  return new HttpRefusal(404, `there is no ${path}; there are ${[...paths].join(', ')}`)
}

export function sendJson(response: ServerResponse, value: unknown, status = 200): void {
  response.writeHead(status, { 'content-type': 'application/json' })
  response.end(`${JSON.stringify(value)}\n`)
}
