import { mkdirSync, statSync } from 'node:fs'
import type { Backend } from './backend.js'
import type { CircuitOptions } from './layers/circuit.js'
import { DirectoryServiceBackend } from './opendal/directory-service-backend.js'
import { HttpBackend } from './web/http-backend.js'
import { LocalDirectoryBackend } from './local/local-directory-backend.js'
import { MemoryBackend } from './local/memory-backend.js'
import { NullBackend } from './local/null-backend.js'
import { ObjectStoreBackend } from './objects/object-store-backend.js'
import { OpendalObjectClient } from './opendal/opendal-object-client.js'
import { createOperator } from './opendal/operator.js'
import { S3ObjectClient } from './s3/s3-object-client.js'
import { StorageError } from './storage-error.js'
import { WebhdfsBackend } from './hdfs/webhdfs-backend.js'
import { webhdfsOptions } from './hdfs/webhdfs-options.js'
import { WebdavBackend } from './web/webdav-backend.js'
import { SwiftObjectClient } from './swift/swift-object-client.js'

export interface BackendOptions {
  /** The profile's `type`. */
  readonly type: string
  /** OpenDAL's own options. */
  readonly options: Readonly<Record<string, string>>
  readonly timeoutMs: number
  /** Mode, owner and time of files are kept with the objects. Default: false. */
  readonly keepAttributes?: boolean
  /** For stores behind a network. Without it each call is made. */
  readonly circuit?: CircuitOptions
}

/** Types whose state is in the backend and ends with the daemon. */
const VOLATILE_TYPES: readonly string[] = ['memory', 'null']

export function isVolatileType(type: string): boolean {
  return VOLATILE_TYPES.includes(type)
}

/** Types that have no server: they answer, whatever it is. */
const LOCAL_TYPES: readonly string[] = ['fs', ...VOLATILE_TYPES]

/** The store is on this machine: no server, and nothing that reading it again could spare. */
export function isLocalType(type: string): boolean {
  return LOCAL_TYPES.includes(type)
}

/** Where a directory is but a prefix of keys. The others keep directories as such. */
const OBJECT_STORES: readonly string[] = ['gcs', 'azblob', 'oss', 'obs', 'cos', 'b2']

/** The longest keys, bytes, of services that say so in their manuals; others tell only when a key is too long for them. */
const MAX_KEY_BYTES: ReadonlyMap<string, number> = new Map([
  ['s3', 1024],
  ['gcs', 1024],
  ['azblob', 1024],
  ['obs', 1024],
  ['oss', 1023],
  ['cos', 850],
])

/** What a key leaves for a path below the mount's root. */
function maxPathBytesOf(type: string, { root = '' }: Readonly<Record<string, string>>): number {
  const maxKeyBytes = MAX_KEY_BYTES.get(type)
  if (maxKeyBytes === undefined) return Number.MAX_SAFE_INTEGER
  const names = root.split('/').filter((name) => name !== '')
  const prefix = names.map((name) => `${name}/`).join('')
  // A directory's marker ends in "/".
  return maxKeyBytes - Buffer.byteLength(prefix) - 1
}

/** The directory of the host. One that is missing is not made, if not said otherwise: it may be a disk that is not mounted. */
function rootOf({ root, create_root: createsRoot }: Readonly<Record<string, string>>): string {
  if (root === undefined) throw new StorageError('EINVAL', 'type "fs" needs "root", a directory of the host')
  if (createsRoot === 'true') mkdirSync(root, { recursive: true })
  // Told when the mount begins, and not only by whoever uses it first.
  if (!statSync(root).isDirectory()) throw new StorageError('ENOTDIR', `${root} is not a directory`)
  return root
}

/** The one place that knows which backend a profile's type means. */
export function createBackend({ type, options, timeoutMs, keepAttributes }: BackendOptions): Backend {
  const keepsAttributes = keepAttributes ?? false
  // The binding has no native HDFS client; see ARCHITECTURE.md for why its WebHDFS is not used.
  if (type === 'hdfs' || type === 'webhdfs') return new WebhdfsBackend(webhdfsOptions(options), timeoutMs)
  if (type === 'null') return new NullBackend()
  if (type === 'fs') return new LocalDirectoryBackend(rootOf(options))
  if (type === 'swift')
    return new ObjectStoreBackend(new SwiftObjectClient(options, timeoutMs), { keepsAttributes })
  const maxPathBytes = maxPathBytesOf(type, options)
  if (type === 's3') {
    const client = new S3ObjectClient(options, { timeoutMs, maxPathBytes })
    return new ObjectStoreBackend(client, { keepsAttributes })
  }
  const operator = createOperator({ scheme: type, options, timeoutMs })
  switch (type) {
    case 'memory':
      return new MemoryBackend(operator)
    case 'webdav':
      return new WebdavBackend(operator, options, timeoutMs)
    case 'http':
      return new HttpBackend(operator, options, timeoutMs)
    default:
      if (!OBJECT_STORES.includes(type))
        return new DirectoryServiceBackend(
          operator,
          createOperator({ scheme: type, options, timeoutMs, retries: false }),
        )
      return new ObjectStoreBackend(
        new OpendalObjectClient(operator, { maxPathBytes, isBackslashSlash: type === 'azblob' }),
        { keepsAttributes: false },
      )
  }
}
