/** Asks a running daemon over its control socket. */
import { request, type IncomingMessage } from 'node:http'

/** Views are made within milliseconds; who is silent for so long is no daemon of ours, or hangs. */
const ANSWER_DEADLINE_MS = 10_000
/** As HTTP errors they are the caller's mistakes. */
const FIRST_ERROR_STATUS = 400

/** The daemon can't be asked, or says no; the message is one sentence. */
export class ControlError extends Error {
  override readonly name = 'ControlError'
}

export class ControlClient {
  private hasAnswered = false

  constructor(readonly socketPath: string) {}

  /** @throws ControlError */
  async get<T>(path: string, parameters: Readonly<Record<string, string>> = {}): Promise<T> {
    return await this.json<T>(await this.open('GET', path, parameters))
  }

  /** Something is to be done, which may take its time. @throws ControlError */
  async post<T>(path: string, parameters: Readonly<Record<string, string>> = {}): Promise<T> {
    // Who answers this is a daemon of ours; then it may be waited for.
    await this.get('/status')
    return await this.json<T>(await this.open('POST', path, parameters, null))
  }

  /**
   * The lines of an answer that does not end, until `signal` is aborted. Rejects with ControlError when the daemon goes away.
   */
  async *lines(
    path: string,
    parameters: Readonly<Record<string, string>>,
    signal: AbortSignal,
  ): AsyncGenerator<string> {
    const response = await this.open('GET', path, parameters)
    const stop = (): void => {
      response.destroy()
    }
    if (signal.aborted) stop()
    signal.addEventListener('abort', stop)
    try {
      yield* linesOf(response.setEncoding('utf8') as AsyncIterable<string>)
    } catch (error) {
      if (!signal.aborted) throw this.explain(error)
    } finally {
      signal.removeEventListener('abort', stop)
      stop()
    }
    if (!signal.aborted) throw new ControlError(GONE)
  }

  private async json<T>(response: IncomingMessage): Promise<T> {
    try {
      let text = ''
      for await (const chunk of response.setEncoding('utf8') as AsyncIterable<string>) text += chunk
      return JSON.parse(text) as T
    } catch (error) {
      throw this.explain(error)
    }
  }

  /** The answer's beginning. */
  private async open(
    method: string,
    path: string,
    parameters: Readonly<Record<string, string>>,
    deadlineMs: number | null = ANSWER_DEADLINE_MS,
  ): Promise<IncomingMessage> {
    const query = new URLSearchParams(parameters).toString()
    const { socketPath } = this
    const response = await new Promise<IncomingMessage>((resolve, reject) => {
      const asked = request({
        socketPath,
        method,
        path: query === '' ? path : `${path}?${query}`,
        agent: false,
      })
      const timer =
        deadlineMs === null
          ? undefined
          : setTimeout(() => {
              asked.destroy(new ControlError(`${socketPath}: no answer; is it a daemon's control_socket?`))
            }, deadlineMs)
      asked.once('close', () => {
        clearTimeout(timer)
      })
      asked.once('response', (answer) => {
        clearTimeout(timer)
        this.hasAnswered = true
        resolve(answer)
      })
      asked.once('error', (error) => {
        reject(this.explain(error))
      })
      asked.end()
    })
    if ((response.statusCode ?? 0) >= FIRST_ERROR_STATUS)
      throw new ControlError(await this.refusalOf(response))
    return response
  }

  private async refusalOf(response: IncomingMessage): Promise<string> {
    const { error } = await this.json<{ error?: string }>(response)
    return error ?? `the daemon answered with the status ${response.statusCode ?? 0}`
  }

  private explain(error: unknown): ControlError {
    if (error instanceof ControlError) return error
    const { socketPath } = this
    const { code = '', message } = error as NodeJS.ErrnoException
    if (this.hasAnswered && GONE_CODES.includes(code)) return new ControlError(GONE)
    switch (code) {
      case 'ENOENT':
        return new ControlError(
          `${socketPath}: there is no such socket; is the daemon running, with this control_socket?`,
        )
      case 'ECONNREFUSED':
        return new ControlError(`${socketPath}: nobody listens there; the daemon has ended`)
      case 'EACCES':
      case 'EPERM':
        return new ControlError(`${socketPath}: only the user that the daemon runs as, and root, may ask it`)
      default:
        if (
          code === 'ECONNRESET' ||
          code === 'EPIPE' ||
          error instanceof SyntaxError ||
          code.startsWith('HPE_')
        )
          return new ControlError(`${socketPath}: it is no control_socket of a daemon`)
        return new ControlError(`${socketPath}: ${message}`)
    }
  }
}

const GONE = 'the daemon has gone'
/** What becomes of a connection, or of the next one, when the daemon ends. */
const GONE_CODES: readonly string[] = ['ECONNRESET', 'EPIPE', 'ECONNREFUSED', 'ENOENT']

/** A line longer than this is none of ours: a path has 4095 bytes, and JSON may write six for each. */
const LINE_CHARACTERS_MAX = 128 << 10

/** Lines without their ends; what is longer than LINE_CHARACTERS_MAX comes in pieces. */
export async function* linesOf(chunks: AsyncIterable<string>): AsyncGenerator<string> {
  let rest = ''
  for await (const chunk of chunks) {
    const lines = (rest + chunk).split('\n')
    rest = lines.pop() ?? ''
    yield* lines
    if (rest.length <= LINE_CHARACTERS_MAX) continue
    yield rest
    rest = ''
  }
  if (rest !== '') yield rest
}
