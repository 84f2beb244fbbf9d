import type { ClientRequest } from 'node:http'
import { HttpExchange } from './http-exchange.js'
import type { HttpRequest, HttpResponse } from './http-message.js'

/** A request whose body is sent in parts; nothing is kept of a part that has left. */
export class HttpUpload extends HttpExchange {
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
