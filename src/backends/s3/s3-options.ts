/** A profile's options for S3, by OpenDAL's names for them. */
import { createHash } from 'node:crypto'
import type { Headers } from '../objects/file-attributes.js'
import { StorageError } from '../storage-error.js'
import { encodeKey, encodeStrictly } from './s3-signature.js'

/** Where neither the profile nor the environment names a region: what S3 itself and most servers like it take for "any". */
export const DEFAULT_S3_REGION = 'us-east-1'
const AWS_ENDPOINT = 'https://s3.amazonaws.com'

/** An endpoint of AWS, whichever region's. */
const AWS_BUCKET_HOST = /^https?:\/\/s3[.-][^/]*amazonaws\.com(?:\.cn)?(?:[:/]|$)/

type Options = Readonly<Record<string, string>>

/** Where credentials come from. */
export interface S3CredentialOptions {
  /** null where the profile has none. */
  readonly fixed: {
    readonly accessKeyId: string
    readonly secretAccessKey: string
    readonly sessionToken?: string
  } | null
  readonly region: string
  /** The role to be assumed with them; null for none. */
  readonly role: { readonly arn: string; readonly externalId?: string; readonly sessionName: string } | null
  /** From the environment and the files in ~/.aws. */
  readonly looksAround: boolean
  readonly asksMetadataService: boolean
  /** Without any, requests are not signed. */
  readonly mayBeAnonymous: boolean
}

export interface S3Options {
  /** `https://host:port` of the bucket. */
  readonly origin: string
  /** Before every key: "/bucket" or, where the host names the bucket, "". */
  readonly pathPrefix: string
  readonly bucket: string
  readonly region: string
  /** Of all keys: "" or such that ends in "/". */
  readonly root: string
  readonly credentials: S3CredentialOptions
  /** Of every request. */
  readonly everyHeaders: Headers
  /** Of what makes an object. */
  readonly storeHeaders: Headers
  /** With the customer's key, of what touches an object's contents. */
  readonly customerKeyHeaders: Headers
  /** With the customer's key, of what copies an object. */
  readonly copySourceKeyHeaders: Headers
  readonly checksum: 'crc32c' | 'md5' | null
  /** Lists are asked for by ListObjects, not ListObjectsV2. */
  readonly listsByVersion1: boolean
  /** No If-Match and no If-None-Match is sent with what is stored. */
  readonly sendsNoConditions: boolean
}

export function hasRegion(options: Options): boolean {
  return 'region' in options || 'AWS_REGION' in process.env || 'AWS_DEFAULT_REGION' in process.env
}

/** @throws StorageError EINVAL for an endpoint that is no URL */
export function parseS3Options(options: Options): S3Options {
  const bucket = options['bucket'] ?? ''
  const region =
    options['region'] ?? process.env['AWS_REGION'] ?? process.env['AWS_DEFAULT_REGION'] ?? DEFAULT_S3_REGION
  const endpoint = endpointOf(options['endpoint'], bucket, region)
  const namesBucketInHost = options['enable_virtual_host_style'] === 'true'
  const path = canonicalPath(endpoint).replace(/\/+$/, '')
  const hasBucket = endpoint.host.startsWith(`${bucket}.`)
  const host = namesBucketInHost && !hasBucket ? `${bucket}.${endpoint.host}` : endpoint.host
  const root = (options['root'] ?? '')
    .split('/')
    .filter((name) => name !== '')
    .join('/')
  const { checksum_algorithm: checksum } = options
  return {
    origin: `${endpoint.protocol}//${host}`,
    pathPrefix: namesBucketInHost ? path : `${path}/${encodeStrictly(bucket)}`,
    ...{ bucket, region },
    root: root === '' ? '' : `${root}/`,
    credentials: credentialOptions(options, region),
    everyHeaders: options['enable_request_payer'] === 'true' ? { 'x-amz-request-payer': 'requester' } : {},
    storeHeaders: storeHeaders(options),
    customerKeyHeaders: customerKeyHeaders(options, 'x-amz-'),
    copySourceKeyHeaders: customerKeyHeaders(options, 'x-amz-copy-source-'),
    checksum: checksum === 'crc32c' || checksum === 'md5' ? checksum : null,
    listsByVersion1: options['disable_list_objects_v2'] === 'true',
    sendsNoConditions: options['disable_write_with_if_match'] === 'true',
  }
}

/** Encoded as it is signed. */
function canonicalPath({ pathname }: URL): string {
  try {
    return encodeKey(decodeURIComponent(pathname))
  } catch {
    throw new StorageError('EINVAL', `"endpoint" has a path that is no URL's: ${pathname}`)
  }
}

function endpointOf(written: string | undefined, bucket: string, region: string): URL {
  const text = written === undefined || written === '' ? AWS_ENDPOINT : written
  const withScheme = text.startsWith('http') ? text : `https://${text}`
  const plain = withScheme.replace(/\/+$/, '')
  // Elsewhere a host may begin like the bucket and be the server's own: a bucket "s3" at s3.example.com.
  const isBucketOfAws = AWS_BUCKET_HOST.test(plain.replace(`//${bucket}.`, '//'))
  const named = isBucketOfAws ? plain.replace(`//${bucket}.`, '//') : plain
  const regional = named === AWS_ENDPOINT ? `https://s3.${region}.amazonaws.com` : named
  if (!URL.canParse(regional)) throw new StorageError('EINVAL', `endpoint: "${text}" is no URL`)
  return new URL(regional)
}

function credentialOptions(options: Options, region: string): S3CredentialOptions {
  const { access_key_id: accessKeyId, secret_access_key: secretAccessKey, role_arn: arn } = options
  const { session_token: sessionToken, external_id: externalId } = options
  const hasKeys = accessKeyId !== undefined && secretAccessKey !== undefined
  return {
    fixed: hasKeys
      ? { accessKeyId, secretAccessKey, ...(sessionToken === undefined ? {} : { sessionToken }) }
      : null,
    region,
    role:
      arn === undefined
        ? null
        : {
            arn,
            sessionName: options['role_session_name'] ?? 'ovfsd',
            ...(externalId === undefined ? {} : { externalId }),
          },
    looksAround: options['disable_config_load'] !== 'true',
    asksMetadataService: options['disable_ec2_metadata'] !== 'true',
    mayBeAnonymous: options['allow_anonymous'] === 'true',
  }
}

function storeHeaders(options: Options): Headers {
  return withValues({
    'x-amz-server-side-encryption': options['server_side_encryption'],
    'x-amz-server-side-encryption-aws-kms-key-id': options['server_side_encryption_aws_kms_key_id'],
    'x-amz-storage-class': options['default_storage_class'],
  })
}

function customerKeyHeaders(options: Options, prefix: string): Headers {
  const key = options['server_side_encryption_customer_key']
  const digest = options['server_side_encryption_customer_key_md5']
  return withValues({
    [`${prefix}server-side-encryption-customer-algorithm`]:
      options['server_side_encryption_customer_algorithm'],
    [`${prefix}server-side-encryption-customer-key`]: key,
    [`${prefix}server-side-encryption-customer-key-md5`]:
      key === undefined
        ? undefined
        : (digest ?? createHash('md5').update(Buffer.from(key, 'base64')).digest('base64')),
  })
}

function withValues(headers: Readonly<Record<string, string | undefined>>): Headers {
  const given = Object.entries(headers).filter((pair): pair is [string, string] => pair[1] !== undefined)
  return Object.fromEntries(given)
}
