/**
 * The proxy that a request goes through, by the variables that OpenDAL and curl read too: every request of a mount takes the
 * same way, whoever sends it.
 */
import { request as httpRequest } from 'node:http'
import { Agent as HttpsAgent, type AgentOptions, type RequestOptions } from 'node:https'
import { BlockList, isIPv4, isIPv6, Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { connect as tlsConnect, type SecureContext } from 'node:tls'

const DEFAULT_PROXY_PORT = 80
const HTTPS_PORT = 443
const CIDR_PATTERN = /^([0-9a-f.:]+)\/(\d{1,3})$/i

export interface HttpProxy {
  readonly host: string
  readonly port: number
  /** Of each request to the proxy itself. */
  readonly headers: Readonly<Record<string, string>>
}

/** null: straight to the server. */
export function proxyOf(origin: URL, env: NodeJS.ProcessEnv): HttpProxy | null {
  if (isExcepted(hostOf(origin), env['no_proxy'] ?? env['NO_PROXY'] ?? '')) return null
  const scheme = origin.protocol === 'https:' ? 'https' : 'http'
  // A CGI program's HTTP_PROXY may be the header "Proxy" of whoever asks it.
  const upper =
    scheme === 'http' && 'REQUEST_METHOD' in env ? undefined : env[`${scheme.toUpperCase()}_PROXY`]
  const text = env[`${scheme}_proxy`] ?? upper ?? env['all_proxy'] ?? env['ALL_PROXY'] ?? ''
  return text === '' ? null : parseProxy(text)
}

function parseProxy(text: string): HttpProxy | null {
  const withScheme = text.includes('://') ? text : `http://${text}`
  if (!URL.canParse(withScheme)) return null
  const url = new URL(withScheme)
  if (url.protocol !== 'http:') return null
  const { username, password, port } = url
  const login = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`
  const headers =
    username === '' ? {} : { 'proxy-authorization': `Basic ${Buffer.from(login).toString('base64')}` }
  return { host: hostOf(url), port: port === '' ? DEFAULT_PROXY_PORT : Number(port), headers }
}

/** Without the brackets that an address of IPv6 has in a URL. */
export function hostOf({ hostname }: URL): string {
  return hostname.replace(/^\[|\]$/g, '')
}

/** `list`: names, which stand for all names below them too, addresses and networks. */
function isExcepted(host: string, list: string): boolean {
  return list
    .split(',')
    .map((entry) => entry.trim().toLowerCase())
    .some((entry) => entry !== '' && (entry === '*' || covers(entry, host.toLowerCase())))
}

function covers(entry: string, host: string): boolean {
  const family = isIPv4(host) ? 'ipv4' : isIPv6(host) ? 'ipv6' : null
  const [, network, bits] = CIDR_PATTERN.exec(entry) ?? []
  if (network === undefined) {
    const name = entry.replace(/^\*?\./, '')
    return host === name || (family === null && host.endsWith(`.${name}`))
  }
  const isOfFamily = family === 'ipv4' ? isIPv4(network) : isIPv6(network)
  const maxBits = family === 'ipv4' ? 32 : 128
  if (family === null || !isOfFamily || Number(bits) > maxBits) return false
  const networks = new BlockList()
  networks.addSubnet(network, Number(bits), family)
  return networks.check(host, family)
}

/**
 * Connections to servers behind a proxy, which is asked to pass on what it cannot read. Not a class of its own: one that extends an
 * agent would load Node's TLS with this module, in daemons that have no use for it.
 */
export function tunnelAgent(proxy: HttpProxy, context: SecureContext, options: AgentOptions): HttpsAgent {
  const createConnection = (
    { host, port, servername }: RequestOptions,
    callback?: (error: Error | null, stream: Duplex) => void,
  ): undefined => {
    const done = (error: Error | null, stream: Duplex = new Socket()): void => callback?.(error, stream)
    const target = `${host ?? ''}:${port ?? HTTPS_PORT}`
    const asked = httpRequest({
      ...{ host: proxy.host, port: proxy.port, method: 'CONNECT', path: target, agent: false },
      headers: { host: target, ...proxy.headers },
    })
    asked.once('connect', ({ statusCode = 0 }, socket) => {
      if (statusCode === 200) {
        done(null, tlsConnect({ socket, servername: servername ?? host ?? '', secureContext: context }))
        return
      }
      socket.destroy()
      done(Object.assign(new Error(`the proxy refused ${target}: ${statusCode}`), { code: 'ECONNREFUSED' }))
    })
    asked.once('error', (error) => {
      done(error)
    })
    asked.end()
  }
  return Object.assign(new HttpsAgent(options), { createConnection })
}
