/**
 * The storage services a profile's `type` can name, with the options that OpenDAL knows for them.
 *
 * OpenDAL ignores an option it does not know, so that a misspelt one is silently without effect, and reports a missing
 * one only when the operator is built. Here both become a line with a line number. Checked against the
 * services and options inside the pinned binding (opendal 0.49.2).
 */
import path from 'node:path'
import { isSecretName } from '../observability/redaction.js'
import { ACCESS_LISTS_HOLD_IDS, requireRules } from './host-rules.js'
import { describeValue, listChoices, quote, ValueError } from './problem.js'
import { didYouMean } from './suggestion.js'

type OptionKind = 'string' | 'boolean' | 'integer'

interface Exclusion {
  readonly names: readonly string[]
  readonly excludes: string
  readonly because: string
}

export interface Service {
  /** Each entry is a group of options of which one must be given. */
  readonly required: readonly (readonly string[])[]
  /** Every option with its kind. Absent where we don't list them: then any name passes. */
  readonly options?: Readonly<Record<string, OptionKind>>
  /** Options that can't be together with one that is on. */
  readonly exclusions?: readonly Exclusion[]
  /** Other names of an option, as OpenDAL accepts them: alias -> option. */
  readonly aliases?: Readonly<Record<string, string>>
  /** `keep_attributes` is possible: objects have metadata that can be changed. */
  readonly keepsAttributes?: true
  /** ovfsd's keys of a profile that would have no effect, and why. */
  readonly refusedKeys?: { readonly names: readonly string[]; readonly because: string }[]
  /** `cache_expiration_time` where the profile has none; that of `[ovfsd_settings]` if absent. */
  readonly expirationMs?: number
}

const WEBHDFS_OPTIONS = {
  root: 'string',
  endpoint: 'string',
  user_name: 'string',
  delegation: 'string',
  disable_list_batch: 'boolean',
} as const

const S3_OPTIONS = {
  root: 'string',
  bucket: 'string',
  endpoint: 'string',
  region: 'string',
  access_key_id: 'string',
  secret_access_key: 'string',
  session_token: 'string',
  role_arn: 'string',
  external_id: 'string',
  role_session_name: 'string',
  allow_anonymous: 'boolean',
  disable_config_load: 'boolean',
  disable_ec2_metadata: 'boolean',
  enable_virtual_host_style: 'boolean',
  enable_versioning: 'boolean',
  enable_request_payer: 'boolean',
  enable_write_with_append: 'boolean',
  disable_stat_with_override: 'boolean',
  disable_write_with_if_match: 'boolean',
  disable_list_objects_v2: 'boolean',
  batch_max_operations: 'integer',
  delete_max_size: 'integer',
  checksum_algorithm: 'string',
  default_storage_class: 'string',
  server_side_encryption: 'string',
  server_side_encryption_aws_kms_key_id: 'string',
  server_side_encryption_customer_algorithm: 'string',
  server_side_encryption_customer_key: 'string',
  server_side_encryption_customer_key_md5: 'string',
} as const

const S3_ALIASES = {
  aws_bucket: 'bucket',
  aws_bucket_name: 'bucket',
  bucket_name: 'bucket',
  aws_endpoint: 'endpoint',
  aws_endpoint_url: 'endpoint',
  endpoint_url: 'endpoint',
  aws_region: 'region',
  aws_access_key_id: 'access_key_id',
  aws_secret_access_key: 'secret_access_key',
  aws_session_token: 'session_token',
  aws_token: 'session_token',
  token: 'session_token',
  aws_virtual_hosted_style_request: 'enable_virtual_host_style',
  virtual_hosted_style_request: 'enable_virtual_host_style',
  aws_request_payer: 'enable_request_payer',
  request_payer: 'enable_request_payer',
  aws_server_side_encryption: 'server_side_encryption',
  aws_sse_kms_key_id: 'server_side_encryption_aws_kms_key_id',
  aws_sse_customer_key_base64: 'server_side_encryption_customer_key',
  aws_checksum_algorithm: 'checksum_algorithm',
} as const

/** OpenDAL's own are the first four; the others log in (`backends/swift-options.ts`). */
const SWIFT_OPTIONS = {
  endpoint: 'string',
  container: 'string',
  root: 'string',
  token: 'string',
  auth_url: 'string',
  user: 'string',
  key: 'string',
  username: 'string',
  password: 'string',
  user_domain_name: 'string',
  project_name: 'string',
  project_domain_name: 'string',
  application_credential_id: 'string',
  application_credential_secret: 'string',
  region: 'string',
  interface: 'string',
} as const

/**
 * A directory of the host as it is: no service of OpenDAL. The guest may believe what it was told of it for a second, as nobody
 * tells it what others do there, and asking again costs no request to a server.
 */
const PASSTHROUGH: Service = {
  required: [['root']],
  options: {
    root: 'string',
    xattr: 'boolean',
    direct_io: 'boolean',
    announce_submounts: 'boolean',
    posix_acl: 'boolean',
    security_label: 'boolean',
    killpriv_v2: 'boolean',
    allow_mmap: 'boolean',
    readdirplus: 'boolean',
    preserve_noatime: 'boolean',
    xattrmap: 'string',
    translate_uid: 'string',
    translate_gid: 'string',
    inode_file_handles: 'string',
  },
  exclusions: [
    { names: ['translate_uid', 'translate_gid'], excludes: 'posix_acl', because: ACCESS_LISTS_HOLD_IDS },
  ],
  refusedKeys: [
    {
      names: ['uid', 'gid', 'file_mode', 'dir_mode', 'keep_attributes'],
      because: 'each file has its own owner and mode there',
    },
    { names: ['timeout', 'circuit_failures', 'circuit_pause'], because: 'there is no server to wait for' },
  ],
  expirationMs: 1000,
}

/** Of which only names and sizes are kept. */
const NULL: Service = {
  required: [],
  options: {},
  refusedKeys: [
    { names: ['timeout', 'circuit_failures', 'circuit_pause'], because: 'there is no server to wait for' },
  ],
}

/** By `type`. */
export const SERVICES: ReadonlyMap<string, Service> = new Map<string, Service>([
  ['fs', { required: [['root']], options: { root: 'string', create_root: 'boolean' } }],
  ['memory', { required: [], options: { root: 'string' } }],
  ['null', NULL],
  ['passthrough', PASSTHROUGH],
  ['s3', { required: [['bucket']], options: S3_OPTIONS, aliases: S3_ALIASES, keepsAttributes: true }],
  [
    'swift',
    {
      required: [['endpoint', 'auth_url'], ['container']],
      options: SWIFT_OPTIONS,
      keepsAttributes: true,
    },
  ],
  ['webhdfs', { required: [['endpoint']], options: WEBHDFS_OPTIONS }],
  [
    'hdfs',
    {
      required: [['name_node', 'endpoint']],
      options: {
        name_node: 'string',
        endpoint: 'string',
        root: 'string',
        user: 'string',
        delegation: 'string',
        disable_list_batch: 'boolean',
      },
    },
  ],
  ['gcs', { required: [['bucket']] }],
  ['azblob', { required: [['container'], ['endpoint']] }],
  ['azdls', { required: [['filesystem'], ['endpoint']] }],
  ['azfile', { required: [['share_name'], ['endpoint'], ['account_name']] }],
  ['oss', { required: [['bucket'], ['endpoint']] }],
  ['cos', { required: [['bucket'], ['endpoint']] }],
  ['obs', { required: [['bucket'], ['endpoint']] }],
  ['b2', { required: [['bucket'], ['bucket_id'], ['application_key_id'], ['application_key']] }],
  ['upyun', { required: [['bucket'], ['operator'], ['password']] }],
  ['http', { required: [['endpoint']] }],
  ['webdav', { required: [['endpoint']] }],
  ['alluxio', { required: [['endpoint']] }],
  ['koofr', { required: [['endpoint'], ['email'], ['password']] }],
  ['seafile', { required: [['repo_name'], ['endpoint'], ['username'], ['password']] }],
  ['huggingface', { required: [['repo_id']] }],
  ['ipfs', { required: [['root'], ['endpoint']] }],
  ['ipmfs', { required: [] }],
  ['dropbox', { required: [['access_token', 'refresh_token']] }],
  ['gdrive', { required: [['access_token', 'refresh_token']] }],
  ['onedrive', { required: [['access_token', 'refresh_token']] }],
  ['aliyun-drive', { required: [['access_token', 'refresh_token']] }],
  ['yandex-disk', { required: [['access_token']] }],
])

/** OpenDAL services that map a key to a value and know neither directories nor reads of a part. */
const KEY_VALUE_SERVICES: ReadonlySet<string> = new Set(
  (
    'atomicserver cacache cloudflare-kv d1 dashmap etcd foundationdb ghac gridfs libsql memcached mini-moka moka mongodb mysql ' +
    'nebula-graph persy postgresql redb redis rocksdb sled sqlite surrealdb tikv vercel-artifacts'
  ).split(' '),
)

/** OpenDAL services that the Node binding was built without. */
const ABSENT_SERVICES: ReadonlySet<string> = new Set(
  'chainsafe compfs dbfs ftp gha github hdfs-native icloud lakefs monoiofs pcloud sftp supabase vercel-blob'.split(
    ' ',
  ),
)

/** An option's name in OpenDAL. */
const OPTION_NAME = /^[a-z][a-z0-9_]*$/

/**
 * The service that `type` names.
 * @throws ValueError listing what there is
 */
export function findService(value: unknown): { readonly type: string; readonly service: Service } {
  if (typeof value !== 'string') {
    throw new ValueError(`expected the name of a service such as "s3", found ${describeValue(value)}`)
  }
  const service = SERVICES.get(value)
  if (service !== undefined) return { type: value, service }
  const known = [...SERVICES.keys()]
  const name = value.toLowerCase().replaceAll('_', '-')
  if (KEY_VALUE_SERVICES.has(name)) {
    throw new ValueError(
      `${quote(value)} is a key-value store, without directories and partial reads, and can't be mounted; use a file or object store: ${listChoices(known)}`,
    )
  }
  const reason = ABSENT_SERVICES.has(name)
    ? "is not part of this daemon's OpenDAL build"
    : 'is not a known service'
  const nearest = didYouMean(value, known)
  const list = nearest === '' ? '; known are' : `${nearest} Known are`
  throw new ValueError(`${quote(value)} ${reason}${list} ${listChoices(known)}`)
}

/**
 * An option's value as OpenDAL takes it: a string.
 * @throws ValueError saying what would be right; never repeats the value of a secret
 */
export function parseOption(type: string, service: Service, name: string, value: unknown): string {
  const kind = optionKind(service, name)
  const found = (): string => (isSecretName(name) ? 'something else' : describeValue(value))
  if (typeof value !== 'string' && typeof value !== 'boolean' && !isFiniteNumber(value)) {
    throw new ValueError(`expected a string, a number, true or false, found ${describeKind(value)}`)
  }
  const text = String(value)
  if (text.includes('\0')) throw new ValueError('holds a NUL character, which no option may')
  if (kind === 'boolean' && text !== 'true' && text !== 'false') {
    throw new ValueError(`expected true or false, found ${found()}`)
  }
  if (kind === 'integer' && !/^\d{1,15}$/.test(text)) {
    throw new ValueError(`expected a whole number, found ${found()}`)
  }
  if (kind === 'string' && typeof value === 'boolean') {
    throw new ValueError(`expected a string, found ${found()}`)
  }
  if (type === 'passthrough' && name === 'root' && !path.isAbsolute(text)) {
    throw new ValueError(`expected the absolute path of a directory such as "/srv/data", found ${found()}`)
  }
  if (type === 'passthrough') requireRules(name, text)
  return text
}

/** The name an option is told by, where the file may use an alias. */
export function canonicalName(service: Service, name: string): string {
  return service.aliases?.[name] ?? name
}

/** What is wrong with an option's name, or undefined. `ownKeys` are ovfsd's keys of a profile. */
export function optionNameFault(
  type: string,
  service: Service,
  name: string,
  ownKeys: readonly string[],
): string | undefined {
  if (service.options === undefined) {
    // Any name passes, but one that is nearly ours is a slip, and OpenDAL would ignore it without a word.
    const nearest = didYouMean(
      name,
      ownKeys.filter((key) => key.length > 'root'.length),
    )
    if (nearest !== '') return `unknown key${nearest}`
    if (OPTION_NAME.test(name)) return undefined
    return 'unknown key; the names of options are lower-case with underscores, such as "access_key_id"'
  }
  const canonical = canonicalName(service, name)
  if (Object.hasOwn(service.options, canonical)) return undefined
  const options = Object.keys(service.options)
  const nearest = didYouMean(name, [...options, ...ownKeys])
  if (nearest !== '') return `unknown key${nearest}`
  return `unknown key; the options of ${type} are ${listChoices(options)}`
}

function optionKind(service: Service, name: string): OptionKind | undefined {
  return service.options?.[canonicalName(service, name)]
}

function isFiniteNumber(value: unknown): boolean {
  return typeof value === 'bigint' || (typeof value === 'number' && Number.isFinite(value))
}

function describeKind(value: unknown): string {
  return typeof value === 'number' ? `the number ${value}` : describeValue(value)
}
