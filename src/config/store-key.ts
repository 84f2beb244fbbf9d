/** Tells stores apart, so that what is cached or staged of one never gets into another. */
import { createHash } from 'node:crypto'
import { isSecretName } from '../observability/redaction.js'

type Options = Readonly<Record<string, string>>

/**
 * Options that change how a store is reached and not which one it is: credentials, which have telling names, and these.
 * Any other option may make it another store.
 */
const SAME_STORE_OPTION =
  /^(role_(arn|session_name)|external_id|allow_anonymous|disable_\w+|enable_(virtual_host_style|request_payer|write_with_append)|batch_max_operations|delete_max_size|checksum_algorithm|default_storage_class|xattr|direct_io|announce_submounts|posix_acl|security_label|killpriv_v2|allow_mmap|readdirplus|preserve_noatime|xattrmap|translate_[ug]id|inode_file_handles|server_side_encryption\w*)$/
/** Telling names that are part of a store's address all the same. */
const OTHER_STORE_OPTION = /^(bucket|container|root|endpoint|\w*url|keystone\w*)$/

/** Where bucket names are the service's own, whoever asks: AWS, in all of its partitions. */
const AWS_HOST = /(^|[./])amazonaws\.com(\.cn)?(:\d+)?(\/|$)/
/** A user and a password in a URL. */
const URL_PASSWORD = /^([a-z][a-z0-9+.-]*:\/\/[^/?#@:]*):[^/?#@]+@/i
/** Enough of a digest that two credentials never look alike. */
const DIGEST_CHARACTERS = 32

/** What of the credentials names an account, for services where the account is the store, or chooses what names mean. */
const CHOOSING_CREDENTIALS: ReadonlyMap<string, (options: Options, environment: Options) => Options> =
  new Map([
    ['s3', s3Account],
    ['swift', swiftAccount],
    ['azblob', (options: Options) => pick(options, ['connection_string'])],
    ['webdav', tokenOfNobody],
    ['http', tokenOfNobody],
    ...['dropbox', 'gdrive', 'onedrive', 'aliyun-drive', 'yandex-disk'].map(
      (type) => [type, driveAccount] as const,
    ),
  ])

/**
 * Equal for two profiles of one type whose options lead to the same place, as far as that can be known: a profile that goes over
 * to another credential that may stand for another tenant is another store. Of credentials there are but digests in it.
 */
export function storeKey(type: string, options: Options, environment = definedIn(process.env)): string {
  const address = Object.entries(options)
    .filter(([option]) => !isSameStore(option))
    .map(([option, value]) => [option, plainAddress(option, value)])
    .sort()
  const account = Object.entries(CHOOSING_CREDENTIALS.get(type)?.(options, environment) ?? {})
    .map(([option, value]) => [option, digestOf(value)])
    .sort()
  return JSON.stringify(account.length === 0 ? [type, address] : [type, address, account])
}

/**
 * How daemons before this one named the same store in their cache directories; null where that name may also be another store's,
 * which only the credentials told from it.
 */
export function formerStoreKey(
  type: string,
  options: Options,
  environment = definedIn(process.env),
): string | null {
  if (CHOOSING_CREDENTIALS.has(type) && hasAccount(CHOOSING_CREDENTIALS.get(type)?.(options, environment)))
    return null
  const address = Object.entries(options).filter(([option]) => !isSameStore(option))
  return JSON.stringify([type, address.sort()])
}

function hasAccount(account: Options | undefined): boolean {
  return account !== undefined && Object.keys(account).length > 0
}

function isSameStore(option: string): boolean {
  return (isSecretName(option) || SAME_STORE_OPTION.test(option)) && !OTHER_STORE_OPTION.test(option)
}

/** One spelling of several that lead to the same place, and no password. */
function plainAddress(option: string, value: string): string {
  if (option === 'root') return value.replaceAll(/\/{2,}/g, '/').replace(/(?<=.)\/$/, '')
  if (option === 'endpoint' || option.endsWith('url'))
    return value.replace(URL_PASSWORD, '$1@').replace(/\/+$/, '')
  return value
}

/**
 * Servers other than AWS may have tenants, in each of which a bucket's name is another bucket (Ceph): the access key says whose,
 * or the role. One of a session is drawn anew every hour and names nobody.
 */
function s3Account(options: Options, environment: Options): Options {
  const { endpoint = '' } = options
  if (endpoint === '' || AWS_HOST.test(endpoint)) return {}
  const own = pick(options, [
    'role_arn',
    'allow_anonymous',
    ...(options['session_token'] === undefined ? ['access_key_id'] : []),
  ])
  if (options['access_key_id'] !== undefined || options['disable_config_load'] === 'true') return own
  const names = environment['AWS_SESSION_TOKEN'] === undefined ? ['AWS_ACCESS_KEY_ID'] : []
  return { ...own, ...pick(environment, [...names, 'AWS_PROFILE', 'AWS_ROLE_ARN']) }
}

/** A storage URL names the account; without one, the log-in does. Of names, the address has all that are not secret. */
function swiftAccount(options: Options): Options {
  const { endpoint = '' } = options
  return endpoint === '' ? pick(options, ['application_credential_id']) : {}
}

/** A token says who its bearer is where no name does, and many servers give each user another tree by the same URL. */
function tokenOfNobody(options: Options): Options {
  return options['username'] === undefined ? pick(options, ['token']) : {}
}

/** The drive is its owner's. Access tokens are renewed, so they count only where there is nothing else. */
function driveAccount(options: Options): Options {
  return pick(options, [options['refresh_token'] === undefined ? 'access_token' : 'refresh_token'])
}

function pick(options: Options, names: readonly string[]): Options {
  return Object.fromEntries(
    Object.entries(options).filter(([name, value]) => names.includes(name) && value !== ''),
  )
}

function definedIn(environment: NodeJS.ProcessEnv): Options {
  return Object.fromEntries(
    Object.entries(environment).filter((pair): pair is [string, string] => pair[1] !== undefined),
  )
}

function digestOf(value: string): string {
  return createHash('sha256').update(value).digest('hex').slice(0, DIGEST_CHARACTERS)
}
