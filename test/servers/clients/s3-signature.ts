import { createHash, createHmac } from 'node:crypto'

/** AWS Signature Version 4, as AWS's S3 manual describes it: one chunk, the payload's hash signed along. */

const ALGORITHM = 'AWS4-HMAC-SHA256'

export interface SigningInput {
  readonly method: string
  readonly host: string
  /** Percent-encoded path. */
  readonly path: string
  /** Encoded, sorted, without "?". */
  readonly query: string
  readonly headers: Readonly<Record<string, string>>
  readonly payload: Uint8Array
  readonly accessKeyId: string
  readonly secretAccessKey: string
  readonly region: string
  readonly now: Date
}

/** The headers to send: those given, the date, the payload's hash and the signature. */
export function signedHeaders(input: SigningInput): Record<string, string> {
  const time = input.now.toISOString().replace(/[-:]|\.\d{3}/g, '')
  const day = time.slice(0, 8)
  const payloadHash = hash(input.payload)
  const headers: Record<string, string> = {
    host: input.host,
    'x-amz-content-sha256': payloadHash,
    'x-amz-date': time,
  }
  for (const [name, value] of Object.entries(input.headers)) headers[name.toLowerCase()] = value.trim()
  const names = Object.keys(headers).sort()
  const canonicalHeaders = names.map((name) => `${name}:${headers[name] ?? ''}\n`).join('')
  const nameList = names.join(';')
  const canonical = [
    ...[input.method, input.path, input.query],
    ...[canonicalHeaders, nameList, payloadHash],
  ].join('\n')
  const scope = `${day}/${input.region}/s3/aws4_request`
  const toSign = [ALGORITHM, time, scope, hash(Buffer.from(canonical))].join('\n')
  const key = [day, input.region, 's3', 'aws4_request'].reduce<string | Buffer>(
    (secret, part) => mac(secret, part),
    `AWS4${input.secretAccessKey}`,
  )
  const signature = mac(key, toSign).toString('hex')
  const credential = `${input.accessKeyId}/${scope}`
  headers.authorization = `${ALGORITHM} Credential=${credential}, SignedHeaders=${nameList}, Signature=${signature}`
  return headers
}

function hash(data: Uint8Array): string {
  return createHash('sha256').update(data).digest('hex')
}

function mac(key: string | Buffer, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest()
}
