import type { HttpResponse } from '../http/http-message.js'
import { HttpError, outcomeOfStatus, type Meaning } from '../http/http-error.js'
import { elementText } from './s3-xml.js'

/** Of what a server says about an error, this much goes into the message. */
const MAX_REASON_CHARACTERS = 200

/** Nothing was done: asked again, and EIO where that does not help. Never EAGAIN, which programs take for "would block". */
const BUSY: Meaning = { errno: 'EIO', retryable: true, again: true, outcome: 'refused' }
/** It went wrong at the server, at any point. */
const FAILED: Meaning = { errno: 'EIO', retryable: true, again: true, outcome: 'unknown' }
/** Somebody may repair the account, so nothing is thrown away. */
const NO_ACCESS: Meaning = { errno: 'EACCES', retryable: true }
/** The upload was aborted by somebody else: the same data may be sent once more. */
const UPLOAD_GONE: Meaning = { errno: 'EIO', retryable: true }

/** By S3's error code. */
const MEANING_OF_CODE: Readonly<Record<string, Meaning>> = {
  NoSuchKey: { errno: 'ENOENT' },
  NoSuchBucket: { errno: 'EIO', retryable: true },
  NoSuchUpload: UPLOAD_GONE,
  InvalidPart: UPLOAD_GONE,
  PreconditionFailed: { errno: 'ESTALE' },
  ConditionalRequestConflict: { errno: 'ESTALE' },
  ExpiredToken: NO_ACCESS,
  InvalidAccessKeyId: NO_ACCESS,
  SignatureDoesNotMatch: NO_ACCESS,
  RequestTimeTooSkewed: NO_ACCESS,
  QuotaExceeded: { errno: 'EDQUOT', retryable: true },
  EntityTooLarge: { errno: 'EFBIG' },
  NotImplemented: { errno: 'EOPNOTSUPP' },
  OperationAborted: BUSY,
  RequestTimeout: BUSY,
  BadDigest: BUSY,
  SlowDown: BUSY,
  InternalError: FAILED,
  ServiceUnavailable: BUSY,
}

const MEANING_OF_STATUS: Readonly<Record<number, Meaning>> = {
  401: NO_ACCESS,
  403: { errno: 'EACCES' },
  404: { errno: 'ENOENT' },
  405: { errno: 'EOPNOTSUPP' },
  408: BUSY,
  409: BUSY,
  412: { errno: 'ESTALE' },
  413: { errno: 'EFBIG' },
  416: { errno: 'ESTALE', retryable: true },
  429: BUSY,
  501: { errno: 'EOPNOTSUPP' },
  503: BUSY,
  504: { errno: 'ETIMEDOUT', retryable: true, again: true, outcome: 'unknown' },
  507: { errno: 'ENOSPC', retryable: true },
}

/** Codes that other credentials may cure. */
const STALE_CREDENTIALS: ReadonlySet<string> = new Set(['ExpiredToken', 'InvalidAccessKeyId', 'InvalidToken'])

/** A refusal of S3. */
export class S3Error extends HttpError {
  constructor(
    /** S3's error code; '' where the answer has none. */
    readonly code: string,
    meaning: Meaning,
    message: string,
  ) {
    super(meaning, message)
    this.name = 'S3Error'
  }

  get concernsCredentials(): boolean {
    return STALE_CREDENTIALS.has(this.code)
  }
}

/** `what`: the request in words, for the message. */
export function s3Error(what: string, { status, body }: HttpResponse): S3Error {
  const xml = body.toString('utf8')
  const code = elementText(xml, 'Code') ?? ''
  const reason = (elementText(xml, 'Message') ?? '').slice(0, MAX_REASON_CHARACTERS)
  const meaning = MEANING_OF_CODE[code] ??
    MEANING_OF_STATUS[status] ?? { errno: 'EIO', retryable: status >= 500, again: status >= 500 }
  const words = [what, `: ${status}`, code === '' ? '' : ` ${code}`, reason === '' ? '' : `: ${reason}`]
  return new S3Error(code, { outcome: outcomeOfStatus(status), ...meaning }, words.join(''))
}
