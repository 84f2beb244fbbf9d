import { HttpConnections } from '../http/http-connection.js'
import type { HttpHead, HttpResponse } from '../http/http-message.js'
import { HttpError, type Repeats } from '../http/http-error.js'
import { swiftError } from './swift-errors.js'
import type { SwiftOptions } from './swift-options.js'
import { StorageError } from '../storage-error.js'
import { SwiftSessions, type SwiftSession } from './swift-session.js'

/** 10,000 entries with names of 1024 bytes, which JSON may write as six bytes each, and their attributes. */
const MAX_LISTING_BYTES = 80 << 20
const MAX_ERROR_BYTES = 64 << 10
/** Swift's own defaults (swift.conf), for servers that do not tell theirs. */
const DEFAULT_MAX_FILE_SIZE_BYTES = 5 * 2 ** 30

export interface SwiftRequest {
  readonly method: 'GET' | 'HEAD' | 'PUT' | 'POST' | 'DELETE'
  /** Below the mount's root; undefined for the container itself. */
  readonly object?: string
  readonly query?: Readonly<Record<string, string>>
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: Uint8Array
  /** Statuses that are no error. */
  readonly expect: readonly number[]
  /** Added to the deadline of each try. */
  readonly extraTimeMs?: number
  readonly maxBodyBytes?: number
  /** Default: any, as most requests have the same effect when they are repeated. */
  readonly repeats?: Repeats
  readonly check?: (head: HttpHead) => void
}

/** What the server says of itself, as far as it says it. */
export interface SwiftLimits {
  readonly maxFileSizeBytes: number
  /** Entries of a page; undefined = not known. */
  readonly listingLimit: number | undefined
}

interface InfoAnswer {
  readonly swift?: { readonly max_file_size?: unknown; readonly container_listing_limit?: unknown }
}

/** Percent-encodes everything but "/", which Swift's names may hold. */
export function encodeName(name: string): string {
  return name.split('/').map(encodeURIComponent).join('/')
}

/** A container's HTTP interface with log-in, deadlines and retries. */
export class SwiftContainer {
  readonly name: string
  /** Of all objects' names. */
  readonly prefix: string
  readonly connections = new HttpConnections()
  private readonly sessions: SwiftSessions
  private readonly endpoint: string | undefined
  private knownLimits: SwiftLimits | null = null

  constructor(
    options: SwiftOptions,
    private readonly timeoutMs: number,
  ) {
    this.name = options.container
    this.prefix = options.prefix
    this.endpoint = options.endpoint
    this.sessions = new SwiftSessions(options.login, this.connections, timeoutMs)
  }

  /** `/container/name`, as copies and manifests name an object. */
  fullNameOf(object: string): string {
    return `/${this.name}/${this.prefix}${object}`
  }

  /**
   * Send a request, again after a pause where that may help.
   * @throws StorageError
   */
  request(request: SwiftRequest): Promise<HttpResponse> {
    return this.connections.retrying(() => this.requestOnce(request), request.repeats)
  }

  async requestOnce(request: SwiftRequest): Promise<HttpResponse> {
    const session = await notSent(this.sessions.current())
    let response = await this.send(session, request)
    if (response.status === 401) {
      response = await this.send(await notSent(this.sessions.replace(session.token)), request)
    }
    if (request.expect.includes(response.status)) return response
    throw swiftError(`${request.method} ${request.object ?? `container ${this.name}`}`, response)
  }

  private send(session: SwiftSession, request: SwiftRequest): Promise<HttpResponse> {
    const { object, query, headers, body, check, maxBodyBytes } = request
    const place = new URL(this.endpoint ?? session.storageUrl)
    const name = object === undefined ? '' : `/${encodeName(this.prefix + object)}`
    const search = new URLSearchParams(query).toString()
    // Not by way of a URL: that would fold "." and "..", which are names here like any other.
    const path = `${place.pathname.replace(/\/+$/, '')}/${encodeURIComponent(this.name)}${name}`
    const call = {
      ...{ method: request.method, origin: place.origin, target: search === '' ? path : `${path}?${search}` },
      headers: { ...headers, 'x-auth-token': session.token },
      timeoutMs: this.timeoutMs + (request.extraTimeMs ?? 0),
      maxBodyBytes: Math.max(maxBodyBytes ?? 0, MAX_ERROR_BYTES),
      asksFirst: true,
      ...(check === undefined ? {} : { check }),
    }
    return this.connections.send(call, body)
  }

  /** A page of a listing, as JSON. */
  async listPage(query: Readonly<Record<string, string>>): Promise<unknown> {
    // Without entries the list is "[]": 204 is for other formats.
    const { status, body } = await this.request({
      ...{ method: 'GET', query: { ...query, format: 'json' }, expect: [200, 404] },
      maxBodyBytes: MAX_LISTING_BYTES,
    })
    // Nothing is known of the names that are asked for.
    if (status === 404)
      throw new StorageError('EIO', `the container ${this.name} is missing`, { retryable: true })
    try {
      return JSON.parse(body.toString('utf8'))
    } catch (error) {
      throw new StorageError('EIO', 'the answer to a listing is no JSON', { retryable: true, cause: error })
    }
  }

  /** Asked for until the server has answered once. */
  async limits(): Promise<SwiftLimits> {
    this.knownLimits ??= await this.askLimits()
    return this.knownLimits ?? { maxFileSizeBytes: DEFAULT_MAX_FILE_SIZE_BYTES, listingLimit: undefined }
  }

  private async askLimits(): Promise<SwiftLimits | null> {
    const session = await this.sessions.current()
    const response = await this.connections
      .send({
        ...{ method: 'GET', origin: new URL(this.endpoint ?? session.storageUrl).origin, target: '/info' },
        ...{ timeoutMs: this.timeoutMs, maxBodyBytes: MAX_ERROR_BYTES },
      })
      .catch(() => null)
    if (response === null || response.status >= 500) return null
    return limitsOf(response)
  }
}

/** Without a log-in the request itself was not sent, so nothing was done. */
async function notSent(login: Promise<SwiftSession>): Promise<SwiftSession> {
  try {
    return await login
  } catch (error) {
    if (error instanceof HttpError) error.outcome = 'refused'
    throw error
  }
}

/** A server that keeps /info to itself (403, 404) or answers something else has Swift's defaults. */
function limitsOf({ status, body }: HttpResponse): SwiftLimits {
  let answer: InfoAnswer = {}
  try {
    if (status === 200) answer = JSON.parse(body.toString('utf8')) as InfoAnswer
  } catch {
    // Not JSON: a proxy's page.
  }
  const size = answer.swift?.max_file_size
  const limit = answer.swift?.container_listing_limit
  return {
    maxFileSizeBytes: typeof size === 'number' && size > 0 ? size : DEFAULT_MAX_FILE_SIZE_BYTES,
    listingLimit: typeof limit === 'number' && limit > 0 ? limit : undefined,
  }
}
