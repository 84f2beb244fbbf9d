import { StorageError } from '../storage-error.js'

/** A token that somebody else renews. */
export interface TokenLogin {
  readonly kind: 'token'
  readonly token: string
  readonly storageUrl: string
}

/** Version 1: TempAuth, swauth, Ceph's radosgw. */
export interface Version1Login {
  readonly kind: 'v1'
  readonly authUrl: URL
  readonly user: string
  readonly key: string
}

/** Keystone's Identity API, version 3. */
export interface KeystoneLogin {
  readonly kind: 'keystone'
  /** Ends in /v3. */
  readonly authUrl: URL
  /** The request's body. */
  readonly auth: unknown
  /** Takes the only or first endpoint where it is undefined. */
  readonly region: string | undefined
  /** public, internal or admin. */
  readonly endpointInterface: string
}

export type SwiftLogin = TokenLogin | Version1Login | KeystoneLogin

export interface SwiftOptions {
  readonly login: SwiftLogin
  /** Comes before the storage URL that the log-in tells. */
  readonly endpoint: string | undefined
  readonly container: string
  /** Of the objects' names: '' or ending in "/". */
  readonly prefix: string
}

type Options = Readonly<Record<string, string>>

function refuse(message: string): StorageError {
  return new StorageError('EINVAL', `type "swift": ${message}`)
}

function need(options: Options, name: string, reason: string): string {
  const value = options[name]
  if (value === undefined || value === '') throw refuse(`"${name}" is missing; ${reason}`)
  return value
}

function parseUrl(text: string, name: string): URL {
  if (!URL.canParse(text) || !/^https?:$/.test(new URL(text).protocol)) {
    throw refuse(`"${name}" is not a URL such as "https://host:5000/v3"`)
  }
  return new URL(text)
}

/**
 * A swift profile's options.
 * @throws StorageError EINVAL with a sentence that says what is missing
 */
export function parseSwiftOptions(options: Options): SwiftOptions {
  const container = need(options, 'container', 'name the container')
  if (container.includes('/')) throw refuse('"container" holds a "/"; put the rest into "root"')
  const root = (options['root'] ?? '').split('/').filter((name) => name !== '')
  const { endpoint } = options
  if (endpoint !== undefined) parseUrl(endpoint, 'endpoint')
  const prefix = root.length === 0 ? '' : `${root.join('/')}/`
  return { login: parseLogin(options), endpoint: endpoint?.replace(/\/+$/, ''), container, prefix }
}

function parseLogin(options: Options): SwiftLogin {
  if (options['auth_url'] === undefined) {
    const reason = 'without "auth_url", give the storage URL and a token'
    const storageUrl = need(options, 'endpoint', reason).replace(/\/+$/, '')
    return { kind: 'token', storageUrl, token: need(options, 'token', reason) }
  }
  if (options['token'] !== undefined) throw refuse('"token" and "auth_url" exclude each other')
  const authUrl = parseUrl(options['auth_url'], 'auth_url')
  authUrl.pathname = authUrl.pathname.replace(/\/+$/, '')
  if (!/\/v3$/.test(authUrl.pathname)) {
    const reason = 'a version 1 log-in needs "user" and "key" (for Keystone, "auth_url" ends in /v3)'
    return { kind: 'v1', authUrl, user: need(options, 'user', reason), key: need(options, 'key', reason) }
  }
  return {
    ...{ kind: 'keystone', authUrl, auth: keystoneRequest(options), region: options['region'] },
    endpointInterface: options['interface'] ?? 'public',
  }
}

/** The body of POST /v3/auth/tokens: docs.openstack.org/api-ref/identity/v3/#authentication-and-token-management */
function keystoneRequest(options: Options): unknown {
  const id = options['application_credential_id']
  if (id !== undefined) {
    const secret = need(options, 'application_credential_secret', 'it belongs to the application credential')
    const identity = { methods: ['application_credential'], application_credential: { id, secret } }
    return { auth: { identity } }
  }
  const reason = 'Keystone needs "username", "password" and "project_name", or an application credential'
  const name = options['username'] ?? need(options, 'user', reason)
  const password = options['password'] ?? need(options, 'key', reason)
  const domain = { name: options['user_domain_name'] ?? 'Default' }
  const projectDomain = { name: options['project_domain_name'] ?? options['user_domain_name'] ?? 'Default' }
  const project = { name: need(options, 'project_name', reason), domain: projectDomain }
  const identity = { methods: ['password'], password: { user: { name, password, domain } } }
  return { auth: { identity, scope: { project } } }
}
