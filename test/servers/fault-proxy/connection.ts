import type { Socket } from 'node:net'
import { encodeAnswer, type CannedAnswer } from './canned-answer.js'
import type { Fault } from './fault.js'
import { RequestParser, type RequestHead } from './request-parser.js'

type Direction = 'upload' | 'download'

/** Throttled bytes go in this many slices a second. */
const SLICES_PER_SECOND = 20
const MS_PER_SECOND = 1000

export interface ConnectionHooks {
  /** A new connection to the server; may still be connecting. */
  connect(): Socket
  /** Called once for each request: null to pass it on. */
  answerFor(head: RequestHead): CannedAnswer | null
  /** Bytes of an answer as the client is to see them; as many as they were. */
  rewriteAnswer(bytes: Buffer): Buffer
  onBytes(toServer: number, toClient: number): void
  onClose(): void
}

/** One client's connection, and its own to the server from the first request on. */
export class ProxyConnection {
  readonly #client: Socket
  readonly #hooks: ConnectionHooks
  #server: Socket | null = null
  /** null once the stream has turned out to be no HTTP: then it is only passed on. */
  #parser: RequestParser | null = new RequestParser()
  /** The answer for the request that is being read and thrown away. */
  #pendingAnswer: { readonly answer: CannedAnswer; readonly method: string } | null = null
  #fault: Fault | null = null
  /** Bytes that have passed since the fault began. */
  #passed: Record<Direction, number> = { upload: 0, download: 0 }
  readonly #wakers = new Set<() => void>()
  #isClosed = false

  constructor(client: Socket, hooks: ConnectionHooks) {
    this.#client = client
    this.#hooks = hooks
  }

  /** Begin to pass on, under the fault that is in force. */
  start(fault: Fault | null): void {
    this.#watch(this.#client)
    this.applyFault(fault)
    if (!this.#isClosed) this.#run(this.#pump(this.#client, 'upload'))
  }

  applyFault(fault: Fault | null): void {
    this.#fault = fault
    this.#passed = { upload: 0, download: 0 }
    if (this.#fault?.kind === 'reset' && (this.#fault.afterBytes ?? 0) === 0) this.reset()
    this.#wake()
  }

  /** RST to the client; whatever the server sends later is thrown away. */
  reset(): void {
    if (this.#isClosed) return
    // Once an end is under way, libuv refuses to reset, and the handle would never be closed: the process could not end.
    if (this.#client.writableEnded) this.#client.destroy()
    else this.#client.resetAndDestroy()
    this.#close()
  }

  #close(): void {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#client.destroy()
    this.#server?.destroy()
    this.#wake()
    this.#hooks.onClose()
  }

  #watch(socket: Socket): void {
    socket.on('error', () => {
      // A server that resets, or is not there, must look so to the client.
      if (socket === this.#server) this.reset()
      else this.#close()
    })
    socket.once('close', () => {
      if (socket === this.#client) this.#close()
    })
  }

  /** The connection is over when one of its halves fails: what failed has been told by the socket itself. */
  #run(work: Promise<void>): void {
    work.catch(() => {
      this.reset()
    })
  }

  #connectServer(): Socket {
    if (this.#server !== null) return this.#server
    const server = this.#hooks.connect()
    this.#server = server
    this.#watch(server)
    this.#run(this.#pump(server, 'download'))
    return server
  }

  async #pump(from: Socket, direction: Direction): Promise<void> {
    for await (const chunk of from.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
      if (direction === 'upload') this.#hooks.onBytes(chunk.length, 0)
      else this.#hooks.onBytes(0, chunk.length)
      const bytes = direction === 'upload' ? this.#intercept(chunk) : this.#hooks.rewriteAnswer(chunk)
      if (bytes.length > 0) await this.#pass(bytes, direction)
      if (this.#isClosed) return
    }
    if (direction === 'download') this.#client.end()
    else if (this.#server === null) this.#client.end()
    else this.#server.end()
  }

  /** Count the requests in a chunk and take out those that are answered here. Returns what is left for the server. */
  #intercept(chunk: Buffer): Buffer {
    if (this.#parser === null) return chunk
    const forwarded: Buffer[] = []
    try {
      for (const { bytes, head, ends } of this.#parser.push(chunk)) {
        if (head !== null) {
          const answer = this.#hooks.answerFor(head)
          this.#pendingAnswer = answer === null ? null : { answer, method: head.method }
        }
        if (this.#pendingAnswer === null) forwarded.push(bytes)
        else if (ends || head?.headers.expect !== undefined) this.#giveAnswer()
      }
    } catch {
      const held = this.#parser.held
      this.#parser = null
      return Buffer.concat([held, chunk])
    }
    return Buffer.concat(forwarded)
  }

  #giveAnswer(): void {
    if (this.#pendingAnswer === null) return
    const { answer, method } = this.#pendingAnswer
    this.#pendingAnswer = null
    this.#client.end(encodeAnswer(answer, method))
  }

  /** Pass bytes on as the fault allows, piece by piece: it may change at any time. */
  async #pass(bytes: Buffer, direction: Direction): Promise<void> {
    let rest = bytes
    while (rest.length > 0 && !this.#isClosed) {
      const fault = this.#fault
      const length = Math.min(rest.length, allowedBytes(fault, direction, this.#passed[direction]))
      if (length === 0) {
        await this.#actAtLimit(fault)
        continue
      }
      if (fault?.kind === 'delay') await this.#pause(fault.delayMs)
      if (fault?.kind === 'throttle') await this.#pause((length * MS_PER_SECOND) / fault.bytesPerSecond)
      await this.#write(rest.subarray(0, length), direction)
      this.#passed[direction] += length
      rest = rest.subarray(length)
    }
  }

  async #actAtLimit(fault: Fault | null): Promise<void> {
    if (fault?.kind === 'reset' || fault?.kind === 'reset-upload') {
      this.reset()
    } else if (fault?.kind === 'cut') {
      this.#server?.destroy()
      this.#client.end()
      await this.#untilWoken()
    } else {
      // stall, blackhole: as if the network were cut. The bytes go on their way if the fault ends before the client does.
      await this.#untilWoken()
    }
  }

  async #write(bytes: Buffer, direction: Direction): Promise<void> {
    const to = direction === 'upload' ? this.#connectServer() : this.#client
    if (to.destroyed || to.writableEnded) return
    if (to.write(bytes)) return
    await new Promise<void>((resolve) => {
      const done = () => {
        to.off('drain', done)
        this.#wakers.delete(done)
        resolve()
      }
      to.on('drain', done)
      this.#wakers.add(done)
    })
  }

  /** Ends early when the fault changes or the connection closes. */
  async #pause(delayMs: number): Promise<void> {
    await new Promise<void>((resolve) => {
      const done = () => {
        clearTimeout(timer)
        this.#wakers.delete(done)
        resolve()
      }
      const timer = setTimeout(done, delayMs)
      this.#wakers.add(done)
    })
  }

  async #untilWoken(): Promise<void> {
    if (this.#isClosed) return
    await new Promise<void>((resolve) => this.#wakers.add(resolve))
  }

  #wake(): void {
    const wakers = [...this.#wakers]
    this.#wakers.clear()
    for (const wake of wakers) wake()
  }
}

/** How many bytes may pass now; 0 where the fault acts. */
function allowedBytes(fault: Fault | null, direction: Direction, passed: number): number {
  switch (fault?.kind) {
    case undefined:
    case 'delay':
      return Infinity
    case 'stall':
      return 0
    case 'throttle':
      return Math.max(1, Math.floor(fault.bytesPerSecond / SLICES_PER_SECOND))
    case 'reset':
      return direction === 'download' ? Math.max(0, (fault.afterBytes ?? 0) - passed) : Infinity
    case 'blackhole':
    case 'cut':
      return direction === 'download' ? Math.max(0, fault.afterBytes - passed) : Infinity
    case 'reset-upload':
      return direction === 'upload' ? Math.max(0, fault.afterBytes - passed) : Infinity
  }
}
