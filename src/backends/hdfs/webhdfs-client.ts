/**
 * WebHDFS, Hadoop's file system over HTTP: names are the NameNode's business, data goes to and from the DataNode that it
 * sends us to. Paths here are absolute. https://hadoop.apache.org/docs/stable/hadoop-project-dist/hadoop-hdfs/WebHDFS.html
 */
import {
  HttpConnections,
  placeOf,
  type HttpRequest,
  type HttpResponse,
  type HttpUpload,
} from '../http/http-connection.js'
import { connectionError, HttpError } from '../http/http-error.js'
import { refusal } from './webhdfs-errors.js'
import type { WebhdfsOptions } from './webhdfs-options.js'

/** A listing in one piece of a million names; one in batches is far below. */
const MAX_ANSWER_BYTES = 512 << 20
/** What a DataNode says when it has stored something, or why not. */
const MAX_REPLY_BYTES = 1 << 20
/** Unfinished uploads that are remembered; more than fail while a server is away and few try. */
const MAX_LEFTOVERS = 10_000
const API_PREFIX = '/webhdfs/v1'
/** A body of another type is refused. */
const BODY_HEADERS = { 'content-type': 'application/octet-stream' }
const NO_BODY = new Uint8Array(0)

/** As HDFS shows it in JSON. */
export interface FileStatus {
  /** The name in a listing. */
  readonly pathSuffix: string
  readonly type: 'FILE' | 'DIRECTORY' | 'SYMLINK'
  /** Bytes. */
  readonly length: number
  /** Milliseconds since the epoch. */
  readonly modificationTime: number
  readonly fileId: number
  readonly owner: string
  readonly group: string
  /** Octal digits. */
  readonly permission: string
  readonly replication: number
}

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

interface Reply extends HttpResponse {
  /** An earlier try may have been done without our hearing of it. */
  readonly isRepeated: boolean
}

interface Listing {
  readonly FileStatuses: { readonly FileStatus: readonly FileStatus[] }
}

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
  private isDiscarding = false

  constructor(
    private readonly options: WebhdfsOptions,
    /** Of one try of one request. */
    private readonly timeoutMs: number,
  ) {}

  /** null when nothing is there. */
  async status(path: string): Promise<FileStatus | null> {
    try {
      const reply = await this.ask({ method: 'GET', op: 'GETFILESTATUS', path })
      return (parse(reply) as { FileStatus: FileStatus }).FileStatus
    } catch (error) {
      // Below a file nothing is there either.
      if (error instanceof HttpError && (error.errno === 'ENOENT' || error.errno === 'ENOTDIR')) return null
      throw error
    }
  }

  /** A file lists itself, with pathSuffix ''. */
  async list(path: string): Promise<FileStatus[]> {
    if (!this.options.listsInBatches) {
      const reply = await this.ask({ method: 'GET', op: 'LISTSTATUS', path })
      return [...(parse(reply) as Listing).FileStatuses.FileStatus]
    }
    const found: FileStatus[] = []
    for (;;) {
      const last = found.at(-1)
      const parameters: Parameters = last === undefined ? {} : { startAfter: last.pathSuffix }
      const reply = await this.ask({ method: 'GET', op: 'LISTSTATUS_BATCH', path, parameters })
      const { DirectoryListing: batch } = parse(reply) as {
        DirectoryListing: { partialListing: Listing; remainingEntries: number }
      }
      const entries = batch.partialListing.FileStatuses.FileStatus
      for (const entry of entries) found.push(entry)
      if (batch.remainingEntries === 0 || entries.length === 0) return found
    }
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

  /** Sent once: a second time would append twice. */
  async append(path: string, data: Uint8Array): Promise<void> {
    const call: NameNodeCall = { method: 'POST', op: 'APPEND', path }
    const dataNodeCall = await this.connections.retrying(() => this.redirection(call, MAX_REPLY_BYTES))
    await this.send(dataNodeCall, data, 200)
  }

  private async send(call: HttpRequest, data: Uint8Array, expectedStatus: number): Promise<void> {
    const answer = await this.connections.send(call, data)
    if (answer.status !== expectedStatus) throw refusal(placeOf(call), answer)
  }

  /**
   * Remove what was not finished. One try, so that whoever waits for the error does not wait for this too; never rejects.
   * What could not be removed is, by `discardLeftovers`.
   */
  async discard(path: string): Promise<void> {
    try {
      await this.askOnce(deleteCall(path), false)
      this.leftovers.delete(path)
    } catch {
      if (this.leftovers.size < MAX_LEFTOVERS) this.leftovers.add(path)
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

  /** @throws HttpError ENOENT when nothing is there */
  async delete(path: string): Promise<void> {
    const reply = await this.ask(deleteCall(path))
    const { boolean: isDeleted } = parse(reply) as { boolean: boolean }
    if (!isDeleted && !reply.isRepeated) throw new HttpError({ errno: 'ENOENT' }, `DELETE ${path}: not there`)
  }

  /**
   * `source` is what is at `from`: it tells whether a rename whose answer was lost has been done.
   * @throws HttpError EEXIST when something is at `to` and may not be overwritten
   */
  async rename(from: string, to: string, overwrite: boolean, source: FileStatus): Promise<void> {
    const parameters = { destination: to, renameoptions: overwrite ? 'OVERWRITE' : 'NONE' }
    try {
      await this.ask({ method: 'PUT', op: 'RENAME', path: from, parameters })
    } catch (error) {
      if (!(error instanceof HttpError)) throw error
      // A file and a directory: HDFS looks at that before it looks whether it may overwrite.
      if (error.errno === 'EISDIR' && !overwrite)
        throw new HttpError({ errno: 'EEXIST' }, error.message, error)
      if (!error.isRepeated) throw error
      const moved = await this.status(to)
      if (moved?.fileId !== source.fileId) throw error
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
    await this.ask({ method: 'PUT', op, path, parameters })
  }

  async fileSystemStatus(): Promise<FileSystemStatus> {
    return (
      parse(await this.ask({ method: 'GET', op: 'GETSTATUS', path: '/' })) as { FsStatus: FileSystemStatus }
    ).FsStatus
  }

  /** A request that the NameNode answers itself. All of them may be sent again. */
  private ask(call: NameNodeCall): Promise<Reply> {
    return this.connections.retrying((mayBeDone) => this.askOnce(call, mayBeDone))
  }

  private async askOnce(call: NameNodeCall, isRepeated: boolean): Promise<Reply> {
    const httpCall = this.httpCall(call, MAX_ANSWER_BYTES)
    const answer = await this.toNameNode(httpCall)
    if (answer.status !== 200) throw refusal(placeOf(httpCall), answer)
    return { ...answer, isRepeated }
  }

  /** The request that the NameNode names for the data of `call`. */
  private async redirection(call: NameNodeCall, maxBodyBytes: number): Promise<HttpRequest> {
    const httpCall = this.httpCall(call, MAX_REPLY_BYTES)
    const answer = await this.toNameNode(httpCall)
    const { location = '' } = answer.headers
    if (answer.status !== 307 || !URL.canParse(location)) throw refusal(placeOf(httpCall), answer)
    const { origin, protocol } = new URL(location)
    if (protocol !== 'http:' && protocol !== 'https:') throw refusal(placeOf(httpCall), answer)
    const target = targetOf(location.slice(location.indexOf('/', `${protocol}//`.length)), call.path)
    return { ...httpCall, origin, target, maxBodyBytes }
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
function parse({ body }: HttpResponse): unknown {
  try {
    return JSON.parse(body.toString('utf8'))
  } catch (error) {
    throw connectionError('an answer that is not WebHDFS', error)
  }
}

function requireTrue(reply: Reply, path: string): void {
  if ((parse(reply) as { boolean?: boolean }).boolean === true) return
  throw new HttpError({ errno: 'EIO', retryable: true }, `${path}: the NameNode refused without a reason`)
}
