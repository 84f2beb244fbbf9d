/** A certificate that signs itself, for a TLS server on 127.0.0.1: the authority of one test. */
import { generateKeyPairSync, sign } from 'node:crypto'

/** Tags of ASN.1 in DER, X.690. */
const SEQUENCE = 0x30
const SET = 0x31
const INTEGER = 0x02
const BOOLEAN = 0x01
const BIT_STRING = 0x03
const OCTET_STRING = 0x04
const OBJECT_IDENTIFIER = 0x06
const UTF8_STRING = 0x0c
const UTC_TIME = 0x17
const VERSION = 0xa0
const EXTENSIONS = 0xa3
const IP_ADDRESS = 0x87

function der(tag: number, ...parts: readonly Uint8Array[]): Buffer {
  const body = Buffer.concat(parts)
  const length = body.length < 0x80 ? [body.length] : [0x82, body.length >> 8, body.length & 0xff]
  return Buffer.concat([Buffer.from([tag, ...length]), body])
}

/** Identifiers as DER has them. */
const ID = {
  ecdsaWithSha256: '2a8648ce3d040302',
  commonName: '550403',
  subjectAltName: '551d11',
  basicConstraints: '551d13',
} as const

function id(name: keyof typeof ID): Buffer {
  return der(OBJECT_IDENTIFIER, Buffer.from(ID[name], 'hex'))
}

function extension(name: keyof typeof ID, value: Buffer): Buffer {
  return der(SEQUENCE, id(name), der(OCTET_STRING, value))
}

/** Both as PEM. */
export function selfSigned(): { readonly key: string; readonly certificate: string } {
  const { publicKey, privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' })
  const algorithm = der(SEQUENCE, id('ecdsaWithSha256'))
  const name = der(SEQUENCE, der(SET, der(SEQUENCE, id('commonName'), der(UTF8_STRING, Buffer.from('test')))))
  const validity = der(
    SEQUENCE,
    der(UTC_TIME, Buffer.from('200101000000Z')),
    der(UTC_TIME, Buffer.from('491231235959Z')),
  )
  const extensions = der(
    SEQUENCE,
    extension('subjectAltName', der(SEQUENCE, der(IP_ADDRESS, Buffer.from([127, 0, 0, 1])))),
    extension('basicConstraints', der(SEQUENCE, der(BOOLEAN, Buffer.from([0xff])))),
  )
  const toBeSigned = der(
    SEQUENCE,
    der(VERSION, der(INTEGER, Buffer.from([2]))),
    der(INTEGER, Buffer.from([1])),
    ...[algorithm, name, validity, name],
    publicKey.export({ type: 'spki', format: 'der' }),
    der(EXTENSIONS, extensions),
  )
  const signature = der(BIT_STRING, Buffer.from([0]), sign('sha256', toBeSigned, privateKey))
  const base64 = der(SEQUENCE, toBeSigned, algorithm, signature).toString('base64')
  const lines = base64.match(/.{1,64}/g) ?? []
  return {
    key: privateKey.export({ type: 'pkcs8', format: 'pem' }) as string,
    certificate: ['-----BEGIN CERTIFICATE-----', ...lines, '-----END CERTIFICATE-----', ''].join('\n'),
  }
}
