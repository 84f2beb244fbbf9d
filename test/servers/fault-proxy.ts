/**
 * A TCP proxy on loopback between the daemon and a server, which can be told to misbehave, and which counts.
 *
 *     const proxy = await startFaultProxy(server.endpoint)
 *     proxy.setFault({ kind: 'delay', delayMs: 200 })
 *     proxy.answer({ status: 503, times: 2, method: 'PUT', path: /^\/bucket\/dir\// })
 *     proxy.countRequests('GET', /list-type=2/)
 *     await proxy.stop()
 */
import { once } from 'node:events'
import { connect, createServer, type Server, type Socket } from 'node:net'
import { CannedAnswers, type AnswerRule, type CannedAnswer } from './fault-proxy/canned-answer.js'
import { ProxyConnection } from './fault-proxy/connection.js'
import { concerns, type Fault } from './fault-proxy/fault.js'
import type { RequestHead } from './fault-proxy/request-parser.js'
import { portAt, reservePorts, type PortBlock } from './ports.js'
import { LOOPBACK } from './storage-server.js'

export type { AnswerRule, CannedAnswer } from './fault-proxy/canned-answer.js'
export type { Fault } from './fault-proxy/fault.js'

/** Requests remembered; later ones are only counted. Far more than a test makes, far less than memory. */
const MAX_RECORDED_REQUESTS = 200_000

/** How a server tells where to go: in a header, and as a NameNode does in JSON when it is asked not to redirect. */
const REDIRECT_FORMS = ['Location: ', '"Location":"']

export interface RecordedRequest {
  readonly method: string
  /** Path and query as they were sent. */
  readonly target: string
  /** Of which connection: 1 is the first since the last `resetCounters`. */
  readonly connection: number
}

export interface ProxyCounters {
  /** Accepted since the start or the last `resetCounters`. */
  readonly connections: number
  readonly openConnections: number
  /** All requests, those that were answered here included. */
  readonly requests: number
  readonly bytesToServer: number
  readonly bytesToClient: number
}

export class FaultProxy {
  /** `http://127.0.0.1:PORT`, for a server with an http:// address; `127.0.0.1:PORT` else. */
  readonly endpoint: string
  readonly port: number
  readonly #block: PortBlock
  readonly #target: { readonly host: string; readonly port: number }
  /** With the number of each, 1 for the first since the start. */
  readonly #connections = new Map<ProxyConnection, number>()
  readonly #answers = new CannedAnswers()
  readonly #redirects: readonly (readonly [from: string, to: string])[]
  #server: Server | null = null
  #fault: Fault | null = null
  /** Connections before the fault was set. */
  #faultBase = 0
  #requests: RecordedRequest[] = []
  #requestCount = 0
  #connectionCount = 0
  /** What the counter of connections showed at the last `resetCounters`. */
  #connectionBase = 0
  #bytesToServer = 0
  #bytesToClient = 0

  /** By {@link startFaultProxy} only. */
  constructor(block: PortBlock, target: string, options: FaultProxyOptions) {
    this.#redirects = (options.redirects ?? []).flatMap(({ from, to }) => {
      if (from.length !== to.length) throw new Error(`${from} and ${to} must be equally long`)
      return REDIRECT_FORMS.map((form) => [form + from, form + to] as const)
    })
    const { hostname, port } = new URL(target.includes('://') ? target : `tcp://${target}`)
    this.#block = block
    this.#target = { host: hostname, port: Number(port) }
    this.port = portAt(block, 0)
    const scheme = /^\w+:\/\//.exec(target)?.[0] ?? ''
    this.endpoint = `${scheme}${LOOPBACK}:${this.port}`
  }

  /** The same URL, with the proxy in place of the server. */
  rewrite(url: string): string {
    return url.replace(`${this.#target.host}:${this.#target.port}`, `${LOOPBACK}:${this.port}`)
  }

  /** Misbehave from now on, also on the connections that are open; null: pass everything on. Rules of `answer` stay. */
  setFault(fault: Fault | null): void {
    this.#fault = fault
    this.#faultBase = this.#connectionCount
    for (const [connection, number] of this.#connections) connection.applyFault(this.#faultFor(number))
  }

  /** Everything works again: no fault, no canned answers, the port open. */
  async heal(): Promise<void> {
    this.setFault(null)
    this.#answers.clear()
    await this.listen()
  }

  /** Close the port and reset every connection: the server's machine is up, its program is not. `listen` ends it. */
  async refuse(): Promise<void> {
    const server = this.#server
    this.#server = null
    const closed = server === null ? undefined : once(server, 'close')
    server?.close()
    this.resetConnections()
    await closed
  }

  async listen(): Promise<void> {
    if (this.#server !== null) return
    const server = createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
      this.#accept(client)
    })
    server.listen(this.port, LOOPBACK)
    await once(server, 'listening')
    server.unref()
    this.#server = server
  }

  /** RST on every open connection, once; new ones are served. */
  resetConnections(): void {
    for (const connection of [...this.#connections.keys()]) connection.reset()
  }

  /** Answer matching requests here instead of passing them on. The rule counts what it answered. */
  answer(answer: CannedAnswer): AnswerRule {
    return this.#answers.add(answer)
  }

  get counters(): ProxyCounters {
    return {
      connections: this.#connectionCount - this.#connectionBase,
      openConnections: this.#connections.size,
      requests: this.#requestCount,
      bytesToServer: this.#bytesToServer,
      bytesToClient: this.#bytesToClient,
    }
  }

  resetCounters(): void {
    this.#connectionBase = this.#connectionCount
    this.#requests = []
    this.#requestCount = this.#bytesToServer = this.#bytesToClient = 0
  }

  /** The requests since the last `resetCounters`, oldest first. */
  requests(method?: string, target: RegExp = /^/): readonly RecordedRequest[] {
    return this.#requests.filter(
      (request) => (method === undefined || request.method === method) && target.test(request.target),
    )
  }

  countRequests(method?: string, target?: RegExp): number {
    return this.requests(method, target).length
  }

  async stop(): Promise<void> {
    await this.refuse()
    this.#block.release()
  }

  #accept(client: Socket): void {
    const number = ++this.#connectionCount
    const connection = new ProxyConnection(client, {
      connect: () => connect({ ...this.#target, allowHalfOpen: true, noDelay: true }),
      answerFor: (head) => this.#takeRequest(head, number),
      rewriteAnswer: (bytes) => this.#rewrite(bytes),
      onBytes: (toServer, toClient) => {
        this.#bytesToServer += toServer
        this.#bytesToClient += toClient
      },
      onClose: () => this.#connections.delete(connection),
    })
    this.#connections.set(connection, number)
    connection.start(this.#faultFor(number))
  }

  #faultFor(number: number): Fault | null {
    return this.#fault !== null && concerns(this.#fault, number - this.#faultBase) ? this.#fault : null
  }

  #rewrite(bytes: Buffer): Buffer {
    for (const [from, to] of this.#redirects) {
      const at = bytes.indexOf(from)
      if (at >= 0) bytes.write(to, at, 'latin1')
    }
    return bytes
  }

  #takeRequest(head: RequestHead, connection: number): CannedAnswer | null {
    this.#requestCount++
    if (this.#requests.length < MAX_RECORDED_REQUESTS) {
      this.#requests.push({
        ...{ method: head.method, target: head.target },
        connection: connection - this.#connectionBase,
      })
    }
    return this.#answers.take(head)
  }
}

export interface FaultProxyOptions {
  /**
   * Where the server sends clients, by a `Location`, and where they are sent instead: to another proxy, as a
   * NameNode sends them to a DataNode. Equally long, which `http://127.0.0.1:PORT` always is with the ports used here.
   */
  readonly redirects?: readonly { readonly from: string; readonly to: string }[]
}

/** @param target `http://host:port` or `host:port` of the server */
export async function startFaultProxy(target: string, options: FaultProxyOptions = {}): Promise<FaultProxy> {
  const block = await reservePorts()
  const proxy = new FaultProxy(block, target, options)
  await proxy.listen()
  return proxy
}
