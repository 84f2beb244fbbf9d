/** What a WebDAV server answers to PROPFIND (RFC 4918, 13): resources and their properties. Servers choose the prefixes of the elements. */
import { HttpError } from '../http/http-error.js'
import { byteCountOf } from '../http/byte-count.js'
import { SOME_DIRECTORY, type WebStatus } from './web-client.js'

export interface WebResource {
  /** Decoded, as the server sees it, without a "/" at its end: its root may have another name than ours. */
  readonly path: string
  /** `sizeBytes`: NaN where the server does not tell it. */
  readonly status: WebStatus
}

const RESPONSE_PATTERN = /<(?:[\w-]+:)?response\b[^>]*>(.*?)<\/(?:[\w-]+:)?response>/gs
/** Behind it the answer is whole. */
const END_PATTERN = /<\/(?:[\w-]+:)?multistatus\s*>\s*$/
const ENTITIES: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" }

/** @throws HttpError EIO for what is no such answer */
export function resourcesOf(xml: string): WebResource[] {
  if (!END_PATTERN.test(xml)) throw strange('is no multistatus')
  return Array.from(xml.matchAll(RESPONSE_PATTERN), ([, response = '']) => ({
    path: pathOf(textOf(response, 'href')),
    status: statusOf(response),
  }))
}

/** The name that a resource has in its directory. */
export function nameOf({ path }: WebResource): string {
  return path.slice(path.lastIndexOf('/') + 1)
}

export function strange(what: string): HttpError {
  return new HttpError({ errno: 'EIO', retryable: true }, `the answer to a PROPFIND ${what}`)
}

function statusOf(response: string): WebStatus {
  if (/<(?:[\w-]+:)?collection\b/.test(response)) return SOME_DIRECTORY
  return {
    kind: 'file',
    sizeBytes: byteCountOf(textOf(response, 'getcontentlength')) ?? NaN,
    lastModified: textOf(response, 'getlastmodified'),
    etag: textOf(response, 'getetag'),
  }
}

function textOf(xml: string, name: string): string {
  const text = new RegExp(`<(?:[\\w-]+:)?${name}\\b[^>]*>([^<]*)<`).exec(xml)?.[1]?.trim() ?? ''
  return text.replace(/&(?:#(\d+)|#x([0-9a-f]+)|(\w+));/gi, (whole, decimal, hex, entity) => {
    if (decimal !== undefined) return characterOf(Number(decimal), whole)
    if (hex !== undefined) return characterOf(parseInt(String(hex), 16), whole)
    return ENTITIES[String(entity)] ?? whole
  })
}

function characterOf(code: number, whole: string): string {
  return code <= 0x10ffff ? String.fromCodePoint(code) : whole
}

/** Not by way of a URL, which would fold "." and "..". */
function pathOf(href: string): string {
  try {
    return decodeURIComponent(href.replace(/^https?:\/\/[^/]*/i, '')).replace(/\/+$/, '')
  } catch {
    throw strange(`has the place ${JSON.stringify(href)}`)
  }
}
