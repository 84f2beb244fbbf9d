/** The requests of WebDAV (RFC 4918) that OpenDAL's service lacks or takes wrong: see `WebdavBackend`. */
import type { EntryKind } from '../backend.js'
import { HttpError } from '../http/http-error.js'
import { REDIRECTIONS, SOME_DIRECTORY, WebClient, type WebStatus } from './web-client.js'

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
      PROPERTIES,
    )
    if (status === 207) return statusOf(body.toString('utf8'))
    return status === 400 || status === 404 ? null : SOME_DIRECTORY
  }

  /**
   * Move a file or a tree.
   * @throws HttpError EEXIST when something is at `to` that may not be replaced; ENOENT
   */
  async move(from: string, to: string, kind: EntryKind, mayReplace: boolean): Promise<void> {
    const slash = kind === 'directory' ? '/' : ''
    const headers = {
      destination: `${this.origin}${this.targetOf(to)}${slash}`,
      overwrite: mayReplace ? 'T' : 'F',
    }
    try {
      await this.send({ method: 'MOVE', target: `${this.targetOf(from)}${slash}`, headers }, [201, 204])
    } catch (error) {
      if (!(error instanceof HttpError) || !error.isRepeated) throw error
      // The answer to an earlier try was lost: it may have been done.
      if ((await this.stat(from)) !== null || (await this.stat(to)) === null) throw error
    }
  }
}

/** A multistatus of one resource. Servers choose the prefixes of the elements. */
function statusOf(xml: string): WebStatus {
  if (/<(?:[\w-]+:)?collection\b/.test(xml)) return SOME_DIRECTORY
  return {
    kind: 'file',
    sizeBytes: Number(textOf(xml, 'getcontentlength')),
    lastModified: textOf(xml, 'getlastmodified'),
    etag: textOf(xml, 'getetag').replaceAll('&quot;', '"'),
  }
}

function textOf(xml: string, name: string): string {
  return new RegExp(`<(?:[\\w-]+:)?${name}\\b[^>]*>([^<]*)<`).exec(xml)?.[1]?.trim() ?? ''
}
