/** An S3 server for reading whose answers are true, unless it is told to lie: then as a seed says. */
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { Random } from '../model/random.js'

const BUCKET = 'b'
/** Of a listing. */
const PAGE_ENTRIES = 5
/** A body that never ends is cut off here, in case nobody else does it. */
const ENDLESS_BYTES = 64 << 20
const PIECE = Buffer.alloc(64 << 10, 'Z')

const LIES = [
  'status 500',
  'status 503',
  'reset',
  'no length',
  'wrong length',
  'wrong etag',
  'whole in place of a range',
  'another range',
  'cut short',
  'empty',
  'garbage',
  'no token',
  'the same token',
  'endless',
] as const
export type Lie = (typeof LIES)[number]

interface Answer {
  status: number
  headers: Record<string, string>
  body: Buffer
}

export class LyingS3 {
  readonly objects = new Map<string, Buffer>()
  requests = 0
  /** What each of the last requests was answered with. */
  readonly trace: string[] = []
  /** Of 1: how often it lies. */
  dishonesty = 0
  private readonly server: Server

  constructor(private readonly random: Random) {
    this.server = createServer((request, response) => {
      this.answer(request, response).catch(() => response.destroy())
    })
  }

  async start(): Promise<Readonly<Record<string, string>>> {
    this.server.listen(0, '127.0.0.1')
    await once(this.server, 'listening')
    const { port } = this.server.address() as AddressInfo
    return {
      endpoint: `http://127.0.0.1:${port}`,
      ...{ bucket: BUCKET, region: 'us-east-1', access_key_id: 'id', secret_access_key: 'key', root: '/' },
    }
  }

  stop(): void {
    this.server.closeAllConnections()
    this.server.close()
  }

  private async answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    this.requests++
    request.resume()
    if (!request.readableEnded) await once(request, 'end')
    const url = new URL(request.url ?? '/', 'http://server')
    const key = decodeURIComponent(url.pathname).replace(/^\/b\/?/, '')
    const lie = this.random.chance(this.dishonesty) ? this.random.pick(LIES) : null
    const truth = key === '' ? this.list(url.searchParams, lie) : this.object(key, request, lie)
    const range = request.headers.range ?? ''
    this.trace.push(`${request.method ?? ''} ${request.url ?? ''} ${range} -> ${truth.status} ${lie ?? ''}`)
    if (this.trace.length > 60) this.trace.shift()
    send(request, response, truth, lie)
  }

  private object(key: string, { method, headers }: IncomingMessage, lie: Lie | null): Answer {
    const data = this.objects.get(key)
    if (data === undefined)
      return { status: 404, headers: {}, body: xml('<Error><Code>NoSuchKey</Code></Error>') }
    const etag = lie === 'wrong etag' ? '"0123456789abcdef0123456789abcdef"' : etagOf(data)
    const given = {
      etag,
      'last-modified': new Date(1_700_000_000_000).toUTCString(),
      'accept-ranges': 'bytes',
    }
    const wanted = /^bytes=(\d+)-(\d*)$/.exec(headers.range ?? '')
    const condition = headers['if-match']
    if (condition !== undefined && condition !== etagOf(data))
      return { status: 412, headers: {}, body: xml('<Error><Code>PreconditionFailed</Code></Error>') }
    if (wanted === null || method === 'HEAD' || lie === 'whole in place of a range')
      return { status: 200, headers: given, body: data }
    const start = Number(wanted[1]) + (lie === 'another range' ? 1 : 0)
    const end = Math.min(data.length - 1, wanted[2] === '' ? data.length - 1 : Number(wanted[2]))
    if (start > end)
      return { status: 416, headers: {}, body: xml('<Error><Code>InvalidRange</Code></Error>') }
    const range = { 'content-range': `bytes ${start}-${end}/${data.length}` }
    return { status: 206, headers: { ...given, ...range }, body: data.subarray(start, end + 1) }
  }

  private list(query: URLSearchParams, lie: Lie | null): Answer {
    const prefix = query.get('prefix') ?? ''
    const delimiter = query.get('delimiter') ?? ''
    const after = query.get('continuation-token') ?? query.get('start-after') ?? ''
    const most = Math.min(PAGE_ENTRIES, Number(query.get('max-keys') ?? PAGE_ENTRIES))
    const names = new Set<string>()
    for (const key of [...this.objects.keys()].sort()) {
      if (!key.startsWith(prefix)) continue
      const end = delimiter === '' ? -1 : key.indexOf(delimiter, prefix.length)
      names.add(end < 0 ? key : key.slice(0, end + 1))
    }
    const left = [...names].filter((name) => name > after)
    const page = left.slice(0, most)
    // A token that leads somewhere else would be a lie that nobody can tell.
    const doesNotMove = lie === 'the same token' && after !== ''
    const isTruncated = left.length > page.length || doesNotMove
    const token = doesNotMove ? after : (page.at(-1) ?? '')
    const entries = page.map((name) =>
      name.endsWith('/') && delimiter !== ''
        ? `<CommonPrefixes><Prefix>${name}</Prefix></CommonPrefixes>`
        : `<Contents><Key>${name}</Key><LastModified>2023-11-14T22:13:20.000Z</LastModified><ETag>${etagOf(this.objects.get(name) ?? Buffer.alloc(0))}</ETag><Size>${this.objects.get(name)?.length ?? 0}</Size><StorageClass>STANDARD</StorageClass></Contents>`,
    )
    const next =
      isTruncated && lie !== 'no token' ? `<NextContinuationToken>${token}</NextContinuationToken>` : ''
    const about = `<Name>b</Name><Prefix>${prefix}</Prefix><KeyCount>${page.length}</KeyCount><MaxKeys>${most}</MaxKeys><IsTruncated>${isTruncated}</IsTruncated>`
    return {
      status: 200,
      headers: { 'content-type': 'application/xml' },
      body: xml(`<ListBucketResult>${about}${next}${entries.join('')}</ListBucketResult>`),
    }
  }
}

function etagOf(data: Buffer): string {
  return `"${createHash('md5').update(data).digest('hex')}"`
}

function xml(text: string): Buffer {
  return Buffer.from(`<?xml version="1.0" encoding="UTF-8"?>\n${text}`)
}

function send(request: IncomingMessage, response: ServerResponse, truth: Answer, lie: Lie | null): void {
  const { status, headers, body } = truth
  const isHead = request.method === 'HEAD'
  const length = String(body.length)
  switch (lie) {
    case 'status 500':
    case 'status 503':
      response.writeHead(Number(lie.slice(-3)), { 'content-length': '0' }).end()
      return
    case 'reset':
      request.socket.resetAndDestroy()
      return
    case 'no length':
      response.writeHead(status, { ...headers, 'transfer-encoding': 'chunked' })
      response.end(isHead ? undefined : body)
      return
    case 'wrong length':
      if (!isHead) break
      response.writeHead(status, { ...headers, 'content-length': String(body.length + 7) }).end()
      return
    case 'cut short':
      if (isHead) break
      response.writeHead(status, { ...headers, 'content-length': length })
      response.write(body.subarray(0, body.length >> 1), () => response.destroy())
      return
    case 'empty':
      if (isHead) break
      response.writeHead(status, { ...headers, 'content-length': '0' }).end()
      return
    case 'garbage':
      if (isHead || headers['content-type'] === undefined) break
      response.writeHead(status, { ...headers, 'content-length': '9' }).end('<html><p>')
      return
    case 'endless':
      if (isHead) break
      response.writeHead(status, headers)
      pourOut(response, ENDLESS_BYTES)
      return
    default:
  }
  response.writeHead(status, { ...headers, 'content-length': length }).end(isHead ? undefined : body)
}

function pourOut(response: ServerResponse, leftBytes: number): void {
  if (response.destroyed) return
  if (leftBytes <= 0) response.destroy()
  else
    response.write(PIECE, () => {
      pourOut(response, leftBytes - PIECE.length)
    })
}
