/** A small S3 in memory, on loopback, of which each request can be answered otherwise, lost or held. No signature is checked. */
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import {
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type Server,
  type ServerResponse,
} from 'node:http'
import type { AddressInfo } from 'node:net'

const BUCKET = 'bucket'
/** Of a page, as S3 has it. */
const MAX_KEYS = 1000

export interface FakeObject {
  readonly data: Buffer
  readonly etag: string
  readonly mtime: Date
  /** User metadata and content headers. */
  readonly headers: Readonly<Record<string, string>>
}

export interface FakeCall {
  readonly method: string
  readonly key: string
  readonly query: URLSearchParams
  readonly headers: IncomingHttpHeaders
  readonly body: Buffer
}

export interface FakeAnswer {
  readonly status: number
  readonly headers?: Readonly<Record<string, string | number>>
  readonly body?: string | Buffer
}

/** Before a request is carried out: null goes on. `reset` cuts the connection. */
export type Before = FakeAnswer | 'reset' | null
/** After it was carried out: null sends the answer. `lose` cuts the connection in its place. */
export type After = FakeAnswer | 'lose' | null

const md5 = (data: Buffer): string => createHash('md5').update(data).digest('hex')
const quoted = (text: string): string => `"${text}"`

export function errorAnswer(status: number, code: string): FakeAnswer {
  return {
    status,
    body: `<?xml version="1.0"?><Error><Code>${code}</Code><Message>${code}</Message></Error>`,
  }
}

export const isProbe = ({ key }: FakeCall): boolean => key.startsWith('.ovfsd/probe-')
export const isCopy = ({ headers }: FakeCall): boolean => headers['x-amz-copy-source'] !== undefined
export const isCompletion = ({ method, query }: FakeCall): boolean =>
  method === 'POST' && query.has('uploadId')

export class FakeS3 {
  readonly objects = new Map<string, FakeObject>()
  /** Method and key of each request, in order. */
  readonly seen: string[] = []
  readonly calls: FakeCall[] = []
  before: (call: FakeCall) => Before | Promise<Before> = () => null
  after: (call: FakeCall, answer: FakeAnswer) => After | Promise<After> = () => null
  /** If-Match and If-None-Match of all requests: kept, taken no notice of, or refused with 501. */
  conditions: 'honoured' | 'ignored' | 'refused' = 'honoured'
  /** As with SSE-KMS: no MD5s. */
  hasRandomEtags = false
  keepsMetadata = true
  /** Of a listing. */
  pageKeys = MAX_KEYS
  private readonly uploads = new Map<
    string,
    { parts: Map<number, Buffer>; headers: Record<string, string> }
  >()

  private constructor(private readonly server: Server) {
    const take = (request: IncomingMessage, response: ServerResponse, isAsked: boolean): void => {
      this.take(request, response, isAsked).catch((error: unknown) => {
        response.destroy(error as Error)
      })
    }
    server.on('request', (request: IncomingMessage, response: ServerResponse) => {
      take(request, response, false)
    })
    server.on('checkContinue', (request: IncomingMessage, response: ServerResponse) => {
      take(request, response, true)
    })
  }

  static async start(): Promise<FakeS3> {
    const server = createServer()
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    server.unref()
    return new FakeS3(server)
  }

  async stop(): Promise<void> {
    const closed = once(this.server, 'close')
    this.server.close()
    this.server.closeAllConnections()
    await closed
  }

  get endpoint(): string {
    return `http://127.0.0.1:${(this.server.address() as AddressInfo).port}`
  }

  get options(): Record<string, string> {
    return {
      ...{ endpoint: this.endpoint, bucket: BUCKET, region: 'us-east-1' },
      ...{ access_key_id: 'AKIDEXAMPLE', secret_access_key: 'secretsecretsecret' },
    }
  }

  put(key: string, data: string | Buffer, headers: Record<string, string> = {}, etag?: string): FakeObject {
    const bytes = Buffer.from(data)
    const own = this.hasRandomEtags ? randomBytes(16).toString('hex') : md5(bytes)
    const object = { data: bytes, etag: etag ?? quoted(own), mtime: new Date(), headers }
    this.objects.set(key, object)
    return object
  }

  text(key: string): string | null {
    return this.objects.get(key)?.data.toString() ?? null
  }

  keys(): string[] {
    return [...this.objects.keys()].sort()
  }

  /** Forget what was asked for. */
  forget(): void {
    this.seen.length = 0
    this.calls.length = 0
  }

  private async take(request: IncomingMessage, response: ServerResponse, isAsked: boolean): Promise<void> {
    const [path = '', search = ''] = (request.url ?? '').replace(/^http:\/\/[^/]*/, '').split('?')
    if (isAsked) response.writeContinue()
    const chunks: Buffer[] = []
    for await (const chunk of request) chunks.push(chunk as Buffer)
    const call: FakeCall = {
      method: request.method ?? '',
      key: decodeURIComponent(path.replace(new RegExp(`^/${BUCKET}/?`), '')),
      query: new URLSearchParams(search),
      headers: request.headers,
      body: Buffer.concat(chunks),
    }
    this.seen.push(`${call.method} ${call.key}`)
    this.calls.push(call)
    const before = await this.before(call)
    if (before === 'reset') {
      request.socket.destroy()
      return
    }
    const answer = before ?? this.carryOut(call)
    const after = before === null ? await this.after(call, answer) : null
    if (after === 'lose') request.socket.destroy()
    else send(call, after ?? answer, response)
  }

  /** What a request is answered with when nothing goes wrong. */
  carryOut(call: FakeCall): FakeAnswer {
    const { method, key, query } = call
    if (method === 'GET' && key === '') return this.list(query)
    const object = this.objects.get(key)
    if (method === 'HEAD' || method === 'GET') return get(call, object)
    const refusal = this.refusal(call, object)
    if (refusal !== null) return refusal
    if (query.has('uploads') || query.has('uploadId')) return this.carryOutUpload(call)
    if (method === 'DELETE') {
      this.objects.delete(key)
      return { status: 204 }
    }
    return isCopy(call) ? this.copy(call) : this.store(call)
  }

  private refusal({ headers }: FakeCall, object: FakeObject | undefined): FakeAnswer | null {
    const { 'if-match': match, 'if-none-match': noneMatch } = headers
    if ((match ?? noneMatch) === undefined || this.conditions === 'ignored') return null
    if (this.conditions === 'refused') return errorAnswer(501, 'NotImplemented')
    const isRefused = match === undefined ? object !== undefined : object?.etag !== match
    return isRefused ? errorAnswer(412, 'PreconditionFailed') : null
  }

  private store({ key, headers, body }: FakeCall): FakeAnswer {
    return { status: 200, headers: { etag: this.put(key, body, this.keptOf(headers)).etag } }
  }

  private keptOf(headers: IncomingHttpHeaders): Record<string, string> {
    const kept = Object.entries(headers).filter(
      ([name]) => (this.keepsMetadata && name.startsWith('x-amz-meta-')) || name === 'content-type',
    )
    return Object.fromEntries(kept.map(([name, value]) => [name, String(value)]))
  }

  private copy({ key, headers }: FakeCall): FakeAnswer {
    const source = decodeURIComponent(String(headers['x-amz-copy-source'])).replace(/^\/?bucket\//, '')
    const from = this.objects.get(source)
    if (from === undefined) return errorAnswer(404, 'NoSuchKey')
    const match = headers['x-amz-copy-source-if-match']
    if (match !== undefined && match !== from.etag) return errorAnswer(412, 'PreconditionFailed')
    const replaces = headers['x-amz-metadata-directive'] === 'REPLACE'
    // As S3: the copy of an upload in parts has an etag of its own.
    const { etag } = this.put(key, from.data, replaces ? this.keptOf(headers) : from.headers)
    return { status: 200, body: `<CopyObjectResult><ETag>${escape(etag)}</ETag></CopyObjectResult>` }
  }

  private carryOutUpload({ method, key, query, headers, body }: FakeCall): FakeAnswer {
    if (query.has('uploads')) {
      const id = randomBytes(8).toString('hex')
      this.uploads.set(id, { parts: new Map(), headers: this.keptOf(headers) })
      return {
        status: 200,
        body: `<InitiateMultipartUploadResult><UploadId>${id}</UploadId></InitiateMultipartUploadResult>`,
      }
    }
    const id = query.get('uploadId') ?? ''
    const upload = this.uploads.get(id)
    if (upload === undefined) return errorAnswer(404, 'NoSuchUpload')
    if (method === 'PUT') {
      upload.parts.set(Number(query.get('partNumber')), body)
      return { status: 200, headers: { etag: quoted(md5(body)) } }
    }
    const told = [...body.toString().matchAll(/<ETag>(.*?)<\/ETag>/g)].map(([, etag = '']) => unescape(etag))
    const sent = [...upload.parts].sort(([a], [b]) => a - b).map(([, part]) => quoted(md5(part)))
    if (method === 'POST' && told.join() !== sent.join()) return errorAnswer(400, 'InvalidPart')
    this.uploads.delete(id)
    if (method === 'DELETE') return { status: 204 }
    const parts = [...upload.parts].sort(([a], [b]) => a - b).map(([, part]) => part)
    const digest = md5(Buffer.concat(parts.map((part) => Buffer.from(md5(part), 'hex'))))
    const etag = this.hasRandomEtags ? undefined : quoted(`${digest}-${parts.length}`)
    const made = this.put(key, Buffer.concat(parts), upload.headers, etag)
    const result = `<Key>${escape(key)}</Key><ETag>${escape(made.etag)}</ETag>`
    return {
      status: 200,
      body: `<CompleteMultipartUploadResult>${result}</CompleteMultipartUploadResult>`,
    }
  }

  /** Both versions of it: the token of the second is the marker of the first. */
  private list(query: URLSearchParams): FakeAnswer {
    const prefix = query.get('prefix') ?? ''
    const delimiter = query.get('delimiter') ?? ''
    const maxKeys = Math.min(Number(query.get('max-keys') ?? MAX_KEYS), this.pageKeys)
    const after = query.get('continuation-token') ?? query.get('marker') ?? ''
    const [objects, prefixes] = [new Map<string, FakeObject>(), new Set<string>()]
    let last: string | null = null
    let isTruncated = false
    for (const key of this.keys()) {
      if (!key.startsWith(prefix) || key <= after) continue
      const end = delimiter === '' ? -1 : key.indexOf(delimiter, prefix.length)
      const group = end < 0 ? null : key.slice(0, end + 1)
      if (group === null || !prefixes.has(group)) {
        if (objects.size + prefixes.size >= maxKeys) {
          isTruncated = true
          break
        }
        if (group === null) objects.set(key, this.objects.get(key) as FakeObject)
        else prefixes.add(group)
      }
      last = key
    }
    const isVersion2 = query.get('list-type') === '2'
    const next = isVersion2 ? 'NextContinuationToken' : 'NextMarker'
    const hasNext = isTruncated && (isVersion2 || delimiter !== '')
    const contents = [...objects].map(
      ([key, { etag, data, mtime }]) =>
        `<Contents><Key>${escape(key)}</Key><LastModified>${mtime.toISOString()}</LastModified>` +
        `<ETag>${escape(etag)}</ETag><Size>${data.length}</Size></Contents>`,
    )
    const groups = [...prefixes].map(
      (group) => `<CommonPrefixes><Prefix>${escape(group)}</Prefix></CommonPrefixes>`,
    )
    const body =
      `<ListBucketResult><IsTruncated>${isTruncated}</IsTruncated>` +
      (hasNext ? `<${next}>${escape(last ?? '')}</${next}>` : '') +
      `${contents.join('')}${groups.join('')}</ListBucketResult>`
    return { status: 200, body }
  }
}

function get({ method, headers }: FakeCall, object: FakeObject | undefined): FakeAnswer {
  if (object === undefined) return errorAnswer(404, 'NoSuchKey')
  const { data, etag, mtime, headers: own } = object
  if (headers['if-match'] !== undefined && headers['if-match'] !== etag)
    return errorAnswer(412, 'PreconditionFailed')
  const head = { ...own, etag, 'last-modified': mtime.toUTCString(), date: new Date().toUTCString() }
  const [, first, last] = /^bytes=(\d+)-(\d+)$/.exec(headers.range ?? '') ?? []
  if (method === 'HEAD' || first === undefined)
    return { status: 200, headers: { ...head, 'content-length': data.length }, body: data }
  const start = Number(first)
  if (start >= data.length) return errorAnswer(416, 'InvalidRange')
  const part = data.subarray(start, Number(last) + 1)
  const range = `bytes ${start}-${start + part.length - 1}/${data.length}`
  return {
    ...{ status: 206, body: part },
    headers: { ...head, 'content-length': part.length, 'content-range': range },
  }
}

function send(
  { method }: FakeCall,
  { status, headers, body = '' }: FakeAnswer,
  response: ServerResponse,
): void {
  response.writeHead(status, headers)
  response.end(method === 'HEAD' ? undefined : body)
}

function escape(text: string): string {
  return text.replace(/[<>&"\p{Cc}]/gu, (character) => `&#x${character.charCodeAt(0).toString(16)};`)
}

function unescape(text: string): string {
  return text
    .replace(/&#(\d+);/g, (_whole, code: string) => String.fromCharCode(Number(code)))
    .replaceAll('&quot;', '"')
}
