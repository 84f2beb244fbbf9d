/** Signatures are compared with a library's, for requests of all kinds. */
import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import aws4 from 'aws4'
import { encodeKey, encodeStrictly, S3Signer } from '../../../src/backends/s3/s3-signature.js'
import { chooseSeed, Random } from '../../lib/model/random.js'

const REGION = 'eu-central-1'
const CHARACTERS = Array.from('abcXYZ019-_.~ +%&=?#/:@!$\'()*,;[]{}|\\^`"<>äß文😀\t\n')
const METHODS = ['GET', 'HEAD', 'PUT', 'POST', 'DELETE'] as const
const QUERY_NAMES = ['uploads', 'uploadId', 'partNumber', 'prefix', 'list-type', 'a', 'a-b', 'A'] as const
const HEADER_NAMES = ['range', 'if-match', 'x-amz-meta-a', 'x-amz-meta-b', 'content-type'] as const
const ROUNDS = 500

function textOf(random: Random, most: number): string {
  return Array.from({ length: random.below(most) }, () => random.pick(CHARACTERS)).join('')
}

/** As Node gives and takes it: a character a byte. */
function headerValueOf(random: Random): string {
  return Buffer.from(textOf(random, 12).replaceAll('\n', ' ')).toString('latin1')
}

function requestOf(random: Random) {
  const query = QUERY_NAMES.filter(() => random.chance(0.3)).sort()
  const headers: Record<string, string> = { host: 'bucket.example:9000' }
  for (const name of HEADER_NAMES) if (random.chance(0.4)) headers[name] = headerValueOf(random)
  return {
    method: random.pick(METHODS),
    path: `/bucket/${encodeKey(textOf(random, 30))}`,
    search: query.map((name) => `${name}=${encodeStrictly(textOf(random, 10))}`).join('&'),
    headers,
  }
}

describe('a signature', () => {
  const credentials = { accessKeyId: 'AKID', secretAccessKey: 'se/cret+' }

  it('is that of another implementation', (t) => {
    const seed = chooseSeed()
    t.diagnostic(`OVFSD_SEED=${seed}`)
    const random = new Random(seed)
    const signer = new S3Signer(REGION)
    for (let round = 0; round < ROUNDS; round++) {
      const request = requestOf(random)
      const { method, path, search, headers } = request
      const own = random.chance(0.3) ? { ...credentials, sessionToken: 'to=ken' } : credentials
      const { authorization, ...signed } = signer.sign(request, own)
      const asText = Object.fromEntries(
        Object.entries(signed).map(([name, value]) => [name, Buffer.from(value, 'latin1').toString()]),
      )
      const target = search === '' ? path : `${path}?${search}`
      const theirs = aws4.sign({ service: 's3', region: REGION, method, path: target, headers: asText }, own)
      assert.equal(authorization, theirs.headers?.['Authorization'], `${method} ${target}`)
      assert.deepEqual({ ...headers, ...signed }, signed, 'what was to be sent is sent')
    }
  })

  it('is of the keys that it is made with, one after the other', () => {
    const signer = new S3Signer(REGION)
    const request = { method: 'GET', path: '/b/k', search: '', headers: { host: 'h' } }
    const first = signer.sign(request, credentials)
    const other = signer.sign(request, { ...credentials, secretAccessKey: 'other' })
    assert.notEqual(first['authorization'], other['authorization'])
    if (first['x-amz-date'] === other['x-amz-date'])
      assert.deepEqual(signer.sign(request, credentials)['x-amz-content-sha256'], 'UNSIGNED-PAYLOAD')
  })
})
