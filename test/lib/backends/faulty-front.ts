/** An HTTP server before another that fails as it is told to, request by request: what a broken or busy store does. */
import { once } from 'node:events'
import {
  createServer,
  request as httpRequest,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http'
import type { AddressInfo } from 'node:net'

/**
 * What becomes of a request: it is passed on (`null`), answered here, cut off before it is passed on (`reset`), cut off
 * after the server behind has carried it out (`lose-answer`), or never answered (`hang`).
 */
export type Fault =
  | null
  | 'reset'
  | 'lose-answer'
  | 'hang'
  | { readonly status: number; readonly body?: string; readonly headers?: Readonly<Record<string, string>> }

export class FaultyFront {
  readonly origin: string
  /** Method and path of every request, in order. */
  readonly seen: string[] = []
  /** Asked once for each request, which waits until it is decided. */
  decide: (request: IncomingMessage, index: number) => Fault | Promise<Fault> = () => null
  /** Where the server sends clients, and where they are sent instead: to another front. */
  redirect: { readonly from: string; readonly to: string } | null = null

  private constructor(
    private readonly server: Server,
    private readonly behind: URL,
  ) {
    this.origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    const answer = (request: IncomingMessage, response: ServerResponse): void => {
      this.seen.push(`${request.method ?? ''} ${request.url ?? ''}`)
      const fault = Promise.resolve(this.decide(request, this.seen.length - 1))
      fault.then(
        (decided) => {
          this.answer(request, response, decided)
        },
        (error: unknown) => {
          response.writeHead(500).end(String(error))
        },
      )
    }
    server.on('request', answer)
    // The body is asked for only when the request is passed on, as Swift does.
    server.on('checkContinue', answer)
  }

  static async start(behind: string): Promise<FaultyFront> {
    const server = createServer()
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    server.unref()
    return new FaultyFront(server, new URL(behind))
  }

  async stop(): Promise<void> {
    const closed = once(this.server, 'close')
    this.server.close()
    this.server.closeAllConnections()
    await closed
  }

  private answer(request: IncomingMessage, response: ServerResponse, fault: Fault): void {
    if (fault === 'hang') return
    if (fault === 'reset') {
      request.socket.destroy()
      return
    }
    if (fault !== null && fault !== 'lose-answer') {
      response.writeHead(fault.status, fault.headers).end(fault.body)
      return
    }
    if (request.headers.expect !== undefined) response.writeContinue()
    const headers = { ...request.headers }
    delete headers.expect
    const outgoing = httpRequest(
      {
        ...{ host: this.behind.hostname, port: this.behind.port, method: request.method },
        ...{ path: request.url, headers, agent: false },
      },
      (incoming) => {
        if (fault === 'lose-answer') {
          incoming.resume().on('end', () => request.socket.destroy())
          return
        }
        const { location } = incoming.headers
        const { redirect } = this
        if (location !== undefined && redirect !== null)
          incoming.headers.location = location.replace(redirect.from, redirect.to)
        response.writeHead(incoming.statusCode ?? 0, incoming.headers)
        incoming.pipe(response)
      },
    )
    outgoing.on('error', () => request.socket.destroy())
    request.pipe(outgoing)
  }
}
