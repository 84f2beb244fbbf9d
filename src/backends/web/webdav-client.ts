/** The requests of WebDAV (RFC 4918) that OpenDAL's service lacks or takes wrong: see `WebdavBackend`. */
import type { EntryKind } from '../backend.js'
import type { HttpResponse } from '../http/http-message.js'
import { HttpError } from '../http/http-error.js'
import { nameOf, resourcesOf, strange, type WebResource } from './multistatus.js'
import { MAX_ANSWER_BYTES, REDIRECTIONS, SOME_DIRECTORY, WebClient, type WebStatus } from './web-client.js'

/** A listing has no pages: of some hundred thousand names with what is told of each. */
const MAX_LISTING_BYTES = 64 << 20

const XML = { 'content-type': 'application/xml; charset=utf-8' }
const PROPERTIES = Buffer.from(
  '<?xml version="1.0" encoding="utf-8"?><propfind xmlns="DAV:"><prop>' +
    '<resourcetype/><getcontentlength/><getlastmodified/><getetag/></prop></propfind>',
)

export class WebdavClient extends WebClient {
  /** null when nothing is there. */
  async stat(path: string): Promise<WebStatus | null> {
    const response = await this.propfind(path, '0', [207, 400, 404, ...REDIRECTIONS])
    if (response.status === 404) return null
    if (response.status === 400) return this.requireNothing(path)
    if (response.status !== 207) {
      if (this.leadsToDirectory(path, response)) return SOME_DIRECTORY
      throw strange(`for ${JSON.stringify(path)} leads elsewhere`)
    }
    const found = resourcesOf(response.body.toString('utf8')).find((resource) => isNamed(resource, path))
    if (found === undefined) throw strange(`does not tell of ${JSON.stringify(path)}`)
    const { status } = found
    // A length that is missing is not 0.
    return Number.isNaN(status.sizeBytes) ? { ...status, sizeBytes: await this.askSize(path) } : status
  }

  /** Apache answers 400 to what is looked for below a file. */
  private async requireNothing(path: string): Promise<null> {
    const parent = path.slice(0, Math.max(path.lastIndexOf('/'), 0))
    if (parent !== '' && (await this.stat(parent))?.kind !== 'directory') return null
    throw strange(`for ${JSON.stringify(path)} is 400, and no file is above it`)
  }

  /** What is in a directory; a length that the server does not tell is NaN. null when there is no such directory. */
  async list(path: string): Promise<WebResource[] | null> {
    const { status, body } = await this.propfind(path === '' ? '' : `${path}/`, '1', [207, 404])
    if (status === 404) return null
    const resources = resourcesOf(body.toString('utf8'))
    // The directory tells of itself, too.
    const [self, ...others] = resources.sort((one, other) => one.path.length - other.path.length)
    if (self?.status.kind !== 'directory' || !isNamed(self, path))
      throw strange(`does not tell of the directory ${JSON.stringify(path)}`)
    for (const each of others)
      if (each.path !== `${self.path}/${nameOf(each)}`)
        throw strange(`has ${JSON.stringify(each.path)}, which is not in ${JSON.stringify(path)}`)
    return others
  }

  private propfind(path: string, depth: '0' | '1', expected: readonly number[]): Promise<HttpResponse> {
    return this.send(
      { method: 'PROPFIND', target: this.targetOf(path), headers: { depth, ...XML } },
      expected,
      {
        body: PROPERTIES,
        maxBodyBytes: depth === '0' ? MAX_ANSWER_BYTES : MAX_LISTING_BYTES,
      },
    )
  }

  /** One try, without a condition. @throws HttpError ENOENT where the directory is missing */
  async putOnce(path: string, data: Uint8Array): Promise<void> {
    await this.sendOnce({ method: 'PUT', target: this.targetOf(path) }, [200, 201, 204], { body: data })
  }

  /** With the directories above it; one that is there already is fine. @throws HttpError EEXIST where a file is there */
  async makeDirectory(path: string): Promise<void> {
    const request = { method: 'MKCOL', target: `${this.targetOf(path)}/` }
    let { status } = await this.send(request, [201, 405, 409])
    if (status === 409 && path.includes('/')) {
      await this.makeDirectory(path.slice(0, path.lastIndexOf('/')))
      ;({ status } = await this.send(request, [201, 405]))
    }
    if (status === 201 || (await this.stat(path))?.kind === 'directory') return
    throw new HttpError({ errno: status === 405 ? 'EEXIST' : 'ENOENT' }, `MKCOL ${path}: ${status}`)
  }

  /** With all that is in it; what is gone already is no error. */
  async deleteTree(path: string): Promise<void> {
    await this.send({ method: 'DELETE', target: `${this.targetOf(path)}/` }, [200, 204, 404])
  }

  /** One try: what is at `to` by then may be somebody else's. */
  async copyOnce(from: string, to: string): Promise<void> {
    const headers = { destination: `${this.origin}${this.targetOf(to)}`, overwrite: 'T' }
    await this.sendOnce({ method: 'COPY', target: this.targetOf(from), headers }, [201, 204])
  }

  /** What is gone already is no error. What is there after a try without an answer may be somebody else's, and stays. */
  async deleteFile(path: string): Promise<void> {
    await this.connections.retrying(async (mayBeDone) => {
      if (mayBeDone) {
        if ((await this.stat(path)) === null) return
        throw new HttpError(
          { errno: 'EIO', retryable: true, outcome: 'unknown' },
          `DELETE ${path}: nobody answered`,
        )
      }
      await this.sendOnce({ method: 'DELETE', target: this.targetOf(path) }, [200, 204, 404])
    })
  }

  /**
   * Move a file or a tree. Never sent again without a look: what is at either place by then may be somebody else's.
   * `isSource` tells whether what is at `from` after a try without an answer is what was to be moved.
   * @throws HttpError EEXIST when something is at `to` that may not be replaced; ENOENT
   */
  async move(
    from: string,
    to: string,
    kind: EntryKind,
    mayReplace: boolean,
    isSource: (left: WebStatus) => boolean = () => kind === 'directory',
  ): Promise<void> {
    const slash = kind === 'directory' ? '/' : ''
    const headers = {
      destination: `${this.origin}${this.targetOf(to)}${slash}`,
      overwrite: mayReplace ? 'T' : 'F',
    }
    const request = { method: 'MOVE', target: `${this.targetOf(from)}${slash}`, headers }
    await this.connections.retrying(async (mayBeDone) => {
      if (mayBeDone && (await this.isMoved(from, to, isSource))) return
      try {
        await this.sendOnce(request, [201, 204])
      } catch (error) {
        if (!(error instanceof HttpError) || error.outcome !== 'unknown') throw error
        if (!(await this.isMoved(from, to, isSource).catch(() => false))) throw error
      }
    })
  }

  /** @throws HttpError where nobody can tell */
  private async isMoved(from: string, to: string, isSource: (left: WebStatus) => boolean): Promise<boolean> {
    const [left, there] = await Promise.all([this.stat(from), this.stat(to)])
    if (left === null && there !== null) return true
    if (left !== null && isSource(left)) return false
    throw new HttpError(
      { errno: 'EIO', retryable: true, outcome: 'unknown' },
      `MOVE ${from}: nobody answered, and somebody else is there`,
    )
  }
}

/** Whether it may be what is at `path`. A server behind another one may have another name for the root. */
function isNamed(resource: WebResource, path: string): boolean {
  const name = path.slice(path.lastIndexOf('/') + 1)
  return name === '' || nameOf(resource).normalize('NFC') === name.normalize('NFC')
}
