import type { HttpResponse } from '../http/http-message.js'
import { HttpError, outcomeOfStatus, type Meaning } from '../http/http-error.js'

/** Of what a server says about an error, this much goes into the message. */
const MAX_REASON_CHARACTERS = 200

/** Statuses with a meaning of their own; the rest is EIO, and above 499 tried again. */
const MEANINGS: Readonly<Record<number, Meaning>> = {
  400: { errno: 'EINVAL' },
  // After a new token was refused too. Somebody may repair the account, so nothing is thrown away.
  401: { errno: 'EACCES', retryable: true },
  403: { errno: 'EACCES' },
  404: { errno: 'ENOENT' },
  405: { errno: 'EOPNOTSUPP' },
  408: { errno: 'ETIMEDOUT', retryable: true, again: true },
  // The object has a newer timestamp than this request: servers' clocks differ, or somebody else was quicker.
  409: { errno: 'EIO', retryable: true, again: true },
  412: { errno: 'ESTALE' },
  413: { errno: 'EFBIG' },
  416: { errno: 'ESTALE', retryable: true },
  // What arrived is not what was sent.
  422: { errno: 'EIO', retryable: true, again: true },
  429: { errno: 'EIO', retryable: true, again: true },
  // Swift's own rate limit.
  498: { errno: 'EIO', retryable: true, again: true },
  499: { errno: 'EIO', retryable: true, again: true },
  501: { errno: 'EOPNOTSUPP' },
  504: { errno: 'ETIMEDOUT', retryable: true, again: true },
  507: { errno: 'ENOSPC', retryable: true },
}

const QUOTA_PATTERN = /quota/i

/** A refusal of Swift. */
export class SwiftError extends HttpError {
  constructor(
    readonly status: number,
    meaning: Meaning,
    message: string,
  ) {
    super(meaning, message)
    this.name = 'SwiftError'
  }
}

/** `what`: the request in words, for the message. */
export function swiftError(what: string, { status, body }: HttpResponse): SwiftError {
  const text = body
    .subarray(0, 2 * MAX_REASON_CHARACTERS)
    .toString('utf8')
    .replace(/<[^>]*>/g, ' ')
    .replace(/\s+/g, ' ')
    .trim()
    .slice(0, MAX_REASON_CHARACTERS)
  const meaning = { outcome: outcomeOfStatus(status), ...meaningOf(status, text) }
  return new SwiftError(status, meaning, `${what}: ${status}${text === '' ? '' : ` ${text}`}`)
}

function meaningOf(status: number, text: string): Meaning {
  // Swift's quota filters answer 413 "Upload exceeds quota."; radosgw answers 403.
  if ((status === 413 || status === 403) && QUOTA_PATTERN.test(text))
    return { errno: 'EDQUOT', retryable: true }
  const isServerFault = status >= 500
  return MEANINGS[status] ?? { errno: 'EIO', retryable: isServerFault, again: isServerFault }
}
