/** Requests to the NameNode of WebHDFS, and where it sends those on that are about data. */
import { isIP, type LookupFunction } from 'node:net'
import { addressesOf, forbidden, isLoopback, lookupOfSent, mayBeSentTo } from '../http/address-rules.js'
import { encodePath } from '../http/encode-path.js'
import type { HttpConnections } from '../http/http-connection.js'
import { placeOf, type HttpRequest, type HttpResponse } from '../http/http-message.js'
import { refusal } from './webhdfs-errors.js'
import type { WebhdfsOptions } from './webhdfs-options.js'

/** What is answered to a request that asks for no data: the state of a file, or that something is done, or why not. */
export const MAX_REPLY_BYTES = 1 << 20
const API_PREFIX = '/webhdfs/v1'
/** A body of another type is refused. */
const BODY_HEADERS = { 'content-type': 'application/octet-stream' }
const NO_BODY = new Uint8Array(0)

export type Parameters = Readonly<Record<string, string | number | boolean>>

export interface NameNodeCall {
  readonly method: 'GET' | 'PUT' | 'POST' | 'DELETE'
  readonly op: string
  readonly path: string
  readonly parameters?: Parameters
}

/** The NameNodes of one file system, of which one answers at a time. */
export class NameNodes {
  private activeEndpoint = 0
  /** By origin: whether it is on this host. */
  private readonly nameNodesHere = new Map<string, Promise<boolean>>()

  constructor(
    private readonly connections: HttpConnections,
    private readonly options: WebhdfsOptions,
    /** Of one try of one request. */
    private readonly timeoutMs: number,
  ) {}

  /** A request that the NameNode answers itself. All of them may be sent again. */
  ask(call: NameNodeCall, maxBodyBytes = MAX_REPLY_BYTES): Promise<HttpResponse> {
    return this.connections.retrying(() => this.askOnce(call, maxBodyBytes))
  }

  async askOnce(call: NameNodeCall, maxBodyBytes = MAX_REPLY_BYTES): Promise<HttpResponse> {
    const httpCall = this.httpCall(call, maxBodyBytes)
    const answer = await this.toNameNode(httpCall)
    if (answer.status !== 200) throw refusal(placeOf(httpCall), answer)
    return answer
  }

  /** The request that the NameNode names for the data of `call`. */
  async redirection(call: NameNodeCall, maxBodyBytes = MAX_REPLY_BYTES): Promise<HttpRequest> {
    const httpCall = this.httpCall(call, MAX_REPLY_BYTES)
    const answer = await this.toNameNode(httpCall)
    const { location = '' } = answer.headers
    if (answer.status !== 307 || !URL.canParse(location)) throw refusal(placeOf(httpCall), answer)
    const { origin, protocol, hostname } = new URL(location)
    if (protocol !== 'http:' && protocol !== 'https:') throw refusal(placeOf(httpCall), answer)
    const lookup = await this.requireDataNode(httpCall.origin, protocol, hostname.replace(/^\[|\]$/g, ''))
    const target = targetOf(location.slice(location.indexOf('/', `${protocol}//`.length)), call.path)
    return { ...httpCall, origin, target, maxBodyBytes, lookup }
  }

  /**
   * The NameNode, or whoever answers in its place, sends us on with what lets us in. A DataNode is not on this host, unless the NameNode
   * is, nowhere that only a link knows, and not where what was encrypted would pass in the clear. Returns how its name is looked up.
   * @throws StorageError EACCES for what can be no DataNode
   */
  private async requireDataNode(nameNode: string, protocol: string, host: string): Promise<LookupFunction> {
    if (protocol === 'http:' && nameNode.startsWith('https:')) throw forbidden(`http://${host}`)
    const mayBeLoopback = await this.isNameNodeHere(nameNode)
    if (isIP(host) !== 0 && !mayBeSentTo(host, mayBeLoopback)) throw forbidden(host)
    return lookupOfSent(mayBeLoopback)
  }

  private isNameNodeHere(nameNode: string): Promise<boolean> {
    let isHere = this.nameNodesHere.get(nameNode)
    if (isHere === undefined) {
      isHere = addressesOf(new URL(nameNode).hostname.replace(/^\[|\]$/g, '')).then(
        (addresses) => addresses.some(isLoopback),
        // Reached through a proxy, so it is elsewhere.
        () => false,
      )
      this.nameNodesHere.set(nameNode, isHere)
    }
    return isHere
  }

  /** To the NameNode that answered last; where it can't, the next try goes to the next one. */
  private async toNameNode(call: HttpRequest): Promise<HttpResponse> {
    const { endpoints } = this.options
    const used = this.activeEndpoint
    const goOn = (): void => {
      if (this.activeEndpoint === used) this.activeEndpoint = (used + 1) % endpoints.length
    }
    try {
      const answer = await this.connections.send(call, call.method === 'GET' ? undefined : NO_BODY)
      if (answer.status === 403 && answer.body.includes('"StandbyException"')) goOn()
      return answer
    } catch (error) {
      goOn()
      throw error
    }
  }

  private httpCall({ method, op, path, parameters = {} }: NameNodeCall, maxBodyBytes: number): HttpRequest {
    const { endpoints, user, delegation } = this.options
    const endpoint = new URL(endpoints[this.activeEndpoint] ?? '')
    const query = new URLSearchParams({ op })
    if (user !== undefined) query.set('user.name', user)
    if (delegation !== undefined) query.set('delegation', delegation)
    for (const [name, value] of Object.entries(parameters)) query.set(name, String(value))
    // "+" for a space is what forms do; a NameNode takes both.
    const search = query.toString().replaceAll('+', '%20')
    const prefix = endpoint.pathname === '/' ? '' : endpoint.pathname
    const target = `${prefix}${API_PREFIX}${encodePath(path)}?${search}`
    return {
      ...{ method, origin: endpoint.origin, target, timeoutMs: this.timeoutMs, maxBodyBytes },
      headers: method === 'GET' ? {} : BODY_HEADERS,
    }
  }
}

/**
 * Path and query of a redirection. The NameNode brings a path into Unicode's NFC on the way, so that a name in another
 * form (macOS writes some) would not be found, or another file be meant: ours is put back.
 */
export function targetOf(target: string, path: string): string {
  const normalized = path.normalize('NFC')
  if (normalized === path) return target
  const end = target.indexOf('?')
  const decoded = decodeURIComponent(end < 0 ? target : target.slice(0, end))
  if (!decoded.endsWith(normalized)) return target
  return `${encodeURI(decoded.slice(0, -normalized.length))}${encodePath(path)}${end < 0 ? '' : target.slice(end)}`
}
