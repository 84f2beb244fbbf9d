import { userInfo } from 'node:os'
import { LOOPBACK } from './storage-server.js'

/** The version 1 users; ACCOUNT:USER with its key. */
export const SWIFT_ACCOUNT = 'test'
export const SWIFT_USER = 'tester'
export const SWIFT_KEY = 'testing'
/** Belongs to the same account and may do nothing in it, until a container's ACL says so: for tests of 403. */
export const SWIFT_POWERLESS_USER = 'reader'
export const SWIFT_POWERLESS_KEY = 'reading'

export interface SwiftConfigurationOptions {
  /** Gets the configuration; has the subdirectory srv. */
  readonly directory: string
  readonly ports: SwiftPorts
  readonly tokenLifeSeconds: number
  readonly maxFileSizeBytes: number
}

export interface SwiftPorts {
  readonly proxy: number
  readonly object: number
  readonly container: number
  readonly account: number
  readonly memcached: number
}

/** The configuration files of a Swift with one of each server, by name. */
export function swiftConfiguration(options: SwiftConfigurationOptions): Record<string, string> {
  const { ports } = options
  return {
    'swift.conf': globalConfiguration(options),
    'account-server.conf': storageServer(options, 'account', ports.account),
    'container-server.conf': storageServer(options, 'container', ports.container),
    'object-server.conf': storageServer(options, 'object', ports.object),
    'proxy-server.conf': proxyServer(options),
  }
}

function globalConfiguration({ maxFileSizeBytes }: SwiftConfigurationOptions): string {
  return `[swift-hash]
swift_hash_path_prefix = tests
swift_hash_path_suffix = tests
[storage-policy:0]
name = one
default = yes
[swift-constraints]
max_file_size = ${maxFileSizeBytes}
`
}

/** workers = 0: the server is the process itself and forks no other. */
function common({ directory }: SwiftConfigurationOptions, port: number): string {
  return `[DEFAULT]
bind_ip = ${LOOPBACK}
bind_port = ${port}
swift_dir = ${directory}
user = ${userInfo().username}
workers = 0
log_custom_handlers = swift_server.log_to_file
log_statsd_host =
log_level = WARNING
`
}

function storageServer(options: SwiftConfigurationOptions, kind: string, port: number): string {
  return `${common(options, port)}devices = ${options.directory}/srv
mount_check = false
disable_fallocate = true
fallocate_reserve = 0
recon_cache_path = ${options.directory}
[pipeline:main]
pipeline = healthcheck ${kind}-server
[filter:healthcheck]
use = egg:swift#healthcheck
[app:${kind}-server]
use = egg:swift#${kind}
`
}

const FILTERS: readonly (readonly [name: string, ...settings: string[]])[] = [
  ['catch_errors'],
  ['gatekeeper'],
  ['healthcheck'],
  ['cache'],
  ['listing_formats'],
  ['bulk'],
  ['tempurl'],
  ['s3api', 'location = us-east-1'],
  [
    'tempauth',
    `user_${SWIFT_ACCOUNT}_${SWIFT_USER} = ${SWIFT_KEY} .admin`,
    `user_${SWIFT_ACCOUNT}_${SWIFT_POWERLESS_USER} = ${SWIFT_POWERLESS_KEY}`,
  ],
  ['copy'],
  ['slo'],
  ['dlo'],
  ['versioned_writes', 'allow_versioned_writes = true'],
  ['symlink'],
]

function proxyServer(options: SwiftConfigurationOptions): string {
  const filters = FILTERS.map(([name, ...settings]) => {
    const more = [...settings]
    if (name === 'cache') more.push(`memcache_servers = ${LOOPBACK}:${options.ports.memcached}`)
    if (name === 'tempauth') more.push(`token_life = ${options.tokenLifeSeconds}`)
    return [`[filter:${name}]`, `use = egg:swift#${name === 'cache' ? 'memcache' : name}`, ...more, ''].join(
      '\n',
    )
  })
  return `${common(options, options.ports.proxy)}[pipeline:main]
pipeline = ${FILTERS.map(([name]) => name).join(' ')} proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
allow_account_management = true
${filters.join('')}`
}
