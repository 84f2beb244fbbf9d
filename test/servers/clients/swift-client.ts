import type { IncomingHttpHeaders } from 'node:http'
import { encodePath, encodeQuery, HttpError, sendExpecting, sendRequest, type HttpResponse } from './http.js'

const METADATA_PREFIX = 'x-object-meta-'
/** What a listing page holds at most, unless the server is told otherwise. */
const PAGE_ENTRIES = 10_000

/** How to reach a container: version 1 authentication. */
export interface SwiftAccess {
  /** `http://host:port/auth/v1.0`. */
  readonly authUrl: string
  /** `account:user`. */
  readonly user: string
  readonly key: string
  readonly container: string
}

export interface SwiftSession {
  /** `http://host:port/v1/AUTH_account`. */
  readonly storageUrl: string
  readonly token: string
  /** Until the token expires. */
  readonly expiresInSeconds: number
}

export interface SwiftObject {
  readonly data: Buffer
  readonly sizeBytes: number
  /** MD5 of the data, without quotes. */
  readonly etag: string
  /** Microseconds are kept. */
  readonly modifiedSeconds: number
  readonly contentType: string
  readonly metadata: Readonly<Record<string, string>>
}

export interface SwiftListing {
  readonly objects: readonly {
    readonly name: string
    readonly sizeBytes: number
    readonly hash: string
    readonly lastModified: string
  }[]
  readonly prefixes: readonly string[]
}

interface ListedEntry {
  readonly subdir?: string
  readonly name?: string
  readonly bytes?: number
  readonly hash?: string
  readonly last_modified?: string
}

export interface SwiftRequestOptions {
  readonly object?: string
  readonly query?: Readonly<Record<string, string | undefined>>
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: Uint8Array
  /** Statuses that are no error. Default: 200 to 204. */
  readonly expect?: readonly number[]
}

/** Ask for a token by version 1 authentication. */
export async function authenticate(
  access: Pick<SwiftAccess, 'authUrl' | 'user' | 'key'>,
): Promise<SwiftSession> {
  const { origin, pathname } = new URL(access.authUrl)
  const { headers } = await sendExpecting([200, 204], {
    method: 'GET',
    origin,
    target: pathname,
    headers: { 'x-auth-user': access.user, 'x-auth-key': access.key },
  })
  return {
    storageUrl: headerText(headers, 'x-storage-url'),
    token: headerText(headers, 'x-auth-token'),
    expiresInSeconds: Number(headers['x-auth-token-expires'] ?? 0),
  }
}

/** A plain client of Swift's API over HTTP. A token that has expired is replaced once. */
export class SwiftClient {
  #session: SwiftSession | null = null

  constructor(readonly access: SwiftAccess) {}

  withContainer(container: string): SwiftClient {
    return new SwiftClient({ ...this.access, container })
  }

  async createContainer(): Promise<void> {
    await this.request('PUT')
  }
  async deleteContainer(): Promise<void> {
    await this.request('DELETE')
  }

  async put(
    object: string,
    data: string | Uint8Array,
    options: { readonly headers?: Record<string, string>; readonly metadata?: Record<string, string> } = {},
  ): Promise<string> {
    const headers = { ...options.headers }
    for (const [name, value] of Object.entries(options.metadata ?? {})) {
      headers[`${METADATA_PREFIX}${name}`] = value
    }
    const response = await this.request('PUT', { object, headers, body: Buffer.from(data) })
    return response.headers.etag ?? ''
  }

  /** null when there is no such object. */
  async get(
    object: string,
    range?: { readonly offset: number; readonly lengthBytes: number },
  ): Promise<SwiftObject | null> {
    const headers: Record<string, string> =
      range === undefined ? {} : { range: `bytes=${range.offset}-${range.offset + range.lengthBytes - 1}` }
    const response = await this.request('GET', { object, headers, expect: [200, 206, 404] })
    return response.status === 404 ? null : objectOf(response)
  }

  async head(object: string): Promise<SwiftObject | null> {
    const response = await this.request('HEAD', { object, expect: [200, 204, 404] })
    return response.status === 404 ? null : objectOf(response)
  }

  /** A missing object is no error. */
  async delete(object: string): Promise<void> {
    await this.request('DELETE', { object, expect: [200, 204, 404] })
  }

  /** Every page of a listing. */
  async list(options: { readonly prefix?: string; readonly delimiter?: string } = {}): Promise<SwiftListing> {
    const objects: SwiftListing['objects'][number][] = []
    const prefixes: string[] = []
    let marker: string | undefined
    for (;;) {
      const { body } = await this.request('GET', {
        query: { format: 'json', prefix: options.prefix, delimiter: options.delimiter, marker },
      })
      const page = JSON.parse(body.toString('utf8')) as ListedEntry[]
      for (const entry of page) {
        if (entry.subdir !== undefined) prefixes.push(entry.subdir)
        else objects.push(listedObject(entry))
      }
      const last = page.at(-1)
      if (last === undefined || page.length < PAGE_ENTRIES) return { objects, prefixes }
      marker = last.name ?? last.subdir
    }
  }

  /** Every object's name, sorted. */
  async names(prefix = ''): Promise<string[]> {
    return (await this.list({ prefix })).objects.map(({ name }) => name).sort()
  }

  async empty(): Promise<void> {
    for (const name of await this.names()) await this.delete(name)
  }

  /** Any request to the container. */
  async request(method: string, options: SwiftRequestOptions = {}): Promise<HttpResponse> {
    const response = await this.#try(method, options)
    if (response.status !== 401) return response
    this.#session = null
    return this.#try(method, options)
  }

  async #try(method: string, options: SwiftRequestOptions): Promise<HttpResponse> {
    this.#session ??= await authenticate(this.access)
    const { origin, pathname } = new URL(this.#session.storageUrl)
    const container = `${pathname}/${encodePath(this.access.container)}`
    const target = options.object === undefined ? container : `${container}/${encodePath(options.object)}`
    const request = {
      ...{ method, origin },
      target: target + encodeQuery(options.query ?? {}),
      headers: { ...options.headers, 'x-auth-token': this.#session.token },
      body: options.body ?? new Uint8Array(0),
    }
    const response = await sendRequest(request)
    const expected = options.expect ?? [200, 201, 202, 204]
    if (response.status !== 401 && !expected.includes(response.status)) {
      throw new HttpError(request, response)
    }
    return response
  }
}

function headerText(headers: IncomingHttpHeaders, name: string): string {
  const value = headers[name]
  if (typeof value !== 'string') throw new Error(`the server's answer has no header ${name}`)
  return value
}

function objectOf({ headers, body }: HttpResponse): SwiftObject {
  const metadata: Record<string, string> = {}
  for (const [name, value] of Object.entries(headers)) {
    if (name.startsWith(METADATA_PREFIX)) metadata[name.slice(METADATA_PREFIX.length)] = String(value)
  }
  return {
    data: body,
    sizeBytes: Number(headers['content-length'] ?? body.byteLength),
    etag: (headers.etag ?? '').replaceAll('"', ''),
    modifiedSeconds: Number(headers['x-timestamp'] ?? 0),
    contentType: headers['content-type'] ?? '',
    metadata,
  }
}

function listedObject(entry: ListedEntry): SwiftListing['objects'][number] {
  return {
    name: entry.name ?? '',
    sizeBytes: entry.bytes ?? 0,
    hash: entry.hash ?? '',
    lastModified: entry.last_modified ?? '',
  }
}
