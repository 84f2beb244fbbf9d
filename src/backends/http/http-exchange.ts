/** One request over a connection and its answer, with deadlines. */
import type { ClientRequest, IncomingMessage } from 'node:http'
import { asDisposable } from '../disposable.js'
import { StorageError } from '../storage-error.js'
import { connectionError, timeoutError } from './http-error.js'
import { placeOf, type HttpHead, type HttpRequest, type HttpResponse } from './http-message.js'

/** A server or proxy that knows no `Expect: 100-continue` gets the body after this long, as curl does. */
const CONTINUE_WAIT_MS = 1000
/** Hints before an answer (status 1xx) that a server may give; more is no answer that comes. Some send one every few seconds while they work. */
const MAX_HINTS = 100
const NO_BODY = Buffer.alloc(0)

/**
 * A guest waits for a few of these with each small file, and between two of them the caches of the
 * processor are somebody else's: one promise and no closure but those of Node's own events.
 */
export class HttpExchange {
  /** Rejects with a StorageError. */
  readonly answer: Promise<HttpResponse>
  private resolve: (response: HttpResponse) => void = () => undefined
  private reject: (error: Error) => void = () => undefined
  private deadline: NodeJS.Timeout | undefined
  private patience: NodeJS.Timeout | undefined
  private isBodySent = false
  private hints = 0
  private readonly chunks: Buffer[] = []
  private receivedBytes = 0

  constructor(
    protected readonly outgoing: ClientRequest,
    protected readonly request: HttpRequest,
  ) {
    this.answer = new Promise((resolve, reject) => {
      this.resolve = resolve
      this.reject = reject
    })
    outgoing.on('error', (error) => {
      this.fail(error)
    })
    // Status 100 is told as one, too.
    outgoing.on('information', () => {
      this.noteHint()
    })
    outgoing.on('response', (incoming) => {
      this.take(incoming)
    })
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

  private noteHint(): void {
    if (++this.hints !== MAX_HINTS) return
    const message = `${placeOf(this.request)}: hints and no answer`
    this.fail(new StorageError('EIO', message, { outcome: 'unknown' }))
  }

  private take(incoming: IncomingMessage): void {
    clearTimeout(this.patience)
    const head = { status: incoming.statusCode ?? 0, headers: incoming.headers }
    if (this.request.method === 'HEAD') {
      incoming.resume()
      this.succeed(head, NO_BODY)
      // Swift answers a HEAD it does not authorise with a body, which must not be taken for the next answer.
      if (!isUsualForHead(head.status)) this.outgoing.destroy()
      return
    }
    incoming.on('error', (error) => {
      this.fail(error)
    })
    if (!this.passesCheck(head)) return
    incoming.on('data', (chunk: Buffer) => {
      this.collect(chunk)
    })
    incoming.on('end', () => {
      this.succeed(head, onlyOrJoined(this.chunks))
    })
  }

  private passesCheck(head: HttpHead): boolean {
    try {
      this.request.check?.(head)
      return true
    } catch (error) {
      this.fail(error)
      return false
    }
  }

  private collect(chunk: Buffer): void {
    this.receivedBytes += chunk.length
    if (this.receivedBytes <= this.request.maxBodyBytes) this.chunks.push(chunk)
    else this.fail(new StorageError('EIO', `${placeOf(this.request)}: the answer is longer than it can be`))
  }

  private succeed({ status, headers }: HttpHead, body: Buffer): void {
    this.settled()
    this.resolve({ status, headers, body })
  }

  private fail(error: unknown): void {
    this.settled()
    this.outgoing.destroy()
    this.reject(error instanceof StorageError ? error : connectionError(placeOf(this.request), error))
  }

  private settled(): void {
    clearTimeout(this.deadline)
    clearTimeout(this.patience)
    // The rest of the body is not wanted, so the connection can't be used again.
    if (!this.isBodySent) this.outgoing.destroy()
  }
}

function isUsualForHead(status: number): boolean {
  return status === 200 || status === 204 || status === 404
}

function onlyOrJoined(chunks: readonly Buffer[]): Buffer {
  const [first] = chunks
  return first !== undefined && chunks.length === 1 ? first : asDisposable(Buffer.concat(chunks))
}
