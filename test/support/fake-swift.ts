/** A small Swift in memory: a log-in of version 1, one container, copies, and manifests that join segments. */
import { answer, md5, rangeAnswer, type FakeStore, type StoreAnswer, type StoreCall } from './fake-store.js'

const CONTAINER_PATH = '/v1/AUTH_a/c'
const MS_PER_SECOND = 1000

interface SwiftObject {
  readonly data: Buffer
  readonly timeMs: number
  readonly headers: Readonly<Record<string, string>>
}

export class FakeSwift implements FakeStore {
  readonly objects = new Map<string, SwiftObject>()
  /** Of a listing. */
  pageEntries = 1000

  optionsAt(origin: string): Record<string, string> {
    return { auth_url: `${origin}/auth/v1.0`, user: 'u', key: 'k', container: 'c' }
  }

  put(name: string, data: Buffer, headers: Record<string, string> = {}): void {
    this.objects.set(name, { data, headers, timeMs: Date.now() })
  }

  carryOut(call: StoreCall, origin: string): StoreAnswer {
    const { method, path } = call
    if (path === '/auth/v1.0')
      return answer(200, { 'x-storage-url': `${origin}/v1/AUTH_a`, 'x-auth-token': 't' })
    if (path === '/info')
      return answer(200, {}, JSON.stringify({ swift: { container_listing_limit: this.pageEntries } }))
    if (path === CONTAINER_PATH) return method === 'GET' ? this.list(call.query) : answer(204)
    const name = path.slice(CONTAINER_PATH.length + 1)
    const object = this.objects.get(name)
    if (method === 'PUT') return this.store(name, call)
    if (object === undefined) return answer(404)
    if (method === 'DELETE') {
      this.objects.delete(name)
      return answer(204)
    }
    if (method === 'POST') {
      this.put(name, object.data, keptOf(call))
      return answer(202)
    }
    const { data, headers, timeMs } = object
    return rangeAnswer(call, data, {
      ...headers,
      etag: md5(data),
      'x-timestamp': (timeMs / MS_PER_SECOND).toFixed(5),
      date: new Date().toUTCString(),
      'last-modified': new Date(timeMs).toUTCString(),
    })
  }

  private store(name: string, call: StoreCall): StoreAnswer {
    const { headers, query, body } = call
    const source = headers['x-copy-from']
    if (source === undefined && headers['if-none-match'] === '*' && this.objects.has(name)) return answer(412)
    if (source !== undefined) return this.copy(name, decodeURIComponent(String(source)).slice(3), call)
    if (query.get('multipart-manifest') === 'put') return this.join(name, call)
    this.put(name, body, keptOf(call))
    return answer(201, { etag: md5(body) })
  }

  private copy(name: string, from: string, call: StoreCall): StoreAnswer {
    const object = this.objects.get(from)
    if (object === undefined) return answer(404)
    const match = call.headers['if-match']
    if (match !== undefined && match.replaceAll('"', '') !== md5(object.data)) return answer(412)
    const isFresh = call.headers['x-fresh-metadata'] === 'true'
    this.put(name, object.data, isFresh ? keptOf(call) : { ...object.headers })
    return answer(201, { etag: md5(object.data) })
  }

  private join(name: string, call: StoreCall): StoreAnswer {
    const list = JSON.parse(call.body.toString()) as { path: string; size_bytes: number; etag?: string }[]
    const parts: Buffer[] = []
    for (const { path, size_bytes: sizeBytes, etag } of list) {
      const part = this.objects.get(path.slice(3))?.data
      if (part?.length !== sizeBytes || (etag !== undefined && etag !== md5(part))) return answer(400)
      parts.push(part)
    }
    const data = Buffer.concat(parts)
    this.put(name, data, keptOf(call))
    return answer(201, { etag: md5(data) })
  }

  private list(query: URLSearchParams): StoreAnswer {
    const prefix = query.get('prefix') ?? ''
    const delimiter = query.get('delimiter') ?? ''
    const after = query.get('marker') ?? ''
    const most = Math.min(this.pageEntries, Number(query.get('limit') ?? this.pageEntries))
    const names = new Set<string>()
    for (const name of [...this.objects.keys()].sort()) {
      if (!name.startsWith(prefix)) continue
      const end = delimiter === '' ? -1 : name.indexOf(delimiter, prefix.length)
      names.add(end < 0 ? name : name.slice(0, end + 1))
    }
    const page = [...names].filter((name) => name > after).slice(0, most)
    return answer(
      200,
      { 'content-type': 'application/json' },
      JSON.stringify(page.map((name) => this.entryOf(name, delimiter !== ''))),
    )
  }

  private entryOf(name: string, isFlat: boolean): unknown {
    const object = this.objects.get(name)
    if (object === undefined || (isFlat && name.endsWith('/'))) return { subdir: name }
    const { data, timeMs, headers } = object
    const type = headers['content-type'] ?? 'application/octet-stream'
    return {
      ...{ name, bytes: data.length, hash: md5(data), content_type: type },
      last_modified: new Date(timeMs).toISOString().replace('Z', '000'),
    }
  }
}

function keptOf({ headers }: StoreCall): Record<string, string> {
  const kept = Object.entries(headers).filter(
    ([name]) => name.startsWith('x-object-meta-') || name === 'content-type',
  )
  return Object.fromEntries(kept.map(([name, value]) => [name, String(value)]))
}
