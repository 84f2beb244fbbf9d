/** Requests to a web server past OpenDAL, with the options of its services `http` and `webdav`. */
import type { EntryKind, ObjectStat } from '../backend.js'
import { HttpConnections } from '../http/http-connection.js'
import { placeOf, type HttpHead, type HttpRequest, type HttpResponse } from '../http/http-message.js'
import { byteCountOf } from '../http/byte-count.js'
import { HttpError, outcomeOfStatus, type Meaning } from '../http/http-error.js'
import { DIRECTORY } from '../objects/object-store.js'
import { StorageError } from '../storage-error.js'
import { timestampOfRfc3339 } from '../timestamp.js'
import { encodePath } from '../http/encode-path.js'

/** The properties of one name, or an error's page. */
export const MAX_ANSWER_BYTES = 1 << 20
/** Of what a server says about an error, this much goes into the message. */
const MAX_REASON_CHARACTERS = 200
/** Apache and nginx lead from the name of a directory to the same with a "/". */
export const REDIRECTIONS: readonly number[] = [301, 302, 307, 308]

/** Statuses with a meaning of their own; the rest is EIO, and above 499 tried again. */
const MEANINGS: Readonly<Record<number, Meaning>> = {
  // The target of a move, since the source is named as what it is: a directory.
  301: { errno: 'EISDIR' },
  // The credentials may be repaired, so nothing is thrown away.
  401: { errno: 'EACCES', retryable: true },
  403: { errno: 'EACCES' },
  404: { errno: 'ENOENT' },
  405: { errno: 'EOPNOTSUPP' },
  // No parent.
  409: { errno: 'ENOENT' },
  412: { errno: 'EEXIST' },
  416: { errno: 'ESTALE', retryable: true },
  // Somebody has locked it.
  423: { errno: 'EIO', retryable: true },
  429: { errno: 'EIO', retryable: true, again: true },
  501: { errno: 'EOPNOTSUPP' },
  504: { errno: 'ETIMEDOUT', retryable: true, again: true },
  507: { errno: 'ENOSPC', retryable: true },
}

/** What a server tells of a file or directory. */
export interface WebStatus {
  readonly kind: EntryKind
  readonly sizeBytes: number
  /** A date of HTTP or of RFC 3339; '' where the server does not tell. */
  readonly lastModified: string
  readonly etag: string
}

export const SOME_DIRECTORY: WebStatus = { kind: 'directory', sizeBytes: 0, lastModified: '', etag: '' }

/** The version is the etag without its marks: Apache's are weak while a file is younger than a second, and strong later. */
export function statOfWeb({ kind, sizeBytes, lastModified, etag }: WebStatus): ObjectStat {
  if (kind === 'directory') return DIRECTORY
  const mtime = timestampOfRfc3339(lastModified)
  const version = etag.replace(/^(?:W\/)?"?(.*?)"?$/, '$1')
  return { kind, sizeBytes, mtime, version: version === '' ? `${mtime?.seconds ?? 0}/${sizeBytes}` : version }
}

export class WebClient {
  readonly connections = new HttpConnections()
  protected readonly origin: string
  private readonly prefix: string
  private readonly authorization: Readonly<Record<string, string>>

  /** @throws StorageError EINVAL for an endpoint that is no URL */
  constructor(
    options: Readonly<Record<string, string>>,
    private readonly timeoutMs: number,
  ) {
    const { endpoint = '', root = '' } = options
    const url = URL.canParse(endpoint) ? new URL(endpoint) : null
    if (url === null || (url.protocol !== 'http:' && url.protocol !== 'https:'))
      throw new StorageError('EINVAL', '"endpoint" must be like "https://host/path"')
    const names = root.split('/').filter((name) => name !== '')
    this.origin = url.origin
    this.prefix = url.pathname.replace(/\/+$/, '') + names.map((name) => `/${encodePath(name)}`).join('')
    this.authorization = authorizationOf(options)
  }

  /** By HEAD; null when nothing is there. @throws HttpError EIO where the server sends clients on to another place */
  async head(path: string): Promise<WebStatus | null> {
    const request = { method: 'HEAD', target: this.targetOf(path) }
    const answer = await this.send(request, [200, 404, 410, ...REDIRECTIONS])
    const { status, headers } = answer
    if (status === 404 || status === 410) return null
    if (status !== 200) {
      if (this.leadsToDirectory(path, answer)) return SOME_DIRECTORY
      throw sentElsewhere(path)
    }
    return statusOf(headers, byteCountOf(headers['content-length']) ?? (await this.askSize(path)))
  }

  /** Whether a redirection leads to the same name with a "/". */
  protected leadsToDirectory(path: string, { headers }: HttpHead): boolean {
    const asked = new URL(this.targetOf(path), this.origin)
    const { location = '' } = headers
    return URL.canParse(location, asked.href) && new URL(location, asked).pathname === `${asked.pathname}/`
  }

  /** Of a file whose length the usual request does not tell. */
  protected async askSize(path: string): Promise<number> {
    const request = { method: 'GET', target: this.targetOf(path), headers: { range: 'bytes=0-0' } }
    const { status, headers } = await this.send(request, [200, 206], { maxBodyBytes: MAX_ANSWER_BYTES })
    const told = byteCountOf(status === 206 ? totalOf(headers) : headers['content-length'])
    if (told !== null) return told
    throw new HttpError({ errno: 'EIO', retryable: true }, `${path}: the server does not tell its length`)
  }

  /** Exactly these bytes of this version. @throws HttpError EIO where the server sends clients on to another place */
  async read(path: string, offset: number, lengthBytes: number, version: string): Promise<Uint8Array> {
    const headers = { range: `bytes=${offset}-${offset + lengthBytes - 1}` }
    const request = { method: 'GET', target: this.targetOf(path), headers }
    const { status, body } = await this.send(request, [200, 206, ...REDIRECTIONS], {
      maxBodyBytes: Math.max(lengthBytes, MAX_ANSWER_BYTES),
      check: (head) => {
        requireRange(path, head, { offset, lengthBytes, version })
      },
    })
    if (REDIRECTIONS.includes(status)) throw sentElsewhere(path)
    const data = status === 200 ? body.subarray(offset, offset + lengthBytes) : body
    if (data.byteLength === lengthBytes) return data
    const message = `${path}: ${data.byteLength} bytes where ${lengthBytes} were asked for`
    throw new HttpError({ errno: 'EIO', retryable: true }, message)
  }

  protected targetOf(path: string): string {
    return `${this.prefix}/${encodePath(path)}`
  }

  protected send(
    request: Pick<HttpRequest, 'method' | 'target' | 'headers'>,
    expected: readonly number[],
    details: SendDetails = {},
  ): Promise<HttpResponse> {
    return this.connections.retrying(() => this.sendOnce(request, expected, details))
  }

  protected async sendOnce(
    request: Pick<HttpRequest, 'method' | 'target' | 'headers'>,
    expected: readonly number[],
    { body, maxBodyBytes = MAX_ANSWER_BYTES, check }: SendDetails = {},
  ): Promise<HttpResponse> {
    const whole: HttpRequest = {
      ...request,
      headers: { ...this.authorization, ...request.headers },
      origin: this.origin,
      timeoutMs: this.timeoutMs,
      maxBodyBytes,
      ...(check === undefined ? {} : { check }),
    }
    const response = await this.connections.send(whole, body)
    if (!expected.includes(response.status)) throw refusal(whole, response)
    return response
  }
}

/** Nobody but whoever wrote the configuration says which servers are asked, and given what lets us in. */
function sentElsewhere(path: string): HttpError {
  return new HttpError(
    { errno: 'EIO' },
    `${path}: the server sends clients on to another place, which is not followed`,
  )
}

interface SendDetails {
  readonly body?: Uint8Array
  readonly maxBodyBytes?: number
  readonly check?: (head: HttpHead) => void
}

function statusOf(headers: HttpHead['headers'], sizeBytes: number): WebStatus {
  return { kind: 'file', sizeBytes, lastModified: headers['last-modified'] ?? '', etag: headers.etag ?? '' }
}

/** Of the whole file, in an answer that has a part of it. */
function totalOf(headers: HttpHead['headers']): string | undefined {
  return /^bytes [\d-]+\/(\d+)$/.exec(headers['content-range'] ?? '')?.[1]
}

interface Asked {
  readonly offset: number
  readonly lengthBytes: number
  readonly version: string
}

/** Before the body of an answer is received: is it of the version that is meant, and the part that was asked for? Other statuses are judged later. */
function requireRange(path: string, { status, headers }: HttpHead, asked: Asked): void {
  if (status !== 206 && status !== 200) return
  const { offset, lengthBytes, version } = asked
  const total = byteCountOf(status === 206 ? totalOf(headers) : headers['content-length'])
  // Where nobody tells the length, an etag is the version all the same.
  const present = statOfWeb(statusOf(headers, total ?? NaN))
  if (present.version !== version)
    throw new StorageError('ESTALE', `${path}: it was replaced`, { retryable: true })
  if (total !== null && total < offset + lengthBytes)
    throw new StorageError('ESTALE', `${path}: ${total} bytes where more were stored`, { retryable: true })
  // A server that knows no ranges sends everything: a short file is taken from it, a long one would be sent again for each part.
  if (status === 200 && total !== null && total <= Math.max(MAX_ANSWER_BYTES, lengthBytes)) return
  const range = headers['content-range']
  const first = /^bytes (\d+)-/.exec(range ?? '')?.[1]
  if (status === 206 && (range === undefined || Number(first) === offset)) return
  const answer = status === 200 ? 'everything' : String(range)
  throw new HttpError(
    { errno: 'EIO', retryable: true },
    `${path}: ${answer} in answer to ${lengthBytes} bytes from ${offset} on`,
  )
}

function authorizationOf({
  username,
  password = '',
  token,
}: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  if (token !== undefined) return { authorization: `Bearer ${token}` }
  if (username === undefined) return {}
  return { authorization: `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}` }
}

function refusal(request: HttpRequest, { status, body }: HttpResponse): HttpError {
  const text = body
    .toString('utf8')
    .replace(/<[^>]*>/g, ' ')
    .replace(/\s+/g, ' ')
    .trim()
    .slice(0, MAX_REASON_CHARACTERS)
  const isServerFault = status >= 500
  const meaning = MEANINGS[status] ?? { errno: 'EIO', retryable: isServerFault, again: isServerFault }
  return new HttpError(
    { outcome: outcomeOfStatus(status), ...meaning },
    `${placeOf(request)}: ${status} ${text}`,
  )
}
