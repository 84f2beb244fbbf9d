import { constants } from 'node:os'

/** The errnos a storage may answer with; the guest sees their negated number. */
export type ErrnoName = keyof typeof constants.errno

/**
 * What became of a call that failed. `refused`: nothing was done, as the store said or because nothing was sent to it.
 * `unknown`: it may have been done, or be done yet; only a look tells.
 */
export type FailedOutcome = 'refused' | 'unknown'

export interface StorageErrorOptions {
  readonly retryable?: boolean
  readonly unanswered?: boolean
  /** Default: unknown where nobody answered, else refused. */
  readonly outcome?: FailedOutcome | undefined
  readonly cause?: unknown
}

/**
 * What went wrong in a store, in the guest's terms. `errno` is what the operation answers with; `retryable` tells
 * whether the same call may succeed later (the store was away or busy) or the answer is final.
 */
export class StorageError extends Error {
  readonly errno: ErrnoName
  readonly retryable: boolean
  /** Nobody answered: there was no connection, it broke, or the deadline passed. */
  readonly unanswered: boolean
  readonly outcome: FailedOutcome

  constructor(errno: ErrnoName, message: string, options: StorageErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = 'StorageError'
    this.errno = errno
    this.retryable = options.retryable ?? false
    this.unanswered = options.unanswered ?? false
    this.outcome = options.outcome ?? (this.unanswered ? 'unknown' : 'refused')
  }
}

/**
 * OpenDAL's error kinds as errnos. The Node binding puts the kind at the start of the message and nowhere else
 * ("NotFound (permanent) at stat, context: ..."); `error.code` is always GenericFailure.
 */
const ERRNO_OF_KIND: Readonly<Record<string, ErrnoName>> = {
  NotFound: 'ENOENT',
  PermissionDenied: 'EACCES',
  IsADirectory: 'EISDIR',
  NotADirectory: 'ENOTDIR',
  AlreadyExists: 'EEXIST',
  ConditionNotMatch: 'ESTALE',
  IsSameFile: 'EINVAL',
  Unsupported: 'EOPNOTSUPP',
  // Never EAGAIN, which programs take for "would block".
  RateLimited: 'EIO',
  RangeNotSatisfied: 'ESTALE',
  ConfigInvalid: 'EIO',
  Unexpected: 'EIO',
}

/** The same call would be refused again. The retry layer calls these "persistent", too, as it does what it has tried in vain. */
const FINAL_KINDS: ReadonlySet<string> = new Set([
  'PermissionDenied',
  'IsADirectory',
  'NotADirectory',
  'AlreadyExists',
  'IsSameFile',
  'Unsupported',
])

const KIND_PATTERN = /^(\w+) \((permanent|temporary|persistent)\)/
/** OpenDAL's `fs` service carries the host's errno in the text. */
const OS_ERROR_PATTERN = /\(os error (\d+)\)/
/** The object became shorter than the size we know: it was replaced underneath us. */
const SHORT_READ_PATTERN = /too little data|range (?:start|end) out of bounds|Panic in async function/
const TIMEOUT_PATTERN = /timeout|timed out/i
/** An answer of any status is in the text with its headers, such as `Keep-Alive: timeout=5`. */
const ANSWER_PATTERN = /response: Parts \{/
/** An answer after which nobody knows what was done: it failed at the server, or behind it. */
const UNKNOWN_OUTCOME_PATTERN = /response: Parts \{ status: (?:500|502|504)\b/
/** OpenDAL's HTTP client without an answer. */
const CONNECTION_PATTERN = /=> send http request/

/** There was no connection, so nothing was sent. */
const UNSENT_PATTERN = /Connection refused|dns error|tcp connect error/

const NAME_OF_ERRNO = new Map<number, ErrnoName>(
  Object.entries(constants.errno).map(([name, number]) => [number, name as ErrnoName]),
)

/** Any error that a backend's library threw -> StorageError. The only place that reads OpenDAL's messages. */
export function toStorageError(error: unknown): StorageError {
  if (error instanceof StorageError) return error
  if (!(error instanceof Error)) return new StorageError('EIO', String(error), { cause: error })
  const code = (error as NodeJS.ErrnoException).code
  if (code !== undefined && code in constants.errno) {
    return new StorageError(code as ErrnoName, error.message, { cause: error })
  }
  const message = error.message
  if (SHORT_READ_PATTERN.test(message)) {
    return new StorageError('ESTALE', message, { retryable: true, cause: error })
  }
  const osError = OS_ERROR_PATTERN.exec(message)?.[1]
  const osErrno = osError === undefined ? undefined : NAME_OF_ERRNO.get(Number(osError))
  if (osErrno !== undefined) return new StorageError(osErrno, message, { cause: error })
  const match = KIND_PATTERN.exec(message)
  const retryable = match !== null && match[2] !== 'permanent' && !FINAL_KINDS.has(match[1] ?? '')
  if (TIMEOUT_PATTERN.test(message) && !ANSWER_PATTERN.test(message))
    return new StorageError('ETIMEDOUT', message, { retryable: true, unanswered: true, cause: error })
  const unanswered = CONNECTION_PATTERN.test(message)
  const errno = (match?.[1] === undefined ? undefined : ERRNO_OF_KIND[match[1]]) ?? 'EIO'
  const isUnsent = UNSENT_PATTERN.test(message)
  const isUnknown = UNKNOWN_OUTCOME_PATTERN.test(message) || (unanswered && !isUnsent)
  const outcome = isUnknown ? 'unknown' : 'refused'
  return new StorageError(errno, message, { retryable, unanswered, outcome, cause: error })
}
