import { setTimeout as pause } from 'node:timers/promises'
import { StorageError, type ErrnoName, type FailedOutcome } from '../storage-error.js'

/** Tries after the first: as the operators of other services have. */
export const RETRY_TIMES = 2
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
  /** Default: unknown where nobody answered, else refused. */
  readonly outcome?: FailedOutcome
}

/** Failed on the way, at a server behind the one that answers, or too late: it may have been done all the same. */
const UNKNOWN_STATUSES: ReadonlySet<number> = new Set([500, 502, 504])

/** What became of a request that was answered with this status, which is none that was asked for. */
export function outcomeOfStatus(status: number): FailedOutcome {
  // Another success than the one that says so may be one all the same.
  return UNKNOWN_STATUSES.has(status) || (status >= 200 && status < 300) ? 'unknown' : 'refused'
}

/** An HTTP request that failed: refused, or without an answer. */
export class HttpError extends StorageError {
  /** Worth another try at once. */
  readonly again: boolean
  declare outcome: FailedOutcome
  /** An earlier try may have been done without our hearing of it: whatever this one was told, what became of the call is unknown. */
  isRepeated = false

  constructor(meaning: Meaning, message: string, cause?: unknown) {
    super(meaning.errno, message, { ...meaning, cause })
    this.name = 'HttpError'
    this.again = meaning.again ?? false
  }
}

/** There was no connection, so nothing was sent. */
const UNSENT_CODES: ReadonlySet<string | undefined> = new Set([
  ...['ECONNREFUSED', 'ENOTFOUND', 'EAI_AGAIN', 'EHOSTUNREACH', 'ENETUNREACH', 'EADDRNOTAVAIL', 'EMFILE'],
  ...['CERT_HAS_EXPIRED', 'DEPTH_ZERO_SELF_SIGNED_CERT', 'SELF_SIGNED_CERT_IN_CHAIN'],
  ...['UNABLE_TO_VERIFY_LEAF_SIGNATURE', 'UNABLE_TO_GET_ISSUER_CERT_LOCALLY', 'ERR_TLS_CERT_ALTNAME_INVALID'],
])

/** No answer: the connection failed. `place` must not hold the query, which may have a token. */
export function connectionError(place: string, error: unknown): HttpError {
  const { code, message } = error as NodeJS.ErrnoException
  // An error of several addresses (localhost as ::1 and 127.0.0.1) has no message of its own.
  const reason = message === '' ? (code ?? 'no connection') : message
  const outcome = UNSENT_CODES.has(code) ? 'refused' : 'unknown'
  const meaning: Meaning = { errno: 'EIO', retryable: true, again: true, unanswered: true, outcome }
  return new HttpError(meaning, `${place}: ${reason}`, error)
}

export function timeoutError(place: string, timeoutMs: number): HttpError {
  const message = `${place}: no answer within ${timeoutMs} ms`
  return new HttpError({ errno: 'ETIMEDOUT', retryable: true, again: true, unanswered: true }, message)
}

/**
 * Which failures of a request are answered by sending it again. `any`: it may be done twice. `refused`: only where nothing was
 * done. `none`: whoever sends it looks first, for it has no condition that would tell what came meanwhile.
 */
export type Repeats = 'any' | 'refused' | 'none'

/**
 * Run `work` again after a failure that may pass, unless it took all tries. `mayBeDone`: an earlier try may have been done
 * without our hearing of it. `onRetry` is told before each but the first.
 */
export async function withRetries<T>(
  work: (mayBeDone: boolean) => Promise<T>,
  onRetry: () => void,
  repeats: Repeats = 'any',
): Promise<T> {
  let mayBeDone = false
  for (let tries = 0; ; tries++) {
    try {
      return await work(mayBeDone)
    } catch (error) {
      if (!(error instanceof HttpError)) throw error
      error.isRepeated = mayBeDone
      mayBeDone ||= error.outcome === 'unknown'
      if (mayBeDone) error.outcome = 'unknown'
      const mayRepeat = repeats === 'any' || (repeats === 'refused' && !mayBeDone)
      if (!error.again || tries === RETRY_TIMES || !mayRepeat) throw error
    }
    await pauseBefore(tries + 1)
    onRetry()
  }
}

/** The pause before the try number `tries`, where the first one has the number 0. */
export async function pauseBefore(tries: number): Promise<void> {
  const longestMs = Math.min(RETRY_MIN_DELAY_MS * 2 ** tries, RETRY_MAX_DELAY_MS)
  // Not all at once after a failure that hit all.
  await pause(longestMs * (0.5 + Math.random() / 2))
}
