/** A small WebDAV server in memory, which serves mounts of type "http" as well. */
import { answer, md5, rangeAnswer, type FakeStore, type StoreAnswer, type StoreCall } from './fake-store.js'

export class FakeWebdav implements FakeStore {
  /** By paths that begin with "/"; null: a collection. */
  readonly files = new Map<string, Buffer | null>([['', null]])

  optionsAt(origin: string): Record<string, string> {
    return { endpoint: origin }
  }

  /** With its collections. */
  put(path: string, data: Buffer | null): void {
    const parent = parentOf(path)
    if (!this.files.has(parent)) this.put(parent, null)
    this.files.set(path, data)
  }

  carryOut(call: StoreCall, origin: string): StoreAnswer {
    const { method, headers, body } = call
    const path = call.path.replace(/\/+$/, '')
    const file = this.files.get(path)
    if (method === 'PUT' || method === 'MKCOL') {
      if (this.files.get(parentOf(path)) !== null) return answer(409)
      if (method === 'MKCOL' && file !== undefined) return answer(405)
      // As Apache: an empty body in chunks is one, too.
      if (method === 'MKCOL' && (body.length > 0 || headers['transfer-encoding'] !== undefined))
        return answer(415)
      this.files.set(path, method === 'PUT' ? body : null)
      return answer(file === undefined ? 201 : 204)
    }
    if (file === undefined) return answer(404)
    switch (method) {
      case 'PROPFIND':
        return this.propfind(path, headers['depth'] === '1')
      case 'DELETE':
        this.forEachAt(path, (each) => this.files.delete(each))
        return answer(204)
      case 'MOVE':
      case 'COPY':
        return this.move(path, call)
      default:
        if (file === null)
          return call.path.endsWith('/')
            ? answer(200, {}, '<html>')
            : answer(301, { location: `${origin}${encodeURI(path)}/` })
        return rangeAnswer(call, file, { etag: `"${md5(file)}"`, 'last-modified': LAST_MODIFIED })
    }
  }

  private move(path: string, { method, headers }: StoreCall): StoreAnswer {
    const to = decodeURIComponent(new URL(String(headers['destination'])).pathname).replace(/\/+$/, '')
    const isThere = this.files.has(to)
    if (isThere && headers['overwrite'] === 'F') return answer(412)
    if (this.files.get(parentOf(to)) !== null) return answer(409)
    this.forEachAt(path, (each) => {
      this.files.set(to + each.slice(path.length), this.files.get(each) ?? null)
      if (method === 'MOVE') this.files.delete(each)
    })
    return answer(isThere ? 204 : 201)
  }

  private forEachAt(path: string, work: (path: string) => void): void {
    for (const each of [...this.files.keys()]) if (each === path || each.startsWith(`${path}/`)) work(each)
  }

  private propfind(path: string, isDeep: boolean): StoreAnswer {
    const paths = [path]
    if (isDeep)
      for (const each of [...this.files.keys()].sort())
        if (each !== '' && each !== path && parentOf(each) === path) paths.push(each)
    const responses = paths.map((each) => responseOf(each, this.files.get(each) ?? null))
    return answer(
      207,
      { 'content-type': 'application/xml; charset=utf-8' },
      `<?xml version="1.0" encoding="utf-8"?>\n<D:multistatus xmlns:D="DAV:">${responses.join('')}</D:multistatus>`,
    )
  }
}

const LAST_MODIFIED = new Date(1_700_000_000_000).toUTCString()

function parentOf(path: string): string {
  return path.slice(0, Math.max(path.lastIndexOf('/'), 0))
}

function responseOf(path: string, data: Buffer | null): string {
  const properties =
    data === null
      ? '<D:resourcetype><D:collection/></D:resourcetype>'
      : `<D:resourcetype/><D:getcontentlength>${data.length}</D:getcontentlength><D:getetag>"${md5(data)}"</D:getetag>`
  return (
    `<D:response><D:href>${encodeURI(path)}${data === null ? '/' : ''}</D:href><D:propstat><D:prop>${properties}` +
    `<D:getlastmodified>${LAST_MODIFIED}</D:getlastmodified></D:prop>` +
    `<D:status>HTTP/1.1 200 OK</D:status></D:propstat></D:response>`
  )
}
