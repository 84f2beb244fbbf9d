/**
 * WebHDFS, Hadoop's file system over HTTP: names are the NameNode's business, data goes to and from the DataNode that it
 * sends us to. Paths here are absolute. https://hadoop.apache.org/docs/stable/hadoop-project-dist/hadoop-hdfs/WebHDFS.html
 */
import { connectionError, HttpError } from '../http/http-error.js'
import { HttpConnections } from '../http/http-connection.js'
import { placeOf, type HttpRequest } from '../http/http-message.js'
import type { HttpUpload } from '../http/http-upload.js'
import { stepTo, TRAIL_START } from '../trail.js'
import { parseStatus, type FileStatus } from './file-status.js'
import { MAX_REPLY_BYTES, NameNodes, type NameNodeCall, type Parameters } from './name-nodes.js'
import { booleanOf, NOT_WEBHDFS, parse, requireEmpty, requireTrue } from './webhdfs-answers.js'
import { refusal } from './webhdfs-errors.js'
import type { WebhdfsOptions } from './webhdfs-options.js'

/** A listing in one piece, of a million names. */
const MAX_LISTING_BYTES = 512 << 20
/** A batch of one: a thousand names of 255 bytes, which JSON may write as six each, and what is told of them (HDFS gives at most `dfs.ls.limit`). */
const MAX_BATCH_BYTES = 16 << 20
/** Unfinished uploads that are remembered; more than fail while a server is away and few try. */
const MAX_LEFTOVERS = 10_000

/** Bytes of the whole file system, replicas counted. */
export interface FileSystemStatus {
  readonly capacity: number
  readonly remaining: number
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
  private readonly nameNodes: NameNodes
  /** Unfinished uploads that could not be removed. */
  private readonly leftovers = new Set<string>()
  /** The highest number of a file that was seen: HDFS gives them in order, so what is beyond it was made later. */
  private lastFileId = 0
  private isDiscarding = false

  constructor(
    private readonly options: WebhdfsOptions,
    /** Of one try of one request. */
    timeoutMs: number,
  ) {
    this.nameNodes = new NameNodes(this.connections, options, timeoutMs)
  }

  /** null when nothing is there. */
  async status(path: string): Promise<FileStatus | null> {
    try {
      const reply = await this.nameNodes.ask({ method: 'GET', op: 'GETFILESTATUS', path })
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
      const reply = await this.nameNodes.ask({ method: 'GET', op: 'LISTSTATUS', path }, MAX_LISTING_BYTES)
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
    const reply = await this.nameNodes.ask(
      { method: 'GET', op: 'LISTSTATUS_BATCH', path, parameters },
      MAX_BATCH_BYTES,
    )
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
      const dataNodeCall = await this.nameNodes.redirection(call, limit)
      const answer = await this.connections.send(dataNodeCall)
      if (answer.status !== 200) throw refusal(placeOf(dataNodeCall), answer)
      return answer.body
    })
  }

  /** Store a new file in one request. Not tried again: the caller does that under another name, since this may be under way. */
  async create(path: string, data: Uint8Array): Promise<void> {
    const dataNodeCall = await this.nameNodes.redirection(createCall(path))
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
      await this.send(await this.nameNodes.redirection(createCall(path)), new Uint8Array(1), 201)
    } catch (reason) {
      // EEXIST: part of the file was stored.
      if (reason instanceof HttpError && !reason.again && reason.errno !== 'EEXIST') return reason
    }
    return failure
  }

  /** Start to store a new file. */
  async beginCreate(path: string): Promise<HttpUpload> {
    const dataNodeCall = await this.connections.retrying(() => this.nameNodes.redirection(createCall(path)))
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
    return this.connections.retrying(() => this.nameNodes.redirection(call))
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
    return booleanOf(await this.nameNodes.ask(call))
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
      const reply = await this.nameNodes.askOnce(deleteCall(path))
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
    requireTrue(await this.nameNodes.ask({ method: 'PUT', op: 'MKDIRS', path }), path)
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
      const isDeleted = booleanOf(await this.nameNodes.askOnce(deleteCall(path)))
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
      requireEmpty(await this.nameNodes.askOnce({ method: 'PUT', op: 'RENAME', path: from, parameters }))
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
    requireEmpty(await this.nameNodes.ask({ method: 'PUT', op, path, parameters }))
  }

  async fileSystemStatus(): Promise<FileSystemStatus> {
    const answer = parse(await this.nameNodes.ask({ method: 'GET', op: 'GETSTATUS', path: '/' }))
    const { FsStatus: status } = answer as { FsStatus?: Partial<FileSystemStatus> }
    const { capacity, remaining } = status ?? {}
    if (typeof capacity === 'number' && typeof remaining === 'number') return { capacity, remaining }
    throw connectionError(NOT_WEBHDFS, new Error('it tells no capacity'))
  }
}

function endless(path: string): HttpError {
  return new HttpError({ errno: 'EIO', retryable: true }, `${path}: the NameNode's listing does not get on`)
}
