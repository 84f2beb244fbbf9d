import type { HttpResponse } from '../http/http-message.js'
import { HttpError, outcomeOfStatus, type Meaning } from '../http/http-error.js'

/** Of what a server says about an error, this much goes into the message. */
const MAX_REASON_CHARACTERS = 300

/** Somebody writes the file; or a NameNode is not the active one, or not yet: another may be, or this one soon. */
const NOT_NOW: Meaning = { errno: 'EIO', retryable: true, again: true }
/** An administrator may give more room, so nothing is thrown away. */
const QUOTA: Meaning = { errno: 'EDQUOT', retryable: true }

/** By the Java class's last name. */
const MEANING_OF_EXCEPTION: Readonly<Record<string, Meaning>> = {
  FileNotFoundException: { errno: 'ENOENT' },
  AccessControlException: { errno: 'EACCES' },
  SecurityException: { errno: 'EACCES', retryable: true },
  AuthenticationException: { errno: 'EACCES', retryable: true },
  InvalidToken: { errno: 'EACCES', retryable: true },
  FileAlreadyExistsException: { errno: 'EEXIST' },
  PathIsNotEmptyDirectoryException: { errno: 'ENOTEMPTY' },
  ParentNotDirectoryException: { errno: 'ENOTDIR' },
  InvalidPathException: { errno: 'EINVAL' },
  IllegalArgumentException: { errno: 'EINVAL' },
  HadoopIllegalArgumentException: { errno: 'EINVAL' },
  UnsupportedOperationException: { errno: 'EOPNOTSUPP' },
  'FSLimitException.PathComponentTooLongException': { errno: 'ENAMETOOLONG' },
  PathComponentTooLongException: { errno: 'ENAMETOOLONG' },
  MaxDirectoryItemsExceededException: { errno: 'ENOSPC', retryable: true },
  DSQuotaExceededException: QUOTA,
  NSQuotaExceededException: QUOTA,
  QuotaByStorageTypeExceededException: QUOTA,
  QuotaExceededException: QUOTA,
  SafeModeException: { errno: 'EAGAIN', retryable: true, again: true },
  StandbyException: NOT_NOW,
  RetriableException: NOT_NOW,
  AlreadyBeingCreatedException: NOT_NOW,
  RecoveryInProgressException: NOT_NOW,
  LeaseExpiredException: { errno: 'EIO', retryable: true },
}

/** HDFS has one sentence for a file that would replace a directory, and the other way round. */
const MIXED_KINDS = /must both be directories/

/** What has no class of its own, or lost it on the way through a DataNode. The first that fits counts. */
const MEANING_OF_MESSAGE: readonly (readonly [RegExp, Meaning])[] = [
  [
    /^Failed to obtain user group information|token .*(expired|can't be found)/i,
    { errno: 'EACCES', retryable: true },
  ],
  // Before what the class says: AccessControlException is what looking below a file gives.
  [/\(is not a directory\)/, { errno: 'ENOTDIR' }],
  [/is a reserved name/, { errno: 'EINVAL' }],
  [/path component name limit/, { errno: 'ENAMETOOLONG' }],
  [/destination directory is not empty/, { errno: 'ENOTEMPTY' }],
  [MIXED_KINDS, { errno: 'EISDIR' }],
  [/is a directory or file under source/, { errno: 'EINVAL' }],
  [/out of the range \[0/, { errno: 'ESTALE', retryable: true }],
  [
    // The last: DataNodes of a busy cluster have not told the NameNode yet of what they have written.
    /Blocklist for .* has changed|Could not obtain block|BlockMissing|not have enough number of replicas/,
    { errno: 'EIO', retryable: true, again: true },
  ],
  [/could only be (written|replicated) to/, { errno: 'ENOSPC', retryable: true }],
]

const MEANING_OF_STATUS: Readonly<Record<number, Meaning>> = {
  400: { errno: 'EINVAL' },
  401: { errno: 'EACCES', retryable: true },
  403: { errno: 'EACCES', retryable: true },
  // Not HDFS's "no such file", which comes with its name: the endpoint is another server's.
  404: { errno: 'EIO', retryable: true },
  408: { errno: 'ETIMEDOUT', retryable: true, again: true },
  429: NOT_NOW,
  504: { errno: 'ETIMEDOUT', retryable: true, again: true },
}

/** An answer that is not the one asked for. */
export function refusal(place: string, { status, body }: HttpResponse): HttpError {
  const remote = remoteException(body)
  if (remote === null) {
    const isServerFault = status >= 500
    const meaning = MEANING_OF_STATUS[status] ?? {
      errno: 'EIO',
      retryable: isServerFault,
      again: isServerFault,
    }
    return new HttpError(
      { outcome: outcomeOfStatus(status), ...meaning },
      `${place}: HTTP status ${status}, and not in WebHDFS's words`,
    )
  }
  const { exception, message } = remote
  return new HttpError(meaningOf(status, exception, message), `${place}: ${exception}: ${message}`)
}

function meaningOf(status: number, exception: string, message: string): Meaning {
  for (const [pattern, meaning] of MEANING_OF_MESSAGE) if (pattern.test(message)) return meaning
  const found = MEANING_OF_EXCEPTION[exception]
  if (found !== undefined) return found
  // A DataNode may tell the class of what the NameNode said only in the text.
  for (const [name, meaning] of Object.entries(MEANING_OF_EXCEPTION))
    if (message.includes(name)) return meaning
  if (status === 401) return { errno: 'EACCES', retryable: true }
  return { errno: 'EIO', retryable: true, again: status >= 500, outcome: outcomeOfStatus(status) }
}

function remoteException(body: Uint8Array): { exception: string; message: string } | null {
  try {
    const { RemoteException: remote } = JSON.parse(Buffer.from(body).toString('utf8')) as {
      RemoteException?: { exception?: unknown; message?: unknown }
    }
    if (typeof remote?.exception !== 'string') return null
    const text = typeof remote.message === 'string' ? remote.message : ''
    // Without the stack trace.
    const message = (text.split('\n')[0] ?? '').slice(0, MAX_REASON_CHARACTERS)
    return { exception: remote.exception, message }
  } catch {
    return null
  }
}
