/** An S3 whose bucket has one directory of as many objects as it is told, in a process of its own: none of them is held in memory. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { fileURLToPath } from 'node:url'
import { fork } from 'node:child_process'
import { once } from 'node:events'

export const DIRECTORY = 'many'
const PAGE_KEYS = 1000
const DIGITS = 8

export function nameOf(index: number): string {
  return `file-${String(index).padStart(DIGITS, '0')}`
}

/** What was asked for, by method: a list is a LIST. */
export type Requests = Readonly<Record<string, number>>

export interface ManyNamesS3 {
  readonly options: Readonly<Record<string, string>>
  requests(): Promise<Requests>
  stop(): void
}

export async function startManyNames(count: number): Promise<ManyNamesS3> {
  const child = fork(fileURLToPath(import.meta.url), [String(count)])
  const [port] = (await once(child, 'message')) as [number]
  const endpoint = `http://127.0.0.1:${port}`
  return {
    options: {
      ...{ endpoint, bucket: 'bucket', region: 'us-east-1', root: '/' },
      ...{ access_key_id: 'id', secret_access_key: 'secretsecretsecret' },
    },
    requests: async () => (await (await fetch(`${endpoint}/requests`)).json()) as Requests,
    stop: () => child.kill('SIGKILL'),
  }
}

function contents(index: number): string {
  const etag = `${index.toString(16).padStart(8, '0')}${'0123456789abcdef'.repeat(2).slice(8)}`
  return (
    `<Contents><Key>${DIRECTORY}/${nameOf(index)}</Key><LastModified>2026-11-30T01:02:03.000Z</LastModified>` +
    `<ETag>&quot;${etag}&quot;</ETag><Size>1</Size><StorageClass>STANDARD</StorageClass></Contents>`
  )
}

function list(query: URLSearchParams, count: number): string {
  if (query.get('prefix') === '')
    return `<ListBucketResult><IsTruncated>false</IsTruncated><CommonPrefixes><Prefix>${DIRECTORY}/</Prefix></CommonPrefixes></ListBucketResult>`
  const isMany = query.get('prefix') === `${DIRECTORY}/`
  const first = Number(query.get('continuation-token') ?? 0)
  const most = Math.min(PAGE_KEYS, Number(query.get('max-keys') ?? PAGE_KEYS))
  const end = isMany ? Math.min(first + most, count) : 0
  const parts: string[] = []
  for (let index = first; index < end; index++) parts.push(contents(index))
  const hasMore = isMany && end < count
  const token = hasMore ? `<NextContinuationToken>${end}</NextContinuationToken>` : ''
  return `<ListBucketResult><IsTruncated>${hasMore}</IsTruncated>${token}${parts.join('')}</ListBucketResult>`
}

function serve(count: number): void {
  const requests: Record<string, number> = {}
  const server = createServer((request, response) => {
    const url = new URL(request.url ?? '/', 'http://server')
    if (url.pathname === '/requests') {
      response.end(JSON.stringify(requests))
      return
    }
    const isList = request.method === 'GET' && url.searchParams.has('list-type')
    const kind = isList ? 'LIST' : (request.method ?? '')
    requests[kind] = (requests[kind] ?? 0) + 1
    request.resume()
    if (isList) response.end(list(url.searchParams, count))
    else response.writeHead(404).end()
  })
  server.listen(0, '127.0.0.1', () => process.send?.((server.address() as AddressInfo).port))
  process.on('disconnect', () => process.exit())
}

const [, script, count] = process.argv
if (process.send !== undefined && script === fileURLToPath(import.meta.url)) serve(Number(count))
