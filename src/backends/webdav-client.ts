/** The requests of WebDAV (RFC 4918) that OpenDAL's service lacks or takes wrong: see `WebdavBackend`. */
import type { EntryKind } from './backend.js'
import { HttpConnections, placeOf, type HttpRequest, type HttpResponse } from './http-connection.js'
import { HttpError, withRetries, type Meaning } from './http-error.js'
import { StorageError } from './storage-error.js'
import { encodePath } from './webhdfs-client.js'

/** The properties of one name. */
const MAX_ANSWER_BYTES = 1 << 20
/** Of what a server says about an error, this much goes into the message. */
const MAX_REASON_CHARACTERS = 200
const PROPERTIES = Buffer.from(
  '<?xml version="1.0" encoding="utf-8"?><propfind xmlns="DAV:"><prop>' +
    '<resourcetype/><getcontentlength/><getlastmodified/><getetag/></prop></propfind>',
)

/** Statuses with a meaning of their own; the rest is EIO, and above 499 tried again. */
const MEANINGS: Readonly<Record<number, Meaning>> = {
  // The credentials may be repaired, so nothing is thrown away.
  401: { errno: 'EACCES', retryable: true },
  403: { errno: 'EACCES' },
  404: { errno: 'ENOENT' },
  405: { errno: 'EOPNOTSUPP' },
  // No parent.
  409: { errno: 'ENOENT' },
  412: { errno: 'EEXIST' },
  423: { errno: 'EBUSY', retryable: true },
  429: { errno: 'EIO', retryable: true, again: true },
  501: { errno: 'EOPNOTSUPP' },
  504: { errno: 'ETIMEDOUT', retryable: true, again: true },
  507: { errno: 'ENOSPC', retryable: true },
}

export interface WebdavStatus {
  readonly kind: EntryKind
  readonly sizeBytes: number
  /** As HTTP writes it; '' where the server does not tell. */
  readonly lastModified: string
  readonly etag: string
}

const SOME_DIRECTORY: WebdavStatus = { kind: 'directory', sizeBytes: 0, lastModified: '', etag: '' }

export class WebdavClient {
  private readonly connections = new HttpConnections()
  private readonly origin: string
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

  /** null when nothing is there. */
  async stat(path: string): Promise<WebdavStatus | null> {
    const { status, body } = await this.send(
      { method: 'PROPFIND', target: this.targetOf(path), headers: { depth: '0', ...XML } },
      // A redirection leads to the name with a "/": Apache's for directories. 400 is its answer below a file.
      [207, 301, 302, 307, 308, 400, 404],
      PROPERTIES,
    )
    if (status === 207) return statusOf(body.toString('utf8'))
    return status === 400 || status === 404 ? null : SOME_DIRECTORY
  }

  /**
   * Move a file or a tree.
   * @throws HttpError EEXIST when something is at `to` that may not be replaced; ENOENT
   */
  async move(from: string, to: string, kind: EntryKind, mayReplace: boolean): Promise<void> {
    const slash = kind === 'directory' ? '/' : ''
    const headers = {
      destination: `${this.origin}${this.targetOf(to)}${slash}`,
      overwrite: mayReplace ? 'T' : 'F',
    }
    try {
      await this.send({ method: 'MOVE', target: `${this.targetOf(from)}${slash}`, headers }, [201, 204])
    } catch (error) {
      if (!(error instanceof HttpError) || !error.isRepeated) throw error
      // The answer to an earlier try was lost: it may have been done.
      if ((await this.stat(from)) !== null || (await this.stat(to)) === null) throw error
    }
  }

  private targetOf(path: string): string {
    return `${this.prefix}/${encodePath(path)}`
  }

  private send(
    request: Pick<HttpRequest, 'method' | 'target' | 'headers'>,
    expected: readonly number[],
    body?: Uint8Array,
  ): Promise<HttpResponse> {
    const whole: HttpRequest = {
      ...request,
      headers: { ...this.authorization, ...request.headers },
      origin: this.origin,
      timeoutMs: this.timeoutMs,
      maxBodyBytes: MAX_ANSWER_BYTES,
    }
    return withRetries(async () => {
      const response = await this.connections.send(whole, body)
      if (!expected.includes(response.status)) throw refusal(whole, response)
      return response
    })
  }
}

const XML = { 'content-type': 'application/xml; charset=utf-8' }

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
  return new HttpError(meaning, `${placeOf(request)}: ${status} ${text}`)
}

/** A multistatus of one resource. Servers choose the prefixes of the elements. */
function statusOf(xml: string): WebdavStatus {
  if (/<(?:[\w-]+:)?collection\b/.test(xml)) return SOME_DIRECTORY
  return {
    kind: 'file',
    sizeBytes: Number(textOf(xml, 'getcontentlength')),
    lastModified: textOf(xml, 'getlastmodified'),
    etag: textOf(xml, 'getetag').replaceAll('&quot;', '"'),
  }
}

function textOf(xml: string, name: string): string {
  return new RegExp(`<(?:[\\w-]+:)?${name}\\b[^>]*>([^<]*)<`).exec(xml)?.[1]?.trim() ?? ''
}
