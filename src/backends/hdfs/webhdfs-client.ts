/**
 * WebHDFS, Hadoop's file system over HTTP: names are the NameNode's business, data goes to and from the DataNode that it
 * sends us to. Paths here are absolute. https://hadoop.apache.org/docs/stable/hadoop-project-dist/hadoop-hdfs/WebHDFS.html
 */
import { isIP, type LookupFunction } from 'node:net'
import { addressesOf, forbidden, isLoopback, lookupOfSent, mayBeSentTo } from '../http/address-rules.js'
import { HttpConnections } from '../http/http-connection.js'
import { placeOf, type HttpRequest, type HttpResponse } from '../http/http-message.js'
import type { HttpUpload } from '../http/http-upload.js'
import { connectionError, HttpError } from '../http/http-error.js'
import { stepTo, TRAIL_START } from '../trail.js'
import { parseStatus, type FileStatus } from './file-status.js'
import { refusal } from './webhdfs-errors.js'
import type { WebhdfsOptions } from './webhdfs-options.js'

/** A listing in one piece, of a million names. */
const MAX_LISTING_BYTES = 512 << 20
/** A batch of one: a thousand names of 255 bytes, which JSON may write as six each, and what is told of them (HDFS gives at most `dfs.ls.limit`). */
const MAX_BATCH_BYTES = 16 << 20
/** What a DataNode says when it has stored something, or why not. */
const MAX_REPLY_BYTES = 1 << 20
/** Unfinished uploads that are remembered; more than fail while a server is away and few try. */
const MAX_LEFTOVERS = 10_000
const API_PREFIX = '/webhdfs/v1'
/** A body of another type is refused. */
const BODY_HEADERS = { 'content-type': 'application/octet-stream' }
const NO_BODY = new Uint8Array(0)
const NOT_WEBHDFS = 'an answer that is not WebHDFS'

/** Bytes of the whole file system, replicas counted. */
export interface FileSystemStatus {
  readonly capacity: number
  readonly remaining: number
}

type Parameters = Readonly<Record<string, string | number | boolean>>

interface NameNodeCall {
  readonly method: 'GET' | 'PUT' | 'POST' | 'DELETE'
  readonly op: string
  readonly path: string
  readonly parameters?: Parameters
}

interface Listing {
  readonly FileStatuses: { readonly FileStatus: readonly unknown[] }
}

interface Batch {
  readonly partialListing: Listing
  readonly remainingEntries: number
}

/** What became of something that is not wanted any more. */
export type Discarded = 'removed' | 'missing' | 'unknown'

function createCall(path: string): NameNodeCall {
  return { method: 'PUT', op: 'CREATE', path, parameters: { overwrite: false } }
}

function deleteCall(path: string): NameNodeCall {
  return { method: 'DELETE', op: 'DELETE', path, parameters: { recursive: false } }
}

export class WebhdfsClient {
  readonly connections = new HttpConnections()
  private activeEndpoint = 0
  /** Unfinished uploads that could not be removed. */
  private readonly leftovers = new Set<string>()
  /** The highest number of a file that was seen: HDFS gives them in order, so what is beyond it was made later. */
  private lastFileId = 0
  private isDiscarding = false
  /** By origin: whether it is on this host. */
  private readonly nameNodesHere = new Map<string, Promise<boolean>>()

  constructor(
    private readonly options: WebhdfsOptions,
    /** Of one try of one request. */
    private readonly timeoutMs: number,
  ) {}

  /** null when nothing is there. */
  async status(path: string): Promise<FileStatus | null> {
    try {
      const reply = await this.ask({ method: 'GET', op: 'GETFILESTATUS', path })
      return this.seen(parseStatus((parse(reply) as { FileStatus?: unknown }).FileStatus))
    } catch (error) {
      // Below a file nothing is there either.
      if (error instanceof HttpError && (error.errno === 'ENOENT' || error.errno === 'ENOTDIR')) return null
      throw error
    }
  }

  private seen(status: FileStatus): FileStatus {
    if (status.fileId > this.lastFileId) this.lastFileId = status.fileId
    return status
  }

  /** A file lists itself, with pathSuffix ''. */
  async list(path: string): Promise<FileStatus[]> {
    if (!this.options.listsInBatches) {
      const reply = await this.ask({ method: 'GET', op: 'LISTSTATUS', path }, MAX_LISTING_BYTES)
      return this.listed(parse(reply))
    }
    const found: FileStatus[] = []
    let trail = TRAIL_START
    for (let startAfter: string | null = null; ;) {
      const batch = await this.listBatch(path, startAfter)
      for (const entry of batch.entries) found.push(entry)
      startAfter = batch.next
      if (startAfter === null) return found
      const next = stepTo(trail, startAfter)
      if (next === null) throw endless(path)
      trail = next
    }
  }

  /** The entries behind that of the name `startAfter`; null: from the first on. `next`: what the following ones are asked for with. */
  async listBatch(
    path: string,
    startAfter: string | null,
  ): Promise<{ readonly entries: FileStatus[]; readonly next: string | null }> {
    const parameters: Parameters = startAfter === null ? {} : { startAfter }
    const reply = await this.ask({ method: 'GET', op: 'LISTSTATUS_BATCH', path, parameters }, MAX_BATCH_BYTES)
    const { DirectoryListing: batch } = parse(reply) as { DirectoryListing?: Partial<Batch> }
    const entries = this.listed(batch?.partialListing ?? {})
    if (batch?.remainingEntries === 0) return { entries, next: null }
    const last = entries.at(-1)?.pathSuffix
    // What does not get on would not end, and what ends here would be half a listing.
    if (last === undefined || last === startAfter) throw endless(path)
    return { entries, next: last }
  }

  private listed({ FileStatuses: statuses }: Partial<Listing>): FileStatus[] {
    if (Array.isArray(statuses?.FileStatus))
      return statuses.FileStatus.map((status: unknown) => this.seen(parseStatus(status)))
    throw new HttpError({ errno: 'EIO', retryable: true }, 'the answer to a listing is no list')
  }

  /** Fewer bytes where the file ends. */
  async open(path: string, offset: number, lengthBytes: number): Promise<Buffer> {
    const call: NameNodeCall = {
      method: 'GET',
      op: 'OPEN',
      path,
      parameters: { offset, length: lengthBytes },
    }
    const limit = Math.max(lengthBytes, MAX_REPLY_BYTES)
    return this.connections.retrying(async () => {
      const dataNodeCall = await this.redirection(call, limit)
      const answer = await this.connections.send(dataNodeCall)
      if (answer.status !== 200) throw refusal(placeOf(dataNodeCall), answer)
      return answer.body
    })
  }

  /** Store a new file in one request. Not tried again: the caller does that under another name, since this may be under way. */
  async create(path: string, data: Uint8Array): Promise<void> {
    const dataNodeCall = await this.redirection(createCall(path), MAX_REPLY_BYTES)
    try {
      await this.send(dataNodeCall, data, 201)
    } catch (error) {
      const reason = await this.reasonOf(path, error)
      await this.discard(path)
      throw reason
    }
  }

  /**
   * Why a file could not be stored. A DataNode that refuses does not read the rest, so its answer may be lost with the
   * connection: a file of one byte, which needs the same permissions and quotas, gets the answer again.
   */
  async reasonOf(path: string, error: unknown): Promise<Error> {
    const failure = error instanceof Error ? error : new Error(String(error))
    if (!(error instanceof HttpError) || error.errno !== 'EIO' || !error.again) return failure
    try {
      await this.send(await this.redirection(createCall(path), MAX_REPLY_BYTES), new Uint8Array(1), 201)
    } catch (reason) {
      // EEXIST: part of the file was stored.
      if (reason instanceof HttpError && !reason.again && reason.errno !== 'EEXIST') return reason
    }
    return failure
  }

  /** Start to store a new file. */
  async beginCreate(path: string): Promise<HttpUpload> {
    const dataNodeCall = await this.connections.retrying(() =>
      this.redirection(createCall(path), MAX_REPLY_BYTES),
    )
    return this.connections.beginUpload(dataNodeCall, (answer) => refusal(placeOf(dataNodeCall), answer))
  }

  /** @throws HttpError where the file was not stored */
  async finishCreate(upload: HttpUpload): Promise<void> {
    const answer = await upload.finish()
    if (answer.status !== 201) throw refusal('CREATE', answer)
  }

  /** Where to send what is to be appended: nothing is done yet. */
  async beginAppend(path: string): Promise<HttpRequest> {
    const call: NameNodeCall = { method: 'POST', op: 'APPEND', path }
    return this.connections.retrying(() => this.redirection(call, MAX_REPLY_BYTES))
  }

  /** Sent once: a second time would append twice. */
  async append(dataNodeCall: HttpRequest, data: Uint8Array): Promise<void> {
    await this.send(dataNodeCall, data, 200)
  }

  /** Cut a file that nobody has open. False while HDFS is still at it. */
  async truncate(path: string, lengthBytes: number): Promise<boolean> {
    const call: NameNodeCall = {
      method: 'POST',
      op: 'TRUNCATE',
      path,
      parameters: { newlength: lengthBytes },
    }
    return booleanOf(await this.ask(call))
  }

  private async send(call: HttpRequest, data: Uint8Array, expectedStatus: number): Promise<void> {
    const answer = await this.connections.send(call, data)
    if (answer.status !== expectedStatus) throw refusal(placeOf(call), answer)
  }

  /**
   * Remove what was not finished. One try, so that whoever waits for the error does not wait for this too; never rejects.
   * What could not be removed is, by `discardLeftovers`.
   */
  async discard(path: string): Promise<Discarded> {
    try {
      const reply = await this.askOnce(deleteCall(path))
      const isRemoved = booleanOf(reply)
      this.leftovers.delete(path)
      return isRemoved ? 'removed' : 'missing'
    } catch {
      if (this.leftovers.size < MAX_LEFTOVERS) this.leftovers.add(path)
      return 'unknown'
    }
  }

  /** The server does its work again: try once more, one after the other, until one fails. Never rejects. */
  async discardLeftovers(): Promise<void> {
    if (this.isDiscarding) return
    this.isDiscarding = true
    for (const path of this.leftovers) {
      await this.discard(path)
      if (this.leftovers.has(path)) break
    }
    this.isDiscarding = false
  }

  /** With missing parents; one that is there already is fine. */
  async makeDirectories(path: string): Promise<void> {
    requireTrue(await this.ask({ method: 'PUT', op: 'MKDIRS', path }), path)
  }

  /**
   * Never asked for again without a look: what is there by then may be somebody else's.
   * @throws HttpError ENOENT when nothing is there
   */
  async delete(path: string): Promise<void> {
    const { lastFileId } = this
    await this.connections.retrying(async (mayBeDone) => {
      if (mayBeDone) {
        const present = await this.status(path)
        if (present === null) return
        if (present.fileId > lastFileId)
          throw new HttpError(
            { errno: 'EIO', retryable: true },
            `DELETE ${path}: somebody else made it by now`,
          )
      }
      const isDeleted = booleanOf(await this.askOnce(deleteCall(path)))
      if (!isDeleted && !mayBeDone) throw new HttpError({ errno: 'ENOENT' }, `DELETE ${path}: not there`)
    })
  }

  /**
   * One try, since what is at either place by then may be somebody else's.
   * @throws HttpError EEXIST when something is at `to` and may not be overwritten
   */
  async renameOnce(from: string, to: string, overwrite: boolean): Promise<void> {
    const parameters = { destination: to, renameoptions: overwrite ? 'OVERWRITE' : 'NONE' }
    try {
      requireEmpty(await this.askOnce({ method: 'PUT', op: 'RENAME', path: from, parameters }))
    } catch (error) {
      // A file and a directory: HDFS looks at that before it looks whether it may overwrite.
      if (!overwrite && error instanceof HttpError && error.errno === 'EISDIR')
        throw new HttpError({ errno: 'EEXIST' }, error.message, error)
      throw error
    }
  }

  /** To the millisecond. */
  async setModificationTime(path: string, modificationTimeMs: number): Promise<void> {
    await this.set('SETTIMES', path, { modificationtime: modificationTimeMs })
  }

  async setPermission(path: string, permission: string): Promise<void> {
    await this.set('SETPERMISSION', path, { permission })
  }

  async setOwner(path: string, owner: string, group: string): Promise<void> {
    await this.set('SETOWNER', path, { owner, group })
  }

  async setReplication(path: string, replication: number): Promise<void> {
    await this.set('SETREPLICATION', path, { replication })
  }

  private async set(op: string, path: string, parameters: Parameters): Promise<void> {
    requireEmpty(await this.ask({ method: 'PUT', op, path, parameters }))
  }

  async fileSystemStatus(): Promise<FileSystemStatus> {
    const answer = parse(await this.ask({ method: 'GET', op: 'GETSTATUS', path: '/' }))
    const { FsStatus: status } = answer as { FsStatus?: Partial<FileSystemStatus> }
    const { capacity, remaining } = status ?? {}
    if (typeof capacity === 'number' && typeof remaining === 'number') return { capacity, remaining }
    throw connectionError(NOT_WEBHDFS, new Error('it tells no capacity'))
  }

  /** A request that the NameNode answers itself. All of them may be sent again. */
  private ask(call: NameNodeCall, maxBodyBytes = MAX_REPLY_BYTES): Promise<HttpResponse> {
    return this.connections.retrying(() => this.askOnce(call, maxBodyBytes))
  }

  private async askOnce(call: NameNodeCall, maxBodyBytes = MAX_REPLY_BYTES): Promise<HttpResponse> {
    const httpCall = this.httpCall(call, maxBodyBytes)
    const answer = await this.toNameNode(httpCall)
    if (answer.status !== 200) throw refusal(placeOf(httpCall), answer)
    return answer
  }

  /** The request that the NameNode names for the data of `call`. */
  private async redirection(call: NameNodeCall, maxBodyBytes: number): Promise<HttpRequest> {
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

function endless(path: string): HttpError {
  return new HttpError({ errno: 'EIO', retryable: true }, `${path}: the NameNode's listing does not get on`)
}

/** A name's own "%" and whatever else means something in a URL. */
export function encodePath(path: string): string {
  return path === '' ? '/' : path.split('/').map(encodeURIComponent).join('/')
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

/** The answer's JSON; its form is WebHDFS's published schema. */
function parse({ body }: HttpResponse): object {
  let value: unknown
  try {
    value = JSON.parse(body.toString('utf8'))
  } catch (error) {
    throw connectionError(NOT_WEBHDFS, error)
  }
  if (typeof value === 'object' && value !== null) return value
  throw connectionError(NOT_WEBHDFS, new Error(`it is ${String(value)}`))
}

/** Of what is answered with yes or no. */
function booleanOf(reply: HttpResponse): boolean {
  const { boolean: told } = parse(reply) as { boolean?: unknown }
  if (typeof told === 'boolean') return told
  throw connectionError(NOT_WEBHDFS, new Error('it says neither yes nor no'))
}

/** What is done without a word is answered by nothing. */
function requireEmpty(reply: HttpResponse): void {
  if (reply.body.byteLength > 0) throw connectionError(NOT_WEBHDFS, new Error('it is not empty'))
}

function requireTrue(reply: HttpResponse, path: string): void {
  if (booleanOf(reply)) return
  throw new HttpError({ errno: 'EIO', retryable: true }, `${path}: the NameNode refused without a reason`)
}
