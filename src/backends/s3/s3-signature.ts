/**
 * Signature Version 4 of AWS for S3, in a header and without the payload: "Authenticating Requests:
 * Using the Authorization Header" in the API reference of Amazon S3. A library does it in 45 us
 * where this takes 20, of a request of 120 in all, and a guest waits for one or two requests with
 * each small file.
 */
import { createHmac, hash } from 'node:crypto'
import type { Headers } from '../objects/file-attributes.js'
import type { S3Credentials } from './s3-credentials.js'

/** As OpenDAL has it too: the connection protects the contents, or nothing does. */
const PAYLOAD = 'UNSIGNED-PAYLOAD'
const ALGORITHM = 'AWS4-HMAC-SHA256'
const MS_PER_SECOND = 1000
/** Length of "20260131" at the beginning of "20260131T235959Z". */
const DAY_LENGTH = 8
/** Not signed, since proxies on the way may change them. */
const UNSIGNED_HEADERS: ReadonlySet<string> = new Set(['connection', 'expect', 'range', 'user-agent'])
const PRINTABLE_ASCII = /^[\x20-\x7e]*$/
const ODD_SPACES = /^\s|\s$|\s\s|[^\S ]/

export interface SignedParts {
  readonly method: string
  /** Percent-encoded as it is signed: all but unreserved characters and "/". */
  readonly path: string
  /** Sorted and percent-encoded in the same way, without "?". */
  readonly search: string
  /** With `host`; names in lower case, values as Node takes them, a character a byte. */
  readonly headers: Headers
}

/** Percent-encodes all but the unreserved characters of RFC 3986. */
export function encodeStrictly(text: string): string {
  return encodeURIComponent(text).replace(
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  )
}

/** The same, but for "/". */
export function encodeKey(key: string): string {
  return key.split('/').map(encodeStrictly).join('/')
}

/** Signs requests to one region. */
export class S3Signer {
  private second = -1
  /** The present second, as "20260131T235959Z". */
  private time = ''
  /** What `key` was derived from. */
  private secret = ''
  private day = ''
  private key = Buffer.alloc(0)

  constructor(private readonly region: string) {}

  /** The request's headers and those that sign it. */
  sign({ method, path, search, headers }: SignedParts, credentials: S3Credentials): Headers {
    const time = this.timeNow()
    const day = time.slice(0, DAY_LENGTH)
    const { accessKeyId, secretAccessKey, sessionToken } = credentials
    const all: Record<string, string> = { ...headers, 'x-amz-content-sha256': PAYLOAD, 'x-amz-date': time }
    if (sessionToken !== undefined) all['x-amz-security-token'] = sessionToken
    const names = Object.keys(all)
      .filter((name) => !UNSIGNED_HEADERS.has(name))
      .sort()
    const signed = names.join(';')
    let lines = ''
    for (const name of names) lines += `${name}:${canonicalValue(all[name] ?? '')}\n`
    const request = `${method}\n${path}\n${search}\n${lines}\n${signed}\n${PAYLOAD}`
    const scope = `${day}/${this.region}/s3/aws4_request`
    const digest = hash('sha256', request)
    const signature = createHmac('sha256', this.keyOf(secretAccessKey, day))
      .update(`${ALGORITHM}\n${time}\n${scope}\n${digest}`)
      .digest('hex')
    all['authorization'] =
      `${ALGORITHM} Credential=${accessKeyId}/${scope}, SignedHeaders=${signed}, Signature=${signature}`
    return all
  }

  private timeNow(): string {
    const second = Math.floor(Date.now() / MS_PER_SECOND)
    if (second !== this.second) {
      this.second = second
      this.time = new Date(second * MS_PER_SECOND).toISOString().replace(/[:-]|\.\d{3}/g, '')
    }
    return this.time
  }

  /** The same for all requests of a day. */
  private keyOf(secret: string, day: string): Buffer {
    if (secret === this.secret && day === this.day) return this.key
    let key = Buffer.from(`AWS4${secret}`)
    for (const part of [day, this.region, 's3', 'aws4_request'])
      key = createHmac('sha256', key).update(part).digest()
    this.secret = secret
    this.day = day
    this.key = key
    return key
  }
}

/** Bytes are signed as the UTF-8 that they are; spaces around it are not, and several count as one. */
function canonicalValue(value: string): string {
  const text = PRINTABLE_ASCII.test(value) ? value : Buffer.from(value, 'latin1').toString('utf8')
  return ODD_SPACES.test(text) ? text.trim().replace(/\s+/g, ' ') : text
}
