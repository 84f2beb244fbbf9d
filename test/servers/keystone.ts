/**
 * The part of Keystone's Identity API v3 that logs in: POST /v3/auth/tokens. The tokens are real to Swift, because they are
 * stored where tempauth looks tokens up; all else that Keystone does (users, projects, roles) has one fixed answer.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { LOOPBACK } from './storage-server.js'
import type { Swift } from './swift.js'

const REGION = 'RegionOne'
const DEFAULT_TOKEN_LIFE_SECONDS = 3600

export const KEYSTONE_USER = 'tester'
export const KEYSTONE_PASSWORD = 'testing'
export const KEYSTONE_DOMAIN = 'Default'
export const KEYSTONE_PROJECT = 'test'
export const KEYSTONE_CREDENTIAL_ID = 'credential-1'
export const KEYSTONE_CREDENTIAL_SECRET = 'credential-secret'

/** The request's body as far as it is looked at. */
interface AuthRequest {
  readonly auth?: {
    readonly identity?: {
      readonly methods?: readonly string[]
      readonly password?: {
        readonly user?: {
          readonly name?: string
          readonly password?: string
          readonly domain?: { readonly name?: string; readonly id?: string }
        }
      }
      readonly application_credential?: { readonly id?: string; readonly secret?: string }
    }
    readonly scope?: { readonly project?: { readonly name?: string; readonly id?: string } }
  }
}

export class Keystone {
  /** `http://host:port/v3`: what clients call the auth URL. */
  readonly authUrl: string
  readonly #server: Server
  readonly #swift: Swift
  #tokenLifeSeconds: number
  #tokensIssued = 0
  #tokensRefused = 0

  /** By {@link startKeystone} only. */
  constructor(server: Server, swift: Swift, tokenLifeSeconds: number) {
    this.#server = server
    this.#swift = swift
    this.#tokenLifeSeconds = tokenLifeSeconds
    this.authUrl = `http://${LOOPBACK}:${(server.address() as AddressInfo).port}/v3`
    server.on('request', (request, response) => {
      this.#answer(request, response).catch((error: unknown) => {
        sendJson(response, 500, { error: { code: 500, message: String(error) } })
      })
    })
  }

  get tokensIssued(): number {
    return this.#tokensIssued
  }
  /** Log-ins with a wrong secret. */
  get tokensRefused(): number {
    return this.#tokensRefused
  }
  /** For the tokens issued from now on. */
  set tokenLifeSeconds(seconds: number) {
    this.#tokenLifeSeconds = seconds
  }

  async stop(): Promise<void> {
    const closed = once(this.#server, 'close')
    this.#server.close()
    this.#server.closeAllConnections()
    await closed
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (request.method === 'GET' && /^\/(v3\/?)?$/.test(request.url ?? '')) {
      sendJson(response, 200, { version: { id: 'v3.14', status: 'stable', links: [] } })
      return
    }
    if (request.method !== 'POST' || request.url !== '/v3/auth/tokens') {
      sendJson(response, 404, { error: { code: 404, message: 'Not Found', title: 'Not Found' } })
      return
    }
    const asked = parseBody(await bodyOf(request))
    const method = asked === null ? null : acceptedMethod(asked)
    if (method === null) {
      this.#tokensRefused++
      sendJson(response, 401, {
        error: {
          code: 401,
          message: 'The request you have made requires authentication.',
          title: 'Unauthorized',
        },
      })
      return
    }
    await this.#issue(response, method)
  }

  async #issue(response: ServerResponse, method: string): Promise<void> {
    const token = await this.#swift.issueToken(this.#tokenLifeSeconds)
    this.#tokensIssued++
    const now = Date.now()
    const domain = { id: 'default', name: KEYSTONE_DOMAIN }
    const endpoint = { id: 'endpoint-1', region: REGION, region_id: REGION, url: this.#swift.storageUrl }
    response.setHeader('x-subject-token', token)
    sendJson(response, 201, {
      token: {
        methods: [method],
        issued_at: new Date(now).toISOString(),
        expires_at: new Date(now + this.#tokenLifeSeconds * 1000).toISOString(),
        user: { id: 'user-1', name: KEYSTONE_USER, domain },
        project: { id: 'project-1', name: KEYSTONE_PROJECT, domain },
        roles: [{ id: 'role-1', name: 'member' }],
        catalog: [
          {
            ...{ id: 'service-1', type: 'object-store', name: 'swift' },
            endpoints: [
              { ...endpoint, interface: 'public' },
              // Nobody listens there: clients must ask for the interface that they were told.
              { ...endpoint, interface: 'internal', url: 'http://127.0.0.1:9/v1/AUTH_internal' },
            ],
          },
        ],
      },
    })
  }
}

/** Start a stand-in for Keystone before a Swift; tokens last an hour unless told otherwise. */
export async function startKeystone(
  swift: Swift,
  options: { readonly tokenLifeSeconds?: number } = {},
): Promise<Keystone> {
  const server = createServer()
  server.listen(0, LOOPBACK)
  await once(server, 'listening')
  server.unref()
  return new Keystone(server, swift, options.tokenLifeSeconds ?? DEFAULT_TOKEN_LIFE_SECONDS)
}

/** The method by which the request proves who it is; null when it does not. */
function acceptedMethod({ auth }: AuthRequest): string | null {
  const { identity, scope } = auth ?? {}
  if (identity?.methods?.includes('application_credential') === true) {
    const { id, secret } = identity.application_credential ?? {}
    // The credential names its project itself: a scope beside it is an error.
    const isRight = id === KEYSTONE_CREDENTIAL_ID && secret === KEYSTONE_CREDENTIAL_SECRET
    return isRight && scope === undefined ? 'application_credential' : null
  }
  const user = identity?.password?.user
  const domain = user?.domain?.name ?? user?.domain?.id?.replace('default', KEYSTONE_DOMAIN)
  const project = scope?.project?.name ?? scope?.project?.id?.replace('project-1', KEYSTONE_PROJECT)
  const isRight =
    user?.name === KEYSTONE_USER &&
    user.password === KEYSTONE_PASSWORD &&
    domain === KEYSTONE_DOMAIN &&
    project === KEYSTONE_PROJECT
  return isRight && identity?.methods?.includes('password') === true ? 'password' : null
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of request) chunks.push(chunk as Buffer)
  return Buffer.concat(chunks).toString('utf8')
}

function parseBody(text: string): AuthRequest | null {
  try {
    return JSON.parse(text) as AuthRequest
  } catch {
    return null
  }
}

function sendJson(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
}
