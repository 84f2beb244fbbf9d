import {
  encodePath,
  encodeQuery,
  HttpError,
  sendRequest,
  type HttpRequest,
  type HttpResponse,
} from './http.js'

/** How to reach a NameNode over HTTP. */
export interface WebHdfsAccess {
  /** `http://host:port` of the NameNode. */
  readonly endpoint: string
  /** Who asks, with simple authentication. */
  readonly user: string
}

/** As HDFS shows it in JSON. */
export interface HdfsFileStatus {
  /** The name in a listing, '' for the path that was asked for. */
  readonly pathSuffix: string
  readonly type: 'FILE' | 'DIRECTORY' | 'SYMLINK'
  /** Bytes. */
  readonly length: number
  /** Milliseconds since the epoch. */
  readonly modificationTime: number
  readonly accessTime: number
  readonly owner: string
  readonly group: string
  /** Octal digits. */
  readonly permission: string
  readonly replication: number
  readonly blockSize: number
  readonly fileId: number
  readonly childrenNum: number
}

type Parameters = Readonly<Record<string, string | undefined>>

/** A plain WebHDFS client. Paths are absolute: "/dir/file". */
export class WebHdfsClient {
  constructor(readonly access: WebHdfsAccess) {}

  /** null when there is no such file. */
  async read(
    path: string,
    range?: { readonly offset: number; readonly lengthBytes: number },
  ): Promise<Buffer | null> {
    const parameters: Parameters =
      range === undefined ? {} : { offset: String(range.offset), length: String(range.lengthBytes) }
    const response = await this.transfer('GET', 'OPEN', path, parameters, undefined, [200, 404])
    return response.status === 404 ? null : response.body
  }

  /** Missing parent directories are made. */
  async create(
    path: string,
    data: string | Uint8Array,
    options: { readonly overwrite?: boolean; readonly permission?: string } = {},
  ): Promise<void> {
    const parameters = { overwrite: String(options.overwrite ?? true), permission: options.permission }
    await this.transfer('PUT', 'CREATE', path, parameters, Buffer.from(data), [201])
  }

  async append(path: string, data: string | Uint8Array): Promise<void> {
    await this.transfer('POST', 'APPEND', path, {}, Buffer.from(data), [200])
  }

  /** null when there is no such directory; a file gives itself, with pathSuffix ''. */
  async list(path: string): Promise<HdfsFileStatus[] | null> {
    const response = await this.request('GET', 'LISTSTATUS', path, {}, [200, 404])
    if (response.status === 404) return null
    const { FileStatuses } = json(response) as { FileStatuses: { FileStatus: HdfsFileStatus[] } }
    return FileStatuses.FileStatus
  }

  /** Every path below `path`, relative to it, sorted; directories end in "/". */
  async tree(path: string): Promise<string[]> {
    const found: string[] = []
    const visit = async (relative: string): Promise<void> => {
      for (const { pathSuffix, type } of (await this.list(`${path}/${relative}`)) ?? []) {
        const name = type === 'DIRECTORY' ? `${relative}${pathSuffix}/` : `${relative}${pathSuffix}`
        found.push(name)
        if (type === 'DIRECTORY') await visit(name)
      }
    }
    await visit('')
    return found.sort()
  }

  async status(path: string): Promise<HdfsFileStatus | null> {
    const response = await this.request('GET', 'GETFILESTATUS', path, {}, [200, 404])
    return response.status === 404 ? null : (json(response) as { FileStatus: HdfsFileStatus }).FileStatus
  }

  /** False when nothing was there. */
  async delete(path: string, options: { readonly recursive?: boolean } = {}): Promise<boolean> {
    return this.#boolean('DELETE', 'DELETE', path, { recursive: String(options.recursive ?? false) })
  }

  async mkdirs(path: string, permission?: string): Promise<boolean> {
    return this.#boolean('PUT', 'MKDIRS', path, { permission })
  }

  async rename(from: string, to: string): Promise<boolean> {
    return this.#boolean('PUT', 'RENAME', from, { destination: to })
  }

  async truncate(path: string, lengthBytes: number): Promise<boolean> {
    return this.#boolean('POST', 'TRUNCATE', path, { newlength: String(lengthBytes) })
  }

  async setTimes(path: string, modificationTimeMs: number): Promise<void> {
    await this.request('PUT', 'SETTIMES', path, { modificationtime: String(modificationTimeMs) }, [200])
  }

  async setPermission(path: string, permission: string): Promise<void> {
    await this.request('PUT', 'SETPERMISSION', path, { permission }, [200])
  }

  async setOwner(path: string, owner: string, group?: string): Promise<void> {
    await this.request('PUT', 'SETOWNER', path, { owner, group }, [200])
  }

  /** A token that stands for the user in other clients. */
  async delegationToken(renewer = this.access.user): Promise<string> {
    const response = await this.request('GET', 'GETDELEGATIONTOKEN', '/', { renewer }, [200])
    return (json(response) as { Token: { urlString: string } }).Token.urlString
  }

  async #boolean(method: string, op: string, path: string, parameters: Parameters): Promise<boolean> {
    return (json(await this.request(method, op, path, parameters, [200])) as { boolean: boolean }).boolean
  }

  /** One request to the NameNode. */
  async request(
    method: string,
    op: string,
    path: string,
    parameters: Parameters,
    expect: readonly number[],
  ): Promise<HttpResponse> {
    const request = this.#requestOf(method, op, path, parameters)
    return expectStatus(expect, request, await sendRequest(request))
  }

  /** The NameNode names a DataNode, and that gets or gives the data. */
  async transfer(
    method: string,
    op: string,
    path: string,
    parameters: Parameters,
    body: Uint8Array | undefined,
    expect: readonly number[],
  ): Promise<HttpResponse> {
    const first = this.#requestOf(method, op, path, parameters)
    const response = await sendRequest(first)
    const { location } = response.headers
    if (response.status !== 307 || location === undefined) return expectStatus(expect, first, response)
    // The path as it was asked for: the NameNode's own has its characters composed (NFC), which is another name.
    const query = location.slice(location.indexOf('?'))
    const second: HttpRequest = {
      ...{ method, origin: new URL(location).origin, target: pathOf(path) + query },
      ...(body !== undefined && { body, headers: { 'content-type': 'application/octet-stream' } }),
    }
    return expectStatus(expect, second, await sendRequest(second))
  }

  #requestOf(method: string, op: string, path: string, parameters: Parameters): HttpRequest {
    const query = encodeQuery({ ...parameters, op, 'user.name': this.access.user })
    return { method, origin: this.access.endpoint, target: pathOf(path) + query }
  }
}

function pathOf(path: string): string {
  return `/webhdfs/v1${encodePath(path)}`
}

function expectStatus(expect: readonly number[], request: HttpRequest, response: HttpResponse): HttpResponse {
  if (!expect.includes(response.status)) throw new HttpError(request, response)
  return response
}

/** The server's words: the caller says what they are. */
function json(response: HttpResponse): unknown {
  return JSON.parse(response.body.toString('utf8'))
}
