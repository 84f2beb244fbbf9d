/** A server on loopback before a store whose answers are true, unless it is told to lie: then as a seed says. */
import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { gzipSync } from 'node:zlib'
import type { Random } from '../model/random.js'
import type { StoreAnswer, StoreCall } from '../../support/fake-store.js'
import { pourOut, sendRaw } from './wire.js'

/** Of an answer's first line or of its lengths, of what it holds, and of how it ends. */
export const LIES = [
  ...(['status 500', 'status 503', 'status 202', 'status 204', 'status 206', 'redirect'] as const),
  ...(['reset', 'silence', 'half a body', 'half a chunk', 'no length', 'a longer length'] as const),
  ...(['a length of 1e18', 'a negative length', 'two lengths', 'a body behind none'] as const),
  ...(['endless headers', 'endless body', 'endless hints'] as const),
  ...(['packed', 'empty', 'garbage', 'an error within', 'the answer to another'] as const),
  ...(['another version', 'no version', 'all of it', 'another range', 'a page that does not end'] as const),
]
export type Lie = (typeof LIES)[number]

/** Lies that last until the client's patience is at its end. */
export const SLOW_LIES: ReadonlySet<Lie> = new Set([
  ...(['silence', 'a length of 1e18', 'endless headers', 'endless hints', 'endless body'] as const),
])

/** What is lied about. */
export interface LiarStore {
  carryOut(call: StoreCall, origin: string): StoreAnswer
  /** Requests that change something. */
  isChange(call: StoreCall): boolean
  /** What tells requests of one kind, so that the answer to one can stand for that to another; null: nobody could tell. */
  kindOf(call: StoreCall): string | null
  /** Answers with a status of success that do not say that `call` was done; none: nobody could tell. */
  hollow(call: StoreCall): readonly StoreAnswer[]
  /** An error in the store's own words, in an answer of this status. */
  errorWithin(status: number): StoreAnswer
  /** A page of a listing after which there is more, and no way to it, or none that leads on. */
  withoutEnd(answer: StoreAnswer, call: StoreCall): StoreAnswer
}

/** Where a redirection leads: nothing here is what was asked for. */
const ELSEWHERE = '/elsewhere'
const GARBAGE = Buffer.from('<html><body><p>It works!')
const WRONG_ETAG = '"0123456789abcdef0123456789abcdef"'
const TRACE_LENGTH = 60

export class Liar {
  requests = 0
  /** What was poured into the answers that have no end, and taken by the client's machine. */
  endlessBytes = 0
  /** What each of the last requests was answered with. */
  readonly trace: string[] = []
  /** Of 1: how often it lies. */
  dishonesty = 0
  lies: readonly Lie[] = LIES
  /** Told of each request that gets an answer without an end, or none. */
  onEndless: () => void = () => undefined
  private readonly server: Server
  private readonly earlier = new Map<string, { readonly path: string; readonly answer: StoreAnswer }>()

  constructor(
    private readonly store: LiarStore,
    private readonly random: Random,
  ) {
    const take = (request: IncomingMessage, response: ServerResponse): void => {
      this.take(request, response).catch(() => response.destroy())
    }
    this.server = createServer(take).on('checkContinue', (request, response: ServerResponse) => {
      response.writeContinue()
      take(request, response)
    })
  }

  async start(): Promise<void> {
    this.server.listen(0, '127.0.0.1')
    await once(this.server, 'listening')
  }

  stop(): void {
    this.server.closeAllConnections()
    this.server.close()
  }

  get origin(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`
  }

  recent(count = 10): string {
    return this.trace.slice(-count).join('\n')
  }

  private async take(request: IncomingMessage, response: ServerResponse): Promise<void> {
    this.requests++
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    const { method = '', url = '/', headers } = request
    const [rawPath = '/', search = ''] = url.split('?')
    const path = decodeURIComponent(rawPath)
    const call = { method, path, query: new URLSearchParams(search), headers, body: Buffer.concat(chunks) }
    const lie = this.random.chance(this.dishonesty) ? this.random.pick(this.lies) : null
    const isDone = lie === null || !this.store.isChange(call) || this.random.chance(0.5)
    const truth = path === ELSEWHERE ? elsewhere() : isDone ? this.truth(call, lie) : this.hollow(call)
    // An empty answer is how some stores say that it was done, and a new version how all do: nobody can tell.
    const isForm = lie === 'empty' || lie === 'another version'
    const told = lie === null || (isForm && !isDone) ? truth : this.twist(call, truth, lie)
    this.trace.push(
      `${method} ${url} ${headers.range ?? ''} -> ${told.status} ${lie ?? ''}${isDone ? '' : ', not done'}`,
    )
    if (this.trace.length > TRACE_LENGTH) this.trace.shift()
    this.send(request, response, told, lie)
  }

  private truth(call: StoreCall, lie: Lie | null): StoreAnswer {
    const { range = '' } = call.headers
    const [, first = '', last = ''] = /^bytes=(\d+)-(\d+)$/.exec(range) ?? []
    if (lie === 'all of it' && range !== '')
      return this.store.carryOut({ ...call, headers: { ...call.headers, range: undefined } }, this.origin)
    const shifted = `bytes=${Number(first) + 1}-${Number(last) + 1}`
    if (lie === 'another range' && range !== '')
      return this.store.carryOut({ ...call, headers: { ...call.headers, range: shifted } }, this.origin)
    const answer = this.store.carryOut(call, this.origin)
    const kind = answer.status < 300 ? this.store.kindOf(call) : null
    const earlier = kind === null ? undefined : this.earlier.get(kind)
    if (kind !== null && lie === null) this.earlier.set(kind, { path: call.path, answer })
    const isAnothers = lie === 'the answer to another' && earlier !== undefined && earlier.path !== call.path
    return isAnothers ? earlier.answer : answer
  }

  /** It was not done. */
  private hollow(call: StoreCall): StoreAnswer {
    const forms = this.store.hollow(call)
    return forms.length === 0 ? { status: 500, headers: {}, body: GARBAGE } : this.random.pick(forms)
  }

  private twist(call: StoreCall, truth: StoreAnswer, lie: Lie): StoreAnswer {
    const { status, headers, body } = truth
    const { etag, ...others } = headers
    switch (lie) {
      case 'status 500':
      case 'status 503':
        return { status: Number(lie.slice(-3)), headers: {}, body: Buffer.alloc(0) }
      case 'status 202':
      case 'status 204':
      case 'status 206':
        return { ...truth, status: status < 300 ? Number(lie.slice(-3)) : status }
      case 'redirect':
        return { status: 302, headers: { location: `${this.origin}${ELSEWHERE}` }, body: GARBAGE }
      case 'packed':
        // An object may be stored packed, and is as long as its HEAD says then.
        if (call.method === 'HEAD') return truth
        return { ...truth, headers: { ...headers, 'content-encoding': 'gzip' }, body: gzipSync(body) }
      case 'empty':
        // A HEAD that says 0 could be true.
        return call.method === 'HEAD' ? truth : { ...truth, body: Buffer.alloc(0) }
      case 'garbage':
        // Of an object it would be a version like any other.
        return etag === undefined ? { ...truth, body: GARBAGE } : truth
      case 'an error within':
        return status < 300 && etag === undefined ? this.store.errorWithin(status) : truth
      case 'another version':
        return etag === undefined ? truth : { status, headers: { ...others, etag: WRONG_ETAG }, body }
      case 'no version':
        return { status, headers: others, body }
      case 'a page that does not end':
        return this.store.withoutEnd(truth, call)
      default:
        return truth
    }
  }

  private send(
    request: IncomingMessage,
    response: ServerResponse,
    { status, headers, body }: StoreAnswer,
    lie: Lie | null,
  ): void {
    const { socket, method } = request
    const isHead = method === 'HEAD'
    const length = { 'content-length': String(body.length) }
    const countBytes = (bytes: number): void => {
      this.endlessBytes += bytes
    }
    switch (lie) {
      case 'reset':
        socket.resetAndDestroy()
        return
      case 'silence':
        this.onEndless()
        return
      case 'half a body':
        sendRaw(socket, {
          status,
          headers: { ...headers, ...length },
          body: body.subarray(0, body.length >> 1),
        })
        return
      case 'half a chunk':
        sendRaw(socket, {
          ...{ status, headers: { ...headers, 'transfer-encoding': 'chunked' } },
          body: isHead
            ? Buffer.alloc(0)
            : Buffer.from(`${body.length.toString(16)}\r\n${body.toString('latin1')}`, 'latin1'),
        })
        return
      case 'no length':
        response.writeHead(status, { ...headers, 'transfer-encoding': 'chunked' })
        response.end(isHead ? undefined : body)
        return
      case 'a longer length':
        sendRaw(socket, {
          status,
          headers: { ...headers, 'content-length': String(body.length + 7) },
          body: isHead ? Buffer.alloc(0) : body,
        })
        return
      case 'a length of 1e18':
        sendRaw(
          socket,
          {
            status,
            headers: { ...headers, 'content-length': '1000000000000000000' },
            body: isHead ? Buffer.alloc(0) : body,
          },
          'open',
        )
        return
      case 'a negative length':
        sendRaw(socket, { status, headers: { ...headers, 'content-length': '-1' }, body })
        return
      case 'two lengths':
        sendRaw(socket, {
          status,
          headers: { ...headers, ...length, 'Content-Length': String(body.length + 1) },
          body,
        })
        return
      case 'endless headers':
        socket.write(`HTTP/1.1 ${status} Status\r\n`)
        this.onEndless()
        pourOut(socket, () => Buffer.from(`x-filler: ${'h'.repeat(8000)}\r\n`), countBytes)
        return
      case 'endless hints':
        this.onEndless()
        pourOut(socket, () => Buffer.from('HTTP/1.1 102 Processing\r\n\r\n'.repeat(100)), countBytes)
        return
      case 'endless body':
        if (isHead) break
        sendRaw(socket, { status, headers, body }, 'open')
        this.onEndless()
        pourOut(socket, () => Buffer.alloc(64 << 10, 'Z'), countBytes)
        return
      default:
    }
    response.writeHead(status, status === 204 ? headers : { ...headers, ...length })
    response.end(isHead || status === 204 ? undefined : body)
    // What is taken for the answer to the next request on this connection, if it is not noticed.
    if (lie === 'a body behind none' && isHead)
      setImmediate(() =>
        socket.write(`HTTP/1.1 200 OK\r\ncontent-length: 3\r\netag: ${WRONG_ETAG}\r\n\r\nZZZ`),
      )
  }
}

function elsewhere(): StoreAnswer {
  return { status: 200, headers: { etag: WRONG_ETAG }, body: GARBAGE }
}
