import type { IncomingHttpHeaders } from 'node:http'
import { encodePath, encodeQuery, HttpError, sendRequest, type HttpResponse } from './http.js'
import { signedHeaders } from './s3-signature.js'
import { elements, text } from './xml.js'

const METADATA_PREFIX = 'x-amz-meta-'

/** How to reach a bucket. */
export interface S3Access {
  /** `http://host:port`. */
  readonly endpoint: string
  readonly accessKeyId: string
  readonly secretAccessKey: string
  readonly bucket: string
  readonly region: string
}

export interface S3Object {
  readonly data: Buffer
  readonly sizeBytes: number
  /** Quoted, as it is sent. */
  readonly etag: string
  readonly lastModified: Date
  readonly contentType: string
  /** Names in lower case, without x-amz-meta-. */
  readonly metadata: Readonly<Record<string, string>>
}

export interface S3Listing {
  readonly objects: readonly {
    readonly key: string
    readonly sizeBytes: number
    readonly etag: string
    readonly lastModified: Date
  }[]
  /** Common prefixes, with their "/". */
  readonly prefixes: readonly string[]
}

export interface S3RequestOptions {
  readonly key?: string
  readonly query?: Readonly<Record<string, string | undefined>>
  readonly headers?: Readonly<Record<string, string>>
  readonly body?: Uint8Array
  /** Statuses that are no error. Default: 200 and 204. */
  readonly expect?: readonly number[]
}

/** A plain S3 client over HTTP, path-style, that shares no code with what it checks. */
export class S3Client {
  constructor(readonly access: S3Access) {}

  /** The same server and keys, another bucket. */
  withBucket(bucket: string): S3Client {
    return new S3Client({ ...this.access, bucket })
  }

  async createBucket(): Promise<void> {
    await this.request('PUT')
  }
  async deleteBucket(): Promise<void> {
    await this.request('DELETE')
  }

  /** Returns the etag. */
  async put(
    key: string,
    data: string | Uint8Array,
    options: { readonly headers?: Record<string, string>; readonly metadata?: Record<string, string> } = {},
  ): Promise<string> {
    const headers = { ...options.headers }
    for (const [name, value] of Object.entries(options.metadata ?? {})) {
      headers[`${METADATA_PREFIX}${name}`] = value
    }
    const response = await this.request('PUT', { key, headers, body: Buffer.from(data) })
    return response.headers.etag ?? ''
  }

  /** null when there is no such object. */
  async get(
    key: string,
    range?: { readonly offset: number; readonly lengthBytes: number },
  ): Promise<S3Object | null> {
    const headers: Record<string, string> =
      range === undefined ? {} : { range: `bytes=${range.offset}-${range.offset + range.lengthBytes - 1}` }
    const response = await this.request('GET', { key, headers, expect: [200, 206, 404] })
    return response.status === 404 ? null : objectOf(response)
  }

  /** As `get`, without the data. */
  async head(key: string): Promise<S3Object | null> {
    const response = await this.request('HEAD', { key, expect: [200, 404] })
    return response.status === 404 ? null : objectOf(response)
  }

  async delete(key: string): Promise<void> {
    await this.request('DELETE', { key })
  }

  async copy(from: string, to: string): Promise<void> {
    const source = `/${this.access.bucket}/${encodePath(from)}`
    await this.request('PUT', { key: to, headers: { 'x-amz-copy-source': source } })
  }

  /** Every page of a listing. */
  async list(options: { readonly prefix?: string; readonly delimiter?: string } = {}): Promise<S3Listing> {
    const objects: S3Listing['objects'][number][] = []
    const prefixes: string[] = []
    let continuation: string | undefined
    do {
      const { body } = await this.request('GET', {
        query: {
          'list-type': '2',
          'encoding-type': 'url',
          prefix: options.prefix,
          delimiter: options.delimiter,
          'continuation-token': continuation,
        },
      })
      const xml = body.toString('utf8')
      for (const item of elements(xml, 'Contents')) objects.push(listedObject(item))
      for (const item of elements(xml, 'CommonPrefixes')) prefixes.push(urlDecode(text(item, 'Prefix') ?? ''))
      continuation = text(xml, 'NextContinuationToken') ?? undefined
    } while (continuation !== undefined)
    return { objects, prefixes }
  }

  /** Every key of the bucket, sorted. */
  async keys(prefix = ''): Promise<string[]> {
    return (await this.list({ prefix })).objects.map(({ key }) => key).sort()
  }

  /** Uploads that were begun and neither completed nor aborted. */
  async multipartUploads(): Promise<{ key: string; uploadId: string }[]> {
    const { body } = await this.request('GET', { query: { uploads: '', 'encoding-type': 'url' } })
    return elements(body.toString('utf8'), 'Upload').map((item) => ({
      key: urlDecode(text(item, 'Key') ?? ''),
      uploadId: text(item, 'UploadId') ?? '',
    }))
  }

  async abortMultipartUpload(key: string, uploadId: string): Promise<void> {
    await this.request('DELETE', { key, query: { uploadId } })
  }

  /** Delete every object and every unfinished upload. */
  async empty(): Promise<void> {
    for (const key of await this.keys()) await this.delete(key)
    for (const { key, uploadId } of await this.multipartUploads()) {
      await this.abortMultipartUpload(key, uploadId)
    }
  }

  /** Any request to the bucket, signed. */
  async request(method: string, options: S3RequestOptions = {}): Promise<HttpResponse> {
    const { endpoint, accessKeyId, secretAccessKey, region, bucket } = this.access
    const path = `/${bucket}${options.key === undefined ? '' : `/${encodePath(options.key)}`}`
    const query = encodeQuery(options.query ?? {})
    const payload = options.body ?? new Uint8Array(0)
    const headers = signedHeaders({
      ...{ method, path, payload, accessKeyId, secretAccessKey, region },
      host: new URL(endpoint).host,
      query: query.slice(1),
      headers: options.headers ?? {},
      now: new Date(),
    })
    const request = { method, origin: endpoint, target: path + query, headers, body: payload }
    const response = await sendRequest(request)
    if (!(options.expect ?? [200, 204]).includes(response.status)) throw new HttpError(request, response)
    return response
  }
}

function objectOf({ headers, body }: HttpResponse): S3Object {
  return {
    data: body,
    sizeBytes: Number(headers['content-length'] ?? body.byteLength),
    etag: headers.etag ?? '',
    lastModified: new Date(headers['last-modified'] ?? 0),
    contentType: headers['content-type'] ?? '',
    metadata: metadataOf(headers),
  }
}

function metadataOf(headers: IncomingHttpHeaders): Record<string, string> {
  const metadata: Record<string, string> = {}
  for (const [name, value] of Object.entries(headers)) {
    if (name.startsWith(METADATA_PREFIX)) metadata[name.slice(METADATA_PREFIX.length)] = String(value)
  }
  return metadata
}

function listedObject(xml: string) {
  return {
    key: urlDecode(text(xml, 'Key') ?? ''),
    sizeBytes: Number(text(xml, 'Size')),
    etag: text(xml, 'ETag') ?? '',
    lastModified: new Date(text(xml, 'LastModified') ?? 0),
  }
}

/** With encoding-type=url some servers write a space as "+"; a real "+" is always "%2B". */
function urlDecode(encoded: string): string {
  return decodeURIComponent(encoded.replaceAll('+', ' '))
}
