/** A web server for mounts of type "http", which refuses and stumbles as its files' names say. */
import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

/** Files whose names begin so: the first request for each fails, and the second does not. */
export const STUMBLING = 'stumbling'
/** Files whose names begin so may not be read. */
export const FORBIDDEN = 'forbidden'

export class WebServer {
  readonly endpoint: string
  readonly #stumbled = new Set<string>()

  private constructor(
    private readonly server: Server,
    private readonly contents: Buffer,
  ) {
    this.endpoint = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
    server.on('request', (request: IncomingMessage, response: ServerResponse) => {
      this.#answer(request, response)
    })
  }

  /** Every name is a file with these contents. */
  static async start(contents: Buffer): Promise<WebServer> {
    const server = createServer()
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    return new WebServer(server, contents)
  }

  async stop(): Promise<void> {
    const closed = once(this.server, 'close')
    this.server.close()
    this.server.closeAllConnections()
    await closed
  }

  #answer({ method, url = '', headers }: IncomingMessage, response: ServerResponse): void {
    const name = url.slice(1)
    if (name.startsWith(FORBIDDEN)) {
      response.writeHead(403).end()
    } else if (name.startsWith(STUMBLING) && !this.#stumbled.has(name)) {
      this.#stumbled.add(name)
      response.writeHead(503).end()
    } else if (method === 'HEAD') {
      response.writeHead(200, { 'content-length': this.contents.length, etag: '"1"' }).end()
    } else {
      this.#sendRange(headers.range, response)
    }
  }

  #sendRange(range: string | undefined, response: ServerResponse): void {
    const { length } = this.contents
    const [, first, last] = /^bytes=(\d+)-(\d*)$/.exec(range ?? '') ?? []
    const start = Number(first ?? 0)
    const end = last === undefined || last === '' ? length : Math.min(length, Number(last) + 1)
    response.writeHead(range === undefined ? 200 : 206, {
      'content-length': end - start,
      'content-range': `bytes ${start}-${end - 1}/${length}`,
      etag: '"1"',
    })
    response.end(this.contents.subarray(start, end))
  }
}
