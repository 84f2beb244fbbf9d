import { setTimeout as pause } from 'node:timers/promises'
import { StorageError, type ErrnoName } from '../storage-error.js'

/** Tries after the first: as the operators of other services have. */
const RETRY_TIMES = 2
const RETRY_MIN_DELAY_MS = 100
/** What is longest between two tries, whatever the server asks for: a guest's process waits. */
const RETRY_MAX_DELAY_MS = 2000

/** What a server's refusal means to the guest. */
export interface Meaning {
  readonly errno: ErrnoName
  /** The same request may succeed later: data to be stored is kept. */
  readonly retryable?: boolean
  /** Try again at once, after a pause. */
  readonly again?: boolean
  readonly unanswered?: boolean
}

/** An HTTP request that failed: refused, or without an answer. */
export class HttpError extends StorageError {
  /** Worth another try at once. */
  readonly again: boolean
  /** Not the first try failed so: an earlier one may have been done without our hearing of it. */
  isRepeated = false

  constructor(meaning: Meaning, message: string, cause?: unknown) {
    super(meaning.errno, message, { ...meaning, cause })
    this.name = 'HttpError'
    this.again = meaning.again ?? false
  }
}

/** No answer: the connection failed. `place` must not hold the query, which may have a token. */
export function connectionError(place: string, error: unknown): HttpError {
  const { code, message } = error as NodeJS.ErrnoException
  // An error of several addresses (localhost as ::1 and 127.0.0.1) has no message of its own.
  const reason = message === '' ? (code ?? 'no connection') : message
  const meaning: Meaning = { errno: 'EIO', retryable: true, again: true, unanswered: true }
  return new HttpError(meaning, `${place}: ${reason}`, error)
}

export function timeoutError(place: string, timeoutMs: number): HttpError {
  const message = `${place}: no answer within ${timeoutMs} ms`
  return new HttpError({ errno: 'ETIMEDOUT', retryable: true, again: true, unanswered: true }, message)
}

/** Run `work` again after a failure that may pass, unless it took all tries. `tries`: those before this one. `onRetry` is told before each but the first. */
export async function withRetries<T>(work: (tries: number) => Promise<T>, onRetry: () => void): Promise<T> {
  for (let tries = 0; ; tries++) {
    try {
      return await work(tries)
    } catch (error) {
      if (!(error instanceof HttpError)) throw error
      error.isRepeated = tries > 0
      if (!error.again || tries === RETRY_TIMES) throw error
    }
    // Not all at once after a failure that hit all.
    const longestMs = Math.min(RETRY_MIN_DELAY_MS * 2 ** (tries + 1), RETRY_MAX_DELAY_MS)
    await pause(longestMs * (0.5 + Math.random() / 2))
    onRetry()
  }
}
