/**
 * HTTP for WebHDFS over Node's own client, with deadlines. Not `fetch`: all mounts would share its one pool of
 * connections, and an upload needs to know when each part has left.
 */
import {
  Agent as HttpAgent,
  request as httpRequest,
  type ClientRequest,
  type IncomingMessage,
} from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https'
import { connectionError, refusal, timeoutError, WebhdfsError } from './webhdfs-errors.js'

/** Connections of one mount to one server: more than the cache has requests under way. */
const MAX_CONNECTIONS = 64

export interface HttpCall {
  readonly method: string
  /** `http://host:port`. */
  readonly origin: string
  /** Path and query exactly as they are sent. */
  readonly target: string
  /** For the whole exchange; with an upload, for each part and for the answer. */
  readonly timeoutMs: number
  /** A longer answer is an error: bounds memory. */
  readonly maxBodyBytes: number
}

export interface HttpAnswer {
  readonly status: number
  /** Where it sends us to. */
  readonly location: string | undefined
  readonly body: Buffer
}

/** The request for messages: without the query, which may hold a token. */
export function placeOf({ method, origin, target }: HttpCall): string {
  return `${method} ${origin}${target.replace(/\?.*$/s, '')}`
}

/** The connections of one mount; idle ones do not keep the process alive. */
export class WebhdfsConnections {
  private readonly http = new HttpAgent({ keepAlive: true, maxSockets: MAX_CONNECTIONS })
  private readonly https = new HttpsAgent({ keepAlive: true, maxSockets: MAX_CONNECTIONS })

  /**
   * Resolves with whatever status the server gives.
   * @throws WebhdfsError ETIMEDOUT, or EIO for a connection that failed
   */
  async send(call: HttpCall, body?: Uint8Array): Promise<HttpAnswer> {
    const length = String(body?.byteLength ?? 0)
    const headers = call.method === 'GET' ? {} : { 'content-length': length }
    const exchange = new Exchange(this.begin(call, headers), call)
    exchange.end(body)
    return exchange.answer
  }

  /** A request whose body is still to come. */
  beginUpload(call: HttpCall): HttpUpload {
    return new HttpUpload(this.begin(call, { 'transfer-encoding': 'chunked' }), call)
  }

  private begin(
    { method, origin, target }: HttpCall,
    extra: Readonly<Record<string, string>>,
  ): ClientRequest {
    const { protocol, hostname, port } = new URL(origin)
    const isSecure = protocol === 'https:'
    // Brackets of an IPv6 address belong to the URL only.
    const place = {
      host: hostname.replace(/^\[|\]$/g, ''),
      method,
      path: target,
      ...(port !== '' && { port }),
    }
    // WebHDFS refuses a body of another type.
    const headers = method === 'GET' ? extra : { 'content-type': 'application/octet-stream', ...extra }
    return isSecure
      ? httpsRequest({ ...place, headers, agent: this.https })
      : httpRequest({ ...place, headers, agent: this.http })
  }
}

/** One request and its answer. */
class Exchange {
  readonly answer: Promise<HttpAnswer>
  private timer: NodeJS.Timeout | undefined
  private fail: (error: WebhdfsError) => void = () => undefined

  constructor(
    protected readonly outgoing: ClientRequest,
    protected readonly call: HttpCall,
  ) {
    this.answer = new Promise<HttpAnswer>((resolve, reject) => {
      this.fail = reject
      outgoing.on('error', (error) => {
        reject(connectionError(placeOf(call), error))
      })
      outgoing.on('response', (incoming) => {
        collect(incoming, call).then(resolve, (error: unknown) => {
          reject(error instanceof WebhdfsError ? error : connectionError(placeOf(call), error))
        })
      })
    }).finally(() => {
      this.stopTimer()
    })
    this.answer.catch(() => undefined)
    this.startTimer()
  }

  end(body?: Uint8Array): void {
    if (body === undefined) this.outgoing.end()
    else this.outgoing.end(body)
  }

  protected startTimer(): void {
    clearTimeout(this.timer)
    this.timer = setTimeout(() => {
      this.giveUp(timeoutError(placeOf(this.call), this.call.timeoutMs))
    }, this.call.timeoutMs)
  }

  protected stopTimer(): void {
    clearTimeout(this.timer)
  }

  protected giveUp(error: WebhdfsError): void {
    this.fail(error)
    this.outgoing.destroy()
  }
}

/** A request whose body is sent in parts; nothing is kept of a part that has left. */
export class HttpUpload extends Exchange {
  private isAnswered = false

  constructor(outgoing: ClientRequest, call: HttpCall) {
    super(outgoing, call)
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

  /** An answer before the body's end is none that anybody wants. */
  private async refused(): Promise<never> {
    throw refusal(placeOf(this.call), await this.answer)
  }

  /** The body is complete. Resolves with the answer. */
  async finish(): Promise<HttpAnswer> {
    if (!this.isAnswered) {
      this.startTimer()
      this.end()
    }
    return this.answer
  }
}

function collect(incoming: IncomingMessage, call: HttpCall): Promise<HttpAnswer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = []
    let received = 0
    incoming.on('error', reject)
    incoming.on('data', (chunk: Buffer) => {
      received += chunk.length
      if (received <= call.maxBodyBytes) chunks.push(chunk)
      else {
        reject(connectionError(placeOf(call), new Error('the answer is longer than it can be')))
        incoming.destroy()
      }
    })
    incoming.on('end', () => {
      const { statusCode: status = 0, headers } = incoming
      resolve({ status, location: headers.location, body: Buffer.concat(chunks) })
    })
  })
}
