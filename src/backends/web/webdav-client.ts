/** The requests of WebDAV (RFC 4918) that OpenDAL's service lacks or takes wrong: see `WebdavBackend`. */
import type { EntryKind } from '../backend.js'
import { HttpError } from '../http/http-error.js'
import { isLength, REDIRECTIONS, SOME_DIRECTORY, WebClient, type WebStatus } from './web-client.js'

const XML = { 'content-type': 'application/xml; charset=utf-8' }
const PROPERTIES = Buffer.from(
  '<?xml version="1.0" encoding="utf-8"?><propfind xmlns="DAV:"><prop>' +
    '<resourcetype/><getcontentlength/><getlastmodified/><getetag/></prop></propfind>',
)

export class WebdavClient extends WebClient {
  /** null when nothing is there. */
  async stat(path: string): Promise<WebStatus | null> {
    const { status, body } = await this.send(
      { method: 'PROPFIND', target: this.targetOf(path), headers: { depth: '0', ...XML } },
      // 400 is Apache's answer below a file.
      [207, 400, 404, ...REDIRECTIONS],
      { body: PROPERTIES },
    )
    if (status !== 207) return status === 400 || status === 404 ? null : SOME_DIRECTORY
    const found = statusOf(body.toString('utf8'))
    // A length that is missing is not 0.
    return Number.isNaN(found.sizeBytes) ? { ...found, sizeBytes: await this.askSize(path) } : found
  }

  /** One try, without a condition. @throws HttpError ENOENT where the directory is missing */
  async putOnce(path: string, data: Uint8Array): Promise<void> {
    await this.sendOnce({ method: 'PUT', target: this.targetOf(path) }, [200, 201, 204], { body: data })
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

/** A multistatus of one resource. Servers choose the prefixes of the elements. */
function statusOf(xml: string): WebStatus {
  if (/<(?:[\w-]+:)?collection\b/.test(xml)) return SOME_DIRECTORY
  return {
    kind: 'file',
    sizeBytes: lengthOf(textOf(xml, 'getcontentlength')),
    lastModified: textOf(xml, 'getlastmodified'),
    etag: textOf(xml, 'getetag').replaceAll('&quot;', '"'),
  }
}

function textOf(xml: string, name: string): string {
  return new RegExp(`<(?:[\\w-]+:)?${name}\\b[^>]*>([^<]*)<`).exec(xml)?.[1]?.trim() ?? ''
}

function lengthOf(text: string): number {
  return isLength(text) ? Number(text) : NaN
}
