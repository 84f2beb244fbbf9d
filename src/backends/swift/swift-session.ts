/** Log-ins to Swift: a storage URL with a token, renewed before it expires and when the server refuses it. */
import type { HttpConnections } from '../http/http-connection.js'
import type { HttpResponse } from '../http/http-message.js'
import { HttpError } from '../http/http-error.js'
import { StorageError } from '../storage-error.js'
import { swiftError, SwiftError } from './swift-errors.js'
import type { KeystoneLogin, SwiftLogin, Version1Login } from './swift-options.js'

/** A token is renewed this long before its end, or after half of its life if that is later, while the present one still serves. */
const RENEW_BEFORE_MS = 60_000
/** Pause after a renewal that failed while the present token still serves. */
const RENEW_RETRY_MS = 5000
/** A catalog of a large cloud has some hundreds of entries. */
const MAX_ANSWER_BYTES = 4 << 20

export interface SwiftSession {
  /** Without a slash at its end. */
  readonly storageUrl: string
  readonly token: string
  /** Milliseconds since the epoch; Infinity where nobody told. */
  readonly expiresAtMs: number
}

interface CatalogEntry {
  readonly type?: string
  readonly endpoints?: readonly {
    readonly interface?: string
    readonly region?: string
    readonly region_id?: string
    readonly url?: string
  }[]
}

interface KeystoneAnswer {
  readonly token?: { readonly expires_at?: string; readonly catalog?: readonly CatalogEntry[] }
}

/** Hands out the present session; however many ask, one log-in is under way at a time. */
export class SwiftSessions {
  private present: SwiftSession | null = null
  private renewal: Promise<SwiftSession> | null = null
  private renewAtMs = 0

  constructor(
    private readonly login: SwiftLogin,
    private readonly connections: HttpConnections,
    private readonly timeoutMs: number,
  ) {}

  async current(): Promise<SwiftSession> {
    const { present } = this
    const nowMs = Date.now()
    if (present === null || nowMs >= present.expiresAtMs) return this.renew()
    if (nowMs >= this.renewAtMs) {
      this.renewAtMs = nowMs + RENEW_RETRY_MS
      this.renew().catch(() => undefined)
    }
    return present
  }

  /** The server refused `token`: resolves with another session. */
  async replace(token: string): Promise<SwiftSession> {
    const { present } = this
    if (present !== null && present.token !== token) return present
    if (this.login.kind === 'token') {
      throw new StorageError('EACCES', 'the token was refused; it may have expired', { retryable: true })
    }
    return this.renew()
  }

  private renew(): Promise<SwiftSession> {
    this.renewal ??= this.logIn()
      .then((session) => {
        this.present = session
        const remainingMs = session.expiresAtMs - Date.now()
        this.renewAtMs = session.expiresAtMs - Math.min(RENEW_BEFORE_MS, remainingMs / 2)
        return session
      })
      .finally(() => {
        this.renewal = null
      })
    return this.renewal
  }

  private logIn(): Promise<SwiftSession> {
    const { login } = this
    switch (login.kind) {
      case 'token':
        return Promise.resolve({ ...login, expiresAtMs: Infinity })
      case 'v1':
        return this.logInByVersion1(login)
      case 'keystone':
        return this.logInByKeystone(login)
    }
  }

  private async logInByVersion1({ authUrl, user, key }: Version1Login): Promise<SwiftSession> {
    const response = await this.connections.send({
      ...{ method: 'GET', origin: authUrl.origin, target: authUrl.pathname + authUrl.search },
      headers: { 'x-auth-user': user, 'x-auth-key': key },
      ...{ timeoutMs: this.timeoutMs, maxBodyBytes: MAX_ANSWER_BYTES },
    })
    requireSuccess(response, authUrl)
    const storageUrl = response.headers['x-storage-url']
    const token = response.headers['x-auth-token']
    if (typeof storageUrl !== 'string' || typeof token !== 'string' || !URL.canParse(storageUrl)) {
      throw strangeAnswer(authUrl)
    }
    const life = Number(response.headers['x-auth-token-expires'])
    return {
      storageUrl: withoutSlash(storageUrl),
      token,
      expiresAtMs: life > 0 ? Date.now() + life * 1000 : Infinity,
    }
  }

  private async logInByKeystone(login: KeystoneLogin): Promise<SwiftSession> {
    const url = new URL(`${login.authUrl.pathname}/auth/tokens`, login.authUrl)
    const request = {
      ...{ method: 'POST', origin: url.origin, target: url.pathname + url.search },
      headers: { 'content-type': 'application/json', accept: 'application/json' },
      ...{ timeoutMs: this.timeoutMs, maxBodyBytes: MAX_ANSWER_BYTES, asksFirst: true },
    }
    const response = await this.connections.send(request, Buffer.from(JSON.stringify(login.auth)))
    requireSuccess(response, url)
    const token = response.headers['x-subject-token']
    const answer = parseAnswer(response.body)
    if (typeof token !== 'string' || answer === undefined) throw strangeAnswer(url)
    const expiresAtMs = Date.parse(answer.expires_at ?? '')
    return {
      storageUrl: withoutSlash(findStorageUrl(answer.catalog ?? [], login)),
      token,
      expiresAtMs: Number.isNaN(expiresAtMs) ? Infinity : expiresAtMs,
    }
  }
}

function requireSuccess(response: HttpResponse, url: URL): void {
  if (response.status >= 200 && response.status < 300) return
  const error = swiftError(`log-in at ${url.origin}${url.pathname}`, response)
  // Wrong credentials stay wrong, and a wrong URL too, until somebody repairs them: no more tries, but nothing is thrown away.
  if (response.status >= 500 || error.again) throw error
  throw new SwiftError(response.status, { errno: 'EACCES', retryable: true }, error.message)
}

function strangeAnswer(url: URL): HttpError {
  const message = `log-in at ${url.origin}${url.pathname}: the answer has no token and storage URL`
  return new HttpError({ errno: 'EIO', retryable: true, again: true }, message)
}

function parseAnswer(body: Buffer): KeystoneAnswer['token'] {
  try {
    return (JSON.parse(body.toString('utf8')) as KeystoneAnswer).token
  } catch {
    return undefined
  }
}

function findStorageUrl(catalog: readonly CatalogEntry[], login: KeystoneLogin): string {
  const { region, endpointInterface } = login
  for (const { type, endpoints } of catalog) {
    if (type !== 'object-store') continue
    for (const endpoint of endpoints ?? []) {
      const isThere = region === undefined || endpoint.region === region || endpoint.region_id === region
      if (isThere && endpoint.interface === endpointInterface && URL.canParse(endpoint.url ?? '')) {
        return endpoint.url ?? ''
      }
    }
  }
  const where = region === undefined ? '' : ` in the region "${region}"`
  throw new HttpError(
    { errno: 'EIO', retryable: true, again: true },
    `log-in at ${login.authUrl.href}: the catalog has no ${endpointInterface} object-store${where}`,
  )
}

function withoutSlash(url: string): string {
  return url.replace(/\/+$/, '')
}
