import { proxyOf } from '../backends/http/http-proxy.js'
import { isLocalType, type BackendOptions } from '../backends/create-backend.js'

/** Options that say where requests go, the first that is given. */
const ADDRESS_OPTIONS = ['endpoint', 'auth_url', 'name_node']
const AWS_ENDPOINT = 'https://s3.amazonaws.com'

/** The proxy that a mount's requests go through, as `host:port`; null: none, or nobody knows where they go. */
export function proxyNameOf(
  { type, options }: Pick<BackendOptions, 'type' | 'options'>,
  environment: NodeJS.ProcessEnv = process.env,
): string | null {
  if (isLocalType(type)) return null
  const given = ADDRESS_OPTIONS.map((name) => options[name]).find((value) => value !== undefined)
  const address = given ?? (type === 's3' ? AWS_ENDPOINT : null)
  if (address === null) return null
  const first = address.split(',')[0]?.trim() ?? ''
  // A name without a scheme is taken for HTTPS by S3 alone.
  const scheme = type === 's3' ? 'https' : 'http'
  const full = first.includes('://') ? first.replace(/^hdfs:/, 'http:') : `${scheme}://${first}`
  const proxy = URL.canParse(full) ? proxyOf(new URL(full), environment) : null
  return proxy === null ? null : `${proxy.host}:${proxy.port}`
}
