/**
 * Whom TLS trusts: the authorities that Node brings along, and those of the host, which OpenDAL trusts too. A server with a
 * certificate of the house's own authority is then reached by every kind of request, or by none.
 */
import { readFileSync } from 'node:fs'
import { createSecureContext, rootCertificates, type SecureContext } from 'node:tls'

/** Where distributions have them all in one file: Debian, Red Hat, SUSE, Alpine. The first that is there counts. */
const HOST_BUNDLES = [
  '/etc/ssl/certs/ca-certificates.crt',
  '/etc/pki/tls/certs/ca-bundle.crt',
  '/etc/ssl/ca-bundle.pem',
  '/etc/ssl/cert.pem',
]

let shared: SecureContext | null = null

/** One for the whole process: reading some hundred certificates takes milliseconds. */
export function trustedContext(): SecureContext {
  shared ??= createSecureContext({ ca: [...rootCertificates, ...hostCertificates(process.env)] })
  return shared
}

/** OpenSSL's and Node's own variables come before the usual places. */
function hostCertificates({ SSL_CERT_FILE, NODE_EXTRA_CA_CERTS }: NodeJS.ProcessEnv): string[] {
  const bundles = SSL_CERT_FILE === undefined ? HOST_BUNDLES : [SSL_CERT_FILE]
  const first = bundles.map(readIfThere).find((text) => text !== null) ?? null
  const extra = NODE_EXTRA_CA_CERTS === undefined ? null : readIfThere(NODE_EXTRA_CA_CERTS)
  return [first, extra].filter((text) => text !== null)
}

function readIfThere(file: string): string | null {
  try {
    return readFileSync(file, 'utf8')
  } catch {
    return null
  }
}
