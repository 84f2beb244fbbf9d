/** All requests to S3, one method each. */
import { createHash } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import { copyTimeMs } from '../objects/copy-time.js'
import { crc32c } from './crc32c.js'
import type { Headers } from '../objects/file-attributes.js'
import { HttpConnections } from '../http/http-connection.js'
import type { HttpHead, HttpRequest, HttpResponse } from '../http/http-message.js'
import { HttpError, type Repeats } from '../http/http-error.js'
import { S3CredentialSource, type S3Credentials } from './s3-credentials.js'
import { s3Error, S3Error } from './s3-errors.js'
import { parseS3Options, type S3Options } from './s3-options.js'
import { encodeKey, encodeStrictly, S3Signer } from './s3-signature.js'
import { elementText, escapeText } from './s3-xml.js'

export const METADATA_PREFIX = 'x-amz-meta-'
/** An answer with a list of parts or an error. */
const MAX_ANSWER_BYTES = 1 << 20
/** A thousand keys of 1024 bytes, each of which may be written as six, with what is told of them. */
const MAX_LIST_BYTES = 8 << 20
/** Begins the document of an error. */
const LATE_ERROR = /<Error[\s>]/

interface S3Request {
  readonly method: 'GET' | 'HEAD' | 'PUT' | 'POST' | 'DELETE'
  readonly key: string
  readonly query?: Readonly<Record<string, string>>
  readonly headers?: Headers
  readonly body?: Uint8Array
  /** Statuses that are no error. */
  readonly expect: readonly number[]
  /** Added to the deadline of each try. */
  readonly extraTimeMs?: number
  readonly maxAnswerBytes?: number
  /** Default: any, for what is asked for and what may be done twice. */
  readonly repeats?: Repeats
  /** See `HttpRequest.check`. */
  readonly check?: (head: HttpHead) => void
}

/** A part of an upload, as its completion names it. */
export interface S3Part {
  readonly number: number
  readonly etag: string
  readonly checksum: Headers
}

export class S3Client {
  readonly options: S3Options
  readonly connections = new HttpConnections()
  private readonly credentials: S3CredentialSource
  private readonly host: string
  private readonly signer: S3Signer

  /** Uploads of this mount that could not be ended while the server was away. */
  readonly leftovers = new Set<{ abortOnce(): Promise<void> }>()

  /** @param timeoutMs of one try of one request */
  constructor(
    options: Readonly<Record<string, string>>,
    private readonly timeoutMs: number,
  ) {
    this.options = parseS3Options(options)
    this.host = new URL(this.options.origin).host
    this.signer = new S3Signer(this.options.region)
    this.credentials = new S3CredentialSource(this.options.credentials)
  }

  /** The key of a path below the mount's root. */
  keyOf(path: string): string {
    return this.options.root + path
  }

  /** null when there is no such object. */
  async head(key: string): Promise<IncomingHttpHeaders | null> {
    const headers = this.options.customerKeyHeaders
    const response = await this.request({ method: 'HEAD', key, headers, expect: [200, 404] })
    return response.status === 404 ? null : response.headers
  }

  /** The first `maxBytes` of an object, with its headers; null when there is none. */
  async get(key: string, maxBytes: number): Promise<HttpResponse | null> {
    const headers = { ...this.options.customerKeyHeaders, range: `bytes=0-${maxBytes - 1}` }
    const response = await this.request({ method: 'GET', key, headers, expect: [200, 206, 404, 416] })
    return response.status === 404 ? null : response
  }

  /** Any part of an object. `check` sees the answer's head before a byte of its body is taken. */
  getRange(
    key: string,
    headers: Headers,
    maxAnswerBytes: number,
    check: (head: HttpHead) => void,
  ): Promise<HttpResponse> {
    return this.request({
      ...{ method: 'GET', key, expect: [200, 206], maxAnswerBytes, check },
      headers: { ...this.options.customerKeyHeaders, ...headers },
    })
  }

  /** The XML of one page of a list; `query` says which. */
  async list(query: Readonly<Record<string, string>>): Promise<string> {
    const response = await this.request({
      ...{ method: 'GET', key: '', query, expect: [200, 404], maxAnswerBytes: MAX_LIST_BYTES },
    })
    if (response.status === 200) return response.body.toString('utf8')
    // Nothing is known of the names that are asked for: the bucket is missing, or it is another server.
    const { message } = s3Error('GET', response)
    throw new HttpError({ errno: 'EIO', retryable: true }, message)
  }

  /** Store an object of at most 5 GiB. Returns its etag. */
  async put(key: string, body: Uint8Array, headers: Headers, repeats: Repeats = 'any'): Promise<string> {
    const { storeHeaders, customerKeyHeaders } = this.options
    const response = await this.request({
      ...{ method: 'PUT', key, body, expect: [200], repeats },
      headers: { ...storeHeaders, ...customerKeyHeaders, ...headers },
    })
    return quoteEtag(response.headers.etag ?? '')
  }

  async delete(key: string, headers: Headers = {}): Promise<void> {
    await this.request({ method: 'DELETE', key, headers, expect: [200, 204, 404] })
  }

  /** Copy an object of at most 5 GiB within the bucket. Returns the copy's etag. */
  async copy(
    from: string,
    to: string,
    sizeBytes: number,
    headers: Headers,
    repeats: Repeats = 'any',
  ): Promise<string> {
    const { storeHeaders, customerKeyHeaders } = this.options
    const response = await this.request({
      ...{ method: 'PUT', key: to, expect: [200], extraTimeMs: copyTimeMs(sizeBytes), repeats },
      headers: { ...storeHeaders, ...customerKeyHeaders, ...this.copySource(from), ...headers },
    })
    return etagOf(response, 'CopyObjectResult')
  }

  private copySource(from: string): Headers {
    const { bucket, copySourceKeyHeaders } = this.options
    return { 'x-amz-copy-source': `/${bucket}/${encodeKey(from)}`, ...copySourceKeyHeaders }
  }

  /** Returns the upload's id. */
  async createUpload(key: string, headers: Headers): Promise<string> {
    const { storeHeaders, customerKeyHeaders, checksum } = this.options
    const response = await this.request({
      ...{ method: 'POST', key, query: { uploads: '' }, expect: [200] },
      headers: {
        ...storeHeaders,
        ...customerKeyHeaders,
        ...(checksum === 'crc32c' ? { 'x-amz-checksum-algorithm': 'CRC32C' } : {}),
        ...headers,
      },
    })
    const uploadId = elementText(response.body.toString('utf8'), 'UploadId')
    if (uploadId === null) throw s3Error(`POST ${key}: no upload id`, response)
    return uploadId
  }

  async uploadPart(key: string, uploadId: string, number: number, body: Uint8Array): Promise<S3Part> {
    const checksum = checksumHeaders(this.options.checksum, body)
    const response = await this.request({
      ...{ method: 'PUT', key, body, expect: [200] },
      query: { partNumber: String(number), uploadId },
      headers: { ...this.options.customerKeyHeaders, ...checksum },
    })
    return { number, etag: response.headers.etag ?? '', checksum }
  }

  /** A part that the server takes from another object: bytes [offset, offset + lengthBytes). */
  async copyPart(
    from: string,
    to: { readonly key: string; readonly uploadId: string; readonly number: number },
    range: { readonly offset: number; readonly lengthBytes: number },
    headers: Headers,
  ): Promise<S3Part> {
    const { key, uploadId, number } = to
    const response = await this.request({
      ...{ method: 'PUT', key, expect: [200], extraTimeMs: copyTimeMs(range.lengthBytes) },
      query: { partNumber: String(number), uploadId },
      headers: {
        ...this.options.customerKeyHeaders,
        ...this.copySource(from),
        'x-amz-copy-source-range': `bytes=${range.offset}-${range.offset + range.lengthBytes - 1}`,
        ...headers,
      },
    })
    return { number, etag: etagOf(response, 'CopyPartResult'), checksum: {} }
  }

  /** Returns the object's etag; '' where the answer is not about this object. */
  async completeUpload(
    key: string,
    uploadId: string,
    parts: readonly S3Part[],
    sizeBytes: number,
    headers: Headers = {},
    repeats: Repeats = 'any',
  ): Promise<string> {
    const list = parts.map(({ number, etag, checksum }) => {
      const crc = checksum['x-amz-checksum-crc32c']
      const crcElement = crc === undefined ? '' : `<ChecksumCRC32C>${crc}</ChecksumCRC32C>`
      return `<Part><PartNumber>${number}</PartNumber><ETag>${escapeText(etag)}</ETag>${crcElement}</Part>`
    })
    const response = await this.request({
      ...{ method: 'POST', key, query: { uploadId }, expect: [200], extraTimeMs: copyTimeMs(sizeBytes) },
      ...{ repeats, headers: { 'content-type': 'application/xml', ...headers } },
      body: Buffer.from(`<CompleteMultipartUpload>${list.join('')}</CompleteMultipartUpload>`),
    })
    const told = elementText(response.body.toString('utf8'), 'Key')
    return told === null || told === key ? etagOf(response, 'CompleteMultipartUploadResult') : ''
  }

  /** One that is gone already is fine. One try: whoever waits for the end of a failed upload does not wait for this too. */
  async abortUpload(key: string, uploadId: string): Promise<void> {
    await this.requestOnce({ method: 'DELETE', key, query: { uploadId }, expect: [200, 204, 404] })
  }

  /**
   * Send a request, again after a pause where that may help.
   * @throws HttpError
   */
  private request(request: S3Request): Promise<HttpResponse> {
    return this.connections.retrying(() => this.requestOnce(request), request.repeats)
  }

  private async requestOnce(request: S3Request): Promise<HttpResponse> {
    const credentials = await this.credentials.current()
    try {
      return await this.send(request, credentials)
    } catch (error) {
      if (credentials === null || !(error instanceof S3Error) || !error.concernsCredentials) throw error
      this.credentials.forget(credentials)
      const others = await this.credentials.current()
      if (others === credentials) throw error
      return this.send(request, others)
    }
  }

  private async send(request: S3Request, credentials: S3Credentials | null): Promise<HttpResponse> {
    const { method, key, body, expect } = request
    const call = this.callOf(request, credentials)
    const response = await this.connections.send(call, body)
    // What takes long is answered with 200 before its end is known, and an error then stands in the body.
    const isLateError =
      response.status === 200 && method !== 'GET' && LATE_ERROR.test(response.body.toString('utf8'))
    if (expect.includes(response.status) && !isLateError) return response
    throw s3Error(`${method} ${key}`, response)
  }

  private callOf(request: S3Request, credentials: S3Credentials | null): HttpRequest {
    const { method, key, query, headers, check } = request
    const path = `${this.options.pathPrefix}/${encodeKey(key)}`
    const search = query === undefined ? '' : searchOf(query)
    const unsigned = { host: this.host, ...this.options.everyHeaders, ...headers }
    return {
      method,
      origin: this.options.origin,
      target: search === '' ? path : `${path}?${search}`,
      headers:
        credentials === null
          ? unsigned
          : this.signer.sign({ method, path, search, headers: unsigned }, credentials),
      asksFirst: true,
      maxBodyBytes: request.maxAnswerBytes ?? MAX_ANSWER_BYTES,
      timeoutMs: this.timeoutMs + (request.extraTimeMs ?? 0),
      ...(check === undefined ? {} : { check }),
    }
  }
}

function searchOf(query: Readonly<Record<string, string>>): string {
  return Object.keys(query)
    .sort()
    .map((name) => `${encodeStrictly(name)}=${encodeStrictly(query[name] ?? '')}`)
    .join('&')
}

function checksumHeaders(algorithm: S3Options['checksum'], body: Uint8Array): Headers {
  switch (algorithm) {
    case 'crc32c':
      return { 'x-amz-checksum-crc32c': crc32c(body).toString('base64') }
    case 'md5':
      return { 'content-md5': createHash('md5').update(body).digest('base64') }
    case null:
      return {}
  }
}

/** Of an answer that names it in its body; '' where it is no answer to that request. */
function etagOf({ body }: HttpResponse, root: string): string {
  const xml = body.toString('utf8')
  return new RegExp(`<${root}[\\s>]`).test(xml) ? quoteEtag(elementText(xml, 'ETag') ?? '') : ''
}

/** An etag as HTTP has it; some servers leave the quotes away. */
export function quoteEtag(etag: string): string {
  return etag === '' || etag.startsWith('"') ? etag : `"${etag}"`
}
